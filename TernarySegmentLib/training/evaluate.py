"""Accuracy of the shipped integer networks on the scans' own grids, through the pipeline that the panel uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.reading import read_ct
from TernarySegmentLib.pipeline import Options, run, segment
from TernarySegmentLib.training.data import read_labelled
from TernarySegmentLib.training.settings import PANCREAS


@dataclass(frozen=True)
class Score:
    """One case.

    Attributes:
        name: of the case.
        dice: overlap with the expert on the scan's own grid.
        volume_ml, expert_ml: of the two masks; over the annotated slices only where annotation is sparse.
        seconds: of the whole pipeline, reading not included.
    """

    name: str
    dice: float
    volume_ml: float
    expert_ml: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.name}: Dice {self.dice:.3f}, {self.volume_ml:.1f} mL (expert {self.expert_ml:.1f} mL), "
            f"{self.seconds:.1f} s"
        )


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Dice overlap of two boolean masks; 1 when both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * np.count_nonzero(first & second) / total if total else 1.0


def score(name: str, ct: sitk.Image, expert: sitk.Image, options: Options, sparse: bool = False) -> Score:
    """Segment a scan and compare with an expert's mask on the same grid.

    Args:
        name: for the report.
        ct: the scan.
        expert: non-zero inside the pancreas.
        options: of the pipeline.
        sparse: the expert drew on some slices only (those with any voxel set); compare there.
    """
    result = run(segment(ct, options))
    truth, found = (sitk.GetArrayViewFromImage(image) != 0 for image in (expert, result.mask))
    if sparse:
        annotated = truth.any((1, 2))
        truth, found = truth[annotated], found[annotated]
    voxel = float(np.prod(ct.GetSpacing())) / 1000
    volumes = np.count_nonzero(found) * voxel, np.count_nonzero(truth) * voxel
    return Score(name, overlap(found, truth), *volumes, sum(result.seconds.values()))


def evaluate(source: Path, names: list[str], mirrored: bool, options: Options) -> Iterator[Score]:
    """Score labelled scans of a folder (see :func:`TernarySegmentLib.training.data.prepare`)."""
    for name in names:
        ct, labels = read_labelled(source, name, mirrored)
        yield score(name, ct, labels == PANCREAS, options)


def evaluate_sparse(ct_path: Path, mask_path: Path, options: Options) -> Score:
    """Slice-wise score of one sparsely annotated scan, such as NIH Pancreas-CT slices with an expert's outline."""
    name = f"{ct_path.parent.name or ct_path.name} (annotated slices only)"
    return score(name, read_ct(ct_path), sitk.ReadImage(str(mask_path)), options, sparse=True)
