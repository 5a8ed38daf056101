"""From the trained torch network to integers, with a proof that both decide alike."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from TernarySegmentLib.engine.graph import Graph
from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelcheck import LEAST_DEVIATION
from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.network import Network, drain
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, LayerWeights
from TernarySegmentLib.engine.thresholds import BatchNorm, fold
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.data import Case, divided
from TernarySegmentLib.training.network import Head, QuantisedConvolution, TernaryNetwork, unfold
from TernarySegmentLib.training.network import fold as fold_blocks
from TernarySegmentLib.training.quantise import integer_codes, ternary_codes, trit_edges
from TernarySegmentLib.training.runs import load_averaged, settings_of
from TernarySegmentLib.training.settings import LABELS, PANCREAS
from TernarySegmentLib.training.train import around_pancreas


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _batch_norm(block: QuantisedConvolution, scale: Tensor) -> BatchNorm:
    norm = block.norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return BatchNorm(
        _array(scale).ravel(), _array(norm.running_mean), _array(norm.running_var),
        _array(norm.weight), _array(norm.bias), norm.eps,
    )  # fmt: skip


def _usual(block: QuantisedConvolution, unit: Tensor, flip: np.ndarray) -> np.ndarray | None:
    """Mean and deviation of a layer's integer sums over the training patches, where its thresholds follow a scan."""
    if not block.norm.adaptation:
        return None
    norm = _batch_norm(block, unit)
    mean, deviation = norm.mean / norm.scale, np.sqrt(norm.variance + norm.epsilon) / norm.scale
    return np.stack([np.where(flip, -mean, mean), np.maximum(deviation, LEAST_DEVIATION)]).astype(np.float32)


def _convolution(block: QuantisedConvolution, graph: Graph) -> ConvolutionWeights:
    codes, alpha = ternary_codes(block.weight.double())
    # with every product ±1 the sum cannot exceed the number of nonzero weights of a channel, once for each trit
    largest = block.trits * int((codes != 0).flatten(1).sum(1).max())
    low, high, flip = fold(_batch_norm(block, alpha / block.trits), largest, trit_edges(block.trits))
    signed = _array(codes).astype(np.int8)
    signed[flip] *= -1
    signed = signed[:, graph.trit_sources(block.layer, block.trits)]
    usual = _usual(block, alpha / block.trits, flip)
    return ConvolutionWeights.from_codes(signed, low, high, block.layer.stride, usual)


def _first(block: QuantisedConvolution) -> FirstWeights:
    codes, step = integer_codes(block.weight.double(), per_channel=True)
    largest = int(127 * codes.abs().flatten(1).sum(1).max())
    low, high, flip = fold(_batch_norm(block, step), largest, trit_edges(block.trits))
    signed = _array(codes)
    signed[flip] *= -1
    taps = np.ascontiguousarray(signed.transpose(2, 3, 4, 1, 0), np.float32)
    return FirstWeights(taps, low, high, _usual(block, step, flip))


def _head(block: Head, network: TernaryNetwork) -> HeadWeights:
    codes, step = integer_codes(block.weight.double(), per_channel=False)
    bias = network.trits * (block.bias.double() / step).round()
    sources = network.graph.trit_sources(network.graph.layers[-1], network.trits)
    matrix = np.ascontiguousarray(_array(codes)[:, sources, 0, 0, 0].T, np.float32)
    return HeadWeights(matrix, _array(bias).astype(np.int32), len(LABELS), PANCREAS, float(step) / network.trits)


def export_stage(network: TernaryNetwork, spacing: float) -> Stage:
    """The integer network that equals a trained one with population batch-norm statistics.

    Raises:
        InputError: the network is not ternary in weights and activations.
    """
    weights: dict[str, LayerWeights] = {}
    for name, block in network.blocks.items():
        if isinstance(block, Head):
            weights[name] = _head(block, network)
            continue
        assert isinstance(block, QuantisedConvolution)
        if (block.weights, block.activations) != ("ternary", "ternary"):
            raise InputError(
                f"A network with {block.weights} weights and {block.activations} activations cannot be exported; "
                "only ternary ones can."
            )
        weights[name] = _first(block) if block.layer.kind == "first" else _convolution(block, network.graph)
    return Stage(spacing, network.graph.with_trits(network.trits), weights, adaptation=network.adaptation)


@torch.no_grad()
def torch_margin(network: TernaryNetwork, levels: np.ndarray) -> np.ndarray:
    """The pancreas' margin by torch in double precision, in units of the head's integer step, thresholds as usual.

    Args:
        network: in evaluation mode.
        levels: int8 (z, y, x).

    Returns:
        int64 (z, y, x).
    """
    exact = copy.deepcopy(network).double().eval()
    exact.set_adaptation(0.0)
    exact.set_beta(None)
    head = exact.blocks[exact.graph.layers[-1].name]
    _, step = integer_codes(head.weight, per_channel=False)  # type: ignore[arg-type]
    folded = fold_blocks(torch.from_numpy(levels.astype(np.float64))[None, None])
    scores = unfold(exact(folded)[0], len(LABELS))[0]
    scores = (scores / (step / network.trits)).round().long()
    others = scores[[label for label in range(len(LABELS)) if label != PANCREAS]].amax(0)
    return (scores[PANCREAS] - others).numpy()


def prove_equal(network: TernaryNetwork, stage: Stage, levels: np.ndarray) -> int:
    """Compare the exported integer network with the torch network on one volume, voxel by voxel.

    Where thresholds follow a scan, both are compared with those that they have on scans trained on: torch takes the
    mean of all sums, the engine that of some, which differ by some hundredths of the deviation.

    Args:
        network: the torch network in evaluation mode.
        stage: what :func:`export_stage` made of it.
        levels: int8 (z, y, x), sides multiples of the network's stride; a real patch.

    Returns:
        The number of pancreas voxels both agree on.

    Raises:
        ArithmeticError: they differ anywhere.
    """
    integer = drain(Network(stage.graph, stage.weights).run(levels)).margin
    differing = int((integer != torch_margin(network, levels)).sum())
    if differing:
        raise ArithmeticError(
            f"the exported network differs from the trained one in {differing} of {levels.size} voxels"
        )
    return int((integer > 0).sum())


def export_run(run: Path, cases: list[Case]) -> tuple[Stage, str]:
    """Export the averaged network of a training run and prove it on a validation case, if any.

    Args:
        run: the run's folder.
        cases: its prepared cases; batch-norm statistics come from those that were trained on.

    Returns:
        the stage, and a sentence on how it was made.
    """
    training, validation = divided(cases, settings_of(run).fold)
    judge = (validation or training)[0]
    network, settings, step = load_averaged(run, training, torch.device("cpu"))
    if not isinstance(network, TernaryNetwork):
        raise InputError(
            "The engine runs the 3D network only; a run on slices can be trained and judged, not exported."
        )
    stage = export_stage(network, settings.spacing)
    box = around_pancreas(judge, stage.graph.multiple)
    agreed = prove_equal(network, stage, hu_to_levels(judge.hu[box].numpy()))
    made = f"{step} of {settings.steps} steps, settings {settings.digest}, {settings.spacing:g} mm"
    return stage, f"{made}; equal to the torch network on case {judge.name} ({agreed} pancreas voxels)"
