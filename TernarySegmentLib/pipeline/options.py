"""What goes into the pipeline and what comes out: options, progress, result."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.engine.network import Backend
from TernarySegmentLib.imaging.grids import (
    Box,
    Flips,
)
from TernarySegmentLib.imaging.measure import Measures

_LIBRARY = Path(__file__).resolve().parents[1]
# inside the library in a wheel; beside it in a checkout and in Slicer, whose modules share one folder
_RESOURCES = (_LIBRARY if (_LIBRARY / "Resources").is_dir() else _LIBRARY.parent) / "Resources"
DEFAULT_MODEL = _RESOURCES / "Models" / "pancreas.npz"


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
        flipped: which axes of the patient the file has reversed, as an earlier result on the same scan said
            (:attr:`Result.flipped`); None finds out, or takes it for none where a region is given.
    """

    backend: Backend = "auto"
    threads: int = 0
    smoothing_mm: float = 0.0
    region: Box | None = None
    model: Path = DEFAULT_MODEL
    python: str = sys.executable
    confidence: bool = False
    flipped: Flips | None = None


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
        region: the box that was segmented finely (LPS, mm, as the file has them); None when nothing was found.
        seconds: time spent in each stage.
        backend: the kernels that computed ("numba" or "numpy").
        model: provenance and SHA-256 of the model, for reports.
        warnings: sentences about the scan that the reader of the result should know.
        flipped: which axes of the patient the file was found to have reversed: left to right, front to back, head to
            foot.
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
    flipped: Flips = (False, False, False)
    confidence_map: sitk.Image | None = None
