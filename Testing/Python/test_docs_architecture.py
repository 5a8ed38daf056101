"""The picture of the architecture is the code's; the pages keep to their length and do not repeat each other."""

from __future__ import annotations

import ast
import re
import sys
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "TernarySegmentLib"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOT_BY_HAND = {"weights.md", "ablation.md", "training.md"}
"""Written with the weights."""
OTHER_WORDS = {
    "told", "twin", "heard", "in_words", "Closeup", "Finding", "Findings", "Drawn", "turned_front_to_back", "hand_on",
    "handon", "handing",
}  # fmt: skip
"""Names that the glossary of the developer guide has better words for."""


@pytest.fixture
def architecture(monkeypatch):
    pytest.importorskip("grimp")
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import architecture

    yield architecture
    sys.modules.pop("architecture")


def test_picture_of_the_architecture_is_the_codes(architecture):
    drawn = architecture.PICTURE.read_text(encoding="utf-8")
    assert drawn == architecture.draw(), "python docs/architecture.py draws it again"


def test_an_import_that_is_new_changes_the_picture(architecture, monkeypatch):
    before, edges = architecture.draw(), architecture.imports()
    monkeypatch.setattr(architecture, "imports", lambda: {**edges, "phantom": {"engine"}})
    assert architecture.draw() != before


def test_folders_that_import_each_other_cannot_be_drawn(architecture):
    with pytest.raises(ValueError, match="import each other"):
        architecture.levels({"one": {"other"}, "other": {"one"}})


def test_every_folder_says_what_lives_there():
    for package in LIBRARY.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8")))
        assert text, package.parent


@pytest.mark.parametrize(("page", "words"), [("README.md", 900), ("docs/performance.md", 1500)])
def test_page_keeps_to_its_length(page, words):
    assert len((ROOT / page).read_text(encoding="utf-8").split()) < words


def test_no_page_repeats_another():
    """Sentences and rows of a dozen words and more; the warning and the attributions are short enough."""

    def parts(path: Path) -> set[str]:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        sentences = re.split(r"(?<=[.:;])\s+|\n(?=\||#|- )|\n\n", text)
        return {clean for each in sentences if len((clean := " ".join(each.split())).split()) >= 12}

    pages = {path.name: parts(path) for path in PAGES if path.name not in NOT_BY_HAND}
    for (one, first), (other, second) in combinations(pages.items(), 2):
        shared = first & second
        assert not shared, f"{one} and {other}"


@pytest.mark.parametrize(
    "folder", ["bench", "cohort", "engine", "imaging", "phantom", "pipeline", "review", "slicer_ui", "training"]
)
def test_names_and_docstrings_use_the_glossarys_words(folder):
    for path in (LIBRARY / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                first = (ast.get_docstring(node) or "").split("\n")[0]
                assert not first.startswith(("Whether", "Tell ")), f"{path.name}: {first}"
            name = getattr(node, "name", None) or getattr(node, "id", None) or getattr(node, "arg", None)
            assert name not in OTHER_WORDS, f"{path.name}: {name}"
