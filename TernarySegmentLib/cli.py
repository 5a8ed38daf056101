"""The command line: ``python -m TernarySegmentLib segment CT -o MASK``."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from TernarySegmentLib import __version__, console
from TernarySegmentLib.arguments import add_smoothing, add_threads, given_path, number
from TernarySegmentLib.errors import TernarySegmentError

if TYPE_CHECKING:
    import SimpleITK as sitk

    from TernarySegmentLib.cohort.outputs import Outputs
    from TernarySegmentLib.pipeline import Progress, Result

EXIT_NOTHING_FOUND = 3


class _Reporter:
    """A progress bar on a terminal, one plain line per stage elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet, self.stage, self.bar = quiet, "", None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=100, file=sys.stderr, leave=False, bar_format="{desc:28}{bar}{n:4.0f} % {postfix}")

    def show(self, progress: Progress) -> None:
        """Tell where the job stands."""
        if self.bar is not None:
            self.bar.set_description_str(progress.stage, refresh=False)
            if progress.remaining_s is not None:
                self.bar.set_postfix_str(f"{progress.remaining_s:.0f} s left", refresh=False)
            self.bar.update(100 * progress.fraction - self.bar.n)
        elif not self.quiet and progress.stage != self.stage:
            print(f"{progress.elapsed_s:6.1f} s  {progress.stage}", file=sys.stderr, flush=True)
        self.stage = progress.stage

    def close(self) -> None:
        """Leave the terminal clean."""
        if self.bar is not None:
            self.bar.close()


def _segment(options: argparse.Namespace) -> int:
    import time

    from TernarySegmentLib.cohort.commands import region_of
    from TernarySegmentLib.engine.network import drain, load_kernels_meanwhile
    from TernarySegmentLib.imaging.files.reading import read_ct
    from TernarySegmentLib.pipeline import Options, segment

    outputs = _outputs(options)
    started = time.monotonic()
    load_kernels_meanwhile(options.backend)
    ct = read_ct(options.input)
    _check_source(ct, options)
    reading = round(time.monotonic() - started, 3)
    settings = Options(
        options.backend, options.threads, options.smoothing, region_of(options), options.model or Options().model,
        confidence=bool(options.confidence or options.report),
    )  # fmt: skip
    reporter = _Reporter(options.quiet)
    try:
        result = drain(segment(ct, settings), reporter.show)
    finally:
        reporter.close()
    result.seconds["Reading"] = reading

    written: dict[str, str] = {}
    try:
        _write(result, ct, options, outputs, written)
    except Exception:
        for name, path in written.items():
            print(f"written before the error: {name}: {path}", file=sys.stderr)
        raise
    _remove_earlier(outputs, written)
    for warning in result.warnings:
        print(f"note: {warning}", file=sys.stderr)
    _tell(result, written)
    return 0 if result.found else EXIT_NOTHING_FOUND


def _outputs(options: argparse.Namespace) -> Outputs:
    """What is asked for; endings that cannot be written, and outputs that share a file, are an input or have no place,
    are refused before minutes are spent."""
    from TernarySegmentLib.cohort.outputs import Outputs
    from TernarySegmentLib.imaging.files.outputs import check_outputs
    from TernarySegmentLib.pipeline import DEFAULT_MODEL

    outputs = Outputs(
        options.output, options.confidence, options.preview, options.page, options.surface, options.rtstruct,
        options.report,
    )  # fmt: skip
    outputs.check(options.case)
    outputs.check_source(options.input)
    paths = {"--output" if name == "mask" else f"--{name}": path for name, path in vars(outputs).items()}
    check_outputs(paths, [options.input, options.model or DEFAULT_MODEL])
    return outputs


def _check_source(ct: sitk.Image, options: argparse.Namespace) -> None:
    """Refuse formats that cannot hold this scan's grid or refer to its series."""
    from TernarySegmentLib.cohort.outputs import series_uid
    from TernarySegmentLib.imaging.files.dicom_seg import (
        DICOM_SUFFIX,
        check_dicom_source,
        frames_on_source,
        slice_headers,
    )
    from TernarySegmentLib.imaging.files.writing import check_grid

    for path in filter(None, (options.output, options.confidence)):
        check_grid(ct, path)
    if options.output.suffix.lower() == DICOM_SUFFIX:
        check_dicom_source(ct, options.input, series_uid=series_uid(ct))
    if options.rtstruct:
        slice_headers(frames_on_source(ct, options.input, series_uid(ct))[0])


def _write(
    result: Result, ct: sitk.Image, options: argparse.Namespace, outputs: Outputs, written: dict[str, str]
) -> None:
    """Write what was asked for; ``written`` gets each name and path once it is there."""
    import time

    from TernarySegmentLib.cohort.outputs import report_of, write_json, write_outputs
    from TernarySegmentLib.review.suspicious_regions import find_suspicious_regions

    started = time.monotonic()
    for name, path in write_outputs(result, ct, options.input, outputs, options.case):
        written[name] = str(path)
    result.seconds["Writing"] = round(time.monotonic() - started, 3)
    if options.report:
        regions = [] if result.confidence_map is None else find_suspicious_regions(result.mask, result.confidence_map)
        report = report_of(options.input, ct, result, regions, {**written, "report": str(options.report)})
        write_json(report, options.report)
        written["report"] = str(options.report)


def _remove_earlier(outputs: Outputs, written: Collection[str]) -> None:
    """Delete what an earlier run left where this one, having found nothing, writes nothing: it would pass for this
    scan's.

    Raises:
        OutputError: a file cannot be deleted.
    """
    from TernarySegmentLib.errors import OutputError

    for name, path in vars(outputs).items():
        if path is None or name in written or not path.is_file():
            continue
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(
                f"No pancreas was found, and “{path}” of an earlier run cannot be deleted ({error.strerror or error}); "
                "delete it, it is not of this run."
            ) from error
        print(f"note: “{path}” of an earlier run was deleted; this one found no pancreas.", file=sys.stderr)


def _tell(result: Result, outputs: dict[str, str]) -> None:
    total = sum(result.seconds.values())
    if result.measures is None:
        mask = "The mask is empty." if "mask" in outputs else "No mask was written."
        print(f"No pancreas found ({total:.1f} s). {mask}")
    else:
        measures = result.measures
        extent = " × ".join(f"{side:.0f}" for side in measures.extent_mm)
        print(
            f"Pancreas: {measures.volume_ml:.1f} mL, {measures.mean_hu:.0f} ± {measures.sd_hu:.0f} HU, "
            f"{extent} mm (R–L × A–P × S–I), confidence {100 * result.confidence:.0f} %"
        )
        print(f"Time: {total:.1f} s with {result.backend} kernels")
    for name, path in outputs.items():
        print(f"{name}: {path}")


def _model_info(options: argparse.Namespace) -> int:
    from TernarySegmentLib.pipeline import DEFAULT_MODEL, load_model

    path = options.file or DEFAULT_MODEL
    model = load_model(path)
    print(f"{path}")
    print(f"SHA-256 {model.sha256} (checked)")
    for key, value in model.provenance.items():
        print(f"{key}: {value}")
    print(f"labels: {', '.join(model.labels)}; segments {model.labels[model.target]}")
    parameters = 0
    for name, stage in model.stages.items():
        parameters += model.parameters(name)
        layers = sum(layer.kind in ("first", "conv", "head") for layer in stage.graph.layers)
        print(f"{name}: {stage.spacing} mm grid, {layers} layers, {model.parameters(name):,} weights")
    size = path.stat().st_size
    ratio = f"{4 * parameters / size:.1f} times as much"
    print(f"file {size / 1e6:.2f} MB; the same weights in float32 {4 * parameters / 1e6:.2f} MB, {ratio}")
    return 0


def _phantom(options: argparse.Namespace) -> int:
    from TernarySegmentLib.imaging.files.outputs import check_outputs
    from TernarySegmentLib.imaging.files.writing import IMAGE_SUFFIXES, check_suffix, write_image
    from TernarySegmentLib.phantom import make_phantom

    for path in filter(None, (options.output, options.labels)):
        check_suffix(path, IMAGE_SUFFIXES)
    check_outputs({"--output": options.output, "--labels": options.labels})

    phantom = make_phantom(options.seed)
    for what, image, path in (("abdomen", phantom.ct, options.output), ("labels", phantom.labels, options.labels)):
        if path is not None:
            write_image(image, path)
            print(f"synthetic {what}: {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ternarysegment" if Path(sys.argv[0]).stem == "ternarysegment" else "python -m TernarySegmentLib",
        description="Segment the pancreas in a CT scan on a CPU. For research; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"TernarySegment {__version__}")
    from TernarySegmentLib.cohort.commands import add_batch, add_compare, add_region  # standard library only, until run

    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="CT in, pancreas mask out")
    segment.add_argument(
        "input", type=given_path, metavar="INPUT", help="NIfTI, NRRD or MetaImage file, or a DICOM folder"
    )
    segment.add_argument(
        "-o", "--output", type=given_path, required=True,
        help=".seg.nrrd (for Slicer), .nii.gz, .nrrd, .mha, .dcm (DICOM segmentation of a DICOM folder)",
    )  # fmt: skip
    segment.add_argument(
        "--report",
        type=given_path,
        metavar="JSON",
        help="write volume, HU, extent, suspicious regions, times and model",
    )
    segment.add_argument(
        "--rtstruct",
        type=given_path,
        metavar="FILE",
        help="write contours for radiotherapy (RT structure set of a DICOM folder)",
    )
    segment.add_argument(
        "--confidence",
        type=given_path,
        metavar="FILE",
        help="write how sure the network is of each voxel; 50 at the mask's border",
    )
    segment.add_argument("--preview", type=given_path, metavar="PNG", help="write a picture of the result")
    segment.add_argument("--page", type=given_path, metavar="PDF", help="write a one-page report, .pdf or .png")
    segment.add_argument("--case", default="", metavar="NAME", help="what the page calls the case (default: nothing)")
    segment.add_argument(
        "--surface", type=given_path, metavar="STL", help="write the closed surface, .stl or .obj, in LPS"
    )
    segment.add_argument(
        "--backend", choices=["auto", "numba", "numpy"], default="auto", help="default: numba if installed"
    )
    add_threads(segment)
    add_smoothing(segment)
    add_region(segment)
    segment.add_argument("--model", type=given_path, help="another model file than the one shipped")
    segment.add_argument("-q", "--quiet", action="store_true", help="no progress")
    segment.set_defaults(command=_segment)

    add_batch(commands)
    add_compare(commands)

    phantom = commands.add_parser("phantom", help="write a synthetic abdomen CT to try the program on")
    phantom.add_argument("-o", "--output", type=given_path, required=True, help=".nii.gz, .nrrd or .mha")
    phantom.add_argument(
        "--labels", type=given_path, metavar="FILE", help="write its eight organs too, to try training"
    )
    phantom.add_argument("--seed", type=number(int, 0, 2**32 - 1), default=0, help="another number is another patient")
    phantom.set_defaults(command=_phantom)

    model = commands.add_parser("model", help="about the model file")
    info = model.add_subparsers(required=True, metavar="COMMAND").add_parser("info", help="origin, size, check sum")
    info.add_argument("file", type=given_path, nargs="?", help="default: the model shipped")
    info.set_defaults(command=_model_info)

    # standard library only, until they run
    from TernarySegmentLib.cohort.pacs_command import add_pacs
    from TernarySegmentLib.cohort.similar_commands import add_index, add_similar

    for add in (add_index, add_similar, add_pacs):
        add(commands)

    bench = commands.add_parser("bench", help="measure this engine against others on this computer")
    if importlib.util.find_spec("TernarySegmentLib.bench") is None:
        bench.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        bench.set_defaults(command=_no_bench)
    else:
        from TernarySegmentLib.bench import command  # standard library only, until it runs

        command.arguments_of(bench)
        bench.set_defaults(command=command.run)
    return parser


def _no_bench(options: argparse.Namespace) -> int:
    raise TernarySegmentError(
        "The benchmark is not part of the installation in 3D Slicer; "
        "install the Python package from the source code and run it there."
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 after an error, which is told in one sentence; 3 when no pancreas was found; 130 when interrupted.
    """

    def command() -> int:
        logging.basicConfig(format="%(message)s", level=logging.INFO)
        options = _parser().parse_args(arguments)
        if not getattr(options, "threads", 0):
            return int(options.command(options))
        from TernarySegmentLib.imaging.files.itk import at_most

        with at_most(options.threads):
            return int(options.command(options))

    return console.run(command)
