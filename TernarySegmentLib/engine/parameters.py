"""The numbers of each layer as the kernels want them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from TernarySegmentLib.engine.bitplanes import CODE_CHANNELS, WORD, codes, pack, unpack, words

LABELS_TOGETHER = 3
"""Labels whose scores a kernel sums at once."""


def filled_up(array: np.ndarray, value: int = 0) -> np.ndarray:
    """Lengthen the last axis, output channels, to whole groups of 32."""
    missing = -array.shape[-1] % WORD
    if not missing:
        return np.ascontiguousarray(array)
    return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)], constant_values=value)


class _Thresholds:
    """Thresholds as the kernels compare them: whole groups of channels, those added never reached.

    Where each sum makes several trits, those of the second pair of thresholds follow all of the first.
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def sums(self) -> int:
        """Number of sums for each voxel."""
        raise NotImplementedError

    @property
    def trits(self) -> int:
        """Pairs of thresholds that each sum is compared with."""
        return len(self.low) // self.sums

    @cached_property
    def bounds32(self) -> tuple[np.ndarray, np.ndarray]:
        """low and high, int32 (channels filled up,)."""
        limits = np.iinfo(np.int32)
        return filled_up(self.low, limits.min), filled_up(self.high, limits.max)

    @cached_property
    def bounds16(self) -> tuple[np.ndarray, np.ndarray]:
        """The same in int16: right for sums that never reach its limits."""
        limits = np.iinfo(np.int16)
        low, high = (each.clip(limits.min, limits.max).astype(np.int16) for each in self.bounds32)
        return low, high


@dataclass(frozen=True)
class FirstWeights(_Thresholds):
    """Layer of integer levels × integer weights.

    Attributes:
        taps: float32 integers (3, 3, 3, 8, channels); |w| ≤ 127, so that 216 products of levels stay below 2^22.
        low, high: int32 (channels·trits,); a sum ≤ low gives -1, ≥ high gives +1.
    """

    taps: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def sums(self) -> int:
        return self.taps.shape[-1]

    @property
    def nbytes(self) -> int:
        """Memory while computing."""
        return self.pairs.nbytes + self.low.nbytes + self.high.nbytes

    @cached_property
    def pairs(self) -> np.ndarray:
        """int16 (groups of 32 channels · 9, 12, 32, 2): for each row of taps the pairs of inputs along it."""
        rows = filled_up(self.taps.astype(np.int16).reshape(9, 12, 2, -1)).reshape(9, 12, 2, -1, WORD)
        return np.ascontiguousarray(rows.transpose(3, 0, 1, 4, 2)).reshape(-1, 12, WORD, 2)


@dataclass(frozen=True)
class ConvolutionWeights(_Thresholds):
    """Layer of ternary × ternary products.

    Attributes:
        nonzero, negative: uint32 (k³·words, sums), rows in the order (z, y, x, word): the taps of one sum lie in a
            column, so that a kernel's vector lanes run over sums.
        low, high: int32 (sums·trits,).
        inputs: input channels.
        kernel, stride: 1 or 3, 1 or 2.
    """

    nonzero: np.ndarray
    negative: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inputs: int
    kernel: int
    stride: int

    @staticmethod
    def from_codes(codes: np.ndarray, low: np.ndarray, high: np.ndarray, stride: int) -> ConvolutionWeights:
        """Pack codes in {-1, 0, +1}, int8 (channels, inputs, k, k, k) as torch orders them."""
        channels, inputs, kernel = codes.shape[:3]
        planes = [np.moveaxis(plane, 0, -1).reshape(-1, channels) for plane in pack(np.moveaxis(codes, 1, -1))]
        nonzero, negative = (np.ascontiguousarray(plane) for plane in planes)
        return ConvolutionWeights(nonzero, negative, low, high, inputs, kernel, stride)

    @property
    def sums(self) -> int:
        return self.nonzero.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory while computing; the layouts for popcounts and for lookups take the same."""
        return self.nonzero.nbytes + self.negative.nbytes + self.low.nbytes + self.high.nbytes

    @cached_property
    def _dense(self) -> np.ndarray:
        size = self.kernel
        planes = [p.reshape(size, size, size, -1, self.sums).swapaxes(3, 4) for p in (self.nonzero, self.negative)]
        return np.ascontiguousarray(unpack(planes[0], planes[1], self.inputs).swapaxes(3, 4), np.float32)

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """nonzero and negative with the channels filled up, for the popcount kernel."""
        return filled_up(self.nonzero), filled_up(self.negative)

    @cached_property
    def lookups(self) -> np.ndarray:
        """uint8 (channels filled up · 8·k³·words,), for the lookup kernel.

        Groups of 64 output channels, the last perhaps of 32; in a group 8 bytes for each row of the planes, in a byte
        the codes of two steps.
        """
        by_row = codes(*self.planes)  # (rows, channels, 16)
        nibbles = by_row[..., 0::2] | by_row[..., 1::2] << 4
        parts = np.split(nibbles, range(2 * WORD, nibbles.shape[1], 2 * WORD), axis=1)
        return np.concatenate([part.transpose(0, 2, 1).ravel() for part in parts])

    @property
    def largest(self) -> int:
        """No sum exceeds this in magnitude."""
        return self.inputs * self.kernel**3

    def dense(self) -> np.ndarray:
        """float32 (k, k, k, inputs, channels) in {-1, 0, +1}, for the NumPy path."""
        return self._dense


@dataclass(frozen=True)
class HeadWeights:
    """Layer of ternary features × integer weights.

    Attributes:
        matrix: float32 integers (inputs, labels·8), label-major; |w| ≤ 127.
        bias: int32 (labels·8,).
        labels: number of labels.
        target: index of the label whose margin is wanted.
        step: what one unit of a score is worth in the trained network's logits.
    """

    matrix: np.ndarray
    bias: np.ndarray
    labels: int
    target: int
    step: float

    @property
    def nbytes(self) -> int:
        """Memory while computing."""
        return self.pairs.nbytes + self.bias.nbytes

    @cached_property
    def pairs(self) -> np.ndarray:
        """int16, flat: for each group of labels (pairs, 8·labels in it, 2), pairs in the order of a word's codes.

        ``LABELS_TOGETHER`` labels form a group; what is left over, one each.
        """
        inputs = words(len(self.matrix)) * WORD
        matrix = np.zeros((inputs, self.labels, 8), np.int16)
        matrix[: len(self.matrix)] = self.matrix.reshape(-1, self.labels, 8)
        first = (np.arange(0, inputs, WORD)[:, None] + CODE_CHANNELS).ravel()
        pairs = np.stack([matrix[first], matrix[first + 1]], -1)  # (pairs, labels, 8, 2)
        whole = self.labels // LABELS_TOGETHER * LABELS_TOGETHER
        starts = [*range(LABELS_TOGETHER, whole + 1, LABELS_TOGETHER), *range(whole + 1, self.labels)]
        return np.concatenate([part.ravel() for part in np.split(pairs, starts, axis=1)])


LayerWeights = FirstWeights | ConvolutionWeights | HeadWeights
