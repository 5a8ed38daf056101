"""A scan's ternary code: what the fine networks' bottlenecks hold over the pancreas, one trit for each channel.

The bottleneck's voxels are coarse (24 mm with the model that ships), so it is computed anew on grids centred on the
mask's centroid, wherever the scan's own voxels lie, and at four places of the coarse grid: a moved or resampled copy
then meets the same lattice. Each channel's trits are averaged, weighted with how much of the pancreas a voxel holds.
Two thresholds per channel turn the means of all voters, one after another, into the code (:class:`Thresholds`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.bitplanes import pack, words
from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelfile import Model, Stage
from TernarySegmentLib.engine.network import Backend, Network, relay
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import Flips, Grid, flip, positions, to_grid
from TernarySegmentLib.imaging.measure import measure
from TernarySegmentLib.imaging.report.preview import thumbnail_png
from TernarySegmentLib.pipeline import Options, Progress, load_model, segment

SHIFTS = np.array([(-1, -1, -1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)]) / 4
"""Where the coarse grid is laid, in its own voxels: every other corner of a cube, so that each axis is halved."""
CONTEXT_MM = 12.0
"""Added around the mask on every side."""
FAT_HU = (-190.0, -30.0)
"""HU of adipose tissue (Yoshizumi et al., Radiology 1999)."""
SCANS_AT_ONCE = 16_384
"""Scans coded at once: of a million, all at once would take gigabytes."""
SEGMENTED = 0.5
"""Fraction of the work after which a scan is segmented and the pooling begins."""


@dataclass(frozen=True)
class Thresholds:
    """Turns mean trits into trits; taken once from an archive, so that each channel tells its scans apart.

    Attributes:
        low, high: float32 (channels,); a mean ≤ low gives -1, ≥ high gives +1. Where both are equal the channel is
            constant in the archive and gives 0.
    """

    low: np.ndarray
    high: np.ndarray

    @staticmethod
    def of(means: np.ndarray) -> Thresholds:
        """Terciles of every channel over an archive, means (scans, channels)."""
        low, high = np.quantile(means.astype(np.float32), (1 / 3, 2 / 3), axis=0).astype(np.float32)
        return Thresholds(low, high)

    def planes(self, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes of means (scans, channels): the planes (nonzero, negative), uint32 (scans, words).

        Examples:
            >>> thresholds = Thresholds(np.float32([-0.2, 0.5]), np.float32([0.2, 0.5]))
            >>> nonzero, negative = thresholds.planes(np.array([[-0.3, 0.9]]))
            >>> f"{nonzero[0, 0]:02b} {negative[0, 0]:02b}"
            '01 01'
        """
        nonzero, negative = (np.empty((len(means), words(means.shape[1])), np.uint32) for _ in range(2))
        tells = (self.low < self.high).astype(np.int8)
        for start in range(0, len(means), SCANS_AT_ONCE):
            part = slice(start, start + SCANS_AT_ONCE)
            trits = (means[part] >= self.high).astype(np.int8) - (means[part] <= self.low).astype(np.int8)
            nonzero[part], negative[part] = pack(trits * tells)
        return nonzero, negative


@dataclass(frozen=True)
class Description:
    """What an index keeps of a scan.

    Attributes:
        means: float32 (channels,), see :func:`mean_trits`.
        volume_ml, mean_hu: of the mask.
        fat_fraction: see :func:`fat_fraction`.
        thumbnail: a PNG of the scan as a data URI; kept by an index only where asked for.
    """

    means: np.ndarray
    volume_ml: float
    mean_hu: float
    fat_fraction: float
    thumbnail: str = ""


def describe(ct: sitk.Image, options: Options = Options()) -> Generator[Progress, None, Description]:
    """Segment a scan and average the bottlenecks over its pancreas.

    Args:
        ct: a 3D CT in HU, any grid.
        options: of the pipeline.

    Raises:
        InputError: the image is not a usable CT, or no pancreas was found.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    result = yield from relay(segment(ct, options), lambda step: replace(step, fraction=step.fraction * SEGMENTED))
    if not result.found:
        raise InputError("No pancreas was found in this scan, so there is nothing to compare; check that it shows one.")
    return (
        yield from relay(
            describe_mask(ct, result.mask, result.flipped, options),
            lambda step: replace(step, fraction=SEGMENTED + (1 - SEGMENTED) * step.fraction),
        )
    )


def describe_mask(
    ct: sitk.Image, mask: sitk.Image, flipped: Flips, options: Options = Options()
) -> Generator[Progress, None, Description]:
    """Average the bottlenecks over a pancreas that is segmented already.

    Args:
        ct: a 3D CT in HU, any grid.
        mask: integer image on the same grid, inside where not 0.
        flipped: which axes of the patient the file has reversed.
        options: model, back end and threads count.

    Raises:
        InputError: the mask is empty or lies on another grid.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    started = time.monotonic()
    measures = measure(ct, mask)
    scan, turned = (flip(each, flipped) for each in (ct, mask))

    def progress(fraction: float) -> Progress:
        elapsed = time.monotonic() - started
        remaining = elapsed * (1 - fraction) / fraction if fraction > 0 else None
        return Progress("Describing the pancreas", fraction, elapsed, remaining)

    pooling = mean_trits(scan, turned, load_model(options.model), options.backend, options.threads)
    means = yield from relay(pooling, progress)
    return Description(means, measures.volume_ml, measures.mean_hu, fat_fraction(ct, mask), thumbnail_png(ct, mask))


def code_channels(model: Model) -> int:
    """Length of a model's codes: the bottlenecks' channels of all voters."""
    return sum(stage.graph[stage.graph.bottleneck].channels for stage in model.fine)


def mean_trits(
    scan: sitk.Image, mask: sitk.Image, model: Model, backend: Backend = "auto", threads: int = 0
) -> Generator[float, None, np.ndarray]:
    """Average the voters' bottlenecks over a mask; yields the finished fraction.

    Args:
        scan: a CT in HU, its front and back put right where the file describes a mirror image.
        mask: integer image on the same grid, inside where not 0, not empty.
        model: its fine stages are the voters.
        backend: which kernels compute; the result does not depend on it.
        threads: 0 means all cores.

    Returns:
        float32 (channels,) in [-1, 1], channels of the voters in the order of ``model.fine_names``.
    """
    inside = positions(mask, np.argwhere(sitk.GetArrayViewFromImage(mask)).astype(float))
    centre = inside.mean(0)
    reach = np.abs(inside - centre).max(0) + CONTEXT_MM
    share, done, sums = 1 / (len(SHIFTS) * len(model.fine)), 0, np.zeros(code_channels(model))

    def fraction(done: int, part: float) -> float:
        return (done + part) * share

    for shift in SHIFTS:
        channel = 0
        for stage in model.fine:
            scale = stage.graph.scale(stage.graph.bottleneck)
            grid = _grid_around(centre, reach, stage.spacing, scale, shift)
            weights = _block_sums(to_grid(sitk.Cast(mask != 0, sitk.sitkFloat32), grid, 0.0), scale)
            trits = yield from relay(_bottleneck(scan, grid, stage, backend, threads), partial(fraction, done))
            means = np.tensordot(weights, trits, 3) / weights.sum()
            sums[channel : channel + len(means)] += means / len(SHIFTS)
            channel += len(means)
            done += 1
    return sums.astype(np.float32)


def fat_fraction(scan: sitk.Image, mask: sitk.Image) -> float:
    """Share of a mask's voxels whose HU are those of fat, 0 to 1; nan for an empty mask."""
    values = sitk.GetArrayViewFromImage(scan)[sitk.GetArrayViewFromImage(mask) != 0]
    return float(np.mean((values >= FAT_HU[0]) & (values <= FAT_HU[1]))) if values.size else float("nan")


def _grid_around(centre: np.ndarray, reach: np.ndarray, spacing: float, scale: int, shift: np.ndarray) -> Grid:
    """A working grid of whole bottleneck voxels, as many on either side of the centre, moved by parts of one."""
    side = spacing * scale
    blocks = np.ceil(reach / side + np.abs(shift)).astype(int)
    first = centre + shift * side - blocks * side + spacing / 2
    return Grid(spacing, tuple(float(v) for v in first), tuple(int(n) * 2 * scale for n in blocks))  # type: ignore[arg-type]


def _block_sums(values: np.ndarray, scale: int) -> np.ndarray:
    depth, height, width = (n // scale for n in values.shape)
    return values.reshape(depth, scale, height, scale, width, scale).sum((1, 3, 5), dtype=np.float64)


def _bottleneck(
    scan: sitk.Image, grid: Grid, stage: Stage, backend: Backend, threads: int
) -> Generator[float, None, np.ndarray]:
    levels = hu_to_levels(to_grid(scan, grid), stage.window)
    network = Network(stage.graph, stage.weights, backend, threads)
    tensor = yield from network.observe(levels, stage.graph.bottleneck)
    return tensor.to_ternary()
