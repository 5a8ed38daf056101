"""Starting: the kernels' cache may be filled by several processes, and loading them never gets in the way."""

from __future__ import annotations

import os
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
