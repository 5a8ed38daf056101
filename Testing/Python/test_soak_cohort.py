"""Two hundred scans through a batch, a scheduler and an index, with kills; prints what docs/cohorts.md says.

``python -m pytest -m soak -s Testing/Python/test_soak_cohort.py`` on a computer that does nothing else; with fewer
scans by TERNARYSEGMENT_SOAK_SCANS, and keeping the index of the last test where TERNARYSEGMENT_SOAK_INDEX says.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from case_counts import CASES
from cohort_support import SPACING, kill, records_in, start_batch, wait_until
from test_cohort_similar import altered

from TernarySegmentLib.cohort.codes import code_channels, describe
from TernarySegmentLib.cohort.index import Index
from TernarySegmentLib.cohort.indexing import find_scans, grow_index
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, load_model, run, segment

pytestmark = pytest.mark.soak
pytest.importorskip("distributed", reason="needs Dask: pip install -e .[cohort]")

SCANS = int(os.environ.get("TERNARYSEGMENT_SOAK_SCANS", "200"))
FOR_SPEED = min(SCANS, 100)
SHIPPED = ("--model", DEFAULT_MODEL)
IDLE = 0.2
"""Cores that other programs keep busy before the measurement; with more the speed says nothing of this one."""
SPEED_UP = 1.8
RECALL = 0.95
"""Patients found first; 199 of 200 with the weights before the last training, 58 of 60 with those that ship."""


def regridded(ct: sitk.Image, spacing: tuple[float, float, float], turn: float) -> sitk.Image:
    """A real scan on another grid, turned about the patient's long axis."""
    rotation = sitk.Euler3DTransform()
    rotation.SetRotation(0, 0, turn)
    direction = np.array(rotation.GetMatrix()).reshape(3, 3)
    size = np.array(ct.GetSize()) * ct.GetSpacing() / spacing
    centre = np.array(ct.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in ct.GetSize()]))
    origin = centre - direction @ ((size - 1) / 2 * spacing)
    return sitk.Resample(
        ct, [int(n) for n in size], sitk.Transform(), sitk.sitkLinear, origin.tolist(), spacing,
        direction.ravel().tolist(), -1024, sitk.sitkInt16,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory, shared_data) -> Path:
    """Phantoms, and two real scans on three grids each."""
    folder = tmp_path_factory.mktemp("scans")
    real = [read_ct(shared_data / name) for name in ("nih_pancreas_0004/ct.nii.gz", "acrin_dicom")]
    grids = [((1.0, 1.0, 2.0), 0.0), ((1.5, 1.2, 3.0), 0.1), ((0.9, 0.9, 4.0), -0.15)]
    images = {f"real{n}-{g}": (ct, grid) for n, ct in enumerate(real) for g, grid in enumerate(grids)}
    taken = list(images.items())[: SCANS // 4]
    for name, (ct, (spacing, turn)) in taken:
        sitk.WriteImage(regridded(ct, spacing, turn), str(folder / f"{name}.nii.gz"))
    for seed in range(SCANS - len(taken)):
        sitk.WriteImage(make_phantom(seed, SPACING).ct, str(folder / f"p{seed}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def single(scans) -> dict[str, bytes]:
    """The mask of each scan by a run of its own, as it lies in memory."""
    masks = {}
    for path in sorted(scans.iterdir()):
        mask = run(segment(read_ct(path))).mask
        masks[path.name.removesuffix(".nii.gz")] = sitk.GetArrayViewFromImage(mask).tobytes()
    return masks


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def assert_complete(folder: Path, single: dict[str, bytes]) -> None:
    """Every scan once in the table, and with the mask of its single run."""
    rows = table(folder)
    assert sorted(row["name"] for row in rows) == sorted(single)
    assert {row["status"] for row in rows} <= {"segmented", "nothing found"}
    for name, mask in single.items():
        written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.seg.nrrd")))
        assert written.tobytes() == mask, name
    assert not list(folder.rglob(".ternarysegment-*"))


def rate_of(said: str) -> float:
    return float(re.search(r"([\d.]+) scans an hour", said)[1])


def test_many_scans_on_two_workers_killed_in_the_middle_and_resumed(scans, single, tmp_path, record_property):
    record_property(CASES, SCANS)
    process = start_batch(scans, "-o", tmp_path, "--workers", "2", "--threads", "1", *SHIPPED)
    wait_until(lambda: len(records_in(tmp_path)) >= SCANS // 2, process, 7200)
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in records_in(tmp_path)}
    process = start_batch(scans, "-o", tmp_path, "--workers", "2", "--threads", "1", *SHIPPED)
    said = process.communicate(timeout=7200)[0]
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_complete(tmp_path, single)
    memory = max(float(row["memory_mib"] or 0) for row in table(tmp_path))
    print(
        f"\n{SCANS} scans, killed after {len(before)}: complete, every mask that of the single run; "
        f"{rate_of(said):.0f} scans an hour on two workers, at most {memory:.0f} MiB each"
    )


def busy_cores(seconds: float = 5.0) -> float:
    """How many cores work just now, by the system's own account."""

    def spent() -> tuple[int, int]:
        with open("/proc/stat", encoding="ascii") as file:
            ticks = [int(word) for word in file.readline().split()[1:]]
        return sum(ticks), ticks[3] + ticks[4]  # in all, and idle or waiting for a disk

    before = spent()
    time.sleep(seconds)
    total, idle = (after - first for after, first in zip(spent(), before, strict=True))
    return (total - idle) / total * (os.cpu_count() or 1)


def test_two_workers_do_nearly_twice_the_work_of_one(scans, tmp_path):
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(scans.glob("p*"))[:FOR_SPEED]:
        shutil.copy(path, some)
    busy, rates = busy_cores(), []
    for workers in (1, 2):
        process = start_batch(some, "-o", tmp_path / f"out{workers}", "--workers", workers, "--threads", "1", *SHIPPED)
        said = process.communicate(timeout=7200)[0]
        assert process.returncode == 0, said
        rates.append(rate_of(said))
    speed_up = rates[1] / rates[0]
    print(
        f"\n{rates[0]:.0f} scans an hour on one worker, {rates[1]:.0f} on two: {speed_up:.2f} times; "
        f"others kept {busy:.1f} cores busy"
    )
    if busy < IDLE and (os.cpu_count() or 1) >= 2:
        assert speed_up >= SPEED_UP


def test_a_scheduler_with_two_workers_of_which_one_is_killed_loses_and_repeats_nothing(
    scans, single, tmp_path, record_property
):
    from test_cohort_cluster import start_cluster

    record_property(CASES, SCANS)
    processes: list = []
    try:
        address, output = start_cluster(processes, tmp_path), tmp_path / "out"
        process = start_batch(scans, "-o", output, "--scheduler", address, *SHIPPED)
        processes.append(process)
        wait_until(lambda: len(records_in(output)) >= SCANS // 4, process, 7200)
        before = {path: path.stat().st_mtime_ns for path in records_in(output)}
        kill(processes[1])
        said = process.communicate(timeout=7200)[0]
        assert process.returncode == 0, said
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert len(re.findall(rf"^\d+/{SCANS}\b", said, re.MULTILINE)) == SCANS
        assert_complete(output, single)
        print(f"\n{SCANS} scans through a scheduler, a worker killed after {len(before)}: nothing lost, nothing twice")
    finally:
        for each in processes:
            if each.poll() is None:
                kill(each)


def test_altered_copies_find_their_originals_first_among_all(scans, tmp_path, record_property):
    model, found = load_model(), find_scans(scans)
    empty = Index.empty(model.sha256, code_channels(model))
    index = drain(grow_index(empty, found, tmp_path / "archive.npz", Options()))
    same, first = 0, 0
    for number, entry in enumerate(index.entries):
        copy = altered(read_ct(scans / entry.name), number)
        described = drain(describe(copy))
        nearest = index.search(described.means, 1)[0].entry.name
        same += nearest == entry.name
        first += nearest.partition("-")[0] == entry.name.partition("-")[0]  # a real scan lies there on three grids
    total = len(index.entries)
    record_property(CASES, total)
    kept = shutil.copy(tmp_path / "archive.npz", os.environ.get("TERNARYSEGMENT_SOAK_INDEX", tmp_path / "kept.npz"))
    print(
        f"\nrecall@1 of altered copies among {total}: {first / total:.3f} ({first} find their patient first, "
        f"{same} the very file); index: {kept}"
    )
    print(f"a million codes beside faiss: python -m TernarySegmentLib.bench.retrieval {kept}")
    assert total >= 0.95 * SCANS
    assert first >= RECALL * total
