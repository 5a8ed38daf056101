"""Between the scan's grid and the working grid: where things end up, whatever the direction cosines."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from TernarySegmentLib.imaging.grids import Grid, bounds, flip_anterior_posterior, grid_over, sample, to_grid, to_image

RADIUS_MM = 20.0
WORKING_MM = 2.0


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


# rounded: ITK's own inverse of a direction gives NaN when a cosine is a subnormal number, below 1e-308
angle = st.floats(-np.pi, np.pi).map(lambda value: round(value, 6))
turns = st.one_of(st.just((0.0, 0.0, 0.0)), st.tuples(angle, angle, angle))
orders = st.permutations([0, 1, 2])
flips = st.tuples(*[st.sampled_from([-1, 1])] * 3)
directions = st.builds(lambda turn, order, flip: rotation(turn)[:, order] * flip, turns, orders, flips)
spacings = st.tuples(*[st.floats(0.5, 7.0)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)


def empty_image(spacing, direction, origin, extent_mm: float = 56.0) -> sitk.Image:
    image = sitk.Image([int(np.ceil(extent_mm / s)) for s in spacing], sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(np.asarray(direction, float).ravel())
    return image


def positions(image: sitk.Image) -> np.ndarray:
    """LPS of every voxel's centre, (n, 3), by the definition of origin, spacing and direction."""
    matrix = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.indices(image.GetSize()[::-1]).reshape(3, -1)[::-1].T @ matrix.T + image.GetOrigin()


def ball_in(image: sitk.Image) -> sitk.Image:
    """A ball a little off the middle of an image's grid."""
    axes = np.ogrid[tuple(slice(n) for n in image.GetSize()[::-1])]
    # lengths along orthonormal axes, so the direction does not matter; (z, y, x) like the array
    along = [
        (axis - (n - 1) / 2) * s - off
        for axis, n, s, off in zip(axes, image.GetSize()[::-1], image.GetSpacing()[::-1], (1.7, -2.3, 3.1), strict=True)
    ]
    ball = sitk.GetImageFromArray((along[0] ** 2 + along[1] ** 2 + along[2] ** 2 < RADIUS_MM**2).astype(np.uint8))
    ball.CopyInformation(image)
    return ball


def centroid(mask: sitk.Image) -> np.ndarray:
    """Mean position of a mask's voxels, LPS, mm."""
    matrix = np.array(mask.GetDirection()).reshape(3, 3) * mask.GetSpacing()
    return matrix @ np.argwhere(sitk.GetArrayViewFromImage(mask))[:, ::-1].mean(0) + mask.GetOrigin()


@settings(max_examples=30, deadline=None)
@given(spacing=spacings, direction=directions, origin=origins)
def test_mask_returns_on_exactly_the_input_grid_with_volume_and_place_kept(spacing, direction, origin):
    ball = ball_in(empty_image(spacing, direction, origin))
    grid = grid_over(bounds(ball), WORKING_MM, multiple=4)
    back = to_image(to_grid(sitk.Cast(ball, sitk.sitkFloat32), grid, outside=0) - 0.5, grid, ball)
    assert back.GetSize() == ball.GetSize()
    assert back.GetSpacing() == ball.GetSpacing()
    assert back.GetOrigin() == ball.GetOrigin()
    assert back.GetDirection() == ball.GetDirection()
    assert back.GetPixelID() == sitk.sitkUInt8
    before, after = (np.count_nonzero(sitk.GetArrayViewFromImage(mask)) for mask in (ball, back))
    # 300 random grids gave ratios of 0.992 to 1 and shifts of at most 0.073 mm; half a voxel of 0.5 mm is 0.25 mm
    assert 0.98 < after / before < 1.01
    assert np.linalg.norm(centroid(back) - centroid(ball)) < 0.1 * WORKING_MM


@settings(max_examples=25, deadline=None)
@given(spacing=spacings, direction=directions, origin=origins)
def test_working_grid_holds_things_where_they_are_in_the_patient(spacing, direction, origin):
    ball = ball_in(empty_image(spacing, direction, origin))
    grid = grid_over(bounds(ball), WORKING_MM)
    weights = to_grid(sitk.Cast(ball, sitk.sitkFloat32), grid, outside=0)
    sums = [weights.sum(tuple(other for other in range(3) if other != axis)) for axis in (2, 1, 0)]
    found = [np.average(np.arange(len(s)) * WORKING_MM + o, weights=s) for s, o in zip(sums, grid.origin, strict=True)]
    # the centroid of the ball's own voxels: with 7 mm voxels it lies off the ideal centre by itself
    assert np.linalg.norm(found - centroid(ball)) < 0.1 * WORKING_MM


@settings(max_examples=40, deadline=None)
@given(spacing=spacings, direction=directions, origin=origins, multiple=st.sampled_from([1, 4, 16]))
def test_grid_over_covers_the_scan_and_no_more_than_it_must(spacing, direction, origin, multiple):
    image = empty_image(spacing, direction, origin, extent_mm=20)
    lower, upper = np.array(bounds(image))
    points = positions(image)
    reach = np.abs(np.array(direction) * spacing).sum(1) / 2
    np.testing.assert_allclose(lower, points.min(0) - reach, atol=1e-6)
    np.testing.assert_allclose(upper, points.max(0) + reach, atol=1e-6)
    grid = grid_over(bounds(image), WORKING_MM, multiple)
    assert all(n % multiple == 0 for n in grid.size)
    spare = np.array(grid.size) * WORKING_MM - (upper - lower)
    assert (spare > -1e-3).all()
    assert (np.array(grid.box[0]) < lower + 1e-3).all()
    assert (np.array(grid.box[1]) > upper - 1e-3).all()
    assert (spare < 2 * WORKING_MM * multiple).all()


boxes = st.tuples(*[st.floats(-300, 300)] * 3, *[st.floats(5, 200)] * 3)


@settings(deadline=None)
@given(one=boxes, other=boxes, multiple=st.sampled_from([1, 4, 16]))
def test_all_grids_of_one_spacing_share_one_lattice(one, other, multiple):
    """So a box that moves does not move the voxels, nor the strides' phase."""
    step = WORKING_MM * multiple
    corners = [
        np.array(grid_over((b[:3], tuple(np.add(b[:3], b[3:]))), WORKING_MM, multiple).box[0]) for b in (one, other)
    ]
    apart = (corners[1] - corners[0]) / step
    np.testing.assert_allclose(apart, np.round(apart), atol=1e-6)


def test_hu_of_a_gradient_are_kept_at_any_resolution():
    image = empty_image((0.6, 0.8, 3.0), rotation((0.2, -0.1, 0.4)), (10, 20, -30))
    ramp = sitk.GetImageFromArray((positions(image) @ (1.0, 2.0, -1.5)).reshape(image.GetSize()[::-1]))
    ramp.CopyInformation(image)
    centre = positions(image).mean(0)
    grid = grid_over((tuple(centre - 12), tuple(centre + 12)), 2.0)
    values = to_grid(ramp, grid)
    wanted = (positions(grid.image(values)) @ (1.0, 2.0, -1.5)).reshape(values.shape)
    # averaging and interpolation are exact on a linear field, float32 is not
    np.testing.assert_allclose(values, wanted, atol=0.01)


def test_region_of_the_scan_is_sampled_as_in_the_whole():
    image = empty_image((1.5, 1.5, 2.5), np.diag([1, -1, 1]), (0, 0, 0))
    noise = sitk.GetImageFromArray(np.random.default_rng(1).normal(size=image.GetSize()[::-1]))
    noise.CopyInformation(image)
    whole = grid_over(bounds(image), 2.0)
    lower = np.array(whole.box[0]) + 2.0 * np.array([5, 6, 7])
    part = grid_over((tuple(lower), tuple(lower + 20)), 2.0)
    assert part.size == (10, 10, 10)
    np.testing.assert_allclose(to_grid(noise, part), to_grid(noise, whole)[7:17, 6:16, 5:15], atol=1e-5)


def test_a_box_moved_by_any_number_of_voxels_sees_the_same_noise():
    noise = np.random.default_rng(0).normal(0, 100, (40, 90, 90)).astype(np.int16)
    image = sitk.GetImageFromArray(noise)
    image.SetSpacing((0.7, 0.7, 1.5))  # two voxels to one of the grid
    seen = []
    for moved in range(4):
        grid = grid_over(((moved * 0.7, 0, 0), (60, 60, 50)), 1.5)
        inside = to_grid(image, grid)[4:-4, 4:-4, 12:-4]
        seen.append(inside[:, :, -20:])
    for other in seen[1:]:
        np.testing.assert_allclose(other, seen[0], atol=0.01)


def test_region_beside_the_scan_holds_air_and_gives_an_empty_mask():
    image = empty_image((1, 1, 1), np.eye(3), (0, 0, 0), extent_mm=20) + 50
    grid = grid_over(((500, 500, 500), (520, 520, 520)), 2.0)
    assert (to_grid(image, grid) == -1024).all()
    mask = to_image(np.ones(grid.size[::-1], np.float32), grid, image)
    assert mask.GetSize() == image.GetSize()
    assert not sitk.GetArrayViewFromImage(mask).any()


def test_voxels_outside_the_grid_are_outside_the_mask():
    image = empty_image((1, 1, 1), np.eye(3), (0, 0, 0), extent_mm=40)
    grid = grid_over(((10, 10, 10), (20, 20, 20)), 2.0)
    inside = sitk.GetArrayFromImage(to_image(np.ones(grid.size[::-1], np.float32), grid, image))
    assert inside[11:19, 11:19, 11:19].all()
    assert inside.sum() <= 12**3


@pytest.mark.parametrize("direction", [np.eye(3), rotation((0.3, 0.2, 0.1))])
def test_turning_front_to_back_mirrors_positions_and_keeps_voxels(direction):
    ball = ball_in(empty_image((1.0, 1.5, 2.0), direction, (5, 6, 7)))
    turned = flip_anterior_posterior(ball)
    np.testing.assert_allclose(centroid(turned), centroid(ball) * (1, -1, 1), atol=1e-6)
    assert np.array_equal(sitk.GetArrayFromImage(turned), sitk.GetArrayFromImage(ball))


def test_sampling_near_positive_voxels_alone_gives_the_mask_of_sampling_everywhere():
    random = np.random.default_rng(3)
    for number in range(20):
        scan = sitk.Image([int(n) for n in random.integers(5, 40, 3)], sitk.sitkInt16)
        scan.SetSpacing([float(v) for v in random.uniform(0.5, 3, 3)])
        scan.SetOrigin([float(v) for v in random.uniform(-20, 20, 3)])
        scan.SetDirection((np.eye(3)[random.permutation(3)] * random.choice([-1, 1], 3)).ravel())
        grid = Grid(2.0, tuple(random.uniform(-30, 10, 3)), tuple(int(n) for n in random.integers(4, 25, 3)))
        margin = random.normal(-1 if number % 2 else -3, 1.5, grid.size[::-1]).astype(np.float32)
        whole = sample(margin, grid, scan, ([0, 0, 0], list(scan.GetSize())), -9.0)
        mask = sitk.GetArrayFromImage(to_image(margin, grid, scan))
        np.testing.assert_array_equal(mask, sitk.GetArrayFromImage(whole) > 0)
