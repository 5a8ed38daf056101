"""The Python package: what the wheel holds, and that it segments where no checkout is near."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import SimpleITK as sitk

from TernarySegmentLib.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
if importlib.util.find_spec("pip") is None:
    pytest.skip("needs pip", allow_module_level=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy so that nothing is left in the checkout."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("TernarySegmentLib", "Resources"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", target, source]
    subprocess.run(command, check=True)
    [built] = target.glob("*.whl")
    return built


def test_the_wheel_holds_the_library_its_types_and_the_model(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}
    library = [path for path in (ROOT / "TernarySegmentLib").rglob("*") if path.is_file()]
    files = [path for path in library if "__pycache__" not in path.parts]
    tree = {path.relative_to(ROOT).as_posix() for path in files}
    models = {f"TernarySegmentLib/Resources/Models/{path.name}" for path in (ROOT / "Resources/Models").iterdir()}
    assert names == tree | models
    assert "TernarySegmentLib/py.typed" in names
    assert wheel.stat().st_size < 10e6


def test_the_installed_wheel_segments_from_the_command_line_without_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "-q", "--target", site, wheel]
    subprocess.run(install, check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def ternarysegment(*arguments: str) -> str:
        command = [sys.executable, site / "bin" / "ternarysegment", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "SHA-256" in ternarysegment("model", "info")
    sitk.WriteImage(make_phantom(0, spacing=(3.0, 3.0, 5.0)).ct, str(tmp_path / "ct.nrrd"))
    assert "mL" in ternarysegment("segment", "ct.nrrd", "-o", "mask.nii.gz", "--backend", "numpy")
    assert (tmp_path / "mask.nii.gz").is_file()
    where = "import TernarySegmentLib.pipeline as p; print(p.__file__, p.DEFAULT_MODEL)"
    said = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert said.stdout.count(str(site)) == 2


def test_the_version_is_semantic_and_the_citation_and_the_changelog_name_the_same():
    from TernarySegmentLib import __version__

    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == __version__
