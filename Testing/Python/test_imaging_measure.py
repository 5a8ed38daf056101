"""Volume, HU, extent and centre against shapes whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.measure import mask_box, measure, same_grid


def block(spacing=(1.0, 2.0, 3.0)) -> tuple[sitk.Image, sitk.Image]:
    """A block of 10×5×4 voxels (10×10×12 mm) with HU 30 and 50 in equal parts; 999 outside."""
    hu = np.full((20, 24, 30), 999, np.int16)
    inside = np.zeros(hu.shape, np.uint8)
    inside[6:10, 8:13, 12:22] = 1
    hu[6:8, 8:13, 12:22] = 30
    hu[8:10, 8:13, 12:22] = 50
    ct, mask = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(inside)
    for image in (ct, mask):
        image.SetSpacing(spacing)
        image.SetOrigin((-100, 50, 7))
    return ct, mask


def test_block_has_the_volume_hu_extent_and_centre_it_was_given():
    measures = measure(*block())
    assert measures.voxels == 200
    assert measures.volume_ml == pytest.approx(1.2)
    assert measures.mean_hu == pytest.approx(40)
    assert measures.sd_hu == pytest.approx(10)
    assert measures.extent_mm == pytest.approx((10, 10, 12))
    np.testing.assert_allclose(measures.centre_lps, (-83.5, 70, 29.5), atol=1.6)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 0, 2]])
@pytest.mark.parametrize("flip", [[False, False, False], [True, False, True], [True, True, True]])
def test_same_voxels_stored_along_other_axes_measure_the_same(order, flip):
    ct, mask = block()
    turned = [sitk.Flip(sitk.PermuteAxes(image, order), flip) for image in (ct, mask)]
    measures, wanted = measure(*turned), measure(ct, mask)
    assert measures.extent_mm == pytest.approx(wanted.extent_mm)
    assert measures.volume_ml == pytest.approx(wanted.volume_ml)
    assert measures.mean_hu == pytest.approx(wanted.mean_hu)
    np.testing.assert_allclose(measures.centre_lps, wanted.centre_lps, atol=3.1)


def test_extent_is_taken_along_the_patient_s_axes_of_an_oblique_scan():
    ct, mask = block(spacing=(1.0, 1.0, 1.0))
    half = np.sqrt(0.5)
    for image in (ct, mask):
        image.SetDirection((half, -half, 0, half, half, 0, 0, 0, 1))
    # 10×5 mm turned by 45 degrees spans (10 + 5) / √2 both ways
    assert measure(ct, mask).extent_mm == pytest.approx((15 * half, 15 * half, 4))


def test_centre_lies_in_the_mask_even_when_the_centroid_does_not():
    z, y, x = np.ogrid[:9, :60, :60]
    radius = np.hypot(y - 30, x - 30)
    horseshoe = ((radius > 20) & (radius < 26) & (y < 40) & (z > 2)).astype(np.uint8)
    mask = sitk.GetImageFromArray(horseshoe)
    index = mask.TransformPhysicalPointToIndex(measure(sitk.Cast(mask, sitk.sitkInt16), mask).centre_lps)
    assert mask[index] == 1


def test_large_mask_is_measured_inside_its_box_only():
    mask = sitk.Image(512, 512, 300, sitk.sitkUInt8)
    mask[100:103, 200:210, 290:299] = 1
    assert mask_box(mask) == ([100, 200, 290], [3, 10, 9])
    assert measure(sitk.Image(512, 512, 300, sitk.sitkInt16), mask).voxels == 270
    assert mask_box(mask * 0) is None


def test_measures_are_plain_numbers_for_a_report():
    report = json.loads(json.dumps(measure(*block()).as_dict()))
    assert report["extent_mm"] == pytest.approx([10, 10, 12])
    assert set(report) == {"volume_ml", "mean_hu", "sd_hu", "extent_mm", "centre_lps", "voxels"}


def test_empty_mask_and_foreign_grid_are_refused():
    ct, mask = block()
    with pytest.raises(InputError, match="empty"):
        measure(ct, mask * 0)
    assert same_grid(ct, mask)
    shifted, turned = sitk.Image(mask), sitk.Image(mask)
    shifted.SetOrigin((-100, 50, 8))
    turned.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    for other in (shifted, turned, mask[1:, :, :]):
        assert not same_grid(ct, other)
        with pytest.raises(InputError, match="grid"):
            measure(ct, other)
