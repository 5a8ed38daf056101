"""The layers as numba kernels, with thresholds and packing fused: no sum is written out, but those at a few places.

Vector lanes run over output channels, several voxels share each load of weights, and the sums of a few voxels stay in
registers or in the first cache. How products are summed is up to ``vectors``: looked up on AVX2, counted elsewhere.
Same functions, same arguments and same results as in ``reference``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int8, int16, int32, int64, types, uint8, uint32

from TernarySegmentLib.engine import vectors
from TernarySegmentLib.engine.bitplanes import (
    CODES,
    HALO,
    WORD,
    FeatureMap,
    Joined,
    PackedVectors,
    gather,
    pair_table,
    product_table,
    twin_table,
)
from TernarySegmentLib.engine.jit import compiled, mark_warm
from TernarySegmentLib.engine.parameters import LABELS_TOGETHER, ConvolutionWeights, FirstWeights, HeadWeights, Places
from TernarySegmentLib.engine.scores import Scores

NAME = "numba"
BAND_PRODUCTS = 120e6
"""Half a millisecond. A band of a single slice copies or converts three to read them."""

_PLANE = uint32[:, :, :, ::1]
_CODES = uint8[:, :, :, ::1]

# Voxels that share a load of weights: as many as the registers hold sums for. Measured on one Zen 3 core, in G products
# a second: any 4 voxels × 64 channels 241, 8 × 32 189 (6 × 64 218, 10 × 32 195, 4 × 32 110); rows of 8 voxels × 32
# channels 275, of 4 254.
_WIDE_VOXELS, _NARROW_VOXELS, _FIRST_VOXELS, _HEAD_VOXELS = 4, 8, 2, 4
_COUNT_VOXELS = vectors.COUNT_VOXELS

_LONG_ROW, _SHORT_ROW = 8, 4
_look_up_long_row = vectors.lookup_row_block(_LONG_ROW)
_look_up_short_row = vectors.lookup_row_block(_SHORT_ROW)
_look_up_wide = vectors.lookup_block(_WIDE_VOXELS, 2)
_look_up_narrow = vectors.lookup_block(_NARROW_VOXELS, 1)
_count = vectors.popcount_block(_COUNT_VOXELS, vectors.LANES)
_count_twins = vectors.popcount_block(_COUNT_VOXELS, vectors.LANES, 2)
_count_one = vectors.popcount_block(1, vectors.LANES)
_multiply_first = vectors.multiply_block(_FIRST_VOXELS, WORD // 8, lookup=False)
_multiply_labels = vectors.multiply_block(_HEAD_VOXELS, LABELS_TOGETHER, lookup=True)
_multiply_label = vectors.multiply_block(_HEAD_VOXELS, 1, lookup=True)
_threshold16, _threshold32, _decide = vectors.threshold16, vectors.threshold32, vectors.decide
_LOOKUP_WORDS, _TWIN_LOOKUP_WORDS = vectors.LOOKUP_WORDS, vectors.TWIN_LOOKUP_WORDS

_PAIRS, _TWINS = pair_table(), twin_table()
_PRODUCTS, _TWIN_PRODUCTS = product_table(_PAIRS), product_table(_TWINS)


@compiled(types.void(_PLANE, _PLANE, _CODES))
def _expand(nonzero: Any, negative: Any, codes: Any) -> None:
    """Words to doubled codes of channel pairs, uint8 (..., words·16), in the order of ``bitplanes.codes``."""
    front, back = np.uint64(0x33333333), np.uint64(0xCCCCCCCC)
    mask = np.uint64(0x1E1E1E1E1E1E1E1E)
    left, right = nonzero.reshape(-1), negative.reshape(-1)
    target = codes.reshape(-1).view(np.uint64)
    for index in range(left.shape[0]):
        n, s = np.uint64(left[index]), np.uint64(right[index])
        upper = ((n >> np.uint64(2)) & front) | (s & back)
        nibbles = (n & front) | ((s << np.uint64(2)) & back) | (upper << np.uint64(32))
        target[2 * index] = (nibbles << np.uint64(1)) & mask
        target[2 * index + 1] = (nibbles >> np.uint64(3)) & mask


@compiled(types.void(_PLANE, _PLANE, _CODES))
def _expand_twins(nonzero: Any, negative: Any, codes: Any) -> None:
    """Neighbouring words, twins, to doubled codes of their channel pairs' sums, uint8 (..., words·8), in that order."""
    first, second = np.uint32(0x01010101), np.uint32(0x02020202)
    left, right = nonzero.reshape(-1), negative.reshape(-1)
    target = codes.reshape(-1).view(np.uint32)
    for index in range(left.shape[0] // 2):
        n, other_n = left[2 * index], left[2 * index + 1]
        plus, other_plus = n & ~right[2 * index], other_n & ~right[2 * index + 1]
        # a trit plus 1 has the bits (plus, not nonzero); the sum of two, plus 2, those of the table
        ones, twos, fours = n ^ other_n, (plus ^ other_plus) | ~(n | other_n), plus & other_plus
        for part in range(4):
            shift = np.uint32(2 * part)
            one, two, four = ones >> shift, twos >> shift, fours >> shift
            target[4 * index + part] = (
                (one & first) << np.uint32(1) | (two & first) << np.uint32(2) | (four & first) << np.uint32(3)
                | (one & second) << np.uint32(3) | (two & second) << np.uint32(4) | (four & second) << np.uint32(5)
            )  # fmt: skip


@compiled(
    types.void(_CODES, uint8[::1], int8[:, ::1], int16[::1], int16[::1], _PLANE, _PLANE, *[int64] * 5),
    possible=vectors.AVX2,
)  # fmt: skip
def _convolve_lookup(
    codes: Any, weights: Any, table: Any, low: Any, high: Any, out_nonzero: Any, out_negative: Any,
    trits: int, kernel: int, stride: int, start: int, stop: int,
) -> None:  # fmt: skip
    """``codes`` begins with the first slice that output slice ``start`` reads."""
    twins = table.shape[0] != 16
    most, parts = (_TWIN_LOOKUP_WORDS, 2) if twins else (_LOOKUP_WORDS, 1)  # so that 8 bits hold the sums
    part_codes = CODES // parts
    height, width = out_nonzero.shape[1] - 2, out_nonzero.shape[2] - 2
    step = codes.shape[3]  # bytes from one voxel to the next
    line = step * codes.shape[2]
    plane = line * codes.shape[1]
    words = step // CODES
    run = kernel * words  # of the taps along x, which lie side by side
    depth = 8 * kernel * kernel * run  # bytes of weights for one output channel
    inset = 1 - kernel // 2
    channels = low.shape[0] // trits
    wide = channels // (2 * WORD) * (2 * WORD)
    starts = np.empty(_NARROW_VOXELS, np.int64)
    sums = np.empty(_NARROW_VOXELS * WORD, np.int16)
    for z in range(start, stop):
        base = codes.ctypes.data + (z - start) * stride * plane + inset * (line + step)
        for channel in range(0, channels, WORD):
            groups = 2 if channel < wide else 1
            place = weights.ctypes.data + channel // (groups * WORD) * (groups * WORD) * depth
            # two groups of channels share a voxel's table row as well: rows then pay only where they fit the width
            if kernel == 3 and stride == 1 and width >= _SHORT_ROW and (groups == 1 or width % _LONG_ROW == 0):
                place += channel % (groups * WORD)
                voxels = _LONG_ROW if width % _LONG_ROW == 0 or width > 2 * _LONG_ROW else _SHORT_ROW
                for y in range(height):
                    for begin in range(0, width, voxels):
                        x = min(begin, width - voxels)
                        sums[:] = 0
                        for row in range(9 * words * parts):
                            tap, part = divmod(row, words * parts)
                            source = base + tap // 3 * plane + (y + tap % 3) * line + x * step + part * part_codes
                            taps = place + (tap * run * CODES + part * part_codes) // 2 * WORD * groups
                            look_up = (source, step, taps, part_codes // 2, WORD * groups, words * 8 * WORD * groups)
                            if voxels == _LONG_ROW:
                                _look_up_long_row(*look_up, table.ctypes.data, sums.ctypes.data)
                            else:
                                _look_up_short_row(*look_up, table.ctypes.data, sums.ctypes.data)
                        for voxel in range(voxels):
                            for out in range(channel, trits * channels, channels):
                                packed = _threshold16(
                                    sums.ctypes.data + 2 * WORD * voxel,
                                    low.ctypes.data + 2 * out, high.ctypes.data + 2 * out,
                                )  # fmt: skip
                                out_nonzero[z + 1, y + 1, x + voxel + 1, out // WORD] = packed[0]
                                out_negative[z + 1, y + 1, x + voxel + 1, out // WORD] = packed[1]
                continue
            if groups == 2 and channel % (2 * WORD):
                continue  # done together with the group before
            voxels = _WIDE_VOXELS if groups == 2 else _NARROW_VOXELS
            for first in range(0, height * width, voxels):
                for voxel in range(voxels):
                    y, x = divmod(min(first + voxel, height * width - 1), width)
                    starts[voxel] = base + stride * (y * line + x * step)
                sums[:] = 0
                taps = place
                for tap in range(kernel * kernel):
                    for word in range(0, run, most):
                        count = min(most, run - word)
                        offset = tap // kernel * plane + tap % kernel * line + word * CODES
                        if groups == 2:
                            _look_up_wide(
                                starts.ctypes.data, offset, count, taps, table.ctypes.data, sums.ctypes.data
                            )  # fmt: skip
                        else:
                            _look_up_narrow(
                                starts.ctypes.data, offset, count, taps, table.ctypes.data, sums.ctypes.data
                            )  # fmt: skip
                        taps += count * 8 * WORD * groups
                for voxel in range(min(voxels, height * width - first)):
                    y, x = divmod(first + voxel, width)
                    for index in range(groups):
                        for out in range(channel + index * WORD, trits * channels, channels):
                            packed = _threshold16(
                                sums.ctypes.data + 2 * WORD * (voxel * groups + index),
                                low.ctypes.data + 2 * out, high.ctypes.data + 2 * out,
                            )  # fmt: skip
                            out_nonzero[z + 1, y + 1, x + 1, out // WORD] = packed[0]
                            out_negative[z + 1, y + 1, x + 1, out // WORD] = packed[1]


@compiled(
    types.void(_PLANE, _PLANE, uint32[:, ::1], uint32[:, ::1], int32[::1], int32[::1], _PLANE, _PLANE, *[int64] * 6)
)  # fmt: skip
def _convolve_popcount(
    nonzero: Any, negative: Any, weights_nonzero: Any, weights_negative: Any, low: Any, high: Any,
    out_nonzero: Any, out_negative: Any, alike: int, trits: int, kernel: int, stride: int, start: int, stop: int,
) -> None:  # fmt: skip
    """The planes begin with the first slice that output slice ``start`` reads; twins lie side by side.

    ``alike`` words share a word of weights: 2 of twins, else 1.
    """
    height, width = out_nonzero.shape[1] - 2, out_nonzero.shape[2] - 2
    step = 4 * nonzero.shape[3]
    line = step * nonzero.shape[2]
    plane = line * nonzero.shape[1]
    run = kernel * nonzero.shape[3] // alike  # of weights
    inset = 1 - kernel // 2
    channels = low.shape[0] // trits
    starts = np.empty(_COUNT_VOXELS, np.int64)
    sums = np.empty(_COUNT_VOXELS * WORD, np.int32)
    for z in range(start, stop):
        base = (z - start) * stride * plane + inset * (line + step)
        for first in range(0, height * width, _COUNT_VOXELS):
            for voxel in range(_COUNT_VOXELS):
                y, x = divmod(min(first + voxel, height * width - 1), width)
                starts[voxel] = base + stride * (y * line + x * step)
            for channel in range(0, channels, WORD):
                sums[:] = 0
                for tap in range(kernel * kernel):
                    offset = tap // kernel * plane + tap % kernel * line
                    place = 4 * (tap * run * channels + channel)
                    count = (
                        starts.ctypes.data, nonzero.ctypes.data + offset, negative.ctypes.data + offset, run,
                        weights_nonzero.ctypes.data + place, weights_negative.ctypes.data + place, 4 * channels,
                        sums.ctypes.data,
                    )  # fmt: skip
                    if alike == 2:
                        _count_twins(*count)
                    else:
                        _count(*count)
                for voxel in range(min(_COUNT_VOXELS, height * width - first)):
                    y, x = divmod(first + voxel, width)
                    for out in range(channel, trits * channels, channels):
                        words = _threshold32(
                            sums.ctypes.data + 4 * WORD * voxel, low.ctypes.data + 4 * out, high.ctypes.data + 4 * out
                        )
                        out_nonzero[z + 1, y + 1, x + 1, out // WORD] = words[0]
                        out_negative[z + 1, y + 1, x + 1, out // WORD] = words[1]


@compiled(types.void(int16[:, :, :, ::1], int16[:, :, :, ::1], int32[::1], int32[::1], _PLANE, _PLANE, *[int64] * 3))
def _first(
    levels: Any, weights: Any, low: Any, high: Any, out_nonzero: Any, out_negative: Any,
    trits: int, start: int, stop: int,
) -> None:  # fmt: skip
    """``levels`` begins with the first slice that output slice ``start`` reads."""
    height, width = out_nonzero.shape[1] - 2, out_nonzero.shape[2] - 2
    step = 2 * levels.shape[3]
    line = step * levels.shape[2]
    plane = line * levels.shape[1]
    pairs, channels = weights.shape[1], low.shape[0] // trits
    starts = np.empty(_FIRST_VOXELS, np.int64)
    sums = np.empty(_FIRST_VOXELS * WORD, np.int32)
    for z in range(start, stop):
        for y in range(height):
            base = levels.ctypes.data + (z - start) * plane + y * line
            for x in range(0, width, _FIRST_VOXELS):
                for voxel in range(_FIRST_VOXELS):
                    starts[voxel] = base + min(x + voxel, width - 1) * step
                for channel in range(0, channels, WORD):
                    sums[:] = 0
                    for tap in range(9):
                        place = weights[channel // WORD * 9 + tap].ctypes.data
                        _multiply_first(
                            starts.ctypes.data, tap // 3 * plane + tap % 3 * line, pairs, place, 0,
                            sums.ctypes.data, 4 * WORD,
                        )  # fmt: skip
                    for voxel in range(min(_FIRST_VOXELS, width - x)):
                        for out in range(channel, trits * channels, channels):
                            words = _threshold32(
                                sums.ctypes.data + 4 * WORD * voxel,
                                low.ctypes.data + 4 * out, high.ctypes.data + 4 * out,
                            )  # fmt: skip
                            out_nonzero[z + 1, y + 1, x + voxel + 1, out // WORD] = words[0]
                            out_negative[z + 1, y + 1, x + voxel + 1, out // WORD] = words[1]


@compiled(types.void(_PLANE, _PLANE, uint32[:, ::1], uint32[:, ::1], int64[::1], int32[:, ::1], int64, int64))
def _convolve_at(
    nonzero: Any, negative: Any, weights_nonzero: Any, weights_negative: Any, places: Any, out: Any,
    alike: int, kernel: int,
) -> None:  # fmt: skip
    """The sums of :func:`_convolve_popcount` whose first tap lies at ``places``, bytes into a plane."""
    line = 4 * nonzero.shape[3] * nonzero.shape[2]
    plane = line * nonzero.shape[1]
    run = kernel * nonzero.shape[3] // alike  # of weights
    channels = out.shape[1]
    starts = np.empty(_COUNT_VOXELS, np.int64)
    sums = np.empty(_COUNT_VOXELS * WORD, np.int32)
    for first in range(0, len(places), _COUNT_VOXELS):
        for voxel in range(_COUNT_VOXELS):
            starts[voxel] = places[min(first + voxel, len(places) - 1)]
        for channel in range(0, channels, WORD):
            sums[:] = 0
            for tap in range(kernel * kernel):
                offset = tap // kernel * plane + tap % kernel * line
                place = 4 * (tap * run * channels + channel)
                count = (
                    starts.ctypes.data, nonzero.ctypes.data + offset, negative.ctypes.data + offset, run,
                    weights_nonzero.ctypes.data + place, weights_negative.ctypes.data + place, 4 * channels,
                    sums.ctypes.data,
                )  # fmt: skip
                if alike == 2:
                    _count_twins(*count)
                else:
                    _count(*count)
            for voxel in range(min(_COUNT_VOXELS, len(places) - first)):
                out[first + voxel, channel : channel + WORD] = sums[WORD * voxel : WORD * (voxel + 1)]


@compiled(types.void(int16[:, :, :, ::1], int16[:, :, :, ::1], int64[::1], int32[:, ::1]))
def _first_at(levels: Any, weights: Any, places: Any, out: Any) -> None:
    """The sums of :func:`_first` whose first tap lies at ``places``, bytes into ``levels``."""
    line = 2 * levels.shape[3] * levels.shape[2]
    plane = line * levels.shape[1]
    starts = np.empty(_FIRST_VOXELS, np.int64)
    sums = np.empty(_FIRST_VOXELS * WORD, np.int32)
    for first in range(0, len(places), _FIRST_VOXELS):
        for voxel in range(_FIRST_VOXELS):
            starts[voxel] = levels.ctypes.data + places[min(first + voxel, len(places) - 1)]
        for channel in range(0, out.shape[1], WORD):
            sums[:] = 0
            for tap in range(9):
                place = weights[channel // WORD * 9 + tap].ctypes.data
                _multiply_first(
                    starts.ctypes.data, tap // 3 * plane + tap % 3 * line, weights.shape[1], place, 0,
                    sums.ctypes.data, 4 * WORD,
                )  # fmt: skip
            for voxel in range(min(_FIRST_VOXELS, len(places) - first)):
                out[first + voxel, channel : channel + WORD] = sums[WORD * voxel : WORD * (voxel + 1)]


@compiled(
    types.void(_CODES, int16[::1], int32[::1], int16[:, ::1], uint8[:, :, ::1], int32[:, :, ::1], *[int64] * 3)
)  # fmt: skip
def _head(
    codes: Any, weights: Any, bias: Any, table: Any, label: Any, margin: Any, target: int, start: int, stop: int
) -> None:  # fmt: skip
    """``codes`` begins with slice ``start``."""
    height, width = codes.shape[1] - 2, codes.shape[2] - 2
    labels, pairs = bias.shape[0] // 8, codes.shape[3]
    starts = np.empty(_HEAD_VOXELS, np.int64)
    scores = np.empty((_HEAD_VOXELS, labels * 8), np.int32)
    row = 32 * labels
    line = label.shape[2]
    plane = line * label.shape[1]
    for z in range(start, stop):
        for y in range(height):
            base = codes[z - start, y + 1, 1].ctypes.data
            for x in range(0, width, _HEAD_VOXELS):
                for voxel in range(_HEAD_VOXELS):
                    starts[voxel] = base + min(x + voxel, width - 1) * pairs
                    for output in range(labels * 8):
                        scores[voxel, output] = bias[output]
                index = 0
                while index < labels:
                    place = weights.ctypes.data + index * pairs * 32
                    sums = scores.ctypes.data + 32 * index
                    if index + LABELS_TOGETHER <= labels:
                        _multiply_labels(starts.ctypes.data, 0, pairs, place, table.ctypes.data, sums, row)
                        index += LABELS_TOGETHER
                    else:
                        _multiply_label(starts.ctypes.data, 0, pairs, place, table.ctypes.data, sums, row)
                        index += 1
                for voxel in range(min(_HEAD_VOXELS, width - x)):
                    at = 2 * z * plane + 2 * y * line + 2 * (x + voxel)
                    _decide(
                        scores.ctypes.data + row * voxel, labels, target,
                        label.ctypes.data + at, line, plane, margin.ctypes.data + 4 * at,
                    )  # fmt: skip


@compiled(types.void(uint32[:, ::1], uint32[:, ::1], uint32[:, :, ::1], uint32[:, :, ::1], int32[:, ::1], int64, int64))
def _dot_products(
    nonzero: Any, negative: Any, vectors_nonzero: Any, vectors_negative: Any, out: Any, start: int, stop: int
) -> None:  # fmt: skip
    words, row = nonzero.shape[1], out.shape[1]
    starts = np.zeros(1, np.int64)
    for block in range(start, stop):
        place = 4 * WORD * words * block
        for query in range(nonzero.shape[0]):
            out[query, WORD * block : WORD * (block + 1)] = 0
            _count_one(
                starts.ctypes.data, nonzero.ctypes.data + 4 * words * query, negative.ctypes.data + 4 * words * query,
                words, vectors_nonzero.ctypes.data + place, vectors_negative.ctypes.data + place, 4 * WORD,
                out.ctypes.data + 4 * (row * query + WORD * block),
            )  # fmt: skip


mark_warm()  # every kernel above has been compiled, or read from the cache, by now


def _expanded(read: FeatureMap, twins: bool) -> np.ndarray:
    """Doubled codes of bordered slices, uint8 (slices, H + 2, W + 2, words·16), of twins words·8."""
    codes = np.empty((*read.nonzero.shape[:3], read.nonzero.shape[3] * CODES // (2 if twins else 1)), np.uint8)
    (_expand_twins if twins else _expand)(read.nonzero, read.negative, codes)
    return codes


def _slices(source: FeatureMap | Joined, start: int, stop: int, twins: np.ndarray | None) -> FeatureMap:
    """Bordered slices of a tensor, twins (``bitplanes.twins``) side by side."""
    read = source.slices(start, stop)
    if twins is None or (np.diff(twins.ravel()) == 1).all():
        return read
    nonzero, negative = (
        gather([plane[..., word] for word in twins.ravel()]) for plane in (read.nonzero, read.negative)
    )
    return FeatureMap(nonzero, negative, read.channels)


def _read(source: FeatureMap | Joined, weights: ConvolutionWeights, rows: slice) -> FeatureMap:
    """The bordered slices that a convolution needs for its output slices ``rows``."""
    begin = rows.start * weights.stride + 1 - weights.kernel // 2
    end = begin + (rows.stop - rows.start - 1) * weights.stride + weights.kernel
    return _slices(source, begin, end, weights.twins)


def first(levels: np.ndarray, weights: FirstWeights, out: FeatureMap, rows: slice) -> None:
    """See :func:`TernarySegmentLib.engine.reference.first`."""
    band = levels[rows.start : rows.stop + 2].astype(np.int16)
    planes = out.nonzero, out.negative
    _first(band, weights.pairs, *weights.bounds32, *planes, weights.trits_together, rows.start, rows.stop)


def convolve_lookup(source: FeatureMap | Joined, weights: ConvolutionWeights, out: FeatureMap, rows: slice) -> None:
    """:func:`convolve` by table lookups; needs AVX2."""
    twins = weights.twins is not None
    _convolve_lookup(
        _expanded(_read(source, weights, rows), twins), weights.lookups, _TWIN_PRODUCTS if twins else _PRODUCTS,
        *weights.bounds16,
        out.nonzero, out.negative, weights.trits_together, weights.kernel, weights.stride, rows.start, rows.stop,
    )  # fmt: skip


def convolve_popcount(
    source: FeatureMap | Joined, weights: ConvolutionWeights, out: FeatureMap, rows: slice
) -> None:  # fmt: skip
    """:func:`convolve` by population counts; runs everywhere."""
    read = _read(source, weights, rows)
    _convolve_popcount(
        read.nonzero, read.negative, *weights.planes, *weights.bounds32, out.nonzero, out.negative,
        1 if weights.twins is None else 2, weights.trits_together, weights.kernel, weights.stride,
        rows.start, rows.stop,
    )  # fmt: skip


def convolve(source: FeatureMap | Joined, weights: ConvolutionWeights, out: FeatureMap, rows: slice) -> None:
    """See :func:`TernarySegmentLib.engine.reference.convolve`."""
    # lookups are summed in 16 bits
    fits = weights.largest <= np.iinfo(np.int16).max
    (convolve_lookup if vectors.LOOKUP and fits else convolve_popcount)(source, weights, out, rows)


def sums_at(
    source: np.ndarray | FeatureMap | Joined,
    weights: FirstWeights | ConvolutionWeights,
    places: Places,
    out: np.ndarray,
    index: int,
) -> None:
    """See :func:`TernarySegmentLib.engine.reference.sums_at`; by population counts, which need no other layout."""
    z = places[0][index]
    found = np.empty((out.shape[1], len(weights.bounds32[0]) // weights.trits_together), np.int32)
    if isinstance(weights, FirstWeights):
        levels = source[z : z + 3].astype(np.int16)  # type: ignore[index]
        _first_at(levels, weights.pairs, _starts(levels, places, 1, 0), found)
    else:
        read = _read(source, weights, slice(z, z + 1))  # type: ignore[arg-type]
        starts = _starts(read.nonzero, places, weights.stride, 1 - weights.kernel // 2)
        alike = 1 if weights.twins is None else 2
        _convolve_at(read.nonzero, read.negative, *weights.planes, starts, found, alike, weights.kernel)
    out[index] = found[:, : weights.sums]


def _starts(read: np.ndarray, places: Places, stride: int, inset: int) -> np.ndarray:
    """Where in a slice the first tap of each place lies, bytes."""
    rows, columns = (stride * each + inset for each in places[1:])
    return (rows[:, None] * read.strides[1] + columns * read.strides[2]).ravel()


def head(source: FeatureMap | Joined, weights: HeadWeights, out: Scores, rows: slice) -> None:
    """See :func:`TernarySegmentLib.engine.reference.head`."""
    twins = weights.twins is not None
    codes = _expanded(_slices(source, rows.start + HALO, rows.stop + HALO, weights.twins), twins)
    table = _TWINS if twins else _PAIRS
    _head(codes, weights.pairs, weights.bias, table, out.label, out.margin, weights.target, rows.start, rows.stop)


def dot_products(
    nonzero: np.ndarray, negative: np.ndarray, vectors: PackedVectors, out: np.ndarray, blocks: slice
) -> None:
    """See :func:`TernarySegmentLib.engine.reference.dot_products`."""
    _dot_products(nonzero, negative, vectors.nonzero, vectors.negative, out, blocks.start, blocks.stop)
