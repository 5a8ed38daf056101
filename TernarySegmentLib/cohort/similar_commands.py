"""The commands ``index`` and ``similar``. Only the standard library is imported until one of them runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TernarySegmentLib.arguments import add_threads, given_path, number
from TernarySegmentLib.errors import InputError

if TYPE_CHECKING:
    from TernarySegmentLib.cohort.index import Index, Neighbour
    from TernarySegmentLib.cohort.indexing import ArchivedScan, IndexStep
    from TernarySegmentLib.pipeline import Options, Progress

EXIT_SOME_FAILED = 4


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend", choices=["auto", "numba", "numpy"], default="auto", help="default: numba if installed"
    )
    add_threads(parser)
    parser.add_argument("--model", type=given_path, help="another model file than the one shipped")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _pipeline_options(options: argparse.Namespace) -> Options:
    from TernarySegmentLib.pipeline import Options

    return Options(options.backend, options.threads, model=options.model or Options().model)


# --- index ------------------------------------------------------------------------------------------------------------


def add_index(commands: Any) -> None:
    """Add ``index`` to the subcommands of a parser."""
    index = commands.add_parser(
        "index",
        help="many CTs in, one file out in which similar cases are found",
        description="Describe every scan of an archive by a ternary code. Run the same command again to add new scans "
        "or to go on after an interruption: scans that the index holds are passed over.",
    )
    index.add_argument("folder", type=given_path, metavar="FOLDER", help="searched with its subfolders; files or DICOM")
    index.add_argument(
        "-o", "--output", type=given_path, required=True, metavar="FILE", help=".npz; grows if it is there"
    )
    index.add_argument(
        "--thumbnails", action="store_true", help="keep a small picture of each new scan, which the panel in Slicer "
        "shows; without it the index holds no pixels",
    )  # fmt: skip
    index.add_argument("--refit", action="store_true", help="take the thresholds anew from all scans in the index")
    index.add_argument(
        "--thresholds", type=given_path, metavar="INDEX", help="for a new index: share this one's thresholds, so that "
        "codes of both are comparable",
    )  # fmt: skip
    _add_engine_options(index)
    index.set_defaults(command=run_index_command)


def run_index_command(options: argparse.Namespace) -> int:
    """Run ``index``.

    Returns:
        0; :data:`EXIT_SOME_FAILED` when some scans could not be described.

    Raises:
        TernarySegmentError: nothing could be done at all.
    """
    from TernarySegmentLib.cohort.index import write_index
    from TernarySegmentLib.cohort.indexing import find_scans, grow_index
    from TernarySegmentLib.engine.network import drain

    index = _index_to_grow(options)
    scans = find_scans(options.folder)
    before = len(index.entries)
    failures: list[str] = []
    reporter = _Reporter(options.quiet, len(scans))
    steps = grow_index(index, scans, options.output, _pipeline_options(options), reporter.within, options.thumbnails)

    def show(step: IndexStep) -> None:
        failures.extend([f"{step.scan.name}: {step.reason}"] if step.reason else [])
        reporter.show(step.scan, step.reason or ("described" if step.added else "in the index"))

    try:
        index = drain(steps, show)
    finally:
        reporter.close()
    if options.refit:
        index = index.refitted()
        write_index(index, options.output)
    for failure in failures:
        print(f"note: {failure}", file=sys.stderr)
    state = "fixed" if index.fixed else "still following the archive"
    print(
        f"{len(index.entries)} scans in the index, {len(index.entries) - before} of them new, {len(failures)} without "
        f"a code; thresholds {state}"
    )
    print(f"index: {options.output}")
    return EXIT_SOME_FAILED if failures else 0


def _index_to_grow(options: argparse.Namespace) -> Index:
    from TernarySegmentLib.cohort.codes import code_channels
    from TernarySegmentLib.cohort.index import SUFFIX, Index, read_index
    from TernarySegmentLib.imaging.files.writing import check_suffix
    from TernarySegmentLib.pipeline import load_model

    check_suffix(options.output, (SUFFIX,))
    model = load_model(_pipeline_options(options).model)
    other = read_index(options.thresholds) if options.thresholds else None
    if other is not None:
        other.check_model(model.sha256)
    if not options.output.exists():
        return Index.empty(model.sha256, code_channels(model), other.thresholds if other else None)
    if other is not None:
        raise InputError(f"“{options.output}” has thresholds already; give --thresholds with a new index only.")
    index = read_index(options.output)
    index.check_model(model.sha256)
    return index


class _Reporter:
    """A progress bar over the scans on a terminal, one line per scan elsewhere."""

    def __init__(self, quiet: bool, total: int) -> None:
        self.quiet, self.total, self.done, self.bar = quiet, total, 0, None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, file=sys.stderr, unit="scan")

    def within(self, scan: ArchivedScan, progress: Progress) -> None:
        """Show the stage of a scan."""
        if self.bar is not None:
            self.bar.set_postfix_str(f"{scan.name}: {progress.stage}")

    def show(self, scan: ArchivedScan, outcome: str) -> None:
        """Show that a scan has ended."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        elif not self.quiet:
            print(f"{self.done}/{self.total}  {scan.name}: {outcome}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal clean."""
        if self.bar is not None:
            self.bar.close()


# --- similar ----------------------------------------------------------------------------------------------------------


def add_similar(commands: Any) -> None:
    """Add ``similar`` to the subcommands of a parser."""
    similar = commands.add_parser(
        "similar",
        help="the scans of an index whose pancreas looks most like this one's",
        description="Segment a scan and list the scans of an index with the nearest codes. A research tool: near codes "
        "are alike to the network, which need not matter clinically (docs/similar.md).",
    )
    similar.add_argument(
        "scan", type=given_path, metavar="SCAN", help="NIfTI, NRRD or MetaImage file, or a DICOM folder"
    )
    similar.add_argument("--index", type=given_path, required=True, metavar="FILE", help="what the command index wrote")
    similar.add_argument(
        "-n", "--count", type=number(int, 1, 1_000_000), default=10, metavar="N", help="how many (default: %(default)s)"
    )
    similar.add_argument("--report", type=given_path, metavar="JSON", help="write the list")
    _add_engine_options(similar)
    similar.set_defaults(command=run_similar_command)


def run_similar_command(options: argparse.Namespace) -> int:
    """Run ``similar``.

    Raises:
        TernarySegmentError: the scan or the index cannot be used, or no pancreas was found.
    """
    from TernarySegmentLib.cohort.codes import describe
    from TernarySegmentLib.cohort.index import read_index
    from TernarySegmentLib.engine.network import drain
    from TernarySegmentLib.imaging.files.outputs import check_outputs
    from TernarySegmentLib.imaging.files.reading import read_ct
    from TernarySegmentLib.pipeline import load_model

    settings = _pipeline_options(options)
    check_outputs({"--report": options.report}, [options.scan, options.index, settings.model])
    index = read_index(options.index)
    index.check_model(load_model(settings.model).sha256)
    if not index.entries:
        raise InputError(f"The index “{options.index}” holds no scan; add some with: ternarysegment index")
    steps = describe(read_ct(options.scan), settings)
    found = drain(steps) if options.quiet else drain(steps, _stage_printer())
    neighbours = index.search(found.means, options.count, settings.backend, settings.threads)
    print(f"This scan: {found.volume_ml:.1f} mL, {found.mean_hu:.0f} HU, fat {100 * found.fat_fraction:.1f} %")
    for rank, each in enumerate(neighbours, 1):
        print(f"{rank:3} {_line(each)}")
    if options.report:
        _write_report(options.report, options.scan, index, neighbours)
    return 0


def _stage_printer() -> Callable[[Progress], None]:
    """Prints each stage when it begins."""
    stage = ""

    def show(progress: Progress) -> None:
        nonlocal stage
        if progress.stage != stage:
            stage = progress.stage
            print(f"{progress.elapsed_s:6.1f} s  {stage}", file=sys.stderr, flush=True)

    return show


def _line(neighbour: Neighbour) -> str:
    entry = neighbour.entry
    return (
        f"{100 * neighbour.similarity:4.0f} %  {entry.name}: {entry.volume_ml:.1f} mL, {entry.mean_hu:.0f} HU, "
        f"fat {100 * entry.fat_fraction:.1f} %"
    )


def _write_report(path: Path, scan: Path, index: Index, neighbours: list[Neighbour]) -> None:
    from TernarySegmentLib.imaging.files.atomic import write_bytes

    listed = [
        {
            "name": each.entry.name, "similarity": round(each.similarity, 4), "score": each.score,
            "volume_ml": each.entry.volume_ml, "mean_hu": each.entry.mean_hu, "fat_fraction": each.entry.fat_fraction,
        }
        for each in neighbours
    ]  # fmt: skip
    report = {"input": scan.name, "model": index.model, "scans": len(index.entries), "neighbours": listed}
    write_bytes(path, (json.dumps(report, indent=2) + "\n").encode())
    print(f"report: {path}")
