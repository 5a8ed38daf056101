"""The paper's 2.5D U-Net: it looks at 15 slices, every second of 29, to label the one in the middle.

After Heinrich et al. (TernaryNet, IJCARS 2018, arXiv 1801.09449). Two parts of the published network that feed
non-ternary values into ternary layers are replaced: average pooling by maximum pooling, bilinear by nearest
upsampling. Convolutions pad with zeros instead of shrinking the slice.

All slices of a patch that have their neighbours are labelled at once: slices are a tensor's depth, and no kernel
reaches from one to the next.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from TernarySegmentLib.engine.graph import Layer
from TernarySegmentLib.training.network import Head, QuantisedConvolution, SegmentationNetwork
from TernarySegmentLib.training.quantise import Activations, Weights

SLICES = 15
SLICE_STEP = 2


class SliceNetwork(SegmentationNetwork):
    """A U-Net of flat convolutions, two at each level, 1×1 at the coarsest.

    Args:
        widths: channels at each level; (32, 64, 128, 256) are the paper's.
        labels: number of output labels.
        weights, activations: quantisers of the hidden layers; first layer and head are 8-bit integers or full.
    """

    context = SLICES // 2 * SLICE_STEP

    def __init__(self, widths: tuple[int, ...], labels: int, weights: Weights, activations: Activations) -> None:
        super().__init__()
        self.depth = len(widths) - 1
        self.multiple = 2**self.depth

        def convolution(name: str, inputs: int, channels: int, kernel: int = 3) -> None:
            layer = Layer(name, "conv" if self.blocks else "first", (), channels, kernel)
            self.blocks[name] = QuantisedConvolution(layer, inputs, weights, activations, flat=True)

        channels = SLICES
        for level in range(self.depth):
            convolution(f"enc{level}a", channels, widths[level])
            convolution(f"enc{level}b", widths[level], widths[level + 1])
            channels = widths[level + 1]
        convolution("bottom_a", channels, channels, kernel=1)
        convolution("bottom_b", channels, channels, kernel=1)
        for level in reversed(range(self.depth)):
            skip, out = widths[level + 1], widths[max(level, 1)]
            convolution(f"dec{level}a", channels + skip, skip)
            convolution(f"dec{level}b", skip, out)
            channels = out
        self.blocks["scores"] = Head(Layer("scores", "head", (), labels, 1), channels, weights)

    def to_input(self, levels: Tensor) -> Tensor:
        """(B, 1, D, H, W) to (B, 15, D - 28, H, W): the channels are the slices around each one."""
        depth = levels.shape[2] - 2 * self.context
        if depth < 1:
            raise ValueError(
                f"A patch of {levels.shape[2]} slices is too thin; labelling one takes {2 * self.context + 1}."
            )
        stack = [levels[:, 0, start : start + depth] for start in range(0, 2 * self.context + 1, SLICE_STEP)]
        return torch.stack(stack, 1)

    def to_targets(self, labels: Tensor) -> Tensor:
        return labels[:, None, self.context : labels.shape[1] - self.context]

    def to_scores(self, output: Tensor) -> Tensor:
        return output

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 15, D, H, W) to scores (B, labels, D, H, W), and no auxiliary scores."""
        skips = []
        for level in range(self.depth):
            x = self.blocks[f"enc{level}b"](self.blocks[f"enc{level}a"](x))
            skips.append(x)
            x = F.max_pool3d(x, (1, 2, 2))
        x = self.blocks["bottom_b"](self.blocks["bottom_a"](x))
        for level in reversed(range(self.depth)):
            x = torch.cat([F.interpolate(x, scale_factor=(1.0, 2.0, 2.0), mode="nearest"), skips[level]], 1)
            x = self.blocks[f"dec{level}b"](self.blocks[f"dec{level}a"](x))
        return self.blocks["scores"](x), []
