"""Normalisation by a scan's own statistics: in torch, in the engine, and added to a network that was exported."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")

from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.engine import modelfile  # noqa: E402
from TernarySegmentLib.engine.network import Network, drain  # noqa: E402
from TernarySegmentLib.training.augment import swollen  # noqa: E402
from TernarySegmentLib.training.batchnorm import reestimate_batch_norms  # noqa: E402
from TernarySegmentLib.training.data import PatchSampler  # noqa: E402
from TernarySegmentLib.training.export import export_stage, torch_margin  # noqa: E402
from TernarySegmentLib.training.network import QuantisedConvolution, ScanNorm, fold  # noqa: E402
from TernarySegmentLib.training.runs import build  # noqa: E402
from TernarySegmentLib.training.settings import LABELS, PANCREAS, PRESETS  # noqa: E402
from TernarySegmentLib.training.usual import following  # noqa: E402

CASES = [toy_case(1), toy_case(2)]
ADAPTING = TINY.changed(widths=(32, 32, 32), trits=2, adaptation=0.5)


@pytest.mark.parametrize("training", [True, False])
def test_without_adaptation_it_is_batch_normalisation(training):
    torch.manual_seed(0)
    own, usual = ScanNorm(5, 0.0).train(training), torch.nn.BatchNorm3d(5).train(training)
    x = torch.randn(2, 5, 4, 4, 4) * 3 + 1
    torch.testing.assert_close(own(x), usual(x))
    torch.testing.assert_close(own.running_var, usual.running_var)


def test_all_of_its_own_statistics_undo_any_change_of_brightness_and_contrast():
    torch.manual_seed(0)
    norm = ScanNorm(3, 1.0).eval()
    x = torch.randn(1, 3, 6, 6, 6)
    torch.testing.assert_close(norm(1.7 * x + 4), norm(x), rtol=1e-3, atol=1e-3)
    norm.adaptation = 0.5
    assert float((norm(1.7 * x + 4) - norm(x)).mean().detach()) == pytest.approx(2 * 1.7**-0.5, rel=0.1), (
        "half of the shift stays"
    )
    norm.adaptation = 1.0
    assert float(norm(100 * x).std().detach()) == pytest.approx(50, rel=0.1), (
        "a wild scan counts as half or twice at most"
    )


def test_each_scan_of_a_batch_is_normalised_by_its_own_statistics_in_evaluation():
    torch.manual_seed(0)
    norm = ScanNorm(3, 0.5).eval()
    first, second = torch.randn(1, 3, 4, 4, 4), 5 + torch.randn(1, 3, 4, 4, 4)
    together = norm(torch.cat([first, second]))
    torch.testing.assert_close(together, torch.cat([norm(first), norm(second)]))


def test_population_statistics_are_averaged_as_batch_normalisation_does():
    torch.manual_seed(0)
    own, usual = ScanNorm(3, 0.5), torch.nn.BatchNorm3d(3)
    for norm in (own, usual):
        norm.momentum = None
        norm.reset_running_stats()
    for _ in range(3):
        x = torch.randn(2, 3, 8, 8, 8) * 2 + 1
        own(x)
        usual(x)
    torch.testing.assert_close(own.running_mean, usual.running_mean)
    torch.testing.assert_close(own.running_var, usual.running_var, rtol=2e-3, atol=0)  # divided by n, not by n - 1


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = build(ADAPTING)
    with torch.no_grad():
        for block in network.blocks.values():
            if isinstance(block, QuantisedConvolution):
                block.norm.weight.normal_(1, 0.3)
                block.norm.weight[::5] *= -1
                block.norm.bias.normal_(0.5, 0.5)
    reestimate_batch_norms(network, PatchSampler(CASES, ADAPTING), 4)
    return network


def test_the_engine_adapts_as_the_network_that_was_trained(network):
    stage = export_stage(network, 2.0)
    assert stage.adaptation == 0.5
    # small, so that the engine looks at every place; brighter and of more contrast than the patches
    levels = CASES[0].hu[8:24, 8:24, 8:24].numpy().clip(-100, 100)
    levels = (levels * 1.2 + 20).clip(-127, 127).astype(np.int8)
    inner: dict[str, np.ndarray] = {}
    handles = [
        network.blocks[name].register_forward_hook(
            lambda _, __, output, name=name: inner.update({name: output[0].movedim(0, -1).detach().numpy()})
        )
        for name in ("first", "enc0", "down1")
    ]
    with torch.no_grad():
        network(fold(torch.from_numpy(levels).float()[None, None]))
    for handle in handles:
        handle.remove()

    def alike(name: str, adaptation: float) -> float:
        """Part of a layer's values that the engine's two trits, the second ones after all first ones, agree on."""
        tensor = drain(Network(stage.graph, stage.weights, adaptation=adaptation).observe(levels, name)).to_ternary()
        mean = (tensor[..., : tensor.shape[-1] // 2] + tensor[..., tensor.shape[-1] // 2 :]) / 2
        return float((mean == inner[name]).mean())

    assert alike("first", 0.5) > 0.995
    assert alike("first", 0.0) < 0.9, "thresholds that stay would prove nothing"
    assert min(alike("enc0", 0.5), alike("down1", 0.5)) > 0.9, "what one layer rounds otherwise, the next ones see"


def test_a_network_trained_without_is_given_what_is_usual_and_keeps_weights_and_thresholds(tmp_path):
    torch.manual_seed(1)
    plain = build(ADAPTING.changed(adaptation=0.0))
    reestimate_batch_norms(plain, PatchSampler(CASES, TINY), 2)
    stage = export_stage(plain, 2.0)
    after = following(stage, CASES, ADAPTING.changed(fold=None))
    assert after.adaptation == 0.5
    for name, weights in stage.weights.items():
        if name != "scores":
            np.testing.assert_array_equal(after.weights[name].low, weights.low)
            np.testing.assert_array_equal(after.weights[name].high, weights.high)
            mean, deviation = after.weights[name].usual
            assert np.isfinite(mean).all()
            assert (deviation > 0).all()
    first = after.weights["first"].usual
    block = plain.blocks["first"]
    step = block.weight.abs().flatten(1).amax(1) / 127
    flip = np.sign(block.norm.weight.detach().numpy())
    np.testing.assert_allclose(first[1], (block.norm.running_var.sqrt() / step).detach().numpy(), rtol=0.35)
    np.testing.assert_allclose(
        first[0], flip * (block.norm.running_mean / step).detach().numpy(), rtol=0, atol=0.35 * first[1].max()
    )
    modelfile.save(modelfile.Model({"coarse": stage, "fine": after}, LABELS, PANCREAS, {}), tmp_path / "model.npz")
    read = modelfile.load(tmp_path / "model.npz")
    assert (read.stages["coarse"].adaptation, read.stages["fine"].adaptation) == (0.0, 0.5)
    np.testing.assert_array_equal(read.stages["fine"].weights["enc1"].usual, after.weights["enc1"].usual)


def test_the_proof_of_an_export_compares_thresholds_as_usual(network):
    levels = np.random.default_rng(5).integers(-127, 128, (16, 24, 32)).astype(np.int8)
    stage = export_stage(network, 2.0)
    found = drain(Network(stage.graph, stage.weights).run(levels)).margin
    np.testing.assert_array_equal(found, torch_margin(network, levels))


def test_fine_networks_are_trained_to_adapt_and_coarse_ones_are_not():
    assert {name: settings.adaptation for name, settings in PRESETS.items()} == {
        "coarse": 0.0, "fine": 0.5, "full": 0.5, "paper": 0.0, "tune": 0.5,
    }  # fmt: skip


def test_organs_swell_and_shrink_and_drag_their_neighbours_along():
    axes = [torch.arange(n, dtype=torch.float32) for n in (40, 40, 40)]
    still = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    labels = torch.zeros(40, 40, 40, dtype=torch.uint8)
    labels[12:28, 12:28, 12:28] = 5
    sizes = []
    for seed in range(12):
        moved = swollen(still, labels, 1.5, np.random.default_rng(seed))
        assert float((moved - still).norm(dim=0).max()) < 20
        at = moved.round().long().clamp(0, 39)
        sizes.append(int((labels[at[0], at[1], at[2]] == 5).sum()))
        again = swollen(still, labels, 1.5, np.random.default_rng(seed))
        assert torch.equal(moved, again)
    whole = 16**3
    assert min(sizes) < 0.9 * whole < 1.1 * whole < max(sizes)


def test_nothing_swells_where_nothing_is_drawn():
    points = torch.rand(3, 16, 16, 16) * 15
    labels = torch.full((16, 16, 16), 255, dtype=torch.uint8)
    assert torch.equal(swollen(points, labels, 1.5, np.random.default_rng(0)), points)
