"""Work off the main thread: started here, polled by a timer; the panel's one long job, and how long it takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from statistics import median
from typing import Any

import qt
from slicer.i18n import tr as _

from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.runner import Runner
from TernarySegmentLib.slicer_ui.status import Status

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
    """One piece of work and its callbacks, each called on the main thread.

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
        task.runner.start()  # a thread that cannot be had is reported as the task's failure, at the next look
        self._timer.start()

    def busy(self, name: str) -> bool:
        """True while a task of that name runs, cancelled or not."""
        return name in self._tasks

    def cancelling(self, name: str) -> bool:
        """True while a task of that name runs that was asked to stop."""
        return name in self._tasks and self._tasks[name].runner.cancelled

    def cancel(self, name: str) -> None:
        """Ask a task to stop at its next step; its ``cancelled`` is called then."""
        if name in self._tasks:
            self._tasks[name].runner.cancel()

    def drop(self, name: str) -> None:
        """Cancel a task; none of its callbacks is called any more."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.runner.cancel()
            self._abandoned.append(task.runner)

    def drop_all(self, kind: str) -> None:
        """Drop every task whose name begins so."""
        for name in [name for name in self._tasks if name.startswith(kind)]:
            self.drop(name)

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
        try:
            for name, task in list(self._tasks.items()):
                self._look_at(name, task)
        finally:
            self._abandoned = [runner for runner in self._abandoned if runner.running]
            if not self._tasks:
                self._timer.stop()

    def _look_at(self, name: str, task: Task) -> None:
        finished = not task.runner.running  # asked before the queue is emptied, so that no news is lost
        try:
            for news in task.runner.progress():
                if task.progress is not None:
                    task.progress(news)
        finally:  # whatever showing the news raises, the task ends
            if finished and self._tasks.get(name) is task:
                del self._tasks[name]
                _conclude(task)


def _conclude(task: Task) -> None:
    """Report how a task ended; what the receiver of a result raises counts as the task's failure."""
    if task.runner.cancelled:
        if task.cancelled is not None:
            task.cancelled()
        return
    error = task.runner.error
    if error is None:
        try:
            task.done(task.runner.result)
        except Exception as raised:
            error = raised
    if error is not None:
        task.failed(error)


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


JOB = "job"


class LongJob:
    """Shows what runs, and how long it will.

    Args:
        ui: the panel's widgets by name.
        background: where it runs.
        status: where it is reported.
        changed: called when a job begins or ends.
    """

    def __init__(self, ui: Any, background: Background, status: Status, changed: Callable[[], None]) -> None:
        self._ui, self._background, self._status, self._changed = ui, background, status, changed
        self._expected: float | None = None
        self._needs: Callable[[], bool] = lambda: True
        self._gone = self._stopped = ""
        ui.cancelButton.connect("clicked()", self.cancel)

    @property
    def running(self) -> bool:
        """True while a job runs, also one that was asked to stop."""
        return self._background.busy(JOB)

    def start(
        self,
        work: Callable[[], Steps],
        done: Callable[[Any], None],
        text: str,
        expected_s: float | None = None,
        needs: Callable[[], bool] = lambda: True,
        gone: str = "",
        stopped: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        """Begin.

        Args:
            work: see :meth:`Background.run`.
            done: gets the result on the main thread.
            text: what to say meanwhile.
            expected_s: how long it should take; None when unknown.
            needs: whether what the job works for is still there; if not, it is stopped.
            gone: what to say then.
            stopped: is called instead of ``done``, with what went wrong, or None when the job was cancelled.
        """
        self._expected, self._needs, self._gone = expected_s, needs, gone
        self._stopped = _("Cancelled; the scene is as it was.")

        def finished(result: Any) -> None:
            self._end(lambda: done(result))

        def failed(error: BaseException) -> None:
            self._end(lambda: stop(error))

        def cancelled() -> None:
            self._end(lambda: stop(None))

        def stop(error: BaseException | None) -> None:
            if error is not None:
                self._status.fail(error)
            else:
                self._status.say(self._stopped)
            if stopped is not None:
                stopped(error)

        self._status.say(text)
        self._background.run(JOB, work, finished, failed, self._show, cancelled)
        self._changed()

    def cancel(self) -> None:
        """Ask the job to stop; the scene stays as it is."""
        if self.running and not self._background.cancelling(JOB):
            self._background.cancel(JOB)
            self._status.say(_("Cancelling …"))
            self._ui.cancelButton.enabled = False

    def drop(self) -> None:
        """The scene is closing: stop without a word."""
        self._background.drop(JOB)
        self._ui.progressBar.value = 0

    def update(self) -> None:
        """Bring the Cancel button in line, and stop when what the job works for is gone."""
        if self.running and not self._needs():
            self._stop_in_vain()
        self._ui.cancelButton.enabled = self.running and not self._background.cancelling(JOB)

    def _show(self, news: Progress) -> None:
        self._ui.progressBar.value = round(news.fraction * 1000)
        if self._background.cancelling(JOB):
            return
        if not self._needs():
            self._stop_in_vain()
            return
        expected = self._expected
        remaining = expected - news.elapsed_s if news.remaining_s is None and expected else news.remaining_s
        left = (
            _(", {time} left").format(time=format_duration(remaining))
            if remaining is not None and remaining > 0
            else ""
        )
        self._status.show(f"{news.stage}{left}")

    def _stop_in_vain(self) -> None:
        if self._gone:
            self._stopped = self._gone
        self.cancel()

    def _end(self, conclude: Callable[[], None]) -> None:
        try:
            conclude()
        finally:  # whatever went wrong, the panel can be used again
            self._ui.progressBar.value = 0
            self._changed()


REMEMBERED = 7
"""Runs per back end; their median ignores the one that met a busy computer."""


class Timing:
    """Remembers the seconds of earlier runs in the application's settings.

    Args:
        settings: has ``value(key)`` and ``setValue(key, text)``, as QSettings.
    """

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def expected(self, backend: str) -> float | None:
        """Seconds a run should take with these kernels; None before the first."""
        seconds = self._seconds(backend)
        return median(seconds) if seconds else None

    def learn(self, backend: str, seconds: dict[str, float]) -> None:
        """Remember a run by its stages' seconds; what happens only once is left out."""
        total = sum(value for stage, value in seconds.items() if "only this once" not in stage)
        latest = [*self._seconds(backend), total][-REMEMBERED:]
        self._settings.setValue(self._key(backend), " ".join(f"{value:.2f}" for value in latest))

    def _seconds(self, backend: str) -> list[float]:
        text = self._settings.value(self._key(backend))
        with contextlib.suppress(ValueError):  # settings that someone edited by hand
            return [float(value) for value in str(text or "").split()]
        return []

    @staticmethod
    def _key(backend: str) -> str:
        return f"TernarySegment/seconds-{backend}"


def format_duration(seconds: float) -> str:
    """E.g. "under 1 s", "about 7 s", "about 3 min"."""
    if seconds < 1:
        return "under 1 s"
    return f"about {seconds:.0f} s" if seconds < 99.5 else f"about {seconds / 60:.0f} min"
