"""What is measured: a model's networks, on the grids that a sample scan gives them."""

from __future__ import annotations

import math

from TernarySegmentLib.engine.graph import Graph
from TernarySegmentLib.engine.modelfile import Model, Stage

SCAN_MM, REGION_MM = (460.0, 460.0, 221.0), (216.0, 156.0, 164.0)
"""Extent (x, y, z) of the 512×512×221 sample scan, and of the region in it that the coarse pass leaves to the fine."""


def working_shape(name: str, stage: Stage) -> tuple[int, int, int]:
    """The grid (z, y, x) on which a network works: over the pancreas region if its name says a fine one, else all."""
    extent = REGION_MM if name.startswith("fine") else SCAN_MM
    step = stage.spacing * stage.graph.multiple
    x, y, z = (max(1, math.ceil(side / step - 1e-6)) * stage.graph.multiple for side in extent)
    return z, y, x


def alike(model: Model) -> dict[str, list[str]]:
    """The model's networks, fine ones first, each with the names of all that share its layers and grid.

    Networks that differ in their weights alone take the same time, so one of them is measured.
    """
    groups: dict[tuple[Graph, tuple[int, int, int]], list[str]] = {}
    for name in sorted(model.stages, key=lambda name: (not name.startswith("fine"), name)):
        stage = model.stages[name]
        groups.setdefault((stage.graph, working_shape(name, stage)), []).append(name)
    return {names[0]: names for names in groups.values()}
