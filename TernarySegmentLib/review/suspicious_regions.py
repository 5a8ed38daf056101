"""Where a mask is worth a look, most doubtful first.

Every voxel has an expected error: the probability that the network gives to the opposite of what the mask says. A
region is a ball on the mask's border, or a piece of it, that holds much of that. Regions are taken one after the other,
and what a region holds is not counted again, so that they spread over the organ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.measure import mask_box, same_grid, voxel_ml
from TernarySegmentLib.imaging.probability import EVEN, NOT_SEARCHED

Kind = Literal[
    "thin margin", "detached piece kept", "detached piece left out", "possible leak", "cut by region/scan border"
]
Point = tuple[float, float, float]

RADIUS_MM = 12.0
"""Of one on the border: half the width of a pancreas, and what a look at one spot of three slice views takes in."""
BALL_ML = 4 / 3 * math.pi * RADIUS_MM**3 / 1000
"""What the doubt of a region is relative to."""
WORKING_MM = 2.0
"""Voxels are binned to about this size: the network's own."""
POSSIBLE = 30
"""Percent from which a voxel outside the mask is looked at."""
LEAST_ML = 0.1
"""Smaller pieces are specks, and a region with less expected error is not worth a click."""
NECK_MM = 4.0
"""A part that falls off when this is peeled from the surface hangs by a neck less than twice as wide; the true neck of
a pancreas is wider."""
LEAK_ML = 0.5
"""A smaller part behind a neck is a bump."""


@dataclass(frozen=True)
class SuspiciousRegion:
    """A region worth a look.

    Attributes:
        position: LPS, mm; on the mask's border, or inside the piece in question.
        kind: why it is listed.
        reason: the same as a sentence for people.
        doubt: 0 to 1: volume expected to be wrong, over that of a ball of :data:`RADIUS_MM`.
        volume_ml: what is in question: the piece, or near a thin margin what has 30 to 70 % for pancreas.
        radius_mm: how far around the position to look.
    """

    position: Point
    kind: Kind
    reason: str
    doubt: float
    volume_ml: float
    radius_mm: float


@dataclass(frozen=True)
class _Field:
    """Mask and probability around the mask, binned.

    Attributes:
        image: holds the geometry.
        inside: bool (z, y, x), the mask.
        left_out: bool, more likely pancreas than not, but not in the mask.
        wrong: float32, share of the bin expected to be on the wrong side.
        disputed: float32, share of the bin with :data:`POSSIBLE` % for either side.
    """

    image: sitk.Image
    inside: np.ndarray
    left_out: np.ndarray
    wrong: np.ndarray
    disputed: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Of the array's axes, mm."""
        return np.array(self.image.GetSpacing())[::-1]

    @property
    def millilitres(self) -> float:
        """Of one voxel."""
        return voxel_ml(self.image)

    def point(self, index: np.ndarray) -> Point:
        """LPS, mm, of an index (z, y, x)."""
        x, y, z = self.image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])
        return x, y, z


def find_suspicious_regions(mask: sitk.Image, confidence_map: sitk.Image, limit: int = 12) -> list[SuspiciousRegion]:
    """The regions most worth a look.

    Args:
        mask: integer image, inside where not 0.
        confidence_map: percent, see :attr:`TernarySegmentLib.pipeline.Result.confidence_map`; on the same grid.
        limit: how many at most.

    Returns:
        Places, falling in doubt; none when there is no mask and no voxel that is more likely pancreas than not.

    Raises:
        InputError: the grids differ.
    """
    if not same_grid(mask, confidence_map):
        raise InputError(
            f"The confidence map's grid {confidence_map.GetSize()} is not the mask's {mask.GetSize()}; "
            "take both from one result."
        )
    window = _window(mask, confidence_map)
    if window is None:
        return []
    part, chances = (sitk.RegionOfInterest(image, window[1], window[0]) for image in (mask, confidence_map))
    field = _binned(part, chances)
    regions = _cut(part, chances, mask.GetSize(), window[0])
    left = field.wrong.copy()
    regions += _pieces(field, left)
    regions += _leaks(field, left)
    regions += _margins(field, left, limit)
    return sorted(regions, key=lambda region: (-region.doubt, region.position))[:limit]


def scan_doubt(doubts: Iterable[float], volume_ml: float | None) -> float:
    """How much a scan is worth a look: the volume expected to be wrong at suspicious regions over that of the mask.

    By this the scans of a cohort are ranked.

    Args:
        doubts: of the regions, see :class:`SuspiciousRegion`.
        volume_ml: of the mask; None without one.

    Returns:
        At most 1, which a scan without a mask gets as well: a scan of the abdomen has a pancreas.

    Examples:
        >>> scan_doubt([], 80.0), scan_doubt([1.0], None)
        (0.0, 1.0)
    """
    return min(1.0, sum(doubts) * BALL_ML / volume_ml) if volume_ml else 1.0


def _window(mask: sitk.Image, confidence_map: sitk.Image) -> tuple[list[int], list[int]] | None:
    """Start and size of the box around mask and even chances, :data:`RADIUS_MM` wider where the scan goes on."""
    boxes = [box for box in (mask_box(mask), mask_box(confidence_map, EVEN)) if box is not None]
    if not boxes:
        return None
    factors = np.array(_factors(mask))
    reach = np.ceil(RADIUS_MM / np.array(mask.GetSpacing())).astype(int)
    start = np.maximum(np.min([box[0] for box in boxes], axis=0) - reach, 0)
    stop = np.minimum(np.max([np.add(*box) for box in boxes], axis=0) + reach, mask.GetSize())
    size = np.maximum(stop - start, np.minimum(factors, mask.GetSize()))
    return [int(v) for v in np.minimum(start, np.array(mask.GetSize()) - size)], [int(v) for v in size]


def _factors(image: sitk.Image) -> list[int]:
    return [max(1, round(WORKING_MM / s)) for s in image.GetSpacing()]


def _binned(part: sitk.Image, chances: sitk.Image) -> _Field:
    factors = [min(f, n) for f, n in zip(_factors(part), part.GetSize(), strict=True)]
    inside, chance = sitk.GetArrayFromImage(part) != 0, sitk.GetArrayFromImage(chances)
    searched = chance != NOT_SEARCHED
    wrong = np.where(inside, 100 - chance, np.where(chance >= POSSIBLE, chance, 0)) * searched
    disputed = (chance >= POSSIBLE) & (chance <= 100 - POSSIBLE)

    def binned(values: np.ndarray) -> sitk.Image:
        image = sitk.GetImageFromArray(values.astype(np.uint8))
        image.CopyInformation(part)
        return sitk.BinShrink(image, factors)

    image = binned(100 * inside)
    filled, left_out, wrong, disputed = (
        sitk.GetArrayFromImage(each)
        for each in (image, binned(100 * (~inside & (chance >= EVEN))), binned(wrong), binned(100 * disputed))
    )
    return _Field(
        image, filled >= 50, left_out >= 50, wrong.astype(np.float32) / 100, disputed.astype(np.float32) / 100
    )


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels (26 neighbours) from 1, and the number of voxels of each label, 0 for label 0."""
    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True))
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return labels, counts


def _piece(field: _Field, piece: np.ndarray, left: np.ndarray, kind: Kind, reason: str) -> SuspiciousRegion:
    """A region for a whole piece; takes its expected error away from what is left."""
    indices = np.argwhere(piece)
    positions = indices * field.spacing
    middle = np.square(positions - positions.mean(0)).sum(1).argmin()
    radius = float(np.sqrt(np.square(positions - positions[middle]).sum(1).max())) + WORKING_MM
    expected = float(left[piece].sum()) * field.millilitres
    left[piece] = 0
    return SuspiciousRegion(
        field.point(indices[middle]), kind, reason, _doubt(expected), len(indices) * field.millilitres,
        min(max(radius, RADIUS_MM), 2 * RADIUS_MM),
    )  # fmt: skip


def _doubt(expected_ml: float) -> float:
    return min(1.0, expected_ml / BALL_ML)


def _pieces(field: _Field, left: np.ndarray) -> list[SuspiciousRegion]:
    """Pieces of the mask apart from the largest, and pieces the network saw that are not in the mask."""
    regions, smallest = [], LEAST_ML / field.millilitres
    labels, counts = _components(field.inside)
    for label in np.flatnonzero(counts >= smallest):
        if label != counts.argmax():
            volume = counts[label] * field.millilitres
            reason = f"A piece of {volume:.1f} mL lies apart from the rest; it may be bowel or a vessel."
            regions.append(_piece(field, labels == label, left, "detached piece kept", reason))
    labels, counts = _components(field.left_out)
    for label in np.flatnonzero(counts >= smallest):
        volume = counts[label] * field.millilitres
        reason = f"A piece of {volume:.1f} mL looked like pancreas but was left out, being small or far from the rest."
        regions.append(_piece(field, labels == label, left, "detached piece left out", reason))
    return regions


def _leaks(field: _Field, left: np.ndarray) -> list[SuspiciousRegion]:
    """Parts that a narrow bridge connects to the largest piece."""
    labels, counts = _components(field.inside)
    if not counts.any():
        return []
    main = labels == counts.argmax()
    image = sitk.GetImageFromArray(np.pad(main, 1).astype(np.uint8))
    image.SetSpacing([float(s) for s in field.spacing[::-1]])
    depth = sitk.SignedMaurerDistanceMap(image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True)
    cores, sizes = _components(sitk.GetArrayFromImage(depth) > NECK_MM)
    if np.count_nonzero(sizes) < 2:
        return []
    # each voxel belongs to the core it flows to, so that parts meet at the necks
    markers = sitk.GetImageFromArray(cores.astype(np.uint16))
    markers.CopyInformation(image)
    basins = sitk.GetArrayFromImage(sitk.MorphologicalWatershedFromMarkers(-depth, markers, False, True))
    nearest = basins[1:-1, 1:-1, 1:-1]
    regions = []
    for label in np.flatnonzero(sizes):
        part = main & (nearest == label)
        volume = np.count_nonzero(part) * field.millilitres
        if label != sizes.argmax() and volume >= LEAK_ML:
            reason = f"{volume:.1f} mL are connected by a narrow bridge only; they may lie in a neighbouring organ."
            regions.append(_piece(field, part, left, "possible leak", reason))
    return regions


def _margins(field: _Field, left: np.ndarray, limit: int) -> list[SuspiciousRegion]:
    """Balls on the border that hold the most expected error, one after the other."""
    border = _border(field.inside)
    if not border.any():
        return []
    ball = _ball(field.spacing, RADIUS_MM)
    sums = np.where(border, _ball_sums(left, ball), 0)
    regions: list[SuspiciousRegion] = []
    while len(regions) < limit:
        index = np.array(np.unravel_index(sums.argmax(), sums.shape))
        expected = float(sums[tuple(index)]) * field.millilitres
        if expected < LEAST_ML:
            break
        # a ball's sum changes where its centre is within two radii
        around, inside_ball = _clip(index, ball.shape, sums.shape)
        here = ball[inside_ball]
        missing = float(left[around][here & ~field.inside[around]].sum()) * field.millilitres
        volume = float(field.disputed[around][here].sum()) * field.millilitres
        regions.append(
            SuspiciousRegion(
                field.point(index), "thin margin", _direction(missing, expected), _doubt(expected), volume, RADIUS_MM
            )
        )
        left[around][here] = 0
        wide, _ = _clip(index, tuple(2 * n - 1 for n in ball.shape), sums.shape)
        wider, _ = _clip(index, tuple(3 * n - 2 for n in ball.shape), sums.shape)
        inner = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(wide, wider, strict=True))
        sums[wide] = np.where(border[wide], _ball_sums(left[wider], ball)[inner], 0)
    return regions


def _direction(missing_ml: float, expected_ml: float) -> str:
    share = missing_ml / expected_ml
    if share > 0.65:
        return f"The border is uncertain here; about {missing_ml:.1f} mL of pancreas may be missing."
    if share < 0.35:
        return f"The border is uncertain here; about {expected_ml - missing_ml:.1f} mL may be too much."
    return f"The border is uncertain here; about {expected_ml:.1f} mL may be on the wrong side."


def _border(inside: np.ndarray) -> np.ndarray:
    """Voxels of a mask with one of their 6 neighbours outside it."""
    padded = np.pad(inside, 1)
    core = padded.copy()
    for axis in range(3):
        core &= np.roll(padded, 1, axis) & np.roll(padded, -1, axis)
    return inside & ~core[1:-1, 1:-1, 1:-1]


def _ball(spacing: np.ndarray, radius_mm: float) -> np.ndarray:
    """Voxels whose centre lies within a radius; bool, odd sides."""
    axes = [np.arange(-int(radius_mm / s), int(radius_mm / s) + 1) * s for s in spacing]
    return sum(np.square(axis) for axis in np.ix_(*axes)) <= radius_mm**2


def _ball_sums(values: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """Sum of the values in the ball around each voxel, by Fourier transform."""
    shape = [n + m - 1 for n, m in zip(values.shape, ball.shape, strict=True)]
    axes = (0, 1, 2)
    product = np.fft.rfftn(values, shape, axes) * np.fft.rfftn(ball, shape, axes)
    cut = tuple(slice(m // 2, m // 2 + n) for n, m in zip(values.shape, ball.shape, strict=True))
    return np.fft.irfftn(product, shape, axes)[cut]


def _clip(
    index: np.ndarray, sides: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of an array that a block around an index covers, and which part of the block that is."""
    there, own = [], []
    for i, side, length in zip(index, sides, shape, strict=True):
        first = int(i) - side // 2
        start, stop = max(first, 0), min(first + side, length)
        there.append(slice(start, stop))
        own.append(slice(start - first, stop - first))
    return tuple(there), tuple(own)


def _cut(part: sitk.Image, chances: sitk.Image, whole: tuple[int, ...], start: list[int]) -> list[SuspiciousRegion]:
    """Where the mask runs into the border of the scan or of what the network looked at."""
    inside = sitk.GetArrayFromImage(part) != 0
    beyond = sitk.GetArrayFromImage(chances) == NOT_SEARCHED
    touching = np.zeros(inside.shape, bool)
    for axis in range(3):
        ahead: tuple[slice, ...] = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        behind: tuple[slice, ...] = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        touching[behind] |= inside[behind] & beyond[ahead]
        touching[ahead] |= inside[ahead] & beyond[behind]
        first, length = start[2 - axis], inside.shape[axis]
        for end, reached in ((0, first == 0), (length - 1, first + length == whole[2 - axis])):
            if reached:
                plane: tuple[int | slice, ...] = tuple(end if a == axis else slice(None) for a in range(3))
                touching[plane] |= inside[plane]
    touching &= inside & ~(beyond & inside)
    if not touching.any():
        return []
    labels, counts = _components(touching)
    voxel, regions = voxel_ml(part), []
    for label in np.flatnonzero(counts * voxel >= LEAST_ML / 2):
        indices = np.argwhere(labels == label)
        positions = indices * np.array(part.GetSpacing())[::-1]
        middle = np.square(positions - positions.mean(0)).sum(1).argmin()
        volume = float(counts[label]) * voxel
        x, y, z = part.TransformIndexToPhysicalPoint([int(i) for i in indices[middle][::-1]])
        regions.append(
            SuspiciousRegion(
                (x, y, z), "cut by region/scan border",
                "The mask ends at the border of the scan or of the region searched; the pancreas may go on.",
                _doubt(volume), volume, RADIUS_MM,
            )
        )  # fmt: skip
    return regions
