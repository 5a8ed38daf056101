"""The package as CMake makes it, unpacked where nobody may write: the module runs from there."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "Testing" / "Packaging"
NOBODY = 65534
LEFT_OUT = ("bench", "training")
if shutil.which("cmake") is None:
    pytest.skip("needs cmake (apt-get install cmake g++)", allow_module_level=True)


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output, also as the message when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def package() -> Iterator[Path]:
    """The unpacked archive: the folder that holds lib/ and share/."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # another user must be able to enter
        build = folder / "build"
        run("cmake", "-S", ROOT, "-B", build, f"-DSlicer_DIR={PACKAGING}", f"-DSTANDIN_PYTHON={sys.executable}")
        run("cmake", "--build", build, "--target", "package")
        [archive] = build.glob("*.tar.gz")
        with tarfile.open(archive) as content:
            content.extractall(folder / "installed", filter="data")
        yield folder / "installed" / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def modules(package: Path) -> Path:
    """The flat folder that Slicer scans for modules."""
    return package / "lib" / "Slicer-5.12" / "qt-scripted-modules"


def test_the_package_holds_the_module_its_library_and_its_resources_and_nothing_else(package, modules):
    assert {path.name for path in modules.iterdir()} == {"TernarySegment.py", "TernarySegmentLib", "Resources"}
    assert [path.name for path in modules.glob("*.py")] == ["TernarySegment.py"]  # Slicer takes any other for a module
    assert {path.name for path in package.iterdir()} == {"lib", "share"}
    for folder in ("TernarySegmentLib", "Resources/Icons", "Resources/Models", "Resources/UI"):
        tree = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()}
        sources = {path for path in tree if "__pycache__" not in path.parts and path.suffix != ".typed"}
        wanted = {path for path in sources if path.parts[1] not in LEFT_OUT}
        assert {path.relative_to(modules) for path in (modules / folder).rglob("*") if path.is_file()} == wanted


def test_the_package_holds_no_training_no_benchmark_and_no_import_of_torch(modules):
    assert not [path for name in LEFT_OUT for path in modules.rglob(name)]
    imports = re.compile(r"^\s*(?:import|from)\s+torch\b", re.MULTILINE)
    assert not [path for path in modules.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))]


def test_the_installed_command_line_says_where_the_benchmark_is(modules):
    # -S: an editable installation beside it would be found where the package lacks a module
    command = [sys.executable, "-S", "-B", "-m", "TernarySegmentLib", "bench", "networks", "--rounds", "1"]
    environment = {**os.environ, "PYTHONPATH": str(modules)}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: The benchmark is not part of the installation in 3D Slicer; .*\n", done.stderr)


def test_the_description_names_the_category_and_the_pancreas(package):
    text = (package / "share" / "Slicer-5.12" / "TernarySegment.s4ext").read_text(encoding="utf-8")
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    assert lines["category"] == "Segmentation"
    assert "pancreas" in lines["description"]


@pytest.mark.parametrize("wrong", ["../README.md", str(ROOT / "README.md"), "TernarySegmentLib/absent.py"])
def test_a_file_that_slicer_would_not_package_is_refused(wrong, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(Wrong NONE)\nfind_package(Slicer REQUIRED)\n"
        f'include(${{Slicer_USE_FILE}})\nslicerMacroBuildScriptedModule(NAME Wrong SCRIPTS "{wrong}")\n'
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DSlicer_DIR={PACKAGING}"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "slicerMacroBuildScriptedModule" in done.stderr


def _unprivileged(folder: Path, home: Path) -> list[str]:
    """What to put before a command so that it cannot write into the folder; root is not stopped by permissions."""
    starts_itself = "import numpy, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    python = [sys.executable, "-c", starts_itself]
    if os.getuid() != 0:
        for path in folder.rglob("*"):
            path.chmod(path.stat().st_mode & ~0o222)
        return []
    drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if shutil.which("setpriv") and subprocess.run([*drop, *python], capture_output=True, cwd="/").returncode == 0:
        os.chown(home, NOBODY, NOBODY)
        return drop
    mount = f"mount --bind '{folder}' '{folder}' && mount -o remount,bind,ro '{folder}' && exec \"$@\""
    bind = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") and subprocess.run([*bind, *python], capture_output=True, cwd="/").returncode == 0:
        return bind
    pytest.skip("runs as root and can neither become another user nor mount a folder read-only")


@pytest.mark.parametrize("home_exists", [True, False], ids=["home", "no home"])
def test_the_module_segments_from_an_installed_tree_that_cannot_be_written_to(modules, home_exists):
    if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
        pytest.skip("needs the test host's packages: pip install -e .[host]")
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        before = _unprivileged(modules, home)
        environment = {
            key: os.environ[key] for key in ("PATH", "LANG", "VTK_DEFAULT_OPENGL_WINDOW") if key in os.environ
        }
        environment["HOME"] = (
            str(home) if home_exists else "/proc/no home"
        )  # where nobody can make a folder, not even root
        said = run(
            *before,
            sys.executable,
            PACKAGING / "segment_installed.py",
            modules,
            "--read-only",
            env=environment,
            cwd="/",
        )
    assert "segmented" in said
    assert f"all from {modules}" in said
