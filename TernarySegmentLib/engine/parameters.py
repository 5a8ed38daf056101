"""The numbers of each layer as the kernels want them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from TernarySegmentLib.engine.bitplanes import pack, unpack


@dataclass(frozen=True)
class FirstWeights:
    """Layer of integer levels × integer weights.

    Attributes:
        taps: float32 integers (3, 3, 3, 8, channels); |w| ≤ 127, so that 216 products of levels stay below 2^22.
        low, high: int32 (channels,); a sum ≤ low gives -1, ≥ high gives +1.
    """

    taps: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory while computing."""
        return self.taps.nbytes + self.low.nbytes + self.high.nbytes


@dataclass(frozen=True)
class ConvolutionWeights:
    """Layer of ternary × ternary products.

    Attributes:
        nonzero, negative: uint64 (k³·words, channels), rows in the order (z, y, x, word): the taps of one output
            channel lie in a column, so that a kernel's vector lanes run over output channels.
        low, high: int32 (channels,).
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
    def channels(self) -> int:
        """Output channels."""
        return self.low.shape[0]

    @property
    def nbytes(self) -> int:
        """Memory while the popcount kernels compute."""
        return self.nonzero.nbytes + self.negative.nbytes + self.low.nbytes + self.high.nbytes

    @cached_property
    def _dense(self) -> np.ndarray:
        size = self.kernel
        planes = [p.reshape(size, size, size, -1, self.channels).swapaxes(3, 4) for p in (self.nonzero, self.negative)]
        return np.ascontiguousarray(unpack(planes[0], planes[1], self.inputs).swapaxes(3, 4), np.float32)

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
        return self.matrix.nbytes + self.bias.nbytes


LayerWeights = FirstWeights | ConvolutionWeights | HeadWeights
