"""Write a mask by its file name's ending, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.measure import mask_box

SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha")
"""What a mask's file name may end in; the first one opens in 3D Slicer as a segmentation."""

IMAGE_SUFFIXES = SUFFIXES[1:]
"""What the file name of any other image may end in."""

COLOUR = (249 / 255, 180 / 255, 111 / 255)
"""Of the pancreas, red, green, blue; close to the one in 3D Slicer's general anatomy list."""

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^15776009^Pancreas~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
"""SNOMED CT: the organ pancreas, in the form 3D Slicer keeps with a segment."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it when the block ends well, and is gone when it does not.

    The temporary name ends like the final one, in small letters, since writers go by the ending. Missing folders are
    created.

    Raises:
        OutputError: the folder or file cannot be written, said in one sentence.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name.lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"“{path}” is a folder")
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError
        raise OutputError(
            f"“{path}” cannot be written ({_reason(error)}); choose another folder or free some space."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[-1].split("): ", 1)[-1][:200] if str(error).strip() else "unknown reason"


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


def write_image(image: sitk.Image, path: str | Path) -> None:
    """Write any image by its file name's ending, on its own grid, compressed where the format can.

    Raises:
        OutputError: another ending than those of :data:`IMAGE_SUFFIXES`, or the place cannot be written.
    """
    _write(image, path, check_suffix(path, IMAGE_SUFFIXES))


def _write(image: sitk.Image, path: str | Path, name: str) -> None:
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), name.endswith((".nrrd", ".mha", ".gz")))


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
    if values.dtype == np.uint8 and values.max() <= 1:
        image = sitk.Image(mask)  # shares the voxels: a copy of a long scan's mask takes 0.2 GB
        for key in image.GetMetaDataKeys():
            image.EraseMetaData(key)
    else:  # NumPy compares five times as fast as SimpleITK
        image = sitk.GetImageFromArray((values != 0).view(np.uint8))
        image.CopyInformation(mask)
    for key, value in (provenance or {}).items():
        image.SetMetaData(f"TernarySegment_{key}", " ".join(str(value).split()))
    if name.endswith(".seg.nrrd"):
        _describe_segment(image)
    _write(image, path, name)


def _describe_segment(image: sitk.Image) -> None:
    """Add the header fields by which 3D Slicer 5 knows a segmentation with one segment."""
    box = mask_box(image)
    start, size = box if box is not None else ([0, 0, 0], [0, 0, 0])
    extent = " ".join(f"{a} {a + n - 1}" for a, n in zip(start, size, strict=True))
    fields = {
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
    for key, value in fields.items():
        image.SetMetaData(key, value)
