"""Comparison with a reference: figures that can be worked out by hand, refusals, the picture's colours."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib import cli
from TernarySegmentLib.imaging.agreement import agreement_of, compare_masks
from TernarySegmentLib.imaging.report.difference import BOTH, TOO_LITTLE, TOO_MUCH, draw_difference


def box(first: int, last: int, spacing=(1.0, 1.0, 2.0)) -> sitk.Image:
    """A box of 10 × 10 × (last − first) voxels."""
    array = np.zeros((30, 24, 24), np.uint8)
    array[first:last, 6:16, 6:16] = 1
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


def test_a_box_moved_along_one_axis_has_the_figures_of_geometry():
    pytest.importorskip("surface_distance")
    moved = compare_masks(box(8, 18), box(10, 20))  # 2 slices of 2 mm
    assert moved.dice == pytest.approx(0.8)
    assert moved.hausdorff_mm == pytest.approx(4.0)
    assert moved.volume_ml == pytest.approx(2.0)
    assert moved.volume_error == 0
    # the two end faces are off by 4 mm, the sides lie on each other but for their ends
    assert 0.5 < moved.surface_dice < 0.95
    assert compare_masks(box(8, 18), box(9, 19)).surface_dice == pytest.approx(1.0)  # one slice is the tolerance


def test_empty_masks_agree_with_each_other_and_with_nothing_else():
    empty = np.zeros((5, 5, 5), bool)
    full = ~empty
    both, one = agreement_of(empty, empty, (1, 1, 1)), agreement_of(full, empty, (1, 1, 1))
    assert (both.dice, both.surface_dice, both.hausdorff_mm, both.volume_error) == (1, 1, None, None)
    assert (one.dice, one.surface_dice, one.hausdorff_mm) == (0, 0, None)


@pytest.fixture
def files(tmp_path):
    """A mask, a reference with two labels, and their CT."""
    sitk.WriteImage(box(8, 18), str(tmp_path / "mask.nrrd"))
    reference = box(10, 20) * 3
    reference[0:2, 0:2, 0:2] = 1
    sitk.WriteImage(reference, str(tmp_path / "reference.nii.gz"))
    ct = sitk.Cast(box(0, 30), sitk.sitkInt16) * 100 - 60
    sitk.WriteImage(ct, str(tmp_path / "ct.nrrd"))
    return tmp_path


def compare(folder, *options: str) -> int:
    return cli.main(["compare", str(folder / "mask.nrrd"), str(folder / "reference.nii.gz"), *options])


def test_the_command_prints_and_writes_the_figures_of_one_label(files, capsys):
    pytest.importorskip("surface_distance")
    assert compare(files, "--label", "3", "--report", str(files / "r.json")) == 0
    said = capsys.readouterr().out
    assert "Dice: 0.800" in said
    assert "95 %: 4.0 mm" in said
    assert json.loads((files / "r.json").read_text())["volume_ml"] == pytest.approx(2.0)


def test_without_the_package_for_surfaces_the_rest_is_compared(files, capsys, monkeypatch):
    monkeypatch.setattr("TernarySegmentLib.imaging.agreement.surfaces_available", lambda: False)
    assert compare(files, "--label", "3") == 0
    captured = capsys.readouterr()
    assert "Dice: 0.800" in captured.out
    assert "Hausdorff" not in captured.out
    assert "pip install surface-distance" in captured.err


def test_the_picture_shows_too_much_too_little_and_both_in_their_colours(files):
    pixels = draw_difference(sitk.ReadImage(str(files / "ct.nrrd")), box(8, 18), box(10, 20))[:-36].astype(int)
    for colour in (TOO_MUCH, TOO_LITTLE, BOTH):
        assert (np.abs(pixels - 255 * np.array(colour)).max(2) < 2).sum() > 50
    assert compare(files, "--picture", str(files / "p.png"), "--ct", str(files / "ct.nrrd")) == 0
    assert sitk.ReadImage(str(files / "p.png")).GetNumberOfComponentsPerPixel() == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda image: image.SetSpacing((1.0, 1.0, 2.5)), "spacing (1 × 1 × 2) is not the reference's (1 × 1 × 2.5)"),
        (lambda image: image.SetOrigin((0.0, 5.0, 0.0)), "origin (0 × 0 × 0)"),
    ],
)
def test_masks_on_two_grids_are_refused_saying_what_differs(files, change, sentence, capsys):
    other = box(10, 20)
    change(other)
    sitk.WriteImage(other, str(files / "reference.nii.gz"))
    # NIfTI keeps an LPS origin of 0 as 0
    assert compare(files) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"text", "no NIfTI header"), (None, "no file")],
)
def test_what_is_no_mask_is_refused_in_a_sentence(files, content, sentence, capsys):
    (files / "reference.nii.gz").unlink()
    if content is not None:
        (files / "reference.nii.gz").write_bytes(content)
    assert compare(files) == 1
    assert sentence in capsys.readouterr().err


def test_an_image_with_fractions_is_no_mask(files, capsys):
    sitk.WriteImage(sitk.Cast(box(8, 18), sitk.sitkFloat32) * 0.5, str(files / "reference.nii.gz"))
    assert compare(files) == 1
    assert "fractions" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["reference.nii.gz", "reference.mha", "reference.seg.nrrd"])
def test_a_damaged_mask_is_refused_and_never_compared(tmp_path, name, capsys):
    noise = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 2, (20, 40, 40)).astype(np.uint8))
    for path in (tmp_path / "mask.nrrd", tmp_path / name):
        sitk.WriteImage(noise, str(path), useCompression=True)
    assert cli.main(["compare", str(tmp_path / "mask.nrrd"), str(tmp_path / name)]) == 0
    whole = (tmp_path / name).read_bytes()
    capsys.readouterr()
    for place in (len(whole) // 2, len(whole) * 3 // 4):
        (tmp_path / name).write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert cli.main(["compare", str(tmp_path / "mask.nrrd"), str(tmp_path / name)]) == 1, place
        assert "damaged" in capsys.readouterr().err


def test_a_pipe_is_no_mask(files, capsys):
    (files / "reference.nii.gz").unlink()
    os.mkfifo(files / "reference.nii.gz")
    assert compare(files) == 1
    assert "pipe or device" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["--report", "--picture"])
@pytest.mark.parametrize("lost", ["mask.nrrd", "reference.nii.gz", "ct.nrrd"])
def test_what_is_compared_is_never_overwritten(files, output, lost, capsys):
    target = files / "link.png"
    target.symlink_to(files / lost)
    before = (files / lost).read_bytes()
    assert compare(files, "--ct", str(files / "ct.nrrd"), output, str(target)) == 1
    assert "would overwrite the input" in capsys.readouterr().err
    assert (files / lost).read_bytes() == before


def test_labels_that_change_what_the_figures_mean_are_told(files, capsys):
    assert compare(files) == 0
    assert "all 2 labels of the reference (1, 3) count" in capsys.readouterr().err
    assert compare(files, "--label", "7") == 1
    assert "no voxel of label 7, only 1, 3" in capsys.readouterr().err
    sitk.WriteImage(box(8, 18) * 0, str(files / "mask.nrrd"))
    assert compare(files, "--label", "3") == 0
    assert "the mask is empty" in capsys.readouterr().err
