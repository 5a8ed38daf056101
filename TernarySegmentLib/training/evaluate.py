"""Accuracy of the shipped integer networks on the scans' own grids, through the pipeline that the panel uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.agreement import Agreement, agreement_of
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.pipeline import Options, run, segment
from TernarySegmentLib.training.metrics import mean_dice
from TernarySegmentLib.training.settings import PANCREAS, UNANNOTATED
from TernarySegmentLib.training.sources import Scan

if TYPE_CHECKING:
    from TernarySegmentLib.training.report import Report

FAILURE_DICE = 0.5
"""A mask that shares less than this with the expert's is listed as a failure."""


@dataclass(frozen=True)
class Score:
    """One case.

    Attributes:
        name: of the case.
        agreement: with the expert, on the scan's own grid; over the annotated slices only where annotation is sparse.
            None when the scan could not be segmented at all.
        seconds: of the whole pipeline, reading not included.
        failure: a sentence on what went wrong; empty when nothing did.
        sparse: compared where the scan is annotated only.
    """

    name: str
    agreement: Agreement | None
    seconds: float
    failure: str = ""
    sparse: bool = False

    def __str__(self) -> str:
        name = f"{self.name} (annotated slices only)" if self.sparse else self.name
        if self.agreement is None:
            return f"{name}: {self.failure}"
        parts = [f"Dice {self.agreement.dice:.3f}"]
        if self.agreement.surface_dice is not None:
            parts.append(f"surface Dice {self.agreement.surface_dice:.3f}")
        if self.agreement.hausdorff_mm is not None:
            parts.append(f"Hausdorff 95 % {self.agreement.hausdorff_mm:.1f} mm")
        parts.append(f"{self.agreement.volume_ml:.1f} mL (expert {self.agreement.reference_ml:.1f} mL)")
        return f"{name}: {', '.join(parts)}, {self.seconds:.1f} s"


def failure_of(agreement: Agreement) -> str:
    """What is wrong with a mask, in one sentence; empty when it is acceptable."""
    if not agreement.reference_ml:
        return f"{agreement.volume_ml:.1f} mL found where there is no pancreas." if agreement.volume_ml else ""
    if not agreement.volume_ml:
        return f"No pancreas found; the expert outlined {agreement.reference_ml:.1f} mL."
    if agreement.dice < FAILURE_DICE:
        return f"Dice {agreement.dice:.3f} is below {FAILURE_DICE:g}."
    return ""


@dataclass(frozen=True)
class Compared:
    """A scored case with what a picture of it needs; ``mask`` is None when the scan was refused."""

    score: Score
    ct: sitk.Image
    expert: sitk.Image
    mask: sitk.Image | None


def compare_case(
    name: str, ct: sitk.Image, expert: sitk.Image, options: Options, annotated: np.ndarray | None = None
) -> Compared:
    """Segment a scan and compare with an expert's mask on the same grid.

    Args:
        name: for the report.
        ct: the scan.
        expert: non-zero inside the pancreas.
        options: of the pipeline.
        annotated: bool (z, y, x), where the expert looked; None everywhere. Nothing else is compared.
    """
    try:
        result = run(segment(ct, options))
    except InputError as error:
        return Compared(Score(name, None, 0.0, str(error), annotated is not None), ct, expert, None)
    return judge(name, ct, expert, result.mask, sum(result.seconds.values()), annotated)


def judge(
    name: str,
    ct: sitk.Image,
    expert: sitk.Image,
    mask: sitk.Image,
    seconds: float,
    annotated: np.ndarray | None = None,
) -> Compared:
    """Compare a mask with an expert's on the same grid; arguments as for :func:`compare_case`."""
    truth, found = (sitk.GetArrayViewFromImage(image) != 0 for image in (expert, mask))
    sparse = annotated is not None
    if annotated is not None:
        truth, found = truth[annotated], found[annotated]
    # distances between surfaces have no meaning where slices in between are not outlined
    agreement = agreement_of(found, truth, ct.GetSpacing()[::-1], surfaces=not sparse)
    return Compared(Score(name, agreement, seconds, failure_of(agreement), sparse), ct, expert, mask)


def evaluate(scans: list[Scan], options: Options) -> Iterator[Compared]:
    """Score labelled scans (see :mod:`TernarySegmentLib.training.sources`), one by one."""
    for scan in scans:
        ct, labels = scan.read()
        annotated = sitk.GetArrayViewFromImage(labels) != UNANNOTATED
        yield compare_case(scan.name, ct, labels == PANCREAS, options, None if annotated.all() else annotated)


def evaluate_sparse(ct_path: Path, mask_path: Path, options: Options) -> Compared:
    """Score one scan that an expert outlined on some slices, those on which the mask has any voxel."""
    expert = sitk.ReadImage(str(mask_path))
    outlined = sitk.GetArrayViewFromImage(expert) != 0
    annotated = np.broadcast_to(outlined.any((1, 2), keepdims=True), outlined.shape)
    return compare_case(ct_path.parent.name or ct_path.name, read_ct(ct_path), expert, options, annotated)


def summary_lines(cases: Iterable[Compared], report: Report | None = None) -> Iterator[str]:
    """Lines worth printing: each case as it is scored, then the mean of the whole ones and what failed.

    Args:
        cases: compared one by one as they are asked for.
        report: keeps the cases too.
    """
    scores = []
    for case in cases:
        scores.append(case.score)
        if report is not None:
            report.add(case)
        yield str(case.score)
    whole, sparse = ([score.agreement for score in scores if score.sparse == kind] for kind in (False, True))
    for agreements, least, kind in ((whole, 1, "cases"), (sparse, 2, "cases, annotated slices only")):
        if len(agreements) >= least:
            mean = mean_dice(agreements)
            yield f"mean Dice of {mean.count} {kind}: {mean.value:.3f} (95 % {mean.low:.3f} to {mean.high:.3f})"
    yield from (f"failed: {score.name}: {score.failure}" for score in scores if score.failure)
