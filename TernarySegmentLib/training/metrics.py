"""How well a mask agrees with an expert's: overlap, surface distances, volume, and the certainty of a mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from surface_distance import metrics as surfaces

TOLERANCE_MM = 2.0
"""Borders this close count as equal in the normalised surface distance."""
PERCENTILE = 95.0
"""Of the Hausdorff distance."""
RESAMPLES = 10_000
"""Of the bootstrap; more move the third digit of an interval by less than 0.001."""


@dataclass(frozen=True)
class Agreement:
    """Two masks compared.

    Attributes:
        dice: 2·|A∩B| / (|A| + |B|), 1 when both are empty.
        surface_dice: normalised surface distance (Nikolov et al. 2021): the share of both surfaces that lies within
            :data:`TOLERANCE_MM` of the other; None where it was not asked for.
        hausdorff_mm: 95th percentile of the distances between the surfaces; None where it was not asked for, or where
            a mask is empty and no distance exists.
        volume_ml, expert_ml: of the found and of the expert's mask.
    """

    dice: float
    surface_dice: float | None
    hausdorff_mm: float | None
    volume_ml: float
    expert_ml: float

    @property
    def volume_error(self) -> float | None:
        """Relative error of the volume, signed; None when the expert's mask is empty."""
        return self.volume_ml / self.expert_ml - 1 if self.expert_ml else None


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Dice overlap of two boolean masks; 1 when both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0


def compare(
    found: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float], distances: bool = True
) -> Agreement:
    """Compare a mask with an expert's on the same grid.

    Args:
        found: the mask, boolean, (z, y, x).
        truth: the expert's, alike.
        spacing: voxel size (z, y, x), mm.
        distances: whether to measure surfaces; senseless where only some slices are annotated.
    """
    voxel = float(np.prod(spacing)) / 1000
    volumes = np.count_nonzero(found) * voxel, np.count_nonzero(truth) * voxel
    surface, hausdorff = _surface_agreement(found, truth, spacing) if distances else (None, None)
    return Agreement(overlap(found, truth), surface, hausdorff, *volumes)


def _surface_agreement(
    found: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[float, float | None]:
    """Normalised surface distance and the Hausdorff percentile in mm."""
    if not found.any() or not truth.any():  # the library divides by an empty surface
        return (1.0 if found.any() == truth.any() else 0.0), None
    measured = surfaces.compute_surface_distances(truth, found, spacing)
    return (
        float(surfaces.compute_surface_dice_at_tolerance(measured, TOLERANCE_MM)),
        float(surfaces.compute_robust_hausdorff(measured, PERCENTILE)),
    )


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
