"""Write a mask as an RT structure set: planar contours on the slices of the series it was made from.

Radiotherapy planning reads these. A contour runs half-way between the outermost voxels inside and their neighbours
outside, so that every voxel's centre lies on its own side and filling the contours gives the mask back, voxel for
voxel. A hole is joined to its outline by a channel without width (DICOM PS3.3 C.8.8.6.3), which every reader fills
alike.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib import __version__
from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.dicom_seg import (
    DICOM_SUFFIX,
    PRODUCT,
    Source,
    frames_on_source,
    series_number,
    slice_headers,
)
from TernarySegmentLib.imaging.files.reading import VOLUME_SUFFIXES
from TernarySegmentLib.imaging.files.slice_geometry import Stack
from TernarySegmentLib.imaging.files.writing import COLOUR, check_suffix

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management (retired): what structure sets call the class of the study they refer to."""
SERIES_NUMBER_STEP = 2000
"""Added to the source's series number, so that the structure set follows a segmentation in a list."""

PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
)  # fmt: skip
"""Copied from the source."""


def check_rtstruct_output(source: str | Path, path: str | Path) -> None:
    """Refuse a structure set that cannot be written; call it before minutes are spent on the mask.

    Raises:
        OutputError: pydicom or contourpy is missing, or the file's name has another ending than ``.dcm``.
        InputError: the scan is no DICOM, so that there is nothing to refer to.
    """
    check_suffix(path, (DICOM_SUFFIX,))
    missing = [name for name in ("pydicom", "contourpy") if importlib.util.find_spec(name) is None]
    if missing:
        raise OutputError(
            f"An RT structure set needs the package {missing[0]}; run: pip install 'ternarysegment[dicom]', "
            "or write .seg.nrrd instead."
        )
    if Path(source).name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(
            f"“{Path(source).name}” is no DICOM, and an RT structure set refers to the series it was made from; "
            "segment the DICOM folder, or write .seg.nrrd instead."
        )


def write_rtstruct(
    mask: sitk.Image,
    source: Source,
    path: str | Path,
    *,
    series_uid: str = "",
    provenance: Mapping[str, str] | None = None,
    corrected: bool = False,
) -> None:
    """Write a mask as an RT structure set with one ROI, the pancreas in SNOMED CT.

    Args:
        mask: integer image, inside where not 0, on the voxels of the source; its axes may run in another order or
            direction.
        source: the DICOM series that the mask was made from, see :data:`dicom_seg.Source`.
        path: ends in ``.dcm``; an existing file is replaced, missing folders are created.
        series_uid: takes this series where several lie on the mask's grid.
        provenance: what made the mask: ``sha256`` and ``name`` of the model.
        corrected: True when a person changed it; the ROI is then called semi-automatic.

    Raises:
        InputError: the source cannot be read, or the mask does not lie on its slices.
        OutputError: another ending, a package is missing, the mask is empty, or the place cannot be written; nothing
            half-written is left.
    """
    check_rtstruct_output(source if isinstance(source, str | Path) else next(iter(source), ""), path)
    if not sitk.GetArrayViewFromImage(mask).any():
        raise OutputError("The mask is empty, so there is no RT structure set to write.")
    series, frames = frames_on_source(mask, source, series_uid)
    headers, content = slice_headers(series, notes=True), BytesIO()
    dataset = _structure_set(series, headers, frames, dict(provenance or {}), corrected)
    dataset.save_as(content, enforce_file_format=True)
    write_bytes(path, content.getvalue())


def outlines(inside: np.ndarray) -> list[np.ndarray]:
    """Closed contours of a slice, holes joined to their outlines.

    Args:
        inside: bool (rows, columns).

    Returns:
        Float arrays (points, 2) of columns and rows in voxels, voxel centres on whole numbers, the first point not
        repeated.

    Examples:
        >>> outlines(np.array([[False, True, True, False]]))[0].tolist()
        [[0.5, 0.0], [1.0, -0.5], [2.0, -0.5], [2.5, 0.0], [2.0, 0.5], [1.0, 0.5]]
    """
    from contourpy import FillType, contour_generator

    levels = np.pad(inside.astype(np.float64), 1)
    filled: Any = contour_generator(z=levels, fill_type=FillType.OuterOffset).filled(0.5, 2.0)
    found = []
    for points, cuts in zip(*filled, strict=True):
        rings = [_corners(ring[:-1]) - 1 for ring in np.split(points, cuts[1:-1])]
        found.append(_joined(rings[0], rings[1:]))
    return found


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the points that lie on a straight line between their neighbours."""
    before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _joined(outer: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """One ring of an outline and its holes, the nearest hole first: the channel to it crosses no other."""
    holes = list(holes)
    while holes:
        distances = [np.linalg.norm(outer[:, None] - hole[None], axis=2) for hole in holes]
        nearest = min(range(len(holes)), key=lambda index: distances[index].min())
        hole = holes.pop(nearest)
        leave, enter = np.unravel_index(distances[nearest].argmin(), distances[nearest].shape)
        around = np.roll(hole, -enter, 0)
        outer = np.concatenate([outer[: leave + 1], around, around[:1], outer[leave:]])
    return outer


def _structure_set(
    series: Stack, headers: list[Any], frames: np.ndarray, provenance: dict[str, str], corrected: bool
) -> Any:
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(RT_STRUCTURE_SET_STORAGE)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    # explicit lengths of contour data have 16 bits, too few for a long outline
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    first, now = headers[0], datetime.now()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for name in PATIENT_AND_STUDY:
        setattr(dataset, name, first.get(name, ""))
    dataset.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = series_number(first) + SERIES_NUMBER_STEP
    dataset.SeriesDescription = f"Pancreas contours ({'corrected' if corrected else 'automatic'})"
    dataset.OperatorsName = ""
    dataset.InstanceNumber = 1
    dataset.Manufacturer = dataset.ManufacturerModelName = PRODUCT
    dataset.SoftwareVersions = " model ".join(filter(None, (__version__, provenance.get("sha256", "")[:12])))
    dataset.DeviceSerialNumber = provenance.get("sha256", "")[:12] or __version__
    dataset.StructureSetLabel = "PANCREAS"
    dataset.StructureSetDescription = "For research; not a medical device, check before use"
    for kind in ("InstanceCreation", "StructureSet"):
        setattr(dataset, f"{kind}Date", now.strftime("%Y%m%d"))
        setattr(dataset, f"{kind}Time", now.strftime("%H%M%S"))
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = [_reference(headers)]

    roi, contours, observation, code = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber = contours.ReferencedROINumber = observation.ReferencedROINumber = 1
    roi.ReferencedFrameOfReferenceUID = first.FrameOfReferenceUID
    roi.ROIName = "Pancreas"
    roi.ROIGenerationAlgorithm = "SEMIAUTOMATIC" if corrected else "AUTOMATIC"
    contours.ROIDisplayColor = [round(255 * part) for part in COLOUR]
    contours.ContourSequence = list(_contours(series, headers, frames))
    observation.ObservationNumber = 1
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "15776009", "SCT", "Pancreas"
    observation.RTROIIdentificationCodeSequence = [code]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [contours]
    dataset.RTROIObservationsSequence = [observation]
    return dataset


def _reference(headers: list[Any]) -> Any:
    """The space, study and series that the contours lie in, with every slice."""
    from pydicom.dataset import Dataset

    space, study, referenced = Dataset(), Dataset(), Dataset()
    space.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
    study.ReferencedSOPClassUID = STUDY_CLASS
    study.ReferencedSOPInstanceUID = headers[0].StudyInstanceUID
    referenced.SeriesInstanceUID = headers[0].SeriesInstanceUID
    referenced.ContourImageSequence = [_image(header) for header in headers]
    study.RTReferencedSeriesSequence = [referenced]
    space.RTReferencedStudySequence = [study]
    return space


def _image(header: Any) -> Any:
    from pydicom.dataset import Dataset

    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return image


def _contours(series: Stack, headers: list[Any], frames: np.ndarray) -> Iterator[Any]:
    """Contours of all slices that show the organ, each naming its slice."""
    from pydicom.dataset import Dataset

    for each, header, frame in zip(series.slices, headers, frames, strict=True):
        for ring in outlines(frame != 0):
            points = each.position + ring @ series.steps[:, :2].T
            contour = Dataset()
            contour.ContourImageSequence = [_image(header)]
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [f"{value:.3f}" for value in points.ravel()]
            yield contour
