"""Ternary tensors as two bit planes.

32 channels share a word, as few as a layer of the shipped networks has: no word is half filled. A value is told by two
bits: *nonzero* (n) and *negative* (s, only ever set where n is). With both operands packed, a dot product is
popcount(n) - 2·popcount(n & (sₐ ^ s_w)), n = nₐ & n_w: a zero needs no arithmetic and zero padding is free. Feature
maps carry a border of one zero voxel on every side for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORD = 32
"""Channels per word."""
HALO = 1
"""Zero voxels around every feature map."""
CODES = WORD // 2
"""Codes of two neighbouring channels in a word: bits 0 and 1 tell which are nonzero, 2 and 3 which are negative."""
CODE_CHANNELS = np.concatenate([np.arange(first, WORD, 8) for first in (0, 2, 4, 6)])
"""The first channel of each of a word's codes, in the order in which :func:`codes` delivers them."""


def words(channels: int) -> int:
    """How many words hold a number of channels."""
    return -(-channels // WORD)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Booleans (..., channels) to uint32 words (..., words); channel c is bit c % 32 of word c // 32.

    Examples:
        >>> pack_bits(np.array([True, False, True]))
        array([5], dtype=uint32)
    """
    padded = np.zeros((*bits.shape[:-1], words(bits.shape[-1]) * WORD), bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32, copy=False)


def unpack_bits(packed: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of :func:`pack_bits`: uint8 0 or 1 of shape (..., channels)."""
    octets = np.ascontiguousarray(packed).astype("<u4", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=channels, bitorder="little")


def pack(ternary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values in {-1, 0, +1}, channels last, to the planes (nonzero, negative), uint32 (..., words).

    Examples:
        >>> nonzero, negative = pack(np.array([0, 1, -1, 1]))
        >>> f"{nonzero[0]:04b} {negative[0]:04b}"  # channel 0 is the lowest bit
        '1110 0100'
    """
    return pack_bits(ternary != 0), pack_bits(ternary < 0)


def unpack(nonzero: np.ndarray, negative: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of :func:`pack`: int8 of shape (..., channels).

    Examples:
        >>> unpack(*pack(np.array([0, 1, -1, 1])), channels=4)
        array([ 0,  1, -1,  1], dtype=int8)
    """
    return unpack_bits(nonzero, channels).astype(np.int8) - 2 * unpack_bits(negative, channels).astype(np.int8)


def codes(nonzero: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Words (..., words) of both planes to the codes of their channel pairs, uint8 (..., words, 16)."""
    n, s = nonzero.astype("<u8"), negative.astype("<u8")
    front, back = np.uint64(0x33333333), np.uint64(0xCCCCCCCC)
    two, four, upper = np.uint64(2), np.uint64(4), np.uint64(32)
    nibbles = (n & front) | ((s << two) & back) | ((((n >> two) & front) | (s & back)) << upper)
    mask = np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.stack([nibbles & mask, (nibbles >> four) & mask], -1).view(np.uint8)


def pair_table() -> np.ndarray:
    """int16 (16, 2): the two values of each code."""
    code = np.arange(16)[:, None]
    nonzero, negative = code >> np.arange(2) & 1, code >> np.arange(2, 4) & 1
    return (nonzero * (1 - 2 * negative)).astype(np.int16)


def twin_table() -> np.ndarray:
    """int16 (64, 2): the values of each code of two channels whose two trits are added up.

    Bits 0 to 2 hold the first channel's sum plus 2, bits 3 to 5 the other one's; codes of more than 4 never occur.
    """
    return (np.arange(64)[:, None] >> np.array([0, 3]) & 7).astype(np.int16).clip(max=4) - np.int16(2)


def product_table(values: np.ndarray) -> np.ndarray:
    """int8 (codes, 16): the sum of two products, for every code of values (:func:`pair_table`, :func:`twin_table`) and
    of ternary weights.
    """
    return (values @ pair_table().T).astype(np.int8)


def twins(by_word: np.ndarray) -> np.ndarray | None:
    """Pair the words of an input that the same weights multiply, as they do the two trits of one sum.

    w·a + w·b = w·(a + b): what has a twin is added up before it is multiplied, with half of the weights.

    Args:
        by_word: the weights of each word, (words, ...).

    Returns:
        int64 (words / 2, 2), or None where a word has no partner.

    Examples:
        >>> twins(np.array([5, 7, 5, 7, 8, 8])).tolist()
        [[0, 2], [1, 3], [4, 5]]
        >>> twins(np.array([5, 7])) is None
        True
    """
    waiting: dict[bytes, int] = {}
    pairs = []
    for index, weights in enumerate(by_word):
        content = weights.tobytes()
        if content in waiting:
            pairs.append((waiting.pop(content), index))
        else:
            waiting[content] = index
    return None if waiting else np.array(sorted(pairs), np.int64)


@dataclass(frozen=True)
class FeatureMap:
    """A packed ternary tensor with its zero border.

    Attributes:
        nonzero, negative: uint32 (D + 2, H + 2, W + 2, words).
        channels: how many of the words' bits are in use.

    Examples:
        >>> packed = FeatureMap.from_ternary(np.ones((4, 4, 4, 32), np.int8))
        >>> packed.shape, packed.nonzero.shape, packed.nbytes
        ((4, 4, 4), (6, 6, 6, 1), 1728)
    """

    nonzero: np.ndarray
    negative: np.ndarray
    channels: int

    @staticmethod
    def zeros(shape: tuple[int, int, int], channels: int) -> FeatureMap:
        """All zero; ``shape`` is (D, H, W) without the border."""
        padded = (*(n + 2 * HALO for n in shape), words(channels))
        return FeatureMap(np.zeros(padded, np.uint32), np.zeros(padded, np.uint32), channels)

    @staticmethod
    def from_ternary(ternary: np.ndarray) -> FeatureMap:
        """From int8 (D, H, W, C) in {-1, 0, +1}."""
        result = FeatureMap.zeros(ternary.shape[:3], ternary.shape[3])
        for plane, packed in zip(result.inner, pack(ternary), strict=True):
            plane[...] = packed
        return result

    def to_ternary(self) -> np.ndarray:
        """int8 (D, H, W, C)."""
        return unpack(*self.inner, self.channels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) without the border."""
        return tuple(n - 2 * HALO for n in self.nonzero.shape[:3])

    @property
    def inner(self) -> tuple[np.ndarray, np.ndarray]:
        """Views of both planes without the border."""
        cut = (slice(HALO, -HALO),) * 3
        return self.nonzero[cut], self.negative[cut]

    def slices(self, start: int, stop: int) -> FeatureMap:
        """Slices ``start`` to ``stop``, counted with the border: a view that keeps the border of y and x."""
        return FeatureMap(self.nonzero[start:stop], self.negative[start:stop], self.channels)

    def whole(self) -> FeatureMap:
        """Itself."""
        return self

    @property
    def nbytes(self) -> int:
        """Memory of both planes."""
        return self.nonzero.nbytes + self.negative.nbytes


def gather(columns: list[np.ndarray]) -> np.ndarray:
    """Words (...) side by side, uint32 (..., words): column by column, in a seventh of ``np.concatenate``'s time."""
    together = np.empty((*columns[0].shape, len(columns)), np.uint32)
    for word, column in enumerate(columns):
        together[..., word] = column
    return together


def _join(left: np.ndarray, right: np.ndarray, channels: int, together: int) -> np.ndarray:
    """One plane of two, (..., words): whole words are copied, a half-filled last word is filled up by shifting.

    Args:
        left, right: planes.
        channels: of the left one.
        together: channels of both.
    """
    offset, shift = divmod(channels, WORD)
    if not shift:
        return gather([plane[..., word] for plane in (left, right) for word in range(plane.shape[-1])])
    joined = np.zeros((*left.shape[:-1], words(together)), np.uint32)
    joined[..., : left.shape[-1]] = left
    for index in range(right.shape[-1]):
        word = right[..., index]
        joined[..., offset + index] |= word << np.uint32(shift)
        if offset + index + 1 < joined.shape[-1]:
            joined[..., offset + index + 1] |= word >> np.uint32(WORD - shift)
    return joined


@dataclass(frozen=True)
class Joined:
    """Two tensors side by side along the channels, copied together only slice by slice, where a layer reads them.

    A copy of the whole would double what a skip connection holds.

    Examples:
        >>> joined = Joined(FeatureMap.zeros((2, 2, 2), 32), FeatureMap.zeros((2, 2, 2), 48))
        >>> joined.channels, joined.slices(0, 3).nonzero.shape
        (80, (3, 4, 4, 3))
    """

    first: FeatureMap | Joined
    second: FeatureMap | Joined

    @property
    def channels(self) -> int:
        """Of both together."""
        return self.first.channels + self.second.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W) without the border."""
        return self.first.shape

    def slices(self, start: int, stop: int) -> FeatureMap:
        """See :meth:`FeatureMap.slices`."""
        first, second = self.first.slices(start, stop), self.second.slices(start, stop)
        nonzero = _join(first.nonzero, second.nonzero, first.channels, self.channels)
        negative = _join(first.negative, second.negative, first.channels, self.channels)
        return FeatureMap(nonzero, negative, self.channels)

    def whole(self) -> FeatureMap:
        """All of it, copied."""
        return self.slices(0, self.shape[0] + 2 * HALO)


def upsample(source: FeatureMap) -> FeatureMap:
    """Nearest neighbour, ×2 along every axis: copies of words."""
    result = FeatureMap.zeros(tuple(2 * n for n in source.shape), source.channels)  # type: ignore[arg-type]
    for fine, coarse in zip(result.inner, source.inner, strict=True):
        for corner in np.ndindex(2, 2, 2):
            fine[tuple(slice(start, None, 2) for start in corner)] = coarse
    return result


def maximum_pool(source: FeatureMap) -> FeatureMap:
    """Maximum over 2×2×2 blocks: +1 is the OR of the plus planes, -1 the AND of the minus planes.

    Examples:
        >>> block = np.full((2, 2, 2, 1), -1, np.int8)
        >>> maximum_pool(FeatureMap.from_ternary(block)).to_ternary().ravel()
        array([-1], dtype=int8)
        >>> block[1, 0, 1] = 0
        >>> maximum_pool(FeatureMap.from_ternary(block)).to_ternary().ravel()
        array([0], dtype=int8)
    """
    result = FeatureMap.zeros(tuple(n // 2 for n in source.shape), source.channels)  # type: ignore[arg-type]
    depth, height, width = (2 * n for n in result.shape)
    nonzero, negative = (plane[:depth, :height, :width] for plane in source.inner)
    corners = [tuple(slice(start, None, 2) for start in corner) for corner in np.ndindex(2, 2, 2)]
    plus = np.bitwise_or.reduce([nonzero[corner] & ~negative[corner] for corner in corners])
    minus = np.bitwise_and.reduce([negative[corner] for corner in corners])
    result.inner[0][...] = plus | minus
    result.inner[1][...] = minus
    return result


@dataclass(frozen=True)
class PackedVectors:
    """Many ternary vectors of one length, in blocks of 32: the lanes of a kernel run over a block's vectors.

    Attributes:
        nonzero, negative: uint32 (blocks, words, 32); what fills up the last block is zero.
        count: number of vectors.
        channels: their length.

    Examples:
        >>> packed = PackedVectors.from_planes(*pack(np.ones((40, 96), np.int8)), channels=96)
        >>> packed.nonzero.shape, packed.count
        ((2, 3, 32), 40)
    """

    nonzero: np.ndarray
    negative: np.ndarray
    count: int
    channels: int

    @staticmethod
    def from_planes(nonzero: np.ndarray, negative: np.ndarray, channels: int) -> PackedVectors:
        """From planes uint32 (vectors, words), as :func:`pack` delivers them."""
        count, width = nonzero.shape
        planes = []
        for plane in (nonzero, negative):
            blocks = np.zeros((-(-count // WORD), width, WORD), np.uint32)
            whole = count // WORD
            blocks[:whole] = plane[: whole * WORD].reshape(whole, WORD, width).swapaxes(1, 2)
            if count % WORD:
                blocks[whole, :, : count % WORD] = plane[whole * WORD :].T
            planes.append(blocks)
        return PackedVectors(planes[0], planes[1], count, channels)

    @property
    def nbytes(self) -> int:
        """Memory of both planes."""
        return self.nonzero.nbytes + self.negative.nbytes
