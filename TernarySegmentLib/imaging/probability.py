"""From a network's margin to the probability that a voxel is pancreas."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.grids import Grid, blank, index_window, sample

NOT_SEARCHED = 0
"""Percent where the network did not look; where it did, the least is 1."""

EVEN = 50
"""Percent from which the network decides for pancreas: there the margin is positive, and only there."""


def probability(margin: np.ndarray, temperature: float, bias: float = 0.0) -> np.ndarray:
    """Logistic function of the margin, calibrated (Platt 1999; Guo et al., ICML 2017, arXiv 1706.04599).

    Args:
        margin: target's score minus the best other one's, in logits; any shape.
        temperature: above 1 the network is less sure than its margins say.
        bias: margin of a voxel that is as likely pancreas as not.

    Returns:
        float32, 0 to 1, same shape.
    """
    return 0.5 + 0.5 * np.tanh((np.asarray(margin, np.float32) - np.float32(bias)) * np.float32(0.5 / temperature))


def percent(margin: np.ndarray, temperature: float) -> np.ndarray:
    """The margin in whole percent, uint8, 1 to 100; :data:`EVEN` or more exactly where it is positive.

    The bias is left out on purpose, so that the percentages and the mask tell the same.
    """
    rounded = np.rint(100 * probability(margin, temperature))
    return np.where(margin > 0, np.maximum(rounded, EVEN), np.clip(rounded, 1, EVEN - 1)).astype(np.uint8)


def percent_image(margin: np.ndarray, grid: Grid, reference: sitk.Image, temperature: float) -> sitk.Image:
    """Bring a margin to an image's own grid, as :func:`~TernarySegmentLib.imaging.grids.to_image` does, in percent.

    Args:
        margin: logits on the grid, axes (z, y, x).
        grid: where the margin lives.
        reference: the image whose grid the percentages must have.
        temperature: see :func:`probability`.

    Returns:
        uint8 image on exactly the grid of ``reference``: :data:`NOT_SEARCHED` outside ``grid``, else 1 to 100.
    """
    result = blank(reference)
    window = index_window(reference, grid.box, margin=1)
    if window is None:
        return result
    start, size = window
    nowhere = -1e9
    sampled = sample(margin, grid, reference, window, nowhere)
    values = sitk.GetArrayViewFromImage(sampled)
    percents = np.empty(values.shape, np.uint8)
    for plane, out in zip(values, percents, strict=True):  # slice by slice, so that no temporary of 60 MB is made
        out[...] = np.where(plane > nowhere / 2, percent(plane, temperature), NOT_SEARCHED)
    return sitk.Paste(result, sitk.GetImageFromArray(percents), size, [0, 0, 0], start)
