"""What is read as a CT, in HU and where it belongs, and what is refused in one sentence."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.reading import read_ct

OBLIQUE = np.array(sitk.VersorTransform([0.3, 0.5, 0.81], 0.4).GetMatrix())


def ct_image(slices: int = 12, direction=OBLIQUE, seed: int = 0) -> sitk.Image:
    """Random HU on an anisotropic, oblique grid."""
    values = np.random.default_rng(seed).integers(-1000, 1500, (slices, 24, 32))
    image = sitk.GetImageFromArray(values.astype(np.int16))
    image.SetSpacing((0.8, 0.9, 2.5))
    image.SetOrigin((-120.5, 33.25, -400.0))
    image.SetDirection(direction)
    return image


def refusal(path: Path) -> str:
    """Why a path is refused; one sentence (or two halves with a semicolon) on one line, without a traceback."""
    with pytest.raises(InputError) as caught:
        read_ct(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert "ITK ERROR" not in text
    return text


def assert_same(read: sitk.Image, image: sitk.Image) -> None:
    assert read.GetSize() == image.GetSize()
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(image))
    np.testing.assert_allclose(read.GetSpacing(), image.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(read.GetOrigin(), image.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(read.GetDirection(), image.GetDirection(), atol=1e-5)


# --- volumes in one file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".NII.GZ"])
def test_a_volume_reads_as_written_from_a_path_with_spaces_and_umlauts(tmp_path, suffix):
    path = tmp_path / "Müller, Übung 1" / f"Bauch größer{suffix.lower()}"
    path.parent.mkdir()
    sitk.WriteImage(ct_image(), str(path))
    if suffix.isupper():
        path = path.rename(path.with_name("BAUCH" + suffix))
    assert_same(read_ct(path), ct_image())
    assert_same(read_ct(str(path)), ct_image())


def test_slope_and_intercept_of_a_nifti_header_are_applied(tmp_path):
    path = tmp_path / "ct.nii"
    raw = sitk.Cast(ct_image() + 1024, sitk.sitkUInt16)
    sitk.WriteImage(raw, str(path))
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(header)
    read = read_ct(path)
    np.testing.assert_allclose(sitk.GetArrayFromImage(read), sitk.GetArrayFromImage(ct_image()), atol=1e-3)


def test_a_fourth_dimension_of_one_is_dropped(tmp_path):
    sitk.WriteImage(sitk.JoinSeries([ct_image(direction=np.eye(3).ravel())]), str(tmp_path / "ct.nrrd"))
    assert_same(read_ct(tmp_path / "ct.nrrd"), ct_image(direction=np.eye(3).ravel()))


def labels() -> sitk.Image:
    return sitk.Cast(ct_image() > 1200, sitk.sitkUInt8) * 3


def flat_vector() -> sitk.Image:
    return sitk.Compose([sitk.Cast(ct_image(), sitk.sitkUInt8)] * 3)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ct_image()[:, :, 3], "single 2D image"),
        (lambda: ct_image(slices=1), "single 2D image"),
        (lambda: sitk.JoinSeries([ct_image(), ct_image()]), "4D image with 2 volumes"),
        (flat_vector, "3 values per voxel"),
        (labels, "looks like a label map"),
    ],
)
def test_what_is_no_ct_volume_is_refused(tmp_path, make, reason):
    sitk.WriteImage(make(), str(tmp_path / "image.nrrd"))
    assert reason in refusal(tmp_path / "image.nrrd")


def test_a_segmentation_given_as_ct_is_refused(tmp_path):
    from TernarySegmentLib.imaging.files.writing import write_mask

    write_mask(ct_image() > 1200, tmp_path / "p.seg.nrrd")
    assert "is a segmentation, not a CT" in refusal(tmp_path / "p.seg.nrrd")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix, kept):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    sitk.WriteImage(ct_image(), str(whole))
    content = whole.read_bytes()
    cut.write_bytes(content[: int(kept * len(content))])
    assert "cut" in refusal(cut)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".dcm", ""])
def test_a_file_of_something_else_is_refused(tmp_path, suffix):
    (tmp_path / f"file{suffix}").write_bytes(b"no image at all " * 100)
    refusal(tmp_path / f"file{suffix}")
    (tmp_path / f"empty{suffix}").write_bytes(b"")
    refusal(tmp_path / f"empty{suffix}")


def test_missing_paths_and_empty_folders_are_refused(tmp_path):
    assert "There is no file or folder" in refusal(tmp_path / "nowhere.nrrd")
    assert "is empty" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM here")
    assert "holds no DICOM images" in refusal(tmp_path)


def test_nothing_is_printed_for_what_is_refused(tmp_path, capfd):
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    (tmp_path / "bad.dcm").write_bytes(b"no image")
    refusal(tmp_path / "bad.nii.gz")
    refusal(tmp_path / "bad.dcm")
    assert capfd.readouterr() == ("", "")


# --- DICOM ------------------------------------------------------------------------------------------------------------

UID = "1.2.826.0.1.3680043.8.498"


def write_dicom(
    folder: Path,
    image: sitk.Image,
    series: int = 1,
    *,
    modality: str = "CT",
    skip: tuple[int, ...] = (),
    slope: float = 1.0,
    intercept: float = -1024.0,
    shear_mm: float = 0.0,
    names: str = "{}.dcm",
) -> None:
    """Store an image as a DICOM series, in shuffled order; ``shear_mm`` moves every slice on along the rows."""
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom to write DICOM: pip install -e .[test]")
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    kind = {"CT": "2", "MR": "4", "PT": "128"}[modality]
    order = np.random.default_rng(series).permutation(image.GetSize()[2])
    for z in range(image.GetSize()[2]):
        if z in skip:
            continue
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds = pydicom.Dataset()
        ds.file_meta = meta
        ds.SOPClassUID = meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
        ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"{UID}.{series}.{z + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{UID}.9", f"{UID}.{series}"
        ds.Modality, ds.InstanceNumber, ds.SeriesNumber = modality, int(order[z]) + 1, series
        position = np.array(image.TransformIndexToPhysicalPoint((0, 0, z))) + z * shear_mm * direction[:, 0]
        ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
        ds.ImageOrientationPatient = [f"{v:.8f}" for v in (*direction[:, 0], *direction[:, 1])]
        ds.PixelSpacing = [image.GetSpacing()[1], image.GetSpacing()[0]]
        ds.SliceThickness = image.GetSpacing()[2]
        ds.RescaleSlope, ds.RescaleIntercept = str(slope), str(intercept)
        plane = np.rint((sitk.GetArrayViewFromImage(image)[z].astype(float) - intercept) / slope).astype(np.int16)
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = plane.tobytes()
        ds.save_as(folder / names.format(order[z]), enforce_file_format=True)


@pytest.mark.parametrize("direction", [OBLIQUE, np.eye(3).ravel(), np.diag([1.0, -1.0, -1.0]).ravel()])
@pytest.mark.parametrize("names", ["{}.dcm", "IM{:05d}"])
def test_a_shuffled_series_is_read_in_hu_in_the_order_of_its_positions(tmp_path, direction, names):
    image = ct_image(direction=direction)
    write_dicom(tmp_path / "Müller" / "Serie 1", image, names=names)
    assert_same(read_ct(tmp_path), image)
    assert read_ct(tmp_path).GetPixelID() == sitk.sitkInt16


def test_one_file_stands_for_its_series(tmp_path):
    write_dicom(tmp_path, ct_image(seed=1), series=1, names="a{}.dcm")
    write_dicom(tmp_path, ct_image(seed=2, slices=9), series=2, names="b{}.dcm")
    assert_same(read_ct(tmp_path / "b3.dcm"), ct_image(seed=2, slices=9))
    assert_same(read_ct(tmp_path / "a3.dcm"), ct_image(seed=1))


def test_the_ct_series_with_the_most_slices_is_taken_and_logged(tmp_path, caplog):
    write_dicom(tmp_path / "a", ct_image(slices=9), series=1)
    write_dicom(tmp_path / "b" / "deep", ct_image(seed=5, slices=14), series=2)
    write_dicom(tmp_path / "c", ct_image(slices=30), series=3, modality="MR")
    (tmp_path / "DICOMDIR.txt").write_text("no image")
    with caplog.at_level(logging.INFO):
        assert_same(read_ct(tmp_path), ct_image(seed=5, slices=14))
    assert f"{UID}.2" in caplog.text
    assert "2 CT series" in caplog.text


def test_a_copy_of_a_slice_counts_once(tmp_path):
    write_dicom(tmp_path, ct_image())
    (tmp_path / "copy of 3.dcm").write_bytes((tmp_path / "3.dcm").read_bytes())
    assert_same(read_ct(tmp_path), ct_image())


def test_a_slope_that_is_no_whole_number_keeps_its_fractions(tmp_path):
    image = sitk.Cast(sitk.Cast(ct_image(), sitk.sitkFloat32) * 0.5, sitk.sitkFloat32)
    write_dicom(tmp_path, image, slope=0.5, intercept=-1000.0)
    np.testing.assert_allclose(sitk.GetArrayFromImage(read_ct(tmp_path)), sitk.GetArrayFromImage(image), atol=1e-3)


@pytest.mark.parametrize("skip", [(5,), (2, 3), (1,)])
def test_a_series_with_missing_slices_is_refused_saying_where(tmp_path, skip):
    write_dicom(tmp_path, ct_image(), skip=skip)
    text = refusal(tmp_path)
    assert "missing or uneven slices" in text
    assert f"between slices {skip[0]} and {skip[0] + 1}" in text
    assert "missing or uneven slices" in refusal(next(tmp_path.iterdir()))


def test_slices_of_two_phases_at_one_position_are_refused(tmp_path):
    write_dicom(tmp_path, ct_image(), series=1, names="a{}.dcm")
    write_dicom(tmp_path, ct_image(seed=3), series=2, names="b{}.dcm")
    pydicom = pytest.importorskip("pydicom")
    for file in tmp_path.glob("b*.dcm"):  # two phases stored as one series, as some scanners do
        ds = pydicom.dcmread(file)
        ds.SeriesInstanceUID = f"{UID}.1"
        ds.save_as(file)
    assert "several slices at one position" in refusal(tmp_path)


def test_a_tilted_gantry_is_refused(tmp_path):
    write_dicom(tmp_path, ct_image(), shear_mm=0.5)
    assert "tilted gantry" in refusal(tmp_path)


@pytest.mark.parametrize("modality", ["MR", "PT"])
def test_other_modalities_are_refused_by_name(tmp_path, modality):
    write_dicom(tmp_path, ct_image(), modality=modality)
    assert f"modality {modality}" in refusal(tmp_path)
    assert f"modality {modality}" in refusal(tmp_path / "3.dcm")


def test_a_cut_off_slice_is_refused_by_name(tmp_path):
    write_dicom(tmp_path, ct_image())
    whole = (tmp_path / "4.dcm").read_bytes()
    for kept in (len(whole) - 200, len(whole) // 2, 300):
        (tmp_path / "4.dcm").write_bytes(whole[:kept])
        assert "“4.dcm” is cut off or damaged" in refusal(tmp_path)
    (tmp_path / "4.dcm").write_bytes(whole[:100])  # no longer to be known as DICOM
    assert "“4.dcm” lies among the CT slices" in refusal(tmp_path)


def test_a_single_slice_is_no_volume(tmp_path):
    write_dicom(tmp_path, ct_image(slices=1))
    assert "single slice" in refusal(tmp_path / "0.dcm")


# --- real scans -------------------------------------------------------------------------------------------------------


def test_a_real_dicom_series_reads_where_its_headers_put_it(shared_data, capfd):
    image = read_ct(shared_data / "acrin_dicom")
    assert image.GetSize() == (512, 512, 99)
    np.testing.assert_allclose(image.GetSpacing(), (0.976562, 0.976562, 4.25), atol=1e-4)
    np.testing.assert_allclose(image.GetOrigin(), (-250, -250, -846.25), atol=0.01)
    sample = sitk.GetArrayViewFromImage(image)[::4, ::4, ::4]
    assert np.count_nonzero(sample == -3024) > 0.1 * sample.size, "padding outside the scanner's circle"
    assert capfd.readouterr() == ("", "")


def test_a_real_nifti_keeps_its_flipped_axes(shared_data):
    image = read_ct(shared_data / "nih_pancreas_0004" / "ct.nii.gz")
    assert image.GetSize() == (512, 512, 221)
    np.testing.assert_allclose(image.GetDirection(), np.diag([1.0, -1.0, -1.0]).ravel())


def test_a_real_sparse_mask_is_no_ct(shared_data):
    assert "label map" in refusal(shared_data / "nih_pancreas_0004" / "pancreas_sparse.nii.gz")
