"""The bill of materials names what a user installs, and no more than is needed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAIN = {"numpy", "pydicom", "simpleitk", "tqdm"}


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    """Made by the steps of make sbom."""
    pytest.importorskip("cyclonedx_py")
    folder = tmp_path_factory.mktemp("sbom")
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    packages, target = folder / "packages.json", folder / "sbom.json"
    for arguments in (
        ["-m", "venv", "--without-pip", folder / "venv"],
        ["-m", "pip", "--python", python, "install", "-q", f"{ROOT}[accelerate]"],
        ["-m", "cyclonedx_py", "environment", "--pyproject", ROOT / "pyproject.toml", "-o", packages, python],
        [ROOT / "tools" / "sbom.py", packages, "-o", target],
    ):
        subprocess.run([sys.executable, *arguments], check=True, cwd=ROOT)
    return json.loads(target.read_text(encoding="utf-8"))


@pytest.fixture
def needs(bill):
    """What each package needs, by name."""
    found = [*bill["components"], bill["metadata"]["component"]]
    names = {each["bom-ref"]: each["name"].lower() for each in found}
    return {
        names[each["ref"]]: {names[needed] for needed in each.get("dependsOn", ())} for each in bill["dependencies"]
    }


def test_there_are_four_packages_and_what_the_accelerator_adds(bill, needs):
    packages = {each["name"].lower() for each in bill["components"] if each["type"] == "library"}
    assert packages - {"colorama"} == PLAIN | {"numba", "llvmlite"}  # colorama on Windows; no torch
    for name in PLAIN:
        assert needs[name] <= PLAIN | {"colorama"}
    assert "llvmlite" in needs["numba"]


def test_models_are_listed_with_their_check_sums(bill, needs):
    found = {each["name"]: each for each in bill["components"] if each["type"] == "machine-learning-model"}
    paths = list((ROOT / "Resources" / "Models").glob("*.npz"))
    assert {path.name for path in paths} == set(found) <= needs["ternarysegment"]
    for path in paths:
        assert found[path.name]["hashes"][0]["content"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_reference_is_a_component_and_every_component_names_a_licence(bill):
    known = {each["bom-ref"] for each in [*bill["components"], bill["metadata"]["component"]]}
    for each in bill["dependencies"]:
        assert {each["ref"], *each.get("dependsOn", ())} <= known
    assert all(each["licenses"] for each in bill["components"])
