"""Ways to train: a teacher, the paper's network on slices, a start from a model file or a run, and means of runs."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")

from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.engine import modelfile  # noqa: E402
from TernarySegmentLib.errors import InputError  # noqa: E402
from TernarySegmentLib.training.distil import distillation_loss  # noqa: E402
from TernarySegmentLib.training.export import export_run, export_stage, torch_margin  # noqa: E402
from TernarySegmentLib.training.runs import CHECKPOINT, average_runs, build, load_averaged, settings_of  # noqa: E402
from TernarySegmentLib.training.settings import LABELS, PANCREAS, PRESETS, SETTINGS_FILE  # noqa: E402
from TernarySegmentLib.training.slices import SliceNetwork  # noqa: E402
from TernarySegmentLib.training.train import Trainer  # noqa: E402

CASES = [toy_case(1), toy_case(2)]
TEACHER = TINY.changed(widths=(6, 8), weights="full", activations="relu")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """Folder of a small full-precision run."""
    folder = tmp_path_factory.mktemp("teacher")
    list(Trainer(folder, TEACHER, CASES, []).run(compiled=False))
    return folder


# --- a teacher --------------------------------------------------------------------------------------------------------


def test_the_teachers_loss_is_zero_for_its_own_scores_and_falls_towards_them():
    wanted = torch.randn(2, len(LABELS) * 8, 3, 3, 3)
    scores = torch.randn_like(wanted, requires_grad=True)
    # a constant on all labels changes no probability
    assert distillation_loss(wanted + 3, wanted, len(LABELS)) == pytest.approx(0, abs=1e-5)
    before = distillation_loss(scores, wanted, len(LABELS))
    (gradient,) = torch.autograd.grad(before, scores)
    assert distillation_loss(scores - 100 * gradient, wanted, len(LABELS)) < before


def test_a_pupil_learns_from_a_teacher_of_another_size(tmp_path, teacher):
    taught = Trainer(tmp_path / "pupil", TINY.changed(teacher=str(teacher)), CASES, [])
    alone = Trainer(tmp_path / "alone", TINY, CASES, [])
    batch = taught.sampler.batch(0)
    folded = taught.network.to_input(batch.levels)
    with torch.no_grad():
        extra = distillation_loss(taught.network(folded)[0], taught.teacher(folded)[0], len(LABELS))
        assert float(taught._loss(batch) - alone._loss(batch)) == pytest.approx(float(extra), rel=0.02)
    before = copy.deepcopy(taught.teacher.state_dict())
    list(taught.run(compiled=False))
    list(alone.run(compiled=False))
    assert all(torch.equal(before[name], value) for name, value in taught.teacher.state_dict().items())
    pairs = zip(taught.network.parameters(), alone.network.parameters(), strict=True)
    assert any(not torch.allclose(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("change", "said"), [({"teacher": "nowhere"}, "no saved training run"), ({"spacing": 4.0}, "at 2 mm, its pupil on")]
)
def test_a_teacher_that_cannot_teach_is_refused(tmp_path, teacher, change, said):
    settings = TINY.changed(**{"teacher": str(teacher), **change})
    with pytest.raises(InputError, match=said):
        Trainer(tmp_path, settings, CASES, [])


# --- the paper's network ----------------------------------------------------------------------------------------------

SLICES = TINY.changed(architecture="slices", patch=(31, 16, 16), frozen_norm=0.0)


def test_the_papers_network_has_the_published_number_of_weights():
    network = SliceNetwork(PRESETS["paper"].widths, 2, "ternary", "ternary")
    convolutions = [p for p in network.parameters() if p.dim() == 5]
    assert len(convolutions) == 15
    # 15-32-64, 64-64-128, 128-128-256, 256-256-256 (1×1), 512-256-128, 256-128-64, 128-64-64, 64-2
    assert sum(p.numel() for p in convolutions) == 2_660_704


def test_a_slice_is_labelled_from_every_second_of_the_29_around_it():
    network = build(SLICES.changed(weights="full", activations="relu")).eval()
    levels = torch.randn(1, 1, 35, 16, 16, requires_grad=True)
    scores, _ = network(network.to_input(levels))
    assert network.to_scores(scores).shape == (1, len(LABELS), 7, 16, 16)
    (gradient,) = torch.autograd.grad(scores[:, :, 2].square().sum(), levels)
    looked_at = torch.nonzero(gradient.abs().sum((0, 1, 3, 4)) > 0).flatten().tolist()
    assert looked_at == list(range(2, 31, 2))
    labels = torch.arange(35)[None, :, None, None].expand(1, 35, 16, 16)
    assert network.to_targets(labels)[0, 0, :, 0, 0].tolist() == list(range(14, 21))


def test_every_hidden_layer_of_it_sees_ternary_values_only():
    network = build(SLICES).eval()
    seen = []
    for block in list(network.blocks.values())[1:]:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(network.to_input(torch.randint(-127, 128, (1, 1, 30, 16, 16)).float()))
    assert len(seen) == len(network.blocks) - 1
    assert all(torch.isin(values, torch.tensor([-1.0, 0.0, 1.0])).all() for values in seen)
    assert all(len(values.unique()) > 1 for values in seen), "a dead network would prove nothing"


def test_it_trains_and_is_judged_but_not_exported(tmp_path):
    settings = SLICES.changed(schedule="continuation", continuation_share=1.0, steps=4)
    trainer = Trainer(tmp_path, settings, CASES, [toy_case(3)])
    weights = copy.deepcopy(trainer.network.blocks["bottom_a"].weight)
    (line,) = trainer.run(compiled=False, every=4)
    assert "step 4" in line
    assert not torch.equal(weights, trainer.network.blocks["bottom_a"].weight)
    last = [json.loads(entry) for entry in (tmp_path / "log.jsonl").read_text().splitlines()][-1]
    assert 0 <= last["dice/toy3"] <= 1
    with pytest.raises(InputError, match="not exported"):
        export_run(tmp_path, CASES)


def test_too_thin_a_patch_is_refused_by_number():
    network = build(SLICES)
    with pytest.raises(ValueError, match="28 slices is too thin; labelling one takes 29"):
        network.to_input(torch.zeros(1, 1, 28, 16, 16))


# --- a start from a model file ----------------------------------------------------------------------------------------


# the thresholds of several trits were each rounded to whole sums: one line through them cannot meet all
@pytest.mark.parametrize(("start", "alike"), [(TINY, 0.99), (TINY.changed(widths=(32, 32, 32), trits=2), 0.9)])
def test_training_can_start_where_a_model_file_stands(start, alike, tmp_path):
    trainer = Trainer(tmp_path / "first", start, CASES, [])
    list(trainer.run(compiled=False))
    network = trainer.averaged()
    stage = export_stage(network, 2.0)
    modelfile.save(modelfile.Model({"coarse": stage, "fine": stage}, LABELS, PANCREAS, {}), tmp_path / "model.npz")
    again = Trainer(tmp_path / "second", start.changed(start=str(tmp_path / "model.npz")), CASES, [])
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    # the step of the head's integers is the only thing both must share for equal margins
    expected, found = torch_margin(network, levels), torch_margin(again.network.eval(), levels)
    assert len(np.unique(expected)) > 10
    assert np.mean(np.sign(found) == np.sign(expected)) > alike
    assert start.trits > 1 or np.mean(found == expected) > alike
    with pytest.raises(InputError, match="other layers"):
        Trainer(tmp_path / "third", TINY.changed(start=str(tmp_path / "model.npz"), widths=(4, 6)), CASES, [])
    assert not (tmp_path / "third" / SETTINGS_FILE).exists(), "a next try would obey what could not start"
    with pytest.raises(InputError, match="Only the 3D network"):
        Trainer(tmp_path / "fourth", SLICES.changed(start=str(tmp_path / "model.npz")), CASES, [])


def test_a_network_of_two_trits_can_start_from_a_model_file_of_one(tmp_path):
    settings = TINY.changed(widths=(32, 32, 32))
    trainer = Trainer(tmp_path / "one", settings, CASES, [])
    list(trainer.run(compiled=False))
    network = trainer.averaged()
    stage = export_stage(network, 2.0)
    modelfile.save(modelfile.Model({"coarse": stage, "fine": stage}, LABELS, PANCREAS, {}), tmp_path / "model.npz")
    finer = Trainer(tmp_path / "two", settings.changed(trits=2, start=str(tmp_path / "model.npz")), CASES, [])
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    expected, found = torch_margin(network, levels).ravel(), torch_margin(finer.network.eval(), levels).ravel()
    assert np.corrcoef(expected, found)[0, 1] > 0.7, "finer steps of the same ramp"


def test_a_ternary_network_can_start_from_a_run_in_full_precision(tmp_path, teacher):
    trainer = Trainer(tmp_path / "ternary", TINY.changed(widths=(6, 8), start=str(teacher)), CASES, [])
    weights = torch.load(teacher / CHECKPOINT, weights_only=True)["average"]
    assert all(torch.equal(value, weights[name]) for name, value in trainer.network.state_dict().items())
    with pytest.raises(InputError, match="other layers"):
        Trainer(tmp_path / "other", TINY.changed(start=str(teacher)), CASES, [])
    with pytest.raises(InputError, match="no checkpoint"):
        Trainer(tmp_path / "none", TINY.changed(start=str(tmp_path)), CASES, [])


# --- means of runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def siblings(tmp_path_factory):
    """Folders of two runs from the same weights on other patches, and of their mean."""
    folder = tmp_path_factory.mktemp("siblings")
    list(Trainer(folder / "parent", TINY, CASES, []).run(compiled=False))
    for seed in (1, 2):
        settings = TINY.changed(start=str(folder / "parent"), seed=seed)
        list(Trainer(folder / str(seed), settings, CASES, []).run(compiled=False))
    average_runs([folder / "1", folder / "2"], folder / "mean")
    return folder


def test_the_mean_of_runs_is_exported_like_a_run(siblings):
    first, second, mean = (load_averaged(siblings / name, CASES, torch.device("cpu")) for name in ("1", "2", "mean"))
    assert mean.step == first.step
    differing = 0
    for a, b, between in zip(*(each.network.parameters() for each in (first, second, mean)), strict=True):
        assert torch.allclose(between, (a + b) / 2, atol=1e-6)
        differing += not torch.equal(a, b)
    assert differing > 5
    export_run(siblings / "mean", CASES)  # raises where the integer network differs


def test_a_mean_is_started_from_and_not_trained_on(siblings, tmp_path):
    settings = settings_of(siblings / "mean")
    with pytest.raises(InputError, match="average of runs; train in another folder with --start"):
        Trainer(siblings / "mean", settings, CASES, [])
    Trainer(tmp_path / "next", settings.changed(start=str(siblings / "mean")), CASES, [])


def test_no_fold_judges_that_was_trained_on_before(siblings, tmp_path):
    shutil.copytree(siblings / "1", tmp_path / "run")
    for settings, run in (
        (TINY.changed(fold=1), tmp_path / "run"),
        (TINY.changed(fold=1, start=str(siblings / "1")), tmp_path / "next"),
    ):
        with pytest.raises(InputError, match=r"kept back fold 0 and was trained on fold 1; train on with --fold 0"):
            Trainer(run, settings, CASES, [])
    assert settings_of(tmp_path / "run").fold == 0
    Trainer(tmp_path / "all", TINY.changed(fold=None, start=str(siblings / "1")), CASES, [])
    TINY.changed(fold=1).save(tmp_path / "run" / SETTINGS_FILE)
    average_runs([siblings / "1", tmp_path / "run"], tmp_path / "mean")
    assert settings_of(tmp_path / "mean").fold is None, "either was trained on what the other kept back"
    TINY.changed(adaptation=0.5).save(tmp_path / "run" / SETTINGS_FILE)
    with pytest.raises(InputError, match="has adaptation"):
        average_runs([siblings / "1", tmp_path / "run"], tmp_path / "other")


def test_only_equal_networks_are_averaged_and_nothing_is_written_over(siblings, teacher):
    with pytest.raises(InputError, match=r"has widths .* only equal networks can be averaged"):
        average_runs([siblings / "1", teacher], siblings / "wrong")
    assert not (siblings / "wrong").exists()
    with pytest.raises(InputError, match="holds a run already"):
        average_runs([siblings / "1", siblings / "2"], siblings / "mean")
