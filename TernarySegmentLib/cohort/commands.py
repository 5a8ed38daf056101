"""The commands ``batch`` and ``compare``. Only the standard library is imported until one of them runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TernarySegmentLib.arguments import add_smoothing, add_threads, given_path, number
from TernarySegmentLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TernarySegmentLib.cohort.batch import Engine, Step
    from TernarySegmentLib.cohort.cases import Case
    from TernarySegmentLib.cohort.record import Record
    from TernarySegmentLib.cohort.scan import Work
    from TernarySegmentLib.imaging.agreement import Agreement
    from TernarySegmentLib.imaging.grids import Box
    from TernarySegmentLib.pipeline import Progress

EXIT_SOME_FAILED = 4
MOST_WORKERS = 1024


def add_region(parser: argparse.ArgumentParser) -> None:
    """Add ``--region``, see :func:`region_of`."""
    parser.add_argument(
        "--region", type=float, nargs=6, metavar="MM",
        help="search only inside this box: x y z of two opposite corners in LPS (x to the left, y to the back, z to "
        "the head), as a report gives them; default: the whole scan",
    )  # fmt: skip


def region_of(options: argparse.Namespace) -> Box | None:
    """The box that ``--region`` gives.

    Raises:
        InputError: it is no box.
    """
    if options.region is None:
        return None
    from TernarySegmentLib.imaging.grids import box_of_corners

    try:
        return box_of_corners(options.region)
    except ValueError as error:
        given = " ".join(f"{value:g}" for value in options.region)
        raise InputError(f"The region {given} has no volume; give two opposite corners of a box in LPS, mm.") from error


# --- batch ------------------------------------------------------------------------------------------------------------


def add_batch(commands: Any) -> None:
    """Add ``batch`` to the subcommands of a parser."""
    batch = commands.add_parser(
        "batch",
        help="many CTs in, a folder of masks with a table and an overview out",
        description="Segment many scans. Run the same command again to go on after an interruption: finished scans are "
        "recognised by their content and passed over. Results: results.csv, results.parquet, overview.html.",
    )
    batch.add_argument(
        "input", nargs="+", metavar="INPUT", type=given_path,
        help="files, folders (searched with their subfolders, DICOM series told apart by their headers), patterns, or "
        "a .csv with a column “input” and, where wanted, “name” and “region”",
    )  # fmt: skip
    batch.add_argument(
        "-o", "--output", type=given_path, required=True, metavar="FOLDER", help="mirrors the inputs' folders"
    )
    batch.add_argument("--dry-run", action="store_true", help="list what would be segmented, and do nothing")
    masks = [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".dcm"]
    batch.add_argument("--format", choices=masks, default=masks[0], help="of the masks (default: %(default)s)")
    batch.add_argument(
        "--confidence", choices=masks[1:-1], default="", help="write each confidence map, in this format"
    )
    batch.add_argument("--preview", action="store_true", help="write a picture of each result")
    batch.add_argument("--page", choices=[".pdf", ".png"], default="", help="write a one-page report of each scan")
    batch.add_argument("--surface", choices=[".stl", ".obj"], default="", help="write each closed surface, in LPS")
    batch.add_argument(
        "--rtstruct", action="store_true", help="write contours for radiotherapy (RT structure sets of DICOM series)"
    )
    batch.add_argument(
        "--backend", choices=["auto", "numba", "numpy"], default="auto", help="default: numba if installed"
    )
    add_threads(batch, "all cores, shared among the scans")
    add_smoothing(batch)
    add_region(batch)
    batch.add_argument("--model", type=given_path, help="another model file than the one shipped")
    where = batch.add_argument_group("where to compute (needs Dask: pip install dask distributed cryptography)")
    where.add_argument(
        "--workers", type=number(int, 0, MOST_WORKERS), default=0, metavar="N",
        help="processes on this computer; default: by cores and memory; 1: no Dask",
    )  # fmt: skip
    where.add_argument("--scheduler", default="", metavar="ADDRESS", help="a running Dask scheduler, tcp:// or tls://")
    for name, what in (("ca", "the authority's certificate"), ("cert", "certificate"), ("key", "key")):
        where.add_argument(f"--tls-{name}", type=given_path, metavar="PEM", help=f"for tls://: {what}")
    batch.add_argument("-q", "--quiet", action="store_true", help="no progress")
    batch.set_defaults(command=run_batch_command)


def run_batch_command(options: argparse.Namespace) -> int:
    """Run ``batch``.

    Returns:
        0 when every scan was segmented, with or without a finding; :data:`EXIT_SOME_FAILED` when some failed.

    Raises:
        TernarySegmentError: nothing could be done at all.
    """
    from TernarySegmentLib.cohort.batch import check_batch_outputs, run_batch
    from TernarySegmentLib.cohort.cases import find_cases
    from TernarySegmentLib.cohort.overview import summary

    engine = _engine(options)
    found = find_cases(options.input, options.output, _counting(options.quiet))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if options.dry_run:
        for case in found.cases:
            print(case)
        print(f"{len(found.cases)} scans")
        return 0
    work = _work(options)
    for each in found.cases[:1]:
        work.endings.outputs(work.folder, each.name).check(each.name)
    check_batch_outputs(found.cases, work, options.input)
    records: list[Record] = []
    reporter = _BatchReporter(options.quiet, len(found.cases))
    try:
        for step in run_batch(found.cases, work, engine, reporter.within):
            records.append(step.record)
            reporter.show(step)
    finally:
        reporter.close()
        if records:
            _write_results(records, work.folder)
    print(f"{summary(records)} {reporter.rate()}")
    print(f"overview: {work.folder / 'overview.html'}")
    return EXIT_SOME_FAILED if any(not record.done for record in records) else 0


def _engine(options: argparse.Namespace) -> Engine:
    from TernarySegmentLib.cohort.batch import Engine
    from TernarySegmentLib.cohort.cluster import Certificates

    files = (options.tls_ca, options.tls_cert, options.tls_key)
    if any(files) and not all(files):
        raise InputError("TLS needs all three of --tls-ca, --tls-cert and --tls-key; give the missing ones.")
    if any(files) and not options.scheduler.startswith("tls://"):
        raise InputError(f"Certificates are for a scheduler at tls://, not “{options.scheduler}”; change its address.")
    if options.scheduler.startswith("tcp://") and not options.scheduler.startswith(("tcp://127.", "tcp://localhost")):
        print(
            f"note: {options.scheduler} is neither encrypted nor protected by a certificate: whoever reaches it can "
            "run programs on its workers; use tls:// outside a closed network.",
            file=sys.stderr,
        )
    return Engine(options.workers, options.scheduler, Certificates(*files) if all(files) else None)


def _work(options: argparse.Namespace) -> Work:
    from TernarySegmentLib.cohort.scan import Endings, Work
    from TernarySegmentLib.pipeline import Options, load_model

    model = (options.model or Options().model).resolve()
    settings = Options(options.backend, options.threads, options.smoothing, region_of(options), model)
    endings = Endings(
        options.format, options.confidence, ".png" if options.preview else "", options.page, options.surface,
        ".dcm" if options.rtstruct else "",
    )  # fmt: skip
    return Work(options.output.resolve(), settings, endings, load_model(model).sha256)


def _write_results(records: list[Record], folder: Path) -> None:
    from TernarySegmentLib.cohort.overview import OVERVIEW_NAME, write_overview
    from TernarySegmentLib.cohort.table import CSV_NAME, PARQUET_NAME, parquet_available, write_csv, write_parquet

    records = sorted(records, key=lambda record: record.name)
    write_csv(records, folder / CSV_NAME)
    if parquet_available():
        write_parquet(records, folder / PARQUET_NAME)
    else:
        print(f"note: {PARQUET_NAME} is not written; for it run: pip install pyarrow", file=sys.stderr)
    write_overview(records, folder / OVERVIEW_NAME)


def _counting(quiet: bool) -> Any:
    def count(files: int) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"\rLooking for scans: {files} DICOM files", end="", file=sys.stderr, flush=True)

    return count


class _BatchReporter:
    """A progress bar over the scans on a terminal, one line per scan elsewhere."""

    def __init__(self, quiet: bool, total: int) -> None:
        self.quiet, self.fresh, self.elapsed_s, self.bar = quiet, 0, 0.0, None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, file=sys.stderr, unit="scan", bar_format="{n_fmt}/{total_fmt} {bar} {postfix}")

    def within(self, case: Case, progress: Progress) -> None:
        """Show the stage of a scan that this process segments."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"{case.name}: {progress.stage}")

    def show(self, step: Step) -> None:
        """Show that a scan has ended."""
        self.fresh += not step.reused
        self.elapsed_s = step.elapsed_s
        left = "" if step.remaining_s is None else f", {format_duration(step.remaining_s)} left"
        line = f"{step.record.name}: {_outcome(step)}"
        if self.bar is not None:
            if not step.record.done:
                self.bar.write(line, file=sys.stderr)
            self.bar.set_postfix_str(f"{line}{left}", refresh=False)
            self.bar.update()
        elif not self.quiet:
            print(f"{step.done}/{step.total}{left}  {line}", file=sys.stderr, flush=True)

    def rate(self) -> str:
        """Scans an hour of this run; empty when it segmented none."""
        return f"{3600 * self.fresh / self.elapsed_s:.0f} scans an hour." if self.fresh and self.elapsed_s else ""

    def close(self) -> None:
        """Leave the terminal clean."""
        if self.bar is not None:
            self.bar.close()


def _outcome(step: Step) -> str:
    record = step.record
    if step.reused:
        return "finished before"
    if record.volume_ml is None:
        return record.failure or record.status
    return f"{record.volume_ml:.1f} mL, doubt {record.doubt:.2f}, {record.seconds:.1f} s"


def format_duration(seconds: float) -> str:
    """Seconds in words, as long as people want to know it.

    Examples:
        >>> format_duration(42), format_duration(600), format_duration(40_000)
        ('42 s', '10 min', '11 h 7 min')
    """
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{hours} h {round((seconds - 3600 * hours) / 60)} min"


# --- compare ----------------------------------------------------------------------------------------------------------


def add_compare(commands: Any) -> None:
    """Add ``compare`` to the subcommands of a parser."""
    compare = commands.add_parser(
        "compare",
        help="how well a mask agrees with a reference",
        description="Dice, surface Dice at 2 mm, Hausdorff distance (95 %%) and volumes of two masks on one grid.",
    )
    compare.add_argument(
        "mask", type=given_path, metavar="MASK", help="NIfTI, NRRD or MetaImage file, inside where not 0"
    )
    compare.add_argument("reference", type=given_path, metavar="REFERENCE", help="alike, on the same grid")
    compare.add_argument("--label", type=int, metavar="N", help="value of the reference's voxels to compare with")
    compare.add_argument("--report", type=given_path, metavar="JSON", help="write the figures")
    compare.add_argument("--picture", type=given_path, metavar="PNG", help="write a picture of too much and too little")
    compare.add_argument("--ct", type=given_path, metavar="CT", help="what the picture is drawn on")
    compare.set_defaults(command=run_compare_command)


def run_compare_command(options: argparse.Namespace) -> int:
    """Run ``compare``.

    Raises:
        TernarySegmentError: a file cannot be read or written, or the grids differ.
    """
    from dataclasses import asdict

    from TernarySegmentLib.imaging.agreement import compare_masks, surfaces_available
    from TernarySegmentLib.imaging.files.atomic import write_bytes
    from TernarySegmentLib.imaging.files.masks import read_mask
    from TernarySegmentLib.imaging.files.outputs import check_outputs
    from TernarySegmentLib.imaging.files.reading import read_ct
    from TernarySegmentLib.imaging.files.writing import check_suffix
    from TernarySegmentLib.imaging.report.difference import write_difference
    from TernarySegmentLib.imaging.report.preview import PREVIEW_SUFFIXES

    if options.picture:
        check_suffix(options.picture, PREVIEW_SUFFIXES)
    check_outputs(
        {"--report": options.report, "--picture": options.picture},
        [path for path in (options.mask, options.reference, options.ct) if path is not None],
    )
    mask, reference = read_mask(options.mask), read_mask(options.reference)
    for note in _label_notes(mask, reference, options.label):
        print(f"note: {note}", file=sys.stderr)
    if options.label is not None:
        reference = reference == options.label
    surfaces = surfaces_available()
    agreement = compare_masks(mask, reference, surfaces)
    for line in agreement_lines(agreement):
        print(line)
    if not surfaces:
        print("note: for surface Dice and Hausdorff distance run: pip install surface-distance", file=sys.stderr)
    if options.picture:
        write_difference(read_ct(options.ct) if options.ct else None, mask, reference, options.picture)
        print(f"picture: {options.picture} (orange: too much, blue: too little, white: both)")
    if options.report:
        figures = {**asdict(agreement), "volume_error": agreement.volume_error}
        write_bytes(options.report, (json.dumps(figures, indent=2) + "\n").encode())
        print(f"report: {options.report}")
    return 0


def _label_notes(mask: sitk.Image, reference: sitk.Image, label: int | None) -> list[str]:
    """What may make the figures mean something else than they seem to.

    Raises:
        InputError: the reference has no voxel of the label that was asked for.
    """
    from TernarySegmentLib.imaging.files.masks import labels_of

    ours, theirs = labels_of(mask), labels_of(reference)
    if label is not None and label not in theirs:
        raise InputError(
            f"The reference has no voxel of label {label}, only {_listed(theirs) or 'background'}; choose another "
            "--label."
        )
    notes = []
    if label is None and len(theirs) > 1:
        notes.append(f"all {len(theirs)} labels of the reference ({_listed(theirs)}) count; --label picks one.")
    if len(ours) > 1:
        notes.append(f"all {len(ours)} labels of the mask ({_listed(ours)}) count.")
    for name, labels in (("mask", ours), ("reference", theirs)):
        if not labels:
            notes.append(f"the {name} is empty.")
    return notes


def _listed(labels: list[int]) -> str:
    return ", ".join(map(str, labels[:8])) + (", …" if len(labels) > 8 else "")


def agreement_lines(agreement: Agreement) -> Iterator[str]:
    """The figures of a comparison, one a line, as people read them."""
    from TernarySegmentLib.imaging.agreement import TOLERANCE_MM

    yield f"Dice: {agreement.dice:.3f}"
    if agreement.surface_dice is not None:
        yield f"Surface Dice at {TOLERANCE_MM:g} mm: {agreement.surface_dice:.3f}"
    if agreement.hausdorff_mm is not None:
        yield f"Hausdorff distance, 95 %: {agreement.hausdorff_mm:.1f} mm"
    error = agreement.volume_error
    more = "" if error is None else f" ({100 * error:+.0f} %)".replace("-", "−")
    yield f"Volume: {agreement.volume_ml:.1f} mL, reference {agreement.reference_ml:.1f} mL{more}"
