"""The network's confidence as a volume node, and its colours over the slice views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from TernarySegmentLib.slicer_ui.mrml.labelmaps import SAME_VOXEL, CroppedLabelmap
from TernarySegmentLib.slicer_ui.mrml.segmentation import CONFIDENCE, CONFIDENCE_MAP
from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

COLOURS = "vtkMRMLColorTableNodeIron"
"""Red, orange, yellow: distinct in brightness too, and present in every scene."""
LEAST_SHOWN = 10
"""Percent; below it the CT is left as it is."""
OPACITY = 0.5
LEGEND_VIEW = "vtkMRMLSliceNodeRed"
"""One legend is enough."""


def put_confidence(node: Any, volume: Any, part: CroppedLabelmap) -> Any:
    """Keep a confidence map with a segmentation node, as a volume node that any module can use.

    Args:
        node: the segmentation node.
        volume: the CT's volume node.
        part: percent, 0 to 100, on the CT's grid.

    Returns:
        The volume node; the one that the segmentation node had already, if it had one. None for an empty part.
    """
    if part.empty:
        return None
    confidence = node.GetNodeReference(CONFIDENCE)
    if confidence is None:
        confidence = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        confidence.UnRegister(None)
        confidence.SetName(slicer.mrmlScene.GenerateUniqueName(f"{node.GetName()} confidence"))
        confidence.SetAttribute(CONFIDENCE_MAP, "1")  # before it is added: nobody may take it for a CT
        slicer.mrmlScene.AddNode(confidence)
        confidence.CreateDefaultDisplayNodes()
        node.SetNodeReferenceID(CONFIDENCE, confidence.GetID())
        _colour(confidence.GetDisplayNode())
    image = vtk.vtkImageData()
    image.SetDimensions(*part.voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(part.voxels.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    moved = np.eye(4)
    moved[:3, 3] = part.start
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((matrix_of(volume) @ moved).ravel().tolist())
    confidence.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    confidence.SetIJKToRASMatrix(matrix)
    confidence.SetAndObserveImageData(image)
    return confidence


def crop_confidence(confidence: Any, volume: Any) -> CroppedLabelmap | None:
    """The confidence map on a volume's grid, sharing the node's voxels; None when it lies on another grid."""
    image = confidence.GetImageData() if confidence is not None else None
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    between = np.linalg.inv(matrix_of(volume)) @ matrix_of(confidence)
    start = between[:3, 3]
    if np.abs(between - np.eye(4))[:, :3].max() > 1e-4 or (np.abs(start - start.round()) > SAME_VOXEL).any():
        return None
    columns, rows, slices = image.GetDimensions()
    i, j, k = (int(v) for v in start.round())
    return CroppedLabelmap((i, j, k), vtk_to_numpy(image.GetPointData().GetScalars()).reshape(slices, rows, columns))


class Overlay:
    """Lays a confidence map over the slice views, and puts back what was there before."""

    def __init__(self) -> None:
        self._shown: str | None = None
        self._before: dict[str, tuple[str | None, float]] = {}

    def show(self, confidence: Any) -> None:
        """Show a confidence map's volume node; None shows none."""
        wanted = confidence.GetID() if confidence is not None else None
        if wanted == self._shown:
            return
        self._legend(slicer.mrmlScene.GetNodeByID(self._shown) if self._shown else None, False)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            key, now = composite.GetID(), (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
            if now[0] != self._shown or self._shown is None:  # what another module shows there is left, or kept
                self._before[key] = (None, 0.0) if now[0] == wanted else now  # a saved scene shows it already
            if wanted is not None:
                _foreground(composite, wanted, OPACITY)
            elif now[0] == self._shown:
                _foreground(composite, *self._before.get(key, (None, 0.0)))
        if wanted is None:
            self._before = {}
        self._legend(confidence, True)
        self._shown = wanted

    def forget(self) -> None:
        """The scene is closing: nothing is to be put back."""
        self._shown, self._before = None, {}

    def _legend(self, confidence: Any, visible: bool) -> None:
        if confidence is None:
            return
        legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(confidence)
        if legend is None and visible:
            legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(confidence)
            legend.SetTitleText("Confidence\n50: border")  # a scale, no probability, as tooltip and guide say
            legend.SetLabelFormat("%.0f")
            legend.SetNumberOfLabels(3)
            legend.SetMaxNumberOfColors(256)
            legend.SetSize(0.1, 0.4)
            legend.SetPosition(0.97, 0.5)
            legend.GetTitleTextProperty().SetFontSize(14)
            legend.GetLabelTextProperty().SetFontSize(12)
            legend.AddViewNodeID(LEGEND_VIEW)
        if legend is not None:
            legend.SetVisibility(visible)


def _foreground(composite: Any, volume_id: str | None, opacity: float) -> None:
    composite.SetForegroundVolumeID(volume_id)
    composite.SetForegroundOpacity(opacity)


def _colour(display: Any) -> None:
    display.SetAndObserveColorNodeID(COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(100, 50)
    display.SetLowerThreshold(LEAST_SHOWN)
    display.SetUpperThreshold(100)
    display.SetApplyThreshold(True)
