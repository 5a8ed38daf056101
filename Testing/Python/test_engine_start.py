"""Starting: the kernels' cache may be filled by several processes, and loading them never gets in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from TernarySegmentLib.engine.network import load_kernels, load_kernels_meanwhile

ROOT = Path(__file__).resolve().parents[2]


def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    pytest.importorskip("numba", reason="numba is not installed; there is no cache")
    code = "from TernarySegmentLib.engine import jit, kernels; print(jit.cache_folder(), jit.is_warm(), kernels.NAME)"
    environment = {**os.environ, "TERNARYSEGMENT_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    children = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [child.communicate()[0].split() for child in children]
    assert told[0] == told[1]
    assert told[0][0].startswith(str(tmp_path))
    assert told[0][1:] == ["True", "numba"]
    third = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert third.stdout.split() == told[0], third.stderr


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_kernels_loaded_meanwhile_are_those_asked_for_later(backend):
    loading = load_kernels_meanwhile(backend)
    kernels = load_kernels(backend)  # while the other thread may still be at it
    loading.join()
    assert kernels is load_kernels(backend)


def test_a_numba_that_does_not_import_leaves_the_work_to_numpy(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.3 or less')\n")
    code = (
        "from TernarySegmentLib.engine.network import load_kernels\n"
        "from TernarySegmentLib.phantom import make_phantom\n"
        "from TernarySegmentLib.pipeline import segment\n"
        "stages = (news.stage for news in segment(make_phantom(0).ct))\n"
        "print(next(stage for stage in stages if stage.startswith('Looking')), load_kernels('auto').NAME)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert child.stdout.split()[-1:] == ["numpy"], child.stderr


def test_compiled_kernels_are_made_again_when_a_file_they_consist_of_changes(tmp_path):
    pytest.importorskip("numba", reason="numba is not installed; there is no cache")
    library = tmp_path / "TernarySegmentLib"
    shutil.copytree(ROOT / "TernarySegmentLib" / "engine", library / "engine")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "TernarySegmentLib" / name, library)
    code = "from TernarySegmentLib.engine import jit; print(jit.cache_folder())"
    environment = {**os.environ, "TERNARYSEGMENT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def folder() -> str:
        child = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=True
        )
        return child.stdout

    seen = {folder()}
    for name in ("bitplanes.py", "kernels.py", "parameters.py", "vectors.py"):
        with (library / "engine" / name).open("a", encoding="utf-8") as file:
            file.write("# another constant\n")
        seen.add(folder())
    assert len(seen) == 5
    assert all(path.startswith(str(tmp_path / "cache")) for path in seen)
