"""From CT slices in any order to one stack: which belong together, and whether they make a grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.dicom_headers import RECONSTRUCTION, Slice, pixel_digest

SAME_DIRECTION = 0.01
"""Largest difference between the direction cosines of slices of one stack; scouts differ by 1."""

GAP_MM = 0.11
"""How far a distance between neighbours may be off; headers round positions to 0.1 mm at worst."""

LINE_MM = 0.25
"""How far a slice may lie from where equal steps along the normal would put it; a slow drift adds up to more."""


@dataclass(frozen=True)
class Stack:
    """Slices of one series in order along their normal, evenly spaced.

    Attributes:
        slices: at least two.
        directions: 3×3, rows are unit vectors along columns, rows and slices, LPS.
        step: distance between slices, mm.
    """

    slices: tuple[Slice, ...]
    directions: np.ndarray
    step: float

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return self.slices[0].series

    @property
    def size(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return *self.slices[0].size, len(self.slices)

    @property
    def steps(self) -> np.ndarray:
        """From one voxel to the next: 3×3, columns along columns, rows and slices, LPS, mm."""
        return self.directions.T * [*self.slices[0].spacing, self.step]


def volumes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices that belong to one volume: by series and direction, each instance once, the largest first.

    A scout or projection lies apart from its series by its direction, or by what it calls itself.
    """
    found: list[list[Slice]] = []
    by_series: dict[str, list[list[Slice]]] = {}
    for each in slices:
        groups = by_series.setdefault(each.series, [])
        for group in groups:
            if _together(group[0], each):
                group.append(each)
                break
        else:
            groups.append([each])
            found.append(groups[-1])
    return sorted((_once(group) for group in found), key=lambda group: (not group[0].aside, len(group)), reverse=True)


def _together(one: Slice, other: Slice) -> bool:
    """A slice without a direction stays with its series, whose fault it is then."""
    if one.aside != other.aside:
        return False
    if not (one.orientation and other.orientation):
        return True
    return bool(np.abs(np.subtract(one.orientation, other.orientation)).max() < SAME_DIRECTION)


def _once(group: list[Slice]) -> list[Slice]:
    """Without copies of a slice; two different slices of one name stay, and are refused later."""
    count = Counter(s.instance for s in group)
    pixels = {s.path: pixel_digest(s.path) for s in group if count[s.instance] > 1 and not s.fault}
    return list({(s.instance, s.position, s.size, s.fault, pixels.get(s.path)): s for s in group}.values())


def stack(slices: Sequence[Slice], folder: Path) -> Stack:
    """Put the slices of one volume in order.

    Args:
        slices: as :func:`volumes` groups them.
        folder: for messages.

    Raises:
        InputError: a slice is faulty, slices are missing, doubled, sheared, of different kinds or of several volumes;
            said by name.
    """
    refuse_faults(slices)
    if len(slices) == 1:
        raise InputError(f"The CT series in “{folder}” has a single slice; a volume with many slices is needed.")
    _refuse_differences(slices, folder)
    directions = _directions(slices[0].orientation)
    ordered = sorted(slices, key=lambda s: float(np.dot(s.position, directions[2])))
    step = _step(ordered, directions[2], folder)
    _refuse_alternation(ordered, folder)
    return Stack(tuple(ordered), directions, step)


def refuse_faults(slices: Sequence[Slice]) -> None:
    """Raise InputError that names the first faulty slice and counts the others."""
    faulty = [s for s in slices if s.fault]
    if faulty:
        more = f", and so have {len(faulty) - 1} more" if len(faulty) > 1 else ""
        raise InputError(
            f"The CT slice “{faulty[0].path.name}” {faulty[0].fault}{more}; copy or export the series again."
        )


def _refuse_differences(slices: Sequence[Slice], folder: Path) -> None:
    """Refuse slices that cannot be one volume of one patient, naming the first one that differs."""
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size:
            what = f"{'×'.join(map(str, other.size))} pixels and “{first.path.name}” {'×'.join(map(str, first.size))}"
        elif not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            what = f"pixels of {_mm(other.spacing)} and “{first.path.name}” of {_mm(first.spacing)}"
        elif (other.rescale is None) != (first.rescale is None):
            without, with_ = (other, first) if other.rescale is None else (first, other)
            raise InputError(
                f"The CT slice “{without.path.name}” says no RescaleSlope and RescaleIntercept, “{with_.path.name}” "
                "does, so its values are not known in HU; export the series again."
            )
        elif other.subject != first.subject:
            what = "another patient, study or frame of reference than “" + first.path.name + "”"
        else:
            continue
        raise InputError(f"The slices in “{folder}” are of several kinds: “{other.path.name}” has {what}; "
                         "export one volume alone.")  # fmt: skip
    if len({s.instance for s in slices}) < len(slices):
        raise InputError(
            f"Different slices in “{folder}” bear the same SOPInstanceUID; export the series again from the scanner."
        )


def _refuse_alternation(ordered: Sequence[Slice], folder: Path) -> None:
    """Refuse two volumes whose slices lie between one another; parts that follow one another may differ."""
    for number, name in enumerate(RECONSTRUCTION):
        known = [s for s in ordered if s.reconstruction[number]]
        runs = [next(run) for _, run in groupby(known, key=lambda s: s.reconstruction[number])]
        if len(runs) > len({s.reconstruction[number] for s in runs}):
            one, other = runs[:2]
            raise InputError(
                f"The slices in “{folder}” alternate between two reconstructions: “{one.path.name}” has "
                f"{one.reconstruction[number]} as its {name} and “{other.path.name}” {other.reconstruction[number]}; "
                "export one volume alone."
            )


def _mm(spacing: tuple[float, ...]) -> str:
    return f"{'×'.join(f'{s:.4g}' for s in spacing)} mm"


def _directions(orientation: tuple[float, ...]) -> np.ndarray:
    """Rows: unit vectors along columns, rows and slices, orthonormal to the last digit (headers round to six)."""
    along = np.array(orientation[:3]) / np.linalg.norm(orientation[:3])
    down = np.array(orientation[3:])
    down = down - along * (along @ down)
    down /= np.linalg.norm(down)
    return np.array([along, down, np.cross(along, down)])


def _step(slices: Sequence[Slice], normal: np.ndarray, folder: Path) -> float:
    """The distance between neighbouring slices, mm; raises where the slices are no grid."""
    positions = np.array([s.position for s in slices])
    along = np.diff(positions, axis=0) @ normal
    step = float(np.median(along))
    if along.min() <= 0.01:
        raise InputError(
            f"The CT series in “{folder}” has several slices at one position (phases or reconstructions mixed); "
            "export one of them alone."
        )
    worst = int(np.abs(along - step).argmax())
    if abs(along[worst] - step) > min(max(0.01 * step, GAP_MM), 0.3 * step):
        raise InputError(
            f"The CT series in “{folder}” has missing or uneven slices: {along[worst]:.2f} mm between slices "
            f"{worst + 1} and {worst + 2}, {step:.2f} mm elsewhere; export the complete series."
        )
    mean = float((positions[-1] - positions[0]) @ normal / (len(positions) - 1))
    offsets = positions - positions[0] - np.outer(np.arange(len(positions)), mean * normal)
    uneven = float(np.abs(offsets @ normal).max())
    if uneven > LINE_MM:
        raise InputError(
            f"The slices in “{folder}” are unevenly spaced: some lie {uneven:.2f} mm from where steps of {mean:.3f} mm "
            "would put them; export the series with equal steps."
        )
    across = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max()
    if across > LINE_MM:
        raise InputError(
            f"The CT series in “{folder}” was taken with a tilted gantry, so its slices are sheared (by {across:.1f} "
            "mm in all); correct the tilt first, e.g. by loading it in 3D Slicer and saving it as NRRD."
        )
    return mean
