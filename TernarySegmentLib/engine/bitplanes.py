"""Ternary tensors as two bit planes.

64 channels share a word. A value is told by two bits: *nonzero* (n) and *negative* (s, only ever set where n is).
With both operands packed, a dot product is popcount(n) - 2·popcount(n & (sₐ ^ s_w)), n = nₐ & n_w: a zero needs no
arithmetic and zero padding is free. Feature maps carry a border of one zero voxel on every side for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WORD = 64
"""Channels per word."""
HALO = 1
"""Zero voxels around every feature map."""


def words(channels: int) -> int:
    """How many words hold a number of channels."""
    return -(-channels // WORD)


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Booleans (..., channels) to uint64 words (..., words); channel c is bit c % 64 of word c // 64.

    Examples:
        >>> pack_bits(np.array([True, False, True]))
        array([5], dtype=uint64)
    """
    padded = np.zeros((*bits.shape[:-1], words(bits.shape[-1]) * WORD), bool)
    padded[..., : bits.shape[-1]] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def unpack_bits(packed: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of :func:`pack_bits`: uint8 0 or 1 of shape (..., channels)."""
    octets = np.ascontiguousarray(packed).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=channels, bitorder="little")


def pack(ternary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values in {-1, 0, +1}, channels last, to the planes (nonzero, negative), uint64 (..., words).

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


@dataclass(frozen=True)
class FeatureMap:
    """A packed ternary tensor with its zero border.

    Attributes:
        nonzero, negative: uint64 (D + 2, H + 2, W + 2, words).
        channels: how many of the words' bits are in use.

    Examples:
        >>> packed = FeatureMap.from_ternary(np.ones((4, 4, 4, 64), np.int8))
        >>> packed.shape, packed.nonzero.shape, packed.nbytes
        ((4, 4, 4), (6, 6, 6, 1), 3456)
    """

    nonzero: np.ndarray
    negative: np.ndarray
    channels: int

    @staticmethod
    def zeros(shape: tuple[int, int, int], channels: int) -> FeatureMap:
        """All zero; ``shape`` is (D, H, W) without the border."""
        padded = (*(n + 2 * HALO for n in shape), words(channels))
        return FeatureMap(np.zeros(padded, np.uint64), np.zeros(padded, np.uint64), channels)

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

    @property
    def nbytes(self) -> int:
        """Memory of both planes."""
        return self.nonzero.nbytes + self.negative.nbytes


def concatenate(first: FeatureMap, second: FeatureMap) -> FeatureMap:
    """Join along the channels; whole words are copied, a half-filled last word is filled up by shifting.

    Examples:
        >>> joined = concatenate(FeatureMap.zeros((2, 2, 2), 32), FeatureMap.zeros((2, 2, 2), 48))
        >>> joined.channels, joined.nonzero.shape[-1]
        (80, 2)
    """
    result = FeatureMap.zeros(first.shape, first.channels + second.channels)
    offset, shift = divmod(first.channels, WORD)
    for joined, left, right in (
        (result.nonzero, first.nonzero, second.nonzero),
        (result.negative, first.negative, second.negative),
    ):
        joined[..., : left.shape[-1]] = left
        for index in range(right.shape[-1]):
            word = right[..., index]
            joined[..., offset + index] |= word << np.uint64(shift)
            if shift and offset + index + 1 < joined.shape[-1]:
                joined[..., offset + index + 1] |= word >> np.uint64(WORD - shift)
    return result


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
