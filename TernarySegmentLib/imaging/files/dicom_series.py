"""Read one CT series from a DICOM folder or from one of its files."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.dicom_bits import bits_fault
from TernarySegmentLib.imaging.files.dicom_headers import Folder, Slice, files_in, scan
from TernarySegmentLib.imaging.files.itk import itk_failure, itk_path
from TernarySegmentLib.imaging.files.slice_geometry import Stack, refuse_faults, stack, volumes

log = logging.getLogger(__name__)

SERIES_UID = "0020|000e"
"""Under this key an image that was read from DICOM says which series it is."""


def read_folder(folder: Path) -> sitk.Image:
    """The largest CT series in a folder and its subfolders, in HU.

    Raises:
        InputError: none there, or a fault in it.
    """
    files = files_in(folder)
    if not files:
        raise InputError(f"The folder “{folder}” is empty; choose the folder of a DICOM CT series.")
    found = scan(files)
    groups = volumes(found.ct)
    if not groups:
        raise _none_found(folder, found)
    if len(groups) > 1:
        log.info(
            "%d CT series in “%s” (%s slices); the largest is taken: %s.",
            len(groups), folder, ", ".join(str(len(group)) for group in groups), groups[0][0].series,
        )  # fmt: skip
    refuse_lost(groups[0], found.foreign)
    return read_stack(stack(groups[0], groups[0][0].path.parent))


def read_series_of(path: Path) -> sitk.Image:
    """The series that one DICOM file belongs to, from the files beside it, in HU.

    Raises:
        InputError: the file is no CT slice, or a fault in its series.
    """
    own = scan([path])
    mine = own.slices or own.captures
    if not mine:
        raise _not_a_slice(path, own)
    beside = scan(file for file in files_in(path.parent) if file.parent == path.parent)
    groups = volumes([s for s in (*beside.slices, *beside.captures) if s.series == mine[0].series])
    group = next(group for group in groups if any(s.instance == mine[0].instance for s in group))
    refuse_lost(group, beside.foreign)
    return read_stack(stack(group, path.parent))


def _none_found(folder: Path, found: Folder) -> InputError:
    if found.multi_frame:
        return InputError(multi_frame_fault(found.multi_frame[0]))
    if found.modalities:
        return InputError(
            f"The folder “{folder}” holds DICOM objects of modality {', '.join(sorted(found.modalities))}, none of "
            "them a CT slice; choose a CT series."
        )
    return InputError(
        f"The folder “{folder}” holds no DICOM images; choose the folder of a CT series, "
        "or a NIfTI, NRRD or MetaImage file."
    )


def _not_a_slice(path: Path, own: Folder) -> InputError:
    if own.multi_frame:
        return _none_found(path.parent, own)
    if own.modalities:
        return InputError(f"“{path.name}” is a DICOM object of modality {own.modalities.pop()}; choose a CT.")
    return InputError(
        f"“{path.name}” is neither DICOM nor an image that can be read here; choose a DICOM folder, "
        "or a NIfTI, NRRD or MetaImage file."
    )


def multi_frame_fault(path: Path) -> str:
    """What is said of an enhanced CT: all slices in one file."""
    return f"“{path.name}” is a multi-frame CT; export it as single slices or convert it to NIfTI."


def refuse_lost(slices: Sequence[Slice], foreign: Sequence[Path]) -> None:
    """Refuse a file that is named like the slices but is no DICOM: a slice that was lost in a copy.

    Raises:
        InputError: naming the file.
    """
    patterns = {_pattern(s.path) for s in slices}
    for path in foreign:
        if _pattern(path) in patterns:
            raise InputError(
                f"“{path.name}” lies among the CT slices and is named like them, but is no DICOM "
                f"({path.stat().st_size} bytes); copy or export the series again."
            )


def _pattern(path: Path) -> tuple[Path, str]:
    """Folder and name with its numbers taken out."""
    return path.parent, re.sub(r"\d+", "#", path.name.lower())


def read_stack(volume: Stack) -> sitk.Image:
    """The pixels of a stack in HU, on its grid: int16, or float32 where the rescaling has fractions.

    Raises:
        InputError: the pixels cannot be decoded, or need more bits than their header declares.
        MemoryError: the scan does not fit.
    """
    folder = volume.slices[0].path.parent
    refuse_faults([replace(s, fault=bits_fault(s)) for s in volume.slices])
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([itk_path(s.path) for s in volume.slices])
    # Set, not left to the first file: slices may differ in stored type.
    kind = _pixel_type(volume.slices)
    reader.SetOutputPixelType(kind)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise itk_failure(error, f"The CT series in “{folder}” cannot be read", "copy or export it again") from error
    if image.GetSize() != volume.size:
        raise InputError(
            f"The CT series in “{folder}” reads as {image.GetSize()} voxels where its headers say {volume.size}; "
            "export it again."
        )
    if kind == sitk.sitkInt32:
        image = sitk.Clamp(image, sitk.sitkInt16, -32768, 32767)
    image.SetOrigin(volume.slices[0].position)
    image.SetSpacing([*volume.slices[0].spacing, volume.step])
    image.SetDirection(volume.directions.T.ravel().tolist())
    image.SetMetaData(SERIES_UID, volume.series)
    return image


def _pixel_type(slices: Sequence[Slice]) -> int:
    """int16 where every possible value fits, which saves half of the memory; int32, which holds all, or float32."""
    if not all(float(v).is_integer() for s in slices for v in s.rescale or ()):
        return sitk.sitkFloat32
    for s in slices:
        slope, intercept = s.rescale or (1.0, 0.0)
        bits, signed, _ = s.bits
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        ends = slope * low + intercept, slope * high + intercept
        if min(ends) < -32768 or max(ends) > 32767:
            return sitk.sitkInt32
    return sitk.sitkInt16
