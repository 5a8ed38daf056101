"""What the head leaves behind: two numbers per voxel of the working grid instead of a score for every label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Decisions on the working grid, (z, y, x).

    Attributes:
        label: uint8, the label with the highest score (the first of equals).
        margin: int32, score of the target label minus the best other one; the target wins where it is positive.
    """

    label: np.ndarray
    margin: np.ndarray

    @staticmethod
    def empty(shape: tuple[int, int, int]) -> Scores:
        """For a head that works on ``shape`` = (D, H, W) blocks of 2×2×2 voxels."""
        full = tuple(2 * n for n in shape)
        return Scores(np.empty(full, np.uint8), np.empty(full, np.int32))

    def store(self, rows: slice, label: np.ndarray, margin: np.ndarray) -> None:
        """Write block results (d, H, W, 2, 2, 2) of the block slices ``rows`` to their voxels."""
        for full, blocks in ((self.label, label), (self.margin, margin)):
            depth, height, width = blocks.shape[:3]
            unfolded = blocks.transpose(0, 3, 1, 4, 2, 5).reshape(2 * depth, 2 * height, 2 * width)
            full[2 * rows.start : 2 * rows.stop] = unfolded
