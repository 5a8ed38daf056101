"""Batches on Dask's workers: real schedulers, workers, kills and certificates, all on the loopback address."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import SimpleITK as sitk
from cohort_support import ROOT, batch, kill, records_in, start, start_batch, wait_until, write_phantoms
from quick_model import quick_model, quick_options

from TernarySegmentLib import __version__, cli
from TernarySegmentLib.cohort.cases import Case, find_cases
from TernarySegmentLib.cohort.cluster import AHEAD, MEMORY_EACH, Plan, local_client, outcome_of, plan, run_on
from TernarySegmentLib.cohort.scan import Endings, Work
from TernarySegmentLib.errors import ClusterError
from TernarySegmentLib.pipeline import load_model

pytest.importorskip("distributed", reason="needs Dask: pip install -e .[cohort]")
pytest.importorskip("cryptography", reason="needs cryptography: pip install -e .[cohort]")

GIB = 1 << 30


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("scans"), 6)


@pytest.fixture(scope="module")
def single(scans, tmp_path_factory) -> Path:
    """The same scans by one process without Dask."""
    folder = tmp_path_factory.mktemp("single")
    assert batch(scans, "-o", folder) == 0
    return folder


@pytest.fixture(scope="module")
def client():
    with local_client(Plan(2, 1)) as connected:
        yield connected


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test starts, killed at its end."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            kill(process)


def work_in(folder: Path, **changes) -> Work:
    options = quick_options(threads=1)
    return Work(folder, options, Endings(), **{"model": load_model(options.model).sha256, **changes})


def assert_complete(folder: Path, single: Path) -> None:
    """Every scan is in the table, once, with the mask of the single run."""
    lines = (folder / "results.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 7
    masks = sorted(path.relative_to(single) for path in single.rglob("*.seg.nrrd"))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*.seg.nrrd")) == masks
    for mask in masks:
        one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(root / mask))) for root in (folder, single))
        assert (one == other).all(), mask


@pytest.mark.parametrize(
    ("scans", "cores", "memory", "asked", "expected"),
    [
        (200, 2, 24 * GIB, (0, 0), Plan(2, 1)),
        (200, 64, 32 * GIB, (0, 0), Plan(16, 4)),
        (1, 8, 64 * GIB, (0, 0), Plan(1, 8)),
        (200, 4, MEMORY_EACH // 2, (0, 0), Plan(1, 4)),
        (200, 8, 64 * GIB, (0, 4), Plan(2, 4)),
        (200, 8, 64 * GIB, (3, 0), Plan(3, 2)),
    ],
)
def test_processes_and_threads_fit_cores_memory_and_scans(scans, cores, memory, asked, expected):
    assert plan(scans, cores, memory, *asked) == expected


def test_two_workers_killed_in_the_middle_go_on_to_the_masks_of_the_single_run(scans, single, tmp_path):
    process = start_batch(scans, "-o", tmp_path, "--workers", "2")
    wait_until(lambda: len(records_in(tmp_path)) >= 2, process)
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in records_in(tmp_path)}
    assert len(before) < 6
    process = start_batch(scans, "-o", tmp_path, "--workers", "2")
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0, said
    assert said.count("finished before") == len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_complete(tmp_path, single)


# --- a scheduler and workers started by hand --------------------------------------------------------------------------


def start_cluster(processes: list, folder: Path, scheme: str = "tcp", *options: object, workers: int = 2) -> str:
    """A scheduler and workers as an administrator starts them; returns the address."""
    file = folder / "scheduler.json"
    common = ("--no-dashboard", *options)
    processes.append(
        start("distributed.cli.dask_scheduler", "--host", f"{scheme}://127.0.0.1", "--port", "0",
              "--scheduler-file", file, *common)
    )  # fmt: skip
    wait_until(file.is_file, processes[-1], 60)
    address = json.loads(file.read_text())["address"]
    for _ in range(workers):
        processes.append(
            start("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--host",
                  f"{scheme}://127.0.0.1", "--local-directory", folder, *common)
        )  # fmt: skip
    return address


def test_one_of_two_workers_is_killed_and_nothing_is_lost_or_done_twice(scans, single, tmp_path, processes):
    address = start_cluster(processes, tmp_path)
    output = tmp_path / "out"
    process = start_batch(scans, "-o", output, "--scheduler", address)
    processes.append(process)
    wait_until(lambda: len(records_in(output)) >= 2, process)
    before = {path: path.stat().st_mtime_ns for path in records_in(output)}
    kill(processes[1])
    said = process.communicate(timeout=400)[0]
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(re.findall(r"^\d/6", said, re.MULTILINE)) == 6
    assert_complete(output, single)


def test_a_scheduler_without_workers_is_said_in_a_sentence(scans, tmp_path, processes, monkeypatch, capsys):
    monkeypatch.setattr("TernarySegmentLib.cohort.cluster.PATIENCE_S", 3)
    address = start_cluster(processes, tmp_path, workers=0)
    assert cli.main(["batch", str(scans), "-o", str(tmp_path / "out"), "--scheduler", address]) == 1
    assert "has no worker" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_said_in_a_sentence(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("TernarySegmentLib.cohort.cluster.PATIENCE_S", 2)
    assert cli.main(["batch", str(scans), "-o", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err


def documented_certificates(folder: Path) -> None:
    """Make certificates by the commands of docs/cohorts.md."""
    page = (ROOT / "docs" / "cohorts.md").read_text(encoding="utf-8")
    [commands] = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "openssl req" in block]
    subprocess.run(["bash", "-euc", commands], cwd=folder, check=True, capture_output=True)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make certificates")
def test_over_tls_only_a_client_with_a_certificate_is_served(scans, tmp_path, processes, monkeypatch, capsys):
    documented_certificates(tmp_path)
    files = {kind: tmp_path / f"{kind}.pem" for kind in ("ca", "cert", "key")}
    address = start_cluster(
        processes, tmp_path, "tls", "--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key",
        files["key"], workers=1,
    )  # fmt: skip
    assert address.startswith("tls://")
    scan, output = str(scans / "p1"), tmp_path / "out"
    tls = [word for kind, path in files.items() for word in (f"--tls-{kind}", str(path))]
    model = ["--model", str(quick_model())]
    assert cli.main(["batch", scan, "-o", str(output), "-q", "--scheduler", address, *tls, *model]) == 0
    assert (output / "ct.seg.nrrd").is_file()

    monkeypatch.setattr("TernarySegmentLib.cohort.cluster.PATIENCE_S", 3)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    documented_certificates(stranger)
    tls = [word for kind in files for word in (f"--tls-{kind}", str(stranger / f"{kind}.pem"))]
    assert cli.main(["batch", scan, "-o", str(tmp_path / "no"), "-q", "--scheduler", address, *tls]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_an_address_open_beyond_this_computer_is_warned_of(scans, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("TernarySegmentLib.cohort.cluster.PATIENCE_S", 1)
    cli.main(["batch", str(scans), "-o", str(tmp_path), "--scheduler", "tcp://0.0.0.0:9"])
    assert "neither encrypted nor" in capsys.readouterr().err


# --- the cluster of this computer -------------------------------------------------------------------------------------


def test_the_cluster_of_this_computer_is_encrypted_and_listens_on_the_loopback_address_only(client):
    import psutil

    workers = client.scheduler_info()["workers"]
    assert {address.rsplit(":", 1)[0] for address in (client.scheduler.address, *workers)} == {"tls://127.0.0.1"}
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip == "127.0.0.1"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"model": "0" * 64}, "has SHA-256"), ({"version": "0.0.0"}, f"A worker has TernarySegment {__version__}")],
)
def test_a_worker_refuses_another_model_or_version(client, scans, tmp_path, change, sentence):
    cases = find_cases([scans], tmp_path).cases
    with pytest.raises(ClusterError, match=sentence):
        list(run_on(client, iter(cases), work_in(tmp_path, **change)))
    assert not records_in(tmp_path)


def test_only_a_few_scans_are_handed_out_at_a_time(client, tmp_path):
    taken = 0

    def many() -> Iterator[Case]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield Case(f"{number}", tmp_path / "missing.nii", (tmp_path / "missing.nii",))

    for back, outcome in enumerate(run_on(client, many(), work_in(tmp_path))):
        assert taken - back <= AHEAD * 2
        assert outcome.record.status == "failed"
    assert taken == 40


def test_a_scan_on_which_workers_die_fails_and_the_others_do_not(client, scans, tmp_path):
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    [case] = find_cases([scans / "p1"], tmp_path).cases
    dead = client.submit(die, pure=False)
    assert "Workers died" in outcome_of(dead, case, work_in(tmp_path)).record.failure
    client.wait_for_workers(1, timeout=60)
    [outcome] = run_on(client, iter([case]), work_in(tmp_path))
    assert outcome.record.status == "segmented"


def test_several_workers_without_dask_are_refused_naming_what_to_install(scans, tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "distributed.system", None)
    assert cli.main(["batch", str(scans), "-o", str(tmp_path), "--workers", "2"]) == 1
    assert "distributed" in capsys.readouterr().err
