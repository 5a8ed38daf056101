"""What every use of ITK's readers and writers needs: names it can open, quiet, and its errors in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.errors import InputError


def itk_path(path: Path) -> str:
    """The path as ITK takes it; a name that is no Unicode text would end the process inside ITK.

    Raises:
        InputError: such a name.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise InputError(f"The name “{shown}” is no valid Unicode text; rename the file or folder.") from error
    return str(path)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters in them is checked here and said in a sentence."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let ITK's filters use so many threads and no more."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def itk_failure(error: RuntimeError, what: str, advice: str) -> Exception:
    """An ITK exception as the one to raise: out of memory, or a sentence with ITK's own last line."""
    if is_out_of_memory(error):
        return MemoryError(str(error))
    return InputError(f"{what} ({reason(error)}); {advice}.")


def is_out_of_memory(error: Exception) -> bool:
    """True where ITK or the system says that memory could not be had."""
    text = str(error).lower()
    return any(words in text for words in ("bad_alloc", "allocate memory", "memory allocation", "out of memory"))


def reason(error: Exception) -> str:
    """The last line of an ITK exception without its address, e.g. "file ended early"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # ITK adds whatever error number the system last had, "No such file" for a file that was found and cut off
    lines = [line for line in lines if not line.startswith("Reason:")]
    last = lines[-1] if lines else type(error).__name__
    return last.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")[:200]
