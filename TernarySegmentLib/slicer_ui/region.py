"""A box in the views that limits the search."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from TernarySegmentLib.imaging.grids import Box


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


def box_of(region: Any) -> Box:
    """Lower and upper corner in LPS, mm; of a turned region the box around it."""
    bounds = np.zeros(6)
    region.GetRASBounds(bounds)
    right, left, back, front, foot, head = bounds.tolist()
    return (-left, -front, foot), (-right, -back, head)
