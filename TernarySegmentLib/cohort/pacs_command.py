"""The command ``pacs``. Only the standard library is imported until it runs."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TernarySegmentLib.arguments import add_smoothing, add_threads, given_path
from TernarySegmentLib.console import sentence
from TernarySegmentLib.errors import InputError

if TYPE_CHECKING:
    from TernarySegmentLib.cohort.dicomweb import ImageArchive, RemoteSeries
    from TernarySegmentLib.pipeline import Options

log = logging.getLogger(__name__)

EXIT_SOME_FAILED = 4


def add_pacs(commands: Any) -> None:
    """Add ``pacs`` to the subcommands of a parser."""
    pacs = commands.add_parser(
        "pacs",
        help="CTs of an image archive (DICOMweb), segmented and stored back",
        description="Find CT series in an image archive, segment them, and store a DICOM segmentation beside each. "
        "Credentials come from TERNARYSEGMENT_DICOMWEB_USER and _PASSWORD, or _TOKEN, or from netrc. Series of which "
        "the archive holds a result of this model are passed over. What is fetched lies in a private temporary folder "
        "while it is worked on.",
    )
    pacs.add_argument(
        "--dicomweb", required=True, metavar="URL", help="root of the archive's DICOMweb service, https://"
    )
    pacs.add_argument(
        "--query", action="append", default=[], metavar="KEYWORD=VALUE",
        help="DICOM keyword and value, e.g. PatientID=17 or StudyDate=20240101-20240131; several must all match",
    )  # fmt: skip
    pacs.add_argument("--dry-run", action="store_true", help="list the series, and do nothing")
    pacs.add_argument("--rtstruct", action="store_true", help="store an RT structure set too")
    pacs.add_argument("--again", action="store_true", help="segment series that hold a result of this model, too")
    pacs.add_argument("--ca", type=given_path, metavar="PEM", help="certificate of the hospital's own authority")
    pacs.add_argument("--plain-http", action="store_true", help="allow http:// to another computer")
    pacs.add_argument(
        "--backend", choices=["auto", "numba", "numpy"], default="auto", help="default: numba if installed"
    )
    add_threads(pacs)
    add_smoothing(pacs)
    pacs.add_argument("--model", type=given_path, help="another model file than the one shipped")
    pacs.add_argument("-q", "--quiet", action="store_true", help="no progress")
    pacs.set_defaults(command=run_pacs_command)


def run_pacs_command(options: argparse.Namespace) -> int:
    """Run ``pacs``.

    Returns:
        0; :data:`EXIT_SOME_FAILED` when some series could not be segmented or stored.

    Raises:
        TernarySegmentError: nothing could be done at all.
    """
    from TernarySegmentLib.cohort.dicomweb import ImageArchive
    from TernarySegmentLib.imaging.files.dicom_seg import check_dicom_output
    from TernarySegmentLib.imaging.files.rtstruct import check_rtstruct_output
    from TernarySegmentLib.pipeline import Options, load_model

    check_dicom_output("")
    if options.rtstruct:
        check_rtstruct_output("", "rtstruct.dcm")
    settings = Options(options.backend, options.threads, options.smoothing, model=options.model or Options().model)
    model = load_model(settings.model).sha256
    archive = ImageArchive(options.dicomweb, options.ca, options.plain_http)
    found = archive.find(_query(options.query))
    if options.dry_run:
        for series in found:
            print(series)
        print(f"{len(found)} CT series")
        return 0
    stored = failed = 0
    for number, series in enumerate(found, 1):
        worked = True
        try:
            if not options.again and archive.holds_result(series, model):
                outcome = "holds a result of this model"
            else:
                outcome, kept = _segment_remote(archive, series, settings, options.rtstruct)
                stored += kept
        except Exception as error:  # one series must not stop the others
            log.debug("%s failed", series.uid, exc_info=True)
            outcome, failed, worked = sentence(error), failed + 1, False
        if not (options.quiet and worked):
            print(f"{number}/{len(found)}  {series.uid}: {outcome}", file=sys.stderr, flush=True)
    print(f"{len(found)} CT series, {stored} results stored, {failed} failed")
    return EXIT_SOME_FAILED if failed else 0


def _query(items: list[str]) -> dict[str, str]:
    query = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not value:
            raise InputError(f"“{item}” is no query; write a DICOM keyword, = and a value, e.g. PatientID=17.")
        query[key] = value
    return query


def _segment_remote(archive: ImageArchive, series: RemoteSeries, settings: Options, rtstruct: bool) -> tuple[str, bool]:
    """Fetch, segment and store one series; returns what came out, and True when something was stored."""
    from TernarySegmentLib.imaging.files.dicom_seg import write_dicom_seg
    from TernarySegmentLib.imaging.files.reading import read_ct
    from TernarySegmentLib.imaging.files.rtstruct import write_rtstruct
    from TernarySegmentLib.pipeline import run, segment

    with tempfile.TemporaryDirectory(prefix="ternarysegment-") as name:
        folder, results = Path(name) / "series", Path(name) / "results"
        folder.mkdir()
        archive.fetch(series, folder)
        result = run(segment(read_ct(folder), settings))
        if result.measures is None:
            return "no pancreas found, nothing stored", False
        write_dicom_seg(result.mask, folder, results / "seg.dcm", series_uid=series.uid, provenance=result.model)
        if rtstruct:
            write_rtstruct(
                result.mask, folder, results / "rtstruct.dcm", series_uid=series.uid, provenance=result.model
            )
        # the segmentation last: it marks the series as finished
        for path in sorted(results.glob("*.dcm")):
            archive.store(path)
    return " ".join((f"{result.measures.volume_ml:.1f} mL, stored.", *result.warnings)), True
