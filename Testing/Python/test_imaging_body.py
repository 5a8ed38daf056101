"""How large a patient is: the same however the scan was stored, and nothing where the picture cuts the body."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.imaging.body import BODY_HU, COARSE_MM, body_size, body_size_in
from TernarySegmentLib.imaging.grids import bounds, flip, grid_over, to_grid

WIDTH, DEPTH = 320.0, 220.0
SIZE = np.sqrt(np.pi / 4 * WIDTH * DEPTH)


def patient(spacing: float = 2.0, fov: float = 400.0, fat: float = -100.0, low: float = -1000.0) -> sitk.Image:
    """Skin around fat around muscle around gas, an elliptic cylinder of 60 mm that lies on a table."""
    count = round(fov / spacing)
    y, x = np.mgrid[:count, :count] * spacing - (fov - spacing) / 2
    inside = np.hypot(x / (WIDTH / 2), y / (DEPTH / 2))
    hu = np.select([inside < 0.3, inside < 0.7, inside < 0.97, inside < 1], [-800.0, 50.0, fat, 40.0], -1000.0)
    hu[(np.abs(y - DEPTH / 2 - 14) < 4) & (np.abs(x) < 150)] = 100
    ct = sitk.GetImageFromArray(np.stack([np.maximum(hu, low).astype(np.int16)] * round(60 / spacing)))
    ct.SetSpacing([spacing] * 3)
    return ct


@pytest.mark.parametrize(
    "ct",
    [
        patient(), patient(spacing=1.3), patient(fov=520.0), patient(low=-125), patient(fat=-118.0),
        flip(patient(), (True, True, True)), sitk.PermuteAxes(patient(), [2, 0, 1]),
        sitk.ConstantPad(patient(), [9, 9, 2], [5, 5, 2], -1000),
    ],
    ids=["plain", "fine", "small in the picture", "clipped", "low voltage", "flipped", "other axis order", "padded"],
)  # fmt: skip
def test_the_body_is_measured_without_its_table_however_it_was_stored(ct):
    assert body_size_in(ct, bounds(ct)) == pytest.approx(SIZE, rel=0.03)


def test_a_picture_that_cuts_the_body_does_not_tell_its_size():
    ct = patient()
    assert body_size_in(ct[30:-30, 30:-30], bounds(ct)) is None
    narrow = sitk.Maximum(ct, -90)  # air cannot be told from fat
    assert body_size_in(narrow, bounds(ct)) is None


def test_only_slices_at_the_height_of_the_box_count():
    ct = patient()
    values = sitk.GetArrayFromImage(ct)
    values[:20] = -1000
    half = sitk.GetImageFromArray(values)
    half.CopyInformation(ct)
    lower, upper = bounds(ct)
    assert body_size_in(half, ((*lower[:2], 44.0), upper)) == pytest.approx(SIZE, rel=0.03)
    assert body_size_in(half, (lower, (*upper[:2], 36.0))) == 0


def test_a_scan_already_on_the_coarse_grid_need_not_be_read_again():
    ct, box = patient(), ((0.0, 0.0, 20.0), (1.0, 1.0, 44.0))
    grid = grid_over(bounds(ct), COARSE_MM)
    assert body_size(to_grid(ct, grid) > BODY_HU, grid, box) == pytest.approx(body_size_in(ct, box), rel=1e-3)
