"""From HU to the integer levels that the first layer multiplies."""

from __future__ import annotations

import numpy as np

WINDOW = (-125.0, 275.0)
"""HU window; the training scans hold nothing outside it."""
LIMIT = 127


def hu_to_levels(hu: np.ndarray, window: tuple[float, float] = WINDOW) -> np.ndarray:
    """Clip to the window and round to integers in [-127, 127], 0 in the middle of the window.

    Zero padding at the border of a volume therefore reads as soft tissue (75 HU), in training as at inference.

    Args:
        hu: any shape.
        window: lowest and highest HU that are told apart.

    Returns:
        int8 array of the same shape.

    Examples:
        >>> hu_to_levels(np.array([-1000, -125, 75, 275, 3000]))
        array([-127, -127,    0,  127,  127], dtype=int8)
    """
    low, high = window
    centred = np.clip(hu, low, high) - (low + high) / 2
    return np.rint(centred * (2 * LIMIT / (high - low))).astype(np.int8)
