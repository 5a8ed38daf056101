"""The layer graph: plain data that the torch trainer and the bit-packed engine both execute.

Every hidden tensor is ternary. The input is a volume of integer HU levels whose 2×2×2 blocks are folded into eight
channels, so that all layers work at half the grid's resolution or coarser; the head unfolds its scores again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

Kind = Literal["first", "conv", "pool", "upsample", "concat", "head"]

INPUT = "input"
FOLD = 2
"""Edge of the blocks folded into channels; channel of block voxel (dz, dy, dx) is 4·dz + 2·dy + dx."""
FOLDED_CHANNELS = FOLD**3


@dataclass(frozen=True)
class Layer:
    """One node of the graph.

    Attributes:
        name: what later layers call it.
        kind: ``first`` (integer levels × integer weights), ``conv`` (ternary × ternary), ``pool`` (2×2×2 maximum),
            ``upsample`` (nearest, ×2), ``concat`` (of channels) or ``head`` (ternary features × integer weights).
        inputs: names of the tensors it reads.
        channels: output channels; for the head, number of labels × 8 block voxels, label-major.
        kernel: 1 or 3, of ``first``, ``conv`` and ``head``.
        stride: 1 or 2, of ``conv``.
        trits: output channels that are made of each sum, by as many pairs of thresholds, of ``first`` and ``conv``:
            first those of every sum's first pair, then those of the second.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    channels: int
    kernel: int = 3
    stride: int = 1
    trits: int = 1

    @property
    def sums(self) -> int:
        """Number of sums for each voxel, one set of weights each."""
        return self.channels // self.trits


@dataclass(frozen=True)
class Graph:
    """Layers in the order of execution; the last one is the head."""

    layers: tuple[Layer, ...]

    def input_channels(self, layer: Layer) -> int:
        """Number of channels a layer reads, over all its inputs."""
        return sum(FOLDED_CHANNELS if name == INPUT else self[name].channels for name in layer.inputs)

    @cached_property
    def _named(self) -> dict[str, Layer]:
        return {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> Layer:
        return self._named[name]

    def scale(self, name: str) -> int:
        """Edge of one voxel of a tensor in voxels of the working grid."""
        if name == INPUT:
            return FOLD
        layer = self[name]
        scale = self.scale(layer.inputs[0])
        if layer.kind == "upsample":
            return scale // 2
        return scale * (2 if layer.kind == "pool" else layer.stride)

    @property
    def multiple(self) -> int:
        """What each side of the working grid must be divisible by."""
        return max(self.scale(layer.name) for layer in self.layers)

    @property
    def bottleneck(self) -> str:
        """Name of the deepest tensor: the last one on the coarsest grid, from which the decoder starts.

        Examples:
            >>> unet((32, 64, 64), labels=9).bottleneck
            'enc2'
        """
        return max(reversed(self.layers), key=lambda layer: self.scale(layer.name)).name

    def up_to(self, name: str) -> Graph:
        """The layers that one tensor depends on, ending with the layer that makes it.

        Raises:
            KeyError: no layer has this name.

        Examples:
            >>> [layer.name for layer in unet((32, 64), labels=9).up_to("enc1").layers]
            ['first', 'enc0', 'down1', 'enc1']
        """
        wanted = {name}
        for layer in reversed(self.layers):
            if layer.name in wanted:
                wanted.update(layer.inputs)
        kept = tuple(layer for layer in self.layers if layer.name in wanted)
        if not kept:
            raise KeyError(f"no layer is called {name!r}; there are {[layer.name for layer in self.layers]}")
        return Graph(kept)

    def with_trits(self, trits: int) -> Graph:
        """The same layers with several ternary channels made of each sum; the head's outputs stay as they are.

        Examples:
            >>> graph = unet((32, 64), labels=9).with_trits(2)
            >>> graph["enc1"].channels, graph["enc1"].sums, graph["scores"].channels
            (128, 64, 72)
        """
        return Graph(
            tuple(
                layer
                if layer.kind == "head"
                else replace(
                    layer,
                    channels=layer.channels * trits,
                    trits=layer.trits * trits if layer.kind in ("first", "conv") else 1,
                )
                for layer in self.layers
            )
        )

    @property
    def trits(self) -> int:
        """Trits that hidden layers make of each sum."""
        return max(layer.trits for layer in self.layers)

    def single(self) -> Graph:
        """The inverse of :meth:`with_trits`: the layers as training knows them, one channel for each sum.

        Examples:
            >>> graph = unet((32, 64), labels=9)
            >>> graph.with_trits(2).single() == graph
            True
        """
        trits = self.trits
        return Graph(
            tuple(
                layer if layer.kind == "head" else replace(layer, channels=layer.channels // trits, trits=1)
                for layer in self.layers
            )
        )

    def trit_sources(self, layer: Layer, trits: int) -> list[int]:
        """Give the input channel of each trit that a layer reads once the engine makes several of each channel.

        Args:
            layer: one of these layers, which make one channel of each sum.
            trits: of each channel.

        Returns:
            trits·inputs indices, in the order in which trits are packed.

        Examples:
            >>> graph = unet((2, 3), labels=9)
            >>> graph.trit_sources(graph["down1"], 2), graph.trit_sources(graph["dec0"], 2)
            ([0, 1, 0, 1], [0, 1, 0, 1, 2, 3, 2, 3])
        """
        sources, start = [], 0
        for size in (size for name in layer.inputs for size in self._origins(name)):
            sources += trits * [*range(start, start + size)]
            start += size
        return sources

    def _origins(self, name: str) -> list[int]:
        """Channels of the convolutions whose outputs lie side by side in a tensor."""
        if name == INPUT or self[name].kind in ("first", "conv"):
            return [FOLDED_CHANNELS if name == INPUT else self[name].channels]
        return [size for source in self[name].inputs for size in self._origins(source)]

    def last_use(self) -> dict[str, int]:
        """Index of the last layer that reads each tensor, after which its buffer is free."""
        return {name: index for index, layer in enumerate(self.layers) for name in layer.inputs}

    def to_list(self) -> list[dict[str, Any]]:
        """Plain dictionaries, for JSON."""
        return [asdict(layer) for layer in self.layers]

    @staticmethod
    def from_list(items: list[dict[str, Any]]) -> Graph:
        """The inverse of :meth:`to_list`."""
        return Graph(tuple(Layer(**{**item, "inputs": tuple(item["inputs"])}) for item in items))


def unet(widths: tuple[int, ...], labels: int) -> Graph:
    """A 3D U-Net of ternary layers: strided convolutions down, nearest upsampling and concatenation up.

    Args:
        widths: channels at each level, finest (half the grid's resolution) first.
        labels: number of output labels, background included.

    Examples:
        >>> graph = unet((32, 64), labels=9)
        >>> [layer.name for layer in graph.layers]
        ['first', 'enc0', 'down1', 'enc1', 'narrow0', 'up0', 'skip0', 'dec0', 'features', 'scores']
        >>> graph.multiple
        4
    """
    layers = [Layer("first", "first", (INPUT,), widths[0]), Layer("enc0", "conv", ("first",), widths[0])]
    for level in range(1, len(widths)):
        down, width = f"down{level}", widths[level]
        layers.append(Layer(down, "conv", (f"enc{level - 1}",), width, stride=2))
        layers.append(Layer(f"enc{level}", "conv", (down,), width))
    deepest = len(widths) - 1
    source, channels = f"enc{deepest}", widths[deepest]
    for level in range(deepest - 1, -1, -1):
        width = widths[level]
        if channels != width:  # narrow before upsampling, where a convolution costs an eighth
            layers.append(Layer(f"narrow{level}", "conv", (source,), width))
            source = f"narrow{level}"
        layers.append(Layer(f"up{level}", "upsample", (source,), width))
        layers.append(Layer(f"skip{level}", "concat", (f"up{level}", f"enc{level}"), 2 * width))
        layers.append(Layer(f"dec{level}", "conv", (f"skip{level}",), width))
        source, channels = f"dec{level}", width
    # the head sees more than the last layer's few trits: they must tell eight voxels' labels apart
    layers.append(Layer("features", "concat", ("dec0", "skip0"), 3 * widths[0]))
    layers.append(Layer("scores", "head", ("features",), labels * FOLDED_CHANNELS, kernel=1))
    return Graph(tuple(layers))
