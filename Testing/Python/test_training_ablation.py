"""The ablation: equal budgets, resumable, costs counted from the layer graph, no claims within the seeds' spread."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")

from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.engine.graph import Graph, Layer, unet  # noqa: E402
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights  # noqa: E402
from TernarySegmentLib.training.batchnorm import reestimate_batch_norms  # noqa: E402
from TernarySegmentLib.training.data import PatchSampler  # noqa: E402
from TernarySegmentLib.training.experiments import ablation as module  # noqa: E402
from TernarySegmentLib.training.experiments.ablation import FULL, VARIANTS, Outcome, Variant, ablation, comparison  # noqa: E402
from TernarySegmentLib.training.experiments.cost import cost  # noqa: E402
from TernarySegmentLib.training.export import export_stage  # noqa: E402
from TernarySegmentLib.training.runs import build  # noqa: E402
from TernarySegmentLib.training.settings import LABELS  # noqa: E402


def test_variants_differ_in_quantisation_and_schedule_only():
    free = {"weights", "activations", "schedule", "continuation_share"}
    budgets = {
        tuple((name, value) for name, value in vars(variant.settings).items() if name not in free)
        for variant in VARIANTS
    }
    assert len(budgets) == 1
    assert len({variant.name for variant in VARIANTS}) == len({variant.settings for variant in VARIANTS}) == 5


def test_full_precision_takes_four_bytes_a_weight():
    network = build(FULL.settings)
    weights = sum(
        p.numel() for name, p in network.blocks.named_parameters() if name.endswith(".weight") and p.dim() == 5
    )
    channels = sum(layer.channels for layer in network.graph.layers if layer.kind in ("first", "conv"))
    head = network.graph.layers[-1].channels
    assert cost(network.graph, "full", "relu", (32, 32, 32)).model_bytes == 4 * weights + 8 * channels + 4 * head


def test_counted_bytes_of_a_ternary_network_are_those_the_engine_holds():
    settings = TINY.changed(widths=(64, 64, 128))
    network = build(settings)
    reestimate_batch_norms(network, PatchSampler([toy_case(1)], settings), 1)
    held = 0
    for layer in export_stage(network, 4.0).weights.values():
        if isinstance(layer, ConvolutionWeights):
            held += sum(a.nbytes for a in (layer.nonzero, layer.negative, layer.low, layer.high))
        elif isinstance(layer, FirstWeights):  # integers of 8 bits, kept as float32 for the kernels
            held += layer.taps.size + layer.low.nbytes + layer.high.nbytes
        elif isinstance(layer, HeadWeights):
            held += layer.matrix.size + layer.bias.nbytes
    assert cost(network.graph, "ternary", "ternary", (32, 32, 32)).model_bytes == held


def test_products_are_counted_once_and_by_kind():
    graph = unet((4, 8), len(LABELS))
    counted = 0
    network = build(TINY.changed(widths=(4, 8)))
    for block in network.blocks.values():

        def count(module_, inputs, output):
            nonlocal counted
            counted += output[0].numel() * module_.weight[0].numel()

        block.register_forward_hook(count)
    network(torch.zeros(1, 8, 8, 8, 16))
    for weights, activations in (("full", "relu"), ("ternary", "relu"), ("ternary", "ternary"), ("binary", "binary")):
        needs = cost(graph, weights, activations, (16, 16, 32))
        assert needs.float_products + needs.integer_products + needs.bit_products == counted
    assert cost(graph, "full", "relu", (16, 16, 32)).float_products == counted
    assert cost(graph, "ternary", "ternary", (16, 16, 32)).float_products == 0
    assert cost(graph, "ternary", "relu", (16, 16, 32)).bit_products == 0


def test_activations_are_counted_while_something_still_reads_them():
    chain = Graph((
        Layer("first", "first", ("input",), 16), Layer("a", "conv", ("first",), 16), Layer("b", "conv", ("a",), 16),
        Layer("scores", "head", ("b",), 72, kernel=1),
    ))  # fmt: skip
    voxels = 8**3
    two_tensors = 2 * 16 * voxels * 4
    assert cost(chain, "full", "relu", (16, 16, 16)).activation_bytes == two_tensors
    layers = list(chain.layers)
    layers[-1] = Layer("scores", "head", ("b", "first"), 72, kernel=1)  # a skip keeps the first tensor alive
    assert cost(Graph(tuple(layers)), "full", "relu", (16, 16, 16)).activation_bytes == 3 * 16 * voxels * 4
    # with two bits a value the 8-bit input and the tensor made from it are the largest pair
    ternary = cost(chain, "ternary", "ternary", (16, 16, 16)).activation_bytes
    assert ternary == voxels * (8 * 8 + 2 * 16) // 8


def test_one_command_trains_all_variants_resumes_and_reports(tmp_path, monkeypatch):
    small = tuple(
        Variant(v.title, v.name, v.settings.changed(widths=(4, 6), patch=(16, 16, 16), batch=1)) for v in VARIANTS
    )
    monkeypatch.setattr(module, "VARIANTS", small)
    cases, report = [toy_case(1), toy_case(2)], tmp_path / "docs" / "ablation.md"

    def go() -> list[str]:
        return list(ablation(cases, [toy_case(3)], tmp_path / "runs", report, steps=2, seeds=range(2)))

    lines = go()
    assert sum("step 2:" in line for line in lines) == 10
    text = report.read_text()
    assert all(f"| {variant.title} |" in text for variant in small)
    assert report.with_suffix(".png").stat().st_size > 10_000
    assert len(go()) == 1, "nothing is trained twice"
    assert report.read_text() == text


def test_one_seed_shows_nothing():
    said = comparison(outcome(0.5), outcome(0.1), "This against that")
    assert said == "This against that: +0.400 Dice with one seed each; how far equal runs lie apart is not known."


def outcome(*finals: float) -> Outcome:
    return Outcome(FULL, tuple({1: dice} for dice in finals), 1.0)


@pytest.mark.parametrize(
    ("one", "other", "shown"), [((0.5, 0.52), (0.3, 0.32), True), ((0.5, 0.2), (0.3, 0.32), False)]
)
def test_a_difference_is_claimed_only_beyond_the_spread_of_the_seeds(one, other, shown):
    said = comparison(outcome(*one), outcome(*other), "This against that")
    assert ("nothing is shown" not in said) == shown
    assert f"{np.mean(one) - np.mean(other):+.3f}" in said
