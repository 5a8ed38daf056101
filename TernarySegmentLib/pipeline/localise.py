"""Find the box to segment finely: one coarse pass over the whole scan, eight where its orientation is in doubt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.body import BODY_HU, body_size, body_size_in
from TernarySegmentLib.imaging.grids import Box, Flips, Grid, bounds, flip, flip_box
from TernarySegmentLib.imaging.orientation import (
    ALIKE,
    DOUBT,
    LEAD,
    OTHER_WAYS,
    UNFLIPPED,
    UNSURE,
    believed,
    departure,
    flip_note,
)
from TernarySegmentLib.pipeline.clock import LOCALISED, Clock
from TernarySegmentLib.pipeline.decide import Decision, Steps, decide, plausible
from TernarySegmentLib.pipeline.options import Options, Progress
from TernarySegmentLib.pipeline.plausibility import contrast_notes

REGION_MARGIN_MM = 30.0
"""Added around what the coarse pass finds: it misses the tips of head and tail."""

NEAR_MM = 10.0
"""A mask that comes this near to a side of its box may go on behind it."""


def _box_of(mask: np.ndarray, grid: Grid, margin_mm: float) -> Box:
    """Bounds of a mask on a grid, plus a margin, in LPS, mm."""
    lower, upper = [], []
    for axis in range(3):  # x, y, z
        inside = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != 2 - axis)))
        lower.append(grid.origin[axis] + (inside[0] - 0.5) * grid.spacing - margin_mm)
        upper.append(grid.origin[axis] + (inside[-1] + 0.5) * grid.spacing + margin_mm)
    return tuple(lower), tuple(upper)


def overlap(first: Box, second: Box) -> Box:
    """The part two boxes share.

    Raises:
        InputError: they share nothing.
    """
    lower = tuple(max(a, b) for a, b in zip(first[0], second[0], strict=True))
    upper = tuple(min(a, b) for a, b in zip(first[1], second[1], strict=True))
    if any(a >= b for a, b in zip(lower, upper, strict=True)):
        raise InputError("The search region lies outside the scan; move it onto the pancreas or remove it.")
    return lower, upper  # type: ignore[return-value]


def widened(box: Box, kept: np.ndarray, grid: Grid, whole: Box) -> Box:
    """The box, farther out wherever a mask comes near to where the view ends and the scan goes on.

    Args:
        box: that was looked at closely, LPS, mm.
        kept: the mask, bool (z, y, x), on ``grid``.
        grid: the working grid, all that was seen: it covers the box and somewhat more.
        whole: bounds of the scan.
    """
    if not kept.any():
        return box
    near, far = _box_of(kept, grid, NEAR_MM), _box_of(kept, grid, REGION_MARGIN_MM)
    (low, high), (left, right) = grid.box, box
    lower = tuple(far[0][axis] if near[0][axis] < low[axis] else left[axis] for axis in range(3))
    upper = tuple(far[1][axis] if near[1][axis] > high[axis] else right[axis] for axis in range(3))
    return overlap((lower, upper), whole)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Localised:
    """Where to look closely.

    Attributes:
        box: in the frame of the scan put right, LPS, mm; None when no pancreas was seen.
        body: size of the patient there, see :func:`TernarySegmentLib.imaging.body.body_size`; None when not known.
        flipped: which axes of the patient the file has reversed.
        notes: sentences about what was seen.
    """

    box: Box | None
    body: float | None = None
    flipped: Flips = UNFLIPPED
    notes: tuple[str, ...] = ()


def _coarse_pass(
    ct: sitk.Image, model: Model, options: Options, clock: Clock, name: str, span: tuple[float, float]
) -> Steps:
    """One coarse pass over a whole scan."""
    return (yield from decide(ct, (model.stages["coarse"],), bounds(ct), options, clock, name, span))


def _box_seen(coarse: Decision, whole: Box) -> Box | None:
    """The box around what a coarse pass takes for the pancreas; None when it sees none."""
    seen = plausible(coarse.margin, coarse.grid)
    return overlap(_box_of(seen, coarse.grid, REGION_MARGIN_MM), whole) if seen.any() else None


def localise(ct: sitk.Image, model: Model, options: Options, clock: Clock) -> Generator[Progress, None, Localised]:
    """The box to look at closely, and which way round the patient lies."""
    flips = options.flipped
    if options.region is not None:
        box = overlap(options.region, bounds(ct))
        body = body_size_in(ct, box)
        return Localised(flip_box(box, flips), body, flips) if flips is not None else Localised(box, body)
    scan = ct if flips is None else flip(ct, flips)
    coarse = yield from _coarse_pass(scan, model, options, clock, "Looking for the pancreas", (0.03, LOCALISED))
    notes: tuple[str, ...] = ()
    if flips is None:
        flips, coarse, notes = yield from _right_way(ct, coarse, model, options, clock)
    whole = flip_box(bounds(ct), flips)
    seen = _box_seen(coarse, whole)
    body = None
    if seen is not None:
        dense = coarse.levels > hu_to_levels(np.array(BODY_HU), coarse.window)
        body = body_size(dense, coarse.grid, seen)
    return Localised(seen, body, flips, (*notes, *contrast_notes(coarse)))


def _right_way(
    ct: sitk.Image, as_it_is: Decision, model: Model, options: Options, clock: Clock
) -> Generator[Progress, None, tuple[Flips, Decision, tuple[str, ...]]]:
    """Which way the file must be read, what the coarse pass saw then, and notes.

    A scan whose organs lie where a person has them costs nothing more; another one is looked at in all eight ways.
    """
    own = departure(as_it_is.labels, as_it_is.grid.spacing)
    if own <= DOUBT:
        return UNFLIPPED, as_it_is, ()
    least, flips, best = own, UNFLIPPED, as_it_is
    for ways in OTHER_WAYS:
        name, span = "Checking which way the patient lies", (LOCALISED, LOCALISED)
        other = yield from _coarse_pass(flip(ct, ways), model, options, clock, name, span)
        departs = departure(other.labels, other.grid.spacing)
        if departs < least:
            least, flips, best = departs, ways, other
        if least <= DOUBT:
            break
    if believed(least, own):
        return flips, best, (flip_note(flips),)
    return UNFLIPPED, as_it_is, (UNSURE,) if least <= min(own - LEAD, ALIKE) else ()
