"""What was changed since the automatic result, told while a person edits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import qt
import SimpleITK as sitk
from slicer.i18n import tr as _

from TernarySegmentLib.review.changes import Changes, compare
from TernarySegmentLib.slicer_ui.background import Background, once
from TernarySegmentLib.slicer_ui.parts import Drawn, Part

THROTTLE_MS = 250
"""Between two comparisons while a brush moves."""


class ChangeWatch:
    """Compares in the background, at most every :data:`THROTTLE_MS`.

    Args:
        background: where it compares.
        take: gives the segment as it is now and the automatic mask, or None when there is nothing to compare.
        tell: gets the outcome, and whether it is of the segment as it is now; if not, another one follows.
        failed: gets an error.
    """

    def __init__(
        self,
        background: Background,
        take: Callable[[], tuple[Drawn, Part, tuple[float, float, float]] | None],
        tell: Callable[[Changes, bool], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._background, self._take, self._tell, self._failed = background, take, tell, failed
        self._again = False
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(THROTTLE_MS)
        self._timer.timeout.connect(self._begin)

    def look(self) -> None:
        """The segment may have changed."""
        if self._background.busy("changes"):
            self._again = True
        elif not self._timer.isActive():
            self._timer.start()

    def stop(self) -> None:
        """The node is gone."""
        self._timer.stop()
        self._again = False
        self._background.drop("changes")

    def _begin(self) -> None:
        taken = self._take()
        if taken is not None:
            drawn, automatic, spacing = taken
            work = once("Comparing", lambda: difference(drawn.part(), automatic, spacing))
            self._background.run("changes", work, self._done, self._failed)

    def _done(self, changes: Changes) -> None:
        self._tell(changes, not self._again)
        if self._again:
            self._again = False
            self._timer.start()


def difference(edited: Part, automatic: Part, spacing: tuple[float, float, float]) -> Changes:
    """Compare two masks on the grid of one volume.

    Args:
        edited, automatic: on that grid.
        spacing: of its voxels (x, y, z), mm.
    """
    parts = [part for part in (edited, automatic) if not part.empty]
    low = np.min([part.start for part in parts], axis=0) if parts else np.zeros(3, int)
    high = np.max([np.add(part.start, part.voxels.shape[::-1]) for part in parts], axis=0) if parts else low + 1
    reference = sitk.Image([int(n) for n in high - low], sitk.sitkUInt8)
    reference.SetSpacing(spacing)
    moved = (Part(tuple(int(v) for v in part.start - low), part.voxels) for part in (edited, automatic))  # type: ignore[arg-type]
    return compare(*(part.image(reference) for part in moved))


def in_words(changes: Changes) -> str:
    """A line or two for the panel."""
    if changes.added_ml == changes.removed_ml == 0:
        return _("{volume:.1f} mL, as the automatic result.").format(volume=changes.volume_ml)
    return _(
        "Now {volume:.1f} mL, automatic {automatic:.1f} mL: {added:.1f} mL added, {removed:.1f} mL removed, "
        "Dice {dice:.3f}."
    ).format(
        volume=changes.volume_ml, automatic=changes.automatic_ml, added=changes.added_ml, removed=changes.removed_ml,
        dice=changes.dice,
    )  # fmt: skip
