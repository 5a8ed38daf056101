"""The voxel grid that an abdomen is painted on: shapes as signed distances, soft edges, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Axes = tuple[Floats, Floats, Floats]
Point = tuple[float, float, float]
Box = tuple[slice, ...]
DEFAULT_FIELD_MM = (340.0, 270.0, 360.0)
# the noise lattice covers the largest body, so that a seed means one anatomy whatever the grid
DOMAIN_MM = ((-190.0, 190.0), (-160.0, 160.0), (-10.0, 370.0))
BUILD_MM = (130.0, 92.0)  # half width and depth of the muscle wall that the tables of positions are for
FAT, MUSCLE, GAS, LUNG = -104.0, 60.0, -960.0, -850.0
SLAB = 12  # planes painted at once: 5 MB of float32 stay in the cache, a whole volume's 80 MB do not


@dataclass(frozen=True)
class Shape:
    """A signed distance (z, y, x), mm, on a part of the grid."""

    box: Box
    distance: Floats

    def moved(self, inwards: float) -> Shape:
        """The shape with its border moved inwards, mm."""
        return Shape(self.box, self.distance + np.float32(inwards))

    def within(self, other: Floats) -> Shape:
        """The part that also lies inside another distance on the same box."""
        return Shape(self.box, np.maximum(self.distance, other))

    def on(self, box: Box) -> Floats:
        """The distance on another box: far outside where the shape has no values."""
        result = np.full([part.stop - part.start for part in box], 30.0, np.float32)
        shared = [
            (max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
            for a, b in zip(self.box, box, strict=True)
        ]
        mine = tuple(slice(low - a.start, high - a.start) for (low, high), a in zip(shared, self.box, strict=True))
        theirs = tuple(slice(low - b.start, high - b.start) for (low, high), b in zip(shared, box, strict=True))
        result[theirs] = self.distance[mine]
        return result


class Scene:
    """The voxel grid being painted, with the patient's build and contrast phase.

    `hu` and `labels` are (z, y, x); `axes` are x, y, z in mm, shaped to broadcast against them. `wall` and
    `diaphragm` are distances to the inner border of the muscle wall and to the diaphragm (negative below).
    """

    def __init__(self, rng: np.random.Generator, spacing: Point, field_mm: Point) -> None:
        counts = [max(1, round(extent / step)) for extent, step in zip(field_mm, spacing, strict=True)]
        lines = [
            (middle + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
            for middle, count, step in zip((0, 0, DEFAULT_FIELD_MM[2] / 2), counts, spacing, strict=True)
        ]
        self.axes: Axes = (lines[0][None, None, :], lines[1][None, :, None], lines[2][:, None, None])
        self.hu: Floats = np.full(counts[::-1], -1000.0, np.float32)
        self.wall, self.diaphragm = np.empty_like(self.hu), np.empty_like(self.hu)
        self.labels = np.zeros(counts[::-1], np.uint8)
        self.edge = max(1.6, float(np.mean(spacing)) * 1.2)  # mm over which a border blends
        self.voxel_ml = float(np.prod(spacing)) / 1000
        self.wavy, self.rough = _smooth_noise(rng, lines, 26.0), _smooth_noise(rng, lines, 6.5)
        self.fatness = float(rng.uniform(0, 1))
        self.portal = float(rng.uniform(0.4, 1))  # 0: late arterial, 1: late portal-venous
        self.contrast = float(rng.uniform(0.8, 1.25))  # how much agent there is for the body's weight
        self.half_width = 120 + 16 * self.fatness + float(rng.uniform(-4, 4))  # of the muscle wall
        self.half_depth = 84 + 16 * self.fatness + float(rng.uniform(-4, 4))
        self.scale = (self.half_width / BUILD_MM[0], self.half_depth / BUILD_MM[1], 1.0)

    def phase(self, arterial: float, portal: float) -> float:
        """HU of a tissue of 40 HU without contrast, between its two contrast phases."""
        return 40 + self.contrast * (arterial + (portal - arterial) * self.portal - 40)

    def slabs(self) -> Iterator[tuple[Box, Axes]]:
        """The whole grid, a few planes at a time."""
        depth, height, width = self.hu.shape
        for start in range(0, depth, SLAB):
            box = (slice(start, min(start + SLAB, depth)), slice(0, height), slice(0, width))
            yield box, self.local(box)

    def local(self, box: Box) -> Axes:
        """The axes x, y, z of a part of the grid."""
        return self.axes[0][:, :, box[2]], self.axes[1][:, box[1]], self.axes[2][box[0]]

    def crop(self, low: Floats, high: Floats) -> Box:
        """The part of the grid between two corners (x, y, z), mm."""
        ends = zip(self.axes, low, high, strict=True)
        x, y, z = (slice(*np.searchsorted(axis.ravel(), (a, b)).tolist()) for axis, a, b in ends)
        return z, y, x

    def ellipsoid(self, centre: Point, radii: Point, wobble: float = 0.0, tilt: Point = (0, 0, 0)) -> Shape:
        """An ellipsoid; `tilt` shears x and y along z and y along x, `wobble` (mm) bends its surface."""
        middle = np.array(centre) * self.scale
        reach = np.array(radii) * 1.15 + np.abs([tilt[0], tilt[1], 0]) * radii[2] + abs(tilt[2]) * radii[0] + 8
        box = self.crop(middle - reach, middle + reach)
        dx, dy, dz = (axis - np.float32(m) for axis, m in zip(self.local(box), middle, strict=True))
        dx = dx - tilt[0] * dz
        dy = dy - tilt[1] * dz - tilt[2] * dx
        a, b, c = radii
        level = np.sqrt((dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2)
        slope = np.sqrt((dx / a**2) ** 2 + (dy / b**2) ** 2 + (dz / c**2) ** 2) + np.float32(1e-6)
        return Shape(box, level * (level - 1) / slope + np.float32(wobble) * self.wavy[box])

    def tube(self, path: Floats, wobble: float = 0.0, smooth: int = 4) -> Shape:
        """A curved tube along a path (n, 4) of x, y, z and radius, mm; `smooth` straight pieces for each span."""
        knots = _curve(path * np.array([*self.scale, 1.0]), smooth)
        margin = knots[:, 3].max() + 4 + 3 * abs(wobble)
        box = self.crop(knots[:, :3].min(0) - margin, knots[:, :3].max(0) + margin)
        distance = np.full([part.stop - part.start for part in box], 30.0, np.float32)
        for start, end in pairwise(knots.astype(np.float32)):
            part = self.crop(np.minimum(start, end)[:3] - margin, np.maximum(start, end)[:3] + margin)
            step = end - start
            offsets = [axis - s for axis, s in zip(self.local(part), start[:3], strict=True)]
            dot = sum(o * s for o, s in zip(offsets, step[:3], strict=True))
            along = np.clip(dot / (step[:3] @ step[:3] + np.float32(1e-6)), 0, 1)
            square = sum((o - along * s) ** 2 for o, s in zip(offsets, step[:3], strict=True))
            near = np.sqrt(square) - along * step[3] - start[3]
            view = distance[tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))]
            np.minimum(view, near, out=view)
        return Shape(box, distance + np.float32(wobble) * self.wavy[box])

    def paint(
        self, shape: Shape, hu: float | Floats, label: int | None = 0, texture: float = 2.0, halo: float = 0.0
    ) -> None:
        """Blend a shape in. `label` None keeps the labels below; `halo` lays fat of that width (mm) around first."""
        if halo > 0:
            self.paint(shape.moved(-halo), FAT, texture=5.0)
        planes, *rest = shape.box
        for start in range(planes.start, planes.stop, SLAB):
            box = (slice(start, min(start + SLAB, planes.stop)), *rest)
            distance = shape.distance[box[0].start - planes.start : box[0].stop - planes.start]
            share = np.clip(0.5 - distance / np.float32(self.edge), 0, 1)
            if label is not None:
                self.labels[box][share > 0.5] = label
            value = hu + np.float32(texture) * (self.wavy[box] + self.rough[box])
            self.hu[box] += share * (value - self.hu[box])


def waypoints(rows: str, rng: np.random.Generator | None = None, jitter: float = 0.0, girth: float = 1.0) -> Floats:
    """A table "x y z r, x y z r, ..." in mm as an array (n, 4), its points moved at random, its radii scaled."""
    path = np.array([row.split() for row in rows.split(",")], float)
    if rng is not None:
        path[:, :3] += rng.normal(0, jitter, (len(path), 3))
    return path * (1, 1, 1, girth)


def _curve(knots: Floats, pieces: int) -> Floats:
    """A Catmull-Rom curve through the knots."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        spans.append(b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d))))
    return np.concatenate([*spans, knots[-1:]])


def _smooth_noise(rng: np.random.Generator, lines: list[Floats], scale: float) -> Floats:
    """Random field (z, y, x) of about unit variance: cubic B-splines on a lattice of `scale` mm."""
    counts = [int((high - low) / scale) + 4 for low, high in DOMAIN_MM]
    field = rng.standard_normal(counts[::-1], np.float32) * np.float32(3.0)  # splines keep 1/9 of the variance
    # z, y, x in this order: each product turns the axis it made to the end, and the largest one comes last
    for line, count, (low, high) in list(zip(lines, counts, DOMAIN_MM, strict=True))[::-1]:
        gap = np.abs(((np.clip(line, low, high) - low) / scale + 1)[:, None] - np.arange(count))
        weights = np.where(gap < 1, 2 / 3 - gap**2 + gap**3 / 2, np.clip(2 - gap, 0, None) ** 3 / 6)
        field = np.tensordot(field, weights.astype(np.float32), axes=(0, 1))
    return field


def add_noise(hu: Floats, rng: np.random.Generator, spacing: Point) -> None:
    """Scanner noise of 10-15 HU, correlated over about a millimetre in the plane and a little between slices."""
    sigma = float(rng.uniform(10, 15))
    bx, by = (np.float32(np.exp(-0.5 * (step / 0.8) ** 2)) for step in spacing[:2])
    between = np.float32(0.35)
    unit = np.float32(sigma / np.sqrt((1 + 2 * bx * bx) * (1 + 2 * by * by) * (1 + between**2)))
    before = np.zeros(hu.shape[1:], np.float32)
    for plane in hu:
        grain = rng.standard_normal((plane.shape[0] + 2, plane.shape[1] + 2), np.float32)
        grain = grain[1:-1] + by * (grain[:-2] + grain[2:])
        grain = grain[:, 1:-1] + bx * (grain[:, :-2] + grain[:, 2:])
        plane += unit * (grain + between * before)
        before = grain
