"""The torch side of the layer graph: the network that training updates and that export turns into integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from TernarySegmentLib.engine.adaptation import MOST_SPREAD
from TernarySegmentLib.engine.graph import FOLD, INPUT, Graph, Layer
from TernarySegmentLib.training.quantise import (
    Activations,
    Weights,
    activate,
    integer_codes,
    quantise_integer,
    quantise_weight,
)

MOST_CHANGE = 2 * math.log(MOST_SPREAD)
"""Of the logarithm of a variance, as much as the engine allows of a deviation."""


def fold(volume: Tensor) -> Tensor:
    """(B, 1, D, H, W) to (B, 8, D/2, H/2, W/2): each 2×2×2 block becomes eight channels, 4·dz + 2·dy + dx."""
    batch, _, depth, height, width = volume.shape
    blocks = volume.view(batch, depth // FOLD, FOLD, height // FOLD, FOLD, width // FOLD, FOLD)
    return blocks.permute(0, 2, 4, 6, 1, 3, 5).reshape(batch, FOLD**3, depth // FOLD, height // FOLD, width // FOLD)


def unfold(scores: Tensor, labels: int) -> Tensor:
    """(B, labels·8, D, H, W), label-major, to (B, labels, 2D, 2H, 2W): the inverse of :func:`fold` for each label."""
    batch, _, depth, height, width = scores.shape
    blocks = scores.view(batch, labels, FOLD, FOLD, FOLD, depth, height, width).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, labels, depth * FOLD, height * FOLD, width * FOLD)


class ScanNorm(nn.BatchNorm3d):
    """Batch normalisation that takes a part of each mean and variance from the volume itself.

    What is normalised so depends less on how one scan differs from those trained on: contrast agent, noise, fullness.
    Means are mixed as they are, variances by their logarithms.

    Args:
        channels: number of channels.
        adaptation: the volume's own part, 0 to 1; 0 is batch normalisation.
    """

    def __init__(self, channels: int, adaptation: float) -> None:
        super().__init__(channels)
        self.adaptation = adaptation

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W), each of the batch with its own statistics."""
        if not self.adaptation:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        own_variance, own_mean = torch.var_mean(x.float(), (2, 3, 4), correction=0)
        if self.training:
            mean = own_mean.mean(0)
            variance = (own_variance + (own_mean - mean).square()).mean(0)
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance, momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        # ln σ², the volume's against all scans'
        change = ((own_variance + self.eps).log() - (variance + self.eps).log()).clamp(-MOST_CHANGE, MOST_CHANGE)
        gain = self.weight * (variance + self.eps).rsqrt() * (-0.5 * self.adaptation * change).exp()
        offset = self.bias - gain * torch.lerp(mean.expand_as(own_mean), own_mean, self.adaptation)
        return x * gain[..., None, None, None] + offset[..., None, None, None]


class QuantisedConvolution(nn.Module):
    """Convolution with quantised weights, batch normalisation and the few-valued activation.

    ``beta`` is the continuation's steepness and is read at every forward pass; None is the hard step. ``flat`` kernels
    stay within a slice. ``dropout`` is the part of the channels that is zeroed at each step of training, ``adaptation``
    that of :class:`ScanNorm`.
    """

    def __init__(
        self,
        layer: Layer,
        inputs: int,
        weights: Weights,
        activations: Activations,
        flat: bool = False,
        trits: int = 1,
        dropout: float = 0.0,
        adaptation: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer, self.weights, self.activations, self.trits = layer, weights, activations, trits
        self.dropout = dropout
        kernel = (1 if flat else layer.kernel, layer.kernel, layer.kernel)
        self.weight = nn.Parameter(torch.empty(layer.channels, inputs, *kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.norm = ScanNorm(layer.channels, adaptation)
        self.beta: Tensor | None = None

    def quantised(self) -> Tensor:
        """The weight the forward pass sees."""
        if self.layer.kind == "first":
            return self.weight if self.weights == "full" else quantise_integer(self.weight, per_channel=True)
        return quantise_weight(self.weight, self.weights)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to (B, channels, D/stride, H/stride, W/stride)."""
        padding = [size // 2 for size in self.weight.shape[2:]]
        summed = F.conv3d(x, self.quantised(), stride=self.layer.stride, padding=padding)
        activated = activate(self.norm(summed), self.activations, self.beta, self.trits)
        return F.dropout3d(activated, self.dropout, self.training) if self.dropout else activated


class Head(nn.Module):
    """1×1×1 convolution to label scores with 8-bit integer weights that share one step, and an integer bias."""

    def __init__(self, layer: Layer, inputs: int, weights: Weights) -> None:
        super().__init__()
        self.weights = weights
        self.weight = nn.Parameter(torch.empty(layer.channels, inputs, 1, 1, 1))
        nn.init.normal_(self.weight, std=inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(layer.channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) to scores (B, channels, D, H, W)."""
        if self.weights == "full":
            return F.conv3d(x, self.weight, self.bias)
        _, step = integer_codes(self.weight, per_channel=False)
        bias = self.bias + ((self.bias / step).round() * step - self.bias).detach()
        return F.conv3d(x, quantise_integer(self.weight, per_channel=False), bias)


class SegmentationNetwork(nn.Module):
    """What training needs to know of a network: how volumes enter it and how its scores become volumes again.

    Attributes:
        blocks: convolutions by name; the last one is the head.
        multiple: what each side of a volume must be divisible by.
        context: voxels at each end of the z axis that are looked at but get no scores.
    """

    multiple: int
    context: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict()
        self.beta: Tensor
        self.register_buffer("beta", torch.tensor(1.0))

    def set_beta(self, beta: float | None) -> None:
        """Reach every activation with the continuation's β; None switches all of them to the hard step."""
        if beta is not None:
            self.beta.fill_(beta)
        for block in self.blocks.values():
            if isinstance(block, QuantisedConvolution):
                block.beta = None if beta is None else self.beta

    def to_input(self, levels: Tensor) -> Tensor:
        """HU levels in [-127, 127], (B, 1, D, H, W), as ``forward`` takes them."""
        raise NotImplementedError

    def to_targets(self, labels: Tensor) -> Tensor:
        """Labels (B, D, H, W) arranged as the scores are, without the label axis."""
        raise NotImplementedError

    def to_scores(self, output: Tensor) -> Tensor:
        """What ``forward`` gives as scores (B, labels, D - 2·context, H, W)."""
        raise NotImplementedError


class TernaryNetwork(SegmentationNetwork):
    """Executes a layer graph.

    Args:
        graph: the layers.
        weights: quantiser of the hidden layers' weights.
        activations: activation of every layer but the head.
        auxiliary: names of tensors that get a score head of their own while training (deep supervision).
        labels: number of output labels.
        trits: ternary channels that the engine makes of each channel here, see
            :func:`TernarySegmentLib.training.quantise.trit_edges`.
        dropout: part of the channels that each step of training leaves out, of tensors coarser than the finest.
        adaptation: part of each sum's mean and variance that is taken from the volume itself, see :class:`ScanNorm`.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Weights = "ternary",
        activations: Activations = "ternary",
        auxiliary: tuple[str, ...] = (),
        labels: int = 9,
        trits: int = 1,
        dropout: float = 0.0,
        adaptation: float = 0.0,
    ) -> None:
        super().__init__()
        self.adaptation = adaptation
        self.trits = trits
        self.graph, self.labels, self.multiple = graph, labels, graph.multiple
        for layer in graph.layers:
            inputs = graph.input_channels(layer)
            if layer.kind in ("first", "conv"):
                left_out = dropout if graph.scale(layer.name) > FOLD else 0.0
                self.blocks[layer.name] = QuantisedConvolution(
                    layer, inputs, weights, activations, trits=trits, dropout=left_out, adaptation=adaptation
                )
            elif layer.kind == "head":
                self.blocks[layer.name] = Head(layer, inputs, weights)
        self.auxiliary = nn.ModuleDict({name: nn.Conv3d(graph[name].channels, labels, 1) for name in auxiliary})

    def set_adaptation(self, adaptation: float) -> None:
        """Let every normalisation take this part of its statistics from the volume itself."""
        for block in self.blocks.values():
            if isinstance(block, QuantisedConvolution):
                block.norm.adaptation = adaptation

    def to_input(self, levels: Tensor) -> Tensor:
        return fold(levels)

    def to_targets(self, labels: Tensor) -> Tensor:
        return fold(labels[:, None])

    def to_scores(self, output: Tensor) -> Tensor:
        return unfold(output, self.labels)

    def forward(self, folded: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores of the folded volume, and those of the auxiliary heads (empty outside training).

        Args:
            folded: (B, 8, D, H, W) HU levels in [-127, 127], see :func:`fold`.

        Returns:
            (B, labels·8, D, H, W), label-major, and (B, labels, ...) for each auxiliary head.
        """
        tensors = {INPUT: folded}
        for layer in self.graph.layers:
            sources = [tensors[name] for name in layer.inputs]
            if layer.kind == "upsample":
                tensors[layer.name] = F.interpolate(sources[0], scale_factor=2.0, mode="nearest")
            elif layer.kind == "concat":
                tensors[layer.name] = torch.cat(sources, 1)
            elif layer.kind == "pool":
                tensors[layer.name] = F.max_pool3d(sources[0], 2)
            else:
                tensors[layer.name] = self.blocks[layer.name](sources[0])
        extra = [head(tensors[name]) for name, head in self.auxiliary.items()] if self.training else []
        return tensors[self.graph.layers[-1].name], extra
