"""Dask: the scans of a batch on several processes of this computer, or on the workers of a scheduler.

Processes, not threads: reading, resampling and writing hold Python's lock in part. The cluster of this computer listens
on the loopback address only, encrypted and with certificates that live as long as the batch, so that no other user of
the computer can reach it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from TernarySegmentLib.cohort.cases import Case
from TernarySegmentLib.cohort.record import Record
from TernarySegmentLib.cohort.scan import Outcome, Work, segment_case
from TernarySegmentLib.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client, Future

MEMORY_EACH = 2 << 30
"""Bytes for each process: a scan of 900 slices takes 1.3 GB beyond its own 0.5 GB."""
AHEAD = 2
"""Scans handed out for each thread of the workers: one that it works on and one that waits there."""
PATIENCE_S = 60
"""Until a scheduler and a first worker answer."""
LOOK_S = 1
"""Between two looks at the workers while no scan ends."""


@dataclass(frozen=True)
class Plan:
    """How this computer is shared out.

    Attributes:
        workers: processes, each with one scan at a time.
        threads: of each.
    """

    workers: int
    threads: int


def plan(scans: int, cores: int, memory: int, workers: int = 0, threads: int = 0) -> Plan:
    """Choose processes × threads: as many processes as cores, memory and scans allow, the cores shared among them.

    Args:
        scans: of the batch.
        cores: of this computer.
        memory: bytes that may be used.
        workers: as asked for; 0 chooses.
        threads: of each worker, alike.

    Examples:
        >>> plan(200, cores=16, memory=64 << 30)
        Plan(workers=16, threads=1)
        >>> plan(200, cores=16, memory=8 << 30)
        Plan(workers=4, threads=4)
        >>> plan(3, cores=16, memory=64 << 30)
        Plan(workers=3, threads=5)
    """
    possible = min(cores // threads if threads else cores, memory // MEMORY_EACH, scans)
    workers = workers or max(1, possible)
    return Plan(workers, threads or max(1, cores // workers))


def plan_here(scans: int, workers: int = 0, threads: int = 0) -> Plan:
    """The plan for this computer, or for what a container or a batch system lets this process use of it.

    Raises:
        ImportError: dask.distributed is not installed.
    """
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return plan(scans, CPU_COUNT, MEMORY_LIMIT, workers, threads)


@dataclass(frozen=True)
class Certificates:
    """PEM files for ``tls://``: the authority's certificate, and this side's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


@contextmanager
def local_client(shares: Plan) -> Iterator[Client]:
    """A cluster of this computer, ended with the block."""
    import dask
    from distributed import Client, LocalCluster

    count = str(shares.threads)
    settings = {
        # SimpleITK and NumPy's BLAS would take all cores in each process. These take the place of Dask's own, among
        # which a MALLOC_TRIM_THRESHOLD_ that makes every large array anew: a quarter more time for each scan
        "distributed.nanny.pre-spawn-environ": {
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": count, "OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count,
        },
        # without a dashboard Dask still answers HTTP, unencrypted: with nothing
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }  # fmt: skip
    with (
        _quiet(),
        dask.config.set(settings),
        LocalCluster(
            n_workers=shares.workers, threads_per_worker=1, processes=True, host="127.0.0.1", security=True,
            dashboard_address=None, silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from telling each step: what people should know is said in a sentence."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def remote_client(scheduler: str, certificates: Certificates | None = None) -> Iterator[Client]:
    """A client of a scheduler that runs already.

    Args:
        scheduler: ``tcp://host:port`` or ``tls://host:port``.
        certificates: for ``tls://``; without them Dask's own configuration decides.

    Raises:
        ClusterError: the scheduler does not answer, or has no worker.
    """
    from distributed import Security

    security: Any = None
    if certificates is not None:
        for path in (certificates.authority, certificates.certificate, certificates.key):
            if not path.is_file():
                raise ClusterError(f"There is no certificate or key “{path}”; check the path.")
        security = Security(
            require_encryption=True, tls_ca_file=str(certificates.authority),
            tls_client_cert=str(certificates.certificate), tls_client_key=str(certificates.key),
        )  # fmt: skip
    with _quiet(), _connected(scheduler, security) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise ClusterError(
                f"The scheduler {scheduler} has no worker; start some with: dask worker {scheduler} --nthreads 1"
            ) from error
        yield client


def _connected(scheduler: str, security: Any) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, security=security, timeout=PATIENCE_S)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"The scheduler {scheduler} does not answer ({str(error) or type(error).__name__}); check the address, "
            "that it runs, and for tls:// the certificates."
        ) from error


def run_on(client: Client, cases: Iterator[Case], work: Work) -> Iterator[Outcome]:
    """The outcomes of scans as the workers finish them, in any order.

    Only :data:`AHEAD` scans for each thread are handed out at a time, so that neither the scheduler nor this process
    holds the whole batch. A scan whose worker dies goes to another one; what the dead one had finished already is
    found there and not done again.

    Args:
        client: of the cluster.
        cases: the scans.
        work: what to do with each; its paths must be valid on every worker.

    Raises:
        ClusterError: the scheduler is gone, or a worker has another version or model.
    """
    from distributed import wait

    running: dict[Future[Outcome], Case] = {}
    while True:
        room = AHEAD * sum(client.nthreads().values()) - len(running)
        for _, case in zip(range(room), cases, strict=False):
            running[client.submit(segment_case, case, work, pure=False)] = case
        if not running:
            if room > 0:
                return
            time.sleep(LOOK_S)  # every worker is gone; others may come
            continue
        try:
            done = wait(list(running), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:  # look at the workers again: some may have joined or left
            continue
        for future in done:
            yield outcome_of(future, running.pop(future), work)
            future.release()


def outcome_of(future: Future[Outcome], case: Case, work: Work) -> Outcome:
    """What came of a scan that was handed out; a failure where its workers died.

    Raises:
        ClusterError: the scheduler is gone, or the worker has no such library, version or model.
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        return future.result()
    except KilledWorker:
        sentence = "Workers died on this scan one after the other, most likely for want of memory; use fewer workers."
    except (FutureCancelledError, OSError) as error:
        raise ClusterError(
            "The connection to the scheduler broke; run the same command again, finished scans are passed over."
        ) from error
    except ImportError as error:
        raise ClusterError(
            f"A worker cannot import {error.name or error}; install TernarySegment {work.version} there."
        ) from error
    record = Record(
        case.name, "failed", failure=sentence, input=str(case.source), series=case.series, version=work.version,
        model=work.model,
    )  # fmt: skip
    return Outcome(replace(record, settings=work.settings(case)), reused=False)
