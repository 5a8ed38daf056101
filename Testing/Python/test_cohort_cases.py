"""Which scans a batch finds, what it calls them, and what it passes over or refuses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from test_imaging_reading import UID, ct_image, write_dicom

from TernarySegmentLib.cohort.cases import find_cases
from TernarySegmentLib.cohort.indexing import find_scans
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.series import read_slices


def touch(folder: Path, *names: str) -> Path:
    """Empty files: finding does not read volumes."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(*inputs: Path | str, output: Path = Path("nowhere")) -> list[str]:
    return [case.name for case in find_cases(inputs, output).cases]


def test_a_folder_gives_its_volumes_under_the_paths_they_have_in_it(tmp_path):
    touch(tmp_path, "a.nii.gz", "b/Müller 1/ct.nrrd", "b/c/x.mha", ".hidden.nii", "b/mask.seg.nrrd", "readme.txt")
    assert names(tmp_path) == ["a", "b/Müller 1/ct", "b/c/x"]


def test_the_output_folder_inside_the_input_is_no_input(tmp_path):
    touch(tmp_path, "a.nii.gz", "out/a.nii.gz")
    assert names(tmp_path, output=tmp_path / "out") == ["a"]


def test_several_inputs_are_named_from_the_folder_that_holds_them_all_and_taken_once(tmp_path):
    touch(tmp_path, "one/ct.nii", "two/deep/ct.nii")
    assert names(tmp_path / "one", tmp_path / "two", tmp_path / "one/ct.nii") == ["one/ct", "two/deep/ct"]
    assert names(tmp_path / "one/ct.nii") == ["ct"]


def test_a_pattern_that_the_shell_left_is_resolved(tmp_path):
    touch(tmp_path, "1/ct.nii.gz", "2/ct.nii.gz", "2/other.nii.gz", "3/deep/ct.nii.gz")
    assert names(tmp_path / "*" / "ct.nii.gz") == ["1/ct", "2/ct"]
    assert names(f"{tmp_path}/**/ct.nii.gz") == ["1/ct", "2/ct", "3/deep/ct"]


@pytest.mark.parametrize("other", ["scan.nrrd", "SCAN.nii"])
def test_two_scans_that_would_write_one_file_get_two_names(tmp_path, other):
    touch(tmp_path, "scan.nii", other)
    found = names(tmp_path)
    assert len({name.casefold() for name in found}) == 2


def test_a_list_gives_paths_names_and_regions_and_a_results_table_is_one(tmp_path):
    touch(tmp_path, "x/a.nii", "y/b.nii")
    table = tmp_path / "list.csv"
    table.write_text("input,name,region\nx/a.nii,first,10 20 30 -40 -50 90\ny/b.nii,,\n", encoding="utf-8")
    first, second = find_cases([table], tmp_path / "out").cases
    assert (first.name, first.region) == ("first", ((-40.0, -50.0, 30.0), (10.0, 20.0, 90.0)))
    assert (second.source, second.region) == (tmp_path / "y/b.nii", None)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_in_a_file_of_their_own_are_a_part_of_the_scan(tmp_path, suffix):
    path = tmp_path.resolve() / f"ct{suffix}"
    sitk.WriteImage(ct_image(), str(path))
    [data] = set(path.parent.iterdir()) - {path}
    assert find_cases([path], tmp_path / "out").cases[0].files == (path, data)
    assert find_scans(path.parent)[0].files == (path, data)
    data.unlink()  # reading says so
    assert find_cases([path], tmp_path / "out").cases[0].files == (path,)


def test_links_that_a_pattern_finds_are_named_as_they_are_called(tmp_path):
    touch(tmp_path, "elsewhere/a.nii", "far/b.nii")
    (tmp_path / "links").mkdir()
    for name, target in (("one.nii", "elsewhere/a.nii"), ("two.nii", "far/b.nii")):
        (tmp_path / "links" / name).symlink_to(tmp_path / target)
    assert names(tmp_path / "links" / "*.nii") == ["one", "two"]
    assert names(tmp_path / "links") == ["one", "two"]


def test_a_pattern_does_not_take_results_of_an_earlier_run_for_scans(tmp_path):
    touch(tmp_path, "p1/ct.nii", "out/p1/ct.nii.gz", "out/p1/ct-confidence.nii.gz")
    assert names(tmp_path / "*", output=tmp_path / "out") == ["ct"]
    assert names(f"{tmp_path}/**/*.nii*", output=tmp_path / "out") == ["ct"]


@pytest.mark.parametrize("order", [1, -1])
def test_what_a_list_says_of_a_scan_holds_also_when_its_folder_is_given(tmp_path, order):
    touch(tmp_path, "in/a.nii", "in/b.nii")
    table = tmp_path / "list.csv"
    table.write_text("input,name,region\nin/a.nii,first,10 20 30 -40 -50 90\n", encoding="utf-8")
    found = find_cases([table, tmp_path / "in"][::order], tmp_path / "out").cases
    assert [(case.name, case.region is None) for case in found] == [("b", True), ("first", False)]
    other = tmp_path / "other.csv"
    other.write_text("input,name\nin/a.nii,second\n", encoding="utf-8")
    with pytest.raises(InputError, match="twice with different names"):
        find_cases([table, other], tmp_path / "out")


@pytest.mark.parametrize("content", ["Input;Name\r\n\r\na.nii;first\r\n", "input\tname\na.nii\tfirst\n"])
def test_a_list_from_a_spreadsheet_is_read(tmp_path, content):
    touch(tmp_path, "a.nii")
    (tmp_path / "list.csv").write_text(content, encoding="utf-8-sig", newline="")
    assert names(tmp_path / "list.csv") == ["first"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path\na.nii\n", "none called input"),
        ("input\nmissing.nii\n", "Line 2 .* does not exist"),
        ("input\na.nii\n\nmissing.nii\n", "Line 4 .* does not exist"),
        ("input,name\na.nii,one\na.nii,two\n", "Line 3 .* once more after line 2"),
        ("input,name\na.nii,../up\n", "must lie inside"),
        ("input,name\na.nii,/root\n", "must lie inside"),
        ("input,region\na.nii,1 2 3\n", "two opposite corners"),
        ("input,region\na.nii,1 2 3 1 2 3\n", "two opposite corners"),
    ],
)
def test_a_list_that_is_not_understood_is_refused_naming_the_line(tmp_path, content, sentence):
    touch(tmp_path, "a.nii")
    (tmp_path / "list.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        find_cases([tmp_path / "list.csv"], tmp_path / "out")


def test_nothing_there_is_said_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        find_cases([tmp_path / "missing"], tmp_path / "out")
    with pytest.raises(InputError, match="no CT in"):
        find_cases([touch(tmp_path, "text.txt")], tmp_path / "out")


def test_a_folder_that_may_not_be_read_is_a_scan_that_fails(unprivileged):
    touch(unprivileged, "a/ct.nii", "closed/ct.nii")
    (unprivileged / "closed").chmod(0)
    found = {case.name: case.refusal for case in find_cases([unprivileged], unprivileged / "out").cases}
    (unprivileged / "closed").chmod(0o700)
    assert found.pop("a/ct") == ""
    assert "closed” cannot be read" in found.pop("closed")
    assert not found


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these systems know no such names")
def test_a_name_that_is_no_unicode_is_refused_under_a_name_that_tables_can_hold(tmp_path):
    touch(tmp_path, "a/ct.nii")
    (tmp_path / os.fsdecode(b"b\xff")).mkdir()
    touch(tmp_path / os.fsdecode(b"b\xff"), "ct.nii")
    first, second = find_cases([tmp_path], tmp_path / "out").cases
    assert (first.name, first.refusal) == ("a/ct", "")
    assert second.name.encode() == rb"b\udcff/ct"
    assert "no valid Unicode" in second.refusal


def test_linked_folders_are_searched_and_circles_end(tmp_path):
    touch(tmp_path, "in/p1/ct.nii", "elsewhere/ct.nii")
    (tmp_path / "in" / "p2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "p1" / "up").symlink_to(tmp_path / "in")
    assert len(find_cases([tmp_path / "in"], tmp_path / "out").cases) == 2


# --- DICOM ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(tmp_path) -> Path:
    """Two patients: one with two phases in one folder and a scout, one with an MR beside the CT."""
    write_dicom(tmp_path / "p1" / "study", ct_image(seed=1), 1, names="a{}.dcm")
    write_dicom(tmp_path / "p1" / "study", ct_image(14, seed=2), 2, names="b{}.dcm")
    write_dicom(tmp_path / "p1" / "study", ct_image(2, seed=3), 3, names="scout{}.dcm")
    write_dicom(tmp_path / "p2" / "ct", ct_image(seed=4), 4, names="IM{:04d}")
    write_dicom(tmp_path / "p2" / "mr", ct_image(seed=5), 5, modality="MR")
    touch(tmp_path, "p2/DICOMDIR", "p2/notes.txt")
    return tmp_path


def test_every_ct_series_of_a_tree_is_found_by_its_headers_and_a_scout_is_passed_over(archive):
    found = find_cases([archive], archive / "out")
    assert [(case.name, case.series, len(case.files)) for case in found.cases] == [
        (f"p1/study/{UID}.1", f"{UID}.1", 12),
        (f"p1/study/{UID}.2", f"{UID}.2", 14),
        ("p2/ct", f"{UID}.4", 12),
    ]
    [note] = found.notes
    assert "2 slices" in note


def test_a_series_of_two_in_a_folder_reads_as_itself(archive):
    first, second, _ = find_cases([archive], archive / "out").cases
    for case, seed, slices in ((first, 1, 12), (second, 2, 14)):
        read = sitk.GetArrayFromImage(read_slices(case.files))
        assert (read == sitk.GetArrayFromImage(ct_image(slices, seed=seed))).all()


def test_a_row_of_a_results_table_means_its_series_under_its_name(archive):
    first, second, third = find_cases([archive], archive / "out").cases
    table = archive / "results.csv"
    rows = [f"{case.name},{case.source},{case.series}" for case in (first, second, third)]
    table.write_text("\n".join(["name,input,series", *rows]), encoding="utf-8")
    again = find_cases([table], archive / "out").cases
    assert [(case.name, case.files) for case in again] == [(case.name, case.files) for case in (first, second, third)]
    table.write_text("\n".join(["name,input,series", rows[1]]), encoding="utf-8")
    [only] = find_cases([table], archive / "out").cases
    assert (only.name, only.series, only.files) == (second.name, second.series, second.files)


def test_one_slice_stands_for_its_series_and_all_of_them_for_one_scan(archive):
    files = sorted((archive / "p2" / "ct").iterdir())
    for inputs in (files[:1], files):
        [case] = find_cases(inputs, archive / "out").cases
        assert (case.series, len(case.files)) == (f"{UID}.4", 12)


def test_linked_slices_are_named_by_where_the_links_lie(archive):
    """As data under version control often lie: each slice a link into one store."""
    for number, file in enumerate(sorted((archive / "p2" / "ct").iterdir())):
        link = archive / "linked" / "p3" / f"{number:04}.dcm"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    [case] = find_cases([archive / "linked"], archive / "out").cases
    assert (case.name, case.source, len(case.files)) == ("p3", archive / "p2" / "ct", 12)
    link.unlink()
    (archive / "p2" / "cut").write_bytes(file.read_bytes()[:600])
    link.symlink_to(archive / "p2" / "cut")
    [case] = find_cases([archive / "linked"], archive / "out").cases
    assert case.name == "p3"
    assert "“cut” has no Rows" in case.refusal


def test_two_volumes_of_one_series_get_two_names(tmp_path):
    write_dicom(tmp_path / "p1", ct_image(seed=1), 1, names="axial{}.dcm")
    coronal = sitk.PermuteAxes(ct_image(12, seed=2), [0, 2, 1])[:, :, :12]
    write_dicom(tmp_path / "p1", coronal, 1, names="coronal{}.dcm")
    first, second = find_cases([tmp_path], tmp_path / "out").cases
    assert first.name != second.name
    assert not set(first.files) & set(second.files)


def test_a_damaged_slice_refuses_its_series_only(archive):
    damaged = archive / "p2" / "ct" / "IM0003"
    damaged.write_bytes(damaged.read_bytes()[:600])
    refusals = {case.name: case.refusal for case in find_cases([archive], archive / "out").cases}
    assert "IM0003" in refusals["p2/ct"]
    assert not refusals[f"p1/study/{UID}.1"]


def test_a_damaged_slice_refuses_its_series_in_several_folders_too(archive):
    (archive / "p2" / "more").mkdir()
    for file in sorted((archive / "p2" / "ct").iterdir())[6:]:
        file.rename(archive / "p2" / "more" / file.name)
    damaged = archive / "p2" / "more" / "IM0011"
    damaged.write_bytes(damaged.read_bytes()[:600])
    [case] = find_cases([archive / "p2"], archive / "out").cases
    assert "IM0011" in case.refusal


def test_slices_that_a_copy_left_empty_refuse_their_series_only(archive):
    for file in sorted((archive / "p2" / "ct").iterdir())[10:]:
        file.write_bytes(b"")
    refusals = {case.name: case.refusal for case in find_cases([archive], archive / "out").cases}
    assert "IM0010” lies among the CT slices" in refusals["p2/ct"]
    assert not refusals[f"p1/study/{UID}.1"]


def test_a_multi_frame_ct_is_a_scan_that_fails(archive):
    file = archive / "p2" / "enhanced"
    header = pydicom.dcmread(archive / "p2" / "ct" / "IM0003")
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    header.save_as(file)
    refusals = {case.name: case.refusal for case in find_cases([archive / "p2"], archive / "out").cases}
    assert refusals.pop("ct") == ""
    assert "multi-frame" in refusals.pop("enhanced")
    assert not refusals


def test_a_row_of_a_list_without_a_scan_is_a_scan_that_fails(archive):
    touch(archive, "empty/notes.txt")
    rows = [
        ("p2/ct", "good", ""), ("p2/mr", "mr", ""), ("empty", "nothing", ""),
        ("p1/study", "other", f"{UID}.9"), ("p1/study", "scout", f"{UID}.3"),
    ]  # fmt: skip
    table = archive / "list.csv"
    table.write_text("\n".join(["input,name,series", *(",".join(row) for row in rows)]), encoding="utf-8")
    found = {case.name: case.refusal for case in find_cases([table], archive / "out").cases}
    assert found.pop("good") == ""
    assert {name: "check line" in refusal for name, refusal in found.items()} == dict.fromkeys(
        ["mr", "nothing", "other", "scout"], True
    )
    assert "line 3" in found["mr"]
    assert f"{UID}.9" in found["other"]


def test_a_folder_or_file_without_a_scan_is_told(archive):
    inputs = [archive / "p2" / "ct", archive / "p2" / "mr", archive / "p2" / "DICOMDIR", archive / "p2" / "notes.txt"]
    found = find_cases(inputs, archive / "out")
    assert len(found.cases) == 1
    assert [str(each) in note for each, note in zip(inputs[1:3], found.notes, strict=True)] == [True, True]


def test_a_folder_of_a_list_that_may_not_be_read_is_a_scan_that_fails(unprivileged):
    touch(unprivileged, "p1/a/ct.nii", "p1/closed/ct.nii")
    (unprivileged / "list.csv").write_text("input\np1\n", encoding="utf-8")
    (unprivileged / "p1" / "closed").chmod(0)
    refusals = [case.refusal for case in find_cases([unprivileged / "list.csv"], unprivileged / "out").cases]
    (unprivileged / "p1" / "closed").chmod(0o700)
    assert any("cannot be read" in refusal for refusal in refusals)
    assert len(refusals) == 2


def test_a_real_series_is_found_in_a_folder_above_it(shared_data):
    [case] = find_cases([shared_data / "acrin_dicom"], Path("nowhere")).cases
    assert len(case.files) == 99
    assert read_slices(case.files).GetSize() == read_ct(shared_data / "acrin_dicom").GetSize()
