"""Reviewing a mask: confidence, suspicious regions, seeds, a region again, what changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_model import quick_options

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import bounds, flip_anterior_posterior
from TernarySegmentLib.imaging.measure import same_grid
from TernarySegmentLib.imaging.probability import EVEN, NOT_SEARCHED, percent
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import run, segment
from TernarySegmentLib.review import clicks, suspicious_regions
from TernarySegmentLib.review.clicks import ClickRefiner
from TernarySegmentLib.review.comparison import Changes, compare
from TernarySegmentLib.review.confidence import format_confidence
from TernarySegmentLib.review.resegment import resegment
from TernarySegmentLib.review.suspicious_regions import find_suspicious_regions


@pytest.fixture(scope="module")
def phantom():
    """The demo's abdomen."""
    return make_phantom(0)


@pytest.fixture(scope="module")
def result(phantom):
    """What the pipeline makes of it."""
    return run(segment(phantom.ct, quick_options(confidence=True)))


@pytest.fixture(scope="module")
def refiner(phantom, result):
    """Seeds on it."""
    return ClickRefiner(phantom.ct, result.mask, result.confidence_map)


def array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def distance_mm(image: sitk.Image, indices: np.ndarray, point) -> np.ndarray:
    """From voxels, indices (n, 3) in (z, y, x), to a point in LPS."""
    matrix = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.linalg.norm(indices[:, ::-1] @ matrix.T + image.GetOrigin() - np.array(point), axis=1)


# confidence


@given(st.lists(st.floats(-20, 20, width=32), min_size=1), st.floats(0.3, 6.0))
def test_a_voxel_is_even_or_more_exactly_where_the_margin_is_positive(margins, temperature):
    values = np.sort(np.array(margins, np.float32))
    percents = percent(values, temperature)
    np.testing.assert_array_equal(percents >= EVEN, values > 0)
    assert (np.diff(percents.astype(int)) >= 0).all()
    assert percents.min() >= 1
    assert percents.max() <= 100


def test_the_confidence_map_lies_on_the_input_grid_and_is_zero_only_outside_the_region_searched(phantom, result):
    assert same_grid(result.confidence_map, phantom.ct)
    assert result.confidence_map.GetPixelID() == sitk.sitkUInt8
    searched = array(result.confidence_map) != NOT_SEARCHED
    points = np.argwhere(searched)
    lower, upper = (
        phantom.ct.TransformContinuousIndexToPhysicalPoint([float(v) for v in corner[::-1]])
        for corner in (points.min(0), points.max(0))
    )
    slack = 16 * 1.5  # the working grid ends on the lattice of the network's strides, of sixteen voxels
    assert np.all(np.array(lower) >= np.array(result.region[0]) - slack)
    assert np.all(np.array(upper) <= np.array(result.region[1]) + slack)
    assert searched[points.min(0)[0] : points.max(0)[0] + 1].any((1, 2)).all()


def test_the_mask_is_inside_what_is_more_likely_pancreas_and_lacks_only_whole_pieces(result):
    mask, likely = array(result.mask) != 0, array(result.confidence_map) >= EVEN
    assert not (mask & ~likely).any()
    labels = array(sitk.ConnectedComponent(sitk.GetImageFromArray(likely.astype(np.uint8)), True))
    left_out = labels[likely & ~mask]
    # a piece's rim may be shared between two pieces, so not to the last voxel
    assert np.count_nonzero(np.isin(labels, left_out) & mask) <= 0.02 * np.count_nonzero(mask)


def test_without_the_option_there_is_no_map_and_the_same_mask(phantom, result):
    plain = run(segment(phantom.ct, quick_options()))
    assert plain.confidence_map is None
    np.testing.assert_array_equal(array(plain.mask), array(result.mask))


def test_the_map_of_a_mirrored_scan_fits_its_voxels(phantom, result):
    mirrored = flip_anterior_posterior(phantom.ct)
    found = run(segment(mirrored, quick_options(confidence=True)))
    assert found.flipped == (False, True, False)
    assert same_grid(found.confidence_map, mirrored)
    np.testing.assert_array_equal(array(found.confidence_map), array(result.confidence_map))


def test_where_nothing_is_found_the_map_is_on_the_grid_and_no_place_is_listed(phantom):
    chest = phantom.ct[:, :, int(0.72 * phantom.ct.GetSize()[2]) :]
    found = run(segment(chest, quick_options(confidence=True)))
    assert same_grid(found.confidence_map, chest)
    assert find_suspicious_regions(found.mask, found.confidence_map) == []


@pytest.mark.parametrize(
    ("value", "words"), [(0.95, "border"), (0.62, "slice by slice"), (0.5, "all of it"), (0.3, "guess")]
)
def test_confidence_is_told_in_one_sentence(value, words):
    said = format_confidence(value)
    assert words in said
    assert f"{100 * value:.0f} %" in said
    assert said.endswith(".")
    assert "No pancreas" in format_confidence(0.0)


# places


def test_places_fall_in_doubt_and_lie_on_the_border_or_in_a_piece(result):
    found = find_suspicious_regions(result.mask, result.confidence_map)
    assert 3 <= len(found) <= 12
    assert [region.doubt for region in found] == sorted((region.doubt for region in found), reverse=True)
    mask = array(result.mask) != 0
    edge = np.argwhere(mask ^ np.roll(mask, 1, 0) | mask ^ np.roll(mask, 1, 1) | mask ^ np.roll(mask, 1, 2))
    for region in found:
        assert 0 < region.doubt <= 1
        assert region.reason.endswith(".")
        if region.kind == "thin margin":
            bin_mm = np.linalg.norm(np.maximum(result.mask.GetSpacing(), suspicious_regions.WORKING_MM))
            assert distance_mm(result.mask, edge, region.position).min() <= bin_mm


def test_thin_margins_are_spread_over_the_organ(result):
    found = [
        region for region in find_suspicious_regions(result.mask, result.confidence_map) if region.kind == "thin margin"
    ]
    points = np.array([region.position for region in found])
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(len(points))
    assert np.median(apart.min(1)) > suspicious_regions.RADIUS_MM / 2


def made_up(balls: list[tuple[tuple[int, int, int], int, int, bool]], size=(120, 100, 60)) -> tuple:
    """Mask and percent map with balls: centre (x, y, z) in mm, radius, percent, whether in the mask."""
    x, y, z = np.ogrid[: size[0], : size[1], : size[2]]
    percents, mask = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    for (a, b, c), radius, value, kept in balls:
        ball = (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 <= radius**2
        percents[ball], mask[ball] = value, kept
    return tuple(sitk.GetImageFromArray(np.ascontiguousarray(each.T)) for each in (mask, percents))


@pytest.mark.parametrize(
    ("balls", "kind", "where"),
    [
        ([((40, 50, 30), 15, 99, True), ((90, 50, 30), 8, 60, True)], "detached piece kept", (90, 50, 30)),
        ([((40, 50, 30), 15, 99, True), ((90, 50, 30), 8, 80, False)], "detached piece left out", (90, 50, 30)),
        (
            [((40, 50, 30), 15, 99, True), ((56, 50, 30), 3, 60, True), ((66, 50, 30), 9, 60, True)],
            "possible leak",
            (66, 50, 30),
        ),
        ([((40, 50, 8), 15, 99, True)], "cut by region/scan border", (40, 50, 0)),
    ],
)
def test_each_kind_of_doubt_is_found_where_it_is(balls, kind, where):
    found = find_suspicious_regions(*made_up(balls))
    region = next(region for region in found if region.kind == kind)
    assert np.linalg.norm(np.subtract(region.position, where)) < 6


def test_a_mask_cut_by_the_region_searched_is_listed():
    mask, percents = made_up([((40, 50, 30), 15, 99, True)])
    values, inside = array(percents), array(mask)
    values[:, :, 50:], inside[:, :, 50:] = NOT_SEARCHED, 0
    cut, shown = sitk.GetImageFromArray(inside), sitk.GetImageFromArray(values)
    region = next(
        region for region in find_suspicious_regions(cut, shown) if region.kind == "cut by region/scan border"
    )
    assert abs(region.position[0] - 49) < 2


def test_a_sure_and_whole_mask_has_no_places():
    assert find_suspicious_regions(*made_up([((50, 50, 30), 15, 100, True)])) == []
    assert find_suspicious_regions(*made_up([])) == []


def test_a_turned_grid_turns_the_places_with_it(result):
    mask, percents = sitk.Image(result.mask), sitk.Image(result.confidence_map)
    before = find_suspicious_regions(mask, percents)
    shift = np.array([10.0, -20.0, 30.0])
    for image in (mask, percents):
        image.SetOrigin((np.array(image.GetOrigin()) + shift).tolist())
    after = find_suspicious_regions(mask, percents)
    np.testing.assert_allclose([p.position for p in after], np.array([p.position for p in before]) + shift, atol=1e-3)


# seeds


def test_without_seeds_the_mask_is_unchanged(result, refiner):
    np.testing.assert_array_equal(array(refiner.refined([], [])), array(result.mask))


@st.composite
def seeds_in(draw, at_most: int = 3):
    """Fractions of the way through the region searched."""
    fraction = st.floats(0.1, 0.9)
    return draw(st.lists(st.tuples(fraction, fraction, fraction), max_size=at_most))


@given(seeds_in(), seeds_in())
@settings(max_examples=12, deadline=None)
def test_seeds_have_their_way_and_change_nothing_out_of_their_reach(result, refiner, inside, outside):
    lower, upper = (np.array(corner) for corner in result.region)
    inner, outer = ([tuple(lower + (upper - lower) * f) for f in each] for each in (inside, outside))
    refined = refiner.refined(inner, outer)
    assert same_grid(refined, result.mask)
    new, old = array(refined), array(result.mask)
    changed = np.argwhere(new != old)
    if len(changed):
        nearest = np.min([distance_mm(refined, changed, point) for point in inner + outer], axis=0)
        assert nearest.max() <= clicks.REACH_MM + 1e-6
    for point in outer:
        assert refined[refined.TransformPhysicalPointToIndex(point)] == 0
    for point in inner:
        if all(np.linalg.norm(np.subtract(point, other)) > 2 * clicks.OWN_MM + 10 for other in outer):
            assert refined[refined.TransformPhysicalPointToIndex(point)] == 1
    np.testing.assert_array_equal(array(refiner.refined(inner[::-1], outer[::-1])), new)


def test_an_outside_seed_wins_over_an_inside_one_at_the_same_point(result, refiner):
    point = result.measures.centre_lps
    assert refiner._mask[refiner._mask.TransformPhysicalPointToIndex(point)] == 1
    refined = refiner.refined([point], [point])
    assert refined[refined.TransformPhysicalPointToIndex(point)] == 0


def test_a_seed_outside_the_scan_is_refused(refiner):
    with pytest.raises(InputError, match="outside the scan"):
        refiner.refined([(1e4, 0.0, 0.0)], [])


def test_seeds_do_not_cross_a_sharp_edge():
    """A soft ball in fat: the seed takes the ball, whose voxels the network gave 30 %, and not the fat around it."""
    x, y, z = np.ogrid[:80, :80, :80]
    ball = (x - 40) ** 2 + (y - 40) ** 2 + (z - 40) ** 2 <= 12**2
    ct = sitk.GetImageFromArray(np.where(ball, 100, -90).astype(np.int16))
    mask, percents = sitk.Image(ct.GetSize(), sitk.sitkUInt8), sitk.Image(ct.GetSize(), sitk.sitkUInt8) + 30
    grown = array(ClickRefiner(ct, mask, percents).refined([(40.0, 40.0, 40.0)], [])) != 0
    assert np.count_nonzero(grown & ball) > 0.5 * np.count_nonzero(ball)
    assert np.count_nonzero(grown & ~ball) < 0.1 * np.count_nonzero(ball)


# a region again


def test_a_region_again_leaves_every_voxel_outside_it_untouched(phantom, result):
    centre = np.array(result.measures.centre_lps)
    region = tuple(tuple(centre + side * np.array([20, 15, 12])) for side in (-1, 1))
    edited = sitk.Cast(result.mask == 0, sitk.sitkUInt8)
    again = run(resegment(phantom.ct, edited, region, quick_options(flipped=(False, False, False))))
    assert same_grid(again, phantom.ct)
    indices = np.argwhere(array(again) != array(edited))
    matrix = np.array(again.GetDirection()).reshape(3, 3) * again.GetSpacing()
    points = indices[:, ::-1] @ matrix.T + again.GetOrigin()
    assert (points >= region[0]).all()
    assert (points <= region[1]).all()
    voxels = np.prod(np.subtract(*region[::-1]) / again.GetSpacing())
    assert len(points) > 0.9 * voxels, "inside the region the inverted mask is put right"


def test_a_region_of_a_mirrored_scan_is_seen_the_right_way_round(phantom, result):
    mirrored = flip_anterior_posterior(phantom.ct)
    mask = flip_anterior_posterior(result.mask)
    x, y, z = result.measures.centre_lps
    region = ((x - 20, -y - 15, z - 12), (x + 20, -y + 15, z + 12))
    unknown = run(resegment(mirrored, mask, region, quick_options()))
    known = run(resegment(mirrored, mask, region, quick_options(flipped=(False, True, False))))
    wrong = run(resegment(mirrored, mask, region, quick_options(flipped=(False, False, False))))
    np.testing.assert_array_equal(array(unknown), array(known))
    assert compare(known, mask).dice > compare(wrong, mask).dice


def test_a_region_outside_the_scan_or_a_foreign_mask_is_refused(phantom, result):
    away = ((5000.0, 0.0, 0.0), (5100.0, 50.0, 50.0))
    with pytest.raises(InputError, match="outside the scan"):
        run(resegment(phantom.ct, result.mask, away, quick_options(flipped=(False, False, False))))
    lower, upper = bounds(phantom.ct)
    beside = ((upper[0] + 0.2, *lower[1:]), (upper[0] + 20, *upper[1:]))
    with pytest.raises(InputError, match="outside the scan"):
        next(resegment(phantom.ct, result.mask, beside))  # before anything is computed
    with pytest.raises(InputError, match="not the CT's"):
        run(resegment(phantom.ct, result.mask[1:], result.region))


# what changed


def test_changes_are_counted_in_millilitres_and_dice():
    automatic, edited = (np.zeros((10, 20, 30), np.uint8) for _ in range(2))
    automatic[2:6, 5:15, 5:15] = 1
    edited[3:8, 5:15, 5:15] = 1
    images = [sitk.GetImageFromArray(each) for each in (edited, automatic)]
    for image in images:
        image.SetSpacing((1.0, 1.0, 2.0))
    found = compare(*images)
    assert found == Changes(pytest.approx(1.0), pytest.approx(0.8), pytest.approx(600 / 900), 0.4, pytest.approx(0.2))


def test_no_change_is_dice_one_also_of_nothing(result):
    found = compare(result.mask, result.mask)
    assert found.dice == 1
    assert found.added_ml == found.removed_ml == 0
    assert found.volume_ml == pytest.approx(result.measures.volume_ml)
    nothing = sitk.Image(5, 5, 5, sitk.sitkUInt8)
    assert compare(nothing, nothing) == Changes(0, 0, 1, 0, 0)
    with pytest.raises(InputError, match="one scan"):
        compare(nothing, result.mask)
    assert replace(found, dice=0.5) != found
