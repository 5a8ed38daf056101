"""Which results belong to which CT: nobody may see one patient's mask on another's scan."""

from __future__ import annotations

from typing import Any

import slicer

from TernarySegmentLib.slicer_ui.mrml.segmentation import AUTOMATIC, CONFIDENCE_MAP, volume_of


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
    hidden = []
    for each in _results():
        display = each.GetDisplayNode()
        if display is None or bool(display.GetVisibility()) == (each is node):
            continue
        display.SetVisibility(each is node)
        if each is not node:
            hidden.append(each)
    return hidden


def _results() -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if node.GetAttribute(AUTOMATIC) is not None]
