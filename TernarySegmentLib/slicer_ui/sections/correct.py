"""The Correct part of the panel: Slicer's editor, a region again, points, what changed, back to the automatic mask."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import qt
import SimpleITK as sitk
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.review.comparison import Changes, compare
from TernarySegmentLib.slicer_ui.mrml.labelmaps import (
    CroppedLabelmap,
    SegmentSnapshot,
    crop_labelmap,
    labelmap_from_text,
    take_segment,
)
from TernarySegmentLib.slicer_ui.mrml.roi import box_of, make_box
from TernarySegmentLib.slicer_ui.mrml.segmentation import (
    AUTOMATIC,
    EDITED,
    SEGMENT_ID,
    edited,
    replace_voxels,
    volume_of,
)
from TernarySegmentLib.slicer_ui.mrml.statistics import kept
from TernarySegmentLib.slicer_ui.mrml.volumes import take_scan
from TernarySegmentLib.slicer_ui.sections.points import PointsSection
from TernarySegmentLib.slicer_ui.sections.segment_editor import EFFECTS, Editor
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, LongJob, Steps, once

HU_SPREAD = 2.0
"""Standard deviations around the mean of the automatic mask that the painting may be limited to."""


class CorrectSection(VTKObservationMixin):
    """Corrects the pancreas of one segmentation node.

    Args:
        ui: the panel's widgets by name.
        logic: gives ``region_steps(scan, snapshot, box, parameters, report)``.
        background: where seeds and comparisons are computed.
        job: runs the longer ones.
        status: where it is reported.
        changed: called when the segment was changed, or compared with the automatic one.
    """

    def __init__(
        self, ui: Any, logic: Any, background: Background, job: LongJob, status: Status, changed: Callable[[], None]
    ) -> None:
        VTKObservationMixin.__init__(self)
        self._ui, self._logic, self._job, self._status, self._changed = ui, logic, job, status, changed
        self._node: Any = None
        self._parameters: Any = None
        self._entered = False
        self._automatic: CroppedLabelmap | None = None
        self._writing = False
        self._seen: Any = None
        self.editor = Editor(ui.editorFrame.layout())
        self.points = PointsSection(ui, background, status, self._take, self._apply, self.editor.stop_effect)
        self._watch = ChangeWatch(background, self._comparison, self._show_changes, status.fail)
        ui.boxButton.connect("clicked()", self.place_box)
        ui.resegmentButton.connect("clicked()", self.resegment)
        ui.revertButton.connect("clicked()", self.revert)
        ui.correctButton.connect("contentsCollapsed(bool)", self._on_collapsed)

    def show(self, node: Any, parameters: Any, entered: bool) -> None:
        """Correct a segmentation node.

        Args:
            node: vtkMRMLSegmentationNode; None empties the part.
            parameters: the panel's.
            entered: whether the panel is on the screen, so that it may use views and keys.
        """
        self._parameters, self._entered = parameters, entered
        if node is not self._node:
            self._leave()
            self._watch.stop()
            self.removeObservers()
            self._node = node
            self._ui.changesLabel.text = ""
            if node is not None:
                # undo replaces the whole segment, and reports only that it was modified
                for event in (
                    slicer.vtkSegmentation.SourceRepresentationModified,
                    slicer.vtkSegmentation.SegmentModified,
                ):
                    self.addObserver(node.GetSegmentation(), event, self._on_edited)
                self.reset()
        if entered and node is not None and not self._ui.correctButton.collapsed:
            self._enter()
        else:
            self._leave()
        self._update()

    def reset(self) -> None:
        """The node has a new automatic result."""
        if self._node is None:
            return
        self._automatic, self._seen = labelmap_from_text(self._node.GetAttribute(AUTOMATIC)), self._voxels()
        self.editor.forget()
        self.points.forget()
        self._watch.look()

    def close_scene(self) -> None:
        """The scene is closing: let go of what is in it."""
        self.show(None, None, False)
        self.editor.close_scene()

    def keys(self) -> dict[str, Callable[[], None]]:
        """What keys do while the section is open: letters as in nnInteractive, the rest as in the Segment Editor."""
        keys = {
            "O": self.points.place, "T": self.points.change_side, "B": self.place_box, "Esc": self.stop,
            "Z": self.undo, "Ctrl+Z": self.undo, "Y": self.editor.redo, "Ctrl+Y": self.editor.redo,
        }  # fmt: skip
        effects = {str(i): partial(self.editor.toggle_effect, name) for i, name in enumerate(EFFECTS, start=1)}
        return {**keys, **effects}

    # -- what can be pressed
    def undo(self) -> None:
        """Take the last point back, or where there is none the last change of the mask."""
        if self._job.running:
            return
        if self.points.count:
            self.points.undo()
        else:
            self.editor.undo()

    def stop(self) -> None:
        """Put brush and points down."""
        self.editor.stop_effect()
        self.points.stop()

    def place_box(self) -> None:
        """Put a box around where the views are."""
        volume = volume_of(self._node)
        if volume is not None:
            self._parameters.box = make_box(self._parameters.box)
            self._status.say(_("Move and size the box, then press Segment again inside."))

    def resegment(self) -> None:
        """Let the network decide again inside the box, and merge what it says."""
        node, volume, box = self._node, volume_of(self._node), self._parameters.box
        if node is None or volume is None or box is None or self._job.running:
            return
        if self.points.pending:
            self._status.say(_("The border still follows the last point; press again in a moment."))
            return
        self.points.forget()  # what they did is part of the mask that Undo goes back to
        try:
            scan, snapshot = take_scan(volume), take_segment(node, SEGMENT_ID, volume)
            steps = self._logic.region_steps(scan, snapshot, box_of(box), self._parameters, kept(node))
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        self.editor.stop_effect()
        self.points.stop()
        node_id = node.GetID()

        def work() -> Steps:
            return crop_labelmap((yield from steps()))

        def done(part: CroppedLabelmap) -> None:
            undo = self.editor.active
            if self._apply(part):
                box.GetDisplayNode().SetVisibility(False)
                self._status.say(
                    _("Segmented again inside the box; Undo takes it back.")
                    if undo
                    else _("Segmented again inside the box.")
                )

        self._job.start(
            work, done, _("Segmenting again inside the box …"),
            needs=lambda: slicer.mrmlScene.GetNodeByID(node_id) is self._node,
            gone=_("Another result is shown now, so the box was not segmented again."),
        )  # fmt: skip

    def revert(self) -> None:
        """Back to the untouched automatic mask; the editor's Undo takes even that back."""
        if self._automatic is not None:
            self.points.forget()
            if self._apply(self._automatic):
                self._status.say(_("The automatic result is back."))

    # -- the scene's side
    def _take(self) -> tuple[Any, SegmentSnapshot] | None:
        """The volume and the segment as it is now; None, and the reason is shown, when they cannot be read."""
        volume = volume_of(self._node)
        try:
            return (volume, take_segment(self._node, SEGMENT_ID, volume)) if volume is not None else None
        except TernarySegmentError as error:
            self._status.fail(error)
            return None

    def _apply(self, part: CroppedLabelmap, step: bool = True) -> bool:
        """Make a mask the segment's; False, with the reason in the status line, when that fails.

        Args:
            part: the new mask.
            step: whether it is a step of the editor's Undo; if not, it belongs to the last one.
        """
        volume = volume_of(self._node)
        if volume is None:
            return False
        if step:
            self.editor.remember()
        self._writing = True
        try:
            replace_voxels(volume, part, self._node)
        except TernarySegmentError as error:
            self._status.fail(error)
            return False
        finally:
            self._writing, self._seen = False, self._voxels()
        self._edited()
        return True

    def _voxels(self) -> Any:
        """Tells one state of the segment's voxels from another; a new colour or name changes nothing."""
        segment = self._node.GetSegmentation().GetSegment(SEGMENT_ID)
        name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        labels = segment.GetRepresentation(name) if segment is not None else None
        return labels, labels.GetMTime() if labels is not None else 0

    def _on_edited(self, caller: Any = None, event: Any = None) -> None:
        if not self._writing and self._voxels() != self._seen:
            self._seen = self._voxels()
            self.points.forget()  # their effect stays; the next points start from the mask as it is now
            self._edited()

    def _edited(self) -> None:
        if self._node is not None and self._automatic is not None:
            if not edited(self._node):
                self._node.SetAttribute(EDITED, "1")
            self._watch.look()
            self._changed()

    def _comparison(self) -> tuple[SegmentSnapshot, CroppedLabelmap, tuple[float, float, float]] | None:
        taken = self._take() if self._node is not None else None
        if taken is None or self._automatic is None:
            return None
        x, y, z = taken[0].GetSpacing()
        return taken[1], self._automatic, (x, y, z)

    def _show_changes(self, changes: Changes, current: bool) -> None:
        self._ui.changesLabel.text = format_changes(changes)
        if changes.added_ml or changes.removed_ml:
            self._node.SetAttribute(EDITED, "1")
        elif current:  # else a stroke came while the masks were compared
            self._node.RemoveAttribute(EDITED)
        self._update()
        self._changed()

    # -- the editor's side
    def _on_collapsed(self, collapsed: bool) -> None:
        self.show(self._node, self._parameters, self._entered)
        self._changed()

    def _enter(self) -> None:
        volume = volume_of(self._node)
        if volume is not None:
            self.editor.enter(self._node, volume)
            parameters = self._parameters
            self.editor.limit(parameters.limit_hu, parameters.lowest_hu, parameters.highest_hu)

    def _leave(self) -> None:
        self.points.leave()
        self.editor.leave()

    def _update(self) -> None:
        ui, there = self._ui, volume_of(self._node) is not None
        free = there and not self._job.running
        self.editor.enable(free)
        ui.boxButton.enabled = free
        ui.resegmentButton.enabled = free and self._parameters.box is not None
        ui.resegmentButton.toolTip = (
            _("The network decides again inside the box; outside it nothing changes.")
            if there and self._parameters.box is not None
            else _("Place a box first.")
        )
        ui.revertButton.enabled = free and edited(self._node) and self._automatic is not None
        self.points.update(self._node, free)


def hu_range(report: Any) -> tuple[int, int]:
    """The HU of most of a pancreas, lowest and highest, from a result's report."""
    spread = HU_SPREAD * report.sd_hu
    return round(report.mean_hu - spread), round(report.mean_hu + spread)


THROTTLE_MS = 250
"""Between two comparisons while a brush moves."""


class ChangeWatch:
    """Compares in the background, at most every :data:`THROTTLE_MS`.

    Args:
        background: where it compares.
        take: gives the segment as it is now and the automatic mask, or None when there is nothing to compare.
        report: gets the outcome, and whether it is of the segment as it is now; if not, another one follows.
        failed: gets an error.
    """

    def __init__(
        self,
        background: Background,
        take: Callable[[], tuple[SegmentSnapshot, CroppedLabelmap, tuple[float, float, float]] | None],
        report: Callable[[Changes, bool], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._background, self._take, self._report, self._failed = background, take, report, failed
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
            snapshot, automatic, spacing = taken
            work = once("Comparing", lambda: difference(snapshot.labelmap(), automatic, spacing))
            self._background.run("changes", work, self._done, self._failed)

    def _done(self, changes: Changes) -> None:
        self._report(changes, not self._again)
        if self._again:
            self._again = False
            self._timer.start()


def difference(edited: CroppedLabelmap, automatic: CroppedLabelmap, spacing: tuple[float, float, float]) -> Changes:
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
    moved = (CroppedLabelmap(tuple(int(v) for v in part.start - low), part.voxels) for part in (edited, automatic))  # type: ignore[arg-type]
    return compare(*(part.image(reference) for part in moved))


def format_changes(changes: Changes) -> str:
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
