"""What suspicious regions and seeds are worth, measured on labelled scans."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.grids import positions
from TernarySegmentLib.imaging.measure import mask_box, voxel_ml
from TernarySegmentLib.pipeline import Options, run, segment
from TernarySegmentLib.review.clicks import ClickRefiner, Point
from TernarySegmentLib.review.comparison import compare
from TernarySegmentLib.review.suspicious_regions import find_suspicious_regions
from TernarySegmentLib.training.settings import PANCREAS
from TernarySegmentLib.training.sources import Scan

FIRST, CLICKS, DRAWS = 10, 5, 20
"""Suspicious regions that are counted, simulated clicks, and draws of random ones."""


@dataclass(frozen=True)
class Coverage:
    """How much of the true error lies within the suspicious regions.

    Attributes:
        error_ml: volume on which mask and expert differ.
        regions: part of it within the first regions.
        random: the same for as many random voxels of the mask's border, with the regions' radii; mean of the draws.
        seconds: to find the regions.
    """

    error_ml: float
    regions: float
    random: float
    seconds: float


def coverage(mask: sitk.Image, confidence_map: sitk.Image, expert: sitk.Image) -> Coverage:
    """Compare the first suspicious regions with the expert's mask, and with chance."""
    started = time.perf_counter()
    found = find_suspicious_regions(mask, confidence_map)[:FIRST]
    seconds = time.perf_counter() - started
    ours, theirs = (sitk.GetArrayViewFromImage(image) != 0 for image in (mask, expert))
    wrong = positions(mask, np.argwhere(ours != theirs))
    border = positions(mask, np.argwhere(sitk.GetArrayFromImage(sitk.BinaryContour(mask != 0)) != 0))
    radii = [region.radius_mm for region in found]
    random = np.random.default_rng(0)
    chance = [_within(wrong, border[random.integers(len(border), size=len(radii))], radii) for _ in range(DRAWS)]
    volume = len(wrong) * voxel_ml(mask)
    covered = _within(wrong, [region.position for region in found], radii)
    return Coverage(volume, covered, float(np.mean(chance)), seconds)


def _within(points: np.ndarray, centres: Sequence[Point] | np.ndarray, radii: Sequence[float]) -> float:
    """The part of the points that lies in any of the balls."""
    covered = np.zeros(len(points), bool)
    for centre, radius in zip(centres, radii, strict=True):
        covered |= np.square(points - centre).sum(1) <= radius**2
    return float(covered.mean())


@dataclass(frozen=True)
class Clicks:
    """Simulated clicks at the largest errors.

    Attributes:
        dice: against the expert, before the first and after each click.
        seconds: of each update.
    """

    dice: list[float]
    seconds: list[float]


def simulated_clicks(ct: sitk.Image, mask: sitk.Image, confidence_map: sitk.Image, expert: sitk.Image) -> Clicks:
    """Click :data:`CLICKS` times into the middle of the largest connected error that is left."""
    refiner = ClickRefiner(ct, mask, confidence_map)
    seeds: dict[bool, list[Point]] = {True: [], False: []}
    current, dice, seconds = mask, [compare(mask, expert).dice], []
    for _ in range(CLICKS):
        missing, point = _largest_error(current, expert)
        seeds[missing].append(point)
        started = time.perf_counter()
        current = refiner.refined(seeds[True], seeds[False])
        seconds.append(time.perf_counter() - started)
        dice.append(compare(current, expert).dice)
    return Clicks(dice, seconds)


def _largest_error(mask: sitk.Image, expert: sitk.Image) -> tuple[bool, Point]:
    """Find if pancreas is missing there, and the innermost point of the largest connected error."""
    errors = sitk.And(mask == 0, expert) + 2 * sitk.And(mask, expert == 0)
    box = mask_box(errors)
    assert box is not None, "no two masks drawn by hand and by network are equal"
    part = sitk.RegionOfInterest(errors, box[1], box[0])
    largest: tuple[int, bool, sitk.Image] | None = None
    for value, missing in ((1, True), (2, False)):
        labels = sitk.RelabelComponent(sitk.ConnectedComponent(part == value))
        piece = labels == 1
        count = int(np.count_nonzero(sitk.GetArrayViewFromImage(piece)))
        if largest is None or count > largest[0]:
            largest = count, missing, piece
    assert largest is not None
    padded = sitk.ConstantPad(largest[2], [1] * 3, [1] * 3, 0)
    depth = sitk.SignedMaurerDistanceMap(padded, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    values = sitk.GetArrayViewFromImage(depth)
    z, y, x = np.unravel_index(values.argmax(), values.shape)
    lps = depth.TransformIndexToPhysicalPoint([int(x), int(y), int(z)])
    return largest[1], (lps[0], lps[1], lps[2])


@dataclass(frozen=True)
class Reviewed:
    """Everything measured on one scan.

    Attributes:
        name: of the scan.
        coverage: of its errors by suspicious regions.
        clicks: at its largest errors.
        confidence: what the pipeline says: the part of the mask that is expected to be pancreas.
        precision: the part that is.
    """

    name: str
    coverage: Coverage
    clicks: Clicks
    confidence: float
    precision: float


def review(scans: list[Scan], options: Options) -> Iterator[Reviewed | str]:
    """Measure scan by scan; a sentence for one in which nothing was found."""
    for scan in scans:
        ct, labels = scan.read()
        result = run(segment(ct, Options(options.backend, options.threads, model=options.model, confidence=True)))
        if not result.found or result.confidence_map is None:
            yield f"{scan.name}: no pancreas found, nothing to review"
            continue
        expert = sitk.Cast(labels == PANCREAS, sitk.sitkUInt8)
        changes = compare(result.mask, expert)
        precision = 1 - changes.added_ml / changes.volume_ml
        yield Reviewed(
            scan.name, coverage(result.mask, result.confidence_map, expert),
            simulated_clicks(ct, result.mask, result.confidence_map, expert), result.confidence, precision,
        )  # fmt: skip
