"""The certainty of a mean over cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from TernarySegmentLib.imaging.agreement import Agreement

RESAMPLES = 10_000
"""Of the bootstrap; more move the third digit of an interval by less than 0.001."""


@dataclass(frozen=True)
class Mean:
    """A mean with the 95 % interval of a percentile bootstrap over cases.

    Attributes:
        value: the mean.
        low, high: the interval; it says how much the mean depends on which cases were drawn, no more.
        count: of cases.
    """

    value: float
    low: float
    high: float
    count: int


def mean_with_interval(values: list[float], seed: int = 0) -> Mean:
    """The mean of some cases with its bootstrap interval.

    Args:
        values: one per case, at least one.
        seed: of the resampling.
    """
    sample = np.array(values, float)
    drawn = np.random.default_rng(seed).integers(len(sample), size=(RESAMPLES, len(sample)))
    low, high = np.quantile(sample[drawn].mean(1), (0.025, 0.975))
    return Mean(float(sample.mean()), float(low), float(high), len(sample))


def mean_dice(agreements: list[Agreement | None]) -> Mean:
    """Mean Dice with its interval; a scan that was refused (None) counts as 0."""
    return mean_with_interval([agreement.dice if agreement else 0.0 for agreement in agreements])
