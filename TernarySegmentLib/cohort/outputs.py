"""Write what is asked for about one scan: mask, confidence map, pictures, page, surface, report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from TernarySegmentLib import __version__
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.dicom_seg import DICOM_SUFFIX, Source, check_dicom_output, write_dicom_seg
from TernarySegmentLib.imaging.files.dicom_series import SERIES_UID
from TernarySegmentLib.imaging.files.rtstruct import check_rtstruct_output, write_rtstruct
from TernarySegmentLib.imaging.files.writing import (
    IMAGE_SUFFIXES,
    SUFFIXES,
    check_suffix,
    write_image,
    write_mask,
)
from TernarySegmentLib.imaging.report.one_page_report import Facts, write_report
from TernarySegmentLib.imaging.report.page import check_page
from TernarySegmentLib.imaging.report.preview import PREVIEW_SUFFIXES, write_preview
from TernarySegmentLib.imaging.report.surface import check_surface, closed_surface, write_surface
from TernarySegmentLib.pipeline import Result
from TernarySegmentLib.review.confidence import format_confidence
from TernarySegmentLib.review.suspicious_regions import SuspiciousRegion


@dataclass(frozen=True)
class Outputs:
    """Where to write what; None leaves it out.

    Attributes:
        mask: ``.seg.nrrd``, ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``, or ``.dcm`` for a scan in DICOM.
        confidence: the confidence map, any of these but ``.seg.nrrd`` and ``.dcm``.
        preview: ``.png``.
        page: one-page report, ``.pdf`` or ``.png``.
        surface: ``.stl`` or ``.obj``.
        rtstruct: ``.dcm``, for a scan in DICOM.
        report: JSON.
    """

    mask: Path
    confidence: Path | None = None
    preview: Path | None = None
    page: Path | None = None
    surface: Path | None = None
    rtstruct: Path | None = None
    report: Path | None = None

    def check(self, case: str = "") -> None:
        """Refuse what could not be written, before minutes are spent.

        Args:
            case: what the page calls the case.

        Raises:
            OutputError: an ending that is not allowed, or a package is missing.
            InputError: the case's name cannot be printed.
        """
        check_suffix(self.mask, (*SUFFIXES, DICOM_SUFFIX))
        for path, allowed in ((self.confidence, IMAGE_SUFFIXES), (self.preview, PREVIEW_SUFFIXES)):
            if path is not None:
                check_suffix(path, allowed)
        if self.surface is not None:
            check_surface(self.surface)
        if self.page is not None:
            check_page(self.page, case)

    def check_source(self, source: Path) -> None:
        """Refuse a DICOM segmentation or contours of a scan that is not DICOM.

        Raises:
            InputError, OutputError: as :func:`~TernarySegmentLib.imaging.files.dicom_seg.check_dicom_output` and
                :func:`~TernarySegmentLib.imaging.files.rtstruct.check_rtstruct_output` say.
        """
        if self.dicom:
            check_dicom_output(source)
        if self.rtstruct is not None:
            check_rtstruct_output(source, self.rtstruct)

    @property
    def dicom(self) -> bool:
        """The mask is to be a DICOM segmentation."""
        return self.mask.name.lower().endswith(DICOM_SUFFIX)


def write_outputs(
    result: Result, ct: sitk.Image, source: Source, outputs: Outputs, case: str = ""
) -> Iterator[tuple[str, Path]]:
    """Write all but the report; each file is whole or not there.

    Args:
        result: of ``ct``.
        ct: as read from ``source``.
        source: file, folder of the DICOM series, or its files.
        outputs: where to.
        case: what the page calls the case.

    Yields:
        The field's name and the path of each file once it is there. Without a pancreas there is no DICOM segmentation,
        which in an archive would look like a finding, no page and no surface.

    Raises:
        InputError, OutputError: as the writers say.
    """
    if not outputs.dicom:
        write_mask(result.mask, outputs.mask, provenance=result.model)
        yield "mask", outputs.mask
    elif result.found:
        write_dicom_seg(result.mask, source, outputs.mask, series_uid=series_uid(ct), provenance=result.model)
        yield "mask", outputs.mask
    if outputs.confidence and result.confidence_map is not None:
        write_image(result.confidence_map, outputs.confidence)
        yield "confidence", outputs.confidence
    if outputs.preview:
        write_preview(ct, result.mask, outputs.preview)
        yield "preview", outputs.preview
    if outputs.rtstruct and result.found:
        write_rtstruct(result.mask, source, outputs.rtstruct, series_uid=series_uid(ct), provenance=result.model)
        yield "rtstruct", outputs.rtstruct
    if outputs.surface and result.found:
        write_surface(closed_surface(result.mask), outputs.surface)
        yield "surface", outputs.surface
    if outputs.page and result.found:
        facts = Facts(
            format_confidence(result.confidence), result.model.get("sha256", ""), datetime.now(),
            sum(result.seconds.values()), case=case, notes=result.warnings,
        )  # fmt: skip
        write_report(ct, result.mask, facts, outputs.page)
        yield "page", outputs.page


def series_uid(ct: sitk.Image) -> str:
    """Of the DICOM series that a scan was read from; empty where it was none."""
    return ct.GetMetaData(SERIES_UID) if ct.HasMetaDataKey(SERIES_UID) else ""


def report_of(
    source: Path, ct: sitk.Image, result: Result, regions: list[SuspiciousRegion], written: dict[str, str]
) -> dict[str, Any]:
    """The report as plain numbers and lists, for JSON: no patient data beyond the file's own name."""
    return {
        "input": source.name,
        "found": result.found,
        "measures": result.measures.as_dict() if result.measures else None,
        "confidence": round(result.confidence, 3),
        "confidence_text": format_confidence(result.confidence),
        "suspicious_regions": [asdict(region) for region in regions],
        "grid": {"size": ct.GetSize(), "spacing_mm": ct.GetSpacing()},
        "region_lps_mm": result.region,
        "warnings": list(result.warnings),
        "seconds": result.seconds,
        "backend": result.backend,
        "model": result.model,
        "version": __version__,
        "outputs": written,
    }


def write_json(report: dict[str, Any], path: Path) -> None:
    """Write a report, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    write_bytes(path, (json.dumps(report, indent=2) + "\n").encode())
