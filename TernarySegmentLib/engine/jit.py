"""Compiling the kernels once per computer: where the machine code is kept, and a child process that makes it.

numba raises already while decorating when it finds no folder to cache in (read-only installs, no home); it does not
renew a function's code when a callee in another file changes; and it keeps one set of code per source folder. All three
are settled here: the cache lies in a user-writable folder named after the kernels' version, place and content, and
without such a folder nothing is cached.

numba also believes whatever lies in its cache, and a flipped bit in machine code computes another mask. A full cache
is therefore sealed with the SHA-256 of every file; where the seal does not fit, the files are removed and made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numba

from TernarySegmentLib import __version__
from TernarySegmentLib.engine.vectors import features

SEAL = "warm"
"""Name of the file that tells that every kernel has been compiled into a cache folder, and the files' digests."""
ROOM_BYTES = 2 * 2**20
"""What must fit into a folder before kernels are compiled into it; they take 0.5 MB."""


def _candidates() -> list[Path]:
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folders = [Path(os.environ["TERNARYSEGMENT_CACHE"])] if "TERNARYSEGMENT_CACHE" in os.environ else []
    folders += [Path(home) / "TernarySegment"] if home else []
    folders.append(Path("~/.cache/TernarySegment").expanduser())
    return folders


def _identity() -> str:
    """Tells this copy of the kernels from any other: versions, processor, place and content of the source files."""
    digest = hashlib.sha256(" ".join([str(sys.implementation.cache_tag), *sorted(features())]).encode())
    for name in ("bitplanes.py", "jit.py", "kernels.py", "parameters.py", "vectors.py"):
        path = Path(__file__).with_name(name)
        digest.update(str(path).encode() + path.read_bytes())
    return f"kernels-{__version__}-numba-{numba.__version__}-{digest.hexdigest()[:12]}"


@lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """A folder made for this copy of the kernels, either whole or empty with room for them; None when there is none."""
    identity = _identity()
    for base in _candidates():
        folder = base / identity
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not _is_sealed(folder):
                _make_room(folder)
        except OSError:
            continue
        return folder
    return None


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a cache folder but seals, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _is_sealed(folder: Path) -> bool:
    try:
        sealed = json.loads((folder / SEAL).read_bytes())
        return bool(sealed) and sealed == _digests(folder)
    except (OSError, ValueError, RecursionError):  # never finished, or damaged itself
        return False


def _make_room(folder: Path) -> None:
    """Remove the files of a cache that is damaged or was never finished, and see whether a new one fits.

    Raises:
        OSError: a file cannot be removed, or the disk is full.
    """
    for path in folder.rglob("*"):
        if not path.is_dir():
            path.unlink(missing_ok=True)  # another process may be at it too
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(ROOM_BYTES))
        probe.flush()


def is_warm() -> bool:
    """Test if the kernels have been compiled here before, so that importing them is quick."""
    folder = cache_folder()
    return folder is not None and _is_sealed(folder)


_uncached: list[str] = []
"""Names of the kernels that this process compiled without a cache."""


def mark_warm() -> None:
    """Seal the cache once every kernel lies in it."""
    folder = cache_folder()
    if folder is None or _uncached or _is_sealed(folder):
        return
    with suppress(OSError):  # the next process then compiles again
        temporary = folder / f"{SEAL}-{os.getpid()}"
        temporary.write_text(json.dumps(_digests(folder)))
        os.replace(temporary, folder / SEAL)


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
        if folder is None:
            return numba.njit(signature, nogil=True)(function)
        numba.config.CACHE_DIR = str(folder)
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # whatever numba and pickle raise over a cache that was damaged or filled up meanwhile
            _uncached.append(function.__name__)
            return numba.njit(signature, nogil=True)(function)
        finally:
            numba.config.CACHE_DIR = before  # other users of numba in this process keep their own place

    return decorate
