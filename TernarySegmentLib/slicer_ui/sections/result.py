"""The Result section: one sentence, the numbers, how the mask is drawn, and what can be done with them."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from TernarySegmentLib.review.confidence import format_confidence
from TernarySegmentLib.slicer_ui.mrml import checklist, statistics
from TernarySegmentLib.slicer_ui.mrml.display import (
    display_of,
    draw,
    has_surface,
    is_filled,
    is_outlined,
    show_surface,
)
from TernarySegmentLib.slicer_ui.mrml.segmentation import edited
from TernarySegmentLib.slicer_ui.mrml.views import centre_3d, go_to, zoom_to

SHOW_3D = "TernarySegment/show3d"
"""Setting: whether a new result is shown in 3D."""


class ResultSection(VTKObservationMixin):
    """Shows one segmentation node. Its display node decides how; the boxes show that, and write what is clicked.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._ui = ui
        self._node: Any = None
        self._reading = False
        self._unfilled: set[str] = set()
        for button, action in (
            (ui.jumpButton, self.jump),
            (ui.copyButton, self.copy),
            (ui.tableButton, self.make_table),
        ):
            button.connect("clicked()", action)
        ui.show3dBox.connect("toggled(bool)", self._on_show_3d)
        ui.filledBox.connect("toggled(bool)", self._on_drawn)
        ui.outlinedBox.connect("toggled(bool)", self._on_drawn)
        ui.opacitySlider.connect("valueChanged(double)", self._on_opacity)

    @property
    def report(self) -> statistics.Report | None:
        """The numbers of the node that is shown."""
        return statistics.kept(self._node)

    def show(self, node: Any) -> None:
        """Show a segmentation node; None empties the section."""
        if node is not self._node:
            self.removeObservers()
            self._node = node
            self._ui.segmentsTable.setSegmentationNode(node)
            if node is not None:
                representations = slicer.vtkSegmentation.ContainedRepresentationNamesModified
                self.addObserver(node, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent, self._on_display)
                self.addObserver(node.GetSegmentation(), representations, self._on_display)
        self.refresh()

    def present(self) -> None:
        """Bring a new result before the eyes: the views go to it, and 3D shows it unless the person prefers not."""
        if self._node is None:
            return
        if slicer.util.toBool(slicer.app.userSettings().value(SHOW_3D, True)):
            show_surface(self._node, True)
        zoom_to(self._node)

    def refresh(self) -> None:
        """Write the numbers again."""
        ui, report = self._ui, self.report
        ui.headlineLabel.text = _headline(report, checklist.kept(self._node)) if report else ""
        ui.volumeLabel.text = f"{report.volume_ml:.1f} mL" if report else "–"
        ui.densityLabel.text = report.density if report else "–"
        ui.extentLabel.text = report.extent if report else "–"
        ui.confidenceLabel.text = format_confidence(report.confidence) if report else "–"
        ui.notesLabel.text = "\n".join(report.notes) if report else ""
        ui.notesLabel.setVisible(bool(report and report.notes))
        ui.editedLabel.setVisible(edited(self._node))
        for button in (ui.jumpButton, ui.copyButton, ui.tableButton):
            button.enabled = report is not None
        self._read_display()

    def make_room(self, needed: bool) -> None:
        """Draw the border alone while the confidence's colours are shown: the fill's would mix with them."""
        if needed:
            display = display_of(self._node)
            if display is not None and is_filled(display):
                self._unfilled.add(self._node.GetID())
                draw(display, False, True)
            return
        for node in filter(None, map(slicer.mrmlScene.GetNodeByID, self._unfilled)):
            draw(node.GetDisplayNode(), True, is_outlined(node.GetDisplayNode()))
        self._unfilled.clear()

    def forget(self) -> None:
        """The scene is closing; its IDs will be given again."""
        self._unfilled.clear()

    def jump(self) -> None:
        """Centre the slice views on the pancreas."""
        if self.report is not None:
            go_to(self.report.centre_ras)

    def copy(self) -> None:
        """Put the numbers on the clipboard."""
        if self.report is not None:
            qt.QApplication.clipboard().setText(self.report.text(edited(self._node)))

    def make_table(self) -> None:
        """Put the numbers into a new table node."""
        if self.report is not None:
            statistics.table_node(self.report, edited(self._node))

    # -- how it is drawn
    def _read_display(self) -> None:
        """Show in the boxes how the display node draws."""
        ui, display = self._ui, display_of(self._node)
        for widget in (ui.show3dBox, ui.filledBox, ui.outlinedBox, ui.opacitySlider):
            widget.enabled = display is not None
        self._reading = True
        ui.show3dBox.checked = display is not None and has_surface(self._node) and bool(display.GetVisibility3D())
        ui.filledBox.checked = display is not None and is_filled(display)
        ui.outlinedBox.checked = display is not None and is_outlined(display)
        if display is not None:
            ui.opacitySlider.value = display.GetOpacity()
        self._reading = False

    def _on_display(self, caller: Any = None, event: Any = None) -> None:
        self._read_display()

    def _on_show_3d(self, shown: bool) -> None:
        if not self._reading and display_of(self._node) is not None:
            slicer.app.userSettings().setValue(SHOW_3D, shown)
            show_surface(self._node, shown)
            if shown:
                centre_3d()

    def _on_drawn(self, ticked: bool) -> None:
        if not self._reading and display_of(self._node) is not None:
            draw(display_of(self._node), self._ui.filledBox.checked, self._ui.outlinedBox.checked)

    def _on_opacity(self, value: float) -> None:
        if not self._reading and display_of(self._node) is not None:
            display_of(self._node).SetOpacity(value)


def _headline(report: statistics.Report, entries: list[checklist.Entry] | None) -> str:
    """What a reader in a hurry must know of a result."""
    text = _("“{name}”: {volume:.1f}\N{NO-BREAK SPACE}mL, confidence {confidence:.0f}\N{NO-BREAK SPACE}%").format(
        name=report.source, volume=report.volume_ml, confidence=100 * report.confidence
    )
    urgent = [entry for entry in entries or () if checklist.is_urgent(entry)]
    left = sum(not entry.checked for entry in urgent)
    if left == 0:
        return text + (_("; the regions marked red are checked.") if urgent else ".")
    return text + (
        _(": check the region marked red.") if left == 1 else _(": check the {n} regions marked red.").format(n=left)
    )
