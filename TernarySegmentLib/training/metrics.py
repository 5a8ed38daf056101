"""The certainty of a mean over cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

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
    """Average some cases, with a bootstrap interval; one case alone is its own interval.

    Args:
        values: one per case, at least one.
        seed: of the resampling.
    """
    sample = np.array(values, float)
    mean = float(sample.mean())
    if len(sample) == 1:  # SciPy refuses to resample one observation
        return Mean(mean, mean, mean, 1)
    interval = bootstrap((sample,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=seed).confidence_interval
    return Mean(mean, float(interval.low), float(interval.high), len(sample))


def mean_dice(agreements: list[Agreement | None]) -> Mean:
    """Average Dice, with its interval; a scan that was refused (None) counts as 0."""
    return mean_with_interval([agreement.dice if agreement else 0.0 for agreement in agreements])
