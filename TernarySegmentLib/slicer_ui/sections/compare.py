"""The Compare section: how well the result agrees with a reference, and where it does not."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from TernarySegmentLib.cohort.commands import agreement_lines
from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.agreement import surfaces_available
from TernarySegmentLib.slicer_ui.mrml.reference import (
    Comparison,
    choices,
    comparison,
    show_differences,
)
from TernarySegmentLib.slicer_ui.mrml.segmentation import differences_of, volume_of
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, once

TASK = "compare"


class CompareSection:
    """Compares one segmentation node with a reference that the person chooses.

    Args:
        ui: the panel's widgets by name.
        background: where the surfaces are measured.
        status: where it is reported.
    """

    def __init__(self, ui: Any, background: Background, status: Status) -> None:
        self._ui, self._background, self._status = ui, background, status
        self._node: Any = None
        self._volume: Any = None
        self._choices: list[tuple[str, str]] = []
        ui.referenceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_reference)
        ui.compareRunButton.connect("clicked()", self.compare)
        ui.differencesBox.connect("clicked(bool)", self._on_shown)

    def show(self, node: Any) -> None:
        """Compare a segmentation node; None for none."""
        if node is not self._node:
            self._node = node
            self._background.drop(TASK)
            self._ui.agreementLabel.text = ""
            volume = volume_of(node)
            if volume is not self._volume:  # another patient's reference must not stay
                self._volume = volume
                self._ui.referenceSelector.setCurrentNode(None)
        self._update()

    def compare(self) -> None:
        """Measure how the two agree; the mask as it is now, corrections included."""
        node, reference = self._node, self._ui.referenceSelector.currentNode()
        index = self._ui.referenceSegmentBox.currentIndex
        choice = self._choices[index][1] if 0 <= index < len(self._choices) else ""
        try:
            compare = comparison(node, reference, choice)
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        self._ui.agreementLabel.text = _("Comparing …")

        def done(found: Comparison) -> None:
            lines = list(agreement_lines(found.agreement))
            if not surfaces_available():
                lines.append(_("Distances between surfaces need the package surface-distance."))
            show_differences(node, found)
            self._ui.agreementLabel.text = "\n".join(lines)
            self._status.log(_("“{name}”: ").format(name=node.GetName()) + "; ".join(lines))
            self._update()

        def failed(error: BaseException) -> None:
            self._ui.agreementLabel.text = ""
            self._status.fail(error)
            self._update()

        self._background.run(TASK, once("Comparing", compare), done, failed)
        self._update()

    def _on_reference(self, reference: Any) -> None:
        box = self._ui.referenceSegmentBox
        self._choices = choices(reference)
        box.clear()
        for name, _key in self._choices:
            box.addItem(name)
        likely = [number for number, (name, _key) in enumerate(self._choices) if "pancrea" in name.lower()]
        box.setCurrentIndex(likely[0] if likely else 0)
        self._ui.agreementLabel.text = ""
        self._update()

    def _on_shown(self, shown: bool) -> None:
        differences = differences_of(self._node)
        if differences is not None:
            differences.GetDisplayNode().SetVisibility(shown)

    def _update(self) -> None:
        ui, differences = self._ui, differences_of(self._node)
        reference = ui.referenceSelector.currentNode()
        there = reference is not None and slicer.mrmlScene.IsNodePresent(reference)
        usable = self._node is not None and there and reference is not self._node and bool(self._choices)
        ui.referenceSegmentBox.setVisible(len(self._choices) > 1)
        ui.compareRunButton.enabled = usable and not self._background.busy(TASK)
        ui.compareRunButton.toolTip = (
            _("Dice, distances between the surfaces and volumes.")
            if usable
            else _("Choose another segmentation or a label map of this CT first.")
        )
        ui.differencesBox.setVisible(differences is not None)
        ui.differencesBox.checked = differences is not None and bool(differences.GetDisplayNode().GetVisibility())
