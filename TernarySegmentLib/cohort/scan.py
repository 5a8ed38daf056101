"""One scan of a batch, from its files to its record: what runs in a worker, and raises for no fault of the scan."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from TernarySegmentLib import __version__
from TernarySegmentLib.cohort.cases import Case
from TernarySegmentLib.cohort.outputs import Outputs, report_of, write_outputs
from TernarySegmentLib.cohort.record import Record, content_hash, read_record, record_path, stamp_of
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.errors import ClusterError, OutputError, TernarySegmentError
from TernarySegmentLib.imaging.files.atomic import remains_of
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.series import read_slices
from TernarySegmentLib.imaging.report.preview import thumbnail_png
from TernarySegmentLib.pipeline import Options, Progress, load_model, segment
from TernarySegmentLib.review.suspicious_regions import find_suspicious_regions, scan_doubt

log = logging.getLogger(__name__)

STOPPED = "The batch was stopped at this scan; run it again."
NO_MEMORY = "There is not enough free memory for this scan; use fewer workers, or cut the scan to the abdomen."


@dataclass(frozen=True)
class Endings:
    """What is written for each scan, by the ending of its file name; empty leaves it out."""

    mask: str = ".seg.nrrd"
    confidence: str = ""
    preview: str = ""
    page: str = ""
    surface: str = ""
    rtstruct: str = ""

    def outputs(self, folder: Path, name: str) -> Outputs:
        """Where the outputs of one scan lie."""
        # the confidence map and the contours may end like the mask, the page like the preview
        inserted = {kind: f"-{kind}" for kind in ("confidence", "preview", "page", "rtstruct")}
        paths = {
            kind: folder / f"{name}{inserted.get(kind, '')}{ending}" for kind, ending in vars(self).items() if ending
        }
        return Outputs(**paths)


@dataclass(frozen=True)
class Work:
    """What is done with every scan of a batch.

    Attributes:
        folder: of the outputs.
        options: of the pipeline; a region of the scan's own goes before that of the options.
        endings: the outputs.
        model: SHA-256 that a worker's model must have.
        version: of this library that a worker must have.
    """

    folder: Path
    options: Options
    endings: Endings
    model: str
    version: str = __version__

    def paths(self, case: Case) -> dict[str, Path]:
        """The files that are written of a scan, by what they are."""
        outputs = {kind: path for kind, path in vars(self.endings.outputs(self.folder, case.name)).items() if path}
        return {**outputs, "record": record_path(self.folder, case.name)}

    def settings(self, case: Case) -> str:
        """A digest of what changes an output besides scan, model and version: neither back end nor threads do."""
        options = self.options
        endings = ", ".join(f"{kind}={ending!r}" for kind, ending in vars(self.endings).items() if ending)
        described = f"{options.smoothing_mm} {case.region or options.region} {options.flipped} {endings}"
        return sha256(described.encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """The record of a scan; ``reused`` when an earlier run wrote it."""

    record: Record
    reused: bool


def check_worker(work: Work) -> None:
    """Refuse to work with another version or model than the batch was started with.

    Raises:
        ClusterError: they differ.
        ModelError: this machine has no such model file.
    """
    if work.version != __version__:
        raise ClusterError(
            f"A worker has TernarySegment {__version__}, this batch {work.version}; install the same on all machines."
        )
    found = load_model(work.options.model).sha256
    if found != work.model:
        raise ClusterError(
            f"A worker's model “{work.options.model}” has SHA-256 {found[:12]}…, this batch's {work.model[:12]}…; "
            "copy the same file to all machines."
        )


def finished_record(case: Case, work: Work) -> Record | None:
    """The record of an earlier run, if scan, model, version and settings are the same and every output is there.

    Raises:
        OSError: the input cannot be read.
    """
    record = read_record(work.folder, case.name)
    if (
        record is None or not record.done or record.settings != work.settings(case)
        or (record.model, record.version) != (work.model, work.version)
        or not all((work.folder / path).is_file() for path in record.outputs.values())
    ):  # fmt: skip
        return None
    stamp = stamp_of(case.files)
    if record.stamp == stamp:
        return record
    if record.content != content_hash(case.files):
        return None
    record = replace(record, stamp=stamp, input=str(case.source), series=case.series)
    with suppress(OutputError):  # then the next run reads the bytes once more
        record.write(work.folder)
    return record


def segment_case(case: Case, work: Work, watch: Callable[[Progress], None] = lambda progress: None) -> Outcome:
    """Segment one scan and write its outputs and, last, its record; return that of an earlier run if it still holds.

    Args:
        case: the scan.
        work: what to do with it.
        watch: is called with each progress; what it raises ends the scan.

    Returns:
        The record; its failure says in a sentence what went wrong.

    Raises:
        ClusterError: this process has another version or model than the batch.
    """
    check_worker(work)
    started = time.monotonic()
    record = Record(
        case.name, "failed", input=str(case.source), series=case.series, version=work.version, model=work.model,
        settings=work.settings(case),
    )  # fmt: skip
    try:
        if case.refusal:
            raise OutputError(case.refusal)
        done = finished_record(case, work)
        if done is not None:
            return Outcome(done, reused=True)
        _remove_remains(work, case)
        record = replace(record, stamp=stamp_of(case.files), content=content_hash(case.files))
        _claim(work, case, record)
        record = _segmented(case, work, record, watch)
    except TernarySegmentError as error:
        record = replace(record, failure=str(error))
    except MemoryError:
        record = replace(record, failure=NO_MEMORY)
    except OSError as error:
        record = replace(record, failure=f"“{case.source}” cannot be read ({error.strerror or error}); check the disk.")
    except Exception as error:  # one scan must not stop the others; the traceback goes to the log
        log.exception("%s failed", case.name)
        record = replace(record, failure=f"An unexpected error, please report it: {type(error).__name__}: {error}")
    record = replace(
        record, seconds=round(time.monotonic() - started, 3), memory_mib=_peak_memory(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    before = read_record(work.folder, case.name)
    try:
        earlier, outdated = _earlier(work, before, record) if before is not None else (set(), set())
        left = sorted(earlier - outdated)
        kept = {path: before.digests[path] for path in left if path in before.digests} if before is not None else {}
        record = replace(record, left=tuple(left), digests={**kept, **record.digests})
        record.write(work.folder)
        for path in outdated:
            with suppress(OSError):
                (work.folder / path).unlink()
    except OutputError as error:
        record = replace(record, status="failed", failure=record.failure or str(error))
    return Outcome(record, reused=False)


def _segmented(case: Case, work: Work, record: Record, watch: Callable[[Progress], None]) -> Record:
    outputs = work.endings.outputs(work.folder, case.name)
    outputs.check_source(case.source)
    ct = read_slices(case.files) if case.series else read_ct(case.source)
    options = replace(work.options, confidence=True, region=case.region or work.options.region)
    result = drain(segment(ct, options), watch)
    regions = find_suspicious_regions(result.mask, result.confidence_map) if result.confidence_map else []
    source = case.files if case.series else case.source
    written = dict(write_outputs(result, ct, source, outputs, case.name))
    relative = {kind: path.relative_to(work.folder).as_posix() for kind, path in written.items()}
    record = replace(
        record,
        status="segmented" if result.found else "nothing found",
        confidence=round(result.confidence, 3) if result.found else None,
        doubt=round(
            scan_doubt((region.doubt for region in regions), result.measures.volume_ml if result.measures else None), 3
        ),
        warnings=result.warnings,
        backend=result.backend,
        mask=relative.get("mask", ""),
        outputs=relative,
        digests={path: content_hash([work.folder / path]) for path in relative.values()},
        report=report_of(case.source, ct, result, regions, relative),
        thumbnail=thumbnail_png(ct, result.mask),
    )
    if result.measures is None:
        return record
    measures = result.measures
    right_left, front_back, foot_head = (round(mm, 1) for mm in measures.extent_mm)
    return replace(
        record, volume_ml=round(measures.volume_ml, 3), mean_hu=round(measures.mean_hu, 2),
        sd_hu=round(measures.sd_hu, 2), extent_rl_mm=right_left, extent_ap_mm=front_back, extent_si_mm=foot_head,
    )  # fmt: skip


def _claim(work: Work, case: Case, record: Record) -> None:
    """Say in the record what is about to be written, so that a run after a killed one knows it for its own.

    Raises:
        OutputError: a person has changed what would be overwritten; or the folder cannot be written.
    """
    planned = {
        path.relative_to(work.folder).as_posix() for kind, path in work.paths(case).items() if kind != "record"
    }  # fmt: skip
    # of an earlier run its content stays: what that run wrote is of the scan as it was then
    claim = read_record(work.folder, case.name) or replace(record, content="")
    for path in sorted(planned):
        if _is_edited(work, claim, path):
            raise OutputError(
                f"“{work.folder / path}” was changed since a batch wrote it, and would be overwritten; move it or "
                "delete it."
            )
    owned = tuple(sorted(claim.owned | planned))
    digests = {path: digest for path, digest in claim.digests.items() if path not in planned}
    claim = replace(claim, status="failed", failure=STOPPED, outputs={}, mask="", left=owned, digests=digests)
    claim.write(work.folder)


def _is_edited(work: Work, record: Record, path: str) -> bool:
    """Test if a file is another than was written."""
    try:
        return path in record.digests and content_hash([work.folder / path]) != record.digests[path]
    except OSError:  # it is gone
        return False


def _earlier(work: Work, before: Record, record: Record) -> tuple[set[str], set[str]]:
    """What earlier runs wrote and this one did not, as far as it is there; and what of it is to go."""
    earlier = {path for path in before.owned - set(record.outputs.values()) if (work.folder / path).exists()}
    if not _is_outdated(before, record):
        return earlier, set()
    return earlier, {path for path in earlier if not _is_edited(work, before, path)}


def _is_outdated(before: Record, record: Record) -> bool:
    """Test if what was written earlier is to go: the scan was another one, or nothing is found in it any more.

    Else it stays: a run that fails, or writes other formats, takes nothing away.
    """
    return bool(record.content) and (record.content != before.content or record.status == "nothing found")


def _remove_remains(work: Work, case: Case) -> None:
    """Delete what a killed run left half-written of this scan."""
    for path in work.paths(case).values():
        for remains in remains_of(path):
            with suppress(OSError):
                remains.unlink()


def _peak_memory() -> float | None:
    """The most memory this process has held so far, MiB; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
