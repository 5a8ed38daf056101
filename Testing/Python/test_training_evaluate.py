"""Evaluation: what the figures mean, what counts as a failure, and the report that is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")
pytest.importorskip("surface_distance", reason="surface-distance is not installed; masks cannot be compared")

from quick_model import quick_model, quick_options  # noqa: E402
from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.imaging.agreement import Agreement, agreement_of  # noqa: E402
from TernarySegmentLib.imaging.body import body_size_in  # noqa: E402
from TernarySegmentLib.imaging.grids import bounds, grid_over  # noqa: E402
from TernarySegmentLib.phantom import make_phantom  # noqa: E402
from TernarySegmentLib.pipeline import load_model, segment  # noqa: E402
from TernarySegmentLib.pipeline import run as run_pipeline  # noqa: E402
from TernarySegmentLib.pipeline.decide import grid_scale  # noqa: E402
from TernarySegmentLib.training.data import load_cases  # noqa: E402
from TernarySegmentLib.training.evaluate import Score, compare_case, failure_of, summary_lines  # noqa: E402
from TernarySegmentLib.training.experiments.float_reference import FloatReference, evaluate_float_reference  # noqa: E402
from TernarySegmentLib.training.metrics import mean_dice, mean_with_interval  # noqa: E402
from TernarySegmentLib.training.report import Report, extremes, summary  # noqa: E402
from TernarySegmentLib.training.settings import PANCREAS  # noqa: E402
from TernarySegmentLib.training.sources import Scan  # noqa: E402
from TernarySegmentLib.training.train import Trainer  # noqa: E402


def block(low: int, high: int, size: int = 40) -> np.ndarray:
    """A cube of voxels in a larger one."""
    mask = np.zeros((size, size, size), bool)
    mask[low:high, low:high, low:high] = True
    return mask


def test_a_mask_agrees_with_itself():
    same = agreement_of(block(10, 30), block(10, 30), (1.0, 1.0, 1.0))
    assert (same.dice, same.surface_dice, same.hausdorff_mm, same.volume_error) == (1, 1, 0, 0)
    assert same.volume_ml == pytest.approx(8.0)


@pytest.mark.parametrize("spacing", [1.0, 2.5])
def test_distances_are_in_mm(spacing):
    shifted = np.roll(block(10, 30), 4, axis=0)
    moved = agreement_of(shifted, block(10, 30), (spacing, 1.0, 1.0))
    # the two faces across the shift, a sixth of the surface each, are 4 voxels away; the 95th percentile lies there
    assert moved.hausdorff_mm == pytest.approx(4 * spacing, rel=0.05)
    assert 0.6 < moved.surface_dice < 0.9
    assert moved.dice == pytest.approx(0.8)


def test_borders_within_2_mm_count_as_equal():
    inner, outer = block(10, 30), block(9, 31)
    assert agreement_of(outer, inner, (1.9, 1.9, 1.9)).surface_dice > 0.9
    assert agreement_of(outer, inner, (2.2, 2.2, 2.2)).surface_dice < 0.1


def test_volume_error_is_signed_and_relative_to_the_expert():
    assert agreement_of(block(10, 20), block(10, 30), (1.0, 1.0, 1.0)).volume_error == pytest.approx(-7 / 8)


@pytest.mark.parametrize(
    ("found", "truth", "dice", "surface"),
    [(block(0, 0), block(0, 0), 1, 1), (block(0, 0), block(5, 9), 0, 0), (block(5, 9), block(0, 0), 0, 0)],
)
def test_an_empty_mask_has_no_distance_and_does_not_break_the_figures(found, truth, dice, surface):
    agreement = agreement_of(found, truth, (1.0, 1.0, 1.0))
    assert (agreement.dice, agreement.surface_dice, agreement.hausdorff_mm) == (dice, surface, None)


def test_the_interval_holds_the_mean_narrows_with_cases_and_is_repeatable():
    values = list(np.random.default_rng(0).normal(0.7, 0.1, 20))
    few, many = mean_with_interval(values), mean_with_interval(values * 20)
    assert few.low < few.value < few.high
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert few == mean_with_interval(values)
    # the textbook interval of a normal mean
    assert few.high - few.low == pytest.approx(2 * 1.96 * np.std(values) / 20**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("dice", "found", "expert", "said"),
    [
        (0.9, 70.0, 80.0, ""),
        (0.3, 70.0, 80.0, "Dice 0.300 is below 0.5."),
        (0.0, 0.0, 80.0, "No pancreas found; the expert outlined 80.0 mL."),
        (0.0, 9.0, 0.0, "9.0 mL found where there is no pancreas."),
        (1.0, 0.0, 0.0, ""),
    ],
)
def test_failures_are_named(dice, found, expert, said):
    assert failure_of(Agreement(dice, None, None, found, expert)) == said


def scored(name: str, dice: float, sparse: bool = False) -> Score:
    return Score(name, Agreement(dice, dice, 3.0, 80.0, 80.0), 1.0, sparse=sparse)


def test_a_refused_scan_counts_as_zero_and_a_sparse_one_not_at_all():
    scores = [scored("a", 0.8), Score("b", None, 0.0, "not a CT"), scored("c", 0.1, sparse=True)]
    assert summary(scores)["Dice"].value == pytest.approx(0.4)
    assert mean_dice([score.agreement for score in scores[:2]]).count == 2
    # no distance exists for a refused scan
    assert summary(scores)["Hausdorff 95 %, mm"].count == 1


def test_best_median_and_worst_are_picked_by_dice():
    scores = [scored("a", 0.5), scored("b", 0.9), scored("c", 0.7), scored("d", 0.0, sparse=True)]
    assert {name: score.name for name, score in extremes(scores).items()} == {
        "best": "b", "median": "c", "worst": "a",
    }  # fmt: skip


@pytest.fixture(scope="module")
def compared():
    """The demo's abdomen, segmented by the quick model, and a scan that is refused."""
    phantom = make_phantom(0)
    picture = sitk.Cast(sitk.Clamp(phantom.ct, sitk.sitkInt16, 0, 255), sitk.sitkUInt8)
    whole = compare_case("abdomen", phantom.ct, phantom.labels == PANCREAS, quick_options())
    return whole, compare_case("picture", picture, phantom.labels == PANCREAS, quick_options())


def test_a_scan_that_is_refused_is_a_failure_and_not_the_end(compared):
    whole, refused = compared
    assert whole.score.agreement.dice > 0.4
    assert whole.score.agreement.hausdorff_mm > 0
    assert refused.score.agreement is None
    assert "8-bit" in refused.score.failure


def test_the_report_holds_every_case_the_means_the_failures_and_pictures(compared, tmp_path):
    report = Report(tmp_path / "report")
    for case in compared:
        report.add(case)
    model = load_model(quick_model())
    report.write(model)
    told = json.loads((report.folder / "report.json").read_text())
    assert told["model"]["sha256"] == model.sha256
    assert [case["name"] for case in told["cases"]] == ["abdomen", "picture"]
    assert told["summary"]["Dice"]["value"] == pytest.approx(told["cases"][0]["agreement"]["dice"] / 2)
    text = (report.folder / "report.md").read_text()
    assert "| picture | refused |" in text
    assert "- picture: " in text
    assert "![abdomen](abdomen.png)" in text
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(report.folder / "abdomen.png")))[..., :3].astype(int)
    green = (picture[..., 1] > 200) & (picture[..., 0] < 60) & (picture[..., 2] < 60)
    orange = (picture[..., 0] > 200) & (abs(picture[..., 1] - 165) < 25) & (picture[..., 2] < 60)
    assert min(green.sum(), orange.sum()) > 50, "both outlines are drawn"


def test_a_twin_decides_in_the_place_of_the_fine_network_and_is_scored_beside_it(tmp_path, compared):
    run, data = tmp_path / "run", tmp_path / "data"
    data.mkdir()
    for seed in (1, 2):
        case = toy_case(seed)
        np.savez(data / f"{case.name}.npz", hu=case.hu.numpy(), labels=case.labels.numpy())
    settings = TINY.changed(weights="full", activations="relu", spacing=4.0, fold=None)
    list(Trainer(run, settings, load_cases(data), []).run(compiled=False))
    reference = FloatReference.load(run, data)
    # a head that prefers the pancreas everywhere fills the region that the coarse network found, and nothing else
    with torch.no_grad():
        reference.network.blocks["scores"].bias[8 * PANCREAS :] += 100
    ct = compared[0].ct
    refused, expert = compared[1].ct, compared[0].expert * PANCREAS
    scans = [Scan("picture", lambda: (refused, expert)), Scan("abdomen", lambda: (ct, expert))]
    picture, referenced = evaluate_float_reference(scans, reference, quick_options())
    assert picture.score.agreement is None
    assert picture.score.failure, "a scan that is refused does not end the comparison"
    region = run_pipeline(segment(ct, quick_options())).region
    scale = grid_scale(body_size_in(ct, region))
    assert scale < 1, "a small patient, whose grid is finer"
    box = grid_over(region, reference.spacing * scale, reference.network.multiple).box
    inside = np.minimum(box[1], bounds(ct)[1]) - np.maximum(box[0], bounds(ct)[0])
    assert referenced.score.agreement.volume_ml == pytest.approx(np.prod(inside) / 1000, rel=0.05)
    assert list(summary_lines([referenced]))[-1].startswith("failed: abdomen by the float reference: Dice 0.")


def test_sparse_annotation_is_compared_on_its_slices_only(compared):
    ct, expert = compared[0].ct, sitk.GetArrayFromImage(compared[0].expert)
    levels = np.flatnonzero(expert.any((1, 2)))
    kept = np.zeros_like(expert)
    kept[levels[::4]] = expert[levels[::4]]
    sparse = sitk.GetImageFromArray(kept)
    sparse.CopyInformation(ct)
    annotated = kept.any((1, 2), keepdims=True).repeat(kept.shape[1], 1).repeat(kept.shape[2], 2)
    score = compare_case("sparse", ct, sparse, quick_options(), annotated).score
    mask = sitk.GetArrayFromImage(compared[0].mask)[levels[::4]] != 0
    truth = expert[levels[::4]] != 0
    assert score.agreement.dice == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert score.agreement.hausdorff_mm is None
