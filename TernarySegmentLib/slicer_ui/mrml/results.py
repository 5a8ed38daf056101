"""Which results belong to which CT: nobody may see one patient's mask on another's scan."""

from __future__ import annotations

from typing import Any

import slicer

from TernarySegmentLib.slicer_ui.mrml.segmentation import AUTOMATIC, CONFIDENCE_MAP, differences_of, volume_of


def is_scan(node: Any) -> bool:
    """True for a volume node that may be a CT: scalar, and not a confidence map of this module."""
    return (
        node is not None
        and node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and node.GetAttribute(CONFIDENCE_MAP) is None
    )


def results_of(volume: Any) -> list[Any]:
    """The segmentation nodes that this module made on a volume, oldest first; none for None."""
    if volume is None:
        return []
    return [node for node in _results() if volume_of(node) is volume]


def show_only(node: Any) -> list[Any]:
    """Show one result, and hide the module's others, of this CT and of others.

    Args:
        node: a segmentation node; None hides all.

    Returns:
        Those that were visible until now.
    """
    if node is not None and node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(True)
    return [each for each in _results() if each is not node and _hide(each)]


def hide_others(volume: Any) -> None:
    """Hide the module's results on other CTs than this volume node."""
    for each in _results():
        if volume_of(each) is not volume:
            _hide(each)


def _hide(node: Any) -> bool:
    """Hide a result, and where it differs from a reference mask; True when it was visible."""
    displays = [each.GetDisplayNode() for each in (differences_of(node), node) if each is not None]
    visible = [display for display in displays if display is not None and display.GetVisibility()]
    for display in visible:
        display.SetVisibility(False)
    return node.GetDisplayNode() in visible


def _results() -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(AUTOMATIC) is not None]
