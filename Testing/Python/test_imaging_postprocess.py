"""Which components of a mask are kept as the organ."""

from __future__ import annotations

import time

import numpy as np
import pytest

from TernarySegmentLib.imaging.postprocess import largest_plausible


def boxes(*corners: tuple[slice, slice, slice]) -> np.ndarray:
    mask = np.zeros((60, 60, 60), bool)
    for corner in corners:
        mask[corner] = True
    return mask


def cube(z: int, y: int, x: int, side: int) -> tuple[slice, slice, slice]:
    return slice(z, z + side), slice(y, y + side), slice(x, x + side)


BODY = cube(5, 5, 5, 16)  # 32.8 mL at 2 mm


def test_far_and_small_components_are_dropped():
    mask = boxes(BODY, cube(45, 45, 45, 12), cube(24, 5, 5, 4))
    assert np.array_equal(largest_plausible(mask, 2.0), boxes(BODY))


def test_second_half_of_a_split_pancreas_is_kept():
    tail = cube(5, 5, 25, 10)  # a quarter of the body, 4 voxels or 8 mm away
    assert np.array_equal(largest_plausible(boxes(BODY, tail), 2.0), boxes(BODY, tail))


@pytest.mark.parametrize(("gap", "kept"), [(6, True), (8, False)])
def test_distance_is_in_mm_from_the_largest_component(gap, kept):
    tail = cube(5, 5, 21 + gap, 10)  # gap empty voxels, so 2 (gap + 1) mm
    assert largest_plausible(boxes(BODY, tail), 2.0)[tail].all() == kept


def test_parts_that_touch_at_a_corner_are_one_component():
    tip = cube(21, 21, 21, 3)  # 1 % of the body, so dropped if it counted by itself
    assert largest_plausible(boxes(BODY, tip), 2.0)[tip].all()


def test_too_little_for_a_pancreas_gives_an_empty_mask():
    small = cube(5, 5, 5, 7)  # 343 voxels: 2.7 mL at 2 mm, 9.3 mL at 3 mm
    assert not largest_plausible(boxes(small), 2.0).any()
    assert largest_plausible(boxes(small), 3.0).any()
    assert not largest_plausible(boxes(small), 3.0, minimum_ml=10).any()


def test_empty_mask_stays_empty_and_input_is_untouched():
    assert not largest_plausible(boxes(), 2.0).any()
    mask = boxes(BODY, cube(45, 45, 45, 12))
    before = mask.copy()
    kept = largest_plausible(mask, 2.0)
    assert np.array_equal(mask, before)
    assert kept.dtype == bool
    assert kept.shape == mask.shape


def test_noisy_mask_of_128_cubed_takes_no_time():
    z, y, x = np.ogrid[:128, :128, :128]
    ball = (z - 60) ** 2 + (y - 60) ** 2 + (x - 60) ** 2 < 400
    mask = ball | (np.random.default_rng(0).random(ball.shape) > 0.97)
    start = time.process_time()
    kept = largest_plausible(mask, 2.0)
    # 25 ms measured; ten times that on a busy machine still means no loop over 60 000 components
    assert time.process_time() - start < 0.5
    assert kept[ball].all()
    assert kept.sum() < 1.1 * ball.sum()
