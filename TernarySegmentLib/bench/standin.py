"""A float32 U-Net of the size that whole-body segmentation tools run: random weights, for timing only.

It has the shape nnU-Net plans for such tasks: six levels of two 3×3×3 convolutions with instance norm and leaky ReLU,
32 to 320 channels, strided convolutions down, transposed ones up. It is nobody's trained network and segments nothing.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

WIDTHS = (32, 64, 128, 256, 320, 320)
CLASSES = 25
PATCH = 128
"""Edge of the windows that slide over the scan, voxels; they overlap by half."""
SPACINGS = {"3 mm": 3.0, "1.5 mm": 1.5}


def windows(extent_mm: tuple[float, float, float], spacing: float) -> int:
    """How many windows cover a scan, overlapping by half.

    Args:
        extent_mm: size of the scan.
        spacing: voxel size of the network's grid, mm.
    """
    steps = (max(0.0, length / spacing - PATCH) / (PATCH / 2) for length in extent_mm)
    return math.prod(math.ceil(step) + 1 for step in steps)


def seconds_per_window(threads: int, edge: int) -> float:
    """Time of one window of 128³ voxels, extrapolated by the number of voxels from one of ``edge``³.

    Args:
        threads: for PyTorch.
        edge: a multiple of 32.
    """
    import torch
    from torch import nn

    torch.set_num_threads(threads)

    def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for source, step in ((inputs, stride), (outputs, 1)):
            layers += [nn.Conv3d(source, outputs, 3, step, 1), nn.InstanceNorm3d(outputs, affine=True), nn.LeakyReLU()]
        return nn.Sequential(*layers)

    down = [block(source, width, 1 + (index > 0)) for index, (source, width) in enumerate(pairwise((1, *WIDTHS)))]
    up = [nn.ConvTranspose3d(deep, width, 2, 2) for width, deep in pairwise(WIDTHS)]
    merge = [block(2 * width, width, 1) for width in WIDTHS[:-1]]
    head = nn.Conv3d(WIDTHS[0], CLASSES, 1)

    def run() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            value, skips = torch.zeros(1, 1, edge, edge, edge), []
            for stage in down:
                value = stage(value)
                skips.append(value)
            skips.pop()
            for level in reversed(range(len(up))):
                value = merge[level](torch.cat([up[level](value), skips.pop()], 1))
            head(value)
        return time.perf_counter() - started

    run()
    return min(run() for _ in range(2)) * (PATCH / edge) ** 3
