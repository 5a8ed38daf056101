"""A picture of two masks on one scan: what one has too much, and what too little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.agreement import check_same_grid
from TernarySegmentLib.imaging.grids import OUTSIDE_HU, blank
from TernarySegmentLib.imaging.measure import same_grid
from TernarySegmentLib.imaging.report.preview import GAP, draw_preview, write_png, write_text

TOO_MUCH, TOO_LITTLE, BOTH = (0.90, 0.45, 0.0), (0.25, 0.65, 1.0), (1.0, 1.0, 1.0)
"""Orange and blue, which colour-blind people tell apart; white where the masks agree."""

LEGEND = ((TOO_MUCH, "TOO MUCH"), (TOO_LITTLE, "TOO LITTLE"), (BOTH, "THE SAME"))
ROWS = 30
"""Pixels of the legend's strip."""


def write_difference(ct: sitk.Image | None, mask: sitk.Image, reference: sitk.Image, path: str | Path) -> None:
    """Write a PNG with the planes and slices of a preview, a mask's difference from a reference in colours.

    Args:
        ct: the scan, in HU; None draws on black.
        mask: integer image, inside where not 0.
        reference: alike, on the same grid.
        path: ends in ``.png``; an existing file is replaced.

    Raises:
        InputError: the grids differ.
        OutputError: the place cannot be written.
    """
    write_png(draw_difference(ct, mask, reference), path)


def draw_difference(ct: sitk.Image | None, mask: sitk.Image, reference: sitk.Image) -> np.ndarray:
    """The picture that :func:`write_difference` writes, uint8, (rows, columns, red-green-blue)."""
    check_same_grid(mask, reference)
    if ct is None:
        ct = sitk.Cast(blank(mask), sitk.sitkInt16) + OUTSIDE_HU
    elif not same_grid(ct, mask):
        raise InputError(f"The mask's grid {mask.GetSize()} is not the CT's {ct.GetSize()}; give the CT of this mask.")
    found, truth = (sitk.GetArrayViewFromImage(image) != 0 for image in (mask, reference))
    parts = (found & ~truth, truth & ~found, found & truth)
    layers = [(_image(part, mask), colour) for part, (colour, _) in zip(parts, LEGEND, strict=True)]
    # what is in both is drawn first, so that thin differences lie on it
    picture = draw_preview(ct, _image(found | truth, mask), layers[::-1])
    return np.concatenate([picture, np.zeros((GAP, picture.shape[1], 3), np.uint8), _legend(picture.shape[1])])


def _image(inside: np.ndarray, like: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(inside.astype(np.uint8))
    image.CopyInformation(like)
    return image


def _legend(width: int) -> np.ndarray:
    strip = np.zeros((ROWS, width, 3), np.uint8)
    left = 12
    for colour, text in LEGEND:
        strip[8 : ROWS - 8, left : left + 14] = np.rint(255 * np.array(colour))
        half = 6 * len(text)
        write_text(strip, text, ROWS // 2, left + 24 + half)
        left += 60 + 2 * half
    return strip
