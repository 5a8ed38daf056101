"""Read a mask or label map, or say in one sentence why it is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.reading import read_labels

MOST_LABEL = 2**24
"""Up to here single precision tells whole numbers apart."""


def read_mask(path: str | Path) -> sitk.Image:
    """Read a mask or label map.

    Args:
        path: a NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file.

    Returns:
        A 3D integer image on the grid the file describes.

    Raises:
        InputError: nothing there, unreadable, damaged, or not one label map.
        MemoryError: the image does not fit.
    """
    path = Path(path)
    image = read_labels(path)
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind in "iu":
        return image
    if not np.array_equal(values, np.rint(values)):  # also NaN
        raise InputError(f"“{path.name}” holds fractions, so it is no label map; choose the mask.")
    if np.abs(values).max(initial=0) > MOST_LABEL:
        raise InputError(f"“{path.name}” holds values above {MOST_LABEL:,}, so it is no label map; choose the mask.")
    return sitk.Cast(image, sitk.sitkInt32)


def labels_of(image: sitk.Image) -> list[int]:
    """The values of a label map other than 0, rising."""
    return [int(value) for value in np.unique(sitk.GetArrayViewFromImage(image)) if value != 0]
