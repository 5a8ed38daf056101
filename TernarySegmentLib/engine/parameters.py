"""The numbers of each layer as the kernels want them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from TernarySegmentLib.engine.bitplanes import CODE_CHANNELS, WORD, codes, pack, twins, unpack, words

LABELS_TOGETHER = 3
"""Labels whose scores a kernel sums at once."""

Places = list[np.ndarray]
"""Places in a volume: int64 coordinates along z, y and x; every combination of them is one."""


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
    usual: np.ndarray | None

    def with_thresholds(self, low: np.ndarray, high: np.ndarray) -> Self:
        """The same weights, in whatever layouts they were already brought, with other thresholds."""
        other = copy.copy(self)
        for name in ("bounds32", "bounds16"):
            other.__dict__.pop(name, None)
        other.__dict__.update(low=low, high=high)
        return other

    @property
    def threshold_bytes(self) -> int:
        """Memory of the thresholds and of what they are moved by."""
        return sum(each.nbytes for each in (self.low, self.high, self.usual) if each is not None)

    @property
    def sums(self) -> int:
        """Number of sums for each voxel."""
        raise NotImplementedError

    @property
    def trits(self) -> int:
        """Pairs of thresholds that each sum is compared with."""
        return len(self.low) // self.sums

    @property
    def trits_together(self) -> int:
        """Trits that a kernel makes of each sum: all of them, or one where they would not fill words of their own.

        Then each sum is made once for every trit.
        """
        return 1 if self.sums % WORD else self.trits

    def laid_out(self, sums: np.ndarray) -> np.ndarray:
        """What belongs to each sum, along the last axis, for each sum that a kernel makes, in whole groups of 32."""
        return filled_up(np.tile(sums, self.trits // self.trits_together))

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
        usual: mean and deviation of the sums on scans trained on, float32 (2, channels); None where thresholds do not
            follow the scan, see :mod:`adaptation`.
    """

    taps: np.ndarray
    low: np.ndarray
    high: np.ndarray
    usual: np.ndarray | None = None

    @property
    def sums(self) -> int:
        return self.taps.shape[-1]

    @property
    def nbytes(self) -> int:
        """Memory while computing."""
        return self.pairs.nbytes + self.threshold_bytes

    @cached_property
    def pairs(self) -> np.ndarray:
        """int16 (groups of 32 channels · 9, 12, 32, 2): for each row of taps the pairs of inputs along it."""
        rows = self.laid_out(self.taps.astype(np.int16).reshape(9, 12, 2, -1)).reshape(9, 12, 2, -1, WORD)
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
        twins: words of the input that the same weights multiply, int64 (words, 2), see :func:`bitplanes.twins`; the
            planes then hold the rows of each pair once, in this order. None where there are none.
        usual: as of :class:`FirstWeights`.
    """

    nonzero: np.ndarray
    negative: np.ndarray
    low: np.ndarray
    high: np.ndarray
    inputs: int
    kernel: int
    stride: int
    twins: np.ndarray | None = None
    usual: np.ndarray | None = None

    @staticmethod
    def from_planes(
        nonzero: np.ndarray,
        negative: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        inputs: int,
        kernel: int,
        stride: int,
        usual: np.ndarray | None = None,
    ) -> ConvolutionWeights:
        """From planes with the rows of every word; those that twins share are kept once."""
        by_word = np.stack([nonzero, negative], -1).reshape(kernel**3, words(inputs), -1)
        pairs = twins(np.ascontiguousarray(by_word.swapaxes(0, 1)))
        if pairs is not None:
            nonzero, negative = (
                np.ascontiguousarray(plane.reshape(kernel**3, words(inputs), -1)[:, pairs[:, 0]]).reshape(
                    -1, plane.shape[1]
                )
                for plane in (nonzero, negative)
            )
        return ConvolutionWeights(nonzero, negative, low, high, inputs, kernel, stride, pairs, usual)

    @staticmethod
    def from_codes(
        codes: np.ndarray, low: np.ndarray, high: np.ndarray, stride: int, usual: np.ndarray | None = None
    ) -> ConvolutionWeights:
        """Pack codes in {-1, 0, +1}, int8 (channels, inputs, k, k, k) as torch orders them."""
        channels, inputs, kernel = codes.shape[:3]
        planes = [np.moveaxis(plane, 0, -1).reshape(-1, channels) for plane in pack(np.moveaxis(codes, 1, -1))]
        nonzero, negative = (np.ascontiguousarray(plane) for plane in planes)
        return ConvolutionWeights.from_planes(nonzero, negative, low, high, inputs, kernel, stride, usual)

    @property
    def whole_planes(self) -> tuple[np.ndarray, np.ndarray]:
        """nonzero and negative with the rows of every word."""
        if self.twins is None:
            return self.nonzero, self.negative
        order = np.argsort(self.twins.ravel()) // 2  # the row that each word's weights are in
        nonzero, negative = (
            plane.reshape(self.kernel**3, -1, self.sums)[:, order].reshape(-1, self.sums)
            for plane in (self.nonzero, self.negative)
        )
        return nonzero, negative

    @property
    def sums(self) -> int:
        return self.nonzero.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory while computing; the layouts for popcounts and for lookups take the same."""
        return self.nonzero.nbytes + self.negative.nbytes + self.threshold_bytes

    def _unpacked(self, nonzero: np.ndarray, negative: np.ndarray, inputs: int) -> np.ndarray:
        size = self.kernel
        planes = [p.reshape(size, size, size, -1, self.sums).swapaxes(3, 4) for p in (nonzero, negative)]
        return np.ascontiguousarray(unpack(planes[0], planes[1], inputs).swapaxes(3, 4), np.float32)

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """nonzero and negative with the channels filled up, for the popcount kernel."""
        return self.laid_out(self.nonzero), self.laid_out(self.negative)

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
        """float32 (k, k, k, inputs, channels) in {-1, 0, +1}."""
        return self._unpacked(*self.whole_planes, self.inputs)

    @cached_property
    def matrices(self) -> np.ndarray:
        """The same for the NumPy path, which adds twins up first: with their rows once."""
        inputs = self.inputs if self.twins is None else WORD * len(self.twins)
        return self._unpacked(self.nonzero, self.negative, inputs)


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

    @property
    def _by_word(self) -> np.ndarray:
        matrix = np.zeros((words(len(self.matrix)) * WORD, self.matrix.shape[1]), np.float32)
        matrix[: len(self.matrix)] = self.matrix
        return matrix.reshape(-1, WORD, self.matrix.shape[1])

    @cached_property
    def twins(self) -> np.ndarray | None:
        """See :attr:`ConvolutionWeights.twins`."""
        return twins(self._by_word)

    @cached_property
    def summed(self) -> np.ndarray:
        """float32 (inputs, labels·8): the matrix with the rows of twins once."""
        return self.matrix if self.twins is None else self._by_word[self.twins[:, 0]].reshape(-1, self.matrix.shape[1])

    @cached_property
    def pairs(self) -> np.ndarray:
        """int16, flat: for each group of labels (pairs, 8·labels in it, 2), pairs in the order of a word's codes.

        ``LABELS_TOGETHER`` labels form a group; what is left over, one each. The rows of twins are there once.
        """
        inputs = words(len(self.summed)) * WORD
        matrix = np.zeros((inputs, self.labels, 8), np.int16)
        matrix[: len(self.summed)] = self.summed.reshape(-1, self.labels, 8)
        first = (np.arange(0, inputs, WORD)[:, None] + CODE_CHANNELS).ravel()
        pairs = np.stack([matrix[first], matrix[first + 1]], -1)  # (pairs, labels, 8, 2)
        whole = self.labels // LABELS_TOGETHER * LABELS_TOGETHER
        starts = [*range(LABELS_TOGETHER, whole + 1, LABELS_TOGETHER), *range(whole + 1, self.labels)]
        return np.concatenate([part.ravel() for part in np.split(pairs, starts, axis=1)])


LayerWeights = FirstWeights | ConvolutionWeights | HeadWeights
