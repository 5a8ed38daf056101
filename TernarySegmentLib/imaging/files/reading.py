"""Read a CT from a file or a DICOM folder, or say in one sentence why it cannot be read."""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.dicom_series import read_folder, read_series_of
from TernarySegmentLib.imaging.files.itk import itk_failure, itk_path, quiet
from TernarySegmentLib.imaging.files.nifti import GZIP_MAGIC, is_nifti, read_nifti
from TernarySegmentLib.imaging.files.stored import check_read, check_stored, parse_stored, voxel_bytes
from TernarySegmentLib.imaging.grids import with_unit_axes

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""What a volume in one file may end in; a file of another name is read by its content, else tried as DICOM."""

_NIFTI, _NRRD, _META = "nifti", "nrrd", "meta"
_ITK_READERS = {_NRRD: "NrrdImageIO", _META: "MetaImageIO"}


def read_ct(path: str | Path) -> sitk.Image:
    """Read a CT.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with a DICOM series (searched with its subfolders; the largest
            CT series is taken), or one file of a DICOM series (its series is taken).

    Returns:
        A 3D scalar image in HU on the grid the file describes: int16 for DICOM, float32 where its rescaling has
        fractions, and the stored type otherwise.

    Raises:
        InputError: nothing there, unreadable, damaged, or not one complete CT volume; said in one sentence.
        MemoryError: the scan does not fit.
    """
    path = Path(path)
    folder = _refuse_absent(path, "the CT")
    try:
        with quiet():
            return read_folder(path) if folder else _read_file(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_labels(path: str | Path) -> sitk.Image:
    """Read the voxels of a mask or label map, with the checks of :func:`read_ct` on the file and none on the values.

    Args:
        path: a NIfTI, NRRD (also ``.seg.nrrd``) or MetaImage file.

    Raises:
        InputError: nothing there, unreadable, damaged, or not one 3D image with one value per voxel.
        MemoryError: the image does not fit.
    """
    path = Path(path)
    if _refuse_absent(path, "the mask"):
        raise InputError(f"“{path}” is a folder; choose the mask's file.")
    try:
        with quiet():
            kind = _kind(path)
            if kind == "dicom":
                raise InputError(
                    f"“{path.name}” cannot be read as an image; choose a mask that ends in "
                    f"{', '.join(VOLUME_SUFFIXES)}."
                )
            return read_nifti(path) if kind == _NIFTI else _read_with_itk(path, kind, labels=True)
    except OSError as error:
        raise _unreadable(path, error) from error


def _refuse_absent(path: Path, what: str) -> bool:
    """True for a folder, False for a file; what is neither, or not there, is refused."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"There is no file or folder “{path}”; check the path.") from error
        raise _unreadable(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"There is no file or folder “{path}”; check the path.") from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise InputError(f"“{path}” is a pipe or device, not a file; save {what} as a file first.")
    return stat.S_ISDIR(mode)


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"“{path.name}” cannot be read ({error.strerror or error}); check the disk and the right to read it."
    )


def _read_file(path: Path) -> sitk.Image:
    kind = _kind(path)
    if kind == "dicom":
        return read_series_of(path)
    image = read_nifti(path) if kind == _NIFTI else _read_with_itk(path, kind)
    _refuse_labels(path, image)
    return image


def _kind(path: Path) -> str:
    """The format, by content; by the name's ending where the content says nothing."""
    with open(path, "rb") as file:
        start = file.read(1024)
    if start[:2] == GZIP_MAGIC:
        try:
            with gzip.open(path, "rb") as file:
                start = file.read(1024)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return _NIFTI  # whose reader says what is wrong
        if not is_nifti(start) and not path.name.lower().endswith((".nii", ".nii.gz")):
            raise InputError(f"“{path.name}” is packed with gzip; unpack it first.")
        return _NIFTI
    if is_nifti(start):
        return _NIFTI
    if start.startswith(b"NRRD"):
        return _NRRD
    if b"ElementDataFile" in start and b"DimSize" in start:
        return _META
    name = path.name.lower()
    for kind, suffixes in ((_NIFTI, (".nii", ".nii.gz")), (_NRRD, (".nrrd", ".nhdr")), (_META, (".mha", ".mhd"))):
        if name.endswith(suffixes):
            return kind
    return "dicom"


def _read_with_itk(path: Path, kind: str, labels: bool = False) -> sitk.Image:
    stored = parse_stored(path, kind)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_ITK_READERS[kind])
    reader.SetFileName(itk_path(path))
    try:
        reader.ReadImageInformation()
        if not labels:
            _refuse_segmentation(path, reader.GetMetaDataKeys())
        elif reader.GetNumberOfComponents() > 1:
            raise InputError(
                f"“{path.name}” has {reader.GetNumberOfComponents()} values per voxel, as with overlapping segments; "
                "export the segment alone as a label map."
            )
        _refuse_shape(path, reader.GetSize(), reader.GetNumberOfComponents())
        unpacked = check_stored(path, stored, voxel_bytes(reader), max(1, reader.GetSize()[2]))
        image = reader.Execute()
    except RuntimeError as error:
        advice = "it may be cut off or damaged; copy or export it again"
        raise itk_failure(error, f"“{path.name}” cannot be read", advice) from error
    if image.GetDimension() == 4:  # one time point, or _refuse_shape had spoken
        image = image[:, :, :, 0]
    check_read(path, image, unpacked)
    return with_unit_axes(image)


def _refuse_segmentation(path: Path, keys: Iterable[str]) -> None:
    if any(key.startswith(("Segment0_", "Segmentation_")) for key in keys):
        raise InputError(f"“{path.name}” is a segmentation, not a CT; choose the CT it was drawn on.")


def _refuse_shape(path: Path, size: tuple[int, ...], components: int) -> None:
    if components != 1:
        raise InputError(f"“{path.name}” has {components} values per voxel (colour or vectors); a CT has one, in HU.")
    if len(size) < 3 or (len(size) == 3 and size[2] == 1):
        raise InputError(f"“{path.name}” is a single 2D image; a CT volume with many slices is needed.")
    if len(size) > 3 and any(n > 1 for n in size[3:]):
        raise InputError(f"“{path.name}” is a 4D image with {size[3]} volumes; save one of them as a 3D image.")
    if len(size) > 4:
        raise InputError(f"“{path.name}” has {len(size)} dimensions; save it as a 3D image.")


def _refuse_labels(path: Path, image: sitk.Image) -> None:
    """Refuse what looks like a label map: whole numbers from 0 up, at most 32 different ones."""
    if image.GetPixelID() in (sitk.sitkFloat32, sitk.sitkFloat64):
        return
    values = sitk.GetArrayViewFromImage(image)
    if values.min() < 0 or values.max() > 255:
        return
    labels = int(np.count_nonzero(np.bincount(values.ravel().astype(np.uint8), minlength=256)))
    if 2 <= labels <= 32:
        raise InputError(
            f"“{path.name}” looks like a label map ({labels} different whole numbers from {values.min()} to "
            f"{values.max()}), not a CT; choose the CT it was drawn on."
        )
