"""Compiling the kernels once per computer: where the machine code is kept, and a child process that makes it.

numba raises already while decorating when it finds no folder to cache in (read-only installs, no home), and code
compiled for a function is not renewed when a callee in another file changes. Both are settled here: the cache lies in
a user-writable folder whose name carries this library's version, and without such a folder nothing is cached.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

from TernarySegmentLib import __version__

WARM = "warm"
"""Name of the empty file that tells that every kernel has been compiled into a cache folder."""


def _candidates() -> list[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folders = [Path(os.environ["TERNARYSEGMENT_CACHE"])] if "TERNARYSEGMENT_CACHE" in os.environ else []
    folders += [Path(home) / "TernarySegment"] if home else []
    folders.append(Path("~/.cache/TernarySegment").expanduser())
    return folders


def cache_folder() -> Path | None:
    """A folder we may write to, made for this version of the library and of numba; None when there is none."""
    for base in _candidates():
        folder = base / f"kernels-{__version__}-numba-{numba.__version__}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


def is_warm() -> bool:
    """Whether the kernels have been compiled here before, so that importing them is quick."""
    folder = cache_folder()
    return folder is not None and (folder / WARM).exists()


def mark_warm() -> None:
    """Remember that every kernel lies in the cache."""
    folder = cache_folder()
    if folder is not None:
        (folder / WARM).touch()


def warm_in_child(executable: str = sys.executable) -> subprocess.Popen[bytes]:
    """Start a Python process that compiles all kernels into the cache, so that no other thread waits for LLVM.

    Args:
        executable: the Python interpreter to run; inside Slicer that is PythonSlicer.
    """
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); import TernarySegmentLib.engine.kernels"
    return subprocess.Popen([executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compiled(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile to machine code that runs without the GIL, from the cache where there is one."""

    def decorate(function: Callable[..., Any]) -> Any:
        folder, before = cache_folder(), numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder or "")
        try:
            return numba.njit(signature, nogil=True, cache=folder is not None)(function)
        finally:
            numba.config.CACHE_DIR = before  # other users of numba in this process keep their own place

    return decorate


@intrinsic
def popcount(typing_context: Any, value: types.Integer) -> Any:
    """Number of set bits; LLVM turns a loop of it into VPOPCNTQ, vpshufb or NEON cnt."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return value(value), generate
