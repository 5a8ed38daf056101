"""Looks at a volume in the background and says in a sentence what it is, or why it cannot be segmented."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.checks import CtSummary, check_ct
from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.runner import Runner
from TernarySegmentLib.slicer_ui.volumes import Scan, take_scan


class Inspection:
    """What is known about the chosen volume.

    Attributes:
        text: the sentence to show, with warnings below it.
        why_not: why it cannot be segmented (yet); empty when it can.
        error: what went wrong while looking at it.
    """

    def __init__(self) -> None:
        self.text = self.why_not = ""
        self.error: BaseException | None = None
        self._runner: Runner[CtSummary] | None = None
        self._seen: tuple[Any, ...] | None = None

    @property
    def busy(self) -> bool:
        """Whether the volume is still being looked at."""
        return self._runner is not None

    @property
    def ready(self) -> bool:
        """Whether there is a volume that can be segmented."""
        return self._seen is not None and not self.why_not

    def look_at(self, volume: Any) -> bool:
        """Begin to look at a volume node; False when it is the one already seen, unchanged. Takes no time."""
        seen = None
        if volume is not None:
            voxels, transform = volume.GetImageData(), volume.GetParentTransformNode()
            seen = (volume.GetID(), voxels and voxels.GetMTime(), transform and transform.GetTransformToWorldMTime())
        if seen == self._seen:
            return False
        if self._runner is not None:
            self._runner.cancel()
        self._seen, self._runner, self.error = seen, None, None
        self.text = self.why_not = ""
        if volume is not None:
            self._begin(volume)
        return True

    def poll(self) -> bool:
        """Whether the look has just ended."""
        runner = self._runner
        if runner is None or runner.running:
            return False
        self._runner, self.error = None, runner.error
        if runner.result is not None:
            self.text, self.why_not = "\n".join((runner.result.sentence, *runner.result.warnings)), ""
        elif runner.error is not None:
            self.text = self.why_not = sentence(runner.error)
        return True

    def _begin(self, volume: Any) -> None:
        try:
            scan = take_scan(volume)
        except TernarySegmentError as error:
            self.text = self.why_not = str(error)
            return
        self.text = self.why_not = _("Looking at the volume …")
        self._runner = Runner(lambda: _steps(scan))
        self._runner.start()


def _steps(scan: Scan) -> Generator[Progress, None, CtSummary]:
    yield Progress("Looking at the volume", 0.0, 0.0, None)
    return check_ct(scan.image())


def sentence(error: BaseException) -> str:
    """What a person reads of an error."""
    if isinstance(error, TernarySegmentError):
        return str(error)
    if isinstance(error, MemoryError):
        return _("There is not enough memory for this volume; close other programs or crop it.")
    return _("An unexpected error ({kind}) came up; the log under Advanced has the details.").format(
        kind=type(error).__name__
    )
