"""The layers in plain NumPy: the oracle of the tests and the path that computes where numba is absent.

Bit planes are unpacked band by band to float32 and multiplied by BLAS. All sums stay far below 2^24, so every float
is an exact integer and the results equal the popcount kernels' bit for bit.
"""

from __future__ import annotations

import numpy as np

from TernarySegmentLib.engine.bitplanes import FeatureMap, pack, unpack
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights
from TernarySegmentLib.engine.scores import Scores

NAME = "numpy"


def _shifted_products(source: np.ndarray, weights: np.ndarray, shape: tuple[int, int, int], stride: int) -> np.ndarray:
    """Sum over the taps of shifted matrix products.

    Args:
        source: float32 (d, h, w, C), large enough for every tap of every output voxel.
        weights: float32 (k, k, k, C, channels).
        shape: (D, H, W) of the output.
        stride: 1 or 2.

    Returns:
        float32 (D, H, W, channels), exact integers.
    """
    channels = weights.shape[-1]
    total = np.zeros((int(np.prod(shape)), channels), np.float32)
    for tap in np.ndindex(weights.shape[:3]):
        cut = tuple(slice(t, t + stride * (n - 1) + 1, stride) for t, n in zip(tap, shape, strict=True))
        total += source[cut].reshape(-1, source.shape[-1]) @ weights[tap]
    return total.reshape(*shape, channels)


def _band(rows: slice, kernel: int, stride: int) -> slice:
    """Slices of a bordered input that a band of output slices reads."""
    first = rows.start * stride + 1 - kernel // 2
    return slice(first, first + (rows.stop - rows.start - 1) * stride + kernel)


def _step(sums: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The folded batch norm and ternary step: +1 from ``high`` up, -1 from ``low`` down."""
    return (sums >= high).astype(np.int8) - (sums <= low).astype(np.int8)


def _store(out: FeatureMap, rows: slice, ternary: np.ndarray) -> None:
    for plane, packed in zip(out.inner, pack(ternary), strict=True):
        plane[rows] = packed


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
    _store(out, rows, _step(_shifted_products(source, weights.taps, shape, 1), weights.low, weights.high))


def convolve(source: FeatureMap, weights: ConvolutionWeights, out: FeatureMap, rows: slice) -> None:
    """Ternary × ternary convolution with zero padding, then thresholds; computes the output slices ``rows``."""
    kernel, stride = weights.kernel, weights.stride
    band = _band(rows, kernel, stride)
    inset = 1 - kernel // 2  # a 1×1×1 kernel does not read the border
    cut = (band, slice(inset, None), slice(inset, None))
    values = unpack(source.nonzero[cut], source.negative[cut], source.channels).astype(np.float32)
    shape = (rows.stop - rows.start, *out.shape[1:])
    _store(out, rows, _step(_shifted_products(values, weights.dense(), shape, stride), weights.low, weights.high))


def head(source: FeatureMap, weights: HeadWeights, out: Scores, rows: slice) -> None:
    """Integer scores of every label and block voxel, reduced to the winner and the target's margin."""
    values = unpack(source.inner[0][rows], source.inner[1][rows], source.channels).astype(np.float32)
    scores = (values @ weights.matrix).astype(np.int32) + weights.bias
    scores = scores.reshape(*scores.shape[:3], weights.labels, 2, 2, 2)
    others = np.delete(scores, weights.target, axis=3).max(3)
    out.store(rows, scores.argmax(3).astype(np.uint8), scores[:, :, :, weights.target] - others)
