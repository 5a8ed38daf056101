"""What is measured, section by section; each runs in a child process of its own and returns plain data."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from TernarySegmentLib.bench import contestants as engines
from TernarySegmentLib.bench import machine, sample, standin
from TernarySegmentLib.bench.measure import Timing, take_turns
from TernarySegmentLib.engine.bitplanes import FeatureMap
from TernarySegmentLib.engine.graph import FOLDED_CHANNELS, INPUT, Graph, Layer
from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.engine.network import Network, products

Data = dict[str, Any]


def _model(path: str | None) -> Model:
    from TernarySegmentLib.pipeline import DEFAULT_MODEL, load_model

    return load_model(Path(path) if path else DEFAULT_MODEL)


def stages(model: str | None = None) -> dict[str, list[str]]:
    """The networks to measure: see :func:`sample.alike`."""
    return sample.alike(_model(model))


def _levels(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def networks(
    stage: str, threads: int, rounds: int, budget_s: float, capped: bool, shrink: int, model: str | None = None
) -> Data:
    """One network through every engine, taking turns; and each engine's seconds in each layer."""
    found = _model(model)
    network = found.stages[stage]
    multiple = network.graph.multiple
    shape: tuple[int, int, int] = tuple(  # type: ignore[assignment]
        max(1, n // shrink // multiple) * multiple for n in sample.working_shape(stage, network)
    )
    levels, ready, remarks = _levels(shape), {}, {}
    for name in engines.NAMES:
        if not engines.installed(name):
            remarks[name] = "not installed"
        elif name == engines.TORCH_HALF and (capped or not machine.flags() & machine.BFLOAT16):
            remarks[name] = "no instructions"  # no cap leaves them; emulated, one run takes minutes
        elif capped and name in engines.UNCAPPED:
            remarks[name] = "no switch"
        else:
            ready[name] = engines.prepare(name, network, levels, threads)
    seconds = take_turns({name: each.run for name, each in ready.items()}, rounds, budget_s)
    slow = {name for name, spent in seconds.items() if min(spent) > budget_s}
    profiles = take_layers({name: each for name, each in ready.items() if name not in slow}, rounds, budget_s)
    openvino = ready.get(engines.OPENVINO_INT8)
    return {
        "stages": sample.alike(found)[stage],
        "spacing": network.spacing,
        "shape": shape,
        "GHz": clock() if engines.installed(engines.OURS) else None,
        "kinds": {layer.name: _kind(network.graph, layer) for layer in network.graph.layers},
        "products": {layer.name: products(network.graph, layer, shape) for layer in network.graph.layers},
        "seconds": {name: Timing.of(spent).as_dict() for name, spent in seconds.items()},
        "layers": profiles,
        "remarks": remarks,
        "int8 primitives": openvino.primitives() if isinstance(openvino, engines.OpenVino) else {},
    }


def clock() -> float:
    """Clock of the core under this load, in GHz: a chain of multiplications (3 cycles each) and XORs (1 cycle)."""
    import numba

    @numba.njit(nogil=True)
    def chain(length: int) -> np.uint64:
        value = np.uint64(12345)
        for index in range(length):
            value = (value * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(index)
        return value

    chain(10)
    length, seconds = 20_000_000, []
    for _ in range(5):
        started = time.perf_counter()
        chain(length)
        seconds.append(time.perf_counter() - started)
    return 4 * length / min(seconds) / 1e9


def _kind(graph: Graph, layer: Layer) -> str:
    """A layer's shape for people, e.g. ``32→64, 3×3×3, stride 2``."""
    if layer.kind in ("upsample", "pool", "concat"):
        return f"{layer.kind}, {layer.channels}"
    stride = f", stride {layer.stride}" if layer.stride > 1 else ""
    return f"{graph.input_channels(layer)}→{layer.channels}, {'×'.join([str(layer.kernel)] * 3)}{stride}"


def take_layers(ready: dict[str, engines.Contestant], rounds: int, budget_s: float) -> dict[str, dict[str, float]]:
    """Median seconds of each layer, by engine, taking turns again."""
    collected: dict[str, list[dict[str, float]]] = {name: [] for name in ready}

    def collect(name: str) -> Callable[[], object]:
        return lambda: collected[name].append(ready[name].layers())

    take_turns({name: collect(name) for name in ready}, max(3, rounds // 2), budget_s)
    return {
        name: {layer: float(np.median([run[layer] for run in runs])) for layer in runs[0]}
        for name, runs in collected.items()
    }


def footprint(model: str | None = None) -> Data:
    """Bytes of the networks' weights and of the tensors alive at once, packed and as float32 would need.

    ``float32`` holds what PyTorch holds, which copies what a concatenation joins; ``float32 planned`` joins as this
    engine does, without copies.
    """
    result: Data = {}
    found = _model(model)
    for name, names in sample.alike(found).items():
        stage = found.stages[name]
        graph, shape = stage.graph, sample.working_shape(name, stage)
        packed: dict[str, int] = {INPUT: int(np.prod([n // 2 + 2 for n in shape])) * FOLDED_CHANNELS}
        dense: dict[str, int] = {INPUT: 4 * int(np.prod(shape))}
        weights = {"packed": 0, "float32": 0}
        for layer in graph.layers:
            voxels: tuple[int, int, int] = tuple(n // graph.scale(layer.name) for n in shape)  # type: ignore[assignment]
            # the head's output, a label and a margin a voxel, is not counted on either side
            counted = layer.kind != "head"
            packed[layer.name] = FeatureMap.zeros(voxels, layer.channels).nbytes if counted else 0
            alike = graph.single()[layer.name]
            dense[layer.name] = 4 * int(np.prod(voxels)) * alike.channels if counted else 0
            parameters = stage.weights.get(layer.name)
            if parameters is not None:
                weights["packed"] += parameters.nbytes
                inputs = graph.single().input_channels(alike)
                weights["float32"] += 4 * alike.channels * (inputs * layer.kernel**3 + 1)
        weights["float32 planned"] = weights["float32"]
        activations = {
            "packed": alive_at_once(graph, packed, copies=False),
            "float32": alive_at_once(graph, dense, copies=True),
            "float32 planned": alive_at_once(graph, dense, copies=False),
        }
        result[name] = {"stages": names, "activations": activations, "weights": weights}
    return result


def alive_at_once(graph: Graph, sizes: dict[str, int], copies: bool) -> int:
    """The most bytes of tensors that are needed at the same time.

    Args:
        graph: the layers.
        sizes: bytes of each tensor.
        copies: whether a concatenation copies its inputs; else it keeps them alive as long as it is read itself.
    """
    sizes, last_use = dict(sizes), graph.last_use()
    if not copies:
        for layer in reversed(graph.layers):
            if layer.kind == "concat":
                sizes[layer.name] = 0
                for name in layer.inputs:
                    last_use[name] = max(last_use[name], last_use[layer.name])
    alive, largest = {INPUT}, 0
    for index, layer in enumerate(graph.layers):
        alive.add(layer.name)
        largest = max(largest, sum(sizes[tensor] for tensor in alive))
        alive -= {tensor for tensor in alive if last_use.get(tensor) == index}
    return largest


def peak_bytes() -> int:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Stopwatch:
    """Seconds spent in functions, by a name for people."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, name: str, started: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def on(self, owner: Any, attribute: str, name: str) -> Iterator[None]:
        """Wrap a function, or a method that is a generator, while the context lasts."""
        original = getattr(owner, attribute)

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                self.add(name, started)

        def timed_steps(*arguments: Any, **options: Any) -> Generator[Any, None, Any]:
            started = time.perf_counter()
            try:
                return (yield from original(*arguments, **options))
            finally:
                self.add(name, started)

        setattr(owner, attribute, timed_steps if attribute == "run" else timed)
        try:
            yield
        finally:
            setattr(owner, attribute, original)


def whole_run(ct: str, threads: int, model: str | None = None) -> Data:
    """``segment`` from file to file in this process, apart from Python's start: seconds by part, and peak memory."""
    from contextlib import ExitStack

    from TernarySegmentLib import pipeline
    from TernarySegmentLib.engine.network import load_kernels_meanwhile
    from TernarySegmentLib.imaging.files import reading, writing
    from TernarySegmentLib.pipeline import decide, job

    watch = _Stopwatch()
    loading = load_kernels_meanwhile()
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for owner, attribute, name in (
            (job, "check_ct", "checking"),
            (job, "load_model", "loading the model"),
            (decide, "to_grid", "resampling"),
            (Network, "run", "networks"),
            (decide, "largest_plausible", "components"),
            (job, "to_image", "restoring the grid"),
            (job, "measure", "measuring"),
        ):
            stack.enter_context(watch.on(owner, attribute, name))
        started = time.perf_counter()
        image = reading.read_ct(Path(ct))
        watch.add("reading", started)
        started = time.perf_counter()
        loading.join()
        watch.add("waiting for the kernels", started)
        begun = time.perf_counter()
        options = pipeline.Options(threads=threads, model=Path(model) if model else pipeline.DEFAULT_MODEL)
        result = pipeline.run(pipeline.segment(image, options))
        segmenting = time.perf_counter() - begun
        begun = time.perf_counter()
        writing.write_mask(result.mask, Path(folder) / "mask.nii.gz", provenance=result.model)
        watch.add("writing", begun)
    parts = dict(watch.seconds)
    inside = sum(parts.values()) - parts["reading"] - parts["writing"] - parts["waiting for the kernels"]
    parts["the rest"] = max(0.0, segmenting - inside)
    return {
        "size": image.GetSize(),
        "parts": parts,
        "total": sum(parts.values()),
        "found": result.found,
        "peak bytes": peak_bytes(),
    }


def synthetic_scan(path: str, slices: int) -> Data:
    """Write a 512×512×``slices`` scan: a synthetic abdomen, continued head- and footwards by repetition."""
    import SimpleITK as sitk

    from TernarySegmentLib.phantom import make_phantom

    ct = make_phantom(0).ct
    spacing = [extent * size / 512 for extent, size in zip(ct.GetSpacing()[:2], ct.GetSize()[:2], strict=True)]
    plane = sitk.Resample(
        ct, [512, 512, ct.GetSize()[2]], sitk.Transform(), sitk.sitkLinear, ct.GetOrigin(),
        [*spacing, ct.GetSpacing()[2]], ct.GetDirection(), -1024, sitk.sitkInt16,
    )  # fmt: skip
    array = sitk.GetArrayViewFromImage(plane)
    image = sitk.GetImageFromArray(np.take(array, np.arange(slices) % len(array), axis=0))
    image.SetSpacing([*spacing, 1.0])
    image.SetDirection(ct.GetDirection())
    sitk.WriteImage(image, path, True, 1)
    return {"size": image.GetSize(), "bytes": Path(path).stat().st_size}


def stand_in(threads: int, edge: int) -> Data:
    """Seconds of a float32 network of whole-body tools' size on the sample scan, extrapolated from one window."""
    window = standin.seconds_per_window(threads, edge)
    counts = {name: standin.windows(sample.SCAN_MM, spacing) for name, spacing in standin.SPACINGS.items()}
    return {
        "edge": edge,
        "extent mm": sample.SCAN_MM,
        "seconds per window": window,
        "windows": counts,
        "seconds": {name: count * window for name, count in counts.items()},
    }


def start_up(alone: bool = False) -> Data:
    """Seconds that the kernels add to a warm start, and those that other imports take.

    Args:
        alone: as on a computer where nothing but what the extra ``accelerate`` needs is installed; numba imports SciPy
            and coverage where it finds them.
    """
    if alone:
        sys.modules.update(dict.fromkeys(("scipy", "coverage")))  # type: ignore[arg-type]
    started = time.perf_counter()
    import SimpleITK  # noqa: F401

    imaging = time.perf_counter() - started
    from TernarySegmentLib.engine.network import load_kernels

    started = time.perf_counter()
    name = load_kernels().NAME
    return {
        "SimpleITK": imaging,
        "kernels": time.perf_counter() - started,
        "backend": name,
        "itk": version("SimpleITK"),
    }


SECTIONS: dict[str, Callable[..., Data]] = {
    each.__name__: each for each in (stages, networks, footprint, whole_run, synthetic_scan, stand_in, start_up)
}
