"""The bill of materials names what is installed, and no more than is needed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def installed():
    try:
        version("ternarysegment")
    except PackageNotFoundError:
        pytest.skip("the package is not installed here: pip install -e .")


def bill(*extras: str) -> dict:
    arguments = [word for extra in extras for word in ("--extra", extra)]
    command = [sys.executable, ROOT / "tools" / "sbom.py", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_without_extras_there_are_four_packages_and_the_models():
    found = {each["name"]: each for each in bill()["components"]}
    packages = {name for name, each in found.items() if each["type"] == "library"}
    assert packages - {"colorama"} == {"numpy", "pydicom", "simpleitk", "tqdm"}  # colorama on Windows
    assert found["numpy"]["version"] == version("numpy")
    path = ROOT / "Resources" / "Models" / "pancreas.npz"
    assert found["pancreas.npz"]["hashes"][0]["content"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_extra_adds_its_packages_and_theirs():
    names = {each["name"] for each in bill("accelerate")["components"]}
    assert {"numba", "llvmlite"} <= names
    assert "torch" not in names


def test_every_reference_is_a_component_and_every_package_names_a_licence():
    found = bill("accelerate")
    known = {each["bom-ref"] for each in [*found["components"], found["metadata"]["component"]]}
    for each in found["dependencies"]:
        assert {each["ref"], *each["dependsOn"]} <= known
    assert all(each["licenses"][0]["license"]["name"] for each in found["components"])
