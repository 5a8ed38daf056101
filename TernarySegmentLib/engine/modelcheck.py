"""What must hold before a kernel touches a model: kernels read memory by the numbers that a file names.

A check sum only tells that a file is as it was written. Every type, range and shape is therefore compared with the
layer graph here, and the graph with what the engine can run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from TernarySegmentLib.engine.graph import FOLD, FOLDED_CHANNELS, INPUT, Graph, Kind, Layer

LABELS = ("background", "spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
"""What the networks tell apart, in the order of their scores."""
TARGET = LABELS.index("pancreas")

# The largest shipped network has 21 layers of at most 256 channels and 3.2 million weights: ten times that is room to
# grow, and as much as a laptop computes in a minute.
MOST_STAGES, MOST_LAYERS, MOST_CHANNELS, MOST_WEIGHTS, LARGEST_SCALE = 16, 100, 1024, 32_000_000, 32
MOST_TRITS = 4
SPACING_MM = (0.5, 10.0)
WINDOW_HU = (-2000.0, 4000.0)
LARGEST_WEIGHT = 127
LARGEST_USUAL = 2.0**24
"""Mean or deviation of a sum: none reaches it."""
LEAST_DEVIATION = 0.01
"""Of a sum; thresholds are moved by its ratio."""
LARGEST_BIAS = 2**22
"""Of the head: with 1024 inputs of at most 127 every score stays below 2^24, where float32 still counts by ones."""


class Unfit(ValueError):
    """What is wrong with a model, as the second half of a sentence that begins with the file's name."""


def require(condition: bool, what: str) -> None:
    """Raise :class:`Unfit` saying ``what`` unless the condition holds."""
    if not condition:
        raise Unfit(what)


def number(value: Any, what: str, low: float, high: float) -> float:
    """A finite number in a range.

    Raises:
        Unfit: it is none.
    """
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    require(fits and low <= value <= high, f"{what} is {shown(value)}, not a number from {low:g} to {high:g}")
    return float(value)


def whole(value: Any, what: str, allowed: range | tuple[int, ...]) -> int:
    """A whole number among those allowed.

    Raises:
        Unfit: it is none.
    """
    fits = isinstance(value, int) and not isinstance(value, bool) and value in allowed
    names = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
    require(fits, f"{what} is {shown(value)}, not {names}")
    return int(value)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        Unfit: it is none.
    """
    require(isinstance(value, dict), f"{what} is missing or no mapping")
    return dict(value)


def shown(value: Any) -> str:
    """A foreign value, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_labels(labels: Any, target: Any) -> None:
    """Refuse a network that decides about other labels, or would pass another organ off as the pancreas."""
    require(labels == list(LABELS), f"its labels are {shown(labels)}, not {', '.join(LABELS)}")
    whole(target, f"the target, {LABELS[TARGET]},", (TARGET,))


def read_graph(items: Any, stage: str) -> Graph:
    """The layers of a stage, in an order in which they can be computed.

    Raises:
        Unfit: the engine cannot run them.
    """
    require(isinstance(items, list) and 0 < len(items) <= MOST_LAYERS, f"stage {stage} has no list of layers")
    graph = Graph(())
    for item in items:
        layer = _read_layer(item, stage)
        graph = Graph((*graph.layers, _checked(layer, graph, stage)))
    last, read = graph.layers[-1], graph.last_use()
    require(last.kind == "head", f"stage {stage} does not end with its head")
    require(
        all(layer is last or layer.name in read for layer in graph.layers), f"a layer of stage {stage} is never read"
    )
    require(graph.multiple <= LARGEST_SCALE, f"stage {stage} works on voxels {graph.multiple} times its grid's")
    weights = sum(layer.sums * graph.input_channels(layer) * layer.kernel**3 for layer in weighted(graph))
    require(weights <= MOST_WEIGHTS, f"stage {stage} has {weights} weights, more than {MOST_WEIGHTS}")
    return graph


def weighted(graph: Graph) -> list[Layer]:
    """The layers that have parameters."""
    return [layer for layer in graph.layers if layer.kind in ("first", "conv", "head")]


def _read_layer(item: Any, stage: str) -> Layer:
    fields = mapping(item, f"a layer of stage {stage}")
    fields = {"trits": 1, **fields}  # left out before version 2
    require(
        set(fields) == set(Layer.__dataclass_fields__), f"a layer of stage {stage} has fields {shown(list(fields))}"
    )
    name, kind, inputs = fields["name"], fields["kind"], fields["inputs"]
    named = isinstance(name, str) and 0 < len(name) <= 40 and "/" not in name and name != INPUT
    require(named, f"a layer of stage {stage} is named {shown(name)}")
    what = f"layer {name} of stage {stage}"
    require(kind in get_args(Kind), f"{what} is of kind {shown(kind)}, not {', '.join(get_args(Kind))}")
    strings = isinstance(inputs, list) and all(isinstance(each, str) for each in inputs)
    require(strings, f"{what} reads {shown(inputs)}, not a list of layers")
    return Layer(
        name, kind, tuple(inputs),
        whole(fields["channels"], f"the channels of {what}", range(1, MOST_CHANNELS + 1)),
        whole(fields["kernel"], f"the kernel of {what}", (1, 3)),
        whole(fields["stride"], f"the stride of {what}", (1, 2)),
        whole(fields["trits"], f"the trits of {what}", range(1, MOST_TRITS + 1)),
    )  # fmt: skip


def _checked(layer: Layer, before: Graph, stage: str) -> Layer:
    """A layer that can be computed from those before it: what reads only backwards has no circle."""
    what, known = f"layer {layer.name} of stage {stage}", {each.name: each for each in before.layers}
    require(layer.name not in known, f"{what} is there twice")
    require(not known or before.layers[-1].kind != "head", f"{what} follows the head")
    if layer.kind == "first":
        require(layer.inputs == (INPUT,), f"{what} reads {shown(layer.inputs)}, not {INPUT}")
    else:
        unknown = [name for name in layer.inputs if name not in known]
        require(not unknown, f"{what} reads {shown(unknown)}, which no layer before it makes")
        count = len(set(layer.inputs))
        fits = count >= 2 if layer.kind == "concat" else count == 1
        require(fits and count == len(layer.inputs), f"{what}, of kind {layer.kind}, reads {shown(layer.inputs)}")
    scales = {before.scale(name) for name in layer.inputs}
    require(len(scales) == 1, f"{what} joins tensors of different sizes")
    scale, inputs = scales.pop(), before.input_channels(layer)
    require(layer.stride == 1 or layer.kind == "conv", f"{what}, of kind {layer.kind}, has stride {layer.stride}")
    if layer.trits > 1:
        require(layer.kind in ("first", "conv"), f"{what}, of kind {layer.kind}, makes {layer.trits} trits of a sum")
        fits = layer.channels % layer.trits == 0
        require(fits, f"{what} has {layer.channels} channels, not {layer.trits} of each sum")
    if layer.kind in ("pool", "upsample", "concat"):
        require(layer.channels == inputs, f"{what} has {layer.channels} channels and reads {inputs}")
        require(layer.kind != "upsample" or scale > FOLD, f"{what} is finer than the grid's blocks")
    elif layer.kind == "first":
        require(layer.kernel == 3, f"{what} has kernel {layer.kernel}, not 3")
    elif layer.kind == "head":
        outputs = len(LABELS) * FOLDED_CHANNELS
        require(layer.kernel == 1 and layer.channels == outputs, f"{what} has not {outputs} channels of kernel 1")
        require(scale == FOLD, f"{what} reads a tensor that is coarser than the grid's blocks")
    return layer


def check_arrays(layer: Layer, inputs: int, arrays: Mapping[str, np.ndarray], stage: str, adapts: bool = False) -> None:
    """Compare a layer's stored arrays with the graph: names, types, shapes and ranges.

    Args:
        layer: of the graph.
        inputs: channels that it reads.
        arrays: what is stored, by name.
        stage: named in what is said.
        adapts: whether the stage's thresholds follow the scan, for which the layer says what is usual.
    """
    what = f"layer {layer.name} of stage {stage}"
    octets = -(-(layer.kernel**3) * layer.sums * inputs // 8)
    thresholds: dict[str, tuple[str, tuple[int, ...]]]
    thresholds = {"low": ("int32", (layer.channels,)), "high": ("int32", (layer.channels,))}
    if adapts:
        thresholds["usual"] = "float32", (2, layer.sums)
    expected: dict[str, tuple[str, tuple[int, ...]]]
    if layer.kind == "first":
        expected = {"taps": ("int8", (3, 3, 3, inputs, layer.sums)), **thresholds}
    elif layer.kind == "conv":
        expected = {"nonzero": ("uint8", (octets,)), "negative": ("uint8", (octets,)), **thresholds}
    else:
        matrix, bias = (inputs, layer.channels), (layer.channels,)
        expected = {"matrix": ("int8", matrix), "bias": ("int32", bias), "step": ("float64", ())}
    require(set(arrays) == set(expected), f"{what} has arrays {shown(sorted(arrays))}, not {shown(sorted(expected))}")
    for name, (kind, shape) in expected.items():
        found = arrays[name]
        fits = found.dtype == np.dtype(kind) and found.shape == shape
        require(fits, f"{name} of {what} is {found.dtype} {found.shape}, not {kind} {shape}")
    _check_ranges(layer, inputs, arrays, what)


def _check_ranges(layer: Layer, inputs: int, arrays: Mapping[str, np.ndarray], what: str) -> None:
    for name in {"taps", "matrix"} & set(arrays):
        require(int(arrays[name].min()) >= -LARGEST_WEIGHT, f"{name} of {what} holds -128")
    if "low" in arrays:
        require(bool((arrays["low"] < arrays["high"]).all()), f"thresholds of {what} cross")
    if "usual" in arrays:
        fits = np.isfinite(arrays["usual"]).all() and np.abs(arrays["usual"]).max() <= LARGEST_USUAL
        require(bool(fits) and arrays["usual"][1].min() >= LEAST_DEVIATION, f"what is usual in {what} cannot be")
    if layer.kind == "conv":
        require(not (arrays["negative"] & ~arrays["nonzero"]).any(), f"{what} has weights that are negative and zero")
        unused = -(layer.kernel**3) * layer.sums * inputs % 8
        require(not arrays["nonzero"][-1] >> (8 - unused), f"{what} has bits beyond its weights")
    if layer.kind == "head":
        number(float(arrays["step"]), f"the step of {what}", 1e-9, 1e9)
        # in 64 bits: the magnitude of the smallest int32 is none
        bias = int(np.abs(arrays["bias"].astype(np.int64)).max())
        require(bias <= LARGEST_BIAS, f"{what} has a bias of {bias}, more than {LARGEST_BIAS}")
