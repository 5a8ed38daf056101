"""The Result part of the panel: numbers, display and what can be done with a result."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.util import VTKObservationMixin

from TernarySegmentLib.slicer_ui import statistics

EDITED = "TernarySegment.Edited"
"""Attribute of a segmentation node whose mask was changed after it was measured."""


class Review(VTKObservationMixin):
    """Shows one segmentation node.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._ui = ui
        self._node: Any = None
        ui.jumpButton.connect("clicked()", self.jump)
        ui.copyButton.connect("clicked()", self.copy)
        ui.tableButton.connect("clicked()", self.make_table)

    @property
    def report(self) -> statistics.Report | None:
        """The numbers of the node that is shown."""
        return statistics.kept(self._node)

    def show(self, node: Any) -> None:
        """Show a segmentation node; None empties the part."""
        if node is not self._node:
            self.removeObservers()
            self._node = node
            self._ui.segmentsTable.setSegmentationNode(node)
            if node is not None:
                changed = slicer.vtkSegmentation.SourceRepresentationModified
                self.addObserver(node.GetSegmentation(), changed, self._on_edited)
        self.refresh()

    def refresh(self) -> None:
        """Write the numbers again."""
        ui, report = self._ui, self.report
        ui.volumeLabel.text = f"{report.volume_ml:.1f} mL" if report else "–"
        ui.densityLabel.text = report.density if report else "–"
        ui.extentLabel.text = report.extent if report else "–"
        ui.confidenceLabel.text = f"{report.confidence:.0%}" if report else "–"
        ui.editedLabel.setVisible(self._node is not None and self._node.GetAttribute(EDITED) is not None)
        for button in (ui.jumpButton, ui.copyButton, ui.tableButton):
            button.enabled = report is not None
        for widget in (ui.show3dBox, ui.filledBox, ui.outlinedBox, ui.opacitySlider):
            widget.enabled = self._node is not None

    def display(self, parameters: Any) -> None:
        """Display the node as the parameters say."""
        display = self._node.GetDisplayNode() if self._node is not None else None
        if display is None:
            return
        was = display.StartModify()
        display.SetOpacity(parameters.opacity)
        display.SetVisibility2DFill(parameters.filled)
        display.SetVisibility2DOutline(parameters.outlined)
        display.SetVisibility3D(parameters.show_3d)
        display.EndModify(was)
        if parameters.show_3d and not self._has_surface():
            self._node.CreateClosedSurfaceRepresentation()  # 50 ms for a pancreas
            if slicer.app.layoutManager() is not None:
                slicer.app.layoutManager().resetThreeDViews()

    def jump(self) -> None:
        """Centre the slice views on the pancreas."""
        if self.report is not None:
            slicer.modules.markups.logic().JumpSlicesToLocation(*self.report.centre_ras, True)

    def copy(self) -> None:
        """Put the numbers on the clipboard."""
        if self.report is not None:
            qt.QApplication.clipboard().setText(self.report.text)

    def make_table(self) -> None:
        """Put the numbers into a new table node."""
        if self.report is not None:
            statistics.table_node(self.report)

    def _has_surface(self) -> bool:
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        return bool(self._node.GetSegmentation().ContainsRepresentation(surface))

    def _on_edited(self, caller: Any = None, event: Any = None) -> None:
        if self._node is not None and self.report is not None:
            self._node.SetAttribute(EDITED, "1")
            self.refresh()
