"""Starting: the kernels' cache may be filled by several processes, and loading them never gets in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from case_counts import CASES
from quick_model import quick_model

from TernarySegmentLib.engine.network import load_kernels, load_kernels_meanwhile

ROOT = Path(__file__).resolve().parents[2]


LOADED = "from TernarySegmentLib.engine import jit, kernels; print(jit.cache_folder(), jit.is_warm(), kernels.NAME)"


def child(code: str, cache: Path, **options) -> subprocess.Popen:
    """A Python process that finds the library here and keeps its kernels in ``cache``."""
    environment = {**os.environ, "TERNARYSEGMENT_CACHE": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def full_cache(tmp_path_factory) -> Path:
    """A cache that two processes filled at once, as a third one sees it."""
    pytest.importorskip("numba", reason="numba is not installed; there is no cache")
    cache = tmp_path_factory.mktemp("cache")
    for process in [child(LOADED, cache) for _ in range(2)]:
        _, said = process.communicate()
        assert process.returncode == 0, said
    return cache


def test_two_processes_may_fill_the_cache_at_once(full_cache):
    said, errors = child(LOADED, full_cache).communicate()
    assert said.split()[0].startswith(str(full_cache)), errors
    assert said.split()[1:] == ["True", "numba"]


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "one bit": flipped,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
    "a folder": folder_instead,
}


def files_in(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_damaged_in_any_file_is_emptied_before_numba_reads_it(
    full_cache, damage, tmp_path, monkeypatch, record_property
):
    from TernarySegmentLib.engine import jit

    relative = [path.relative_to(full_cache) for path in files_in(full_cache)]
    record_property(CASES, len(relative))
    assert len(relative) > 5
    for number, name in enumerate(relative):
        cache = tmp_path / str(number)
        shutil.copytree(full_cache, cache)
        monkeypatch.setenv("TERNARYSEGMENT_CACHE", str(cache))
        jit.cache_folder.cache_clear()
        assert jit.is_warm(), "a copy is as good"
        DAMAGES[damage](cache / name)
        jit.cache_folder.cache_clear()
        assert jit.cache_folder() is None or not jit.is_warm(), name
        assert not files_in(cache), name
    jit.cache_folder.cache_clear()


MASK = """
import hashlib
from pathlib import Path
{before}
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import Options, run, segment
import SimpleITK as sitk
options = Options(model=Path({model!r}), python="no such program")
found = run(segment(make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct, options))
print(found.backend, hashlib.sha256(sitk.GetArrayFromImage(found.mask)).hexdigest())
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"


@pytest.fixture(scope="module")
def wanted(full_cache) -> str:
    """Digest of the mask that a sound cache gives."""
    said, errors = child(MASK.format(before="", model=str(quick_model())), full_cache).communicate()
    assert said.startswith("numba "), errors
    return said.split()[1]


@pytest.mark.parametrize(
    ("before", "backend"),
    [
        pytest.param("", "numba", id="a bit flipped"),
        pytest.param(FULL, "numba", id="full disk"),
        pytest.param(
            f"from TernarySegmentLib.engine import jit; jit.cache_folder(); {FULL}", "numba",
            id="disk that fills up while compiling",
        ),
        pytest.param(
            "import numba\ndef njit(*a, **k): raise RuntimeError('no compiler')\nnumba.njit = njit", "numpy",
            id="compiler that fails",
        ),
    ],
)  # fmt: skip
def test_a_bad_cache_costs_time_and_never_the_mask(full_cache, wanted, before, backend, tmp_path):
    if "resource" in before:
        pytest.importorskip("resource", reason="this system has no limits on files")
    cache = tmp_path / "cache"
    shutil.copytree(full_cache, cache)
    flipped(next(path for path in files_in(cache) if path.suffix == ".nbc"))
    said, errors = child(MASK.format(before=before, model=str(quick_model())), cache).communicate()
    assert said.split() == [backend, wanted], errors


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
        "stages = (news.stage for news in segment(make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct))\n"
        "print(next(stage for stage in stages if stage.startswith('Looking')), load_kernels('auto').NAME)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split()[-1:] == ["numpy"], done.stderr


def test_compiled_kernels_are_made_again_when_a_file_they_consist_of_changes(tmp_path):
    pytest.importorskip("numba", reason="numba is not installed; there is no cache")
    library = tmp_path / "TernarySegmentLib"
    shutil.copytree(ROOT / "TernarySegmentLib" / "engine", library / "engine")
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "TernarySegmentLib" / name, library)
    code = "from TernarySegmentLib.engine import jit; print(jit.cache_folder())"
    environment = {**os.environ, "TERNARYSEGMENT_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path)}

    def folder() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=True
        )
        return done.stdout

    seen = {folder()}
    for name in ("bitplanes.py", "kernels.py", "parameters.py", "vectors.py"):
        with (library / "engine" / name).open("a", encoding="utf-8") as file:
            file.write("# another constant\n")
        seen.add(folder())
    assert len(seen) == 5
    assert all(path.startswith(str(tmp_path / "cache")) for path in seen)
