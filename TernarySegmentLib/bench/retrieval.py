"""Similar cases beside faiss, and what neighbours share: ``python -m TernarySegmentLib.bench.retrieval INDEX``.

An index of some dozen scans says how mean trits are distributed; a million are drawn from that distribution. What the
exact search over the float features finds is the truth that the ternary and the binary codes are judged by.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from TernarySegmentLib.bench import machine
from TernarySegmentLib.cohort.codes import Thresholds
from TernarySegmentLib.cohort.index import STEP, Index, read_index
from TernarySegmentLib.engine.bitplanes import PackedVectors
from TernarySegmentLib.engine.network import Backend
from TernarySegmentLib.engine.search import dot_products, largest
from TernarySegmentLib.errors import InputError

QUERIES, NEIGHBOURS = 100, 10
CHUNK = 50_000
RESIDUAL = 0.5
"""Standard deviation of what no scan of the index shows, and of how a copy differs from its original, in channel SDs:
75 augmented scans differ from their originals by 0.49, the median over the channels."""
FEWEST_SCANS = 20


@dataclass(frozen=True)
class Measured:
    """One way of searching.

    Attributes:
        seconds: median of one query at a time.
        megabytes: of the searched data.
        recall_at_1, recall_at_10: share of the float search's first, and of its first ten, that it returns first, or
            among its first ten, for new scans.
        copies_first: share of copies that find their original first.
    """

    seconds: float
    megabytes: float
    recall_at_1: float
    recall_at_10: float
    copies_first: float


@dataclass(frozen=True)
class Data:
    """Features as drawn, float32 (vectors, channels), queries of new scans, and copies of the first of the archive."""

    archive: np.ndarray
    fresh: np.ndarray
    copies: np.ndarray
    thresholds: Thresholds


def draw(index: Index, count: int, seed: int = 0) -> Data:
    """Draw mean trits as those of an index are distributed: its covariance, and independent noise.

    Raises:
        InputError: the index holds too few scans to say how they are distributed.
    """
    if len(index.entries) < FEWEST_SCANS:
        raise InputError(
            f"The index holds {len(index.entries)} scans; {FEWEST_SCANS} are needed to draw others like them."
        )
    random = np.random.default_rng(seed)
    means = index.levels * np.float32(STEP)
    centre, spread = means.mean(0), RESIDUAL * means.std(0)
    basis = (means - centre) / np.float32(np.sqrt(len(means) - 1))

    def some(number: int) -> np.ndarray:
        mixed = random.standard_normal((number, len(basis)), np.float32) @ basis
        mixed += centre + spread * random.standard_normal(mixed.shape, np.float32)
        return np.clip(mixed, -1, 1)

    archive = np.empty((count, means.shape[1]), np.float32)
    for start in range(0, count, CHUNK):
        archive[start : start + CHUNK] = some(min(CHUNK, count - start))
    copies = archive[:QUERIES] + spread * random.standard_normal((QUERIES, means.shape[1]), np.float32)
    return Data(archive, some(QUERIES), copies.astype(np.float32), Thresholds.of(archive[:CHUNK]))


Search = Callable[[np.ndarray], np.ndarray]
"""One query's features (channels,) to the rows of the ten nearest vectors."""


def ternary(data: Data, backend: Backend, threads: int) -> tuple[Search, float]:
    """This engine: the search, and megabytes."""
    vectors = PackedVectors.from_planes(*data.thresholds.planes(data.archive), data.archive.shape[1])

    def search(query: np.ndarray) -> np.ndarray:
        return largest(dot_products(*data.thresholds.planes(query[None]), vectors, backend, threads)[0], NEIGHBOURS)

    return search, vectors.nbytes / 1e6


def faiss_float(data: Data, threads: int) -> tuple[Search, float]:
    """faiss, exact inner product of float features, centred, scaled and of unit length."""
    import faiss

    faiss.omp_set_num_threads(threads)
    centre, spread = data.archive[:CHUNK].mean(0), data.archive[:CHUNK].std(0) + 1e-6

    def unit(rows: np.ndarray) -> np.ndarray:
        scaled = (rows - centre) / spread
        return np.ascontiguousarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float32)

    found = faiss.IndexFlatIP(data.archive.shape[1])
    for start in range(0, len(data.archive), CHUNK):
        found.add(unit(data.archive[start : start + CHUNK]))
    return lambda query: found.search(unit(query[None]), NEIGHBOURS)[1][0], 4 * data.archive.size / 1e6


def faiss_binary(data: Data, threads: int) -> tuple[Search, float]:
    """faiss, Hamming distance of one bit per channel: above or below the median."""
    import faiss

    faiss.omp_set_num_threads(threads)
    median = np.median(data.archive[:CHUNK], axis=0)
    found = faiss.IndexBinaryFlat(data.archive.shape[1])
    for start in range(0, len(data.archive), CHUNK):
        found.add(np.packbits(data.archive[start : start + CHUNK] > median, axis=1))
    return lambda query: found.search(np.packbits(query[None] > median, axis=1), NEIGHBOURS)[1][
        0
    ], data.archive.size / 8e6


def compare(data: Data, threads: int) -> dict[str, Measured]:
    """All ways of searching, one after the other."""
    contestants: dict[str, Callable[[], tuple[Search, float]]] = {
        "float32, faiss IndexFlatIP": lambda: faiss_float(data, threads),
        "binary, faiss IndexBinaryFlat": lambda: faiss_binary(data, threads),
        "ternary, this engine (numba)": lambda: ternary(data, "numba", threads),
        "ternary, this engine (NumPy)": lambda: ternary(data, "numpy", threads),
    }
    result, truth = {}, None
    for name, make in contestants.items():
        search, megabytes = make()
        search(data.fresh[0])  # what is done only once
        seconds, found = [], []
        for query in data.fresh:
            started = time.perf_counter()
            found.append(search(query))
            seconds.append(time.perf_counter() - started)
        copies = np.array([search(query)[0] for query in data.copies])
        truth = found if truth is None else truth
        result[name] = Measured(
            statistics.median(seconds), megabytes,
            float(np.mean([a[0] == b[0] for a, b in zip(found, truth, strict=True)])),
            float(np.mean([np.isin(b, a).mean() for a, b in zip(found, truth, strict=True)])),
            float(np.mean(copies == np.arange(QUERIES))),
        )  # fmt: skip
    return result


@dataclass(frozen=True)
class Shared:
    """How far neighbours share a measure.

    Attributes:
        scans: how many.
        correlation: Spearman's, of a scan's value with the mean of its nearest neighbours' values.
        p: share of permutations of the values with at least that correlation.
        chance_95: 95th percentile of the permutations.
    """

    scans: int
    correlation: float
    p: float
    chance_95: float


def shared_measure(
    index: Index, rows: Sequence[int], values: np.ndarray, neighbours: int = 5, permutations: int = 9999, seed: int = 0
) -> Shared:
    """Test if scans with near codes have near values: a permutation test of the values among the scans.

    Args:
        index: the codes.
        rows: the scans among which neighbours are looked for.
        values: one for each of them.
        neighbours: how many are averaged.
        permutations: how many to draw.
        seed: of the permutations.
    """
    part = np.asarray(rows)
    nonzero, negative = (plane[part] for plane in index.planes)
    scores = dot_products(nonzero, negative, PackedVectors.from_planes(nonzero, negative, index.channels)).astype(float)
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1, kind="stable")[:, :neighbours]
    random = np.random.default_rng(seed)
    observed = _spearman(values, values[nearest].mean(1))
    drawn = (random.permutation(values) for _ in range(permutations))
    shuffled = [_spearman(each, each[nearest].mean(1)) for each in drawn]
    at_least = 1 + np.count_nonzero(np.array(shuffled) >= observed)
    return Shared(len(part), observed, at_least / (1 + permutations), float(np.quantile(shuffled, 0.95)))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and keep what was found."""
    parser = argparse.ArgumentParser(prog="python -m TernarySegmentLib.bench.retrieval", description=__doc__)
    parser.add_argument("index", type=Path, metavar="INDEX", help="what ternarysegment index wrote")
    parser.add_argument("--count", type=int, default=1_000_000, help="codes to search (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, metavar="JSON", help="keep the figures")
    options = parser.parse_args(arguments)
    index = read_index(options.index)
    figures: dict[str, Any] = {"machine": machine.describe()}
    for name in ("volume_ml", "mean_hu", "fat_fraction"):
        values = np.array([getattr(entry, name) for entry in index.entries])
        found = shared_measure(index, range(len(values)), values)
        figures[name] = vars(found)
        print(
            f"{name}: {found.scans} scans, Spearman {found.correlation:.2f}, p = {found.p:.4f}, "
            f"95 % of chance below {found.chance_95:.2f}"
        )
    print(f"{options.count} codes, {options.threads} threads")
    for name, each in compare(draw(index, options.count), options.threads).items():
        figures[name] = vars(each)
        print(
            f"{name}: {1000 * each.seconds:.1f} ms, {each.megabytes:.0f} MB, recall@1 {each.recall_at_1:.2f}, "
            f"recall@10 {each.recall_at_10:.2f}, copies first {each.copies_first:.2f}"
        )
    if options.output:
        options.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
