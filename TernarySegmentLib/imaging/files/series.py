"""Tell the CT series among many DICOM files apart, and read one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files import reading


@dataclass(frozen=True)
class CtSeries:
    """A CT volume among DICOM files.

    Attributes:
        uid: SeriesInstanceUID.
        files: its slices, in the order of their paths.
    """

    uid: str
    files: tuple[Path, ...]


def find_ct_series(
    files: Iterable[Path], looked_at: Callable[[int], None] = lambda count: None
) -> tuple[list[CtSeries], dict[Path, str]]:
    """Find the CT series among files, wherever they lie, by their headers.

    Args:
        files: of any kind.
        looked_at: is called after every hundred with their number.

    Returns:
        The series, those of other sizes or orientations with the same UID apart; and a sentence for each CT slice that
        is damaged or cannot be read.
    """
    slices, damaged = [], {}
    with reading.quiet():
        for count, file in enumerate(files, 1):
            try:
                slices += reading.headers([str(file)])
            except InputError as error:
                damaged[file] = str(error)
            if count % 100 == 0:
                looked_at(count)
    groups = reading.group([s for s in slices if s.modality == "CT"])
    return [CtSeries(group[0].series, tuple(sorted(Path(s.path) for s in group))) for group in groups], damaged


def read_slices(files: Iterable[Path]) -> sitk.Image:
    """Read a CT from the files of one series, as :func:`~TernarySegmentLib.imaging.files.reading.read_ct` does.

    Raises:
        InputError: they are not one complete CT volume.
    """
    paths = [str(file) for file in files]
    with reading.quiet():
        groups = reading.group(reading.headers(paths))
        if not groups:
            raise InputError(f"“{Path(paths[0]).parent}” holds no DICOM images; choose the folder of a CT series.")
        return reading.read_series(groups[0])
