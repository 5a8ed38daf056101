"""Does a voxel of which the network is 70 % sure turn out to be pancreas in 70 of 100 cases? And making it so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.imaging.grids import to_grid
from TernarySegmentLib.imaging.probability import probability
from TernarySegmentLib.pipeline import Options, fine_pass, run, segment
from TernarySegmentLib.training.data import labels_on_grid
from TernarySegmentLib.training.settings import PANCREAS
from TernarySegmentLib.training.sources import Scan

NEAR_MM = 10.0
"""Voxels up to this far outside the network's mask count, and all inside: further away nearly everything is background
and nearly certain, which makes any network look well calibrated."""
BINS = 10


@dataclass(frozen=True)
class Voxels:
    """What calibration is judged by, of one scan.

    Attributes:
        margin: the network's, in logits, float32 (n,).
        truth: bool (n,), whether the expert's mask holds the voxel.
    """

    margin: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """(margin - bias) / temperature are log-odds."""

    temperature: float = 1.0
    bias: float = 0.0

    def probability(self, voxels: Voxels) -> np.ndarray:
        """Of pancreas, float32 (n,)."""
        return probability(voxels.margin, self.temperature, self.bias)


@dataclass(frozen=True)
class Bin:
    """Voxels of one tenth of the scale: how many, their mean probability, and the part that is pancreas."""

    count: int
    said: float
    so: float


def voxels_of(scan: Scan, options: Options) -> Voxels | None:
    """The voxels of the working grid near the network's mask; None when it finds no pancreas."""
    ct, labels = scan.read()
    result = run(segment(ct, options))
    if result.region is None:
        return None
    fine = drain(fine_pass(ct, result.region, Options(options.backend, options.threads, model=options.model,
                                                          flipped=result.flipped)))  # fmt: skip
    truth = labels_on_grid(labels, fine.grid) == PANCREAS
    inside_scan = to_grid(sitk.Cast(ct, sitk.sitkFloat32) * 0 + 1, fine.grid, outside=0) > 0.5
    near = sitk.SignedMaurerDistanceMap(
        fine.grid.image((fine.margin > 0).astype(np.uint8)), squaredDistance=False, useImageSpacing=True
    )
    chosen = (sitk.GetArrayFromImage(near) <= NEAR_MM) & inside_scan
    return Voxels(fine.margin[chosen], truth[chosen])


def joined(parts: Iterable[Voxels]) -> Voxels:
    """All voxels of several scans."""
    parts = list(parts)
    return Voxels(np.concatenate([part.margin for part in parts]), np.concatenate([part.truth for part in parts]))


def fitted(voxels: Voxels, with_bias: bool = True) -> Calibration:
    """Temperature and bias of the greatest likelihood (Platt 1999), by Newton's method.

    Args:
        voxels: to fit to.
        with_bias: False keeps the bias 0 (temperature scaling, Guo et al. 2017).
    """
    columns = [voxels.margin.astype(np.float64)] + [np.ones(len(voxels.margin))] * with_bias
    design = np.stack(columns, axis=1)
    weights = np.array([0.5, 0.0])[: design.shape[1]]
    for _ in range(30):
        chance = 1 / (1 + np.exp(-(design @ weights)))
        curvature = design.T @ (design * (chance * (1 - chance))[:, None])
        step = np.linalg.solve(curvature, design.T @ (chance - voxels.truth))
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return Calibration(float(1 / weights[0]), float(-weights[1] / weights[0]) if with_bias else 0.0)


def reliability(chance: np.ndarray, truth: np.ndarray) -> list[Bin]:
    """Voxels sorted into :data:`BINS` bins by their probability; empty bins are left out."""
    index = np.minimum((chance * BINS).astype(int), BINS - 1)
    return [
        Bin(int(chosen.sum()), float(chance[chosen].mean()), float(truth[chosen].mean()))
        for chosen in (index == each for each in range(BINS))
        if chosen.any()
    ]


def expected_error(bins: list[Bin]) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015): mean distance of what is said from what is so."""
    total = sum(each.count for each in bins)
    return sum(each.count * abs(each.said - each.so) for each in bins) / total


def left_out_errors(scans: Mapping[str, Voxels]) -> dict[str, float]:
    """Expected calibration error of scans that the fit has not seen: fitted on all others, mean over the scans."""
    errors: dict[str, list[float]] = {"as it is": [], "temperature": [], "temperature and bias": []}
    for name, voxels in scans.items():
        others = joined(each for other, each in scans.items() if other != name)
        choices = (Calibration(), fitted(others, with_bias=False), fitted(others))
        for found, choice in zip(errors.values(), choices, strict=True):
            found.append(expected_error(reliability(choice.probability(voxels), voxels.truth)))
    return {name: float(np.mean(found)) for name, found in errors.items()}
