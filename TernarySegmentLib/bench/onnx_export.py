"""A network as an ONNX model, so that other engines can run it.

Three forms of the same layers:

- ``ternary``: float32 that computes exactly what the integer engine computes, ternary step included; its scores are
  the engine's scores, integer for integer.
- ``float``: the network's full-precision sibling, convolution, bias and ReLU instead of the two thresholds. It is what
  a user would have without quantisation, and the form that other engines run fastest (they fuse ReLU, not the step).
- ``int8``: the sibling with 8-bit weights (one scale per channel) and 8-bit activations, as QuantizeLinear and
  DequantizeLinear pairs, which ONNX Runtime and OpenVINO turn into integer convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from TernarySegmentLib.engine.graph import FOLDED_CHANNELS, INPUT, Layer
from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, LayerWeights

Form = Literal["ternary", "float", "int8"]

OPSET = 17
ACTIVATION_STEP = 1 / 32
"""Of the 8-bit form: values up to 8 are distinguished; the sibling's rarely exceed that."""
LEVEL_STEP = 1 / 127
"""Of the 8-bit form's input: the levels' range, scaled to ±1 in the sibling."""


def single(stage: Stage) -> Stage:
    """Leave one trit of each sum: the layers of a full-precision sibling, whose channels have no several trits."""
    graph, weights = stage.graph.single(), dict(stage.weights)
    if graph == stage.graph:
        return stage
    for layer in graph.layers:
        if layer.kind not in ("conv", "first", "head"):
            continue
        kept, once = weights[layer.name], np.unique(graph.trit_sources(layer, stage.graph.trits), return_index=True)[1]
        if isinstance(kept, HeadWeights):
            weights[layer.name] = replace(kept, matrix=kept.matrix[once])
            continue
        low, high = kept.low[: kept.sums], kept.high[: kept.sums]
        if isinstance(kept, FirstWeights):
            weights[layer.name] = FirstWeights(kept.taps, low, high)
        else:
            ternary = codes(kept).astype(np.int8)[:, once]
            weights[layer.name] = ConvolutionWeights.from_codes(ternary, low, high, kept.stride)
    return replace(stage, graph=graph, weights=weights)


def codes(weights: LayerWeights) -> np.ndarray:
    """The integer weights of a layer, float32 (channels, inputs, k, k, k) as ONNX and torch order them."""
    if isinstance(weights, HeadWeights):
        return np.ascontiguousarray(weights.matrix.T[:, :, None, None, None])
    dense = weights.taps if isinstance(weights, FirstWeights) else weights.dense()
    return np.ascontiguousarray(dense.transpose(4, 3, 0, 1, 2))


@dataclass(frozen=True)
class FloatWeights:
    """A convolution of the full-precision sibling.

    Attributes:
        weight: float32 (channels, inputs, k, k, k), the integer codes times ``scale``.
        scale: float32 (channels,).
        bias: float32 (channels,).
    """

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


def sibling(weights: LayerWeights) -> FloatWeights:
    """The layer in full precision, scaled so that the sums stay as large as the inputs."""
    integer = codes(weights)
    # 0.6: what ReLU's positive mean adds to the sums of these trained codes, layer after layer, is taken off again
    scale = (0.6 / np.sqrt((integer.reshape(len(integer), -1) ** 2).sum(1).clip(1))).astype(np.float32)
    bias = np.full(len(integer), 0.01, np.float32)
    return FloatWeights(integer * scale[:, None, None, None, None], scale, bias)


class _Builder:
    """Collects nodes and constants; every node is named ``<layer>/<role>``, so that profiles can be read by layer."""

    def __init__(self, stage: Stage, form: Form) -> None:
        self.stage, self.form = stage, form
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operation: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def convolution(self, layer: Layer, source: str) -> str:
        weights = self.stage.weights[layer.name]
        summands = [source, self._weight(layer, weights)]
        if self.form == "ternary":
            if isinstance(weights, HeadWeights):
                summands.append(self.constant(f"{layer.name}/bias", weights.bias.astype(np.float32)))
        else:
            summands.append(self.constant(f"{layer.name}/bias", sibling(weights).bias))
        return self.node(
            "Conv", summands, f"{layer.name}/conv", kernel_shape=[layer.kernel] * 3, strides=[layer.stride] * 3,
            pads=[layer.kernel // 2] * 6,
        )  # fmt: skip

    def _weight(self, layer: Layer, weights: LayerWeights) -> str:
        name = f"{layer.name}/weight"
        if self.form == "ternary":
            return self.constant(name, codes(weights))
        if self.form == "float":
            return self.constant(name, sibling(weights).weight)
        stored = self.constant(f"{name}_codes", codes(weights).astype(np.int8))
        scale = self.constant(f"{name}_scale", sibling(weights).scale)
        zero = self.constant(f"{name}_zero", np.zeros(layer.channels, np.int8))
        return self.node("DequantizeLinear", [stored, scale, zero], name, axis=0)

    def step(self, layer: Layer, sums: str) -> str:
        """What follows a hidden convolution: the two thresholds, or ReLU."""
        if self.form != "ternary":
            active = self.node("Relu", [sums], f"{layer.name}/relu")
            return self.quantised(active, layer.name, ACTIVATION_STEP, np.uint8) if self.form == "int8" else active
        weights = self.stage.weights[layer.name]
        assert isinstance(weights, FirstWeights | ConvolutionWeights)
        if weights.trits > 1:
            sums = self.node("Concat", [sums] * weights.trits, f"{layer.name}/trits", axis=1)
        signs = []
        for name, operation, limit in (("plus", "GreaterOrEqual", weights.high), ("minus", "LessOrEqual", weights.low)):
            bound = self.constant(f"{layer.name}/{name}_bound", limit.astype(np.float32)[None, :, None, None, None])
            reached = self.node(operation, [sums, bound], f"{layer.name}/{name}_reached")
            signs.append(self.node("Cast", [reached], f"{layer.name}/{name}", to=TensorProto.FLOAT))
        return self.node("Sub", signs, f"{layer.name}/step")

    def quantised(self, tensor: str, name: str, step: float, kind: type[np.generic]) -> str:
        scale = self.constant(f"{name}/step", np.array(step, np.float32))
        zero = self.constant(f"{name}/zero", np.array(0, kind))
        stored = self.node("QuantizeLinear", [tensor, scale, zero], f"{name}/quantised")
        return self.node("DequantizeLinear", [stored, scale, zero], f"{name}/value")


def to_onnx(stage: Stage, shape: tuple[int, int, int], form: Form = "ternary") -> onnx.ModelProto:
    """A stage's network as an ONNX model.

    Args:
        stage: the network.
        shape: (z, y, x) of the working grid, multiples of the network's stride.
        form: see the module's text.

    Returns:
        A checked model. Input ``input``: float32 (1, 8, z/2, y/2, x/2), the folded levels (``ternary``) or the levels
        divided by 127. Output ``scores``: float32 (1, labels·8, z/2, y/2, x/2), label-major.
    """
    if form != "ternary":
        stage = single(stage)
    graph, build = stage.graph, _Builder(stage, form)
    tensors = {INPUT: INPUT}
    if form == "int8":
        tensors[INPUT] = build.quantised(INPUT, "levels", LEVEL_STEP, np.int8)
    for layer in graph.layers:
        sources = [tensors[name] for name in layer.inputs]
        if layer.kind == "concat":
            tensors[layer.name] = build.node("Concat", sources, f"{layer.name}/concat", axis=1)
        elif layer.kind == "pool":
            tensors[layer.name] = build.node(
                "MaxPool", sources, f"{layer.name}/pool", kernel_shape=[2] * 3, strides=[2] * 3
            )
        elif layer.kind == "upsample":
            factors = build.constant(f"{layer.name}/factors", np.array([1, 1, 2, 2, 2], np.float32))
            tensors[layer.name] = build.node(
                "Resize", [sources[0], "", factors], f"{layer.name}/upsample", mode="nearest",
                coordinate_transformation_mode="asymmetric", nearest_mode="floor",
            )  # fmt: skip
        else:
            sums = build.convolution(layer, sources[0])
            tensors[layer.name] = sums if layer.kind == "head" else build.step(layer, sums)
    last = graph.layers[-1]
    folded = [n // 2 for n in shape]
    build.node("Identity", [tensors[last.name]], "scores")
    model = helper.make_model(
        helper.make_graph(
            build.nodes,
            f"TernarySegment {form}",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, FOLDED_CHANNELS, *folded])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, last.channels, *folded])],
            build.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def export_onnx(stage: Stage, shape: tuple[int, int, int], path: Path, form: Form = "ternary") -> None:
    """Write what :func:`to_onnx` makes."""
    onnx.save(to_onnx(stage, shape, form), str(path))
