"""Volume, density, extent and centre of a mask."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import positions, voxel_steps


@dataclass(frozen=True)
class Measures:
    """What a report says about a mask.

    Attributes:
        volume_ml: voxels times the voxel's volume, mL.
        mean_hu: mean of the CT inside the mask.
        sd_hu: population standard deviation of the CT inside the mask.
        extent_mm: right-left, front-back, foot-head, measured between the outermost voxel borders.
        centre_lps: position in LPS, mm, of the mask voxel nearest to the centroid: always inside the organ, though
            the centroid of a bent pancreas may lie outside.
        voxels: number of voxels.
    """

    volume_ml: float
    mean_hu: float
    sd_hu: float
    extent_mm: tuple[float, float, float]
    centre_lps: tuple[float, float, float]
    voxels: int

    def as_dict(self) -> dict[str, object]:
        """Plain numbers and lists, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def measure(ct: sitk.Image, mask: sitk.Image) -> Measures:
    """Measure a mask on its CT; only the mask's bounding box is read.

    Args:
        ct: 3D image in HU.
        mask: integer image on the same grid, inside where not 0.

    Raises:
        InputError: the grids differ, or the mask is empty.

    Examples:
        >>> ct = sitk.Image(20, 20, 20, sitk.sitkInt16) + 90
        >>> mask = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
        >>> mask[5:15, 5:15, 5:15] = 1
        >>> found = measure(ct, mask)
        >>> found.volume_ml, found.mean_hu, found.extent_mm
        (1.0, 90.0, (10.0, 10.0, 10.0))
    """
    if not same_grid(ct, mask):
        raise InputError(f"The mask's grid {mask.GetSize()} is not the CT's {ct.GetSize()}; measure it on its own CT.")
    box = mask_box(mask)
    if box is None:
        raise InputError("The mask is empty, so there is nothing to measure.")
    start, size = box
    # copies, not views: a view of a temporary image reads freed memory
    inside = sitk.GetArrayFromImage(sitk.RegionOfInterest(mask, size, start)) != 0
    values = sitk.GetArrayFromImage(sitk.RegionOfInterest(ct, size, start))[inside].astype(np.float64)
    points = positions(mask, np.argwhere(inside) + start[::-1])
    # a voxel reaches half its projected size beyond its centre on either side
    extent = np.ptp(points, axis=0) + np.abs(voxel_steps(mask)).sum(1)
    centre = points[np.square(points - points.mean(0)).sum(1).argmin()]
    return Measures(
        volume_ml=float(len(points) * voxel_ml(mask)),
        mean_hu=float(values.mean()),
        sd_hu=float(values.std()),
        extent_mm=(float(extent[0]), float(extent[1]), float(extent[2])),
        centre_lps=(float(centre[0]), float(centre[1]), float(centre[2])),
        voxels=len(points),
    )


def voxel_ml(image: sitk.Image) -> float:
    """Volume of a voxel, mL; also where the axes are sheared, which makes it smaller than its sides say."""
    return float(abs(np.linalg.det(voxel_steps(image))) / 1000)


def same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """True when two images have equal size, and spacing, origin and direction equal to what a file header keeps."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(a, b, rtol=1e-4, atol=1e-3)
        for a, b in (
            (one.GetSpacing(), other.GetSpacing()),
            (one.GetOrigin(), other.GetOrigin()),
            (one.GetDirection(), other.GetDirection()),
        )
    )


def mask_box(mask: sitk.Image, least: int = 1) -> tuple[list[int], list[int]] | None:
    """Start and size, (x, y, z), of the smallest box around the voxels of at least a value; None when it is empty."""
    array = sitk.GetArrayViewFromImage(mask)
    # slice by slice, so that no copy of a 512×512×900 mask is made
    used = np.array([bool((plane >= least).any()) for plane in array])
    slices = np.flatnonzero(used)
    if slices.size == 0:
        return None
    flat = np.zeros(array.shape[1:], bool)
    for z in slices:
        flat |= array[z] >= least
    rows, columns = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
    start = [int(columns[0]), int(rows[0]), int(slices[0])]
    stop = [int(columns[-1]), int(rows[-1]), int(slices[-1])]
    return start, [b - a + 1 for a, b in zip(start, stop, strict=True)]
