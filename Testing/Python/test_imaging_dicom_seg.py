"""DICOM segmentations: the mask's voxels on the source's slices, coded, and right in the eyes of other programs."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from quick_model import quick_model

from TernarySegmentLib import __version__, cli
from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.dicom_seg import check_dicom_output, write_dicom_seg
from TernarySegmentLib.imaging.files.dicom_series import SERIES_UID
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom

pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install -e .[test]")
pytest.importorskip("highdicom", reason="needs highdicom: pip install -e .[dicom]")

from test_imaging_reading import OBLIQUE, UID, ct_image, write_dicom  # noqa: E402

PROVENANCE = {"name": "pancreas", "sha256": "0123456789abcdef" * 4, "created": "2026-01-01"}
DIRECTIONS = [OBLIQUE, np.eye(3).ravel(), np.diag([1.0, -1.0, -1.0]).ravel()]


def patient_series(folder: Path, image: sitk.Image, series: int = 1, **changes: object) -> Path:
    """A DICOM series with what an archive's series has: patient, study, frame of reference."""
    write_dicom(folder, image, series, names=f"{series}-{{}}.dcm")
    values = {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Jörg",
        "PatientID": "P-17",
        "PatientBirthDate": "19500102",
        "PatientSex": "M",
        "StudyID": "S1",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "StudyDescription": "Bauch größer",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Ärztin^Eva",
        "FrameOfReferenceUID": f"{UID}.77",
        "PositionReferenceIndicator": "",
        "Manufacturer": "Scanner",
        "BodyPartExamined": "BREAST",  # paired, which asks for a side: must not reach the pancreas
        **changes,
    }
    for file in folder.glob(f"{series}-*.dcm"):
        header = pydicom.dcmread(file)
        for name, value in values.items():
            if value is not None:
                setattr(header, name, value)
            elif name in header:
                delattr(header, name)
        header.save_as(file)
    return folder


def mask_on(image: sitk.Image) -> sitk.Image:
    """A lopsided mask of several labels, with an empty slice amid, on an image's grid."""
    slices, rows, columns = image.GetSize()[::-1]
    inside = np.zeros((slices, rows, columns), np.uint8)
    z, y, x = slices // 4, rows // 3, columns // 5
    inside[z : 3 * z, y : 2 * y, x : 2 * x] = np.random.default_rng(4).integers(0, 4, (2 * z, y, x))
    inside[z + 1] = 0
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(image)
    return mask


def read_back(path: Path, like: sitk.Image) -> np.ndarray:
    """The segmentation's voxels on an image's grid, each frame where it says itself that it lies; plain pydicom."""
    stored = pydicom.dcmread(path)
    frames = stored.pixel_array.reshape(-1, stored.Rows, stored.Columns)
    shared = stored.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    np.testing.assert_allclose(orientation, np.array(like.GetDirection()).reshape(3, 3)[:, :2].T.ravel(), atol=1e-5)
    measures = shared.PixelMeasuresSequence[0]
    np.testing.assert_allclose([float(v) for v in measures.PixelSpacing], like.GetSpacing()[1::-1], rtol=1e-5)
    assert float(measures.SpacingBetweenSlices) == pytest.approx(like.GetSpacing()[2], rel=1e-5)
    voxels = np.zeros(like.GetSize()[::-1], np.uint8)
    for frame, group in zip(frames, stored.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        column, row, plane = like.TransformPhysicalPointToContinuousIndex(position)
        assert (column, row) == pytest.approx((0, 0), abs=0.01)
        assert plane == pytest.approx(round(plane), abs=0.01)
        voxels[round(plane)] = frame
    return voxels


def inside(mask: sitk.Image) -> np.ndarray:
    return (sitk.GetArrayFromImage(mask) != 0).astype(np.uint8)


def complaints(path: Path) -> tuple[list[str], list[str]]:
    """Errors and warnings of the validator dciodvfy."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stderr + done.stdout).splitlines()
    assert "Segmentation" in lines, "dciodvfy did not take it for a segmentation"
    return [s for s in lines if s.startswith("Error")], [s for s in lines if s.startswith("Warning")]


# --- voxels and places ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_frame_is_the_masks_plane_at_the_place_it_names(tmp_path, direction):
    image = ct_image(direction=direction)
    source = patient_series(tmp_path / "Müller, Serie 1", image)
    mask = mask_on(read_ct(source))
    write_dicom_seg(mask, source, tmp_path / "neu" / "p.dcm")
    assert np.array_equal(read_back(tmp_path / "neu" / "p.dcm", mask), inside(mask))
    assert [p.name for p in (tmp_path / "neu").iterdir()] == ["p.dcm"]


@pytest.mark.parametrize("order", ["PermuteAxes", "Flip"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_mask_whose_axes_run_otherwise_gives_the_same_frames(tmp_path, direction, order):
    source = patient_series(tmp_path / "ct", ct_image(direction=direction))
    mask = mask_on(read_ct(source))
    turned = sitk.PermuteAxes(mask, [2, 0, 1]) if order == "PermuteAxes" else sitk.Flip(mask, [True, False, True])
    write_dicom_seg(turned, source, tmp_path / "p.dcm")
    assert np.array_equal(read_back(tmp_path / "p.dcm", mask), inside(mask))


def test_the_source_may_be_a_folder_a_file_or_the_series_files(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image())
    mask = mask_on(read_ct(source))
    files = sorted(source.iterdir())
    for number, given in enumerate((source, str(source), files[3], [str(file) for file in files])):
        write_dicom_seg(mask, given, tmp_path / f"{number}.dcm")
        assert np.array_equal(read_back(tmp_path / f"{number}.dcm", mask), inside(mask))


# --- what is said -----------------------------------------------------------------------------------------------------


def test_patient_study_and_space_are_the_sources_and_the_segment_is_coded(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image(), SeriesNumber=4)
    write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm", provenance=PROVENANCE)
    first, stored = pydicom.dcmread(next(source.iterdir())), pydicom.dcmread(tmp_path / "p.dcm")
    for name in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID", "StudyDate",
        "StudyTime", "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID",
    ):  # fmt: skip
        assert stored[name].value == first[name].value, name
    assert stored.SeriesInstanceUID != first.SeriesInstanceUID
    assert stored.SeriesNumber == 1004
    assert (stored.Modality, stored.SegmentationType, len(stored.SegmentSequence)) == ("SEG", "BINARY", 1)
    assert "BodyPartExamined" not in stored
    segment = stored.SegmentSequence[0]
    kind, category = segment.SegmentedPropertyTypeCodeSequence[0], segment.SegmentedPropertyCategoryCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("15776009", "SCT", "Pancreas")
    assert (category.CodeValue, category.CodingSchemeDesignator) == ("123037004", "SCT")
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentAlgorithmName == algorithm.AlgorithmName == "TernarySegment"
    assert algorithm.AlgorithmVersion == f"{__version__} model 0123456789ab"
    assert PROVENANCE["sha256"] in algorithm.AlgorithmParameters
    assert stored.ReferencedSeriesSequence[0].SeriesInstanceUID == first.SeriesInstanceUID
    named = {item.ReferencedSOPInstanceUID for item in stored.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == {pydicom.dcmread(file).SOPInstanceUID for file in source.iterdir()}


def test_every_frame_names_the_slice_it_lies_on(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image())
    write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm")
    places = {}
    for file in source.iterdir():
        header = pydicom.dcmread(file)
        places[header.SOPInstanceUID] = [float(v) for v in header.ImagePositionPatient]
    stored = pydicom.dcmread(tmp_path / "p.dcm")
    for group in stored.PerFrameFunctionalGroupsSequence:
        slices = group.DerivationImageSequence[0].SourceImageSequence
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        assert [places[item.ReferencedSOPInstanceUID] for item in slices] == [pytest.approx(position, abs=1e-4)]


def test_a_corrected_mask_is_called_semi_automatic(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image())
    write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm", corrected=True)
    stored = pydicom.dcmread(tmp_path / "p.dcm")
    assert stored.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert "corrected" in stored.SeriesDescription


def test_the_colour_reads_back_as_the_pancreas_colour(tmp_path):
    from TernarySegmentLib.imaging.files.writing import COLOUR

    source = patient_series(tmp_path / "ct", ct_image())
    write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm")
    stored = np.array(pydicom.dcmread(tmp_path / "p.dcm").SegmentSequence[0].RecommendedDisplayCIELabValue, float)
    lightness, a, b = stored / 65535 * [100, 255, 255] - [0, 128, 128]
    y = (lightness + 16) / 116
    xyz = np.array([y + a / 500, y, y - b / 200]) ** 3 * [0.9642, 1.0, 0.8249]  # D50
    to_srgb = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.033454],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.array(to_srgb) @ xyz
    np.testing.assert_allclose(1.055 * linear ** (1 / 2.4) - 0.055, COLOUR, atol=0.01)


# --- other programs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_validator_finds_no_error_and_nothing_to_warn_of(tmp_path, direction):
    source = patient_series(tmp_path / "ct", ct_image(direction=direction))
    write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm", provenance=PROVENANCE)
    errors, warnings = complaints(tmp_path / "p.dcm")
    assert errors == []
    assert warnings == []


def test_a_real_series_gives_identical_voxels_and_passes_the_validator(shared_data, tmp_path):
    source = shared_data / "acrin_dicom"
    mask = mask_on(read_ct(source))
    write_dicom_seg(mask, source, tmp_path / "p.dcm", provenance=PROVENANCE)
    assert np.array_equal(read_back(tmp_path / "p.dcm", mask), inside(mask))
    errors, warnings = complaints(tmp_path / "p.dcm")
    assert errors == []
    # the names that stand in for those removed from the source have one part only
    assert all("Retired Person Name form" in line for line in warnings), warnings


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_dcmqi_reads_the_same_mask_at_the_same_place(tmp_path, direction):
    program = Path(sys.executable).parent / "segimage2itkimage"
    if not program.exists():
        pytest.skip("dcmqi is not installed: pip install dcmqi")
    source = patient_series(tmp_path / "ct", ct_image(direction=direction))
    mask = mask_on(read_ct(source))
    write_dicom_seg(mask, source, tmp_path / "p.dcm", provenance=PROVENANCE)
    command = [str(program), "--inputDICOM", str(tmp_path / "p.dcm"), "--outputDirectory", str(tmp_path), "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    (read,) = (sitk.ReadImage(str(file)) for file in tmp_path.glob("*.nrrd"))
    on_grid = sitk.Resample(read, mask, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert np.array_equal(inside(on_grid), inside(mask))
    assert np.count_nonzero(inside(read)) == np.count_nonzero(inside(mask))


# --- refusals ---------------------------------------------------------------------------------------------------------


def refusal(kind: type[Exception], *arguments: object, **keywords: object) -> str:
    with pytest.raises(kind) as caught:
        write_dicom_seg(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert not Path(arguments[2]).exists()
    return text


def moved(mask: sitk.Image, mm: float) -> sitk.Image:
    other = sitk.Image(mask)
    other.SetOrigin([mask.GetOrigin()[0], mask.GetOrigin()[1] + mm, mask.GetOrigin()[2]])
    return other


@pytest.mark.parametrize("change", [lambda m: m[:, :, 1:], lambda m: m[2:], lambda m: moved(m, 0.5)])
def test_a_series_that_the_mask_was_not_made_from_is_refused(tmp_path, change):
    source = patient_series(tmp_path / "ct", ct_image())
    mask = change(mask_on(read_ct(source)))
    assert "other than the one the mask" in refusal(InputError, mask, source, tmp_path / "p.dcm")


def test_a_slice_out_of_line_is_refused(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image())
    mask = mask_on(read_ct(source))
    header = pydicom.dcmread(source / "1-5.dcm")
    header.ImagePositionPatient = [float(v) + 1 for v in header.ImagePositionPatient]
    header.save_as(source / "1-5.dcm")
    assert "missing or uneven slices" in refusal(InputError, mask, source, tmp_path / "p.dcm")


def test_of_two_series_on_one_grid_the_one_that_was_read_is_taken(tmp_path):
    folder = patient_series(tmp_path / "ct", ct_image(seed=1), 1)
    patient_series(folder, ct_image(seed=2), 2)
    mask = mask_on(read_ct(folder))
    assert "2 series in" in refusal(InputError, mask, folder, tmp_path / "p.dcm")
    uid = read_ct(folder / "2-3.dcm").GetMetaData(SERIES_UID)
    write_dicom_seg(mask, folder, tmp_path / "p.dcm", series_uid=uid)
    assert pydicom.dcmread(tmp_path / "p.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == f"{UID}.2"


def test_sources_to_which_nothing_can_refer_are_refused(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image(), FrameOfReferenceUID=None)
    mask = mask_on(read_ct(source))
    assert "says no FrameOfReferenceUID" in refusal(InputError, mask, source, tmp_path / "p.dcm")
    assert "is no DICOM" in refusal(InputError, mask, tmp_path / "ct.nii.gz", tmp_path / "p.dcm")
    assert "no file or folder" in refusal(InputError, mask, tmp_path / "nowhere", tmp_path / "p.dcm")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no DICOM")
    assert "holds no DICOM CT series" in refusal(InputError, mask, tmp_path / "empty", tmp_path / "p.dcm")


@pytest.mark.parametrize(
    "name", ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
             "AccessionNumber", "ReferringPhysicianName", "SeriesNumber", "SpecificCharacterSet", "SliceThickness"],
)  # fmt: skip
def test_what_a_source_leaves_out_is_no_obstacle(tmp_path, name):
    texts = {"PatientName": "Mueller^J", "ReferringPhysicianName": "A^E", "StudyDescription": "abdomen"}
    source = patient_series(tmp_path / "ct", ct_image(), **{**texts, name: None})
    mask = mask_on(read_ct(source))
    write_dicom_seg(mask, source, tmp_path / "p.dcm")
    assert complaints(tmp_path / "p.dcm")[0] == []


def test_an_empty_mask_another_ending_and_a_blocked_place_are_refused(tmp_path):
    source = patient_series(tmp_path / "ct", ct_image())
    mask = mask_on(read_ct(source))
    assert "is empty" in refusal(OutputError, mask * 0, source, tmp_path / "p.dcm")
    assert "ends in none of .dcm" in refusal(OutputError, mask, source, tmp_path / "p.nrrd")
    (tmp_path / "file").write_text("x")
    assert "cannot be written" in refusal(OutputError, mask, source, tmp_path / "file" / "p.dcm")


def test_without_highdicom_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OutputError, match="pip install highdicom"):
        check_dicom_output(tmp_path)


def test_writing_prints_nothing(tmp_path, capfd, caplog):
    source = patient_series(tmp_path / "ct", ct_image(), PatientName="ONE-PART")
    with caplog.at_level(logging.INFO):
        write_dicom_seg(mask_on(read_ct(source)), source, tmp_path / "p.dcm")
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


# --- command line -----------------------------------------------------------------------------------------------------


def test_command_line_writes_a_dicom_segmentation_of_a_dicom_folder(tmp_path, capsys):
    phantom = make_phantom(0, spacing=(2.0, 2.0, 4.0)).ct
    source = patient_series(tmp_path / "ct", sitk.Cast(phantom, sitk.sitkInt16))
    command = ["segment", str(source), "-q", "--model", str(quick_model()), "-o"]
    assert cli.main([*command, str(tmp_path / "p.dcm")]) == 0
    assert cli.main([*command, str(tmp_path / "p.nrrd")]) == 0
    mask = sitk.ReadImage(str(tmp_path / "p.nrrd"))
    assert inside(mask).any()
    assert np.array_equal(read_back(tmp_path / "p.dcm", mask), inside(mask))
    assert "highdicom" not in capsys.readouterr().err


def test_command_line_writes_no_empty_dicom_segmentation(tmp_path, capsys):
    below = make_phantom(0, spacing=(3.0, 3.0, 5.0)).ct[:, :, :12]
    source = patient_series(tmp_path / "ct", sitk.Cast(below, sitk.sitkInt16))
    mask, surface, report = (tmp_path / name for name in ("p.dcm", "p.stl", "p.json"))
    for earlier in (mask, surface):
        earlier.write_text("another patient's")
    code = cli.main(["segment", str(source), "-o", str(mask), "--surface", str(surface), "--report", str(report), "-q"])
    said = capsys.readouterr()
    assert not mask.exists()
    assert not surface.exists(), "what an earlier run left would pass for this scan's"
    assert said.err.count("of an earlier run was deleted") == 2
    assert json.loads(report.read_text())["outputs"] == {"report": str(report)}
    assert (code, "No mask was written" in said.out) == (cli.EXIT_NOTHING_FOUND, True), said.err


def test_command_line_refuses_a_dicom_segmentation_of_a_nifti_file_at_once(tmp_path, capsys):
    assert cli.main(["segment", str(tmp_path / "ct.nii.gz"), "-o", str(tmp_path / "p.dcm")]) == 1
    assert "is no DICOM" in capsys.readouterr().err


def test_a_dose_sheet_among_the_slices_is_passed_over(tmp_path):
    series = patient_series(tmp_path / "ct", ct_image())
    sheet = pydicom.dcmread(next(series.glob("*.dcm")))
    sheet.SOPClassUID = sheet.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    del sheet.FrameOfReferenceUID
    sheet.SOPInstanceUID = sheet.file_meta.MediaStorageSOPInstanceUID = f"{UID}.99.1"
    sheet.SeriesInstanceUID = f"{UID}.99"
    sheet.save_as(series / "dose.dcm")
    ct = read_ct(series)
    mask = mask_on(ct)
    write_dicom_seg(mask, series, tmp_path / "p.dcm")
    assert np.array_equal(read_back(tmp_path / "p.dcm", ct), inside(mask))
