"""NIfTI, NRRD and MetaImage files: read whole and where they say, or refused; never read as something else."""

from __future__ import annotations

import gzip
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.nifti import read_nifti
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.measure import measure

from test_imaging_reading import OBLIQUE, assert_same, ct_image, refusal  # isort: skip

PACKED = [".nii.gz", ".nrrd", ".mha"]
SUFFIXES = [*PACKED, ".nii", ".mhd", ".nhdr"]


def write(image: sitk.Image, path: Path, packed: bool = True) -> Path:
    sitk.WriteImage(image, str(path), packed)
    return path


def refused_or_equal(path: Path, image: sitk.Image) -> bool:
    """True when refused; fails when anything but the image is read."""
    try:
        read = read_ct(path)
    except InputError:
        return True
    assert_same(read, image)
    return False


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKED)
def test_a_flipped_bit_anywhere_in_compressed_voxels_is_refused(tmp_path, suffix):
    image = ct_image()
    whole = write(image, tmp_path / f"whole{suffix}").read_bytes()
    voxels = whole.index(b"\n\n") + 12 if suffix == ".nrrd" else whole.index(b"LOCAL") + 8 if suffix == ".mha" else 12
    damaged = tmp_path / f"damaged{suffix}"
    refused = 0
    places = np.random.default_rng(5).integers(voxels, len(whole), 40)
    for number, place in enumerate(places):
        content = bytearray(whole)
        content[place] ^= 1 << number % 8
        damaged.write_bytes(content)
        refused += refused_or_equal(damaged, image)
    assert refused == len(places)


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_zeros_in_place_of_compressed_voxels_are_refused(tmp_path, suffix, part):
    whole = write(ct_image(slices=40), tmp_path / f"whole{suffix}").read_bytes()
    start = int(part * len(whole))
    (tmp_path / f"x{suffix}").write_bytes(whole[:start] + b"\0" * 4096 + whole[start + 4096 :])
    refusal(tmp_path / f"x{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("lost", [1, 4, 8, 500])
def test_a_file_without_its_last_bytes_is_refused(tmp_path, suffix, packed, lost):
    write(ct_image(), tmp_path / f"ct{suffix}", packed)
    data = max((p for p in tmp_path.iterdir()), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:-lost])
    refusal(tmp_path / f"ct{suffix}")


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_header_without_its_voxels_names_the_missing_file(tmp_path, suffix):
    write(ct_image(), tmp_path / f"ct{suffix}")
    next(p for p in tmp_path.iterdir() if p.suffix != suffix).unlink()
    assert "missing" in refusal(tmp_path / f"ct{suffix}")


def test_a_neighbour_of_the_same_stem_is_not_read_in_its_place(tmp_path):
    """ITK's reader takes the voxels of ct.nii for those of ct.nii.gz beside it."""
    write(ct_image(seed=1), tmp_path / "ct.nii")
    write(ct_image(seed=2), tmp_path / "ct.nii.gz")
    assert_same(read_ct(tmp_path / "ct.nii"), ct_image(seed=1))
    assert_same(read_ct(tmp_path / "ct.nii.gz"), ct_image(seed=2))


# --- names and versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct", "ct.img", "ct.NII.GZ", "ct.nii.gz.part"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_nifti_is_known_by_its_content_whatever_its_name(tmp_path, name, packed, version):
    nibabel = pytest.importorskip("nibabel", reason="needs nibabel: pip install -e .[test]")
    image = ct_image()
    affine = np.diag([-1.0, -1, 1, 1]) @ [
        *(np.c_[np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing(), image.GetOrigin()]),
        [0, 0, 0, 1],
    ]
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    content = kind(sitk.GetArrayFromImage(image).T, affine).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert_same(read_ct(tmp_path / name), image)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_nrrd_and_metaimage_are_known_by_their_content(tmp_path, suffix):
    path = write(ct_image(), tmp_path / f"ct{suffix}")
    assert_same(read_ct(path.rename(tmp_path / "no ending")), ct_image())


def test_another_format_packed_with_gzip_is_told_to_be_unpacked(tmp_path):
    content = write(ct_image(), tmp_path / "ct.nrrd").read_bytes()
    (tmp_path / "ct.nrrd").write_bytes(gzip.compress(content))
    assert "unpack it first" in refusal(tmp_path / "ct.nrrd")


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_are_read(tmp_path, order):
    nibabel = pytest.importorskip("nibabel", reason="needs nibabel: pip install -e .[test]")
    header = nibabel.Nifti1Header(endianness=order)
    values = sitk.GetArrayFromImage(ct_image()).T
    nibabel.Nifti1Image(values, np.eye(4), header).to_filename(tmp_path / "ct.nii")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_ct(tmp_path / "ct.nii")), values.T)


# --- NIfTI headers ----------------------------------------------------------------------------------------------------


def nifti_with(tmp_path: Path, offset: int, form: str, *values: float, image: sitk.Image | None = None) -> Path:
    path = write(image or ct_image(), tmp_path / "ct.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + form, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "form", "values", "says"),
    [
        (40, "4h", (3, 32, 24, 24), "cut off"),  # twice the slices
        (40, "4h", (3, 32, 24, 6), "more voxels"),  # half of them
        (40, "4h", (3, -32, 24, 12), "impossible size"),
        (40, "8h", (9, 32, 24, 12, 1, 1, 1, 1), "impossible size"),
        (40, "3h", (2, 32, 288), "2D image"),
        (70, "h", (128,), "type 128"),
        (70, "h", (32,), "type 32"),
        (80, "f", (0.0,), "voxel size"),
        (80, "f", (float("nan"),), "voxel size"),
        (80, "f", (3.0,), "contradicts itself"),
        (108, "f", (1e30,), "begin at byte"),
        (112, "2f", (0.0, -1024.0), "slope of 0"),
        (108, "f", (7.0,), "begin at byte"),
        (108, "f", (348.0,), "begin at byte"),
        (112, "2f", (-1.0, 0.0), "turns its values round"),
        (280, "f", (float("nan"),), "sform"),
        (280, "12f", (0.0,) * 12, "sform"),
        (280, "12f", (-0.8, 0.2, 0, 0, 0, -0.9, 0, 0, 0, 0, 2.5, 0), "contradicts itself"),
        (280, "12f", (-0.8, 0.09, 0, 0, 0, -0.8955, 0, 0, 0, 0, 2.5, 0), "right angles"),
        (268, "f", (float("inf"),), "position"),
        (256, "3f", (2.0, 2.0, 2.0), "qform"),
        (344, "4s", (b"ni1\0",), "half of a NIfTI pair"),
        (344, "4s", (b"abcd",), "no NIfTI header"),
    ],
)
def test_a_nifti_header_that_describes_no_volume_is_refused(tmp_path, offset, form, values, says):
    path = nifti_with(tmp_path, offset, form, *values)
    if offset in (256, 268):
        content = bytearray(path.read_bytes())
        struct.pack_into("<2h", content, 252, 1, 0)  # the qform alone counts
        path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_number_are_refused_in_every_format(tmp_path, suffix, value):
    from TernarySegmentLib.imaging.checks import check_ct

    image = sitk.Cast(ct_image(slices=40), sitk.sitkFloat32)
    image.SetSpacing((4.0, 4.0, 4.0))
    image[3, 4, 5] = value
    with pytest.raises(InputError, match="not numbers"):
        check_ct(read_ct(write(image, tmp_path / f"ct{suffix}")))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_negative_voxel_size_turns_the_axis_as_in_itk_and_is_logged(tmp_path, axis, caplog):
    pixdim = [0.8, 0.9, 2.5]
    path = nifti_with(tmp_path, 76 + 4 * axis, "f", -pixdim[axis - 1])
    assert_same(read_ct(path), sitk.ReadImage(str(path)))
    assert "negative voxel size" in caplog.text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    angle=st.one_of(st.floats(-4, 4), st.sampled_from([0.0, np.pi / 2, np.pi])),
    handedness=st.sampled_from([1.0, -1.0]),
    spacing=st.tuples(*[st.floats(0.1, 9)] * 3),
    origin=st.tuples(*[st.floats(-2000, 2000)] * 3),
    codes=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    unit=st.integers(0, 3),
    rescale=st.sampled_from([(0.0, 0.0), (1.0, 0.0), (1.0, -1024.0), (2.0, 0.25), (0.5, 0.0)]),
    voxel=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"]),
)
def test_itk_and_this_reader_agree_on_every_sound_nifti(
    tmp_path, axis, angle, handedness, spacing, origin, codes, unit, rescale, voxel
):
    rotation = np.array(sitk.VersorTransform(axis, angle).GetMatrix()).reshape(3, 3)
    values = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(voxel)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection((rotation * [1, 1, handedness]).ravel())
    path = write(image, tmp_path / "ct.nii")
    content = bytearray(path.read_bytes())
    struct.pack_into("<2h", content, 252, *codes)
    struct.pack_into("<2f", content, 112, *rescale)
    content[123] = unit
    path.write_bytes(content)
    expected, read = sitk.ReadImage(str(path)), read_nifti(path)
    assert read.GetSize() == expected.GetSize()
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(read).astype(float), sitk.GetArrayFromImage(expected).astype(float), rtol=1e-6
    )
    np.testing.assert_allclose(read.GetSpacing(), expected.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(read.GetOrigin(), expected.GetOrigin(), rtol=1e-6, atol=1e-6)
    # ITK takes what lies within 1e-5 of an axis for the axis: 0.02 mm over a scan
    np.testing.assert_allclose(read.GetDirection(), expected.GetDirection(), atol=4e-5)


# --- what is no file --------------------------------------------------------------------------------------------------


def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "ct.nii.gz")
    (tmp_path / "link.nrrd").symlink_to("/dev/zero")
    for name in ("ct.nii.gz", "link.nrrd"):
        assert "pipe or device" in refusal(tmp_path / name)
    assert "pipe or device" in refusal(Path("/dev/null"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".dcm"])
def test_a_name_that_is_no_unicode_is_read_or_refused_and_never_ends_the_process(tmp_path, suffix):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller" + suffix.encode()))
    sitk.WriteImage(ct_image(), str(tmp_path / f"ct{suffix}")) if suffix != ".dcm" else None
    (tmp_path / f"ct{suffix}").rename(path) if suffix != ".dcm" else path.write_bytes(b"no image")
    if suffix == ".nii.gz":
        assert_same(read_ct(path), ct_image())
    else:
        with pytest.raises(InputError, match=r"Unicode|neither DICOM"):
            read_ct(path)


@pytest.mark.parametrize("bad", ["ct\0.nrrd", "x" * 300 + ".nrrd", "ct.nrrd/deeper.nrrd"])
def test_names_that_no_file_can_have_are_refused(tmp_path, bad):
    write(ct_image(), tmp_path / "ct.nrrd")
    refusal(tmp_path / bad)


def test_a_file_that_may_not_be_read_is_refused_by_name(unprivileged):
    for suffix in (".nii.gz", ".nrrd", ".mha", ".dcm"):
        path = unprivileged / f"ct{suffix}"
        path.write_bytes(b"secret")
        path.chmod(0)
        assert "Permission denied" in refusal(path)


def test_a_sheared_nrrd_keeps_its_shear(tmp_path):
    direction = np.array(OBLIQUE).reshape(3, 3) @ [[1, 0, 0], [0, 1, np.sin(0.3)], [0, 0, np.cos(0.3)]]
    image = ct_image(direction=direction.ravel())
    for suffix in (".nrrd", ".mha"):
        assert_same(read_ct(write(image, tmp_path / f"ct{suffix}")), image)


# --- headers in text --------------------------------------------------------------------------------------------------

META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "-20 10 -100.5",
    "ElementSpacing": "0.8 0.9 2.5", "DimSize": "12 11 10", "ElementType": "MET_SHORT",
}  # fmt: skip
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "12 11 10",
    "space directions": "(0.8,0,0) (0,0.9,0) (0,0,2.5)", "kinds": "domain domain domain", "endian": "little",
    "encoding": "raw", "space origin": "(-20,10,-100.5)",
}  # fmt: skip
VALUES = np.random.default_rng(1).integers(-1000, 1500, (10, 11, 12)).astype("<i2")


def write_text(folder: Path, body: bytes, fields: dict[str, str], changes: dict[str, str | None]) -> Path:
    """A NRRD or MetaImage file with its header changed; None leaves a field out."""
    wanted = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    path = folder / ("x.mha" if fields is META else "x.nrrd")
    if fields is META:
        head = "".join(f"{key} = {value}\n" for key, value in wanted.items()) + "ElementDataFile = LOCAL\n"
    else:
        head = "NRRD0004\n" + "".join(f"{key}: {value}\n" for key, value in wanted.items()) + "\n"
    path.write_bytes(head.encode() + body)
    return path


@pytest.mark.parametrize("fields", [META, NRRD], ids=["mha", "nrrd"])
def test_the_headers_of_these_tests_are_sound(tmp_path, fields):
    image = read_ct(write_text(tmp_path, VALUES.tobytes(), fields, {}))
    assert np.array_equal(sitk.GetArrayFromImage(image), VALUES)
    assert image.GetSpacing() == pytest.approx((0.8, 0.9, 2.5))


@pytest.mark.parametrize(
    ("fields", "changes", "says"),
    [
        (META, {"ElementSpacing": None}, "how large its voxels are"),
        (NRRD, {"space": None, "space directions": None, "space origin": None}, "how large its voxels are"),
        (NRRD, {"space": None, "space directions": None, "space origin": None, "spacings": "1 1 nan"}, "how large"),
        (META, {"Offset": "nan 10 -100.5"}, "“nan 10 -100.5” as its offset"),
        (META, {"TransformMatrix": "1 0 0 0 inf 0 0 0 1"}, "as its transformmatrix"),
        (META, {"ElementSpacing": "0,8 0,9 2,5"}, "“0,8 0,9 2,5” as its elementspacing"),
        (META, {"ElementToIntensityFunctionSlope": "0.5"}, "are to be rescaled"),
        (META, {"ElementToIntensityFunctionOffset": "-1024"}, "are to be rescaled"),
        (META, {"DimSize": "12 11 9"}, "more voxels than its header says"),
        (NRRD, {"sizes": "12 11 9"}, "more voxels than its header says"),
        (META, {"BinaryData": "False"}, "cannot be read"),
        (META, {"ElementSpacing": "0.8 0.9 -2.5"}, "“0.8 0.9 -2.5” as its elementspacing"),
        (META, {"ElementSpacing": None, "ElementSize": "0 1 1"}, "“0 1 1” as its elementsize"),
        (META, {"DistanceUnits": "cm"}, "in “cm”"),
        (META, {"Modality": "MET_MOD_MR"}, "modality MR"),
        (NRRD, {"space directions": "none (0,0.9,0) (0,0,2.5)"}, "how large its voxels are"),
        (NRRD, {"space directions": "(1e300,0,0) (0,0.9,0) (0,0,2.5)"}, "“(1e300,0,0)” among its space directions"),
        (NRRD, {"space units": '"m" "m" "m"'}, "in “m”"),
    ],
)
def test_a_header_that_leaves_size_place_or_values_open_is_refused(tmp_path, fields, changes, says):
    with pytest.raises(InputError, match=re.escape(says)):
        read_ct(write_text(tmp_path, VALUES.tobytes(), fields, changes))


@pytest.mark.parametrize("fields", [META, NRRD], ids=["mha", "nrrd"])
def test_millimetres_may_be_said(tmp_path, fields):
    said = {"DistanceUnits": "mm", "Modality": "MET_MOD_CT"} if fields is META else {"space units": '"mm" "mm" "mm"'}
    image = read_ct(write_text(tmp_path, VALUES.tobytes(), fields, said))
    assert np.array_equal(sitk.GetArrayFromImage(image), VALUES)


@pytest.mark.parametrize(
    "fault", ["none", "a name", "the last bytes of one", "a slice too many in one", "all in one file", "a pattern"]
)
def test_a_metaimage_in_a_file_for_each_slice_reads_whole_or_is_refused(tmp_path, fault):
    names = [f"s{number}.raw" for number in range(10)]
    for name, plane in zip(names, VALUES, strict=True):
        (tmp_path / name).write_bytes(plane.tobytes())
    if fault == "a name":
        del names[4]
    if fault == "all in one file":
        names = ["all.raw"]
        (tmp_path / "all.raw").write_bytes(VALUES.tobytes())
    if fault == "the last bytes of one":
        (tmp_path / "s3.raw").write_bytes(VALUES[3].tobytes()[:-20])
        (tmp_path / "s4.raw").write_bytes(VALUES[4].tobytes() + b"\0" * 20)
    if fault == "a slice too many in one":
        (tmp_path / "s3.raw").write_bytes(VALUES[3:5].tobytes())
    listed = "s%d.raw 0 9 1\n" if fault == "a pattern" else "\n".join(["LIST", *names, ""])
    head = "".join(f"{key} = {value}\n" for key, value in META.items())
    (tmp_path / "ct.mhd").write_text(head + "ElementDataFile = " + listed)
    if fault == "none":
        assert np.array_equal(sitk.GetArrayFromImage(read_ct(tmp_path / "ct.mhd")), VALUES)
    else:
        assert "“ct.mhd”" in refusal(tmp_path / "ct.mhd")


@pytest.mark.parametrize("fields", [META, NRRD], ids=["mhd", "nhdr"])
def test_a_list_without_files_of_voxels_is_refused(tmp_path, fields):
    path = write_text(tmp_path, b"", fields, {"DimSize": "12 11 0"} if fields is META else {"data file": "LIST"})
    text = path.read_text()
    path.write_text(text.replace("LOCAL", "LIST") if fields is META else text.rstrip("\n") + "\n")
    assert "lists" in refusal(path)


@pytest.mark.parametrize("size", [None, "100", "1"])
def test_compressed_voxels_that_itk_does_not_unpack_are_refused_and_never_read_as_others(tmp_path, size, capfd):
    body = zlib.compress(VALUES.tobytes())
    changes = {"CompressedData": "True", "CompressedDataSize": size}
    with pytest.raises(InputError, match=r"contradicts itself|cannot be read"):
        read_ct(write_text(tmp_path, body, META, changes))
    read = read_ct(write_text(tmp_path, body, META, {**changes, "CompressedDataSize": str(len(body))}))
    assert np.array_equal(sitk.GetArrayFromImage(read), VALUES)
    swapped = VALUES.astype(">i2").tobytes()
    body = zlib.compress(swapped)
    changes |= {"CompressedDataSize": str(len(body)), "BinaryDataByteOrderMSB": "True"}
    assert np.array_equal(sitk.GetArrayFromImage(read_ct(write_text(tmp_path, body, META, changes))), VALUES)


def test_axes_of_other_lengths_than_one_go_into_the_spacing_so_that_volumes_are_right(tmp_path):
    image = read_ct(write_text(tmp_path, VALUES.tobytes(), META, {"TransformMatrix": "2 0 0 0 2 0 0 0 1"}))
    assert image.GetSpacing() == pytest.approx((1.6, 1.8, 2.5))
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 1, 0, 0, 0, 1))
    sheared = read_ct(write_text(tmp_path, VALUES.tobytes(), META, {"TransformMatrix": "1 0 0 0.5 1 0 0 0 1"}))
    mask = sitk.GetImageFromArray(np.ones((10, 11, 12), np.uint8))
    mask.CopyInformation(sheared)
    assert measure(sheared, mask).volume_ml == pytest.approx(10 * 11 * 12 * 0.8 * 0.9 * 2.5 / 1000)
