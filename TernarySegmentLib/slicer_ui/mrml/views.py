"""The views: what they show, and bringing them to a volume, a point or an organ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import slicer
import vtk

from TernarySegmentLib.slicer_ui.mrml.volumes import to_numpy

AROUND = 1.6
"""The picture's side over the organ's: what lies around it is needed to judge it."""


def visible_slices() -> list[Any]:
    """The slice nodes of the present layout; those of layouts used before stay in the scene with their positions."""
    nodes: list[Any] = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return [node for node in nodes if node.IsMappedInLayout()] or nodes  # nothing is mapped without a main window


def shown_volumes() -> list[Any]:
    """The volumes in the background of the visible slice views, each once."""
    found: list[Any] = []
    for shown in _backgrounds():
        if shown is not None and shown not in found:
            found.append(shown)
    return found


def all_show(volume: Any) -> bool:
    """True when every visible slice view has the volume in its background."""
    return all(shown is volume for shown in _backgrounds())


def _backgrounds() -> list[Any]:
    composites = map(slicer.vtkMRMLSliceLogic.GetSliceCompositeNode, visible_slices())
    ids = [composite.GetBackgroundVolumeID() if composite is not None else None for composite in composites]
    return [slicer.mrmlScene.GetNodeByID(each or "") for each in ids]


def show_volume(volume: Any) -> None:
    """Show a volume in all slice views, fitted, as Slicer does after loading it."""
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveVolumeID(volume.GetID())
    slicer.util.setSliceViewerLayers(background=volume)
    application.FitSliceToBackground()


def go_to(position_ras: Sequence[float]) -> None:
    """Centre all slice views on a point (RAS, mm). The 3D views stay: an organ half out of them helps nobody."""
    slicer.modules.markups.logic().JumpSlicesToLocation(*position_ras, True)


def zoom_to(node: Any) -> None:
    """Fit the visible slice views to what a displayable node shows, and centre the 3D views on it.

    Args:
        node: has bounds, e.g. a vtkMRMLSegmentationNode.
    """
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    if not vtk.vtkMath.AreBoundsInitialized(bounds):
        return
    corners = np.array([(*corner, 1.0) for corner in product(bounds[:2], bounds[2:4], bounds[4:])])
    go_to(((bounds[0::2] + bounds[1::2]) / 2).tolist())
    for slice_node in visible_slices():
        width, height, _depth = slice_node.GetDimensions()
        to_slice = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(slice_node.GetSliceToRAS(), to_slice)
        inside = np.array([to_slice.MultiplyPoint(corner) for corner in corners])
        across, up = AROUND * np.ptp(inside[:, :2], axis=0)
        millimetres = max(across / max(width, 1), up / max(height, 1))  # of a pixel
        field = slice_node.GetFieldOfView()
        slice_node.SetFieldOfView(width * millimetres, height * millimetres, field[2])
    centre_3d()


def centre_3d() -> None:
    """Centre the 3D views on what they show."""
    if slicer.app.layoutManager() is not None:
        slicer.app.layoutManager().resetThreeDViews()


def common_point() -> list[float]:
    """Where the planes of the visible slice views meet, RAS, mm.

    With fewer than three directions, the point of those planes that is nearest to the middle of the first view.
    """
    planes = [to_numpy(node.GetSliceToRAS()) for node in visible_slices()]
    normals = np.array([plane[:3, 2] for plane in planes])
    middle = planes[0][:3, 3]
    offsets = np.array([normal @ (plane[:3, 3] - middle) for normal, plane in zip(normals, planes, strict=True)])
    point: list[float] = (middle + np.linalg.lstsq(normals, offsets, rcond=None)[0]).tolist()
    return point


class Crosshair:
    """Slicer's crosshair, put back as it was when there is nothing more to point at."""

    def __init__(self) -> None:
        self._before: int | None = None

    def point_at(self, position_ras: Sequence[float]) -> None:
        """Mark a point (RAS, mm)."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if node is not None:
            if self._before is None:
                self._before = node.GetCrosshairMode()
            node.SetCrosshairRAS(*position_ras)
            node.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)

    def put_back(self) -> None:
        """Point at nothing."""
        node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if node is not None and self._before is not None:
            node.SetCrosshairMode(self._before)
        self._before = None
