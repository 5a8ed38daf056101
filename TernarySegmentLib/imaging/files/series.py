"""Distinguish the CT series among many DICOM files, and read one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.dicom_headers import Folder, Slice, scan
from TernarySegmentLib.imaging.files.dicom_series import multi_frame_fault, read_stack, refuse_lost
from TernarySegmentLib.imaging.files.itk import quiet
from TernarySegmentLib.imaging.files.slice_geometry import stack, volumes


@dataclass(frozen=True)
class CtSeries:
    """A CT volume among DICOM files.

    Attributes:
        uid: SeriesInstanceUID.
        files: its slices, in the order of their paths.
        fault: a sentence on a slice that was lost beside them; empty when none was.
    """

    uid: str
    files: tuple[Path, ...]
    fault: str = ""


@dataclass(frozen=True)
class FoundCt:
    """What files hold of CT.

    Attributes:
        series: the CT series, those of other sizes or orientations with the same UID apart.
        damaged: a sentence for each CT slice that is damaged or cannot be read.
        multi_frame: a sentence for each enhanced CT, which is not read here.
    """

    series: list[CtSeries]
    damaged: dict[Path, str]
    multi_frame: dict[Path, str]


def find_ct_series(files: Iterable[Path], looked_at: Callable[[int], None] = lambda count: None) -> FoundCt:
    """Find the CT series among files, wherever they lie, by their headers.

    Args:
        files: of any kind.
        looked_at: is called after every hundred with their number.
    """
    everything, damaged = Folder(), {}
    for count, file in enumerate(files, 1):
        try:
            found = scan([file])
        except InputError as error:
            damaged[file] = str(error)
        else:
            everything.slices += found.slices
            everything.captures += found.captures
            everything.multi_frame += found.multi_frame
            everything.foreign += found.foreign
        if count % 100 == 0:
            looked_at(count)
    for each in everything.ct:
        if each.fault and not each.aside:
            damaged[each.path] = f"The CT slice “{each.path.name}” {each.fault}; copy or export the series again."
    series = [
        CtSeries(group[0].series, tuple(sorted(each.path for each in group)), _lost(group, everything.foreign))
        for group in volumes(everything.ct)
    ]
    return FoundCt(series, damaged, {path: multi_frame_fault(path) for path in everything.multi_frame})


def _lost(slices: Sequence[Slice], foreign: Sequence[Path]) -> str:
    try:
        refuse_lost(slices, foreign)
    except InputError as error:
        return str(error)
    return ""


def read_slices(files: Iterable[Path]) -> sitk.Image:
    """Read a CT from the files of one series, as :func:`~TernarySegmentLib.imaging.files.reading.read_ct` does.

    Raises:
        InputError: they are not one complete CT volume.
    """
    paths = list(files)
    found = scan(paths)
    groups = volumes(found.ct)
    if not groups:
        raise InputError(f"“{paths[0].parent}” holds no DICOM images; choose the folder of a CT series.")
    with quiet():
        return read_stack(stack(groups[0], groups[0][0].path.parent))
