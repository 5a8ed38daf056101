"""RT structure sets: filled, the contours are the mask again, on the slices they name, and the validator agrees."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from quick_model import quick_model

from TernarySegmentLib import cli
from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.rtstruct import outlines, write_rtstruct

pydicom = pytest.importorskip("pydicom", reason="needs pydicom: pip install -e .[test]")
pytest.importorskip("contourpy", reason="needs contourpy: pip install -e .[dicom]")

from test_imaging_dicom_seg import DIRECTIONS, PROVENANCE, inside, mask_on, patient_series  # noqa: E402
from test_imaging_reading import ct_image  # noqa: E402


def filled(ring: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Voxel centres inside a closed contour (columns, rows), by counting crossings of a ray: even is outside."""
    (x, y), (x_next, y_next) = ring.T, np.roll(ring, -1, 0).T
    row, column = np.mgrid[:rows, :columns].reshape(2, -1, 1)
    crosses = (y > row) != (y_next > row)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x + (row - y) * (x_next - x) / (y_next - y)
    return ((crosses & (column < at)).sum(1) % 2).reshape(rows, columns)


def read_back(path: Path, like: sitk.Image) -> np.ndarray:
    """The structure set's voxels on an image's grid: every contour filled where its own points say that it lies."""
    stored = pydicom.dcmread(path)
    columns, rows, slices = like.GetSize()
    voxels = np.zeros((slices, rows, columns), np.uint8)
    for contour in stored.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        assert len(points) == contour.NumberOfContourPoints
        ring = np.array([like.TransformPhysicalPointToContinuousIndex(point) for point in points])
        plane = round(ring[0, 2])
        np.testing.assert_allclose(ring[:, 2], plane, atol=0.01, err_msg="a contour leaves its slice")
        voxels[plane] += filled(ring[:, :2], rows, columns).astype(np.uint8)
    return voxels


def complaints(path: Path) -> list[str]:
    """What the validator dciodvfy finds fault with."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace")
    lines = (done.stderr + done.stdout).splitlines()
    assert "RTStructureSet" in lines, "dciodvfy did not take it for a structure set"
    return [line for line in lines if line.startswith(("Error", "Warning"))]


@settings(max_examples=200, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_filling_the_outlines_of_any_slice_gives_it_back(slice_):
    total = sum((filled(ring, *slice_.shape) for ring in outlines(slice_)), np.zeros(slice_.shape, int))
    np.testing.assert_array_equal(total, slice_.astype(int))


def test_a_ring_in_a_ring_is_three_regions_in_two_contours():
    slice_ = np.zeros((11, 11), bool)
    slice_[1:10, 1:10], slice_[3:8, 3:8], slice_[5, 5] = True, False, True
    assert len(outlines(slice_)) == 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_filled_contours_are_the_mask_voxel_for_voxel(tmp_path, direction):
    image = ct_image(direction=direction)
    source, mask, path = patient_series(tmp_path / "ct", image), mask_on(image), tmp_path / "rt.dcm"
    write_rtstruct(mask, source, path, provenance=PROVENANCE)
    np.testing.assert_array_equal(read_back(path, image), inside(mask))
    assert complaints(path) == []


def test_a_real_series_gives_identical_voxels_and_no_error(shared_data, tmp_path):
    source, path = shared_data / "acrin_dicom", tmp_path / "rt.dcm"
    ct = read_ct(source)
    values = np.zeros(ct.GetSize()[::-1], np.float32)
    values[20:26, 150:200, 120:190] = np.random.default_rng(1).normal(size=(6, 50, 70))
    smooth = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(values), 2.0)
    mask = smooth > 0.02  # many pieces and holes
    mask.CopyInformation(ct)
    write_rtstruct(mask, source, path)
    np.testing.assert_array_equal(read_back(path, ct), inside(mask))
    assert [line for line in complaints(path) if line.startswith("Error")] == []


def test_every_contour_names_the_slice_it_lies_on_and_the_source_is_referred_to(tmp_path):
    image = ct_image()
    source, path = patient_series(tmp_path / "ct", image), tmp_path / "rt.dcm"
    write_rtstruct(mask_on(image), source, path, provenance=PROVENANCE)
    stored = pydicom.dcmread(path)
    slices = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, source.glob("*.dcm"))}
    for contour in stored.ROIContourSequence[0].ContourSequence:
        header = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        position = image.TransformPhysicalPointToContinuousIndex([float(v) for v in contour.ContourData[:3]])
        own = image.TransformPhysicalPointToContinuousIndex([float(v) for v in header.ImagePositionPatient])
        assert position[2] == pytest.approx(own[2], abs=0.01)
    first = next(iter(slices.values()))
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert getattr(stored, name) == getattr(first, name), name
    space = stored.ReferencedFrameOfReferenceSequence[0]
    series = space.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert {each.ReferencedSOPInstanceUID for each in series.ContourImageSequence} == slices.keys()
    code = stored.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue) == ("SCT", "15776009")


def test_empty_masks_other_grids_endings_and_sources_are_refused_and_leave_no_file(tmp_path):
    image = ct_image()
    source, mask, path = patient_series(tmp_path / "ct", image), mask_on(image), tmp_path / "out" / "rt.dcm"
    elsewhere = sitk.Image(mask)
    elsewhere.SetOrigin([value + 40 for value in mask.GetOrigin()])
    for kind, text, arguments in (
        (OutputError, "mask is empty", (mask * 0, source, path)),
        (InputError, "other than the one the mask", (elsewhere, source, path)),
        (OutputError, "ends in none of", (mask, source, path.with_suffix(".nii"))),
        (InputError, "is no DICOM", (mask, "scan.nii.gz", path)),
    ):
        with pytest.raises(kind, match=text):
            write_rtstruct(*arguments)
    assert not path.parent.exists()


def test_command_line_writes_contours_beside_the_mask_and_refuses_them_of_a_nifti_file(tmp_path, capsys):
    from TernarySegmentLib.phantom import make_phantom

    source = patient_series(tmp_path / "ct", make_phantom(0, spacing=(3.0, 3.0, 3.0)).ct)
    mask, contours = tmp_path / "mask.nii.gz", tmp_path / "rt.dcm"
    command = ["segment", str(source), "-o", str(mask), "--model", str(quick_model())]
    assert cli.main([*command, "--rtstruct", str(contours), "-q"]) == 0
    written = sitk.ReadImage(str(mask))
    np.testing.assert_array_equal(read_back(contours, written), inside(written))
    assert cli.main(["segment", "scan.nii.gz", "-o", str(mask), "--rtstruct", str(contours)]) == 1
    assert "is no DICOM" in capsys.readouterr().err
    assert cli.main(["segment", str(source), "-o", str(contours), "--rtstruct", str(contours)]) == 1
    assert "--output and --rtstruct are both" in capsys.readouterr().err
