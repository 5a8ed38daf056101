"""Corrects a mask by points: each click moves the border within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import SimpleITK as sitk
from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.review.clicks import ClickRefiner
from TernarySegmentLib.slicer_ui.mrml.labelmaps import CroppedLabelmap, SegmentSnapshot, crop_labelmap
from TernarySegmentLib.slicer_ui.mrml.overlay import crop_confidence
from TernarySegmentLib.slicer_ui.mrml.point_lists import Point, PointLists
from TernarySegmentLib.slicer_ui.mrml.segmentation import CONFIDENCE
from TernarySegmentLib.slicer_ui.mrml.volumes import Scan, take_scan
from TernarySegmentLib.slicer_ui.sections.strokes import Strokes
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, once

Clicks = tuple[tuple[Point, ...], tuple[Point, ...]]


class PointsSection:
    """Two buttons that let clicks in the views say what is pancreas and what is not.

    Args:
        ui: the panel's widgets by name.
        background: where the border is moved.
        status: where it is reported.
        take: gives the volume and the segment as it is now.
        apply: puts a mask into the segment, as a step of its own for Undo or as part of the last; False when that
            failed.
        stop_effect: puts the editor's brush down, so that clicks place points.
    """

    def __init__(
        self,
        ui: Any,
        background: Background,
        status: Status,
        take: Callable[[], tuple[Any, SegmentSnapshot] | None],
        apply: Callable[[CroppedLabelmap, bool], bool],
        stop_effect: Callable[[], None],
    ) -> None:
        self._ui, self._background, self._status, self._take, self._apply = ui, background, status, take, apply
        self._stop_effect = stop_effect
        self._node: Any = None
        self._refiner: _Refiner | None = None
        self._free = False
        self._applied: Clicks = ((), ())
        self._live = False
        self._inside = True
        self._asked_at = 0.0
        self.lists = PointLists(self._on_changed, self._show_mode)
        self._strokes = Strokes(self.lists.begin_stroke, self.lists.draw_to, self.lists.end_stroke)
        ui.insideButton.connect("clicked()", self.place_inside)
        ui.outsideButton.connect("clicked()", self.place_outside)
        ui.undoPointButton.connect("clicked()", self.undo)
        ui.clearPointsButton.connect("clicked()", self.clear)

    @property
    def count(self) -> int:
        """Points whose effect can be taken back."""
        return self.lists.count

    @property
    def pending(self) -> bool:
        """True while the border has not followed the last point yet."""
        return self._background.busy("points")

    def place(self) -> None:
        """Place points on the side used last; pressed again, none."""
        self._place(self._inside)

    def change_side(self) -> None:
        """Place points on the other side."""
        self._place(not self._inside)

    def place_inside(self) -> None:
        """Clicks in the views mark pancreas; pressed again, they do not."""
        self._place(True)

    def place_outside(self) -> None:
        """Clicks in the views mark what is not pancreas; pressed again, they do not."""
        self._place(False)

    def undo(self) -> None:
        """Take the last point or stroke back."""
        self.lists.undo()

    def clear(self) -> None:
        """Take all points back."""
        self.lists.clear()
        self._on_changed()

    def stop(self) -> None:
        """Clicks place no more points."""
        self.lists.stop()
        self._show_mode()

    def forget(self) -> None:
        """Points are done with: what they did stays, the next ones start from the mask as it is then."""
        self._background.drop("points")
        self._refiner, self._applied, self._live = None, ((), ()), False
        if self.lists.count:
            self.lists.clear()
            self._show_points()

    def leave(self) -> None:
        """Take the points out of the scene."""
        self.forget()
        self.lists.remove()
        self._show_mode()

    def update(self, node: Any, free: bool) -> None:
        """Bring the buttons in line.

        Args:
            node: the segmentation node; None for none.
            free: whether the mask may be changed now.
        """
        self._node, self._free = node, free
        usable = node is not None and node.GetNodeReference(CONFIDENCE) is not None
        for button in (self._ui.insideButton, self._ui.outsideButton):
            button.enabled = free and usable
            button.toolTip = (
                _("Then click or draw in the slice views; the border follows within a second. Press again to stop.")
                if usable
                else _("The confidence map of this result is gone; segment the scan again to use points.")
            )
        self._show_points()
        if free:
            self._show_mode()
        else:
            self.stop()

    def _place(self, inside: bool) -> None:
        if not self._ui.insideButton.enabled:
            return
        self._inside = inside
        if self.lists.placing is inside:
            self.lists.stop()
        else:
            self._stop_effect()
            self.lists.place(inside)
            self._strokes.follow()
        self._show_mode()

    def _show_points(self) -> None:
        for button in (self._ui.undoPointButton, self._ui.clearPointsButton):
            button.enabled = self._free and self.lists.count > 0

    def _show_mode(self) -> None:
        placing = self.lists.placing
        if placing is None:
            self._strokes.stop()
        self._ui.insideButton.checked = placing is True
        self._ui.outsideButton.checked = placing is False

    def _on_changed(self) -> None:
        self._show_points()
        clicks = tuple(self.lists.points_lps(True)), tuple(self.lists.points_lps(False))
        if clicks == self._applied:
            return
        if self._refiner is None:
            self._refiner = self._begin()
            if self._refiner is None:
                return
        refiner, self._applied, self._asked_at = self._refiner, clicks, time.monotonic()
        work = once("Listening to the points", lambda: refiner.refined(clicks))
        self._background.run("points", work, self._done, self._status.fail)

    def _begin(self) -> _Refiner | None:
        """Make what moves the border of the mask as it is now; None, and the reason is shown, when it cannot."""
        taken = self._take()
        if taken is None:
            return None
        part = crop_confidence(self._node.GetNodeReference(CONFIDENCE), taken[0])
        if part is None:
            self._status.say(_("The confidence map does not fit the volume any more; segment the scan again."))
            return None
        try:
            return _Refiner(take_scan(taken[0]), taken[1], part)
        except TernarySegmentError as error:
            self._status.fail(error)
            return None

    def _done(self, part: CroppedLabelmap) -> None:
        if not self._apply(part, not self._live):
            return
        self._live = True  # all points are one step of the editor's Undo; here they are taken back one by one
        inside, outside = self._applied
        self._status.show(
            _("{inside} inside, {outside} outside; the border followed in {seconds:.1f} s.").format(
                inside=_points(len(inside)), outside=len(outside), seconds=time.monotonic() - self._asked_at
            )
        )


def _points(count: int) -> str:
    return _("1 point") if count == 1 else _("{n} points").format(n=count)


class _Refiner:
    """Makes the library's refiner at the first call, on the background thread."""

    def __init__(self, scan: Scan, snapshot: SegmentSnapshot, confidence: CroppedLabelmap) -> None:
        self._scan, self._drawn, self._confidence = scan, snapshot, confidence
        self._refiner: ClickRefiner | None = None

    def refined(self, clicks: Clicks) -> CroppedLabelmap:
        if self._refiner is None:
            ct = self._scan.image()
            mask: sitk.Image = self._drawn.labelmap(ct).image(ct)
            self._refiner = ClickRefiner(ct, mask, self._confidence.image(ct))
        return crop_labelmap(self._refiner.refined(*clicks))
