"""A whole batch: every scan once, on whatever computes, with what is left to do and how long it will take."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from TernarySegmentLib.cohort.cases import Case
from TernarySegmentLib.cohort.cluster import Certificates, local_client, plan_here, remote_client, run_on
from TernarySegmentLib.cohort.overview import OVERVIEW_NAME
from TernarySegmentLib.cohort.record import Record, is_foreign, read_record, record_path
from TernarySegmentLib.cohort.scan import Outcome, Work, segment_case
from TernarySegmentLib.cohort.table import CSV_NAME, PARQUET_NAME
from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.outputs import check_outputs
from TernarySegmentLib.pipeline import Progress

if TYPE_CHECKING:
    from distributed import Client

RESULTS = (CSV_NAME, PARQUET_NAME, OVERVIEW_NAME)
"""What is written beside the scans' own outputs."""


@dataclass(frozen=True)
class Engine:
    """What computes a batch.

    Attributes:
        workers: processes on this computer; 0 chooses by cores and memory, 1 stays in this process without Dask.
        scheduler: of a running Dask cluster, ``tcp://host:port`` or ``tls://host:port``; empty for this computer.
        certificates: for ``tls://``.
    """

    workers: int = 0
    scheduler: str = ""
    certificates: Certificates | None = None


@dataclass(frozen=True)
class Step:
    """One scan has ended.

    Attributes:
        record: of the scan.
        reused: an earlier run had finished it.
        done: scans so far, of ``total``.
        elapsed_s: since the start.
        remaining_s: expected to the end; None before a scan was segmented in this run.
    """

    record: Record
    reused: bool
    done: int
    total: int
    elapsed_s: float
    remaining_s: float | None


def check_batch_outputs(cases: Sequence[Case], work: Work, inputs: Sequence[str | Path] = ()) -> None:
    """Refuse a batch that would overwrite one of its scans, a file of somebody else, or one output by another.

    Args:
        cases: the scans.
        work: what is done with them.
        inputs: what the scans were found by; a list of scans is to survive too.

    Raises:
        OutputError: naming the first such file; or the folder cannot be written.
    """
    scans = {_identity(file): file for case in cases for file in case.files}
    scans |= {_identity(Path(each)): Path(each) for each in inputs if Path(each).is_file()}
    taken: dict[str, str] = dict.fromkeys(RESULTS, "the batch")
    check_outputs({name: work.folder / name for name in RESULTS})
    for name in RESULTS:
        _refuse_scan(work.folder / name, scans)
    for case in cases:
        record = read_record(work.folder, case.name)
        damaged = record is None and record_path(work.folder, case.name).exists()  # then nobody knows
        for kind, path in work.paths(case).items():
            key = path.relative_to(work.folder).as_posix().casefold()
            if key in taken:
                raise OutputError(
                    f"“{path}” would be written twice, as the {kind} of “{case.name}” and by {taken[key]}; give the "
                    "scans other names in a list."
                )
            taken[key] = f"“{case.name}”"
            _refuse_scan(path, scans)
            own = damaged or kind == "record" or (record and path.relative_to(work.folder).as_posix() in record.owned)
            if path.exists() and not own:
                raise OutputError(
                    f"“{path}” is there already, and no record says that a batch wrote it; choose another output "
                    "folder, or move the file."
                )
        if is_foreign(record_path(work.folder, case.name)):
            raise OutputError(
                f"“{record_path(work.folder, case.name)}” is no record of this program and would be overwritten; "
                "choose another output folder."
            )


def _identity(path: Path) -> object:
    """Equal for two names of one file, through links too; None for a file that is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _refuse_scan(path: Path, scans: dict[object, Path]) -> None:
    identity = _identity(path)
    if identity is not None and identity in scans:
        raise OutputError(
            f"“{path}” would overwrite the input “{scans[identity]}”; choose another output folder or --format."
        )


def dask_available() -> bool:
    """Test if several processes can be used: Dask is installed, and what makes its certificates."""
    return all(importlib.util.find_spec(name) is not None for name in ("distributed", "cryptography"))


def run_batch(
    cases: Sequence[Case],
    work: Work,
    engine: Engine = Engine(),
    watch: Callable[[Case, Progress], None] = lambda case, progress: None,
) -> Iterator[Step]:
    """Segment scans, those that an earlier run has finished excepted; a scan that fails does not stop the others.

    To stop, close the iterator: what is finished stays, and a later call goes on from there.

    Args:
        cases: see :func:`~TernarySegmentLib.cohort.cases.find_cases`.
        work: what to do with each.
        engine: what computes.
        watch: is called with the progress within a scan where this process segments; what it raises ends the batch.

    Raises:
        ClusterError: the scheduler does not answer, or a worker has another version or model.
        ImportError: Dask is needed and not installed.
    """
    started = time.monotonic()
    connection, work = _connection(len(cases), work, engine)
    with connection as client:
        if client is None:
            outcomes: Iterator[Outcome] = (segment_case(case, work, partial(watch, case)) for case in cases)
        else:
            outcomes = run_on(client, iter(cases), work)
        fresh = 0
        for done, outcome in enumerate(outcomes, 1):
            elapsed = time.monotonic() - started
            fresh += not outcome.reused
            # those of an earlier run took no time, and may all come first
            remaining = elapsed / fresh * (len(cases) - done) if fresh else None
            yield Step(outcome.record, outcome.reused, done, len(cases), elapsed, remaining)


def _connection(scans: int, work: Work, engine: Engine) -> tuple[AbstractContextManager[Client | None], Work]:
    """A client of the cluster, or None for this process; and the work with the threads that fit."""
    threads = work.options.threads
    if engine.scheduler:
        # a worker cannot know how many others share its machine
        work = replace(work, options=replace(work.options, threads=threads or 1))
        return remote_client(engine.scheduler, engine.certificates), work
    if engine.workers == 1 or (engine.workers == 0 and not dask_available()):
        return nullcontext(), work
    shares = plan_here(scans, engine.workers, threads)
    if shares.workers == 1:
        return nullcontext(), work
    return local_client(shares), replace(work, options=replace(work.options, threads=shares.threads))
