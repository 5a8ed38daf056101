"""Where a training starts from: a model file's integers, or another run, whatever its precision.

A model file keeps neither the full-precision weights nor the batch-norm parameters. Both are made up again such that
the network decides exactly as the file does, or nearly so where a sum makes several trits, whose thresholds were each
rounded to integers. Training then moves them on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.data import PatchSampler
from TernarySegmentLib.training.network import (
    Head,
    QuantisedConvolution,
    SegmentationNetwork,
    TernaryNetwork,
    fold,
)
from TernarySegmentLib.training.quantise import trit_edges
from TernarySegmentLib.training.runs import CHECKPOINT, read_checkpoint

SIZE = 0.1
"""Magnitude of a nonzero full-precision weight: some 20 updates in one direction at the usual rate change its code."""
BATCHES = 8
NARROWEST = 0.1
"""Where the thresholds leave no sum to zero, the step from -1 to +1 is made this wide."""


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _convolution_weight(weights: FirstWeights | ConvolutionWeights) -> tuple[Tensor, float]:
    """Full-precision weight (out, in, k, k, k) whose codes are those stored, and what one unit of the sum is worth."""
    if isinstance(weights, FirstWeights):
        unit = SIZE / 127
        return _tensor(weights.taps.transpose(4, 3, 0, 1, 2)) * unit, unit
    return _tensor(weights.dense().transpose(4, 3, 0, 1, 2)) * SIZE, SIZE


def _centre(edges: list[tuple[float, float]]) -> float:
    """The value between the lowest edge and the highest one, where the trits' mean is zero."""
    return (edges[0][0] + edges[-1][1]) / 2


@torch.no_grad()
def start_from(network: TernaryNetwork, stage: Stage, sampler: PatchSampler, batches: int = BATCHES) -> None:
    """Give a network the weights of a model file's stage.

    Args:
        network: of the same layers; it may make several trits of a sum where the file makes one.
        stage: what the file holds.
        sampler: its patches say how the sums are distributed, which batch norm has to know.
        batches: as many of them.

    Raises:
        InputError: the layers differ.
    """
    fits = [trits for trits in (network.trits, 1) if network.graph.with_trits(trits) == stage.graph]
    if not fits:
        raise InputError("The model file has other layers than these settings; choose the preset it was trained with.")
    trits = fits[0]  # of the file: one trit a sum becomes several, finer steps of the same ramp
    edges, centre = trit_edges(trits), _centre(trit_edges(network.trits))
    gains: dict[str, tuple[Tensor, Tensor]] = {}
    for name, block in network.blocks.items():
        weights = stage.weights[name]
        layer = network.graph[name]
        once = np.unique(network.graph.trit_sources(layer, trits), return_index=True)[1]
        if isinstance(block, Head):
            assert isinstance(weights, HeadWeights)
            block.weight.copy_((_tensor(weights.matrix.T[:, once]) * weights.step * trits)[:, :, None, None, None])
            block.bias.copy_(_tensor(weights.bias) * weights.step)
            continue
        assert isinstance(block, QuantisedConvolution)
        assert isinstance(weights, FirstWeights | ConvolutionWeights)
        weight, unit = _convolution_weight(weights)
        if layer.kind == "conv":
            weight, unit = weight[:, once], unit / trits
        block.weight.copy_(weight)
        # y = slope·s + offset passes the outer edges half a unit before the sums that their thresholds name
        low, high = _tensor(weights.low[: weights.sums]) + 0.5, _tensor(weights.high[-weights.sums :]) - 0.5
        slope = (edges[-1][1] - edges[0][0]) / (high - low).clamp(min=NARROWEST)
        offset = centre - slope * (high + low) / 2
        gains[name] = (slope / unit, offset)
        norm = block.norm
        norm.reset_running_stats()
        norm.weight.copy_(gains[name][0] * (1 + norm.eps) ** 0.5)
        norm.bias.copy_(gains[name][1])
    _renormalise(network, gains, sampler, batches)


def start_from_run(network: SegmentationNetwork, run: Path) -> None:
    """Give a network the averaged weights of another run; a full-precision one may so become ternary.

    Args:
        network: of the same layers; its quantisers may differ.
        run: the run's folder.

    Raises:
        InputError: the folder holds no run that was saved, or one of other layers.
    """
    if not (run / CHECKPOINT).exists():
        raise InputError(f"{run} has no {CHECKPOINT}; name the folder of a run that was saved.")
    try:
        network.load_state_dict(read_checkpoint(run, network.beta.device)["average"])
    except RuntimeError as error:
        raise InputError(
            f"The run {run} has other layers than these settings; choose the preset it was trained with."
        ) from error


def _renormalise(
    network: TernaryNetwork, gains: dict[str, tuple[Tensor, Tensor]], sampler: PatchSampler, batches: int
) -> None:
    """Let batch norm hold the sums' true mean and variance and take them out of γ and β: training starts there."""
    network.eval()
    network.set_beta(None)
    network.set_adaptation(0.0)  # as the file decides where a scan is like those trained on
    sums: dict[str, list[Tensor]] = {name: [] for name in gains}

    handles = []
    for name in gains:
        norm = network.blocks[name].norm
        assert isinstance(norm, nn.BatchNorm3d)
        kept = sums[name]
        handles.append(
            norm.register_forward_pre_hook(
                lambda _, inputs, kept=kept: kept.append(torch.stack(torch.var_mean(inputs[0], (0, 2, 3, 4))))
            )
        )
    for index in range(batches):
        network(fold(sampler.batch(20_000_000 + index)[0].to(network.beta.device)))
    for handle in handles:
        handle.remove()
    network.set_adaptation(network.adaptation)
    for name, (gain, offset) in gains.items():
        norm = network.blocks[name].norm
        assert isinstance(norm, nn.BatchNorm3d)
        variance, mean = torch.stack(sums[name]).mean(0)
        norm.running_mean, norm.running_var = mean, variance
        norm.weight.copy_(gain * (variance + norm.eps).sqrt())
        norm.bias.copy_(offset + gain * mean)
