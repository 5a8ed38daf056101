"""DICOM folders with faults: each is refused by the name of the slice, and what is no fault is no obstacle."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.series import find_ct_series

pydicom = pytest.importorskip("pydicom", reason="needs pydicom to write DICOM: pip install -e .[test]")

from test_imaging_reading import UID, assert_same, ct_image, refusal, write_dicom  # noqa: E402

CLASSES = "1.2.840.10008.5.1.4.1.1"


def edit(path: Path, **changes: object) -> None:
    """Change attributes of a stored slice, None removes; values may be as wrong as they like."""
    with pydicom.config.disable_value_validation():
        header = pydicom.dcmread(path)
        for name, value in changes.items():
            if value is None:
                delattr(header, name)
            elif isinstance(value, bytes):
                tag = pydicom.tag.Tag(name)
                header._dict[tag] = pydicom.dataelem.RawDataElement(
                    tag, pydicom.datadict.dictionary_VR(tag), len(value), value, 0, False, True
                )
            else:
                setattr(header, name, value)
        header.save_as(path)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_dicom(tmp_path / "ct", ct_image())
    return tmp_path / "ct"


BAD_ATTRIBUTES = [
    *[("PixelSpacing", v) for v in (None, b"0\\0 ", b"0.8\\ab", b"-1\\-1 ", b"0.8 ", b"nan\\nan ", b"1e999\\1 ")],
    *[("ImagePositionPatient", v) for v in (None, b"nan\\0\\0 ", b"1\\2 ", b"inf\\0\\0 ", b"a\\b\\c ")],
    *[("ImageOrientationPatient", v) for v in (None, b"0\\0\\0\\0\\0\\0 ", b"1\\0\\0\\1\\0\\0 ")],
    *[("RescaleSlope", v) for v in (None, b"0 ", b"x ", b"nan ", b"-1", b"1e10")],
    *[("RescaleIntercept", v) for v in (None, b"- ", b"inf ")],
    ("Rows", 48), ("Rows", 12), ("Rows", 0), ("Columns", 64), ("BitsAllocated", 8), ("BitsAllocated", 32),
    ("BitsStored", 17), ("SamplesPerPixel", 3), ("NumberOfFrames", b"2 "), ("PixelData", None),
    ("PhotometricInterpretation", b"MONOCHROME1 "), ("RescaleType", b"MGML"), ("RescaleType", b"Z_EFF "),
    ("HighBit", 16), ("BitsStored", 10), ("SeriesInstanceUID", None),
    ("PixelData", b"\0" * 100), ("PixelData", b"\0" * 4000),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_ATTRIBUTES)
@pytest.mark.parametrize("which", ["one", "all"])
def test_a_wrong_attribute_is_refused_naming_slice_and_attribute(series, name, value, which):
    files = sorted(series.iterdir())
    for file in files if which == "all" else files[5:6]:
        edit(file, **{name: value})
    text = refusal(series)
    assert f"“{files[0 if which == 'all' else 5].name}”" in text or "RescaleSlope" in text
    assert name in text or "pixels" in text or "bits" in text or "colours" in text or "frames" in text


def test_slices_without_any_rescaling_are_refused_when_others_have_it(series):
    edit(series / "3.dcm", RescaleSlope=None, RescaleIntercept=None)
    assert "“3.dcm” says no RescaleSlope" in refusal(series)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PixelSpacing": [0.95, 0.8]}, "pixels of"),
        ({"Rows": 23, "PixelData": b"\0" * 23 * 32 * 2}, "32×23"),
        ({"PatientID": "another"}, "another patient"),
        ({"FrameOfReferenceUID": f"{UID}.5"}, "frame of reference"),
        ({"SOPInstanceUID": f"{UID}.1.2"}, "same SOPInstanceUID"),
    ],
)
def test_slices_of_two_kinds_in_one_series_are_refused(series, changes, says):
    target = next(f for f in sorted(series.iterdir()) if pydicom.dcmread(f).SOPInstanceUID != f"{UID}.1.2")
    edit(target, **changes)
    assert says in refusal(series)


def test_a_copy_of_a_slice_with_other_pixels_is_refused_and_neither_is_taken(series):
    shutil.copy(series / "3.dcm", series / "copy.dcm")
    assert_same(read_ct(series), ct_image())
    edit(series / "copy.dcm", PixelData=bytes(24 * 32 * 2))
    assert "same SOPInstanceUID" in refusal(series)


@pytest.mark.parametrize("kind", [b"HU", b"HU_MOD", b"US", b"Hounsfield Unit "])
def test_values_that_may_be_hu_by_their_type_are_read(series, kind):
    for file in series.iterdir():
        edit(file, RescaleType=kind)
    assert_same(read_ct(series), ct_image())


def test_half_the_slices_of_another_size_are_not_dropped(series):
    for file in sorted(series.iterdir())[:6]:
        edit(file, Rows=12, PixelData=b"\0" * 12 * 32 * 2)
    assert "several kinds" in refusal(series)


@pytest.mark.parametrize("mm_per_slice", [0.03, 0.05, 0.5])
def test_a_small_shear_that_adds_up_is_refused(tmp_path, mm_per_slice):
    write_dicom(tmp_path, ct_image(slices=60), shear_mm=mm_per_slice)
    assert "tilted gantry" in refusal(tmp_path)


def test_steps_that_drift_apart_are_refused(tmp_path):
    image = ct_image(slices=40, direction=np.eye(3).ravel())
    write_dicom(tmp_path, image)
    for file in tmp_path.iterdir():
        header = pydicom.dcmread(file)
        z = (float(header.ImagePositionPatient[2]) + 400) / 2.5
        edit(file, ImagePositionPatient=[-120.5, 33.25, -400 + 2.45 * min(z, 20) + 2.55 * max(z - 20, 0)])
    assert "unevenly spaced" in refusal(tmp_path)


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_no_fault(tmp_path):
    image = ct_image(slices=40, direction=np.eye(3).ravel())
    image.SetSpacing((0.8, 0.9, 0.625))
    write_dicom(tmp_path, image)
    for file in tmp_path.iterdir():
        edit(file, ImagePositionPatient=[round(float(v), 1) for v in pydicom.dcmread(file).ImagePositionPatient])
    read = read_ct(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(image))
    assert read.GetSpacing()[2] == pytest.approx(0.625, abs=0.005)


def test_rounded_directions_on_either_side_of_a_hundredth_stay_one_series(series):
    for number, file in enumerate(sorted(series.iterdir())):
        along = [float(v) for v in pydicom.dcmread(file).ImageOrientationPatient]
        edit(file, ImageOrientationPatient=[v + (1e-4 if number % 2 else -1e-4) for v in along])
    assert read_ct(series).GetSize()[2] == 12


@pytest.mark.parametrize("content", [b"", b"\0" * 3000, b"<html>not found</html>"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_a_file_named_like_the_slices_that_is_no_dicom_is_refused(series, content, place):
    by_place = sorted(series.iterdir(), key=lambda f: float(pydicom.dcmread(f).ImagePositionPatient[2]))
    lost = by_place[{"first": 0, "middle": 6, "last": -1}[place]]
    lost.write_bytes(content)
    assert f"“{lost.name}”" in refusal(series)


def test_other_files_beside_the_slices_are_no_obstacle(series):
    for name in ("README.txt", "DICOMDIR", "._1.dcm", ".DS_Store", "Thumbs.db", "viewer.exe", "notes 1.xml"):
        (series / name).write_bytes(b"something else")
    os.mkfifo(series / "pipe.dcm")
    (series / "nowhere.dcm").symlink_to(series / "gone.dcm")
    assert_same(read_ct(series), ct_image())


def companion(kind: str, modality: str, **more: object) -> Callable[[Path], None]:
    """Turns a copied slice into another object of the study."""

    def make(path: Path) -> None:
        header = pydicom.dcmread(path)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = f"{CLASSES}.{kind}"
        header.Modality, header.SOPInstanceUID = modality, f"{UID}.500.{kind}"
        for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(header, name)
        for name, value in more.items():
            setattr(header, name, value)
        header.save_as(path)

    return make


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        ("11.1", "PR"), ("88.59", "KO"), ("481.3", "RTSTRUCT"), ("88.22", "SR"), ("88.67", "SR"), ("481.2", "RTDOSE"),
        ("481.5", "RTPLAN"), ("66.4", "SEG"), ("66", "OT"), ("104.1", "DOC"), ("7", "CT"), ("11.1", "CT"),
        ("88.59", "CT"), ("66.1", "REG"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("own_series", [False, True])
def test_other_objects_of_a_healthy_study_are_passed_over_by_their_class(series, kind, modality, own_series):
    shutil.copy(series / "3.dcm", series / "other.dcm")
    more = {} if own_series else {"SeriesInstanceUID": f"{UID}.900"}
    companion(kind, modality, **more)(series / "other.dcm")
    assert_same(read_ct(series), ct_image())
    assert_same(read_ct(series / "3.dcm"), ct_image())
    assert "choose a CT" in refusal(series / "other.dcm") or kind == "7"


def test_scouts_in_the_series_are_passed_over(series):
    for number, orientation in enumerate(([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        shutil.copy(series / "3.dcm", series / f"scout{number}.dcm")
        edit(series / f"scout{number}.dcm", ImageOrientationPatient=orientation, SOPInstanceUID=f"{UID}.70{number}")
    shutil.copy(series / "3.dcm", series / "scout2.dcm")
    edit(series / "scout2.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SOPInstanceUID=f"{UID}.702")
    assert_same(read_ct(series), ct_image())


@pytest.mark.parametrize("kind", ["MIP", "CT_SOM5 MIP", "MINIP", "PROJECTION IMAGE"])
def test_projections_are_passed_over_and_refused_where_nothing_else_is(series, tmp_path, kind):
    write_dicom(tmp_path / "study" / "slabs", ct_image(seed=2, slices=30), series=2)
    for file in (tmp_path / "study" / "slabs").iterdir():
        edit(file, ImageType=["DERIVED", "SECONDARY", "AXIAL", kind])
    assert "(ImageType MIP)" in refusal(tmp_path / "study")
    shutil.copytree(series, tmp_path / "study" / "ct")
    assert_same(read_ct(tmp_path / "study"), ct_image())


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("pixels", [b"", b"\0" * 100], ids=["none", "few"])
def test_a_deflated_slice_without_all_its_pixels_is_named(series, pixels, bits):
    for file in series.iterdir():
        header = pydicom.dcmread(file)
        header.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        if file.name == "3.dcm":
            header.BitsStored, header.HighBit = bits, bits - 1
            header.PixelData = pixels
            if not pixels:
                del header.PixelData
        header.save_as(file)
    assert "“3.dcm” is cut off or damaged" in refusal(series)


def to_captures(series: Path) -> None:
    """Store a series as some converters do."""
    for file in series.iterdir():
        header = pydicom.dcmread(file)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = f"{CLASSES}.7"
        header.save_as(file)


def test_a_series_stored_as_secondary_captures_is_read(series):
    to_captures(series)
    assert_same(read_ct(series), ct_image())


def test_captures_beside_the_ct_of_another_study_are_found_and_read(series, tmp_path):
    other = ct_image(seed=2, slices=30)
    write_dicom(tmp_path / "other", other, series=2)
    for file in (tmp_path / "other").iterdir():
        edit(file, StudyInstanceUID=f"{UID}.800", PatientID="another")
    to_captures(tmp_path / "other")
    found = find_ct_series([*series.iterdir(), *(tmp_path / "other").iterdir()])
    assert (sorted(len(each.files) for each in found.series), found.damaged) == (
        sorted([len(list(series.iterdir())), 30]),
        {},
    )
    for number, file in enumerate(sorted((tmp_path / "other").iterdir())):
        file.rename(series / f"capture{number}.dcm")
    assert_same(read_ct(series / "capture3.dcm"), other)
    assert_same(read_ct(series / "3.dcm"), ct_image())


def test_captures_beside_the_ct_of_their_study_are_passed_over(series, tmp_path):
    write_dicom(tmp_path / "other", ct_image(seed=2, slices=30), series=2)
    to_captures(tmp_path / "other")
    assert_same(read_ct(tmp_path), ct_image())


def test_a_multi_frame_ct_is_named(series):
    for file in sorted(series.iterdir())[1:]:
        file.unlink()
    (only,) = series.iterdir()
    header = pydicom.dcmread(only)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = f"{CLASSES}.2.1"
    header.save_as(only)
    assert "multi-frame" in refusal(series)
    assert "multi-frame" in refusal(only)


def test_linked_folders_are_searched_and_circles_end(tmp_path, series):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "link").symlink_to(series)
    (series / "round").symlink_to(tmp_path / "study")
    assert_same(read_ct(tmp_path / "study"), ct_image())


@pytest.mark.parametrize("what", ["folder", "slice"])
def test_what_may_not_be_read_is_refused_by_name(what, unprivileged):
    write_dicom(unprivileged / "study" / "a", ct_image())
    write_dicom(unprivileged / "study" / "b", ct_image(seed=2, slices=30), series=2)
    shut = unprivileged / "study" / ("b" if what == "folder" else "a/3.dcm")
    shut.chmod(0)
    try:
        text = refusal(unprivileged / "study")
    finally:
        shut.chmod(0o755)
    assert shut.name in text
    assert "Permission denied" in text


SYNTAXES = {
    "deflated": "1.2.840.10008.1.2.1.99",
    "implicit": "1.2.840.10008.1.2",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg lossless": "1.2.840.10008.1.2.4.70",
}


def restore_as(path: Path, syntax: str) -> None:
    header = pydicom.dcmread(path)
    if syntax == "explicit":
        return
    if syntax == "big endian":
        header["PixelData"].VR = "OW"
        header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        pydicom.dcmwrite(path, header, implicit_vr=False, little_endian=False, enforce_file_format=True)
        return
    if syntax == "jpeg lossless":
        dcmcjpeg = shutil.which("dcmcjpeg") or pytest.skip("dcmcjpeg of Debian's dcmtk is not installed")
        subprocess.run([dcmcjpeg, "+e1", "+un", path, path], check=True)
        return
    if syntax in ("rle", "jpeg-ls"):
        header.compress(SYNTAXES[syntax], generate_instance_uid=False)
        header.save_as(path)
        return
    header.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    header.save_as(path, implicit_vr=syntax == "implicit", little_endian=True, enforce_file_format=True)


# --- bits that a header declares --------------------------------------------------------------------------------------


def store_words(
    series: Path, values: np.ndarray, bits: int, signed: int, intercept: int = -1024, syntax: str = "explicit"
) -> None:
    """Put the same words into every slice, under a header that declares so many bits."""
    for file in series.iterdir():
        words = np.resize(values, (24, 32)).astype("<u2").tobytes()
        edit(file, PixelData=words, PixelRepresentation=signed, RescaleIntercept=str(intercept))
        restore_as(file, syntax)
        edit(file, BitsStored=bits, HighBit=bits - 1)  # last, as pydicom cuts to it too


WORDS = np.arange(24 * 32)
"""Of a slice; as unsigned 12 bits, air to soft tissue."""


@pytest.mark.parametrize("syntax", ["explicit", "big endian", *SYNTAXES])
@pytest.mark.parametrize(
    ("values", "bits", "signed", "intercept"),
    [
        (WORDS * 4, 10, 0, -1024),  # unsigned, up to 3068
        (WORDS * 6, 12, 0, -1024),  # just beyond, up to 4602
        (WORDS - 400, 12, 0, 0),  # signed ones said to be unsigned
        (WORDS * 4, 12, 1, -1024),  # positive ones with the sign's bit set
        (WORDS * 4 - 1000, 12, 1, 0),  # signs extended below zero, none above 2047
        (WORDS * 80, 12, 1, 0),  # beyond both
        (WORDS, 8, 0, -1024),
    ],
)
def test_words_of_more_bits_than_declared_are_refused(series, values, bits, signed, intercept, syntax):
    store_words(series, values, bits, signed, intercept, syntax)
    assert f"more than the {bits} bits that it declares (BitsStored)" in refusal(series)


@pytest.mark.parametrize(
    ("values", "bits", "signed", "intercept", "hu"),
    [
        (WORDS * 4, 12, 0, -1024, WORDS * 4 - 1024),
        (WORDS - 400, 12, 1, 0, WORDS - 400),  # signs extended
        ((WORDS - 400) % 4096, 12, 1, 0, WORDS - 400),  # zeros above the sign
        (WORDS * 5 - 1800, 12, 1, 0, WORDS * 5 - 1800),
    ],
)
@pytest.mark.parametrize("syntax", ["explicit", "big endian", *SYNTAXES])
def test_words_that_fit_their_bits_are_read_with_their_sign(series, values, bits, signed, intercept, hu, syntax):
    store_words(series, values, bits, signed, intercept, syntax)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(read_ct(series))[3].ravel(), hu)


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_padding_and_overlays_above_the_bits_are_no_values(series, syntax):
    store_words(series, np.where(WORDS < 9, 63536, WORDS) | 1 << 15, 12, 0, syntax=syntax)
    assert "BitsStored" in refusal(series)
    for file in series.iterdir():
        header = pydicom.dcmread(file)
        header.add_new(0x60000102, "US", 15)  # a plane without data of its own
        header.add_new(0x00280120, "US", 63536)  # padding
        header.save_as(file)
    assert read_ct(series).GetPixel(20, 20, 3) == WORDS[20 * 32 + 20] - 1024


# --- two volumes in one series ----------------------------------------------------------------------------------------


def in_order(series: Path) -> list[Path]:
    return sorted(series.iterdir(), key=lambda file: pydicom.dcmread(file).SOPInstanceUID.rsplit(".", 1)[1].zfill(3))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("ConvolutionKernel", "B30f", "B70f"),
        ("ConvolutionKernel", ["Br40d", "3"], ["Br59d", "3"]),
        ("FilterType", "BODY FILTER", "HEAD FILTER"),
        ("ReconstructionDiameter", "360", "500"),
    ],
)
@pytest.mark.parametrize("where", ["every second", "one in the middle"])
def test_slices_of_two_reconstructions_between_one_another_are_refused(series, name, one, other, where):
    for place, file in enumerate(in_order(series)):
        edit(file, **{name: other if (place % 2 if where == "every second" else place == 5) else one})
    text = refusal(series)
    assert "alternate between two reconstructions" in text
    assert name in text


@pytest.mark.parametrize(
    "changes",
    [
        lambda place: {"ConvolutionKernel": "B30f" if place < 5 else "B70f"},
        lambda place: {"ConvolutionKernel": "B30f" if place % 2 else ""},
        lambda place: {"ReconstructionDiameter": f"{360 + place % 2 / 100:.2f}"},
        lambda place: {"ReconstructionDiameter": b"none"},
        lambda place: {"KVP": 100 + 20 * (place % 2), "XRayTubeCurrent": 100 + place, "AcquisitionNumber": place % 2},
        lambda place: {"ImageType": ["ORIGINAL" if place % 2 else "DERIVED", "PRIMARY", "AXIAL"]},
    ],
)
def test_what_may_change_within_one_volume_is_no_fault(series, changes):
    for place, file in enumerate(in_order(series)):
        edit(file, **changes(place))
    assert_same(read_ct(series), ct_image())


@pytest.mark.parametrize("syntax", list(SYNTAXES))
def test_every_transfer_syntax_reads_whole_and_is_refused_when_cut_off(series, syntax):
    for file in series.iterdir():
        restore_as(file, syntax)
    assert_same(read_ct(series), ct_image())
    whole = (series / "4.dcm").read_bytes()
    for lost in (2, 10, 200, len(whole) // 2, len(whole) - 300):
        (series / "4.dcm").write_bytes(whole[: len(whole) - lost])
        assert "“4.dcm”" in refusal(series)


def test_each_slice_is_rescaled_by_its_own_header(series):
    for number, file in enumerate(sorted(series.iterdir())):
        header = pydicom.dcmread(file)
        header.RescaleIntercept = float(-1024 - number)
        header.PixelData = (header.pixel_array + np.int16(number)).astype(np.int16).tobytes()
        header.save_as(file)
    assert_same(read_ct(series), ct_image())


def test_a_file_without_preamble_is_read(series):
    for file in series.iterdir():
        header = pydicom.dcmread(file)
        del header.file_meta
        header.preamble = None
        header.save_as(file, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert_same(read_ct(series), ct_image())
