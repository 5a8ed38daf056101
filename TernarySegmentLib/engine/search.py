"""Ranking many ternary vectors by their dot product with a query: a masked Hamming distance, by the layers' kernels."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from TernarySegmentLib.engine.bitplanes import WORD, PackedVectors
from TernarySegmentLib.engine.network import Backend, bands, drain, load_kernels, run_all

BAND_BLOCKS = 2048
"""Blocks of 32 vectors in one band: what the NumPy path computes on the way then stays in a core's second cache."""


def dot_products(
    nonzero: np.ndarray, negative: np.ndarray, vectors: PackedVectors, backend: Backend = "auto", threads: int = 0
) -> np.ndarray:
    """Dot products of ternary queries with ternary vectors.

    Args:
        nonzero: plane of the queries, uint32 (queries, words), see :func:`bitplanes.pack`.
        negative: their other plane, alike.
        vectors: of the same length.
        backend: see :func:`network.load_kernels`; the result does not depend on it.
        threads: 0 means all cores.

    Returns:
        int32 (queries, vectors), each in [-channels, channels].

    Raises:
        ValueError: queries and vectors differ in length.

    Examples:
        >>> from TernarySegmentLib.engine.bitplanes import pack
        >>> archive = PackedVectors.from_planes(*pack(np.array([[1, -1, 0], [1, 1, 1]])), channels=3)
        >>> dot_products(*pack(np.array([[1, -1, 1]])), archive, backend="numpy")
        array([[2, 1]], dtype=int32)
    """
    if nonzero.shape[1] != vectors.nonzero.shape[1]:
        raise ValueError(f"queries of {nonzero.shape[1]} words cannot meet vectors of {vectors.nonzero.shape[1]}")
    kernels, threads = load_kernels(backend), threads or os.cpu_count() or 1
    blocks = len(vectors.nonzero)
    out = np.empty((len(nonzero), WORD * blocks), np.int32)
    nonzero, negative = (np.ascontiguousarray(plane) for plane in (nonzero, negative))
    with ThreadPoolExecutor(max(1, threads - 1)) as pool:
        parts = [(nonzero, negative, vectors, out, band) for band in bands(blocks, -(-blocks // BAND_BLOCKS))]
        drain(run_all(pool, threads - 1, kernels.dot_products, parts))
    return out[:, : vectors.count]


def largest(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the largest of many scores, (n,), the largest first and of equals the first.

    Examples:
        >>> largest(np.array([3, 9, 3, 1]), 2)
        array([1, 0])
    """
    if count <= 0:
        return np.zeros(0, np.intp)
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        candidates = np.flatnonzero(scores >= least)  # all that share the last place, so that the first of them wins
    else:
        candidates = np.arange(len(scores))
    return candidates[np.argsort(-scores[candidates].astype(np.int64), kind="stable")][:count]
