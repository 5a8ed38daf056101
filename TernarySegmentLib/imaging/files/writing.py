"""Write a mask by its file name's ending, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import atomic_path as atomic_path
from TernarySegmentLib.imaging.files.atomic import incomplete
from TernarySegmentLib.imaging.files.itk import itk_path, quiet
from TernarySegmentLib.imaging.files.nifti import SHEAR, read_nifti
from TernarySegmentLib.imaging.files.stored import check_stored, parse_stored, voxel_bytes
from TernarySegmentLib.imaging.measure import mask_box

SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")
"""What a mask's file name may end in; the first one opens in 3D Slicer as a segmentation."""

IMAGE_SUFFIXES = SUFFIXES[1:]
"""What the file name of any other image may end in."""

PNG_END = b"IEND\xaeB`\x82"

PLACE_MM = 0.02
"""How far a voxel may lie from where it was, after a header kept its place in single precision."""

COLOUR = (249 / 255, 180 / 255, 111 / 255)
"""Of the pancreas, red, green, blue; close to the one in 3D Slicer's general anatomy list."""

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^15776009^Pancreas~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
"""SNOMED CT: the organ pancreas, in the form 3D Slicer keeps with a segment."""


def check_suffix(path: str | Path, allowed: tuple[str, ...] = SUFFIXES) -> str:
    """The file's name in small letters, if it has an allowed ending.

    Call it before minutes are spent on the mask.

    Raises:
        OutputError: another ending, naming the allowed ones.
    """
    name = Path(path).name
    if not name.lower().endswith(allowed) or (name.lower().endswith(SUFFIXES[0]) and SUFFIXES[0] not in allowed):
        raise OutputError(f"“{name}” ends in none of {', '.join(allowed)}; choose one of these endings.")
    return name.lower()


def check_grid(image: sitk.Image, path: str | Path) -> None:
    """Refuse a format that cannot say where the image lies; call it before minutes are spent on the mask.

    Raises:
        OutputError: NIfTI, as ITK writes it, for axes that are not at right angles.
    """
    axes = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    if (
        Path(path).name.lower().endswith((".nii", ".nii.gz"))
        and np.abs(axes.T @ axes - np.eye(len(axes))).max() > SHEAR
    ):
        raise OutputError(
            f"“{Path(path).name}” cannot hold a sheared grid, as this scan has from a tilted gantry; "
            "choose .seg.nrrd, .nrrd or .mha."
        )


def write_image(image: sitk.Image, path: str | Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> None:
    """Write any image by its file name's ending, on its own grid, compressed where the format can, and read it back.

    Raises:
        OutputError: another ending than the allowed ones, a grid that the format cannot hold, or the
            place cannot be written; what was there before is left.
    """
    _write(image, path, check_suffix(path, suffixes))


def _write(image: sitk.Image, path: str | Path, name: str) -> None:
    check_grid(image, path)

    straight = name.endswith((".nii", ".nii.gz"))

    def check(written: Path) -> None:
        if not _equal(_read_back(written, name), image, straight):
            raise incomplete()

    with atomic_path(path, check) as temporary, quiet():
        sitk.WriteImage(image, itk_path(temporary), name.endswith((".nrrd", ".mha", ".gz", ".png")))


def _read_back(path: Path, name: str) -> sitk.Image:
    """The image in a file just written, its check sums included; OSError where it is not whole."""
    try:
        if name.endswith((".nii", ".nii.gz")):
            return read_nifti(path)
        check_whole(path)
        return sitk.ReadImage(itk_path(path))
    except InputError as error:
        raise incomplete() from error


def check_whole(path: Path) -> None:
    """Raise OSError where a NRRD, MetaImage or PNG file just written ends early or fails its check sum."""
    if path.suffix == ".png":
        if not path.read_bytes().endswith(PNG_END):
            raise incomplete()
        return
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_path(path))
    try:
        reader.ReadImageInformation()
        check_stored(path, parse_stored(path, "meta" if path.suffix == ".mha" else "nrrd"), voxel_bytes(reader))
    except (InputError, RuntimeError) as error:
        raise incomplete() from error


def _equal(one: sitk.Image, other: sitk.Image, straight: bool) -> bool:
    """Equal voxels in the same place, to what single precision keeps of it.

    ``straight``: of the other image's axes, at right angles but for rounding, the format keeps the nearest that are.
    """
    if one.GetSize() != other.GetSize() or one.GetPixelID() != other.GetPixelID():
        return False
    if np.abs(_corners(one) - _corners(other, straight)).max() >= PLACE_MM:
        return False
    equal_nan = "float" in one.GetPixelIDTypeAsString()
    values = zip(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=equal_nan) for a, b in values)  # at once it takes as much as a mask


def _corners(image: sitk.Image, straight: bool = False) -> np.ndarray:
    """Where the voxels in an image's corners lie, mm, (2**dimension, dimension)."""
    axes = np.array(image.GetDirection()).reshape(image.GetDimension(), -1)
    if straight:
        left, _, right = np.linalg.svd(axes)
        axes = left @ right
    indices = np.array(list(np.ndindex(*(2,) * image.GetDimension()))) * (np.array(image.GetSize()) - 1)
    return image.GetOrigin() + indices * image.GetSpacing() @ axes.T


def write_mask(mask: sitk.Image, path: str | Path, *, provenance: Mapping[str, str] | None = None) -> None:
    """Write a mask: ``.seg.nrrd`` as a segmentation of 3D Slicer, ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.

    Args:
        mask: integer image, inside where not 0; written as uint8 with 1 inside, on its own grid.
        path: where to; an existing file is replaced, missing folders are created.
        provenance: what made it (model, version, ...); kept in NRRD and MetaImage headers, NIfTI has no place for it.

    Raises:
        OutputError: another ending, or the place cannot be written; nothing half-written is left.
    """
    path = Path(path)
    name = check_suffix(path)
    values = sitk.GetArrayViewFromImage(mask)
    fields = {f"TernarySegment_{key}": " ".join(str(value).split()) for key, value in (provenance or {}).items()}
    if values.dtype != np.uint8 or values.max() > 1:  # NumPy compares five times as fast as SimpleITK
        image = sitk.GetImageFromArray((values != 0).view(np.uint8))
        image.CopyInformation(mask)
    else:
        image = mask
    if name.endswith(".seg.nrrd"):
        fields |= _segment_fields(image)
    with _header_of(image, fields):
        _write(image, path, name)


@contextmanager
def _header_of(image: sitk.Image, fields: Mapping[str, str]) -> Iterator[None]:
    """Give an image these header fields and no others for a while: a copy of a long scan's mask takes 0.2 GB."""
    before = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    _set_fields(image, fields)
    try:
        yield
    finally:
        _set_fields(image, before)


def _set_fields(image: sitk.Image, fields: Mapping[str, str]) -> None:
    for key in image.GetMetaDataKeys():
        image.EraseMetaData(key)
    for key, value in fields.items():
        image.SetMetaData(key, value)


def _segment_fields(image: sitk.Image) -> dict[str, str]:
    """The header fields by which 3D Slicer 5 knows a segmentation with one segment."""
    box = mask_box(image)
    start, size = box if box is not None else ([0, 0, 0], [0, 0, 0])
    extent = " ".join(f"{a} {a + n - 1}" for a, n in zip(start, size, strict=True))
    return {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segment0_ID": "Segment_1",
        "Segment0_Name": "pancreas",
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": " ".join(f"{c:.6f}" for c in COLOUR),
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_Extent": extent,
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Tags": f"TerminologyEntry:{TERMINOLOGY}|",
    }
