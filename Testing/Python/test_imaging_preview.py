"""The picture of a result: sides where a radiologist expects them, true proportions, the mask in its colour."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.files.writing import COLOUR
from TernarySegmentLib.imaging.report.preview import GAP, SLICES, WIDTH, draw_preview, write_preview

EXTENT = (240.0, 180.0, 150.0)
SPACING = (1.5, 2.0, 5.0)


def scan(lower=(-20, -15, -10), upper=(20, 15, 10), bright=None) -> tuple[sitk.Image, sitk.Image]:
    """Air around (0, 0, 0) with a bright cube of 30 mm where one is asked for, and a mask between two corners.

    Both on an LPS grid with thick slices.
    """
    size = [round(e / s) for e, s in zip(EXTENT, SPACING, strict=True)]
    along = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, SPACING, strict=True)]

    def box(low, high) -> np.ndarray:
        x, y, z = ((a >= lo) & (a <= hi) for a, lo, hi in zip(along, low, high, strict=True))
        return z[:, None, None] & y[:, None] & x

    hu = np.full(size[::-1], -1000, np.int16)
    if bright is not None:
        hu[box(np.subtract(bright, 15), np.add(bright, 15))] = 1000
    images = sitk.GetImageFromArray(hu), sitk.GetImageFromArray(box(lower, upper).astype(np.uint8))
    for image in images:
        image.SetSpacing(SPACING)
        image.SetOrigin([a[0] for a in along])
    return images


def planes(picture: np.ndarray) -> list[np.ndarray]:
    """The axial, coronal and sagittal panel."""
    wide, deep, high = EXTENT
    scale = (2 * wide + deep) / (WIDTH - 2 * GAP)
    rows, column = round(max(deep, high) / scale), round(wide / scale)
    upper = picture[:rows]
    return [upper[:, :column], upper[:, column + GAP : 2 * column + GAP], upper[:, 2 * (column + GAP) :]]


def coloured(panel: np.ndarray) -> np.ndarray:
    return panel.max(-1).astype(int) - panel.min(-1) > 10


def middle_of(dots: np.ndarray) -> np.ndarray:
    """Mean place, -1 to 1 from left to right and from top to bottom."""
    rows, columns = np.nonzero(dots)
    return np.array([columns.mean() / dots.shape[1], rows.mean() / dots.shape[0]]) * 2 - 1


@pytest.mark.parametrize("left", [-1, 1])
@pytest.mark.parametrize("back", [-1, 1])
@pytest.mark.parametrize("up", [-1, 1])
def test_patient_right_is_left_in_the_picture_and_the_head_is_up(left, back, up):
    # a mask reaching to the cube, so that all three planes go through both
    place = np.array([60 * left, 45 * back, 40 * up])
    ct, mask = scan(place - 15, place + 15, bright=place)
    picture = draw_preview(ct, mask)
    for panel, wanted in zip(planes(picture), [(left, back), (left, -up), (back, -up)], strict=True):
        assert np.array_equal(np.sign(middle_of(coloured(panel))), wanted)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("flip", [[True, False, False], [False, True, True]])
def test_picture_does_not_depend_on_how_the_scan_is_stored(order, flip):
    ct, mask = scan((10, -35, -20), (60, 5, 30), bright=(50, -20, 20))
    turned = [sitk.Flip(sitk.PermuteAxes(image, order), flip) for image in (ct, mask)]
    plain, stored = draw_preview(ct, mask).astype(int), draw_preview(*turned).astype(int)
    # the same up to voxels whose plane lies exactly between two pixels
    assert np.mean(np.abs(plain - stored).max(-1) > 8) < 0.005


def test_proportions_are_true_though_slices_are_thick():
    ct, mask = scan((-30, -30, -30), (30, 30, 30))
    scale = (2 * EXTENT[0] + EXTENT[1]) / (WIDTH - 2 * GAP)
    for panel in planes(draw_preview(ct, mask)):
        rows, columns = np.nonzero(coloured(panel))
        # the mask is 60 mm each way, up to a voxel of 5 mm
        for pixels in (np.ptp(rows) + 1, np.ptp(columns) + 1):
            assert abs(pixels * scale - 60) < 6


def test_planes_go_through_the_largest_cut_of_the_mask():
    ct, mask = scan((-10, -10, -50), (10, 10, 50))
    # a wide slab at one end: the axial plane has to find it
    slab = scan((-60, -50, 30), (60, 50, 40))[1]
    axial = planes(draw_preview(ct, mask | slab))[0]
    columns = np.nonzero(coloured(axial))[1]
    assert np.ptp(columns) / axial.shape[1] == pytest.approx(120 / EXTENT[0], abs=0.03)


def test_five_slices_run_from_the_head_end_to_the_foot_end_of_the_organ():
    ct, mask = scan((-20, -15, -50), (20, 15, 0))
    wedge = scan((-60, -15, -50), (60, 15, -20))[1]
    picture = draw_preview(ct, mask | wedge)
    tile = (WIDTH - (SLICES - 1) * GAP) // SLICES
    lower = picture[-round(0.8 * tile) :]
    widths = []
    for n in range(SLICES):
        columns = np.nonzero(coloured(lower[:, n * (tile + GAP) : n * (tile + GAP) + tile]))[1]
        widths.append(np.ptp(columns))
    assert widths[0] < 0.5 * widths[-1]
    assert widths == sorted(widths)


def test_mask_has_its_own_colour_as_a_contour_and_lets_the_ct_through():
    # of equal cuts the first is shown, so the cube lies at the mask's lower end
    ct, mask = scan((-30, -20, -20), (30, 20, 20), bright=(0, 0, -20))
    axial = planes(draw_preview(ct, mask))[0]
    contour = (np.abs(axial - 255 * np.array(COLOUR)).max(-1) <= 1).sum()
    around = 2 * (60 + 40) / ((2 * EXTENT[0] + EXTENT[1]) / (WIDTH - 2 * GAP))
    assert 0.8 * around < contour < 1.3 * around
    rows, columns = axial.shape[:2]
    bright, dark = (axial[rows // 2, columns // 2 + shift].astype(int) for shift in (0, 55))
    # the middle and 24 mm beside it: white and black CT below the same light fill
    assert bright.min() > 200 > 100 > dark.max() > 20


def test_empty_mask_gives_a_grey_picture_through_the_middle():
    ct, mask = scan(bright=(0, 0, 0))
    picture = draw_preview(ct, mask * 0)
    assert picture.shape[1] == WIDTH
    assert not coloured(picture).any()
    assert all((panel[panel.shape[0] // 2 - 5, panel.shape[1] // 2] == 255).all() for panel in planes(picture))


def test_png_is_written_whole_and_other_endings_are_refused(tmp_path):
    ct, mask = scan()
    write_preview(ct, mask, tmp_path / "Größe" / "bild.PNG")
    written = sitk.ReadImage(str(tmp_path / "Größe" / "bild.PNG"), imageIO="PNGImageIO")
    assert np.array_equal(sitk.GetArrayFromImage(written), draw_preview(ct, mask))
    assert [path.name for path in (tmp_path / "Größe").iterdir()] == ["bild.PNG"]
    with pytest.raises(OutputError, match=r"\.png"):
        write_preview(ct, mask, tmp_path / "bild.jpg")


def test_long_trunk_scan_keeps_the_organ_in_the_picture():
    ct, mask = scan()
    tall = [sitk.ConstantPad(image, (0, 0, 0), (0, 0, 150), value) for image, value in ((ct, -1000), (mask, 0))]
    for panel in planes_of_any_height(draw_preview(*tall)):
        assert coloured(panel).any()


def planes_of_any_height(picture: np.ndarray) -> list[np.ndarray]:
    """The upper panels' columns, above the row of slices."""
    tile = (WIDTH - (SLICES - 1) * GAP) // SLICES
    upper = picture[: -round(0.8 * tile) - GAP]
    column = round(EXTENT[0] / ((2 * EXTENT[0] + EXTENT[1]) / (WIDTH - 2 * GAP)))
    return [upper[:, :column], upper[:, column + GAP : 2 * column + GAP], upper[:, 2 * (column + GAP) :]]


def test_scale_bar_is_as_long_as_its_label_says():
    picture = draw_preview(*scan())
    scale = (2 * EXTENT[0] + EXTENT[1]) / (WIDTH - 2 * GAP)
    rows = round(max(EXTENT[1:]) / scale)
    bar = (picture[rows - 13, :200] == 255).all(-1)
    # 240 mm across leave room for a bar of 50 mm, not of 100, in a third of the panel
    assert bar.sum() * scale == pytest.approx(50, abs=scale)


@pytest.mark.parametrize(
    ("size", "spacing"),
    [((64, 64, 400), (5.0, 5.0, 2.5)), ((40, 40, 8), (1.0, 1.0, 5.0)), ((200, 20, 20), (2.0, 2.0, 2.0))],
    ids=["long", "small", "flat"],
)
@pytest.mark.parametrize("filled", [False, True])
def test_scans_of_any_shape_are_drawn(size, spacing, filled):
    ct, mask = sitk.Image(size, sitk.sitkInt16), sitk.Image(size, sitk.sitkUInt8)
    for image in (ct, mask):
        image.SetSpacing(spacing)
    if filled:
        mask[3, 4, 5] = 1  # a single voxel
    picture = draw_preview(ct, mask)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    assert picture.shape[0] < 1.5 * WIDTH


def test_real_scan_with_flipped_axes_has_its_spine_at_the_bottom(shared_data):
    folder = shared_data / "nih_pancreas_0004"
    mask = sitk.ReadImage(str(folder / "pancreas_sparse.nii.gz"), sitk.sitkUInt8)
    axial = draw_preview(read_ct(folder / "ct.nii.gz"), mask)[:490, : WIDTH // 3]
    bright = (axial[60:420, 200:300] == 255).all(-1)
    assert bright[180:].sum() > 5 * bright[:180].sum()
    assert coloured(axial).sum() > 2000, "the pancreas is marked"
