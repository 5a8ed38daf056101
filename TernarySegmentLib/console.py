"""The terminal of a command: text that any encoding takes, streams that may close, signals and errors in a sentence."""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from TernarySegmentLib.errors import TernarySegmentError

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130

TOO_LITTLE_MEMORY = (
    "There is not enough free memory for this scan; close other programs, or cut the scan to the abdomen."
)

_PLAIN = {"“": '"', "”": '"', "–": "-", "−": "-", "…": "...", "×": "x", "±": "+-", "’": "'"}
"""What stands for a character in messages where the terminal's encoding lacks it."""

_OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "out of memory", "failed to map segment", "can't start new thread")
"""What ITK, the dynamic linker and Python say when memory could not be had."""


class Steady:
    """A text stream whose failing is no reason to lose a result: after the first failure it drops what it is given.

    Attributes:
        failure: why it fails; None while it works.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, or give up."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        if self.failure is not None:
            return
        try:
            act()
        except (OSError, ValueError) as error:  # a full disk or closed pipe; a closed stream
            self.failure = error
            # else Python complains of it once more at its end
            with suppress(OSError, ValueError, AttributeError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def steady_streams() -> Iterator[None]:
    """Let a command print what it wants to whatever its output streams are.

    A stream that the caller closed is opened on nothing, so that no output file takes its number: libraries print
    there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    codecs.register_error("ternarysegment-plain", _in_plain_characters)
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            with suppress(ValueError, OSError):
                stream.reconfigure(errors="ternarysegment-plain")
    sys.stdout, sys.stderr = (Steady(io.StringIO() if stream is None else stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c, c.encode("ascii", "backslashreplace").decode()) for c in bad), error.end


def run(command: Callable[[], int]) -> int:
    """Run a command; every way in which it can fail becomes a sentence on stderr and an exit code.

    Returns:
        What the command returns; 1 after an error; 130 when interrupted, 143 or 129 when told to end.
    """
    with steady_streams():
        try:
            with _ended_by_signals():
                code = command()
        except KeyboardInterrupt:
            with suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            print("interrupted; what was not finished was dropped", file=sys.stderr)
            return EXIT_INTERRUPTED
        except Exception as error:
            print(f"error: {sentence(error)}", file=sys.stderr)
            return EXIT_ERROR
        sys.stdout.flush()
        failure = getattr(sys.stdout, "failure", None)
        if failure is not None and not isinstance(failure, BrokenPipeError):  # `| head` has read what it wanted
            print(f"error: Standard output cannot be written ({_reason(failure)}); free some space.", file=sys.stderr)
            return EXIT_ERROR
        return code


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn the signals that ask for an end into an exception, so that temporary files go."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # one that is ignored, as under nohup, stays so
    before = {n: signal.signal(n, end) for n in numbers if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def sentence(error: Exception) -> str:
    """What to say of an error: one sentence, what is wrong and what to do."""
    if isinstance(error, TernarySegmentError):
        return str(error)
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return TOO_LITTLE_MEMORY
    if isinstance(error, ImportError) and error.name and _is_absent(error):
        return f"{error.name} is not installed; run: pip install {error.name}"
    if isinstance(error, OSError) and error.strerror:
        where = f"“{error.filename}”: " if error.filename else ""
        return f"{where}{error.strerror}; check the path, the disk and your rights."
    return f"This is a fault of the program ({_reason(error)}{_place(error)}); please report it."


def _is_absent(error: ImportError) -> bool:
    """False where the package is there but does not load."""
    return isinstance(error, ModuleNotFoundError)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f" in {Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"
