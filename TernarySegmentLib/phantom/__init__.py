"""A synthetic portal-venous abdomen with its labels: the demo CT, and a small share of the training patches.

Organs are signed distances (mm, negative inside) in a patient frame: x to the left from the midline, y to the back
from the body's centre, z to the head from the pelvis. They are painted one over the other onto the voxel grid with a
soft edge, so that borders blend as in a scanner. No patient's data goes in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.phantom.body import bones, bowel, chest, muscles, trunk
from TernarySegmentLib.phantom.canvas import DEFAULT_FIELD_MM, Point, Scene, add_noise
from TernarySegmentLib.phantom.organs import RESERVED, Label, kidneys, liver, pancreas, spleen, stomach, vessels

__all__ = ["DEFAULT_FIELD_MM", "Label", "Phantom", "make_phantom"]


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT (int16 HU) and its labels (uint8, see `Label`) on one LPS grid with identity direction."""

    ct: sitk.Image
    labels: sitk.Image


def make_phantom(
    seed: int, spacing: Point = (0.9, 0.9, 2.0), field_mm: Point = DEFAULT_FIELD_MM, noise: bool = True
) -> Phantom:
    """Make an abdomen from the pelvis' top to the lung bases; a seed gives the same patient on every grid.

    Args:
        seed: chooses habitus, organ sizes and places, contrast phase, bowel content and noise.
        spacing: voxel size (x, y, z), mm.
        field_mm: field of view (x, y, z), mm, about the middle of the body.
        noise: add scanner noise.

    Raises:
        InputError: a spacing or field of view that is not positive.

    Examples:
        >>> phantom = make_phantom(0, spacing=(8.0, 8.0, 8.0))
        >>> phantom.ct.GetSpacing()
        (8.0, 8.0, 8.0)
    """
    if min(spacing) <= 0 or min(field_mm) <= 0:
        raise InputError(f"A phantom needs positive millimetres, not spacing {spacing} and field {field_mm}.")
    rng = np.random.default_rng(seed)
    scene = Scene(rng, spacing, field_mm)
    for add in (trunk, chest, bowel, muscles, bones, liver, stomach, spleen, kidneys, vessels, pancreas):
        add(scene, rng)
    if noise:
        add_noise(scene.hu, rng, spacing)
    np.clip(scene.hu, -1024, 3071, out=scene.hu)
    scene.labels[scene.labels == RESERVED] = 0
    ct, labels = sitk.GetImageFromArray(np.rint(scene.hu).astype(np.int16)), sitk.GetImageFromArray(scene.labels)
    for image in (ct, labels):
        image.SetSpacing(spacing)
        image.SetOrigin([float(axis.flat[0]) for axis in scene.axes])
    return Phantom(ct, labels)
