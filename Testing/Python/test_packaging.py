"""What the extension installs: every file of the library is listed, and nothing that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def listed(variable: str) -> set[str]:
    """The files of one ``set(...)`` in the root CMakeLists.txt."""
    block = re.search(rf"set\({variable}\n(.*?)\)", CMAKE, re.DOTALL)
    assert block, f"no set({variable} ...) in CMakeLists.txt"
    return set(block[1].split())


def test_every_file_of_the_library_is_installed():
    tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "TernarySegmentLib").rglob("*.py")}
    assert listed("LIBRARY_PYTHON_SCRIPTS") == tree


def test_every_resource_the_program_reads_is_installed():
    resources = listed("LIBRARY_RESOURCES")
    assert all((ROOT / path).is_file() for path in resources)
    for folder in ("Icons", "Models", "UI"):
        tree = {path.relative_to(ROOT).as_posix() for path in (ROOT / "Resources" / folder).iterdir()}
        assert tree <= resources


def test_the_project_is_named_as_the_extension_and_its_addresses_stand_on_one_line():
    assert re.search(r"^project\(TernarySegment\)$", CMAKE, re.MULTILINE)
    for variable in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        assert re.search(rf'^set\({variable} "https://[^"\n]+"\)$', CMAKE, re.MULTILINE)
