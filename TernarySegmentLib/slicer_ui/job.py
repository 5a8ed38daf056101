"""The one long job the panel runs at a time, with its progress bar and its Cancel button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.background import Background, Steps
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.timing import in_words

JOB = "job"


class LongJob:
    """Shows what runs, and how long it will.

    Args:
        ui: the panel's widgets by name.
        background: where it runs.
        status: where it is told.
        changed: called when a job begins or ends.
    """

    def __init__(self, ui: Any, background: Background, status: Status, changed: Callable[[], None]) -> None:
        self._ui, self._background, self._status, self._changed = ui, background, status, changed
        self._expected: float | None = None
        self._needs: Callable[[], bool] = lambda: True
        ui.cancelButton.connect("clicked()", self.cancel)

    @property
    def running(self) -> bool:
        """Whether a job runs, also one that was asked to stop."""
        return self._background.busy(JOB)

    def start(
        self,
        work: Callable[[], Steps],
        done: Callable[[Any], None],
        text: str,
        expected_s: float | None = None,
        needs: Callable[[], bool] = lambda: True,
    ) -> None:
        """Begin.

        Args:
            work: see :meth:`Background.run`.
            done: gets the result on the main thread.
            text: what to say meanwhile.
            expected_s: how long it should take; None when unknown.
            needs: whether what the job works for is still there; if not, it is cancelled.
        """
        self._expected, self._needs = expected_s, needs

        def finished(result: Any) -> None:
            self._end(lambda: done(result))

        def failed(error: BaseException) -> None:
            self._end(lambda: self._status.fail(error))

        def cancelled() -> None:
            self._end(lambda: self._status.say(_("Cancelled; the scene is as it was.")))

        self._status.say(text)
        self._background.run(JOB, work, finished, failed, self._show, cancelled)
        self._changed()

    def cancel(self) -> None:
        """Ask the job to stop; the scene stays as it is."""
        if self.running and not self._background.cancelling(JOB):
            self._background.cancel(JOB)
            self._status.say(_("Cancelling …"))
            self._ui.cancelButton.enabled = False

    def update(self) -> None:
        """Bring the Cancel button in line, and stop when what the job works for is gone."""
        if self.running and not self._needs():
            self.cancel()
        self._ui.cancelButton.enabled = self.running and not self._background.cancelling(JOB)

    def _show(self, news: Progress) -> None:
        self._ui.progressBar.value = round(news.fraction * 1000)
        if self._background.cancelling(JOB):
            return
        if not self._needs():
            self.cancel()
            return
        expected = self._expected
        remaining = expected - news.elapsed_s if news.remaining_s is None and expected else news.remaining_s
        left = _(", {time} left").format(time=in_words(remaining)) if remaining is not None and remaining > 0 else ""
        self._status.show(f"{news.stage}{left}")

    def _end(self, conclude: Callable[[], None]) -> None:
        conclude()
        self._ui.progressBar.value = 0
        self._changed()
