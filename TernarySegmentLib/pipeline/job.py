"""The whole job, CT in and pancreas mask out, as one generator that the panel, the command line and the tests drive."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.imaging.body import body_size_in
from TernarySegmentLib.imaging.checks import check_ct
from TernarySegmentLib.imaging.grids import (
    Box,
    Flips,
    Grid,
    blank,
    bounds,
    flip,
    flip_box,
    to_image,
)
from TernarySegmentLib.imaging.measure import measure
from TernarySegmentLib.imaging.probability import percent_image, probability
from TernarySegmentLib.pipeline.clock import LOCALISED, RESTORED, SEGMENTED, Clock
from TernarySegmentLib.pipeline.decide import Decision, decide, grid_scale, plausible, smoothed
from TernarySegmentLib.pipeline.loading import load_model, prepare_kernels
from TernarySegmentLib.pipeline.localise import localise, overlap, widened
from TernarySegmentLib.pipeline.options import Options, Progress, Result
from TernarySegmentLib.pipeline.plausibility import edge_notes, volume_notes

WIDENED_AT_MOST = 2
"""How often the box follows a mask that it seems to cut."""


def segment(ct: sitk.Image, options: Options = Options()) -> Generator[Progress, None, Result]:
    """Segment the pancreas.

    Yields :class:`Progress` at least every few tenths of a second and returns :class:`Result`
    (``result = yield from segment(ct)`` or ``StopIteration.value``). To cancel, close the generator between two
    steps: nothing has been written anywhere.

    Args:
        ct: a 3D CT in HU, any grid.
        options: see :class:`Options`.

    Raises:
        InputError: the image is not a usable CT, or the region lies outside it, said in one sentence.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    clock = Clock()
    yield clock.at("Checking the scan", 0.0)
    summary = check_ct(ct)
    model = load_model(options.model)
    yield from prepare_kernels(options, clock)
    provenance = {**model.provenance, "sha256": model.sha256}

    found = yield from localise(ct, model, options, clock)
    box, scale = found.box, grid_scale(found.body)
    scan, warnings = put_right(ct, found.flipped), (*summary.warnings, *found.notes)
    mask, backend, confidence, measures, confidence_map = None, "", 0.0, None, None
    if box is not None:
        span = (LOCALISED, SEGMENTED)
        fine, margin, kept = yield from look_closely(scan, model, box, scale, options, clock, "Segmenting", span)
        for _ in range(WIDENED_AT_MOST if options.region is None else 0):
            wider = widened(box, kept, fine.grid, bounds(scan))
            if wider == box:
                break
            box, span = wider, (SEGMENTED, SEGMENTED)
            fine, margin, kept = yield from look_closely(
                scan, model, box, scale, options, clock, "Looking farther", span
            )
        yield clock.at("Restoring the scan's grid", SEGMENTED)
        backend = fine.backend
        if options.confidence:
            confidence_map = percent_image(margin, fine.grid, scan, model.temperature)
            confidence_map.CopyInformation(ct)
        if kept.any():
            confidence = float(np.mean(probability(margin[kept], model.temperature, model.bias)))
            mask = restored(margin, kept, fine.grid, scan, ct)
            yield clock.at("Measuring", RESTORED)
            measures = measure(ct, mask)
            warnings += (*volume_notes(measures), *edge_notes(ct, mask))
    if mask is None or measures is None:
        mask, box, measures = blank(ct), None, None
    if options.confidence and confidence_map is None:
        confidence_map = blank(ct)
    yield clock.at("Done", 1.0)
    clock.close()
    return Result(
        mask, measures is not None, measures, confidence, flip_box(box, found.flipped) if box is not None else None,
        clock.seconds, backend, provenance, warnings, found.flipped, confidence_map,
    )  # fmt: skip


def look_closely(
    scan: sitk.Image,
    model: Model,
    box: Box,
    scale: float,
    options: Options,
    clock: Clock,
    name: str,
    span: tuple[float, float],
) -> Generator[Progress, None, tuple[Decision, np.ndarray, np.ndarray]]:
    """What the fine networks decide about a box, the margin after smoothing, and the voxels of it that are kept."""
    fine = yield from decide(scan, model.fine, box, options, clock, name, span, calm=True, scale=scale)
    margin = smoothed(fine.margin, fine.grid, options.smoothing_mm)
    return fine, margin, plausible(margin, fine.grid)


def put_right(ct: sitk.Image, flipped: Flips) -> sitk.Image:
    """The scan with the axes that its file has reversed put right; itself where there are none."""
    return flip(ct, flipped) if any(flipped) else ct


def restored(margin: np.ndarray, kept: np.ndarray, grid: Grid, scan: sitk.Image, ct: sitk.Image) -> sitk.Image:
    """The mask on the scan's own grid, uint8.

    Args:
        margin: logits, float32 (z, y, x), on ``grid``.
        kept: what :func:`plausible` keeps of it.
        grid: in the frame of ``scan``.
        scan: the CT, put right where the file has axes of the patient reversed.
        ct: the CT as the file has it.
    """
    mask = to_image(np.where((margin > 0) & ~kept, np.float32(-1), margin), grid, scan)
    mask.CopyInformation(ct)
    return mask


@dataclass(frozen=True)
class FineOutput:
    """What the fine network says about a region.

    Attributes:
        margin: logits, float32 (z, y, x), positive where pancreas is most likely; on ``grid``.
        grid: in the frame of ``scan``.
        scan: the CT, put right where the file has axes of the patient reversed.
    """

    margin: np.ndarray
    grid: Grid
    scan: sitk.Image


def fine_pass(ct: sitk.Image, region: Box, options: Options = Options()) -> Generator[Progress, None, FineOutput]:
    """Let the fine network decide about a region, whatever the coarse one saw, and leave out nothing that it finds.

    Args:
        ct: a 3D CT in HU, any grid.
        region: lower and upper corner in LPS, mm, as the file has it.
        options: ``flipped`` None looks over the whole scan first, to find out what :func:`segment` found out.

    Raises:
        InputError: the image is not a usable CT, or the region lies outside it, said in one sentence.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    clock = Clock()
    yield clock.at("Checking the scan", 0.0)
    check_ct(ct)
    box = overlap(region, bounds(ct))
    model = load_model(options.model)
    yield from prepare_kernels(options, clock)
    flipped, begun = options.flipped, 0.03
    if flipped is None:
        flipped = (yield from localise(ct, model, replace(options, region=None), clock)).flipped
        begun = LOCALISED
    scale = grid_scale(body_size_in(ct, box))
    box, scan = flip_box(box, flipped), put_right(ct, flipped)
    span = (begun, SEGMENTED)
    fine = yield from decide(scan, model.fine, box, options, clock, "Segmenting", span, calm=True, scale=scale)
    yield clock.at("Restoring the scan's grid", SEGMENTED)
    return FineOutput(smoothed(fine.margin, fine.grid, options.smoothing_mm), fine.grid, scan)


def run(steps: Generator[Progress, None, Result]) -> Result:
    """Run a segmentation to its end without watching it.

    Examples:
        >>> from TernarySegmentLib.phantom import make_phantom
        >>> result = run(segment(make_phantom(0, spacing=(3.0, 3.0, 3.0)).ct))
        >>> result.found, result.mask.GetSpacing()
        (True, (3.0, 3.0, 3.0))
    """
    return drain(steps)
