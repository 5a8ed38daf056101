"""The layers in plain NumPy: the oracle of the tests and the path that computes where numba is absent.

Bit planes are unpacked band by band to float32 and multiplied by BLAS. All sums stay far below 2^24, so every float
is an exact integer and the results equal the popcount kernels' bit for bit.
"""

from __future__ import annotations

from functools import cache, reduce

import numpy as np

from TernarySegmentLib.engine.bitplanes import HALO, WORD, FeatureMap, Joined, PackedVectors, pack_bits
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, Places
from TernarySegmentLib.engine.scores import Scores

NAME = "numpy"
BAND_PRODUCTS = 60e6
"""About 2 ms on one core, so that a cancelled run stops at once."""

ALONE = 2**18
"""Multiplications in a matrix product, at most: OpenBLAS computes one of this size on the thread that asks for it."""


@cache
def _octets() -> np.ndarray:
    """float32 (65536, 8): the values of eight channels by a byte of *nonzero* and, above it, one of *negative*."""
    code = np.arange(2**16, dtype=np.uint16)[:, None]
    return (code >> np.arange(8) & 1).astype(np.float32) - 2 * (code >> np.arange(8, 16) & 1).astype(np.float32)


def _values(nonzero: np.ndarray, negative: np.ndarray, channels: int) -> np.ndarray:
    """The same as ``bitplanes.unpack``, in float32, in less than half of the time: eight channels looked up at once."""
    low, high = (np.ascontiguousarray(plane).astype("<u4", copy=False).view(np.uint8) for plane in (nonzero, negative))
    code = low | high.astype(np.uint16) << 8
    values = _octets().take(code.ravel(), axis=0, mode="clip")
    return values.reshape(*nonzero.shape[:-1], -1)[..., :channels]


def _added_up(nonzero: np.ndarray, negative: np.ndarray, channels: int, twins: np.ndarray | None) -> np.ndarray:
    """The values that weights multiply: each channel's, or the sums of twins' (``bitplanes.twins``)."""
    if twins is None:
        return _values(nonzero, negative, channels)
    total, other = (_values(nonzero[..., each], negative[..., each], WORD * len(twins)) for each in twins.T)
    total += other
    return total


def _multiply(values: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """Matrix products (..., w, C) @ (C, channels) into ``out``, line by line.

    BLAS spreads a product of more than ``ALONE`` multiplications over threads of its own. Those fight with the
    threads that call it: with two of each the fine network took 980 ms, with one a caller 430 ms.
    """
    width = values.shape[-2]
    step = -(-width // -(-width * matrix.size // ALONE))
    for start in range(0, width, step):
        piece = slice(start, start + step)
        np.matmul(values[..., piece, :], matrix, out=out[..., piece, :])


def _shifted_products(source: np.ndarray, weights: np.ndarray, shape: tuple[int, int, int], stride: int) -> np.ndarray:
    """Sum over the taps of shifted matrix products.

    Args:
        source: float32 (d, h, w, C), large enough for every tap of every output voxel.
        weights: float32 (kz, ky, kx, C, channels).
        shape: (D, H, W) of the output.
        stride: 1 or 2.

    Returns:
        float32 (D, H, W, channels), exact integers.
    """
    total = np.zeros((*shape, weights.shape[-1]), np.float32)
    part = np.empty_like(total)
    for tap in np.ndindex(weights.shape[:3]):
        cut = tuple(slice(t, t + stride * (n - 1) + 1, stride) for t, n in zip(tap, shape, strict=True))
        _multiply(source[cut], weights[tap], part)
        total += part
    return total


def _band(rows: slice, kernel: int, stride: int) -> slice:
    """Slices of a bordered input that a band of output slices reads."""
    first = rows.start * stride + 1 - kernel // 2
    return slice(first, first + (rows.stop - rows.start - 1) * stride + kernel)


def _store(out: FeatureMap, rows: slice, sums: np.ndarray, weights: FirstWeights | ConvolutionWeights) -> None:
    """The folded batch norm and ternary step: +1 from ``high`` up, -1 from ``low`` down; packed."""
    if weights.trits > 1:
        sums = np.concatenate([sums] * weights.trits, axis=-1)
    minus = sums <= weights.low.astype(np.float32)
    nonzero = minus | (sums >= weights.high.astype(np.float32))
    for plane, bits in zip(out.inner, (nonzero, minus), strict=True):
        plane[rows] = pack_bits(bits)


def first(levels: np.ndarray, weights: FirstWeights, out: FeatureMap, rows: slice) -> None:
    """Integer levels × integer weights, 3×3×3, then thresholds; computes the output slices ``rows``.

    Args:
        levels: int8 (D + 2, H + 2, W + 2, 8).
        weights: see :class:`FirstWeights`.
        out: where the packed result goes.
        rows: range of z.
    """
    source = levels[_band(rows, 3, 1)].astype(np.float32)
    shape = (rows.stop - rows.start, *out.shape[1:])
    # one product for the three taps along x: eight inputs alone leave BLAS little to do
    along_x = np.concatenate([source[:, :, tap : tap + shape[2]] for tap in range(3)], axis=3)
    taps = weights.taps.reshape(3, 3, 1, -1, weights.taps.shape[-1])
    _store(out, rows, _shifted_products(along_x, taps, shape, 1), weights)


def convolve(source: FeatureMap | Joined, weights: ConvolutionWeights, out: FeatureMap, rows: slice) -> None:
    """Ternary × ternary convolution with zero padding, then thresholds; computes the output slices ``rows``."""
    kernel, stride = weights.kernel, weights.stride
    band = _band(rows, kernel, stride)
    inset = 1 - kernel // 2  # a 1×1×1 kernel does not read the border
    read, cut = source.slices(band.start, band.stop), (slice(None), slice(inset, None), slice(inset, None))
    values = _added_up(read.nonzero[cut], read.negative[cut], read.channels, weights.twins)
    shape = (rows.stop - rows.start, *out.shape[1:])
    _store(out, rows, _shifted_products(values, weights.matrices, shape, stride), weights)


def sums_at(
    source: np.ndarray | FeatureMap | Joined,
    weights: FirstWeights | ConvolutionWeights,
    places: Places,
    out: np.ndarray,
    index: int,
) -> None:
    """The sums of a layer at some places of one slice of its output, before thresholds.

    Args:
        source: folded levels (D + 2, H + 2, W + 2, 8), or a packed tensor.
        weights: of the layer.
        places: of the output.
        out: int32 (slices, places in a slice, sums); ``out[index]`` is written.
        index: which of the slices ``places[0]``.
    """
    kernel, stride = (3, 1) if isinstance(weights, FirstWeights) else (weights.kernel, weights.stride)
    start, *starts = (each * stride + 1 - kernel // 2 for each in (places[0][index], *places[1:]))
    picked = np.ix_(*((each[:, None] + np.arange(kernel)).ravel() for each in starts))
    if isinstance(weights, FirstWeights):
        matrices, values = weights.taps, source[start : start + kernel][:, *picked].astype(np.float32)  # type: ignore[index]
    else:
        read, matrices = source.slices(start, start + kernel), weights.matrices  # type: ignore[union-attr]
        nonzero, negative = (plane[:, *picked] for plane in (read.nonzero, read.negative))
        values = _added_up(nonzero, negative, read.channels, weights.twins)
    # what the taps of neighbouring places read lies side by side: as if the kernel moved on by its own size
    shape = (1, len(starts[0]), len(starts[1]))
    out[index] = _shifted_products(values, matrices, shape, kernel).reshape(-1, weights.sums)


def head(source: FeatureMap | Joined, weights: HeadWeights, out: Scores, rows: slice) -> None:
    """Integer scores of every label and block voxel, reduced to the winner and the target's margin."""
    read, cut = source.slices(rows.start + HALO, rows.stop + HALO), (slice(None), *[slice(HALO, -HALO)] * 2)
    values = _added_up(read.nonzero[cut], read.negative[cut], read.channels, weights.twins)
    products = np.empty((*values.shape[:3], weights.summed.shape[1]), np.float32)
    _multiply(values, weights.summed, products)
    scores = (products.astype(np.int32) + weights.bias).reshape(*products.shape[:3], weights.labels, 8)
    blocks = [scores[..., label, :] for label in range(weights.labels)]
    # label by label: NumPy's own reductions over a middle axis take three times as long
    best, winner = blocks[0], np.zeros(blocks[0].shape, np.uint8)
    for label, score in enumerate(blocks[1:], 1):
        winner[score > best] = label
        best = np.maximum(best, score)
    others = reduce(np.maximum, (score for label, score in enumerate(blocks) if label != weights.target))
    margin = blocks[weights.target] - others
    folded = (*products.shape[:3], 2, 2, 2)
    out.store(rows, winner.reshape(folded), margin.reshape(folded))


def dot_products(
    nonzero: np.ndarray, negative: np.ndarray, vectors: PackedVectors, out: np.ndarray, blocks: slice
) -> None:
    """Dot products of queries with many vectors, popcount(n) - 2·popcount(n & (sₐ ^ s_w)).

    Args:
        nonzero: plane of the queries, uint32 (queries, words).
        negative: their other plane, alike.
        vectors: of the same length.
        out: int32 (queries, blocks·32); columns of the range ``blocks`` are written.
        blocks: range of the vectors' blocks.
    """
    columns = slice(WORD * blocks.start, WORD * blocks.stop)
    for query in range(len(nonzero)):
        sums = np.zeros((blocks.stop - blocks.start, WORD), np.int32)
        for word in range(nonzero.shape[1]):
            both = vectors.nonzero[blocks, word] & nonzero[query, word]
            sums += np.bitwise_count(both)
            both &= vectors.negative[blocks, word] ^ negative[query, word]
            sums -= np.bitwise_count(both) * np.int32(2)
        out[query, columns] = sums.ravel()
