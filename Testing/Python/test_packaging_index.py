"""What the Extensions Index asks of an extension before it is built and offered, rule by rule."""

from __future__ import annotations

import ast
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "TernarySegment.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULE = ROOT / "TernarySegment" / "TernarySegment.py"
LIBRARY = sorted((ROOT / "TernarySegmentLib").rglob("*.py"))
RAW = "https://raw.githubusercontent.com/TernarySegment/SlicerTernarySegment/main/"

SCHEMA_KEYS = {
    "$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory",
    "dicom_support_rule", "enabled", "tier",
}  # fmt: skip
BUNDLED = {"slicer", "qt", "ctk", "vtk", "SimpleITK", "numpy", "scipy"}
"""What Slicer brings beyond Python's own library; only this may be imported when a module is loaded."""
NEEDS_MORE = ("engine/kernels.py", "engine/vectors.py", "engine/jit.py", "training/", "bench/")
"""The parts of the library that need numba or torch; nothing that loading the module imports."""
NETWORK = {"urllib", "http", "socket", "ftplib", "smtplib", "ssl", "requests", "asyncio", "webbrowser"}


def setting(name: str) -> str:
    """The value of ``set(NAME "value")``, which must stand on one line and end right after the quote."""
    found = re.findall(rf'^set\({name} "([^"\n]+)"\)$', CMAKE, re.MULTILINE)
    assert len(found) == 1, f"set({name} ...) must stand once, on one line"
    return found[0]


def entry() -> dict[str, object]:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def imports(path: Path, everywhere: bool) -> set[str]:
    """Top-level names that a file imports, at file scope only or everywhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


# -- the entry


def test_the_entry_is_ascii_json_with_line_feeds_and_known_keys():
    raw = ENTRY.read_bytes()
    assert raw.isascii()
    assert b"\r" not in raw
    assert raw.endswith(b"}\n")
    assert set(entry()) <= SCHEMA_KEYS
    assert {"$schema", "category", "scm_url", "scm_revision"} <= set(entry())
    assert str(entry()["$schema"]).endswith("/slicer-extension-catalog-entry-schema-v1.0.1.json#")


def test_the_names_of_entry_project_and_module_are_one_and_do_not_start_with_slicer():
    assert re.findall(r"^project\((\w+)\)$", CMAKE, re.MULTILINE) == [ENTRY.stem]
    assert ENTRY.stem == MODULE.stem
    assert not ENTRY.stem.startswith("Slicer")


def test_the_repository_is_named_slicer_and_is_the_homepage():
    address = str(entry()["scm_url"])
    assert re.fullmatch(r"https://github\.com/\w+/Slicer\w+\.git", address)
    assert setting("EXTENSION_HOMEPAGE") == address.removesuffix(".git")
    assert entry()["scm_revision"] == "main"


def test_the_category_is_one_of_slicers_and_the_same_in_both_files():
    assert entry()["category"] == setting("EXTENSION_CATEGORY") == "Segmentation"


def test_nothing_is_built_and_no_other_extension_is_needed():
    assert entry()["build_dependencies"] == []
    assert setting("EXTENSION_DEPENDS") == "NA"
    compiled = {".cxx", ".cpp", ".cc", ".c", ".h", ".hpp", ".cu"}
    # a test of full and failing disks compiles its fault injector for itself
    built = [path for path in _tracked() if path.suffix in compiled and "faults" not in path.parts]
    assert built == []


# -- the catalogue page


def test_the_description_says_pancreas_and_ct_in_one_sentence():
    description = setting("EXTENSION_DESCRIPTION")
    assert description.startswith("Automatic pancreas segmentation in")
    assert "CT" in description
    assert re.findall(r"[.!?](?:\s|$)", description) == ["."]


def test_the_icon_is_a_png_of_128_by_128():
    address = setting("EXTENSION_ICONURL")
    assert address.startswith(RAW)
    data = (ROOT / address.removeprefix(RAW)).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (128, 128)


def test_the_screenshots_are_png_files_of_this_repository():
    addresses = setting("EXTENSION_SCREENSHOTURLS").split(" ")
    assert len(addresses) == len(set(addresses)) >= 1
    for address in addresses:
        assert address.startswith(RAW)
        data = (ROOT / address.removeprefix(RAW)).read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        assert len(data) < 1_000_000


def test_the_licence_lies_in_the_root_and_is_named_on_the_homepage():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(r"^## Licence\n+.*Apache", README, re.MULTILINE)


def test_the_homepage_has_sentence_picture_tutorial_sample_data_publication_and_a_warning():
    introduction = README.split("\n## ")[0]
    sentence = introduction.split("\n\n")[1].split(". ")[0]
    assert all(word in sentence for word in ("pancreas", "CT", "CPU"))
    assert re.search(r"!\[[^]]+\]\(Resources/Screenshots/[\w-]+\.png\)", introduction)
    assert "Not a medical device" in introduction
    tutorial = re.search(r"^## Tutorial.*?(?=^## )", README, re.MULTILINE | re.DOTALL)
    assert tutorial, "no section Tutorial"
    steps = [int(number) for number in re.findall(r"^(\d+)\. ", tutorial[0], re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    assert 3 <= len(steps) <= 8
    assert "Sample Data" in " ".join(tutorial[0].split())
    assert re.search(r"^## How to cite\n.*doi", README, re.MULTILINE | re.DOTALL)


def test_every_picture_and_file_that_the_homepage_links_exists():
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", README)
    missing = [target for target in targets if "://" not in target and not (ROOT / target).exists()]
    assert missing == []


# -- size


def _tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    if shutil.which("git") is None:
        pytest.skip("git is not installed: apt-get install git")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name]


def test_a_checkout_with_its_history_is_smaller_than_100_mb():
    tracked = sum(path.stat().st_size for path in _tracked() if path.is_file())
    command = ["git", "rev-list", "--disk-usage", "--objects", "HEAD"]
    history = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert tracked + history < 100e6


# -- safety of loading


def test_loading_the_module_runs_no_code_but_the_line_that_finds_the_library():
    allowed = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
    body = ast.parse(MODULE.read_text(encoding="utf-8")).body
    others = [ast.unparse(node) for node in body[1:] if not isinstance(node, allowed)]
    assert len(others) == 2
    assert others[0].startswith("ROOT = next(")
    assert others[1].startswith("if str(ROOT) not in sys.path:")


def test_only_what_slicer_brings_is_imported_at_file_scope():
    known = set(sys.stdlib_module_names) | BUNDLED | {"TernarySegmentLib"}
    loaded = [path for path in [MODULE, *LIBRARY] if not any(part in path.as_posix() for part in NEEDS_MORE)]
    assert {path.name: found for path in loaded if (found := imports(path, everywhere=False) - known)} == {}


def test_only_the_command_that_is_asked_for_an_archive_opens_a_network_connection():
    archive = ROOT / "TernarySegmentLib" / "cohort" / "dicomweb.py"
    assert imports(archive, True) & NETWORK
    others = [path for path in [MODULE, *LIBRARY] if path != archive]
    assert {path.name: sorted(found) for path in others if (found := imports(path, True) & NETWORK)} == {}


def test_torch_is_never_installed_from_slicer():
    for path in (ROOT / "TernarySegmentLib" / "slicer_ui").rglob("*.py"):
        assert "torch" not in path.read_text(encoding="utf-8")
