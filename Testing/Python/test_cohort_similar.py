"""Similar cases: an altered copy finds its original, codes stay comparable, and an index grows, resumes and refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_model import quick_model, quick_options
from test_imaging_reading import ct_image, write_dicom

from TernarySegmentLib import cli
from TernarySegmentLib.bench.retrieval import shared_measure
from TernarySegmentLib.cohort import indexing
from TernarySegmentLib.cohort.codes import Description, Thresholds, code_channels, describe, mean_trits
from TernarySegmentLib.cohort.index import ENOUGH_TO_FIT, STEP, Entry, Index, read_index, write_index
from TernarySegmentLib.cohort.indexing import find_scans, grow_index
from TernarySegmentLib.engine.bitplanes import unpack
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import Options, load_model, run, segment

SEEDS = range(6)
SPACING = (2.5, 2.5, 3.0)


def described(ct: sitk.Image) -> Description:
    return drain(describe(ct, quick_options()))


def altered(ct: sitk.Image, seed: int) -> sitk.Image:
    """A copy moved by up to 15 mm, turned by up to 5° about each axis, on another grid, with noise of 15 HU."""
    random = np.random.default_rng(seed)
    size, old = np.array(ct.GetSize()), np.array(ct.GetSpacing())
    spacing = np.array([random.uniform(1.6, 2.8)] * 2 + [random.uniform(2.0, 4.0)])
    motion = sitk.Euler3DTransform()
    motion.SetCenter(ct.TransformContinuousIndexToPhysicalPoint([n / 2 for n in ct.GetSize()]))
    motion.SetRotation(*np.radians(random.uniform(-5, 5, 3)))
    motion.SetTranslation(random.uniform(-15, 15, 3).tolist())
    moved = sitk.Resample(
        ct, [int(n) for n in size * old / spacing], motion, sitk.sitkLinear, ct.GetOrigin(), spacing.tolist(),
        ct.GetDirection(), -1024, sitk.sitkInt16,
    )  # fmt: skip
    noisy = sitk.GetArrayFromImage(moved) + random.normal(0, 15, moved.GetSize()[::-1])
    result = sitk.GetImageFromArray(noisy.clip(-1024, 3000).astype(np.int16))
    result.CopyInformation(moved)
    return result


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A folder of phantoms in two subfolders."""
    folder = tmp_path_factory.mktemp("archive")
    for seed in SEEDS:
        path = folder / ("even" if seed % 2 == 0 else "odd") / f"{seed}.nrrd"
        path.parent.mkdir(exist_ok=True)
        sitk.WriteImage(make_phantom(seed, spacing=SPACING).ct, str(path))
    return folder


@pytest.fixture(scope="module")
def indexed(archive, tmp_path_factory) -> Path:
    """Its index, as the command writes it."""
    path = tmp_path_factory.mktemp("index") / "archive.npz"
    assert cli.main(["index", str(archive), "-o", str(path), "-q", "--model", str(quick_model())]) == 0
    return path


# --- copies find their originals --------------------------------------------------------------------------------------


def test_an_altered_copy_finds_its_original_first_by_the_command(archive, indexed, tmp_path, capsys):
    copy, report = tmp_path / "copy.nrrd", tmp_path / "near.json"
    sitk.WriteImage(altered(read_ct(archive / "odd" / "3.nrrd"), 3), str(copy))
    capsys.readouterr()
    command = ["similar", str(copy), "--index", str(indexed), "-n", "3", "--report", str(report), "-q"]
    assert cli.main([*command, "--model", str(quick_model())]) == 0
    assert "odd/3.nrrd" in capsys.readouterr().out.splitlines()[1]
    found = json.loads(report.read_text())["neighbours"]
    assert found[0]["name"] == "odd/3.nrrd"
    assert len(found) == 3
    assert found[0]["similarity"] > found[1]["similarity"] > found[2]["similarity"]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_phantoms_altered_copy_finds_it_first(archive, indexed, seed):
    index = read_index(indexed)
    copy = altered(read_ct(next(archive.rglob(f"{seed}.nrrd"))), 100 + seed)
    assert index.search(described(copy).means, 1)[0].entry.name.endswith(f"/{seed}.nrrd")


@pytest.mark.parametrize("source", ["nih_pancreas_0004/ct.nii.gz", "acrin_dicom"])
def test_a_real_scans_altered_copy_finds_it_among_phantoms(shared_data, indexed, source):
    ct = read_ct(shared_data / source)
    index = read_index(indexed).with_scans([(Entry(source, "real"), described(ct))])
    assert index.search(described(altered(ct, 5)).means, 1)[0].entry.name == source


def test_both_back_ends_give_the_same_means(archive):
    pytest.importorskip("numba", reason="numba is not installed; there is only the NumPy path to run")
    ct, model = read_ct(archive / "even" / "0.nrrd"), load_model(quick_model())
    mask = run(segment(ct, quick_options())).mask
    numba, numpy = (drain(mean_trits(ct, mask, model, backend)) for backend in ("numba", "numpy"))
    np.testing.assert_array_equal(numba, numpy)
    assert numba.shape == (code_channels(model),)


# --- codes ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_codes_are_the_means_compared_with_the_thresholds(scans, channels, seed):
    random = np.random.default_rng(seed)
    means = random.integers(-3, 4, (scans, channels)).astype(np.float32) / 4
    thresholds = Thresholds.of(means)
    trits = unpack(*thresholds.planes(means), channels)
    wanted = (means >= thresholds.high).astype(int) - (means <= thresholds.low)
    np.testing.assert_array_equal(trits, np.where(thresholds.low == thresholds.high, 0, wanted))


def scans(count: int, seed: int = 0) -> list[tuple[Entry, Description]]:
    means = np.random.default_rng(seed).uniform(-1, 1, (count, 96)).astype(np.float32)
    return [
        (Entry(f"{seed}-{row}", f"{seed}/{row}"), Description(each, 80.0, 90.0, 0.1)) for row, each in enumerate(means)
    ]


def test_thresholds_follow_a_small_archive_and_then_stay_so_that_codes_stay_comparable():
    index = Index.empty("model", 96).with_scans(scans(10))
    grown = index.with_scans(scans(ENOUGH_TO_FIT, seed=1))
    assert not np.array_equal(index.thresholds.low, grown.thresholds.low)
    later = grown.with_scans(scans(500, seed=2))
    np.testing.assert_array_equal(later.thresholds.low, grown.thresholds.low)
    np.testing.assert_array_equal(later.planes[0][: len(grown.entries)], grown.planes[0])
    assert not np.array_equal(later.refitted().thresholds.low, grown.thresholds.low)
    shared = Index.empty("model", 96, grown.thresholds).with_scans(scans(5, seed=3))
    np.testing.assert_array_equal(shared.thresholds.high, grown.thresholds.high)


def test_search_ranks_by_the_ternary_dot_product():
    index = Index.empty("model", 96).with_scans(scans(300))
    query = scans(1, seed=9)[0][1].means
    codes = unpack(*index.planes, 96).astype(int)
    kept = np.rint(query[None] / STEP).astype(np.int8) * np.float32(STEP)
    products = codes @ unpack(*index.thresholds.planes(kept), 96)[0]
    found = index.search(query, 20)
    assert [each.score for each in found] == sorted(products, reverse=True)[:20]
    own = index.search(index.levels[7] * np.float32(STEP), 1)[0]
    assert (own.entry.name, own.similarity) == ("0-7", pytest.approx(1.0))


# --- the file ---------------------------------------------------------------------------------------------------------


def test_an_index_reads_back_as_it_was_written_without_pickle(tmp_path):
    index = replace(Index.empty("model", 96).with_scans(scans(70)), without={"x": "No pancreas."})
    write_index(index, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)
    read = read_index(tmp_path / "a.npz")
    assert read.entries == tuple(replace(each, fat_fraction=float(np.float32(0.1))) for each in index.entries)
    assert (read.model, read.fixed, read.without) == ("model", True, {"x": "No pancreas."})
    for one, other in zip(read.planes, index.planes, strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_damaged_foreign_and_newer_files_are_refused(tmp_path):
    path = tmp_path / "index.npz"
    with pytest.raises(InputError, match="There is no index"):
        read_index(path)
    write_index(Index.empty("model", 96).with_scans(scans(70)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is damaged"):
        read_index(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    with pytest.raises(InputError, match="is damaged"):
        read_index(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InputError, match="is no index"):
        read_index(path)


def shorter_codes(parts: dict) -> None:
    parts["levels"] = parts["levels"][:, :-1]


def more_names(parts: dict) -> None:
    parts["manifest"]["names"].append("one more")


def other_kind(parts: dict) -> None:
    parts["low"] = parts["low"].astype(np.float64)


def thresholds_no_number(parts: dict) -> None:
    parts["high"][0] = np.nan


def no_channels(parts: dict) -> None:
    parts["manifest"]["channels"] = "96"


def no_measures(parts: dict) -> None:
    del parts["measures"]


def no_version(parts: dict) -> None:
    del parts["manifest"]["version"]


@pytest.mark.parametrize(
    "change",
    [shorter_codes, more_names, other_kind, thresholds_no_number, no_channels, no_measures, no_version],
)
def test_an_index_that_contradicts_itself_is_refused_before_it_is_searched(tmp_path, change):
    path = tmp_path / "index.npz"
    write_index(Index.empty("model", 96).with_scans(scans(3)), path)
    with np.load(path) as stored:
        parts = {name: stored[name].copy() for name in stored.files}
    parts["manifest"] = json.loads(parts["manifest"].tobytes())
    change(parts)
    parts["manifest"] = np.frombuffer(json.dumps(parts["manifest"]).encode(), np.uint8)
    np.savez(path, **parts)
    with pytest.raises(InputError, match=r"contradicts itself|is no index"):
        read_index(path)


def test_codes_of_another_length_are_not_searched():
    index = Index.empty("model", 96).with_scans(scans(3))
    with pytest.raises(InputError, match="64 channels"):
        index.search(np.zeros(64, np.float32))


def test_neither_scan_nor_index_is_overwritten_by_the_report(archive, indexed, capsys):
    scan = archive / "even" / "0.nrrd"
    for lost in (scan, indexed):
        before = lost.read_bytes()
        assert cli.main(["similar", str(scan), "--index", str(indexed), "--report", str(lost)]) == 1
        assert "would overwrite the input" in capsys.readouterr().err
        assert lost.read_bytes() == before


def test_an_archive_of_which_a_part_cannot_be_read_is_refused(unprivileged):
    for name in ("a", "closed"):
        (unprivileged / name).mkdir()
        (unprivileged / name / "ct.nrrd").touch()
    (unprivileged / "closed").chmod(0)
    with pytest.raises(InputError, match="closed” cannot be read"):
        find_scans(unprivileged)
    (unprivileged / "closed").chmod(0o700)


def test_an_index_of_another_model_is_refused_by_both_commands(archive, tmp_path, capsys):
    path = tmp_path / "other.npz"
    write_index(Index.empty("0" * 64, code_channels(load_model())).with_scans([]), path)
    before = path.read_bytes()
    for command in (["index", str(archive), "-o", str(path)],
                    ["similar", str(archive / "even" / "0.nrrd"), "--index", str(path)]):  # fmt: skip
        assert cli.main(command) == 1
        assert "made with the model 000000000000" in capsys.readouterr().err
    assert path.read_bytes() == before


# --- growing ----------------------------------------------------------------------------------------------------------


def test_what_was_described_before_an_interruption_is_kept(archive, tmp_path, monkeypatch):
    path, model = tmp_path / "index.npz", load_model()
    seen, means = iter(scans(100)), np.zeros(code_channels(model), np.float32)
    monkeypatch.setattr(indexing, "_described", lambda *_: replace(next(seen)[1], means=means))
    steps = grow_index(Index.empty(model.sha256, code_channels(model)), find_scans(archive), path, Options())
    next(steps), next(steps)
    steps.close()
    assert len(read_index(path).entries) == 2


def test_a_folder_of_dicom_stands_for_its_own_slices_not_for_those_of_folders_below(tmp_path, monkeypatch):
    for folder, seed in (("a", 1), ("a/below", 2)):
        write_dicom(tmp_path / folder, ct_image(seed=seed), seed)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    monkeypatch.setattr(indexing, "describe", lambda ct, options: iter_of(sitk.GetArrayFromImage(ct).copy()))
    described = {}
    for scan in find_scans(tmp_path):
        try:
            described[scan.name] = indexing._described(scan, Options(), lambda scan, progress: None)
        except InputError as error:
            described[scan.name] = str(error)
    assert "DICOMDIR" in described.pop(".")
    for name, seed in (("a", 1), ("a/below", 2)):
        np.testing.assert_array_equal(described.pop(name), sitk.GetArrayFromImage(ct_image(seed=seed)))
    assert not described


def iter_of(value):
    """A computation that has nothing to do."""
    yield from ()
    return value


def test_what_a_scan_was_before_leaves_the_index_when_the_new_one_has_no_code(tmp_path, monkeypatch):
    folder, path = tmp_path / "archive", tmp_path / "index.npz"
    folder.mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        (folder / name).write_text(name)
    answers = iter([each for _, each in scans(2)])
    monkeypatch.setattr(indexing, "_described", lambda *_: next(answers))
    index = drain(grow_index(Index.empty("model", 96), find_scans(folder), path, Options()))
    assert [entry.name for entry in index.entries] == ["a.nrrd", "b.nrrd"]

    def nothing(*_):
        raise InputError("No pancreas was found.")

    monkeypatch.setattr(indexing, "_described", nothing)
    (folder / "a.nrrd").write_text("another patient")
    for _ in range(2):  # found by reading it, then known
        index = drain(grow_index(index, find_scans(folder), path, Options()))
        assert [entry.name for entry in read_index(path).entries] == ["b.nrrd"]
    assert index.levels.shape == (1, 96)


def test_a_scan_that_failed_is_tried_again_and_stops_no_other(tmp_path, monkeypatch, caplog):
    folder, path = tmp_path / "archive", tmp_path / "index.npz"
    folder.mkdir()
    for name in ("a.nrrd", "b.nrrd", "c.nrrd"):
        (folder / name).write_text(name)
    described = scans(1)[0][1]
    failing = True

    def describe(scan, *_):
        if failing and scan.name == "a.nrrd":
            raise InputError("“a.nrrd” cannot be read (Input/output error).") from OSError(5, "Input/output error")
        if failing and scan.name == "b.nrrd":
            raise RuntimeError("nobody thought of this")
        return described

    def grown(index):
        steps, reasons = grow_index(index, find_scans(folder), path, Options()), []
        index = drain(steps, lambda step: reasons.append(step.reason))
        return index, reasons

    monkeypatch.setattr(indexing, "_described", describe)
    index, reasons = grown(Index.empty("model", 96))
    assert [entry.name for entry in index.entries] == ["c.nrrd"]
    assert "Input/output error" in reasons[0]
    assert "please report it: RuntimeError: nobody thought of this" in reasons[1]
    assert "Traceback" in caplog.text
    failing = False
    index, reasons = grown(read_index(path))
    assert sorted(entry.name for entry in index.entries) == ["a.nrrd", "b.nrrd", "c.nrrd"]
    assert not any(reasons)


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no CT"):
        find_scans(tmp_path)


# --- what neighbours share --------------------------------------------------------------------------------------------


def test_the_permutation_test_finds_a_shared_measure_and_none_where_there_is_none():
    random = np.random.default_rng(4)
    measure = random.uniform(0, 1, 120)
    tilt = random.normal(0, 1, 96)
    means = np.tanh(random.normal(0, 1, (120, 96)) * 0.3 + measure[:, None] * tilt)
    described = [
        (Entry(str(row), str(row)), Description(each.astype(np.float32), 0, 0, 0)) for row, each in enumerate(means)
    ]
    index = Index.empty("model", 96).with_scans(described)
    assert shared_measure(index, range(120), measure, permutations=199).p <= 0.01
    assert shared_measure(index, range(120), random.uniform(0, 1, 120), permutations=199).p > 0.01
