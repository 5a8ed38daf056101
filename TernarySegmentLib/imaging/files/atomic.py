"""Put a file in its place whole, checked and safe on the disk, or leave what was there."""

from __future__ import annotations

import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.itk import is_out_of_memory, reason

_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")


@contextmanager
def atomic_path(path: str | Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it when the block ends well, and is gone when it does not.

    Before it replaces anything, the file is flushed to the disk and given to ``check``: several writers, ITK's for
    NIfTI among them, do not notice a full disk. A link is followed, so that it stays a link.

    Args:
        path: where to; missing folders are created.
        check: raises :class:`OutputError` or OSError when the file it is given is not what was to be written.

    Yields:
        A short name in the same folder. It ends like the final one, in small letters, since writers go by the ending.

    Raises:
        OutputError: the folder or file cannot be written, said in one sentence.
    """
    path = Path(path)
    temporary = None
    try:
        target = Path(os.path.realpath(path))
        refuse_special(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{_prefix(target)}{uuid.uuid4().hex[:4]}{_suffix(target.name.lower())}")
        yield temporary
        _flush(temporary, os.O_RDWR)  # Windows flushes no file that was opened for reading
        if check is not None:
            check(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
        with suppress(OSError):  # some systems open no folders
            _flush(target.parent, os.O_RDONLY)
    except (OSError, RuntimeError, ValueError) as error:  # SimpleITK raises RuntimeError; a NUL in a name ValueError
        if isinstance(error, RuntimeError) and is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        raise OutputError(
            f"“{path}” cannot be written ({_reason(error)}); choose another folder or free some space."
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def remains_of(path: str | Path) -> list[Path]:
    """Temporary files that writers of this very path left beside it when they were killed."""
    target = Path(os.path.realpath(path))
    return sorted(target.parent.glob(f"{_prefix(target)}*"))


def _prefix(target: Path) -> str:
    """How temporary names for a file begin: short, since the file's own name may be as long as a system allows."""
    name = target.name.encode("utf-8", "surrogateescape")
    return f".ternarysegment-{zlib.crc32(name):08x}-"


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file, read it back and put it in its place.

    Raises:
        OutputError: as :func:`atomic_path`.
    """

    def check(written: Path) -> None:
        if written.read_bytes() != content:
            raise incomplete()

    with atomic_path(path, check) as temporary:
        temporary.write_bytes(content)


def incomplete() -> OSError:
    """What a check raises for a file that is not what was written."""
    return OSError("it reads back other than it was written, as on a full or failing disk")


def refuse_special(target: Path) -> None:
    """Refuse a folder, pipe or device in place of a file: replacing /dev/null would take it from every program.

    Raises:
        OSError: it is one of these.
    """
    if target.is_dir():
        raise IsADirectoryError(f"“{target}” is a folder")
    if target.exists() and not target.is_file():
        raise OSError(f"“{target}” is a pipe or device, not a file")


def _suffix(name: str) -> str:
    double = next((suffix for suffix in _DOUBLE_SUFFIXES if name.endswith(suffix)), "")
    return double or Path(name).suffix


def _flush(path: Path, how: int) -> None:
    """Have the system put a file, or the list of files in a folder, on the disk; raises what it could not write."""
    descriptor = os.open(path, how)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else reason(error)
