"""Brings every view to one point."""

from __future__ import annotations

from collections.abc import Sequence

import slicer


def go_to(position_ras: Sequence[float], crosshair: bool = False) -> None:
    """Centre all slice views and 3D views on a point.

    Args:
        position_ras: RAS, mm.
        crosshair: whether Slicer's crosshair marks it.
    """
    slicer.modules.markups.logic().JumpSlicesToLocation(*position_ras, True)
    mark = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair and mark is not None:
        mark.SetCrosshairRAS(*position_ras)
        mark.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.ShowBasic)
    for view in slicer.util.getNodesByClass("vtkMRMLViewNode"):
        camera = slicer.modules.cameras.logic().GetViewActiveCameraNode(view)
        if camera is not None:  # moved along, so that the direction stays
            focus, eye = camera.GetFocalPoint(), camera.GetPosition()
            was = camera.StartModify()
            camera.SetFocalPoint(*position_ras)
            camera.SetPosition(*(e + p - f for e, p, f in zip(eye, position_ras, focus, strict=True)))
            camera.EndModify(was)


def hide_crosshair() -> None:
    """When there is nothing to point at."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)
