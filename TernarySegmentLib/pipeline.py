"""The whole job, CT in and pancreas mask out, as one generator that the panel, the command line and the tests drive."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TernarySegmentLib.imaging.grids import Box
    from TernarySegmentLib.imaging.measure import Measures

Backend = Literal["auto", "numba", "numpy"]


@dataclass(frozen=True)
class Options:
    """How to segment.

    Attributes:
        backend: which kernels compute; ``auto`` takes numba where it is installed.
        threads: number of worker threads; 0 means all cores.
        smoothing_mm: standard deviation of a Gaussian applied to the decision margin; 0 leaves the network's border.
        region: search only inside this box (lower and upper corner in LPS, mm) instead of localising.
    """

    backend: Backend = "auto"
    threads: int = 0
    smoothing_mm: float = 0.0
    region: Box | None = None


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
        confidence: 0 to 1, mean certainty of the network inside the mask; 0 when nothing was found.
        region: the box that was segmented finely (LPS, mm); None when nothing was found.
        seconds: time spent in each stage.
        backend: the kernels that computed ("numba" or "numpy").
        model: name, version and SHA-256 of the model, for reports.
    """

    mask: sitk.Image
    found: bool
    measures: Measures | None
    confidence: float
    region: Box | None
    seconds: dict[str, float] = field(default_factory=dict)
    backend: str = ""
    model: dict[str, str] = field(default_factory=dict)


def segment(ct: sitk.Image, options: Options = Options()) -> Generator[Progress, None, Result]:
    """Segment the pancreas.

    Yields :class:`Progress` at least every few tenths of a second and returns :class:`Result`
    (``result = yield from segment(ct)`` or ``StopIteration.value``). To cancel, close the generator between two
    steps: nothing has been written anywhere.

    Args:
        ct: a 3D CT in HU, any grid.
        options: see :class:`Options`.

    Raises:
        InputError: the image is not a usable CT, said in one sentence.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    raise NotImplementedError
    yield
