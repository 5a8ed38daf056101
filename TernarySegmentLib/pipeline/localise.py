"""Find the box to segment finely: one coarse pass over the whole scan, both ways round where that is in doubt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import (
    Box,
    Grid,
    bounds,
    flip_anterior_posterior,
    flip_box,
)
from TernarySegmentLib.pipeline.clock import LOCALISED, Clock
from TernarySegmentLib.pipeline.decide import MINIMUM_ML, decide, plausible
from TernarySegmentLib.pipeline.options import Options, Progress

REGION_MARGIN_MM = 30.0
"""Added around what the coarse pass finds: it misses the tips of head and tail."""
DOUBTFUL_ML, MIRROR_RATIO = 60.0, 2.0
"""A coarse detection below the first is compared with that of the scan turned front to back; the turned scan is
believed when it shows this many times more. On 15 CTs the coarse pass saw 77 mL or more the right way round, 49 mL or
less the wrong way, and always 3.3 times more the right way."""


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


@dataclass(frozen=True)
class CoarseDetection:
    """Where the coarse pass saw a pancreas; ``box`` is None when it saw none."""

    box: Box | None
    seen_ml: float


def _coarse_pass(
    ct: sitk.Image, model: Model, options: Options, clock: Clock, span: tuple[float, float]
) -> Generator[Progress, None, CoarseDetection]:
    """One coarse pass over a whole scan."""
    whole, name = bounds(ct), "Looking for the pancreas"
    coarse = yield from decide(ct, (model.stages["coarse"],), whole, options, clock, name, span)
    seen = plausible(coarse.margin, coarse.grid)
    if not seen.any():
        return CoarseDetection(None, 0.0)
    millilitres = float(np.count_nonzero(seen) * coarse.grid.spacing**3 / 1000)
    return CoarseDetection(overlap(_box_of(seen, coarse.grid, REGION_MARGIN_MM), whole), millilitres)


def localise(
    ct: sitk.Image, model: Model, options: Options, clock: Clock
) -> Generator[Progress, None, tuple[Box | None, sitk.Image]]:
    """The box to look at closely, None when no pancreas is seen, and the scan, its front and back put right.

    Some files describe a mirror image of the patient. The pancreas then lies where none is expected: little or nothing
    is seen in the scan as it is, much in the scan turned round.
    """
    if options.region is not None:
        box = overlap(options.region, bounds(ct))
        return (flip_box(box), flip_anterior_posterior(ct)) if options.mirrored else (box, ct)
    if options.mirrored:
        turned = flip_anterior_posterior(ct)
        return (yield from _coarse_pass(turned, model, options, clock, (0.03, LOCALISED))).box, turned
    detection = yield from _coarse_pass(ct, model, options, clock, (0.03, LOCALISED))
    if detection.seen_ml < DOUBTFUL_ML and options.mirrored is None:
        turned = flip_anterior_posterior(ct)
        other = yield from _coarse_pass(turned, model, options, clock, (LOCALISED, LOCALISED))
        if other.seen_ml > MIRROR_RATIO * max(detection.seen_ml, MINIMUM_ML):
            return other.box, turned
    return detection.box, ct
