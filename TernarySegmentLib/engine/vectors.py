"""Vector code that numba cannot be made to write: pieces of LLVM IR with a fixed vector width.

Written as vectors, these pieces stay vectors under every version of LLVM; a loop may or may not be vectorised. Two ways
of summing ternary products are offered.

- *Popcount*: AND, XOR and population counts of 32-bit words, one output channel in each lane. Where the processor
  counts bits in vectors (AVX-512 VPOPCNTDQ, NEON) nothing is faster.
- *Lookup*: two input channels of a voxel and two weights are two codes of four bits; a table holds their sum of
  products for every pair of codes. The voxel's code selects a row of 16 bytes, the weights of 32 output channels select
  from it in one byte shuffle: 64 products for a shuffle and an addition. AVX2 has no vector popcount, and emulating it
  takes more than twice as many instructions. (Tables indexed by weights: T-MAC, arXiv 2407.00088.)

Addresses are integers, as ``array.ctypes.data`` gives them. Sums are exact integers whatever the way.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from TernarySegmentLib.engine.bitplanes import CODES, WORD

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))

CHANNELS = WORD
"""Output channels are worked on in groups of this many; the last group is filled up with zero weights."""
LOOKUP_WORDS, TWIN_LOOKUP_WORDS = 3, 1
"""Words whose lookups may be summed in 8 bits: 3 words · 16 codes · 2 = 96 < 128; sums of twins are twice as large."""


def features() -> frozenset[str]:
    """Instruction-set features that numba compiles for, as LLVM names them."""
    if numba.config.CPU_FEATURES is not None:
        return frozenset(name[1:] for name in numba.config.CPU_FEATURES.split(",") if name.startswith("+"))
    if numba.config.CPU_NAME is not None:
        return frozenset()  # an unknown subset of the host's
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


_FEATURES = features()
AVX2 = "avx2" in _FEATURES
LOOKUP = AVX2 and "avx512vpopcntdq" not in _FEATURES
"""True where looking products up is the faster way."""
LANES, COUNT_VOXELS = (16, 4) if "avx512f" in _FEATURES else (8, 2)
"""32-bit lanes of a popcount vector, and voxels whose sums of 32 channels 32 registers hold beside the operands."""


class _Writer:
    """An IR builder with the handful of operations used here."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def number(self, value: int) -> Any:
        return ir.Constant(_I64, value)

    def load(self, address: Any, kind: Any) -> Any:
        loaded = self.builder.load(self.builder.inttoptr(address, kind.as_pointer()))
        loaded.align = 1
        return loaded

    def store(self, value: Any, address: Any) -> None:
        self.builder.store(value, self.builder.inttoptr(address, value.type.as_pointer())).align = 1

    def offset(self, address: Any, count: Any, size: int = 1) -> Any:
        """``address + count · size``."""
        if isinstance(count, int):
            return self.builder.add(address, self.number(count * size)) if count else address
        return self.builder.add(address, self.builder.mul(count, self.number(size)))

    def spread(self, value: Any, lanes: int) -> Any:
        """A scalar in every lane, or a short vector repeated."""
        builder = self.builder
        if isinstance(value.type, ir.VectorType):
            pattern = [lane % value.type.count for lane in range(lanes)]
        else:
            single = ir.VectorType(value.type, 1)
            value = builder.insert_element(ir.Constant(single, ir.Undefined), value, ir.Constant(_I32, 0))
            pattern = [0] * lanes
        return builder.shuffle_vector(
            value, ir.Constant(value.type, ir.Undefined), ir.Constant(ir.VectorType(_I32, lanes), pattern)
        )

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def grid(self, kind: Any, rows: int, columns: int) -> list[list[Any]]:
        """Variables that become registers, all zero."""
        variables = [[cgutils.alloca_once(self.builder, kind) for _ in range(columns)] for _ in range(rows)]
        for row in variables:
            for variable in row:
                self.builder.store(ir.Constant(kind, [0] * kind.count), variable)
        return variables

    def increase(self, variable: Any, value: Any) -> None:
        self.builder.store(self.builder.add(self.builder.load(variable), value), variable)


def lookup_block(voxels: int, groups: int) -> Any:
    """A piece that adds looked-up products of ``voxels`` × ``groups``·32 output channels to their sums.

    Arguments of the piece (int64): address of int64[voxels], where each voxel's codes start; bytes to add to that;
    number of words, at most ``LOOKUP_WORDS``, of twins ``TWIN_LOOKUP_WORDS``; address of the weights' codes, uint8 (8
    per word, groups·32); of the table, int8 (16 or 64, 16); of the sums, int16 (voxels, groups·32).
    """

    @intrinsic
    def block(context: Any, starts: Any, first: Any, words: Any, weights: Any, table: Any, sums: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            starts, first, words, weights, table, sums = arguments
            write = _Writer(builder)
            bytes_, row = ir.VectorType(_I8, CHANNELS), ir.VectorType(_I8, CODES)
            shorts, wide = ir.VectorType(_I16, CHANNELS // 2), ir.VectorType(_I16, CHANNELS)
            low_nibbles = ir.Constant(bytes_, [15] * CHANNELS)
            four = ir.Constant(shorts, [4] * (CHANNELS // 2))
            totals = write.grid(bytes_, voxels, groups)
            codes = [
                builder.add(write.load(write.offset(starts, 8 * voxel), _I64), first) for voxel in range(voxels)
            ]  # fmt: skip
            with cgutils.for_range(builder, builder.mul(words, write.number(CODES // 2))) as loop:
                place = write.offset(weights, loop.index, groups * CHANNELS)
                pairs = [write.load(write.offset(place, group * CHANNELS), bytes_) for group in range(groups)]
                step = builder.mul(loop.index, write.number(2))
                for half in range(2):  # a byte of weights holds the codes of two steps
                    if half:
                        shifted = [builder.lshr(builder.bitcast(pair, shorts), four) for pair in pairs]
                        pairs = [builder.bitcast(pair, bytes_) for pair in shifted]
                    selectors = [builder.and_(pair, low_nibbles) for pair in pairs]
                    for voxel in range(voxels):
                        code = write.load(write.offset(builder.add(codes[voxel], step), half), _I8)
                        # codes are stored doubled: x86 scales an address by 8, a row has 16 bytes
                        rows = write.spread(
                            write.load(write.offset(table, builder.zext(code, _I64), CODES // 2), row), CHANNELS
                        )
                        for group in range(groups):
                            products = write.call("llvm.x86.avx2.pshuf.b", bytes_, rows, selectors[group])
                            write.increase(totals[voxel][group], products)
            for voxel in range(voxels):
                for group in range(groups):
                    place = write.offset(sums, 2 * CHANNELS * (voxel * groups + group))
                    total = builder.sext(builder.load(totals[voxel][group]), wide)
                    write.store(builder.add(write.load(place, wide), total), place)

        return types.void(*[types.int64] * 6), generate

    return block


def lookup_row_block(voxels: int) -> Any:
    """The same for ``voxels`` neighbours along x, the three taps along x and 32 output channels.

    A voxel's row of the table serves three of its neighbours' sums, which saves two of three loads. Arguments of the
    piece (int64): address of the codes of the first voxel's left neighbour; bytes from one voxel to the next; address
    of the first tap's weights, uint8 (rows, 32), of which each holds two codes; number of rows, at most 8, of twins 4;
    bytes from one of them to the next; bytes from one tap's weights to the next one's; address of the table; of the
    sums, int16 (voxels, 32).
    """

    @intrinsic
    def block(
        context: Any, codes: Any, step: Any, weights: Any, rows: Any, row: Any, tap: Any, table: Any, sums: Any
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            codes, step, weights, count, row, tap, table, sums = arguments
            write = _Writer(builder)
            bytes_, half_row = ir.VectorType(_I8, CHANNELS), ir.VectorType(_I8, CODES)
            shorts, wide = ir.VectorType(_I16, CHANNELS // 2), ir.VectorType(_I16, CHANNELS)
            low_nibbles = ir.Constant(bytes_, [15] * CHANNELS)
            four = ir.Constant(shorts, [4] * (CHANNELS // 2))
            totals = [each[0] for each in write.grid(bytes_, voxels, 1)]
            places = [builder.add(codes, builder.mul(step, write.number(voxel))) for voxel in range(voxels + 2)]
            taps = [builder.add(weights, builder.mul(tap, write.number(index))) for index in range(3)]
            with cgutils.for_range(builder, count) as loop:
                line = builder.mul(loop.index, row)
                pairs = [write.load(builder.add(place, line), bytes_) for place in taps]
                twice = builder.mul(loop.index, write.number(2))
                for half in range(2):
                    if half:
                        shifted = [builder.lshr(builder.bitcast(pair, shorts), four) for pair in pairs]
                        pairs = [builder.bitcast(pair, bytes_) for pair in shifted]
                    selectors = [builder.and_(pair, low_nibbles) for pair in pairs]
                    for neighbour in range(voxels + 2):
                        code = write.load(write.offset(builder.add(places[neighbour], twice), half), _I8)
                        rows = write.spread(
                            write.load(write.offset(table, builder.zext(code, _I64), CODES // 2), half_row), CHANNELS
                        )
                        for index in range(3):
                            if 0 <= neighbour - index < voxels:
                                products = write.call("llvm.x86.avx2.pshuf.b", bytes_, rows, selectors[index])
                                write.increase(totals[neighbour - index], products)
            for voxel in range(voxels):
                place = write.offset(sums, 2 * CHANNELS * voxel)
                total = builder.sext(builder.load(totals[voxel]), wide)
                write.store(builder.add(write.load(place, wide), total), place)

        return types.void(*[types.int64] * 8), generate

    return block


def popcount_block(voxels: int, lanes: int, trits: int = 1) -> Any:
    """A piece that adds counted products of ``voxels`` × 32 output channels to their sums.

    Arguments of the piece (int64): address of int64[voxels], where each voxel's words start in either plane, in bytes;
    addresses of the planes *nonzero* and *negative* to add to that; number of the weights' words; addresses of their
    planes, uint32 (words, channels); bytes of one of their rows; address of the sums, int32 (voxels, 32).

    Args:
        voxels: how many share each load of weights.
        lanes: 32-bit lanes of a vector.
        trits: neighbouring words of a voxel that each word of weights multiplies.
    """

    @intrinsic
    def block(
        context: Any, starts: Any, nonzero: Any, negative: Any, words: Any,
        weights_nonzero: Any, weights_negative: Any, row: Any, sums: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            starts, nonzero, negative, words, weights_nonzero, weights_negative, row, sums = arguments
            write = _Writer(builder)
            kind, groups = ir.VectorType(_I32, lanes), CHANNELS // lanes
            one = ir.Constant(kind, [1] * lanes)
            totals = write.grid(kind, voxels, groups)
            offsets = [write.load(write.offset(starts, 8 * voxel), _I64) for voxel in range(voxels)]
            with cgutils.for_range(builder, words) as loop:
                line, word = builder.mul(loop.index, row), builder.mul(loop.index, write.number(4 * trits))
                values = [
                    [
                        [
                            write.spread(write.load(write.offset(builder.add(plane, at), 4 * trit), _I32), lanes)
                            for plane in (nonzero, negative)
                        ]
                        for trit in range(trits)
                    ]
                    for at in (builder.add(offset, word) for offset in offsets)
                ]
                for group in range(groups):
                    n_weight, s_weight = (
                        write.load(write.offset(builder.add(plane, line), 4 * lanes * group), kind)
                        for plane in (weights_nonzero, weights_negative)
                    )
                    for voxel, trit_values in enumerate(values):
                        both = [builder.and_(n, n_weight) for n, _ in trit_values]
                        differ = [
                            builder.and_(each, builder.xor(s, s_weight))
                            for each, (_, s) in zip(both, trit_values, strict=True)
                        ]
                        counts = [
                            reduce(builder.add, [write.call(f"llvm.ctpop.v{lanes}i32", kind, each) for each in plane])
                            for plane in (both, differ)
                        ]
                        write.increase(totals[voxel][group], builder.sub(counts[0], builder.shl(counts[1], one)))
            for voxel in range(voxels):
                for group in range(groups):
                    place = write.offset(sums, 4 * (voxel * CHANNELS + group * lanes))
                    write.store(builder.add(write.load(place, kind), builder.load(totals[voxel][group])), place)

        return types.void(*[types.int64] * 8), generate

    return block


def multiply_block(voxels: int, groups: int, lookup: bool) -> Any:
    """A piece that adds integer products of ``voxels`` × ``groups``·8 output channels to their sums.

    Arguments of the piece (int64): address of int64[voxels], where each voxel's inputs start; bytes to add to that;
    number of input pairs; address of the weights, int16 (pairs, groups·8, 2); of the table; of the sums, int32; bytes
    from one voxel's sums to the next one's. The inputs are int16 pairs themselves, or doubled codes (uint8) of rows of
    the table, int16 (16 or 64, 2), with ``lookup``.
    """

    @intrinsic
    def block(
        context: Any, starts: Any, first: Any, pairs: Any, weights: Any, table: Any, sums: Any, row: Any
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            starts, first, pairs, weights, table, sums, row = arguments
            write = _Writer(builder)
            kind, shorts = ir.VectorType(_I32, 8), ir.VectorType(_I16, 16)
            totals = write.grid(kind, voxels, groups)
            inputs = [
                builder.add(write.load(write.offset(starts, 8 * voxel), _I64), first) for voxel in range(voxels)
            ]  # fmt: skip
            with cgutils.for_range(builder, pairs) as loop:
                place = write.offset(weights, loop.index, 32 * groups)
                factors = [write.load(write.offset(place, 32 * group), shorts) for group in range(groups)]
                for voxel in range(voxels):
                    if lookup:
                        code = write.load(builder.add(inputs[voxel], loop.index), _I8)
                        pair = write.load(write.offset(table, builder.zext(code, _I64), 2), _I32)
                    else:
                        pair = write.load(write.offset(inputs[voxel], loop.index, 4), _I32)
                    values = builder.bitcast(write.spread(pair, 8), shorts)
                    for group in range(groups):
                        write.increase(totals[voxel][group], _multiplied(write, values, factors[group]))
            for voxel in range(voxels):
                for group in range(groups):
                    place = builder.add(sums, builder.mul(row, write.number(voxel)))
                    place = write.offset(place, 32 * group)
                    write.store(builder.add(write.load(place, kind), builder.load(totals[voxel][group])), place)

        return types.void(*[types.int64] * 7), generate

    return block


def _multiplied(write: _Writer, left: Any, right: Any) -> Any:
    """Products of int16 pairs, summed in each pair: <16 x i16> to <8 x i32>."""
    builder, kind = write.builder, ir.VectorType(_I32, 8)
    if AVX2:
        return write.call("llvm.x86.avx2.pmadd.wd", kind, left, right)
    halves = []
    for odd in range(2):
        pattern = ir.Constant(ir.VectorType(_I32, 8), list(range(odd, 16, 2)))
        a, b = (
            builder.sext(builder.shuffle_vector(each, ir.Constant(each.type, ir.Undefined), pattern), kind)
            for each in (left, right)
        )
        halves.append(builder.mul(a, b))
    return builder.add(*halves)


def _threshold(bits: int) -> Any:
    @intrinsic
    def threshold(context: Any, sums: Any, low: Any, high: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            write, kind = _Writer(builder), ir.VectorType(ir.IntType(bits), CHANNELS)
            values, below, above = (write.load(address, kind) for address in arguments)
            minus = builder.bitcast(builder.icmp_signed("<=", values, below), _I32)
            plus = builder.bitcast(builder.icmp_signed(">=", values, above), _I32)
            return context.make_tuple(builder, signature.return_type, (builder.or_(plus, minus), minus))

        return types.UniTuple(types.uint32, 2)(types.int64, types.int64, types.int64), generate

    return threshold


threshold16, threshold32 = _threshold(16), _threshold(32)
"""32 sums (address) against 32 low and high thresholds (addresses) to the words (nonzero, negative)."""


@intrinsic
def decide(
    context: Any, scores: Any, labels: Any, target: Any, label: Any, line: Any, plane: Any, margin: Any
) -> Any:  # fmt: skip
    """Scores int32 (labels, 8) of a block to its voxels' winners and margins of the target over the best other.

    Arguments (int64): address of the scores; number of labels; index of the target; address of the block's first voxel
    in the uint8 labels, (z, y, x); voxels from one line to the next, and from one plane to the next; address of the
    block's first voxel in the int32 margins.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scores, labels, target, label_place, line, plane, margin_place = arguments
        write, kind = _Writer(builder), ir.VectorType(_I32, 8)
        lowest = ir.Constant(kind, [-(2**31)] * 8)
        best, winner, others = (cgutils.alloca_once(builder, kind) for _ in range(3))
        builder.store(lowest, best)
        builder.store(lowest, others)
        builder.store(ir.Constant(kind, [0] * 8), winner)
        with cgutils.for_range(builder, labels) as loop:
            score = write.load(write.offset(scores, loop.index, 32), kind)
            label = write.spread(builder.trunc(loop.index, _I32), 8)
            higher = builder.icmp_signed(">", score, builder.load(best))
            builder.store(builder.select(higher, label, builder.load(winner)), winner)
            builder.store(builder.select(higher, score, builder.load(best)), best)
            other = builder.load(others)
            larger = builder.select(builder.icmp_signed(">", score, other), score, other)
            builder.store(builder.select(builder.icmp_signed("==", loop.index, target), other, larger), others)
        wanted = write.load(write.offset(scores, target, 32), kind)
        margins = builder.sub(wanted, builder.load(others))
        winners = builder.trunc(builder.load(winner), ir.VectorType(_I8, 8))
        for pair in range(4):  # the two voxels of a block that lie side by side
            both = ir.Constant(ir.VectorType(_I32, 2), [2 * pair, 2 * pair + 1])
            place = builder.mul(line, write.number(pair % 2))
            place = builder.add(place, builder.mul(plane, write.number(pair // 2)))
            for values, start, size in ((winners, label_place, 1), (margins, margin_place, 4)):
                part = builder.shuffle_vector(values, ir.Constant(values.type, ir.Undefined), both)
                write.store(part, write.offset(start, place, size))

    return types.void(*[types.int64] * 7), generate
