"""The whole job, CT in and pancreas mask out, as one generator that the panel, the command line and the tests drive."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelfile import Model, Stage
from TernarySegmentLib.engine.network import Backend, Network, drain
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.checks import check_ct
from TernarySegmentLib.imaging.grids import (
    Box,
    Grid,
    blank,
    bounds,
    grid_over,
    to_grid,
    to_image,
    turned_box,
    turned_front_to_back,
)
from TernarySegmentLib.imaging.measure import Measures, measure
from TernarySegmentLib.imaging.postprocess import largest_plausible
from TernarySegmentLib.imaging.probability import percent_image, probability

_HERE = Path(__file__).resolve().parent
# inside the library in a wheel; beside it in a checkout and in Slicer, whose modules share one folder
_RESOURCES = (_HERE if (_HERE / "Resources").is_dir() else _HERE.parent) / "Resources"
DEFAULT_MODEL = _RESOURCES / "Models" / "pancreas.npz"

REGION_MARGIN_MM = 30.0
"""Added around what the coarse pass finds: it misses the tips of head and tail."""
MINIMUM_ML = 5.0
"""Smaller findings are no pancreas."""
PIECES_MM = 40.0
"""Pieces of a pancreas that the network broke may lie this far apart. Chosen on the validation scans, where one scan
breaks: 40 instead of 25 mm raises its Dice from 0.43 to 0.51 and changes no other scan tried."""
DOUBTFUL_ML, MIRROR_RATIO = 60.0, 2.0
"""A coarse finding below the first is compared with that of the scan turned front to back; the turned scan is believed
when it shows this many times more. On 15 CTs the coarse pass saw 77 mL or more the right way round, 49 mL or less the
wrong way, and always 3.3 times more the right way."""
MIRRORED = (
    "The file describes a mirror image of a patient, front and back exchanged; the mask fits the voxels, but correct "
    "the direction in the file's header before using positions."
)
CLIP_LOGITS = 8.0
"""Margins are clipped here before interpolation, so that one very sure voxel does not outvote its neighbours."""

# what each stage ends at, as a fraction of the whole job; the shares were measured on a 512×512×221 scan
LOCALISED, SEGMENTED, RESTORED = 0.35, 0.8, 0.9


@dataclass(frozen=True)
class Options:
    """How to segment.

    Attributes:
        backend: which kernels compute; ``auto`` takes numba where it is installed.
        threads: number of worker threads; 0 means all cores.
        smoothing_mm: standard deviation of a Gaussian applied to the decision margin; 0 leaves the network's border.
        region: search only inside this box (lower and upper corner in LPS, mm) instead of localising.
        model: the model file.
        python: interpreter for the child process that compiles the kernels on a computer's first run.
        confidence: also return how sure the network is of every voxel.
        mirrored: whether the file describes a mirror image, front and back exchanged, as an earlier result on the same
            scan said (:attr:`Result.mirrored`); None finds out, or takes it for none where a region is given.
    """

    backend: Backend = "auto"
    threads: int = 0
    smoothing_mm: float = 0.0
    region: Box | None = None
    model: Path = DEFAULT_MODEL
    python: str = sys.executable
    confidence: bool = False
    mirrored: bool | None = None


@dataclass(frozen=True)
class Progress:
    """Where the job stands.

    Attributes:
        stage: a short phrase for people, e.g. "Looking for the pancreas".
        fraction: of the whole job, 0 to 1, never decreasing.
        elapsed_s: seconds since the start.
        remaining_s: expected seconds to the end; None before there is something to judge by.
    """

    stage: str
    fraction: float
    elapsed_s: float
    remaining_s: float | None


@dataclass(frozen=True)
class Result:
    """What came out.

    Attributes:
        mask: uint8 image on exactly the input's grid, 1 = pancreas; all 0 when nothing was found.
        found: whether a plausible pancreas was found.
        measures: volume, HU, extent and centre of the mask; None when nothing was found.
        confidence: 0 to 1, the part of the mask that is expected to be pancreas; 0 when nothing was found.
        region: the box that was segmented finely (LPS, mm; of the scan put right where it was mirrored); None when
            nothing was found.
        seconds: time spent in each stage.
        backend: the kernels that computed ("numba" or "numpy").
        model: provenance and SHA-256 of the model, for reports.
        warnings: sentences about the scan that the reader of the result should know.
        mirrored: whether the file was found to describe a mirror image, front and back exchanged.
        confidence_map: uint8 image on exactly the input's grid, how much the network is for pancreas, in percent: 1 to
            100, and 0 only where it did not look closely. 50 or more exactly where the mask was before pieces were left
            out. None unless :attr:`Options.confidence` asks for it.
    """

    mask: sitk.Image
    found: bool
    measures: Measures | None
    confidence: float
    region: Box | None
    seconds: dict[str, float] = field(default_factory=dict)
    backend: str = ""
    model: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    mirrored: bool = False
    confidence_map: sitk.Image | None = None


@lru_cache(maxsize=2)
def _read_model(path: Path, changed_ns: int) -> Model:
    return modelfile.load(path)


def load_model(path: Path = DEFAULT_MODEL) -> Model:
    """The model file, read and checked once per process and change of the file.

    Raises:
        ModelError: it is missing, damaged, foreign or from a newer version.

    Examples:
        >>> model = load_model()
        >>> model.stages["coarse"].spacing, len(model.labels), model.labels[model.target]
        (4.0, 9, 'pancreas')
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:  # reading it says why
        changed_ns = 0
    return _read_model(path, changed_ns)


class _Clock:
    """Turns finished fractions into progress and keeps each stage's seconds."""

    def __init__(self) -> None:
        self.started = self.stage_started = time.monotonic()
        self.stage = ""
        self.fraction = 0.0
        self.seconds: dict[str, float] = {}

    def at(self, stage: str, fraction: float) -> Progress:
        """The progress to yield now."""
        now = time.monotonic()
        if stage != self.stage:
            self.close()
            self.stage, self.stage_started = stage, now
        self.fraction = max(self.fraction, min(fraction, 1.0))
        elapsed = now - self.started
        remaining = elapsed * (1 - self.fraction) / self.fraction if self.fraction > 0.05 else None
        return Progress(stage, self.fraction, elapsed, remaining)

    def close(self) -> None:
        """Book the time since the last stage began."""
        if self.stage:
            now = time.monotonic()
            self.seconds[self.stage] = round(self.seconds.get(self.stage, 0.0) + now - self.stage_started, 3)
            self.stage_started = now


@dataclass(frozen=True)
class _Decision:
    """What a network said about a volume: the target's margin in logits, float32 (z, y, x), on a working grid."""

    margin: np.ndarray
    grid: Grid
    backend: str


Steps = Generator[Progress, None, _Decision]


def _prepare_kernels(options: Options, clock: _Clock) -> Generator[Progress, None, None]:
    """On a computer's first run let a child process compile: LLVM would hold up every thread of this one."""
    if options.backend == "numpy" or importlib.util.find_spec("numba") is None:
        return
    try:
        from TernarySegmentLib.engine import jit
    except ImportError:  # installed, but not for this NumPy: the kernels' loader says what computes instead
        return
    if not jit.is_warm() and jit.cache_folder() is not None:
        try:
            starting = jit.warm_in_child(options.python)
        except OSError:  # no such interpreter, or no program may be started here: then this process compiles
            return
        with starting as child:
            try:
                while child.poll() is None:
                    yield clock.at("Preparing the accelerator (only this once)", 0.02)
                    time.sleep(0.05)
            finally:
                child.kill()


def _decide(
    ct: sitk.Image,
    stages: tuple[Stage, ...],
    box: Box,
    options: Options,
    clock: _Clock,
    name: str,
    span: tuple[float, float],
) -> Steps:
    """Run networks of one grid over a box of the scan, one after the other, and average their margins."""
    start, stop = span
    yield clock.at(name, start)
    spacing, window = stages[0].spacing, stages[0].window
    grid = grid_over(box, spacing, max(stage.graph.multiple for stage in stages))
    levels = hu_to_levels(to_grid(ct, grid), window)
    begun = start + 0.3 * (stop - start)  # resampling takes about a third
    share = (stop - begun) / len(stages)
    margins, backend = [], ""
    for index, stage in enumerate(stages):
        network = Network(stage.graph, stage.weights, options.backend, options.threads)
        steps = network.run(levels)
        try:
            while True:
                yield clock.at(name, begun + (index + next(steps)) * share)
        except StopIteration as end:
            scores = end.value
        finally:
            steps.close()
        margins.append(np.clip(scores.margin * np.float32(network.score_step), -CLIP_LOGITS, CLIP_LOGITS))
        backend = network.kernels.NAME
    return _Decision(sum(margins[1:], margins[0]) / np.float32(len(margins)), grid, backend)


def _box_of(mask: np.ndarray, grid: Grid, margin_mm: float) -> Box:
    """Bounds of a mask on a grid, plus a margin, in LPS, mm."""
    lower, upper = [], []
    for axis in range(3):  # x, y, z
        inside = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != 2 - axis)))
        lower.append(grid.origin[axis] + (inside[0] - 0.5) * grid.spacing - margin_mm)
        upper.append(grid.origin[axis] + (inside[-1] + 0.5) * grid.spacing + margin_mm)
    return tuple(lower), tuple(upper)


def _overlap(first: Box, second: Box) -> Box:
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
class _Finding:
    """Where the coarse pass saw a pancreas; ``box`` is None when it saw none."""

    box: Box | None
    seen_ml: float


def _look(
    ct: sitk.Image, model: Model, options: Options, clock: _Clock, span: tuple[float, float]
) -> Generator[Progress, None, _Finding]:
    """One coarse pass over a whole scan."""
    whole, name = bounds(ct), "Looking for the pancreas"
    coarse = yield from _decide(ct, (model.stages["coarse"],), whole, options, clock, name, span)
    seen = plausible(coarse.margin, coarse.grid)
    if not seen.any():
        return _Finding(None, 0.0)
    millilitres = float(np.count_nonzero(seen) * coarse.grid.spacing**3 / 1000)
    return _Finding(_overlap(_box_of(seen, coarse.grid, REGION_MARGIN_MM), whole), millilitres)


def _localise(
    ct: sitk.Image, model: Model, options: Options, clock: _Clock
) -> Generator[Progress, None, tuple[Box | None, sitk.Image]]:
    """The box to look at closely, None when no pancreas is seen, and the scan, its front and back put right.

    Some files describe a mirror image of the patient. The pancreas then lies where none is expected: little or nothing
    is seen in the scan as it is, much in the scan turned round.
    """
    if options.region is not None:
        box = _overlap(options.region, bounds(ct))
        return (turned_box(box), turned_front_to_back(ct)) if options.mirrored else (box, ct)
    if options.mirrored:
        turned = turned_front_to_back(ct)
        return (yield from _look(turned, model, options, clock, (0.03, LOCALISED))).box, turned
    finding = yield from _look(ct, model, options, clock, (0.03, LOCALISED))
    if finding.seen_ml < DOUBTFUL_ML and options.mirrored is None:
        turned = turned_front_to_back(ct)
        other = yield from _look(turned, model, options, clock, (LOCALISED, LOCALISED))
        if other.seen_ml > MIRROR_RATIO * max(finding.seen_ml, MINIMUM_ML):
            return other.box, turned
    return finding.box, ct


def _smoothed(margin: np.ndarray, grid: Grid, sigma_mm: float) -> np.ndarray:
    if sigma_mm <= 0:
        return margin
    return sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(grid.image(margin), sigma_mm))


def plausible(margin: np.ndarray, grid: Grid) -> np.ndarray:
    """The voxels of a margin (z, y, x) that are taken for the pancreas, bool: its largest piece and those near it."""
    return largest_plausible(margin > 0, grid.spacing, minimum_ml=MINIMUM_ML, keep_distance_mm=PIECES_MM)


def restored(margin: np.ndarray, kept: np.ndarray, grid: Grid, scan: sitk.Image, ct: sitk.Image) -> sitk.Image:
    """The mask on the scan's own grid, uint8.

    Args:
        margin: logits, float32 (z, y, x), on ``grid``.
        kept: what :func:`plausible` keeps of it.
        grid: in the frame of ``scan``.
        scan: the CT, its front and back put right where the file describes a mirror image.
        ct: the CT as the file has it.
    """
    mask = to_image(np.where((margin > 0) & ~kept, np.float32(-1), margin), grid, scan)
    mask.CopyInformation(ct)
    return mask


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
    clock = _Clock()
    yield clock.at("Checking the scan", 0.0)
    summary = check_ct(ct)
    model = load_model(options.model)
    yield from _prepare_kernels(options, clock)
    provenance = {**model.provenance, "sha256": model.sha256}

    box, scan = yield from _localise(ct, model, options, clock)
    warnings = summary.warnings if scan is ct else (*summary.warnings, MIRRORED)
    mask, backend, confidence, measures, confidence_map = None, "", 0.0, None, None
    if box is not None:
        fine = yield from _decide(scan, model.fine, box, options, clock, "Segmenting", (LOCALISED, SEGMENTED))
        yield clock.at("Restoring the scan's grid", SEGMENTED)
        backend = fine.backend
        margin = _smoothed(fine.margin, fine.grid, options.smoothing_mm)
        kept = plausible(margin, fine.grid)
        if options.confidence:
            confidence_map = percent_image(margin, fine.grid, scan, model.temperature)
            confidence_map.CopyInformation(ct)
        if kept.any():
            confidence = float(np.mean(probability(margin[kept], model.temperature, model.bias)))
            mask = restored(margin, kept, fine.grid, scan, ct)
            yield clock.at("Measuring", RESTORED)
            measures = measure(ct, mask)
    if mask is None or measures is None:
        mask, box, measures = blank(ct), None, None
    if options.confidence and confidence_map is None:
        confidence_map = blank(ct)
    yield clock.at("Done", 1.0)
    clock.close()
    return Result(
        mask, measures is not None, measures, confidence, box, clock.seconds, backend, provenance, warnings,
        scan is not ct, confidence_map,
    )  # fmt: skip


@dataclass(frozen=True)
class Closeup:
    """What the fine network says about a region.

    Attributes:
        margin: logits, float32 (z, y, x), positive where pancreas is most likely; on ``grid``.
        grid: in the frame of ``scan``.
        scan: the CT, its front and back put right where the file describes a mirror image.
    """

    margin: np.ndarray
    grid: Grid
    scan: sitk.Image


def look_closely(ct: sitk.Image, region: Box, options: Options = Options()) -> Generator[Progress, None, Closeup]:
    """Let the fine network decide about a region, whatever the coarse one saw, and leave out nothing that it finds.

    Args:
        ct: a 3D CT in HU, any grid.
        region: lower and upper corner in LPS, mm, as the file has it.
        options: ``mirrored`` None looks over the whole scan first, to find out what :func:`segment` found out.

    Raises:
        InputError: the image is not a usable CT, or the region lies outside it, said in one sentence.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    clock = _Clock()
    yield clock.at("Checking the scan", 0.0)
    check_ct(ct)
    box = _overlap(region, bounds(ct))
    model = load_model(options.model)
    yield from _prepare_kernels(options, clock)
    mirrored, begun = options.mirrored, 0.03
    if mirrored is None:
        _, scan = yield from _localise(ct, model, replace(options, region=None), clock)
        mirrored, begun = scan is not ct, LOCALISED
    if mirrored:
        box, scan = turned_box(box), turned_front_to_back(ct)
    else:
        scan = ct
    fine = yield from _decide(scan, model.fine, box, options, clock, "Segmenting", (begun, SEGMENTED))
    yield clock.at("Restoring the scan's grid", SEGMENTED)
    return Closeup(_smoothed(fine.margin, fine.grid, options.smoothing_mm), fine.grid, scan)


def run(steps: Generator[Progress, None, Result]) -> Result:
    """Run a segmentation to its end without watching it.

    Examples:
        >>> from TernarySegmentLib.phantom import make_phantom
        >>> result = run(segment(make_phantom(0, spacing=(3.0, 3.0, 3.0)).ct, Options(backend="numpy")))
        >>> result.found, result.mask.GetSpacing()
        (True, (3.0, 3.0, 3.0))
    """
    return drain(steps)
