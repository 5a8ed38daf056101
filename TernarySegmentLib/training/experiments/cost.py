"""What a quantised network needs at inference: bytes of weights, bytes of activations, products by kind."""

from __future__ import annotations

from dataclasses import dataclass

from TernarySegmentLib.engine.graph import FOLD, INPUT, Graph, Layer
from TernarySegmentLib.engine.network import products as dense_products
from TernarySegmentLib.training.quantise import Activations, Weights

WEIGHT_BITS: dict[Weights, int] = {"full": 32, "ternary": 2, "binary": 1}
ACTIVATION_BITS: dict[Activations, int] = {"relu": 32, "ternary": 2, "binary": 1}
CHANNEL_BYTES: dict[Activations, int] = {"relu": 8, "ternary": 8, "binary": 4}
"""Batch norm folded with the activation: a scale and a shift in float32, or one int32 for each threshold."""
INTEGER_BITS = 8
"""Of an input level, and of a weight of the first and the last layer where they are quantised."""


@dataclass(frozen=True)
class Cost:
    """Of one pass over a volume.

    Attributes:
        model_bytes: weights as bits, thresholds and biases; what a file holds before compression.
        activation_bytes: the largest sum of tensors that must be kept between two layers, scores not included.
        float_products, integer_products, bit_products: of two float32, of integers of 8 bits or less, of two values
            in {-1, 0, +1}, which is an exclusive-or and a population count.
    """

    model_bytes: int
    activation_bytes: int
    float_products: int
    integer_products: int
    bit_products: int


def cost(graph: Graph, weights: Weights, activations: Activations, size: tuple[int, int, int]) -> Cost:
    """The cost of a network on a volume.

    Args:
        graph: its layers.
        weights, activations: its quantisers.
        size: of the working grid in voxels; each side a multiple of the network's stride.
    """
    products = {"float": 0, "integer": 0, "bit": 0}
    model = 0
    for layer in graph.layers:
        if layer.kind in ("first", "conv", "head"):
            taps = graph.input_channels(layer) * layer.channels * layer.kernel**3
            kind = _kind(layer, weights, activations)
            products[kind] += dense_products(graph, layer, size)
            bits = WEIGHT_BITS[weights] if layer.kind == "conv" or weights == "full" else INTEGER_BITS
            model += taps * bits // 8 + layer.channels * (4 if layer.kind == "head" else CHANNEL_BYTES[activations])
    peak = _peak_bits(graph, activations, size) // 8
    return Cost(model, peak, products["float"], products["integer"], products["bit"])


def _kind(layer: Layer, weights: Weights, activations: Activations) -> str:
    if weights == "full" or (activations == "relu" and layer.kind != "first"):
        return "float"
    return "bit" if layer.kind == "conv" else "integer"


def _voxels(graph: Graph, name: str, size: tuple[int, int, int]) -> int:
    scale = graph.scale(name)
    return (size[0] // scale) * (size[1] // scale) * (size[2] // scale)


def _peak_bits(graph: Graph, activations: Activations, size: tuple[int, int, int]) -> int:
    """Bits of the tensors alive while a layer runs, at the worst layer."""
    bits = {INPUT: INTEGER_BITS * FOLD**3 * _voxels(graph, INPUT, size)}
    last_use, peak = graph.last_use(), 0
    for index, layer in enumerate(graph.layers[:-1]):
        bits[layer.name] = ACTIVATION_BITS[activations] * layer.channels * _voxels(graph, layer.name, size)
        peak = max(peak, sum(bits.values()))
        bits = {name: value for name, value in bits.items() if last_use[name] > index}
    return peak
