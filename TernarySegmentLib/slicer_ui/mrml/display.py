"""How a segmentation and its CT are drawn: read from their display nodes, and written only where a person asked."""

from __future__ import annotations

from typing import Any

import slicer

PRESET = "CT_ABDOMEN"
"""One of Slicer's own window presets."""


def display_of(node: Any) -> Any:
    """The display node of a segmentation node; None without either."""
    return node.GetDisplayNode() if node is not None else None


def is_filled(display: Any) -> bool:
    """True when the slice views fill the mask."""
    return bool(display.GetVisibility2D() and display.GetVisibility2DFill())


def is_outlined(display: Any) -> bool:
    """True when the slice views draw the mask's border."""
    return bool(display.GetVisibility2D() and display.GetVisibility2DOutline())


def draw(display: Any, filled: bool, outlined: bool) -> None:
    """Fill the mask and draw its border in the slice views, or not.

    Slicer wants one of both flags on, and calls anything else invalid: neither is the mask hidden in the slice views.
    """
    was = display.StartModify()
    display.SetVisibility2D(filled or outlined)
    if filled or outlined:
        display.SetVisibility2DFill(filled)
        display.SetVisibility2DOutline(outlined)
    display.EndModify(was)


def has_surface(node: Any) -> bool:
    """True when the 3D views show the node's surface, as Slicer's own *Show 3D* buttons have it."""
    return bool(node.GetSegmentation().ContainsRepresentation(_surface()))


def show_surface(node: Any, shown: bool) -> None:
    """Make the closed surface and show it (50 ms for a pancreas), or take it away, as Slicer's own buttons do."""
    if shown:
        node.CreateClosedSurfaceRepresentation()
        node.GetDisplayNode().SetVisibility3D(True)
    else:
        node.GetSegmentation().RemoveRepresentation(_surface())


def _surface() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())


class SoftTissueWindow:
    """Slicer's abdominal window on a CT, and back."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, float, float, str | None]] = {}

    @staticmethod
    def is_free(volume: Any) -> bool:
        """True when neither the file nor a person has chosen a window for the volume."""
        display = volume.GetDisplayNode()
        return display is not None and bool(display.GetAutoWindowLevel())

    def applied(self, volume: Any) -> bool:
        """True when :meth:`apply` can be taken back."""
        return volume is not None and volume.GetID() in self._before

    def apply(self, volume: Any) -> bool:
        """Set the window; False when this Slicer lacks the preset."""
        display = volume.GetDisplayNode()
        if display is None:
            return False
        now = display.GetAutoWindowLevel(), display.GetWindow(), display.GetLevel(), display.GetColorNodeID()
        if not slicer.modules.volumes.logic().ApplyVolumeDisplayPreset(display, PRESET):
            return False
        self._before[volume.GetID()] = now
        return True

    def undo(self, volume: Any) -> None:
        """Put back the window that was there before."""
        display, before = volume.GetDisplayNode(), self._before.pop(volume.GetID(), None)
        if display is None or before is None:
            return
        was = display.StartModify()
        display.SetWindowLevel(before[1], before[2])
        display.SetAutoWindowLevel(before[0])
        display.SetAndObserveColorNodeID(before[3])
        display.EndModify(was)

    def forget(self) -> None:
        """The scene is closing."""
        self._before = {}
