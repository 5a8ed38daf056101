"""Measuring the review tools: calibration, coverage of errors by suspicious regions, simulated clicks."""

from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK as sitk
from quick_model import quick_options

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.imaging.body import body_size_in
from TernarySegmentLib.imaging.grids import bounds
from TernarySegmentLib.imaging.probability import probability
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, load_model, run, segment
from TernarySegmentLib.pipeline.decide import grid_scale
from TernarySegmentLib.training.calibrate import (
    Calibration,
    Voxels,
    expected_error,
    fitted,
    left_out_errors,
    reliability,
    voxels_of,
)
from TernarySegmentLib.training.experiments.review import CLICKS, Reviewed, coverage, review
from TernarySegmentLib.training.experiments.review_page import FIGURE, write_page
from TernarySegmentLib.training.settings import LABELS, PANCREAS
from TernarySegmentLib.training.sources import Scan


def drawn(temperature: float, bias: float, count: int = 40_000, seed: int = 0) -> Voxels:
    """Voxels of a network that is wrong by exactly this temperature and bias."""
    random = np.random.default_rng(seed)
    margin = random.normal(0, 5, count).astype(np.float32)
    return Voxels(margin, random.random(count) < probability(margin, temperature, bias))


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (2.3, 2.6), (0.6, -1.0)])
def test_a_fit_finds_the_temperature_and_bias_voxels_were_drawn_with(temperature, bias):
    found = fitted(drawn(temperature, bias))
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.bias == pytest.approx(bias, abs=0.1)
    assert fitted(drawn(temperature, 0.0), with_bias=False).bias == 0


def test_calibration_lowers_the_error_on_scans_it_has_not_seen_and_a_bias_needs_a_bias():
    errors = left_out_errors({str(seed): drawn(2.0, 3.0, seed=seed) for seed in range(3)})
    assert errors["temperature and bias"] < 0.02 < errors["temperature"]
    assert errors["temperature and bias"] < 0.2 * errors["as it is"]


def test_the_expected_error_is_the_mean_distance_of_what_is_said_from_what_is_so():
    chance = np.array([0.05] * 10 + [0.95] * 30)
    truth = np.array([False] * 10 + [True] * 15 + [False] * 15)
    bins = reliability(chance, truth)
    assert [each.count for each in bins] == [10, 30]
    assert expected_error(bins) == pytest.approx(0.25 * 0.05 + 0.75 * 0.45)


def test_the_model_file_keeps_its_calibration(tmp_path):
    from dataclasses import replace

    model = modelfile.load(DEFAULT_MODEL)
    path = tmp_path / "own.npz"
    modelfile.save(replace(model, temperature=1.75, bias=-0.5), path)
    again = modelfile.load(path)
    assert (again.temperature, again.bias) == (1.75, -0.5)
    assert modelfile.load(path).sha256 != model.sha256


def test_the_shipped_model_is_calibrated():
    model = load_model()
    assert (model.temperature, model.bias) != (1.0, 0.0)


def ball(centre: float, radius: float) -> sitk.Image:
    x, y, z = np.ogrid[:80, :80, :80]
    inside = (x - centre) ** 2 + (y - 40) ** 2 + (z - 40) ** 2 <= radius**2
    return sitk.GetImageFromArray(inside.astype(np.uint8).T.copy())


def test_regions_at_the_only_error_cover_it_and_random_ones_do_not():
    expert, mask = ball(25, 15), sitk.Or(ball(25, 15), ball(62, 8))
    sure, unsure = 98 * sitk.GetArrayFromImage(ball(25, 15)), 60 * sitk.GetArrayFromImage(ball(62, 8))
    percents = sitk.GetImageFromArray(np.maximum(sure + unsure, 1).astype(np.uint8))
    found = coverage(mask, percents, expert)
    assert found.error_ml == pytest.approx(np.count_nonzero(sitk.GetArrayFromImage(ball(62, 8))) / 1000)
    assert found.regions == 1
    assert found.random < 1


@pytest.fixture(scope="module")
def scan():
    """The demo's abdomen as a labelled scan."""
    phantom = make_phantom(0, spacing=(1.5, 1.5, 3.0))
    return Scan("phantom", lambda: (phantom.ct, phantom.labels))


@pytest.fixture(scope="module")
def reviewed(scan):
    """Places and clicks on it."""
    [found] = review([scan], quick_options())
    assert isinstance(found, Reviewed)
    return found


def test_clicks_at_the_largest_errors_raise_dice(scan):
    ct, labels = scan.read()
    drawn_by_expert = sitk.GetArrayFromImage(labels)
    middle = int(np.median(np.nonzero(drawn_by_expert == PANCREAS)[2]))
    drawn_by_expert[:, :, middle:][drawn_by_expert[:, :, middle:] == PANCREAS] = 0
    half = sitk.GetImageFromArray(drawn_by_expert)
    half.CopyInformation(labels)
    [found] = review([Scan("half a pancreas", lambda: (ct, half))], Options())
    assert isinstance(found, Reviewed)
    assert len(found.clicks.dice) == CLICKS + 1
    assert len(found.clicks.seconds) == CLICKS
    assert found.clicks.dice[-1] > found.clicks.dice[0] + 0.05


def test_a_scan_in_which_nothing_is_found_is_told_by_name(scan):
    ct, labels = scan.read()
    chest = int(0.72 * ct.GetSize()[2])
    empty = Scan("chest", lambda: (ct[:, :, chest:], labels[:, :, chest:]))
    [said] = review([empty], quick_options())
    assert said == "chest: no pancreas found, nothing to review"
    assert voxels_of(empty, quick_options()) is None


def test_voxels_for_calibration_are_those_near_the_mask(scan):
    voxels = voxels_of(scan, quick_options())
    ct, labels = scan.read()
    mask = run(segment(ct, quick_options())).mask
    spacing = load_model().fine[0].spacing * grid_scale(body_size_in(ct, bounds(ct)))
    voxel = spacing**3
    share = np.count_nonzero(voxels.margin > 0) * voxel / (np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * 6.75)
    assert 0.8 < share < 1.5, "everything inside, on the working grid"
    expert = np.count_nonzero(sitk.GetArrayViewFromImage(labels == PANCREAS)) * 6.75
    assert 0.3 < np.count_nonzero(voxels.truth) * voxel / expert <= 1.1
    assert LABELS[PANCREAS] == "pancreas"


def test_the_page_holds_every_table_and_its_figure(reviewed, tmp_path):
    voxels = {name: drawn(2.0, 2.0, 2_000, seed) for seed, name in enumerate("ab")}
    path = tmp_path / "docs" / "page.md"
    path.parent.mkdir()
    write_page(path, [reviewed], voxels, Calibration(2.0, 2.0), "the command")
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^\| ---", text, re.MULTILINE)) == 5
    for part in ("the command", f"({FIGURE})", "| phantom |", f"{reviewed.clicks.dice[-1]:.3f}"):
        assert part in text
    first = (path.parent / FIGURE).read_bytes()
    write_page(path, [reviewed], voxels, Calibration(2.0, 2.0), "the command")
    assert (path.parent / FIGURE).read_bytes() == first
