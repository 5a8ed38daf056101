"""One network, prepared for each engine, with the time it spends in each layer."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from importlib import util
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from TernarySegmentLib.engine.graph import INPUT, Layer
from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.network import Backend, Network, drain, fold_levels

OURS, OURS_NUMPY = "TernarySegment numba", "TernarySegment NumPy"
TORCH, TORCH_HALF = "PyTorch float32", "PyTorch bfloat16"
ORT, ORT_INT8 = "ONNX Runtime float32", "ONNX Runtime int8"
OPENVINO, OPENVINO_INT8 = "OpenVINO float32", "OpenVINO int8"
NAMES = (OURS, OURS_NUMPY, TORCH, TORCH_HALF, ORT, ORT_INT8, OPENVINO, OPENVINO_INT8)

NEEDS = {
    OURS: ("numba",), OURS_NUMPY: (), TORCH: ("torch", "onnx"), TORCH_HALF: ("torch", "onnx"),
    ORT: ("onnxruntime", "onnx"), ORT_INT8: ("onnxruntime", "onnx"),
    OPENVINO: ("openvino", "onnx"), OPENVINO_INT8: ("openvino", "onnx"),
}  # fmt: skip

UNCAPPED = (ORT, ORT_INT8)
"""Engines without a switch for the instruction set."""


class Contestant(Protocol):
    """A network ready to run on one input."""

    def run(self) -> object:
        """One inference."""

    def layers(self) -> dict[str, float]:
        """Seconds in each layer of one more inference."""


def installed(name: str) -> bool:
    """True when the libraries that a contestant needs are there."""
    return all(util.find_spec(library) is not None for library in NEEDS[name])


class _TimedNetwork(Network):
    """The engine, with a stop-watch around each layer."""

    def __init__(self, stage: Stage, backend: Backend, threads: int) -> None:
        super().__init__(stage.graph, stage.weights, backend, threads)
        self.seconds: dict[str, float] = {}

    def _layer(
        self, pool: ThreadPoolExecutor, layer: Layer, tensors: dict[str, Any], grid_shape: tuple[int, ...], share: int
    ) -> Generator[float, None, None]:
        started = time.perf_counter()
        yield from super()._layer(pool, layer, tensors, grid_shape, share)
        self.seconds[layer.name] = time.perf_counter() - started


class Ours:
    """This engine."""

    def __init__(self, stage: Stage, levels: np.ndarray, threads: int, backend: Backend) -> None:
        self.network, self.levels = _TimedNetwork(stage, backend, threads), levels

    def run(self) -> object:
        """Levels to labels and margins: the only contestant whose time includes the decision."""
        return drain(self.network.run(self.levels))

    def layers(self) -> dict[str, float]:
        """See :class:`Contestant`."""
        self.run()
        return dict(self.network.seconds)


class Torch:
    """The sibling network in PyTorch, eager, in the faster of two memory layouts."""

    def __init__(self, stage: Stage, levels: np.ndarray, threads: int, half: bool) -> None:
        import torch

        from TernarySegmentLib.bench.onnx_export import sibling, single

        torch.set_num_threads(threads)
        stage = single(stage)
        self.stage, self.threads = stage, threads
        self.kind = torch.bfloat16 if half else torch.float32
        self.parameters = {}
        for name, weights in stage.weights.items():
            layer = sibling(weights)
            self.parameters[name] = (torch.from_numpy(layer.weight), torch.from_numpy(layer.bias).to(self.kind))
        self.source = torch.from_numpy(_network_input(levels) / 127)
        seconds = {}
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            self._use(layout)
            self.run()
            started = time.perf_counter()
            self.run()
            seconds[layout] = time.perf_counter() - started
        self._use(min(seconds, key=lambda layout: seconds[layout]))

    def _use(self, layout: Any) -> None:
        self.parameters = {
            name: (weight.to(self.kind).contiguous(memory_format=layout), bias)
            for name, (weight, bias) in self.parameters.items()
        }
        self.source = self.source.to(self.kind).contiguous(memory_format=layout)

    def run(self) -> object:
        """Folded levels to scores."""
        return self._execute({})

    def layers(self) -> dict[str, float]:
        """See :class:`Contestant`."""
        seconds: dict[str, float] = {}
        self._execute(seconds)
        return seconds

    def _execute(self, seconds: dict[str, float]) -> Any:
        import torch
        from torch.nn import functional as F

        torch.set_num_threads(self.threads)
        tensors = {INPUT: self.source}
        graph, last_use = self.stage.graph, self.stage.graph.last_use()
        with torch.inference_mode():
            for index, layer in enumerate(graph.layers):
                started = time.perf_counter()
                sources = [tensors[name] for name in layer.inputs]
                if layer.kind == "concat":
                    result = torch.cat(sources, 1)
                elif layer.kind == "upsample":
                    result = F.interpolate(sources[0], scale_factor=2.0, mode="nearest")
                elif layer.kind == "pool":
                    result = F.max_pool3d(sources[0], 2)
                else:
                    weight, bias = self.parameters[layer.name]
                    result = F.conv3d(sources[0], weight, bias, layer.stride, layer.kernel // 2)
                    if layer.kind != "head":
                        result = result.relu_()
                tensors[layer.name] = result
                for name in layer.inputs:
                    if last_use[name] == index:
                        del tensors[name]
                seconds[layer.name] = time.perf_counter() - started
        return tensors[graph.layers[-1].name]


class OnnxRuntime:
    """The exported sibling in ONNX Runtime."""

    def __init__(self, stage: Stage, levels: np.ndarray, threads: int, int8: bool) -> None:
        from TernarySegmentLib.bench.onnx_export import to_onnx

        self.content = to_onnx(stage, levels.shape, "int8" if int8 else "float").SerializeToString()
        self.threads, self.names = threads, [layer.name for layer in stage.graph.layers]
        self.feed = {INPUT: _network_input(levels) / 127}
        self.session = self._session(None)

    def _session(self, profile: str | None) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # waiting threads sleep instead of spinning: contestants share the cores
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        return onnxruntime.InferenceSession(self.content, options, providers=["CPUExecutionProvider"])

    def run(self) -> object:
        """Folded levels to scores."""
        return self.session.run(None, self.feed)

    def layers(self) -> dict[str, float]:
        """See :class:`Contestant`."""
        with tempfile.TemporaryDirectory() as folder:
            session = self._session(f"{folder}/profile")
            session.run(None, self.feed)  # the first run prepares buffers
            session.run(None, self.feed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        times: dict[str, list[float]] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                times.setdefault(event["name"], []).append(event["dur"] / 1e6)
        return _by_layer({name: values[-1] for name, values in times.items()}, self.names)


class OpenVino:
    """The exported sibling in OpenVINO."""

    def __init__(self, stage: Stage, levels: np.ndarray, threads: int, int8: bool) -> None:
        import openvino

        from TernarySegmentLib.bench.onnx_export import to_onnx

        content = to_onnx(stage, levels.shape, "int8" if int8 else "float").SerializeToString()
        self.names = [layer.name for layer in stage.graph.layers]
        self.feed = {INPUT: _network_input(levels) / 127}
        core = openvino.Core()
        model = core.read_model(content)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # float layers stay float32 where bfloat16 would be faster
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.request = core.compile_model(model, "CPU", settings).create_infer_request()
        profiled = core.compile_model(model, "CPU", {**settings, "PERF_COUNT": True})
        self.profiled = profiled.create_infer_request()

    def run(self) -> object:
        """Folded levels to scores."""
        return self.request.infer(self.feed, share_inputs=True, share_outputs=True)

    def layers(self) -> dict[str, float]:
        """See :class:`Contestant`."""
        self.profiled.infer(self.feed)
        self.profiled.infer(self.feed)
        times = {node.node_name: node.real_time.total_seconds() for node in self.profiled.get_profiling_info()}
        return _by_layer(times, self.names)

    def primitives(self) -> dict[str, str]:
        """Which implementation runs each convolution, as proof of the precision used."""
        self.profiled.infer(self.feed)
        return {
            node.node_name: node.exec_type
            for node in self.profiled.get_profiling_info()
            if node.node_type == "Convolution"
        }


def _network_input(levels: np.ndarray) -> np.ndarray:
    """float32 (1, 8, z/2, y/2, x/2)."""
    return np.ascontiguousarray(np.moveaxis(fold_levels(levels)[1:-1, 1:-1, 1:-1], -1, 0)[None], np.float32)


def _by_layer(seconds: dict[str, float], names: list[str]) -> dict[str, float]:
    """Sum a profile's nodes by the layer that their names begin with; engines prefix and suffix those."""
    result = dict.fromkeys(names, 0.0)
    for node, spent in seconds.items():
        for name in names:
            if f"{name}/" in node:
                result[name] += spent
                break
    return result


def prepare(name: str, stage: Stage, levels: np.ndarray, threads: int) -> Contestant:
    """A contestant, ready to run.

    Args:
        name: one of ``NAMES``.
        stage: the network.
        levels: int8 (z, y, x).
        threads: how many it may use.
    """
    makers: dict[str, Callable[[], Contestant]] = {
        OURS: lambda: Ours(stage, levels, threads, "numba"),
        OURS_NUMPY: lambda: Ours(stage, levels, threads, "numpy"),
        TORCH: lambda: Torch(stage, levels, threads, half=False),
        TORCH_HALF: lambda: Torch(stage, levels, threads, half=True),
        ORT: lambda: OnnxRuntime(stage, levels, threads, int8=False),
        ORT_INT8: lambda: OnnxRuntime(stage, levels, threads, int8=True),
        OPENVINO: lambda: OpenVino(stage, levels, threads, int8=False),
        OPENVINO_INT8: lambda: OpenVino(stage, levels, threads, int8=True),
    }
    return makers[name]()
