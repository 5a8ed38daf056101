"""Compiling the kernels once per computer: where the machine code is kept, and a child process that makes it.

numba raises already while decorating when it finds no folder to cache in (read-only installs, no home); it does not
renew a function's code when a callee in another file changes; and it keeps one set of code per source folder. All three
are settled here: the cache lies in a user-writable folder named after the kernels' version, place and content, and
without such a folder nothing is cached.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

from TernarySegmentLib import __version__
from TernarySegmentLib.engine.vectors import features

WARM = "warm"
"""Name of the empty file that tells that every kernel has been compiled into a cache folder."""


def _candidates() -> list[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folders = [Path(os.environ["TERNARYSEGMENT_CACHE"])] if "TERNARYSEGMENT_CACHE" in os.environ else []
    folders += [Path(home) / "TernarySegment"] if home else []
    folders.append(Path("~/.cache/TernarySegment").expanduser())
    return folders


def _identity() -> str:
    """Tells this copy of the kernels from any other: versions, processor, place and content of the source files."""
    digest = hashlib.sha256(" ".join(sorted(features())).encode())
    for name in ("bitplanes.py", "jit.py", "kernels.py", "parameters.py", "vectors.py"):
        path = Path(__file__).with_name(name)
        digest.update(str(path).encode() + path.read_bytes())
    return f"kernels-{__version__}-numba-{numba.__version__}-{digest.hexdigest()[:12]}"


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """A folder we may write to, made for this copy of the kernels; None when there is none."""
    identity = _identity()
    for base in _candidates():
        folder = base / identity
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
    return subprocess.Popen(
        [executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows a console would open otherwise
    )  # fmt: skip


def compiled(signature: Any, possible: bool = True) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: compile to machine code that runs without the GIL, from the cache where there is one.

    Args:
        signature: of the function.
        possible: whether this processor has the instructions; without, the function is left as it is, not to be called.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        if not possible:
            return function
        folder, before = cache_folder(), numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder or "")
        try:
            return numba.njit(signature, nogil=True, cache=folder is not None)(function)
        finally:
            numba.config.CACHE_DIR = before  # other users of numba in this process keep their own place

    return decorate
