"""Training: quantisers, continuation, patches, exact resume, and an export that decides like the torch network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")

from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.engine.network import Network, drain  # noqa: E402
from TernarySegmentLib.errors import InputError  # noqa: E402
from TernarySegmentLib.training.batchnorm import reestimate_batch_norms  # noqa: E402
from TernarySegmentLib.training.data import PatchSampler  # noqa: E402
from TernarySegmentLib.training.export import export_stage, prove_equal, torch_margin  # noqa: E402
from TernarySegmentLib.training.losses import label_weights, segmentation_loss, soft_dice  # noqa: E402
from TernarySegmentLib.training.network import QuantisedConvolution, fold, unfold  # noqa: E402
from TernarySegmentLib.training.quantise import activate, quantise_weight, ternary_codes, ternary_tanh  # noqa: E402
from TernarySegmentLib.training.runs import build  # noqa: E402
from TernarySegmentLib.training.settings import LABELS, Settings  # noqa: E402
from TernarySegmentLib.training.train import Trainer, beta_at, has_bfloat16, rate_at  # noqa: E402


def test_ternary_weights_follow_the_papers_threshold_and_scale():
    weight = torch.tensor([[1.0, -0.1, 0.5, -2.0], [0.0, 0.3, -0.3, 0.3]]).view(2, 4, 1, 1, 1)
    codes, alpha = ternary_codes(weight)
    # Δ = 0.7·mean|w| = 0.63 and 0.1575; α = the mean above it
    assert codes.flatten(1).tolist() == [[1, 0, 0, -1], [0, 1, -1, 1]]
    assert alpha.tolist() == pytest.approx([1.5, 0.3])


def test_gradients_reach_the_full_precision_weights_unchanged():
    weight = torch.randn(3, 5, 3, 3, 3, requires_grad=True)
    gradient = torch.randn_like(weight)
    quantise_weight(weight, "ternary").backward(gradient)
    assert torch.equal(weight.grad, gradient)


def test_ternary_tanh_approaches_the_hard_step():
    x = torch.tensor([-2.0, -0.7, -0.3, 0.0, 0.3, 0.7, 2.0])
    hard = activate(x, "ternary")
    assert hard.tolist() == [-1, -1, 0, 0, 0, 1, 1]
    errors = [float((ternary_tanh(x, beta) - hard).abs().max()) for beta in (1.0, 4.0, 16.0, 64.0)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6


def test_continuation_reaches_every_activation_of_the_network():
    network = build(TINY)
    blocks = [block for block in network.blocks.values() if isinstance(block, QuantisedConvolution)]
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    levels = fold(torch.randint(-127, 128, (1, 1, 16, 16, 16)).float())
    for beta in (1.0, 8.0):
        seen.clear()
        network.set_beta(beta)
        network(levels)
        assert len(seen) == len(blocks)
        assert all(((values.abs() > 1e-3) & (values.abs() < 0.999)).any() for values in seen), "still smooth"
    network.set_beta(None)
    seen.clear()
    network(levels)
    assert all(torch.isin(values, torch.tensor([-1.0, 0.0, 1.0])).all() for values in seen)


def test_beta_rises_and_then_gives_way_to_the_hard_step():
    settings = TINY.changed(schedule="continuation", steps=100, continuation_share=0.5)
    values = [beta_at(step, settings) for step in range(100)]
    assert values[0] == settings.beta_start
    assert values[:50] == sorted(values[:50])
    assert values[50:] == [None] * 50


def test_a_continuation_without_the_hard_step_lasts_to_the_end():
    settings = TINY.changed(schedule="continuation", steps=100, continuation_share=1.0)
    assert beta_at(99, settings) == pytest.approx(settings.beta_end, rel=0.03)
    assert beta_at(99, settings.changed(schedule="step")) is None


def test_rate_rises_stays_and_falls_to_zero():
    settings = TINY.changed(steps=1000, warmup=0.1, decay=0.3)
    rates = [rate_at(step, settings) for step in range(1001)]
    assert rates[:100] == sorted(rates[:100])
    assert set(rates[100:700]) == {settings.rate}
    assert rates[1000] == 0


def test_unfold_undoes_fold():
    volume = torch.randn(2, 1, 6, 8, 10)
    assert torch.equal(unfold(fold(volume), 1), volume)


def test_soft_dice_and_loss_are_best_for_the_right_answer():
    labels = torch.randint(0, len(LABELS), (1, 500))
    right = torch.nn.functional.one_hot(labels, len(LABELS)).movedim(-1, 1).float() * 20
    wrong = right.roll(1, 1)
    assert soft_dice(right.softmax(1), (right > 0).float()).min() > 0.99
    weights = label_weights(3.0)
    assert segmentation_loss(right, labels, weights) < 0.01 < 2 < segmentation_loss(wrong, labels, weights)


def test_patches_are_reproducible_and_hold_levels_and_labels():
    sampler = PatchSampler([toy_case(1)], TINY)
    levels, labels, _ = sampler.batch(3)
    again = PatchSampler([toy_case(1)], TINY).batch(3).levels
    other = sampler.batch(4).levels
    assert torch.equal(levels, again)
    assert not torch.equal(levels, other)
    assert levels.shape == (1, 1, 16, 16, 16)
    assert float(levels.abs().max()) <= 127
    assert torch.equal(levels, levels.round())
    assert set(labels.unique().tolist()) <= set(range(len(LABELS)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network after a few steps, with its sampler."""
    trainer = Trainer(tmp_path_factory.mktemp("run"), TINY, [toy_case(1), toy_case(2)], [toy_case(3)])
    lines = list(trainer.run(compiled=False, every=3))
    assert len(lines) == 2
    return trainer


@pytest.mark.parametrize(
    "changes", [{"frozen_norm": 0.0}, {"frozen_norm": 0.8}, {"dropout": 0.5}], ids=["", "frozen", "dropout"]
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, changes):
    settings, cases = TINY.changed(**changes), [toy_case(1), toy_case(2)]
    whole = Trainer(tmp_path / "whole", settings, cases, [])
    list(whole.run(compiled=False))
    first = Trainer(tmp_path / "parts", settings, cases, [])
    list(first.run(until=lambda: first.step >= 3, compiled=False))
    assert first.step == 3
    second = Trainer(tmp_path / "parts", settings, cases, [])
    list(second.run(compiled=False))
    for one, other in zip(whole.network.state_dict().values(), second.network.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_dropout_leaves_channels_out_of_coarser_tensors_while_training_only():
    settings = TINY.changed(dropout=0.5)
    network, whole = build(settings), build(TINY)
    whole.load_state_dict(network.state_dict())
    levels = fold(PatchSampler([toy_case(1)], TINY).batch(0).levels)
    seen = {}
    for name, block in network.blocks.items():
        block.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    network.train()
    network(levels)
    empty = {
        name: float((seen[name] == 0).flatten(2).all(2).float().mean())
        for name, block in network.blocks.items()
        if isinstance(block, QuantisedConvolution)
    }
    assert {empty[name] for name in ("first", "enc0", "dec0")} == {0.0}, "the finest tensors are whole"
    assert sum(empty[name] for name in empty if name not in ("first", "enc0", "dec0")) > 0.5
    for each in (network, whole):
        reestimate_batch_norms(each, PatchSampler([toy_case(1)], TINY), 2)
    torch.testing.assert_close(network(levels)[0], whole(levels)[0], rtol=0, atol=0)


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"dropout": -0.1}, {"dropout": 0.2, "architecture": "slices"}])
def test_a_dropout_that_cannot_be_is_refused(changes):
    with pytest.raises(InputError, match=r"[Dd]ropout"):
        build(TINY.changed(**changes))


def test_curves_are_drawn_from_logs_and_a_repeated_step_counts_as_it_went_last(trained, tmp_path, capsys, monkeypatch):
    from TernarySegmentLib.training.__main__ import main
    from TernarySegmentLib.training.runs import LOG, read_log, series

    log = trained.folder / LOG
    steps, dice = series(read_log(trained.folder), "dice/mean")
    assert steps == [3, 6]
    with log.open("a", encoding="utf-8") as more:
        more.write('{"step": 3, "dice/mean": 0.25, "dice/toy3": 0.25}\n')
    assert series(read_log(trained.folder), "dice/mean") == ([3, 6], [0.25, dice[1]])
    picture = tmp_path / "new" / "curves.svg"
    monkeypatch.setattr("sys.argv", ["training", "curves", str(trained.folder), "-o", str(picture)])
    assert main() == 0
    assert picture.read_text(encoding="utf-8").count('id="line2d') > 20
    monkeypatch.setattr("sys.argv", ["training", "curves", str(tmp_path), "-o", str(picture)])
    assert main() == 1
    assert f"{tmp_path} holds no {LOG}" in capsys.readouterr().err


@pytest.mark.parametrize("flipped", [False, True])
def test_the_exported_integer_network_decides_exactly_like_torch(trained, flipped):
    network = trained.averaged()
    if flipped:  # negative and zero γ take their own paths through the folding
        with torch.no_grad():
            for block in network.blocks.values():
                if isinstance(block, QuantisedConvolution):
                    block.norm.weight[::2] *= -1
                    block.norm.weight[1] = 0
    stage = export_stage(network, 2.0)
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    prove_equal(network, stage, levels)
    assert len(np.unique(torch_margin(network, levels))) > 10, "a constant network would prove nothing"
    blas = drain(Network(stage.graph, stage.weights, "numpy").run(levels))
    np.testing.assert_array_equal(blas.margin, torch_margin(network, levels))


def test_the_exported_integer_network_with_several_trits_a_sum_decides_exactly_like_torch():
    torch.manual_seed(0)
    network = build(TINY.changed(widths=(32, 64, 32), trits=2))
    with torch.no_grad():
        for block in network.blocks.values():
            if isinstance(block, QuantisedConvolution):
                block.norm.weight.normal_()
                block.norm.bias.normal_()
    reestimate_batch_norms(network, PatchSampler([toy_case(1)], TINY), 2)
    stage = export_stage(network, 2.0)
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    prove_equal(network, stage, levels)
    assert stage.graph["enc1"].channels == 2 * stage.graph["enc1"].sums == 128
    assert len(np.unique(torch_margin(network, levels))) > 10, "a constant network would prove nothing"


def test_the_proof_notices_a_single_wrong_threshold(trained):
    network = trained.averaged()
    stage = export_stage(network, 2.0)
    stage.weights["dec0"].high[0] -= 3
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    with pytest.raises(ArithmeticError, match="differs"):
        prove_equal(network, stage, levels)


def test_only_ternary_networks_are_exported():
    network = build(TINY.changed(activations="relu"))
    reestimate_batch_norms(network, PatchSampler([toy_case(1)], TINY), 1)
    with pytest.raises(InputError, match="only ternary"):
        export_stage(network, 2.0)


def test_settings_survive_saving(tmp_path):
    path = tmp_path / "settings.json"
    TINY.save(path)
    assert Settings.load(path) == TINY
    assert Settings.load(path).digest == TINY.digest != Settings().digest


def test_mixed_precision_only_where_the_processor_multiplies_bfloat16():
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("this system does not list its processor's abilities")
    able = {"avx512_bf16", "amx_bf16", "bf16"} & set(flags.read_text().split())
    assert has_bfloat16(torch.device("cpu")) == bool(able)
