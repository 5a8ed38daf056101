"""A segmentation on a background thread: progress comes through a queue, cancel is checked between steps."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from TernarySegmentLib.pipeline import Progress

Outcome = TypeVar("Outcome")


class Runner(Generic[Outcome]):
    """Runs one generator to its end. Knows nothing of Qt or MRML; the main thread polls it.

    Args:
        work: called on the background thread; makes the generator, so that preparing it is off the main thread too.
    """

    def __init__(self, work: Callable[[], Generator[Progress, None, Outcome]]) -> None:
        self.result: Outcome | None = None
        self.error: BaseException | None = None
        self._work = work
        self._cancel = threading.Event()
        self._progress: queue.SimpleQueue[Progress] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="TernarySegment", daemon=True)

    def start(self) -> None:
        """Begin; where no thread can be had, that is the work's error."""
        try:
            self._thread.start()
        except RuntimeError as error:  # "can't start new thread": most often for want of memory
            self.error = MemoryError(str(error))

    def cancel(self) -> None:
        """Ask to stop at the next step; a result that is already there is thrown away."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """True once someone asked to stop."""
        return self._cancel.is_set()

    @property
    def running(self) -> bool:
        """True while the thread works."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; True if it came within the time."""
        if self._thread.ident is not None:  # it was had
            self._thread.join(timeout_s)
        return not self.running

    def progress(self) -> list[Progress]:
        """What was reported since the last call, oldest first; never waits."""
        news: list[Progress] = []
        while True:
            try:
                news.append(self._progress.get_nowait())
            except queue.Empty:
                return news

    def _run(self) -> None:
        _take_normal_priority()
        try:
            steps = self._work()
            try:
                while not self.cancelled:
                    self._progress.put(next(steps))
            except StopIteration as end:
                self.result = None if self.cancelled else end.value
            finally:
                steps.close()
        except BaseException as error:  # handed to the main thread, which shows it; a thread has nobody else to tell
            self.error = error


def _take_normal_priority() -> None:
    """Give the calling thread, and those it starts, an ordinary program's share of the processor.

    Slicer on Linux lowers its main thread to the least priority (nice 19, see SLICER_BACKGROUND_THREAD_PRIORITY), which
    every thread started from it inherits; beside a busy program a segmentation would then hardly go on. A system that
    lets nobody raise a priority leaves things as they are.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) > 0:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, 0)
