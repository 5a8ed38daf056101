"""Folding scale, batch norm and ternary step into two integer thresholds per channel.

The convolution delivers an integer sum s. In training it is followed by y = γ·(α·s - μ)/√(σ² + ε) + β and the ternary
step: +1 for y > ½, -1 for y < -½. y is monotone in s, so two thresholds on s say the same. They are found by
evaluating that very expression for every sum that can occur, and checked against it for every sum: no closed form, no
rounding argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STEP = 0.5


@dataclass(frozen=True)
class BatchNorm:
    """Per-channel parameters of what follows the convolution, float64 (channels,).

    Attributes:
        scale: α, what one unit of the integer sum is worth.
        mean, variance: population statistics.
        weight, bias: γ and β.
        epsilon: added to the variance.
    """

    scale: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    epsilon: float

    def __call__(self, sums: np.ndarray, channel: int) -> np.ndarray:
        """y of integer sums, for one channel."""
        deviation = np.sqrt(self.variance[channel] + self.epsilon)
        normalised = (self.scale[channel] * sums - self.mean[channel]) / deviation
        return self.weight[channel] * normalised + self.bias[channel]


def fold(
    norm: BatchNorm, largest: int, edges: Sequence[tuple[float, float]] = ((-STEP, STEP),)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds that equal batch norm and ternary steps for every sum in [-largest, largest].

    Channels whose γ is negative fall with the sum; their weights must be negated (``flip``), so that one direction of
    comparison serves all. A constant channel (γ = 0) gets thresholds out of reach.

    Args:
        norm: what to fold.
        largest: no sum exceeds it in magnitude.
        edges: below and above which y each trit of a channel is -1 and +1; one pair for each trit.

    Returns:
        low and high, int32 (trits·channels,): sums ≤ low give -1, sums ≥ high give +1; the second trits of all channels
        follow the first ones. And flip, bool (channels,).

    Raises:
        ArithmeticError: the thresholds do not reproduce the step (the expression is not monotone in floating point).

    Examples:
        >>> one = np.ones(1)
        >>> low, high, flip = fold(BatchNorm(0.1 * one, 0.2 * one, one, -one, 0 * one, 0.0), largest=27)
        >>> low, high, flip  # y = 0.2 - 0.1·s falls with s, so s is negated
        (array([-8], dtype=int32), array([4], dtype=int32), array([ True]))
    """
    sums = np.arange(-largest, largest + 1, dtype=np.float64)
    channels = len(norm.scale)
    low, high = np.empty((2, len(edges), channels), np.int32)
    flip = norm.weight * norm.scale < 0
    for channel in range(channels):
        values = norm(-sums if flip[channel] else sums, channel)
        for trit, (below, above) in enumerate(edges):
            at = trit, channel
            low[at] = np.count_nonzero(values < below) - largest - 1
            high[at] = largest + 1 - np.count_nonzero(values > above)
            wanted = (values > above).astype(np.int8) - (values < below)
            if not np.array_equal(wanted, (sums >= high[at]).astype(np.int8) - (sums <= low[at])):
                raise ArithmeticError(
                    f"channel {channel}: no pair of thresholds equals its batch norm and ternary step"
                )
    return low.ravel(), high.ravel(), flip
