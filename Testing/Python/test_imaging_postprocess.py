"""Which components of a mask stay."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from TernarySegmentLib.imaging.postprocess import largest_plausible

SPACING = 2.0  # 125 voxels a millilitre


def volume(*blocks: tuple[int, int, int, int], shape=(60, 60, 90)) -> np.ndarray:
    """Cubes given as z, y, x of the first corner and side, in voxels."""
    mask = np.zeros(shape, bool)
    for z, y, x, side in blocks:
        mask[z : z + side, y : y + side, x : x + side] = True
    return mask


ORGAN = (5, 5, 5, 14)  # 22 mL


def test_a_single_organ_stays_as_it_is():
    assert np.array_equal(largest_plausible(volume(ORGAN), SPACING), volume(ORGAN))


def test_an_empty_mask_stays_empty():
    kept = largest_plausible(volume(), SPACING)
    assert kept.shape == (60, 60, 90)
    assert kept.dtype == bool
    assert not kept.any()


@pytest.mark.parametrize(
    ("second", "stays"),
    [
        ((5, 5, 22, 10), True),  # 36 % of the largest, 8 mm away: the other half of a split pancreas
        ((5, 5, 22, 5), False),  # 5 %
        ((45, 45, 75, 10), False),  # 36 %, but 100 mm away: another organ
    ],
)
def test_a_second_part_stays_when_large_and_near(second, stays):
    both, wanted = volume(ORGAN, second), volume(ORGAN, second) if stays else volume(ORGAN)
    assert np.array_equal(largest_plausible(both, SPACING), wanted)


def test_the_ratio_decides_about_the_second_part():
    both = volume(ORGAN, (5, 5, 22, 10))
    assert np.array_equal(largest_plausible(both, SPACING, keep_ratio=0.3), both)
    assert np.array_equal(largest_plausible(both, SPACING, keep_ratio=0.4), volume(ORGAN))


@pytest.mark.parametrize(("gap", "stays"), [(6, True), (8, False)])
def test_near_means_15_mm_from_the_largest_component(gap, stays):
    second = (5, 5, 19 + gap, 10)  # so many empty voxels between, 2 (gap + 1) mm
    wanted = volume(ORGAN, second) if stays else volume(ORGAN)
    assert np.array_equal(largest_plausible(volume(ORGAN, second), SPACING), wanted)


def test_parts_that_touch_at_a_corner_are_one():
    both = volume((5, 5, 5, 14), (19, 19, 19, 4))
    assert np.array_equal(largest_plausible(both, SPACING), both)


@pytest.mark.parametrize(("minimum_ml", "stays"), [(1.7, True), (1.8, False)])
def test_less_than_the_minimum_is_no_pancreas(minimum_ml, stays):
    small = volume((5, 5, 5, 6))  # 216 voxels of 8 mm³: 1.728 mL
    assert largest_plausible(small, SPACING, minimum_ml).any() == stays


def test_the_minimum_is_in_millilitres_whatever_the_spacing():
    small = volume((5, 5, 5, 6))
    assert not largest_plausible(small, 2.0, 3.0).any()
    assert largest_plausible(small, 3.0, 3.0).any()


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(bool, (7, 8, 9)))
def test_only_voxels_of_the_mask_are_kept_among_them_a_largest_component(mask):
    kept = largest_plausible(mask, SPACING, minimum_ml=0.0)
    assert not (kept & ~mask).any()
    assert kept.any() == mask.any()
    # nothing is lost by doing it twice
    assert np.array_equal(largest_plausible(kept, SPACING, minimum_ml=0.0), kept)


@settings(max_examples=20, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_the_choice_does_not_depend_on_orientation(order, steps):
    mask = volume(ORGAN, (5, 5, 22, 10), (45, 45, 75, 10), (40, 5, 60, 3))
    turn = tuple(slice(None, None, step) for step in steps)
    there = mask.transpose(order)[turn]
    assert np.array_equal(largest_plausible(there, SPACING), largest_plausible(mask, SPACING).transpose(order)[turn])


def test_the_mask_given_is_not_changed():
    mask = volume(ORGAN, (45, 45, 75, 10))
    before = mask.copy()
    largest_plausible(mask, SPACING)
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_working_grid_takes_milliseconds(noise):
    mask = volume((40, 40, 40, 40), (90, 90, 85, 20), (5, 5, 5, 6), shape=(128, 128, 128))
    mask |= np.random.default_rng(0).random(mask.shape) < noise
    started = time.process_time()
    kept = largest_plausible(mask, SPACING)
    # 10 ms measured, 25 ms with noise; ten times that on a busy machine still means no loop over 60 000 components
    assert time.process_time() - started < 0.5
    assert kept[40:80, 40:80, 40:80].all()
    assert not kept[:30].any()
