"""Read a mask or label map, or say in one sentence why it is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.itk import itk_path, quiet


def read_mask(path: str | Path) -> sitk.Image:
    """Read a mask or label map.

    Args:
        path: a NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file.

    Returns:
        A 3D integer image on the grid the file describes.

    Raises:
        InputError: nothing there, unreadable, or not one label map.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file “{path}”; check the path.")
    try:
        with quiet():
            image = sitk.ReadImage(itk_path(path))
    except RuntimeError as error:
        raise InputError(f"“{path.name}” cannot be read as an image; choose the mask, or export it again.") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"“{path.name}” holds {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values "
            "per voxel, as with overlapping segments; export the segment alone as a label map."
        )
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind in "iu":
        return image
    if not np.array_equal(values, np.rint(values)):
        raise InputError(f"“{path.name}” holds fractions, so it is no label map; choose the mask.")
    return sitk.Cast(image, sitk.sitkInt16)
