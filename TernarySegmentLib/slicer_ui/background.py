"""Work off the main thread: started here, polled by a timer, its outcome handed back on the main thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import qt

from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.runner import Runner

POLL_MS = 10
"""Between two looks at the background threads; the event loop serves the person meanwhile."""
YIELD_S = 0.02
"""Slept at each look. An event loop written in C++ may keep Python's interpreter lock; the background thread's Python
then runs only while the main thread sleeps. 20 ms of 30 leave it its speed and the views 30 frames a second."""
PATIENCE_S = 2.0
"""How long closing the application waits for a background thread."""

Steps = Generator[Progress, None, Any]


@dataclass(frozen=True)
class Task:
    """One piece of work and what hears of it, each on the main thread.

    Attributes:
        runner: the thread.
        done: gets the result, unless the work was cancelled or failed.
        failed: gets the exception.
        progress: gets each news.
        cancelled: called when the thread has stopped after a cancel.
    """

    runner: Runner[Any]
    done: Callable[[Any], None]
    failed: Callable[[BaseException], None]
    progress: Callable[[Progress], None] | None
    cancelled: Callable[[], None] | None


class Background:
    """Runs at most one task of each name; a new one replaces the old, whose outcome is dropped."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._abandoned: list[Runner[Any]] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self.poll)

    def run(
        self,
        name: str,
        work: Callable[[], Steps],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> None:
        """Start a task.

        Args:
            name: of the task; the running one of that name is dropped.
            work: makes the generator, on the background thread; touches neither Qt nor the scene.
            done, failed, progress, cancelled: see :class:`Task`.
        """
        self.drop(name)
        task = Task(Runner(work), done, failed, progress, cancelled)
        self._tasks[name] = task
        task.runner.start()
        self._timer.start()

    def busy(self, name: str) -> bool:
        """Whether a task of that name runs, cancelled or not."""
        return name in self._tasks

    def cancelling(self, name: str) -> bool:
        """Whether a task of that name runs that was asked to stop."""
        return name in self._tasks and self._tasks[name].runner.cancelled

    def cancel(self, name: str) -> None:
        """Ask a task to stop at its next step; its ``cancelled`` is called then."""
        if name in self._tasks:
            self._tasks[name].runner.cancel()

    def drop(self, name: str) -> None:
        """Cancel a task and hear no more of it."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.runner.cancel()
            self._abandoned.append(task.runner)

    def close(self) -> None:
        """Stop everything and wait; a thread left behind may crash Python's shutdown."""
        for name in list(self._tasks):
            self.drop(name)
        self._timer.stop()
        for runner in self._abandoned:
            runner.join(PATIENCE_S)
        self._abandoned = []

    def poll(self) -> None:
        """Look at every task; called by the timer."""
        time.sleep(YIELD_S)
        for name, task in list(self._tasks.items()):
            finished = not task.runner.running  # asked before the queue is emptied, so that no news is lost
            for news in task.runner.progress():
                if task.progress is not None:
                    task.progress(news)
            if finished and self._tasks.get(name) is task:
                del self._tasks[name]
                _conclude(task)
        self._abandoned = [runner for runner in self._abandoned if runner.running]
        if not self._tasks:
            self._timer.stop()


def _conclude(task: Task) -> None:
    if task.runner.cancelled:
        if task.cancelled is not None:
            task.cancelled()
    elif task.runner.error is not None:
        task.failed(task.runner.error)
    else:
        task.done(task.runner.result)


def once(stage: str, function: Callable[[], Any]) -> Callable[[], Steps]:
    """A function as work of one step.

    Args:
        stage: a short phrase for people.
        function: called on the background thread.
    """

    def steps() -> Steps:
        yield Progress(stage, 0.0, 0.0, None)
        return function()

    return steps
