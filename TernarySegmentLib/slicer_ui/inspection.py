"""Looks at a volume in the background and says in a sentence what it is, or why it cannot be segmented."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.checks import CtSummary, check_ct
from TernarySegmentLib.slicer_ui.background import Background, once
from TernarySegmentLib.slicer_ui.status import sentence
from TernarySegmentLib.slicer_ui.volumes import matrix_of, take_scan


class Inspection:
    """What is known about the chosen volume.

    Args:
        background: where volumes are looked at.
        ended: called after each look.

    Attributes:
        text: the sentence to show, with warnings below it.
        why_not: why it cannot be segmented (yet); empty when it can.
        error: what went wrong while looking at it.
    """

    def __init__(self, background: Background, ended: Callable[[], None]) -> None:
        self.text = self.why_not = ""
        self.error: BaseException | None = None
        self._background, self._ended = background, ended
        self._seen: tuple[Any, ...] | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a volume that can be segmented."""
        return self._seen is not None and not self.why_not

    def look_at(self, volume: Any) -> bool:
        """Begin to look at a volume node; False when it is the one already seen, unchanged. Takes no time."""
        seen = None
        if volume is not None:
            voxels, transform = volume.GetImageData(), volume.GetParentTransformNode()
            seen = (
                volume.GetID(), voxels and voxels.GetMTime(), transform and transform.GetTransformToWorldMTime(),
                matrix_of(volume).tobytes(),
            )  # fmt: skip
        if seen == self._seen:
            return False
        self._background.drop("inspection")
        self._seen, self.error = seen, None
        self.text = self.why_not = ""
        if volume is not None:
            self._begin(volume)
        return True

    def _begin(self, volume: Any) -> None:
        try:
            scan = take_scan(volume)
        except TernarySegmentError as error:
            self.text = self.why_not = str(error)
            return
        self.text = self.why_not = _("Looking at the volume …")
        look = once("Looking at the volume", lambda: check_ct(scan.image()))
        self._background.run("inspection", look, self._done, self._failed)

    def _done(self, summary: CtSummary) -> None:
        self.text, self.why_not = "\n".join((summary.sentence, *summary.warnings)), ""
        self._ended()

    def _failed(self, error: BaseException) -> None:
        self.error = error
        self.text = self.why_not = sentence(error)
        self._ended()
