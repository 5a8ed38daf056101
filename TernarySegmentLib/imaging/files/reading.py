"""Read a CT from a file or a DICOM folder, or say in one sentence why it cannot be read."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError

log = logging.getLogger(__name__)

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
"""What a volume in one file may end in; anything else is tried as DICOM."""

CT_STORAGE = b"1.2.840.10008.5.1.4.1.1.2"
"""SOP class of CT images (DICOM PS3.4 B.5), also the start of the enhanced one; stands in a file's first bytes."""

SERIES_UID = "0020|000e"
"""Under this key an image that was read from DICOM says which series it is."""


@dataclass(frozen=True)
class _Slice:
    """What one DICOM file's header says; positions and directions in LPS, mm."""

    path: str
    series: str
    instance: str
    modality: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    size: tuple[int, int]
    frames: int
    components: int
    integer_rescale: bool


def read_ct(path: str | Path) -> sitk.Image:
    """Read a CT.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with a DICOM series (searched with its subfolders; the largest
            CT series is taken), or one file of a DICOM series (its series is taken).

    Returns:
        A 3D scalar image in HU, int16 for DICOM and the stored type otherwise, on the grid the file describes.

    Raises:
        InputError: nothing there, unreadable, or not one complete CT volume; said in one sentence.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder “{path}”; check the path.")
    with quiet():
        if path.is_dir():
            return read_series(_largest_ct_series(path))
        if path.name.lower().endswith(VOLUME_SUFFIXES):
            return _read_volume(path)
        return read_series(_series_of(path))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters in them is checked here and said in a sentence."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


# --- one file, one volume ---------------------------------------------------------------------------------------------


def _read_volume(path: Path) -> sitk.Image:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _refuse_segmentation(path, reader.GetMetaDataKeys())
        _refuse_shape(path, reader.GetSize(), reader.GetNumberOfComponents())
        _refuse_cut_off_nifti(path, reader)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"“{path.name}” cannot be read ({_reason(error)}); it may be cut off or damaged; copy or export it again."
        ) from error
    if image.GetDimension() == 4:  # one time point, or _refuse_shape had spoken
        image = image[:, :, :, 0]
    _refuse_labels(path, image)
    return image


def _reason(error: RuntimeError) -> str:
    """The last line of an ITK exception without its address, e.g. "file ended early"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # ITK adds whatever error number the system last had, "No such file" for a file that was found and cut off
    lines = [line for line in lines if not line.startswith("Reason:")]
    last = lines[-1] if lines else type(error).__name__
    return last.split("): ", 1)[-1].removeprefix("ITK ERROR: ").rstrip(".")[:200]


def _refuse_cut_off_nifti(path: Path, reader: sitk.ImageFileReader) -> None:
    """ITK reads a NIfTI file that ends early as if its last slices were 0; NRRD and MetaImage it refuses itself."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    bits = int(reader.GetMetaData("bitpix"))
    expected = int(float(reader.GetMetaData("vox_offset"))) + int(np.prod(reader.GetSize())) * bits // 8
    size = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        with open(path, "rb") as stream:
            stream.seek(max(0, size - 4))
            if int.from_bytes(stream.read(4), "little") == expected % 2**32:  # length field that ends a gzip file
                return
        size = _unpacked_size(path)
    if size < expected:
        raise InputError(f"“{path.name}” is cut off ({size} of {expected} bytes); copy or export it again.")


def _unpacked_size(path: Path) -> int:
    """How many bytes a gzip file holds, counted by unpacking it, up to where it breaks off."""
    size = 0
    with gzip.open(path, "rb") as stream, suppress(EOFError, OSError, zlib.error):
        while chunk := stream.read(1 << 20):
            size += len(chunk)
    return size


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


# --- DICOM ------------------------------------------------------------------------------------------------------------


def _largest_ct_series(folder: Path) -> list[_Slice]:
    files = sorted(
        os.path.join(where, name) for where, _, names in os.walk(folder) for name in names if not name.startswith(".")
    )
    if not files:
        raise InputError(f"The folder “{folder}” is empty; choose the folder of a DICOM CT series.")
    slices = headers(files)
    if not slices:
        raise InputError(
            f"The folder “{folder}” holds no DICOM images; choose the folder of a CT series, "
            "or a NIfTI, NRRD or MetaImage file."
        )
    series = group([s for s in slices if s.modality == "CT"])
    if not series:
        found = ", ".join(sorted({s.modality or "unknown" for s in slices}))
        raise InputError(
            f"The folder “{folder}” holds DICOM images of modality {found}, none of CT; choose a CT series."
        )
    if len(series) > 1:
        log.info(
            "%d CT series in “%s” (%s slices); the largest is taken: %s.",
            len(series), folder, ", ".join(str(len(s)) for s in series), series[0][0].series,
        )  # fmt: skip
    return series[0]


def _series_of(path: Path) -> list[_Slice]:
    """The series that one DICOM file belongs to, from the files beside it."""
    own = headers([str(path)])
    if not own:
        raise InputError(
            f"“{path.name}” is neither DICOM nor an image that can be read here; "
            f"choose a DICOM folder or a file ending in {', '.join(VOLUME_SUFFIXES)}."
        )
    if own[0].modality != "CT":
        raise InputError(f"“{path.name}” is a DICOM image of modality {own[0].modality or 'unknown'}; choose a CT.")
    beside = sorted(str(p) for p in path.parent.iterdir() if p.is_file() and not p.name.startswith("."))
    groups = group([s for s in headers(beside) if s.series == own[0].series and s.modality == "CT"])
    return next(group for group in groups if any(s.instance == own[0].instance for s in group))


def headers(files: list[str]) -> list[_Slice]:
    """The headers of those files that are DICOM images; a damaged CT slice raises, other files are passed over."""
    found = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(file)
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            try:
                with open(file, "rb") as stream:
                    start = stream.read(1024)
            except OSError as refused:
                raise InputError(
                    f"“{Path(file).name}” cannot be read ({refused.strerror}); ask for the right to read it."
                ) from refused
            if start[128:132] == b"DICM" and CT_STORAGE in start:
                raise InputError(
                    f"The CT slice “{Path(file).name}” is cut off or damaged; copy or export the series again."
                ) from error
            continue
        found.append(_header(reader, file))
    return [s for s in found if s.series]


def _header(reader: sitk.ImageFileReader, file: str) -> _Slice:
    def text(tag: str, otherwise: str = "") -> str:
        return reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else otherwise

    def numbers(tag: str) -> tuple[float, ...]:
        try:
            return tuple(float(v) for v in text(tag).split("\\"))
        except ValueError:
            return ()

    size = reader.GetSize()
    rescale = numbers("0028|1053") + numbers("0028|1052")
    return _Slice(
        path=file,
        series=text(SERIES_UID),
        instance=text("0008|0018", file),
        modality=text("0008|0060"),
        position=numbers("0020|0032"),
        orientation=numbers("0020|0037"),
        size=(size[0], size[1]),
        frames=size[2] if len(size) > 2 else 1,
        components=reader.GetNumberOfComponents(),
        integer_rescale=all(v.is_integer() for v in rescale),
    )


def group(slices: list[_Slice]) -> list[list[_Slice]]:
    """Slices by series, largest first; each file once, and a scout of another size or orientation by itself."""
    groups: dict[tuple[object, ...], dict[str, _Slice]] = defaultdict(dict)
    for s in slices:
        groups[s.series, s.size, tuple(round(v, 2) + 0.0 for v in s.orientation)][s.instance] = s
    return sorted((list(group.values()) for group in groups.values()), key=len, reverse=True)


def read_series(slices: list[_Slice]) -> sitk.Image:
    """One image from slices in any order, its geometry taken from all the positions."""
    name = Path(slices[0].path).parent
    if slices[0].components != 1:
        raise InputError(f"The DICOM images in “{name}” are in colour; a CT has one value per voxel, in HU.")
    if max(s.frames for s in slices) > 1:
        raise InputError(f"“{name}” holds a multi-frame DICOM file; export it as single slices or as NIfTI.")
    if len(slices) == 1:
        raise InputError(f"The CT series in “{name}” has a single slice; a volume with many slices is needed.")
    if any(len(s.position) != 3 or len(s.orientation) != 6 for s in slices):
        raise InputError(
            f"Slices in “{name}” say no position or orientation; export the series again from the scanner."
        )
    directions = _directions(slices[0].orientation)
    slices = sorted(slices, key=lambda s: float(np.dot(s.position, directions[2])))
    step = _slice_step(np.array([s.position for s in slices]), directions[2], name)
    whole = all(s.integer_rescale for s in slices)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([s.path for s in slices])
    # Set, not left to the first file: slices may differ in stored type. 32 bits hold stored 16 bits plus intercept.
    reader.SetOutputPixelType(sitk.sitkInt32 if whole else sitk.sitkFloat32)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(
            f"The CT series in “{name}” cannot be read ({_reason(error)}); copy or export it again."
        ) from error
    if whole:
        image = sitk.Clamp(image, sitk.sitkInt16, -32768, 32767)
    image.SetOrigin(slices[0].position)
    image.SetSpacing([*image.GetSpacing()[:2], step])
    image.SetDirection(directions.T.ravel().tolist())
    image.SetMetaData(SERIES_UID, slices[0].series)
    return image


def _directions(orientation: tuple[float, ...]) -> np.ndarray:
    """Rows: unit vectors along columns, rows and slices, orthonormal to the last digit (headers round to six)."""
    along = np.array(orientation[:3]) / np.linalg.norm(orientation[:3])
    down = np.array(orientation[3:])
    down = down - along * (along @ down)
    down /= np.linalg.norm(down)
    return np.array([along, down, np.cross(along, down)])


def _slice_step(positions: np.ndarray, normal: np.ndarray, name: Path) -> float:
    """The distance between neighbouring slices, mm; raises when slices are missing, doubled or sheared.

    Args:
        positions: (slices, 3), LPS, mm, in order along the normal.
        normal: unit vector, (3,).
        name: the folder, for messages.
    """
    gaps = np.diff(positions, axis=0)
    along = gaps @ normal
    step = float(np.median(along))
    # headers round positions to 0.01-0.1 mm; a missing slice is off by a whole step
    tolerance = max(0.01 * step, 0.05)
    if along.min() <= 0.01:
        raise InputError(
            f"The CT series in “{name}” has several slices at one position (phases or reconstructions mixed); "
            "export one of them alone."
        )
    worst = int(np.abs(along - step).argmax())
    if abs(along[worst] - step) > tolerance:
        raise InputError(
            f"The CT series in “{name}” has missing or uneven slices: {along[worst]:.2f} mm between slices {worst + 1} "
            f"and {worst + 2}, {step:.2f} mm elsewhere; export the complete series."
        )
    if np.linalg.norm(gaps - along[:, None] * normal, axis=1).max() > tolerance:
        raise InputError(
            f"The CT series in “{name}” was taken with a tilted gantry, so its slices are sheared; "
            "correct the tilt first, e.g. by loading it in 3D Slicer and saving it as NRRD."
        )
    return float((positions[-1] - positions[0]) @ normal / (len(positions) - 1))
