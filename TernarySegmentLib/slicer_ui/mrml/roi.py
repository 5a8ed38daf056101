"""Boxes in the views: one limits the search, one says where to segment again."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from TernarySegmentLib.imaging.grids import Box
from TernarySegmentLib.slicer_ui.mrml.views import common_point


def make_region(volume: Any) -> Any:
    """A new vtkMRMLMarkupsROINode over the middle half of a volume, to be moved and sized by hand."""
    bounds = np.zeros(6)
    volume.GetRASBounds(bounds)
    lower, upper = bounds[0::2], bounds[1::2]
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Pancreas search region")
    region.CreateDefaultDisplayNodes()
    region.SetCenter(*((lower + upper) / 2).tolist())
    region.SetSize(*((upper - lower) / 2).tolist())
    return region


BOX_MM = 50.0
"""Side of a box for segmenting again: a head or a tail of a pancreas."""


def make_box(box: Any = None) -> Any:
    """A box around the point that the slice views show together, to be moved and sized by hand.

    Args:
        box: a vtkMRMLMarkupsROINode to move there; None makes one.
    """
    if box is None:
        box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Pancreas box")
        box.CreateDefaultDisplayNodes()
        display = box.GetDisplayNode()
        display.SetFillVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetInteractionHandleScale(1.0)  # of the window's size, in percent; Slicer's 3 hide a pancreas
        box.SetSize(BOX_MM, BOX_MM, BOX_MM)
    box.GetDisplayNode().SetVisibility(True)
    box.SetCenter(*common_point())
    return box


def box_of(region: Any) -> Box:
    """Lower and upper corner in LPS, mm; of a turned region the box around it."""
    bounds = np.zeros(6)
    region.GetRASBounds(bounds)
    right, left, back, front, foot, head = bounds.tolist()
    return (-left, -front, foot), (-right, -back, head)
