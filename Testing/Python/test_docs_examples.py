"""The examples in the docstrings give what they say; the API page leaves out none, the site and the README no page."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTED = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
WITH_EXAMPLES = [
    path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__").replace("/", ".")
    for path in sorted((ROOT / "TernarySegmentLib").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_hold(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert (failed, tried > 0) == (0, True)


def test_every_module_with_examples_is_in_the_api_reference():
    assert len(WITH_EXAMPLES) >= 10
    assert set(WITH_EXAMPLES) <= set(DOCUMENTED)


def test_the_python_in_the_readme_and_the_api_page_runs_on_a_file(tmp_path, monkeypatch, capsys):
    import SimpleITK as sitk

    from TernarySegmentLib.phantom import make_phantom

    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(make_phantom(0, spacing=(3.0, 3.0, 5.0)).ct, "ct.nii.gz")
    for page in ("README.md", "docs/api.md"):
        [code] = re.findall(
            r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        exec(compile(code, page, "exec"), {})
        volume, confidence = (float(word) for word in capsys.readouterr().out.split())
        assert volume > 20
        assert 0 < confidence <= 1


def test_every_page_is_in_the_navigation_of_the_site_and_linked_from_the_readme():
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    listed = set(
        re.findall(r"^ +- [^:\n]+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert pages <= listed
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert pages - {"index.md", "api.md"} <= linked  # the site's own front page, and what only the site can show
