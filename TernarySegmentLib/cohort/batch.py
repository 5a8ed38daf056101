"""A whole batch: every scan once, on whatever computes, with what is left to do and how long it will take."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from TernarySegmentLib.cohort.cases import Case
from TernarySegmentLib.cohort.cluster import Certificates, local_client, plan_here, remote_client, run_on
from TernarySegmentLib.cohort.record import Record
from TernarySegmentLib.cohort.scan import Outcome, Work, segment_case
from TernarySegmentLib.pipeline import Progress

if TYPE_CHECKING:
    from distributed import Client


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


def dask_available() -> bool:
    """Tell if several processes can be used: Dask is installed, and what makes its certificates."""
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
