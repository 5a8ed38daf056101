"""Thresholds that follow a scan: what is usual for a sum is taken in part from the scan itself.

A network's thresholds say how far a sum must be from what is usual on the scans that it was trained on. On a scan with
more contrast agent, more noise or a fuller stomach the sums of many channels lie elsewhere or are spread more widely.
Layer after layer, the sums at some places of the scan are therefore computed beforehand, and the thresholds moved and
spread as their mean and deviation ask for, by the part that the network was trained with. All products stay ternary.

The training counterpart is :class:`TernarySegmentLib.training.network.ScanNorm`. Source of the idea: Nado et al.,
Evaluating prediction-time batch normalization for robustness under covariate shift, arXiv 2006.10963.
"""

from __future__ import annotations

import numpy as np

from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, Places

PLACES = 700
"""About as many places a layer's sums are computed at: the error of a mean is below 4 % of the deviation."""
MOST_SPREAD = 2.0
"""A scan's deviation counts as this many times the usual one at most, and as one part of so many at least."""


def lattice(shape: tuple[int, ...]) -> Places:
    """Evenly spread places of a volume, about :data:`PLACES`.

    Examples:
        >>> [len(each) for each in lattice((48, 64, 64))]
        [7, 9, 9]
        >>> [each.tolist() for each in lattice((2, 3, 2))]  # all of a small one
        [[0, 1], [0, 1, 2], [0, 1]]
    """
    step = max(1, round((np.prod(shape) / PLACES) ** (1 / 3)))
    return [np.arange(min(step // 2, size - 1), size, step) for size in shape]


def statistics(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of integer sums (..., channels), float64 (channels,): exact up to the last division."""
    whole = sums.reshape(-1, sums.shape[-1]).astype(np.int64)
    count, total, squares = len(whole), whole.sum(0), np.square(whole).sum(0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))


def moved(
    weights: FirstWeights | ConvolutionWeights, mean: np.ndarray, deviation: np.ndarray, share: float
) -> FirstWeights | ConvolutionWeights:
    """Weights whose thresholds follow a scan.

    Args:
        weights: with what is usual for their sums.
        mean: of the scan's sums, float64 (sums,).
        deviation: of them, alike.
        share: 0 leaves the thresholds where they are, 1 takes the scan's statistics alone.

    Returns:
        the same weights, sharing everything but their thresholds.
    """
    assert weights.usual is not None
    usual_mean, usual_deviation = weights.usual.astype(np.float64)
    spread = np.clip(deviation / usual_deviation, 1 / MOST_SPREAD, MOST_SPREAD) ** share
    centre = (1 - share) * usual_mean + share * mean
    # a threshold stands for the value half-way between the last sum on one side and the first on the other
    low, high = (
        (each.reshape(weights.trits, -1) + half - usual_mean) * spread + centre
        for each, half in ((weights.low, 0.5), (weights.high, -0.5))
    )
    limits = np.iinfo(np.int32)
    return weights.with_thresholds(
        *(each.clip(limits.min, limits.max).astype(np.int32).ravel() for each in (np.ceil(low) - 1, np.floor(high) + 1))
    )
