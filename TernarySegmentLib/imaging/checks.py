"""Is this image a CT in HU that can be segmented? Say why not, or what to watch out for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.tissue import Shares, lacks_fat, scaled, shares

FEWEST_VOXELS = 8
"""Along any axis; with fewer there is no volume to speak of."""

SMALLEST_EXTENT_MM = 40.0
"""Along any axis; a pancreas is 120-200 mm wide and 60-120 mm high."""

LARGEST_EXTENT_MM = (1200.0, 1200.0, 2500.0)
"""Along the patient's axes. No scanner's field is wider than 850 mm, which turned by 45° takes 1,200, and few people
are longer than 2,100. The coarse working grid then holds at most 56 million voxels and takes 2 GB."""

SPACING_RANGE_MM = (0.05, 20.0)
"""What is outside was written in metres or micrometres, or never written."""

THICK_MM = 5.0
"""Thicker slices blur the pancreas with its neighbours; 5 mm itself is common practice."""

SMALL_FIELD_MM = 200.0
"""Across; a narrower picture shows only a part of the abdomen, so the search has little to go by."""

SHORT_SCAN_MM = 100.0
"""From foot to head; a shorter scan cuts most pancreases off."""

SMALLEST_RANGE_HU = 100.0
"""Between fat (-100) and soft tissue (40) lie 140 HU; less was divided by something."""

SHIFTED_TISSUE = (850, 1250)
"""Where fat (-120) to well perfused tissue (220) lands when 1024 was added, or never subtracted."""


@dataclass(frozen=True)
class CtSummary:
    """What a CT looks like.

    Attributes:
        size: voxels, (x, y, z) of the image's own axes.
        spacing: mm, same axes.
        hu_min: smallest value.
        hu_max: largest value.
        sentence: e.g. "512×512×221 voxels, 0.90×0.90×1.00 mm, HU −1024…1650".
        warnings: sentences about what may make the result worse; empty when there is nothing to say.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    hu_min: float
    hu_max: float
    sentence: str
    warnings: tuple[str, ...]


def check_ct(image: sitk.Image) -> CtSummary:
    """Refuse what is not a usable CT in HU and describe what is.

    Args:
        image: any image.

    Raises:
        InputError: not 3D, not scalar, too small, an absurd spacing, or values that are not HU; said in one sentence.
    """
    _check_shape(image)
    _check_grid(image)
    low, high, found = _check_values(image)
    size, spacing = image.GetSize(), image.GetSpacing()
    sentence = (
        f"{'×'.join(str(n) for n in size)} voxels, {'×'.join(f'{s:.2f}' for s in spacing)} mm, "
        f"HU {_number(low)}…{_number(high)}"
    )
    return CtSummary(size, spacing, low, high, sentence, _warnings(image, found))


def _number(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")


def _check_shape(image: sitk.Image) -> None:
    if image.GetDimension() != 3:
        raise InputError(f"The image has {image.GetDimension()} dimensions; choose a 3D CT volume.")
    if image.GetNumberOfComponentsPerPixel() != 1 or "complex" in image.GetPixelIDTypeAsString():
        raise InputError(
            f"The image has voxels of type {image.GetPixelIDTypeAsString()}; a CT has one number per voxel, in HU."
        )


def _check_grid(image: sitk.Image) -> None:
    size, spacing = image.GetSize(), image.GetSpacing()
    if not np.isfinite([*spacing, *image.GetOrigin(), *image.GetDirection()]).all():
        raise InputError("The image's spacing, origin or direction is not a number; export the CT again.")
    low, high = SPACING_RANGE_MM
    if not all(low <= s <= high for s in spacing):
        text = "×".join(f"{s:.3g}" for s in spacing)
        raise InputError(f"The voxel size is {text} mm, outside {low}-{high:.0f} mm; correct the spacing of the image.")
    extent = [n * s for n, s in zip(size, spacing, strict=True)]
    if min(size) < FEWEST_VOXELS or min(extent) < SMALLEST_EXTENT_MM:
        raise InputError(
            f"The image is too small ({'×'.join(str(n) for n in size)} voxels, "
            f"{'×'.join(f'{e:.0f}' for e in extent)} mm); at least {FEWEST_VOXELS} voxels and "
            f"{SMALLEST_EXTENT_MM:.0f} mm on every axis are needed."
        )
    if (_extent(image) > LARGEST_EXTENT_MM).any():
        raise InputError(
            f"The image measures {'×'.join(f'{e:.0f}' for e in _extent(image))} mm, more than a body and than "
            f"{'×'.join(f'{e:.0f}' for e in LARGEST_EXTENT_MM)} mm; correct its spacing, or crop it to the abdomen."
        )


def _extent(image: sitk.Image) -> np.ndarray:
    """Along the patient's axes, whatever the image's own, mm (3,)."""
    matrix = np.abs(np.array(image.GetDirection()).reshape(3, 3))
    return matrix @ (np.array(image.GetSpacing()) * image.GetSize())


def _check_values(image: sitk.Image) -> tuple[float, float, Shares]:
    """Smallest and largest value of an image in HU, and how its values are spread.

    A CT has negative values, if only those of fat; also one that was clipped at -125 HU or cropped inside the body.
    """
    values = sitk.GetArrayViewFromImage(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError("The image holds values that are not numbers (NaN or infinite); export the CT again.")
    if low == high:
        raise InputError(f"Every voxel of the image is {low:g}; choose a CT with a picture in it.")
    if _is_shifted(values):
        raise InputError(
            f"The values run from {low:g} to {high:g} with soft tissue near 1000, so they are not HU but shifted; "
            "subtract 1024 from every voxel first."
        )
    octets = (low >= 0 and 1 < high <= 255) or (low >= -128 and high <= 127 and high - low >= SMALLEST_RANGE_HU)
    if image.GetSizeOfPixelComponent() == 1 or octets:
        raise InputError(
            f"The values run from {low:g} to {high:g}, as in an 8-bit picture; choose the original CT in HU."
        )
    if high - low < SMALLEST_RANGE_HU:
        raise InputError(f"The values run from {low:g} to {high:g} only, as after normalising; choose a CT in HU.")
    if low >= 0:
        raise InputError(
            f"The values run from {low:g} to {high:g} with none below 0, so this is not a CT in HU (perhaps MR or "
            "PET); choose a CT."
        )
    found = shares(values)
    reason = scaled(found)
    if reason is not None:
        raise InputError(
            f"The values run from {low:g} to {high:g} and {reason}, so they were scaled or stretched; choose the "
            "original CT in HU."
        )
    return low, high, found


def _is_shifted(values: np.ndarray) -> bool:
    """True when the body lies around 1064 instead of 40.

    Told by the tissue, not by the minimum: raw values of some scanners are padded with -2000 outside their circle.
    In a CT in HU only bone and contrast agent exceed 300, never a tenth of the voxels, and most of that stays below
    850. In a shifted one hardly anything but lung (200) lies below fat; an MR image has tissue at every level.
    """
    # plenty for shares, and 1 ms; float, as NumPy 2.0 crashes comparing every fourth of 8-bit voxels with 300
    sample = values[::4, ::4, ::4].astype(np.float32)
    dense = sample[sample > 300]
    low, high = SHIFTED_TISSUE
    tissue = np.count_nonzero((dense >= low) & (dense <= high))
    return bool(tissue > 0.1 * sample.size and tissue > 0.6 * dense.size)


def _warnings(image: sitk.Image, found: Shares) -> tuple[str, ...]:
    spacing, extent = np.array(image.GetSpacing()), _extent(image)
    said = []
    if spacing.max() > THICK_MM + 0.01:
        said.append(
            f"The slices are {spacing.max():.1f} mm apart; with more than {THICK_MM:.0f} mm borders are less sure."
        )
    if min(extent[:2]) < SMALL_FIELD_MM:
        said.append(
            f"The field of view is only {extent[0]:.0f}×{extent[1]:.0f} mm across; "
            "with a part of the abdomen missing the pancreas may not be found."
        )
    if extent[2] < SHORT_SCAN_MM:
        said.append(f"The scan is only {extent[2]:.0f} mm long from foot to head; the pancreas may be cut off.")
    if lacks_fat(found):
        said.append(
            f"Hardly anything ({100 * found.fat:.1f} %) has the value of fat, near -100 HU; check that the values are "
            "HU and that their window was not cut."
        )
    return tuple(said)
