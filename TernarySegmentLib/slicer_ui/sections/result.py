"""The Result part of the panel: numbers, display and what can be done with them."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from TernarySegmentLib.review.confidence import format_confidence
from TernarySegmentLib.slicer_ui.mrml import statistics
from TernarySegmentLib.slicer_ui.mrml.segmentation import edited
from TernarySegmentLib.slicer_ui.mrml.views import go_to


class ResultSection:
    """Shows one segmentation node.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
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
            self._node = node
            self._ui.segmentsTable.setSegmentationNode(node)
        self.refresh()

    def refresh(self) -> None:
        """Write the numbers again."""
        ui, report = self._ui, self.report
        ui.volumeLabel.text = f"{report.volume_ml:.1f} mL" if report else "–"
        ui.densityLabel.text = report.density if report else "–"
        ui.extentLabel.text = report.extent if report else "–"
        ui.confidenceLabel.text = format_confidence(report.confidence) if report else "–"
        ui.editedLabel.setVisible(edited(self._node))
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
        # the confidence's colours would mix with the segment's
        display.SetVisibility2DFill(parameters.filled and not parameters.show_confidence)
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
            go_to(self.report.centre_ras)

    def copy(self) -> None:
        """Put the numbers on the clipboard."""
        if self.report is not None:
            qt.QApplication.clipboard().setText(self.report.text(edited(self._node)))

    def make_table(self) -> None:
        """Put the numbers into a new table node."""
        if self.report is not None:
            statistics.table_node(self.report, edited(self._node))

    def _has_surface(self) -> bool:
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        return bool(self._node.GetSegmentation().ContainsRepresentation(surface))
