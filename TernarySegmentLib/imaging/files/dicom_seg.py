"""A mask as a DICOM segmentation (PS3.3 A.51) of the series it was made from, for archives and viewers.

Written with highdicom (Bridge et al., J Digit Imaging 2022, doi:10.1007/s10278-022-00683-y), which is imported only
here and only when asked for; Slicer 5.12 brings it along.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib import __version__
from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.dicom_headers import files_in, scan
from TernarySegmentLib.imaging.files.itk import reason
from TernarySegmentLib.imaging.files.reading import VOLUME_SUFFIXES
from TernarySegmentLib.imaging.files.slice_geometry import Stack, stack, volumes
from TernarySegmentLib.imaging.files.writing import COLOUR, check_suffix
from TernarySegmentLib.imaging.grids import voxel_steps

DICOM_SUFFIX = ".dcm"
"""What the file's name must end in."""

PRODUCT = "TernarySegment"
SERIES_NUMBER_STEP = 1000
"""Added to the source's series number, so that the segmentation follows the scanner's own series in a list."""

FIT_VOXELS = 0.1
"""How far a slice may lie from the mask's voxels, in voxels, at any corner of the scan; headers round positions."""

NEEDED = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Attributes without which nothing can refer to a slice; those of its geometry are checked when it is read."""

MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Every DICOM image has these, if only empty; de-identified ones often do not."""

Source = str | Path | Sequence[str | Path]
"""A folder (searched with its subfolders), one file of a series (its folder is searched), or the series' files."""


log = logging.getLogger(__name__)


def check_dicom_output(source: str | Path) -> None:
    """Refuse a DICOM segmentation that cannot be written for a scan; call it before minutes are spent on the mask.

    Raises:
        OutputError: highdicom is missing.
        InputError: the scan is no DICOM, so that there is nothing to refer to.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise OutputError(
            "A DICOM segmentation needs the package highdicom; run: pip install highdicom, or write .seg.nrrd instead."
        )
    if Path(source).name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"“{Path(source).name}” is no DICOM, and a DICOM segmentation refers to the series it was made from; "
            "segment the DICOM folder, or write .seg.nrrd instead."
        )


def check_dicom_series(mask: sitk.Image, source: Source) -> None:
    """Refuse a series that a mask does not lie on, by its headers; call it before asking for a file's name.

    Raises:
        InputError: the source cannot be read, or is not the series that the mask was made from.
    """
    _series_under(mask, source, "")


def check_dicom_source(ct: sitk.Image, source: Source, *, series_uid: str = "") -> None:
    """Write a segmentation of one voxel to memory; call it before minutes are spent on the mask.

    Headers are wrong in more ways than can be listed, so that nothing but the work itself shows whether it succeeds.

    Args:
        ct: the scan that was read from ``source``.
        source: see :data:`Source`.
        series_uid: as for :func:`write_dicom_seg`.

    Raises:
        InputError: the source's headers cannot be carried over.
    """
    series, _ = _series_under(ct, source, series_uid)
    frames = np.zeros(series.size[::-1], np.uint8)
    frames[len(frames) // 2, 0, 0] = 1
    _encoded(series, slice_headers(series), frames, {}, False)


def write_dicom_seg(
    mask: sitk.Image,
    source: Source,
    path: str | Path,
    *,
    series_uid: str = "",
    provenance: Mapping[str, str] | None = None,
    corrected: bool = False,
) -> None:
    """Write a mask as a DICOM segmentation with one binary segment, the pancreas in SNOMED CT.

    Patient, study and frame of reference are the source's; every frame names the slice it lies on. Slices without
    pancreas get no frame.

    Args:
        mask: integer image, inside where not 0, on the voxels of the source; its axes may run in another order or
            direction, as programs differ in which slice they call the first.
        source: the DICOM series that the mask was made from, see :data:`Source`.
        path: ends in ``.dcm``; an existing file is replaced, missing folders are created.
        series_uid: takes this series where several lie on the mask's grid, as phases and kernels do.
        provenance: what made the mask: ``sha256`` and ``name`` of the model.
        corrected: whether a person changed it; the segment is then called semi-automatic.

    Raises:
        InputError: the source cannot be read, or the mask does not lie on its slices.
        OutputError: another ending, highdicom is missing, the mask is empty, or the place cannot be written; nothing
            half-written is left.
    """
    check_suffix(path, (DICOM_SUFFIX,))
    first = source if isinstance(source, str | Path) else next(iter(source), "")
    check_dicom_output(first)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise OutputError("The mask is empty, so there is no DICOM segmentation to write.")
    series, frames = frames_on_source(mask, source, series_uid)
    headers = slice_headers(series, notes=True)
    write_bytes(path, _encoded(series, headers, frames, dict(provenance or {}), corrected))


# --- the source series ------------------------------------------------------------------------------------------------


def frames_on_source(mask: sitk.Image, source: Source, series_uid: str = "") -> tuple[Stack, np.ndarray]:
    """The series that a mask was made from, and the mask's frames in the order of its slices.

    Args:
        mask: see :func:`write_dicom_seg`.
        source: see :data:`Source`.
        series_uid: takes this series where several lie on the mask's grid.

    Returns:
        The series, and uint8 of 0 and 1, axes (slice, row, column).

    Raises:
        InputError: the source cannot be read, or the mask does not lie on its slices.
    """
    series, axes = _series_under(mask, source, series_uid)
    return series, _turned(mask, axes)


def _series_under(mask: sitk.Image, source: Source, series_uid: str) -> tuple[Stack, np.ndarray]:
    """The one series whose slices the mask lies on, and how the mask's axes run in it."""
    name, files = _files(source)
    found = scan(files)
    candidates, faults = [], []
    for group in volumes([*found.slices, *found.captures] if series_uid else found.ct):
        try:
            candidates.append(stack(group, group[0].path.parent))
        except InputError as fault:
            faults.append(fault)
    if not candidates and faults:
        raise faults[0]
    if not candidates:
        raise InputError(f"“{name}” holds no DICOM CT series; choose the folder of the series the mask was made from.")
    fitting = [(series, axes) for series in candidates if (axes := _axes(mask, series)) is not None]
    if series_uid:
        fitting = [(series, axes) for series, axes in fitting if series.series == series_uid]
    if not fitting:
        sizes = ", ".join(sorted({"×".join(map(str, series.size)) for series in candidates}))
        raise InputError(
            f"“{name}” holds a series ({sizes} voxels) other than the one the mask "
            f"({'×'.join(map(str, mask.GetSize()))} voxels) was made from; choose the folder of that series."
        )
    if len(fitting) > 1:
        raise InputError(
            f"{len(fitting)} series in “{name}” lie on the mask's grid; choose the folder of the one it was made from."
        )
    return fitting[0]


def _files(source: Source) -> tuple[str, list[Path]]:
    """A name for messages, and the files to look at."""
    if not isinstance(source, str | Path):
        files = [Path(file) for file in source]
        return str(files[0].parent), files
    source = Path(source)
    if not source.exists():
        raise InputError(f"There is no file or folder “{source}”; check the path.")
    if source.is_dir():
        return str(source), files_in(source)
    return str(source.parent), [file for file in files_in(source.parent) if file.parent == source.parent]


# --- headers that can be carried over ---------------------------------------------------------------------------------


def slice_headers(series: Stack, notes: bool = False) -> list[Any]:
    """The slices' headers in their order, as pydicom datasets without pixels, fit to refer to and to copy from.

    Args:
        series: see :func:`frames_on_source`.
        notes: log which values of the patient and the study are left out as invalid.

    Raises:
        InputError: a slice lacks an attribute by which it is referred to, or the patient's name cannot be decoded.
    """
    import pydicom

    found = []
    for each in series.slices:
        header = pydicom.dcmread(each.path, stop_before_pixels=True, force=True)
        missing = [name for name in NEEDED if not header.get(name)]
        if missing:
            raise InputError(
                f"The CT slice “{each.path.name}” says no {missing[0]}, so nothing can refer to it; "
                "export the series again from the archive."
            )
        for name in MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, "")
        if header.get("SliceThickness") is None:
            header.SliceThickness = series.step  # secondary captures need not have it
        found.append(header)
    dropped = _mend(found[0])  # from which patient and study are copied
    if dropped and notes:
        log.warning("The DICOM file leaves out %s, which the series states in no valid form.", _and(dropped))
    return found


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _mend(header: Any) -> list[str]:
    """Bring a header's texts to Unicode, dates, times and codes to their standard form; returns what was emptied."""
    header.decode()
    header.SpecificCharacterSet = "ISO_IR 192"
    dropped = []
    if not isinstance(header.PatientName, str) and isinstance(header.PatientName, Sequence):
        header.PatientName = " ".join(map(str, header.PatientName))  # a backslash divides values
    for name in ("StudyDate", "StudyTime", "PatientBirthDate"):
        stated = str(header.get(name) or "")
        setattr(header, name, _standard_time(stated, header[name].VR))
        if stated and not header.get(name):
            dropped.append(name)
    if str(header.PatientSex) not in ("", "M", "F", "O"):
        header.PatientSex = ""
        dropped.append("PatientSex")
    if "\ufffd" in f"{header.PatientName}{header.PatientID}":
        raise InputError(
            "The patient's name or number is not written in the character set that the series states; "
            "write .seg.nrrd instead, or export the series again."
        )
    return dropped


def _standard_time(text: str, kind: str) -> str:
    """A date (DA) or time (TM) as DICOM has it, from that form or the older one with dots and colons; else ""."""
    whole, _, fraction = re.sub(r"[.\-/\s]" if kind == "DA" else r"[:\s]", "", text).partition(".")
    for form in ("%Y%m%d",) if kind == "DA" else ("%H%M%S", "%H%M", "%H"):
        if whole.isdecimal() and len(whole) == len(datetime(2000, 1, 1).strftime(form)):
            try:
                datetime.strptime(whole, form)
            except ValueError:
                return ""
            return f"{whole}.{fraction[:6]}" if fraction.isdecimal() else whole
    return ""


def series_number(header: Any) -> int:
    """The series' number, 0 where the header says none or no number."""
    try:
        return int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


# --- mask and slices --------------------------------------------------------------------------------------------------


def _axes(mask: sitk.Image, series: Stack) -> np.ndarray | None:
    """How a series' indices become the mask's, 3×3 of 0, 1 and -1; None when the mask does not lie on its slices."""
    to_mask = np.linalg.inv(voxel_steps(mask))
    axes = np.rint(to_mask @ series.steps).astype(int)
    if not (np.array_equal(np.abs(axes).sum(0), [1, 1, 1]) and np.array_equal(np.abs(axes).sum(1), [1, 1, 1])):
        return None
    size = np.array(series.size)
    if not np.array_equal(np.abs(axes) @ size, mask.GetSize()):
        return None
    # an axis that runs backwards begins at the mask's last voxel
    start = np.where(axes.sum(1) < 0, np.array(mask.GetSize()) - 1, 0)
    corners = np.array([(x, y, z) for z in range(size[2]) for y in (0, size[1] - 1) for x in (0, size[0] - 1)])
    # each slice where its own header puts it, so that one out of line is noticed
    positions = np.repeat([s.position for s in series.slices], 4, axis=0)
    points = positions + corners[:, :2] @ series.steps[:, :2].T
    lies_at = (points - mask.GetOrigin()) @ to_mask.T
    return axes if np.abs(lies_at - (corners @ axes.T + start)).max() < FIT_VOXELS else None


def _turned(mask: sitk.Image, axes: np.ndarray) -> np.ndarray:
    """The mask in the series' order, uint8 of 0 and 1, axes (slice, row, column)."""
    inside = (sitk.GetArrayViewFromImage(mask) != 0).T.transpose(np.abs(axes).argmax(0))
    backwards = tuple(int(axis) for axis in np.flatnonzero(axes.sum(0) < 0))
    return np.ascontiguousarray(np.flip(inside, backwards).T).astype(np.uint8)


def _encoded(
    series: Stack, headers: list[Any], frames: np.ndarray, provenance: dict[str, str], corrected: bool
) -> bytes:
    """The DICOM file."""
    content = BytesIO()
    try:
        with _quiet():
            _segmentation(series, headers, frames, provenance, corrected).save_as(content)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # what a wrong header makes highdicom and pydicom raise cannot be listed
        raise InputError(
            f"The headers in “{series.slices[0].path.parent}” cannot be carried over to a DICOM segmentation "
            f"({reason(error)}); write .seg.nrrd instead, or export the series again."
        ) from error
    return content.getvalue()


def _segmentation(
    series: Stack, headers: list[Any], frames: np.ndarray, provenance: dict[str, str], corrected: bool
) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=PRODUCT,
        version=" model ".join(filter(None, (__version__, provenance.get("sha256", "")[:12]))),
        family=codes.cid7162.ArtificialIntelligence,
        parameters={key: provenance[key] for key in ("name", "sha256") if provenance.get(key)} or None,
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Pancreas",
        # newer lists have 91723000 here; 3D Slicer and dcmqi know the category by this one
        segmented_property_category=Code("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=codes.SCT.Pancreas,
        algorithm_type="SEMIAUTOMATIC" if corrected else "AUTOMATIC",
        algorithm_identification=algorithm,
    )
    segment.RecommendedDisplayCIELabValue = _cielab(COLOUR)
    first = headers[0]
    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[segment],
        series_instance_uid=highdicom.UID(),
        series_number=series_number(first) + SERIES_NUMBER_STEP,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=__version__,
        device_serial_number=provenance.get("sha256", "")[:12] or __version__,
        content_label="PANCREAS",
        content_description="For research; not a medical device, check before use",
        series_description=f"Pancreas segmentation ({'corrected' if corrected else 'automatic'})",
        # the slice thickness of a CT may exceed the slices' distance; a segmentation's voxels tile space
        pixel_measures=highdicom.PixelMeasuresSequence(first.PixelSpacing, series.step, series.step),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep highdicom from telling each step, and from warning of names of one part, as de-identified scans have."""
    log = logging.getLogger("highdicom")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        log.setLevel(level)


def _cielab(colour: tuple[float, float, float]) -> list[int]:
    """An sRGB colour (0 to 1) as DICOM stores CIELab: 16 bit, L of 0 to 100, a and b of -128 to 127 (PS3.3 C.10.7.1.1).

    Seen under D50, the white of the profile connection space.
    """
    srgb = np.array(colour)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    # sRGB to XYZ adapted to D50 (Bradford), and the white itself
    matrix = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
    )
    ratio = matrix @ linear / matrix.sum(1)
    x, y, z = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    shares = np.array([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])
    return [int(v) for v in np.rint(65535 * shares).clip(0, 65535)]
