"""What is accepted as a CT in HU, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.checks import check_ct
from TernarySegmentLib.imaging.reading import read_ct


def abdomen(spacing=(3.0, 3.0, 4.0), slices: int = 40) -> np.ndarray:
    """HU of air around an oval of tissue with fat under the skin and a spine, axes (z, y, x)."""
    y, x = np.ogrid[-1:1:100j, -1:1:120j]
    radius = np.hypot(x, y)
    plane = np.select([radius < 0.1, radius < 0.65, radius < 0.75], [600, 45, -100], -1000)
    noise = np.random.default_rng(0).normal(0, 15, (slices, *plane.shape))
    return (plane + noise).clip(-1024).astype(np.int16)


def image_of(values: np.ndarray, spacing=(3.0, 3.0, 4.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    return image


def test_summary_describes_the_scan_in_one_line():
    values = abdomen()
    values[0, 0, :2] = -1024, 1650
    summary = check_ct(image_of(values, (3.0, 3.0, 2.5)))
    assert summary.sentence == "120×100×40 voxels, 3.00×3.00×2.50 mm, HU −1024…1650"
    assert (summary.hu_min, summary.hu_max) == (-1024, 1650)
    assert summary.warnings == ()


@pytest.mark.parametrize(
    "values",
    [
        abdomen().clip(-125, 275),
        abdomen()[:, 25:75, 30:90],
        abdomen().astype(np.float32),
        np.where(abdomen() < -900, -3024, abdomen()).astype(np.int16),
        np.where(abdomen() > 400, 3071, abdomen()).astype(np.int16),
    ],
    ids=["clipped to -125…275", "cropped inside the body", "float", "padded with -3024", "saturated metal"],
)
def test_ct_of_every_kind_is_accepted(values):
    check_ct(image_of(values))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (abdomen() + 1024, "subtract 1024"),
        (np.where(abdomen() < -900, -2000, abdomen() + 1024).astype(np.int16), "subtract 1024"),
        ((abdomen()[:, 25:75, 30:90] + 1024).astype(np.uint16), "subtract 1024"),
        ((abdomen().clip(-125, 275) + 125).astype(np.float32) * 0.6, "8-bit"),
        ((abdomen().clip(-125, 275) + 125).astype(np.float32) / 400, "normalising"),
        ((abdomen() / 100).astype(np.float32), "normalising"),
        (np.abs(abdomen()) % 700, "MR or PET"),
        (np.full((40, 100, 120), -1000, np.int16), "Every voxel"),
        (np.where(abdomen() > 0, np.nan, -1000.0), "NaN"),
    ],
    ids=["shifted", "shifted and padded", "shifted, cropped", "8 bit", "0 to 1", "divided", "MR", "constant", "NaN"],
)
def test_values_that_are_not_hu_are_refused_and_named(values, word):
    with pytest.raises(InputError, match=word):
        check_ct(image_of(values))


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (image_of(abdomen())[:, :, 3], "2 dimensions"),
        (sitk.JoinSeries([image_of(abdomen())] * 2), "4 dimensions"),
        (sitk.Compose([image_of(abdomen())] * 3), "vector"),
        (image_of(abdomen(slices=6)), "too small"),
        (image_of(abdomen(), (0.2, 0.3, 4.0)), "too small"),
        (image_of(abdomen(), (0.003, 0.003, 0.004)), "voxel size is 0.003"),
        (image_of(abdomen(), (3.0, 3.0, 40.0)), "voxel size is 3×3×40"),
    ],
)
def test_shape_and_spacing_that_cannot_be_right_are_refused(image, word):
    with pytest.raises(InputError, match=word):
        check_ct(image)


@pytest.mark.parametrize(
    ("spacing", "slices", "word"),
    [
        ((3.0, 3.0, 7.5), 40, "7.5 mm apart"),
        ((1.0, 1.0, 4.0), 40, "120×100 mm across"),
        ((3.0, 3.0, 2.5), 20, "50 mm long"),
    ],
)
def test_what_makes_the_result_less_sure_is_a_warning_and_no_refusal(spacing, slices, word):
    (warning,) = check_ct(image_of(abdomen(slices=slices), spacing)).warnings
    assert word in warning


def test_field_of_view_is_measured_along_the_patient_s_axes():
    image = sitk.PermuteAxes(image_of(abdomen(), (3.0, 3.0, 4.0)), [2, 0, 1])
    assert check_ct(image).warnings == ()


def test_real_cts_are_accepted_without_a_warning(shared_data: Path):
    for name in ("nih_pancreas_0004/ct.nii.gz", "acrin_dicom"):
        assert check_ct(read_ct(shared_data / name)).warnings == ()
