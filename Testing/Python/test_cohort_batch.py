"""A batch in one process: complete table, masks as from ``segment``, nothing done twice, nothing stopped by a fault."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cohort_support import batch, kill, records_in, start_batch, wait_until, write_phantoms
from quick_model import quick_model, quick_options
from test_imaging_dicom_seg import patient_series
from test_imaging_reading import UID

from TernarySegmentLib import cli
from TernarySegmentLib.cohort.commands import EXIT_SOME_FAILED
from TernarySegmentLib.cohort.outputs import write_outputs
from TernarySegmentLib.cohort.record import read_record
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.atomic import atomic_path, remains_of
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("scans"), 2)


@pytest.fixture(scope="module")
def finished(scans, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert batch(scans, "-o", folder) == 0
    return folder


@pytest.fixture
def output(finished, tmp_path) -> Path:
    """A finished batch to change something about."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "results.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def finished_times(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in records_in(folder)}


def done_again(folder: Path, run) -> set[str]:
    """Which scans a run segments."""
    before = finished_times(folder)
    run()
    return {name.removesuffix("/ct.json") for name, when in finished_times(folder).items() if before.get(name) != when}


def test_every_mask_is_that_of_the_single_command_and_the_table_says_what_it_measures(scans, finished, tmp_path):
    rows = {row["name"]: row for row in table(finished)}
    assert set(rows) == {"Müller 0/ct", "p1/ct"}
    for name, row in rows.items():
        single = tmp_path / "single.seg.nrrd"
        command = ["segment", str(scans / f"{name}.nii.gz"), "-o", str(single), "-q"]
        assert cli.main([*command, "--model", str(quick_model())]) == 0
        mask = sitk.ReadImage(str(finished / row["mask"]))
        assert (sitk.GetArrayFromImage(mask) == sitk.GetArrayFromImage(sitk.ReadImage(str(single)))).all()
        millilitres = np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()) / 1000
        assert float(row["volume_ml"]) == pytest.approx(millilitres, abs=0.01)
        assert row["status"] == "segmented"
        assert 0 < float(row["doubt"]) <= 1


def test_the_parquet_table_holds_the_same_with_types(finished):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install -e .[cohort]")
    rows = parquet.read_table(finished / "results.parquet").to_pylist()
    assert [(row["name"], row["volume_ml"], row["failure"]) for row in rows] == [
        (row["name"], float(row["volume_ml"]), row["failure"]) for row in table(finished)
    ]


def test_scans_that_fail_stop_nothing_and_say_why(scans, tmp_path):
    broken = shutil.copytree(scans, tmp_path / "scans")
    (broken / "cut.nii.gz").write_bytes((scans / "p1" / "ct.nii.gz").read_bytes()[:5000])
    sitk.WriteImage(make_phantom(0, (8.0, 8.0, 8.0)).labels, str(broken / "labels.nii.gz"))
    assert batch(broken, "-o", tmp_path / "out") == EXIT_SOME_FAILED
    rows = {row["name"]: row for row in table(tmp_path / "out")}
    assert [rows[name]["status"] for name in ("cut", "labels", "p1/ct")] == ["failed", "failed", "segmented"]
    assert "cut off" in rows["cut"]["failure"]
    assert rows["labels"]["failure"].endswith(".")
    assert not (tmp_path / "out" / "cut.seg.nrrd").exists()


def test_finished_scans_are_passed_over_and_the_table_is_complete_again(scans, output):
    (output / "results.csv").unlink()
    assert done_again(output, lambda: batch(scans, "-o", output)) == set()
    assert len(table(output)) == 2


def test_a_table_of_results_is_a_list_to_run_again_elsewhere(finished, tmp_path):
    assert batch(finished / "results.csv", "-o", tmp_path, "--format", ".nii.gz") == 0
    assert (tmp_path / "p1" / "ct.nii.gz").is_file()


def changed_content(scans: Path, output: Path) -> None:
    sitk.WriteImage(make_phantom(9, (3.0, 3.0, 5.0)).ct, str(scans / "p1" / "ct.nii.gz"))


def lost_mask(scans: Path, output: Path) -> None:
    (output / "p1" / "ct.seg.nrrd").unlink()


def half_a_record(scans: Path, output: Path) -> None:
    record = output / "p1" / "ct.json"
    record.write_text(record.read_text(encoding="utf-8")[:300], encoding="utf-8")


@pytest.mark.parametrize("change", [changed_content, lost_mask, half_a_record])
def test_a_scan_is_done_again_when_its_content_mask_or_record_is_not_what_it_was(scans, output, tmp_path, change):
    copied = Path(shutil.copytree(scans, tmp_path / "scans"))
    change(copied, output)
    assert done_again(output, lambda: batch(copied, "-o", output)) >= {"p1"}
    record = read_record(output, "p1/ct")
    assert record.done
    assert (output / record.mask).is_file()


def test_a_mask_of_what_a_scan_was_before_does_not_stay(scans, output, tmp_path):
    copied = Path(shutil.copytree(scans, tmp_path / "scans"))
    path = copied / "p1" / "ct.nii.gz"
    ct = read_ct(path)
    sitk.WriteImage(ct[:, :, :12], str(path))  # the pelvis
    batch(copied, "-o", output)
    assert read_record(output, "p1/ct").status == "nothing found"
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(output / "p1" / "ct.seg.nrrd"))).any()
    sitk.WriteImage(ct, str(path))
    batch(copied, "-o", output)
    path.write_bytes(path.read_bytes()[:1000])
    batch(copied, "-o", output)
    assert not (output / "p1" / "ct.seg.nrrd").exists()


def test_a_failure_leaves_the_mask_of_a_scan_that_is_the_same(scans, output, monkeypatch):
    monkeypatch.setattr("TernarySegmentLib.cohort.scan.segment", lambda *_: 1 / 0)
    batch(scans, "-o", output, "--smoothing", "1")
    assert read_record(output, "p1/ct").status == "failed"
    assert (output / "p1" / "ct.seg.nrrd").is_file()


def test_a_failure_does_not_make_the_mask_of_what_a_scan_was_before_stay(scans, output, tmp_path, monkeypatch):
    with monkeypatch.context() as failing:
        failing.setattr("TernarySegmentLib.cohort.scan.segment", lambda *_: 1 / 0)
        batch(scans, "-o", output, "--format", ".nii.gz")
    assert read_record(output, "p1/ct").left == ("p1/ct.seg.nrrd",)
    copied = Path(shutil.copytree(scans, tmp_path / "scans"))
    path = copied / "p1" / "ct.nii.gz"
    sitk.WriteImage(read_ct(path)[:, :, :12], str(path))  # the pelvis
    batch(copied, "-o", output, "--format", ".nii.gz")
    assert read_record(output, "p1/ct").status == "nothing found"
    assert not (output / "p1" / "ct.seg.nrrd").exists()
    assert read_record(output, "p1/ct").left == ()


def test_another_format_leaves_the_masks_that_are_there(scans, output):
    assert batch(scans, "-o", output, "--format", ".nii.gz") == 0
    assert all((output / "p1" / f"ct{suffix}").is_file() for suffix in (".nii.gz", ".seg.nrrd"))


@pytest.mark.parametrize("scan_too", [False, True])
def test_a_corrected_mask_is_never_overwritten(scans, output, tmp_path, scan_too):
    copied = Path(shutil.copytree(scans, tmp_path / "scans"))
    mask = output / "p1" / "ct.seg.nrrd"
    corrected = sitk.ReadImage(str(mask))
    corrected[10:20, 10:20, 10:20] = 1
    sitk.WriteImage(corrected, str(mask), useCompression=True)
    before = mask.read_bytes()
    if scan_too:
        changed_content(copied, output)
    for options in ([], ["--format", ".nii.gz"], []):
        assert batch(copied, "-o", output, "--smoothing", "1", *options) == (0 if options else EXIT_SOME_FAILED)
        assert mask.read_bytes() == before
    assert "was changed since" in read_record(output, "p1/ct").failure
    mask.unlink()
    assert batch(copied, "-o", output, "--smoothing", "1") == 0
    assert mask.is_file()


def test_what_a_killed_batch_was_about_to_write_is_its_own(scans, tmp_path, monkeypatch):
    output = tmp_path / "out"

    def killed(*arguments):
        for kind, path in write_outputs(*arguments):
            assert kind == "mask", path
            raise KeyboardInterrupt  # no record says what was written

    with monkeypatch.context() as killing:
        killing.setattr("TernarySegmentLib.cohort.scan.write_outputs", killed)
        assert batch(scans / "p1", "-o", output) == 130
    assert (output / "ct.seg.nrrd").is_file()
    assert not records_in(output)
    assert batch(scans / "p1", "-o", output) == 0
    assert read_record(output, "ct").left == ()


def test_moved_and_touched_scans_are_known_by_their_content(scans, output, tmp_path):
    moved = Path(shutil.copytree(scans, tmp_path / "elsewhere"))
    os.utime(moved / "p1" / "ct.nii.gz")
    masks = {path: path.stat().st_mtime_ns for path in output.rglob("*.seg.nrrd")}
    assert batch(moved, "-o", output) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.seg.nrrd")} == masks
    assert table(output)[0]["input"].startswith(str(moved))  # the table names where it is now


@pytest.mark.parametrize("options", [("--smoothing", "2"), ("--region", "-60", "-90", "0", "60", "60", "300")])
def test_other_settings_do_every_scan_again(scans, output, options):
    assert done_again(output, lambda: batch(scans, "-o", output, *options)) == {"Müller 0", "p1"}


def test_another_model_does_every_scan_again(scans, output, tmp_path):
    predecessor = Path(__file__).resolve().parents[1] / "Data" / "predecessor.npz"
    assert predecessor.read_bytes() != quick_model().read_bytes()
    assert done_again(output, lambda: batch(scans, "-o", output, "--model", predecessor)) == {"Müller 0", "p1"}


def test_a_killed_batch_leaves_whole_files_and_goes_on_where_it_was(scans, tmp_path):
    more = Path(shutil.copytree(scans, tmp_path / "scans"))
    for number in range(2, 5):
        shutil.copytree(more / "p1", more / f"p{number}")
    output = tmp_path / "out"
    process = start_batch(more, "-o", output, "--workers", "1")
    wait_until(lambda: len(records_in(output)) >= 2, process)
    kill(process)
    for mask in output.rglob("*.seg.nrrd"):
        sitk.ReadImage(str(mask))
    # what the kill may have left half-written of a scan goes with the next run
    (output / "p4").mkdir(exist_ok=True)
    with atomic_path(output / "p4" / "ct.seg.nrrd") as temporary:
        temporary.touch()
        remains = temporary.with_name(temporary.name + "x")  # the name itself goes with the block
        remains.touch()
    (output / "p4" / "ct.seg.nrrd").unlink()
    assert remains in remains_of(output / "p4" / "ct.seg.nrrd")
    before = {path.parent.name for path in records_in(output)}
    assert len(before) < 5
    again = done_again(output, lambda: batch(more, "-o", output))
    assert again == {"Müller 0", "p1", "p2", "p3", "p4"} - before
    assert [row["status"] for row in table(output)] == ["segmented"] * 5
    assert not list(output.rglob(".*"))


def test_all_outputs_are_written_and_named_after_the_scan(scans, tmp_path):
    options = ["--confidence", ".nii.gz", "--preview", "--page", ".pdf", "--surface", ".stl"]
    assert batch(scans / "p1" / "ct.nii.gz", "-o", tmp_path, *options) == 0
    expected = {"ct.seg.nrrd", "ct-confidence.nii.gz", "ct-preview.png", "ct-page.pdf", "ct.stl", "ct.json"}
    assert {path.name for path in tmp_path.iterdir()} >= expected


def test_dicom_series_become_dicom_segmentations_of_themselves(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    ct = make_phantom(0, (3.0, 3.0, 5.0)).ct
    for series in (1, 2):
        patient_series(tmp_path / "in" / "study", ct, series)
    assert batch(tmp_path / "in", "-o", tmp_path / "out", "--format", ".dcm") == 0
    for series in (1, 2):
        written = pydicom.dcmread(tmp_path / "out" / "study" / f"{UID}.{series}.dcm")
        [referenced] = written.ReferencedSeriesSequence
        assert str(referenced.SeriesInstanceUID).endswith(f".{series}")


def test_a_dry_run_lists_the_scans_and_writes_nothing(scans, tmp_path, capsys):
    assert batch(scans, "-o", tmp_path / "out", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "2 scans"
    assert str(scans / "p1" / "ct.nii.gz") in said[1]
    assert not (tmp_path / "out").exists()


def test_progress_names_each_scan_and_the_time_left(scans, tmp_path, capsys):
    command = ["batch", str(scans), "-o", str(tmp_path), "--workers", "1", "--model", str(quick_model())]
    assert cli.main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("1/2")
    assert "left" in lines[0]
    assert "mL, doubt" in lines[1]


def test_no_field_of_a_dicom_header_reaches_table_page_or_record(tmp_path):
    patient_series(tmp_path / "in", make_phantom(0, (3.0, 3.0, 5.0)).ct)
    assert batch(tmp_path / "in", "-o", tmp_path / "out") == 0
    for path in (tmp_path / "out").rglob("*.*"):
        assert b"M\xc3\xbcller" not in path.read_bytes()
        assert b"P-17" not in path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tls-ca", "ca.pem"], "all three"),
        (["--region", "0", "0", "0", "0", "1", "1"], "no volume"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_written(
    scans, tmp_path, arguments, sentence, capsys
):
    assert cli.main(["batch", str(scans), "-o", str(tmp_path / "out"), *arguments]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_threads_bound_those_of_itk_for_as_long_as_the_command_runs(scans, tmp_path, monkeypatch):
    threads = []

    def read(path: Path) -> sitk.Image:
        threads.append(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads())
        raise InputError("Enough.")

    monkeypatch.setattr("TernarySegmentLib.imaging.files.reading.read_ct", read)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    command = ["segment", str(scans / "p1/ct.nii.gz"), "-o", str(tmp_path / "x.nrrd"), "--threads"]
    assert [cli.main([*command, str(number)]) for number in (1, 3)] == [1, 1]
    assert threads == [1, 3]
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == before


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["batch", "scans", "-o", "out"], [("--workers", "-1"), ("--threads", "9999"), ("--smoothing", "nan")]),
        (["pacs", "--dicomweb", "https://x", "--query", "PatientID=1"], [("--threads", "-1"), ("--smoothing", "1e9")]),
        (["index", "scans", "-o", "a.npz"], [("--threads", "-1")]),
        (["similar", "ct.nii", "--index", "a.npz"], [("--threads", "1.5"), ("--count", "0")]),
    ],
)
def test_numbers_out_of_bounds_are_refused_by_every_command_naming_the_bounds(command, options, capsys):
    for option in options:
        with pytest.raises(SystemExit):
            cli.main([*command, *option])
        assert f"“{option[1]}” is no number from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "", "-o", "x.nrrd"], ["segment", "ct.nii", "-o", " "], ["batch", "", "-o", "out"],
        ["batch", "ct.nii", "-o", ""], ["compare", "", "b.nrrd"], ["index", "", "-o", "a.npz"],
        ["similar", "", "--index", "a.npz"], ["phantom", "-o", ""],
    ],
)  # fmt: skip
def test_an_empty_path_is_refused_and_never_taken_for_the_present_folder(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert "the path is empty" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["a file", "below a file", "a device"])
def test_a_folder_that_cannot_be_is_refused_before_the_first_scan(scans, tmp_path, place, capsys):
    (tmp_path / "file").touch()
    output = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "out", "a device": Path("/dev/null")}
    assert cli.main(["batch", str(scans), "-o", str(output[place]), "--workers", "1"]) == 1
    said = capsys.readouterr().err
    assert "is a file" in said or "cannot be written" in said
    assert "1/2" not in said  # no scan was begun


def into_the_scans(folder: Path) -> list:
    return [folder / "scans", "-o", folder / "scans", "--format", ".nii.gz"]


def through_a_link(folder: Path) -> list:
    (folder / "out" / "p1").mkdir(parents=True)
    (folder / "out" / "p1" / "ct.seg.nrrd").symlink_to(folder / "scans" / "p1" / "ct.nii.gz")
    return [folder / "scans", "-o", folder / "out"]


def over_the_list(folder: Path) -> list:
    (folder / "results.csv").write_text("input,my remarks\nscans/p1/ct.nii.gz,see again\n")
    return [folder / "results.csv", "-o", folder]


def over_a_header_beside_the_scan(folder: Path) -> list:
    (folder / "scans" / "p1" / "ct.json").write_text('{"Manufacturer": "x"}')
    return [folder / "scans", "-o", folder / "scans"]


def mask_over_a_confidence_map(folder: Path) -> list:
    shutil.copy(folder / "scans" / "p1" / "ct.nii.gz", folder / "scans" / "p1" / "ct-confidence.nii.gz")
    return [folder / "scans", "-o", folder / "out", "--format", ".nii.gz", "--confidence", ".nii.gz"]


def over_an_experts_mask(folder: Path) -> list:
    shutil.copy(folder / "scans" / "p1" / "ct.nii.gz", folder / "scans" / "p1" / "ct.seg.nrrd")
    return [folder / "scans", "-o", folder / "scans"]


@pytest.mark.parametrize(
    "way",
    [
        into_the_scans, through_a_link, over_the_list, over_a_header_beside_the_scan, mask_over_a_confidence_map,
        over_an_experts_mask,
    ],
)  # fmt: skip
def test_a_batch_that_would_overwrite_what_is_not_its_own_is_refused_before_computing(scans, tmp_path, way, capsys):
    shutil.copytree(scans, tmp_path / "scans")
    arguments = way(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert batch(*arguments) == 1
    said = capsys.readouterr().err
    assert "choose another output folder" in said or "give the scans other names" in said
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_region_limits_segment_as_it_limits_the_pipeline(scans, tmp_path):
    from TernarySegmentLib.pipeline import run, segment

    ct = scans / "p1" / "ct.nii.gz"
    options = quick_options()
    whole = run(segment(read_ct(ct), options)).measures.centre_lps
    box = (tuple(v - 40 for v in whole), tuple(v + 40 for v in whole))
    corners = [f"{value:.3f}" for corner in box for value in corner]
    command = ["segment", str(ct), "-o", str(tmp_path / "m.nrrd"), "-q", "--model", str(options.model)]
    assert cli.main([*command, "--region", *corners]) == 0
    expected = run(segment(read_ct(ct), replace(options, region=box))).mask
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "m.nrrd")))
    assert (written == sitk.GetArrayFromImage(expected)).mean() > 0.9999  # the corners were rounded to micrometres
