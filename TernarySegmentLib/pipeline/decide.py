"""Let networks decide about a box of the scan, and keep what is a plausible pancreas."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.network import Network, relay
from TernarySegmentLib.imaging.grids import (
    Box,
    Grid,
    grid_over,
    to_grid,
)
from TernarySegmentLib.imaging.postprocess import largest_plausible
from TernarySegmentLib.pipeline.clock import Clock
from TernarySegmentLib.pipeline.options import Options, Progress

MINIMUM_ML = 5.0
"""Smaller findings are no pancreas."""
PIECES_MM = 40.0
"""Pieces of a pancreas that the network broke may lie this far apart. Chosen on the validation scans, where one scan
breaks: 40 instead of 25 mm raises its Dice from 0.43 to 0.51 and changes no other scan tried."""
TISSUE_HU, CONTRAST = 40.0, 0.7
"""Of what lies above the HU of soft tissue, the share that the fine networks are shown: they found least on scans with
more contrast agent than those trained on. Chosen by cross-validation, see docs/weights.md."""
USUAL_BODY_MM = 300.0
"""Size of a patient whose grid is as fine as the networks were trained on. Smaller ones get a finer grid, which shows
their organs as large as the networks learnt them. Chosen by cross-validation, see docs/weights.md."""
FINEST = 0.8
"""Chosen likewise."""
SCALE_STEP = 0.05
"""Grids differ by so much, so that a size measured slightly otherwise hardly ever gives another one."""
CLIP_LOGITS = 8.0
"""Margins are clipped here before interpolation, so that one very sure voxel does not outvote its neighbours."""


@dataclass(frozen=True)
class Decision:
    """What networks said about a volume.

    Attributes:
        margin: of the target, mean over the networks, in logits, float32 (z, y, x).
        grid: the first network's working grid.
        backend: the kernels that computed.
        levels: what was seen on it, int8 (z, y, x).
        window: lowest and highest HU of the levels.
        labels: what the first network called each voxel, uint8 (z, y, x).
    """

    margin: np.ndarray
    grid: Grid
    backend: str
    levels: np.ndarray
    window: tuple[float, float]
    labels: np.ndarray


Steps = Generator[Progress, None, Decision]


def calmed(hu: np.ndarray) -> np.ndarray:
    """HU as the fine networks see them: less contrast agent, fat and water where they were.

    Examples:
        >>> calmed(np.array([-100.0, 40.0, 140.0])).tolist()
        [-100.0, 40.0, 110.0]
    """
    return np.minimum(hu, TISSUE_HU + CONTRAST * (hu - TISSUE_HU))


def grid_scale(body: float | None) -> float:
    """How many times as coarse as trained the grid for a patient is, at most 1.

    Args:
        body: size, mm, see :func:`TernarySegmentLib.imaging.body.body_size`; None when not known.

    Examples:
        >>> [grid_scale(body) for body in (None, 340.0, 270.0, 200.0)]
        [1.0, 1.0, 0.9, 0.8]
    """
    if body is None:
        return 1.0
    return float(np.clip(round(round(body / USUAL_BODY_MM / SCALE_STEP) * SCALE_STEP, 6), FINEST, 1.0))


def decide(
    ct: sitk.Image,
    stages: tuple[Stage, ...],
    box: Box,
    options: Options,
    clock: Clock,
    name: str,
    span: tuple[float, float],
    calm: bool = False,
    scale: float = 1.0,
) -> Steps:
    """Run networks over a box of the scan, one after the other, and average their margins on the first one's grid.

    ``calm`` shows them the scan with less contrast agent, see :func:`calmed`; ``scale`` multiplies the spacing of their
    grids, see :func:`grid_scale`.
    """
    start, stop = span
    yield clock.at(name, start)
    window = stages[0].window
    begun = start + 0.3 * (stop - start)  # resampling takes about a third
    share = (stop - begun) / len(stages)

    def progress(index: int, part: float) -> Progress:
        return clock.at(name, begun + (index + part) * share)

    seen: dict[float, tuple[Grid, np.ndarray]] = {}
    for spacing in dict.fromkeys(stage.spacing for stage in stages):
        multiple = max(stage.graph.multiple for stage in stages if stage.spacing == spacing)
        grid = grid_over(box, spacing * scale, multiple)
        hu = to_grid(ct, grid)
        seen[spacing] = grid, hu_to_levels(calmed(hu) if calm else hu, window)
    common, levels = seen[stages[0].spacing]
    mean, labels, backend = np.zeros(levels.shape, np.float32), np.zeros(levels.shape, np.uint8), ""
    for index, stage in enumerate(stages):
        grid, looked_at = seen[stage.spacing]
        network = Network(stage.graph, stage.weights, options.backend, options.threads, adaptation=stage.adaptation)
        scores = yield from relay(network.run(looked_at), partial(progress, index))
        margin = scores.margin * np.float32(network.score_step)
        np.clip(margin, -CLIP_LOGITS, CLIP_LOGITS, out=margin)
        mean += margin if grid == common else to_grid(grid.image(margin), common)
        labels = labels if index else scores.label
        backend = network.kernels.NAME
    mean /= np.float32(len(stages))
    return Decision(mean, common, backend, levels, window, labels)


def smoothed(margin: np.ndarray, grid: Grid, sigma_mm: float) -> np.ndarray:
    if sigma_mm <= 0:
        return margin
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(grid.image(margin), sigma_mm))


def plausible(margin: np.ndarray, grid: Grid) -> np.ndarray:
    """The voxels of a margin (z, y, x) that are taken for the pancreas, bool: its largest piece and those near it."""
    return largest_plausible(margin > 0, grid.spacing, minimum_ml=MINIMUM_ML, keep_distance_mm=PIECES_MM)
