"""Executing a layer graph on packed tensors: layer after layer, each cut into bands that a pool of threads computes.

A band (a few slices of one layer's output) reads its neighbours' halo from the finished layer below, so nothing is
computed twice and no seam can show, however the work is cut. Whole packed feature maps are small: 2 bits a value,
0.6 MB for 32 channels over a pancreas region. Progress and cancellation happen between bands.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import reduce
from itertools import pairwise
from threading import Thread
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np

from TernarySegmentLib.engine.adaptation import lattice, moved, statistics
from TernarySegmentLib.engine.bitplanes import HALO, FeatureMap, Joined, PackedVectors, maximum_pool, upsample
from TernarySegmentLib.engine.graph import FOLD, FOLDED_CHANNELS, INPUT, Graph, Layer
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, LayerWeights, Places
from TernarySegmentLib.engine.scores import Scores

BAND_SLICES = 4
"""In a band, at least, where there are enough for every thread."""

Backend = Literal["auto", "numba", "numpy"]
Outcome = TypeVar("Outcome")
Step = TypeVar("Step")
Passed = TypeVar("Passed")


class Kernels(Protocol):
    """What ``reference`` and ``kernels`` both offer."""

    NAME: str
    BAND_PRODUCTS: float
    """Products in one band, at least: below, handing out work costs more than it spreads."""

    def first(self, levels: np.ndarray, weights: FirstWeights, out: FeatureMap, rows: slice) -> None:
        """Integer levels × integer weights."""

    def convolve(self, source: FeatureMap | Joined, weights: ConvolutionWeights, out: FeatureMap, rows: slice) -> None:
        """Ternary × ternary."""

    def sums_at(
        self,
        source: np.ndarray | FeatureMap | Joined,
        weights: FirstWeights | ConvolutionWeights,
        places: Places,
        out: np.ndarray,
        index: int,
    ) -> None:
        """Sums of a layer at some places of one slice, before thresholds."""

    def head(self, source: FeatureMap | Joined, weights: HeadWeights, out: Scores, rows: slice) -> None:
        """Ternary × integer weights, reduced to a decision."""

    def dot_products(
        self, nonzero: np.ndarray, negative: np.ndarray, vectors: PackedVectors, out: np.ndarray, blocks: slice
    ) -> None:
        """Ternary vectors × ternary vectors."""


def load_kernels(backend: Backend = "auto") -> Kernels:
    """The kernels asked for; ``auto`` takes numba where it is installed and works, and NumPy elsewhere.

    Raises:
        ImportError: ``numba`` was asked for and is not installed.
    """
    if backend != "numpy":
        try:
            from TernarySegmentLib.engine import kernels

            return kernels
        except Exception:  # not installed, not for this NumPy, or a compiler that fails: the mask does not need it
            if backend == "numba":
                raise
    from TernarySegmentLib.engine import reference

    return reference


def load_kernels_meanwhile(backend: Backend = "auto") -> Thread:
    """Load compiled kernels in a thread while the scan is read: both take about as long.

    On a computer's first run nothing is compiled here: that is left to a child process.
    """

    def load() -> None:
        with suppress(Exception):  # without numba there is nothing to load; a load asked for will tell
            from TernarySegmentLib.engine import jit

            if jit.is_warm():
                load_kernels(backend)

    thread = Thread(target=load if backend != "numpy" else lambda: None, daemon=True)
    thread.start()
    return thread


def fold_levels(levels: np.ndarray) -> np.ndarray:
    """Levels (z, y, x), even sides, to bordered blocks int8 (D + 2, H + 2, W + 2, 8); the border is 0."""
    depth, height, width = (n // FOLD for n in levels.shape)
    # two neighbours along x move together: 0.2 ms, a transposition 2.2 ms, during which the other threads wait
    pairs = np.ascontiguousarray(levels, np.int8).view(np.int16)
    folded = np.zeros((depth + 2 * HALO, height + 2 * HALO, width + 2 * HALO, FOLDED_CHANNELS // FOLD), np.int16)
    for channel, (z, y) in enumerate(np.ndindex(FOLD, FOLD)):
        folded[HALO:-HALO, HALO:-HALO, HALO:-HALO, channel] = pairs[z::FOLD, y::FOLD]
    return folded.view(np.int8)


def products(graph: Graph, layer: Layer, grid_shape: tuple[int, ...]) -> int:
    """Number of dense products a layer stands for on a working grid of ``grid_shape`` voxels."""
    if layer.kind not in ("first", "conv", "head"):
        return 0
    voxels = int(np.prod([n // graph.scale(layer.name) for n in grid_shape]))
    return voxels * layer.sums * graph.input_channels(layer) * layer.kernel**3


def bands(length: int, count: int) -> list[slice]:
    """Cut ``range(length)`` into at most ``count`` runs of nearly equal length.

    Examples:
        >>> bands(10, 3)
        [slice(0, 3, None), slice(3, 6, None), slice(6, 10, None)]
    """
    edges = np.linspace(0, length, min(max(count, 1), length) + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]


class Network:
    """A graph, its weights and the kernels that compute it.

    Args:
        graph: the layers.
        weights: parameters of every ``first``, ``conv`` and ``head`` layer, by name.
        backend: see :func:`load_kernels`.
        threads: number of worker threads; 0 means all cores.
        band_products: products in one band, at least; None leaves it to the kernels, with ``BAND_SLICES`` slices
            or more. It never changes the result.
        adaptation: how far thresholds follow the volume, 0 to 1, see :mod:`adaptation`; a stage says what its network
            was trained with.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, LayerWeights],
        backend: Backend = "auto",
        threads: int = 0,
        band_products: float | None = None,
        adaptation: float = 0.0,
    ) -> None:
        self.graph, self.weights, self.adaptation = graph, weights, adaptation
        self.kernels = load_kernels(backend)
        self.threads = threads or os.cpu_count() or 1
        self.band_products = band_products or self.kernels.BAND_PRODUCTS
        self.band_slices = 1 if band_products else BAND_SLICES

    @property
    def score_step(self) -> float:
        """What one unit of a score is worth in the trained network's logits."""
        head = self.weights[self.graph.layers[-1].name]
        assert isinstance(head, HeadWeights)
        return head.step

    def run(self, levels: np.ndarray) -> Generator[float, None, Scores]:
        """Compute the scores of a volume; yields the finished fraction after every band.

        Args:
            levels: int8 (z, y, x) in [-127, 127], each side a multiple of ``graph.multiple``.

        Raises:
            ValueError: a side is no such multiple.
        """
        result: Scores = yield from self._compute(levels, self.graph)
        return result

    def observe(self, levels: np.ndarray, name: str) -> Generator[float, None, FeatureMap]:
        """Compute one inner tensor, and no layer that it does not depend on; yields the finished fraction.

        The trits are those that :meth:`run` computes on its way, the same on every back end.

        Args:
            levels: as in :meth:`run`.
            name: of a layer other than the head, e.g. ``graph.bottleneck``.

        Raises:
            KeyError: no layer has this name.
            ValueError: ``name`` is the head, or a side is no multiple of ``graph.multiple``.
        """
        part = self.graph.up_to(name)
        if part[name].kind == "head":
            raise ValueError(f"{name!r} is the head, whose scores are no ternary tensor; run() computes them")
        tensor: FeatureMap | Joined = yield from self._compute(levels, part)
        return tensor.whole()

    def _compute(self, levels: np.ndarray, graph: Graph) -> Generator[float, None, Any]:
        """The last tensor of the network's graph or of a part of it (:meth:`Graph.up_to`)."""
        if any(n % self.graph.multiple for n in levels.shape):
            raise ValueError(f"sides {levels.shape} are not all multiples of {self.graph.multiple}")
        total = sum(products(graph, layer, levels.shape) for layer in graph.layers)
        tensors: dict[str, Any] = {INPUT: fold_levels(levels)}
        last_use, done = graph.last_use(), 0.0
        with ThreadPoolExecutor(max(1, self.threads - 1)) as pool:
            for index, layer in enumerate(graph.layers):
                share = products(graph, layer, levels.shape)
                for fraction in self._layer(pool, layer, tensors, levels.shape, share):
                    yield (done + share * fraction) / total
                done += share
                for name in layer.inputs:
                    if last_use[name] == index:
                        del tensors[name]
        return tensors[graph.layers[-1].name]

    def _layer(
        self, pool: ThreadPoolExecutor, layer: Layer, tensors: dict[str, Any], grid_shape: tuple[int, ...], share: int
    ) -> Generator[float, None, None]:
        sources = [tensors[name] for name in layer.inputs]
        if layer.kind == "concat":
            tensors[layer.name] = reduce(Joined, sources)
        elif layer.kind == "upsample":
            tensors[layer.name] = upsample(sources[0].whole())
        elif layer.kind == "pool":
            tensors[layer.name] = maximum_pool(sources[0].whole())
        else:
            shape: tuple[int, int, int] = tuple(n // self.graph.scale(layer.name) for n in grid_shape)  # type: ignore[assignment]
            out: FeatureMap | Scores
            out = Scores.empty(shape) if layer.kind == "head" else FeatureMap.zeros(shape, layer.channels)
            tensors[layer.name] = out
            weights = self.weights[layer.name]
            if self.adaptation and not isinstance(weights, HeadWeights) and weights.usual is not None:
                places = lattice(shape)
                sums = np.empty((len(places[0]), len(places[1]) * len(places[2]), weights.sums), np.int32)
                fleeting = copy.copy(weights)  # as float matrices they take 16 times the memory, and go with this
                looked_at = [(sources[0], fleeting, places, sums, index) for index in range(len(sums))]
                for _ in run_all(pool, self.threads - 1, self.kernels.sums_at, looked_at):
                    yield 0.0
                weights = moved(weights, *statistics(sums), self.adaptation)
            compute: dict[str, Callable[..., None]] = {
                "first": self.kernels.first,
                "conv": self.kernels.convolve,
                "head": self.kernels.head,
            }
            # as many for each thread, and of a few slices each, since a band copies or converts its halo as well
            most = max(1, shape[0] // (self.band_slices * self.threads))
            count = max(1, min(most, round(share / self.band_products / self.threads))) * self.threads
            arguments = [(sources[0], weights, out, b) for b in bands(shape[0], count)]
            yield from run_all(pool, self.threads - 1, compute[layer.kind], arguments)


def run_all(
    pool: ThreadPoolExecutor, helpers: int, task: Callable[..., None], arguments: list[tuple[Any, ...]]
) -> Generator[float, None, None]:
    """Run a task for each tuple of arguments, on this thread and others; yields the finished fraction.

    Whoever is free takes the next one, so that no thread waits while another has a queue. When the generator is closed,
    what has not begun is dropped and what runs is waited for: nothing goes on writing.

    Args:
        pool: of the other threads.
        helpers: how many of them to use.
        task: what to run.
        arguments: of each call.
    """
    waiting, finished = deque(arguments), deque[bool]()

    def step() -> bool:
        try:
            each = waiting.popleft()
        except IndexError:  # nothing is left
            return False
        task(*each)
        finished.append(True)
        return True

    def work() -> None:
        while step():
            pass

    futures = [pool.submit(work) for _ in range(min(helpers, len(arguments) - 1))]
    try:
        while step():
            yield len(finished) / len(arguments)
        for future in futures:
            future.result()
        yield 1.0
    finally:
        waiting.clear()
        wait(futures)


def relay(steps: Generator[Step, None, Outcome], change: Callable[[Step], Passed]) -> Generator[Passed, None, Outcome]:
    """Run a computation as part of another: pass on what it yields, changed, return its outcome, and close it."""
    try:
        while True:
            yield change(next(steps))
    except StopIteration as end:
        return cast(Outcome, end.value)
    finally:
        steps.close()


def drain(steps: Generator[Step, None, Outcome], watch: Callable[[Step], object] = lambda _step: None) -> Outcome:
    """Run a computation to its end, show ``watch`` what it yields, and return its outcome."""
    watched = relay(steps, watch)
    while True:
        try:
            next(watched)
        except StopIteration as end:
            return cast(Outcome, end.value)
