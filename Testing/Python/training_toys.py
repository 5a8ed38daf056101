"""Small scans and settings on which the training code can be run within seconds."""

from __future__ import annotations

import numpy as np
import torch

from TernarySegmentLib.training.data import Case
from TernarySegmentLib.training.settings import LABELS, PANCREAS, Settings

TINY = Settings(widths=(4, 6, 8), patch=(16, 16, 16), batch=1, steps=6, phantom_share=0.0, frozen_norm=0.34)


def toy_case(seed: int) -> Case:
    """A ball of every label in noise."""
    random = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(40)] * 3, indexing="ij")
    labels = np.zeros((40, 40, 40), np.uint8)
    for label in range(1, len(LABELS)):
        centre = random.uniform(8, 32, 3)
        labels[sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < 36] = label
    hu = (labels * 25.0 + random.normal(0, 10, labels.shape)).astype(np.int16)
    return Case(
        f"toy{seed}", torch.from_numpy(hu), torch.from_numpy(labels),
        np.argwhere(labels == PANCREAS), np.argwhere(labels > 0),
    )  # fmt: skip
