"""A synthetic portal-venous abdomen with its labels: the demo CT, and a small share of the training patches.

Organs are signed distances (mm, negative inside) in a patient frame: x to the left from the midline, y to the back
from the body's centre, z to the head from the pelvis. They are painted one over the other onto the voxel grid with a
soft edge, so that borders blend as in a scanner. No patient's data goes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from TernarySegmentLib.errors import InputError

Floats = NDArray[np.floating[Any]]
Axes = tuple[Floats, Floats, Floats]
Point = tuple[float, float, float]
Box = tuple[slice, ...]
DEFAULT_FIELD_MM = (340.0, 270.0, 360.0)
# the noise lattice covers the largest body, so that a seed means one anatomy whatever the grid
DOMAIN_MM = ((-190.0, 190.0), (-160.0, 160.0), (-10.0, 370.0))
BUILD_MM = (130.0, 92.0)  # half width and depth of the muscle wall that the tables of positions are for
VERTEBRAE_MM = [45 + 34.0 * level for level in range(-2, 11)]  # index 4 is L2
FAT, MUSCLE, GAS, LUNG = -104.0, 60.0, -960.0, -850.0
RESERVED = 255  # vessels and duodenum while painting: no label, but the pancreas must not cover them
SLAB = 12  # planes painted at once: 5 MB of float32 stay in the cache, a whole volume's 80 MB do not


class Label(IntEnum):
    """Values of the label image."""

    SPLEEN = 1
    RIGHT_KIDNEY = 2
    LEFT_KIDNEY = 3
    GALLBLADDER = 4
    LIVER = 5
    STOMACH = 6
    AORTA = 7
    PANCREAS = 8


@dataclass(frozen=True)
class Phantom:
    """A synthetic CT (int16 HU) and its labels (uint8, see `Label`) on one LPS grid with identity direction."""

    ct: sitk.Image
    labels: sitk.Image


def make_phantom(
    seed: int, spacing: Point = (0.9, 0.9, 2.0), field_mm: Point = DEFAULT_FIELD_MM, noise: bool = True
) -> Phantom:
    """Make an abdomen from the pelvis' top to the lung bases; a seed gives the same patient on every grid.

    Args:
        seed: chooses habitus, organ sizes and places, contrast phase, bowel content and noise.
        spacing: voxel size (x, y, z), mm.
        field_mm: field of view (x, y, z), mm, about the middle of the body.
        noise: add scanner noise.

    Raises:
        InputError: a spacing or field of view that is not positive.

    Examples:
        >>> phantom = make_phantom(0, spacing=(8.0, 8.0, 8.0))
        >>> phantom.ct.GetSpacing()
        (8.0, 8.0, 8.0)
    """
    if min(spacing) <= 0 or min(field_mm) <= 0:
        raise InputError(f"A phantom needs positive millimetres, not spacing {spacing} and field {field_mm}.")
    rng = np.random.default_rng(seed)
    scene = _Scene(rng, spacing, field_mm)
    for add in (_trunk, _chest, _bowel, _muscles, _bones, _liver, _stomach, _spleen, _kidneys, _vessels, _pancreas):
        add(scene, rng)
    if noise:
        _add_noise(scene.hu, rng, spacing)
    np.clip(scene.hu, -1024, 3071, out=scene.hu)
    scene.labels[scene.labels == RESERVED] = 0
    ct, labels = sitk.GetImageFromArray(np.rint(scene.hu).astype(np.int16)), sitk.GetImageFromArray(scene.labels)
    for image in (ct, labels):
        image.SetSpacing(spacing)
        image.SetOrigin([float(axis.flat[0]) for axis in scene.axes])
    return Phantom(ct, labels)


# ---------------------------------------------------------------------------------------------- the canvas


@dataclass(frozen=True)
class _Shape:
    """A signed distance (z, y, x), mm, on a part of the grid."""

    box: Box
    distance: Floats

    def moved(self, inwards: float) -> _Shape:
        """The shape with its border moved inwards, mm."""
        return _Shape(self.box, self.distance + np.float32(inwards))

    def within(self, other: Floats) -> _Shape:
        """The part that also lies inside another distance on the same box."""
        return _Shape(self.box, np.maximum(self.distance, other))

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


class _Scene:
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

    def ellipsoid(self, centre: Point, radii: Point, wobble: float = 0.0, tilt: Point = (0, 0, 0)) -> _Shape:
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
        return _Shape(box, level * (level - 1) / slope + np.float32(wobble) * self.wavy[box])

    def tube(self, path: Floats, wobble: float = 0.0, smooth: int = 4) -> _Shape:
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
        return _Shape(box, distance + np.float32(wobble) * self.wavy[box])

    def paint(
        self, shape: _Shape, hu: float | Floats, label: int | None = 0, texture: float = 2.0, halo: float = 0.0
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


def _path(rows: str, rng: np.random.Generator | None = None, jitter: float = 0.0, girth: float = 1.0) -> Floats:
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


def _add_noise(hu: Floats, rng: np.random.Generator, spacing: Point) -> None:
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


# --------------------------------------------------------------------------------------------- the anatomy


def _trunk(scene: _Scene, rng: np.random.Generator) -> None:
    """The couch, skin, subcutaneous fat, the muscle wall with ribs, and the fat-filled cavity."""
    fat = 5 + 9 * scene.fatness + float(rng.uniform(0, 4))
    thickness = np.float32(11.0 - 2.5 * scene.fatness)
    for box, (x, y, z) in scene.slabs():
        waist = 1 - 0.045 * np.exp(-(((z - 110) / 70) ** 2))
        u, v = (x / (scene.half_width * waist)) ** 2, (y / (scene.half_depth * waist)) ** 2
        oval = np.sqrt(np.clip(u + v - 0.33 * u * v, 0, None)) - 1  # an ellipse with fuller corners
        wall = oval * (0.45 * scene.half_width + 0.55 * scene.half_depth) + np.float32(1.5) * scene.wavy[box]
        scene.wall[box] = wall + thickness
        # the back has little fat, the flanks and the belly more
        cover = fat * (0.75 + 0.25 * np.cos(np.clip((y + 40) / 60, -1.5, 2.2)))
        couch = np.abs(y + x**2 / 900 - (scene.half_depth + 0.9 * fat + 5)) - 1.2
        scene.paint(_Shape(box, couch + 0 * wall), 60.0, texture=0)
        skin = _Shape(box, wall - cover * (1 + 0.2 * np.exp(-(((z - 60) / 60) ** 2))))
        scene.paint(skin, 5.0)
        scene.paint(skin.moved(2.2), FAT, texture=4)
        scene.paint(_Shape(box, wall), MUSCLE, texture=5)
        scene.paint(_Shape(box, scene.wall[box]), FAT - 2, texture=7)
        # ribs: oblique hoops inside the wall, above the costal margin; cartilage in front
        hoop = np.mod(z + 0.55 * (60 - y) + 4 * scene.wavy[box], 29.0) - 14.5
        rib = np.sqrt(((wall + 6) / 3.6) ** 2 + (hoop / 6.5) ** 2) * 4 - 4
        margin = 150 + 1.05 * np.clip(45 - y, 0, 120) - 0.25 * np.abs(x)
        bone, front = _Shape(box, rib).within(margin - z), np.clip((-35 - y) / 10, 0, 1)
        scene.paint(bone, 430 - 310 * front)
        scene.paint(bone.moved(2.4), 170 - 60 * front)


def _chest(scene: _Scene, rng: np.random.Generator) -> None:
    """Diaphragm, lung bases with their vessels, heart and gullet."""
    top = float(rng.uniform(278, 296))
    sx, sy, _ = scene.scale
    for box, (x, y, z) in scene.slabs():
        fall = np.where(y < 0, 70, 45) * ((y / sy + 4) / 78) ** 2
        right = top - 62 * ((x / sx + 62) / 75) ** 2
        left = top - 14 - 62 * ((x / sx - 66) / 72) ** 2
        dome = np.maximum(np.maximum(right, left) - fall, top - 42 - 0.5 * np.clip(y + 20, 0, 200))
        scene.diaphragm[box] = 0.75 * (z - np.maximum(dome, 165) - 3 * scene.wavy[box])
        spine = 34 - np.sqrt(x**2 + ((y - 44 * sy) / 1.1) ** 2)
        lung = np.maximum(np.maximum(scene.wall[box] + 1.5, 3 - scene.diaphragm[box]), spine)
        scene.paint(_Shape(box, lung), LUNG, texture=9)
    for _ in range(46):
        side = float(rng.choice([-1, 1]))
        root = np.array([side * rng.uniform(30, 50), rng.uniform(-10, 30), 370])
        tip = np.array([side * rng.uniform(40, 110), rng.uniform(-60, 60), rng.uniform(225, 330)])
        bend = (root + tip) / 2 + rng.normal(0, 8, 3)
        vessel = scene.tube(np.column_stack([[root, bend, tip], [2.6, 1.7, 0.8]]), smooth=2)
        limit = np.maximum(scene.wall[vessel.box], -scene.diaphragm[vessel.box]) + 5
        scene.paint(vessel.within(limit), 20.0)
    heart = scene.ellipsoid((24, -28, 345), (62, 48, 52), 3, (0, 0, 0.2))
    above = heart.within(4 - scene.diaphragm[heart.box])
    scene.paint(above, scene.phase(90, 100), halo=5)
    scene.paint(above.moved(11), scene.phase(250, 150))
    scene.paint(scene.tube(_path("6 14 370 8, 10 8 300 8, 22 2 262 9")), 50.0)


def _bowel(scene: _Scene, rng: np.random.Generator) -> None:
    """Mesenteric vessels, small-bowel loops and the colon with faeces and gas."""
    fluid, wall = float(rng.uniform(5, 40)), scene.phase(70, 85)
    if rng.uniform() < 0.25:
        fluid = float(rng.uniform(120, 280))  # contrast was drunk
    for _ in range(round(20 - 7 * scene.fatness)):
        spot = np.array([rng.uniform(-65, 80), rng.uniform(-74, -12), rng.uniform(5, 130)])
        course = [spot]
        for _ in range(6):
            course.append(np.clip(course[-1] + rng.normal(0, 1, 3) * (26, 15, 20), (-80, -76, -5), (88, 4, 134)))
        radii = rng.uniform(8, 12.5) * rng.uniform(0.8, 1.15, len(course))
        loop = scene.tube(np.column_stack([course, radii]), 1.0, smooth=3)
        # a third of the loops are collapsed: all wall and no lumen to speak of
        content = fluid + float(rng.uniform(0, 20)) if rng.uniform() < 0.65 else wall - 15
        _hollow(scene, loop, 1.9, wall, content, float(rng.uniform(0, 0.2)))
    for _ in range(26):
        x, y, z = rng.uniform(-80, 80), rng.uniform(-70, 0), rng.uniform(10, 120)
        scene.paint(scene.tube(_path(f"0 -15 110 2.5, {x / 2} -30 85 2, {x} {y} {z} 1.2"), smooth=3), wall + 40)
    colon = (
        "-88 30 -15 21, -98 22 40 22, -98 18 85 20, -86 -18 116 18, -62 -58 104 17, -20 -70 88 17, 30 -72 92 17, "
        "70 -58 126 17, 98 -14 170 16, 106 22 164 15, 106 36 120 14, 102 40 60 13, 96 30 -15 14"
    )
    loop = scene.tube(_path(colon, rng, 4, float(rng.uniform(0.85, 1.15))), 1.5)
    folds = _Shape(loop.box, loop.distance + np.float32(1.6) * scene.rough[loop.box])
    _hollow(scene, folds, 2.2, wall, 35, float(rng.uniform(0.2, 0.8)), faeces=True)


def _hollow(
    scene: _Scene, loop: _Shape, wall: float, hu: float, content: float, gas: float, label: int = 0,
    faeces: bool = False,
) -> None:  # fmt: skip
    """A gut segment: wall, fluid or faeces, and gas that rises to the front in a share `gas` of its length."""
    box, rough, wavy = loop.box, scene.rough[loop.box], scene.wavy[loop.box]
    gut = loop.within(scene.wall[box] + 2)
    scene.paint(gut, hu, label, halo=0.8 + scene.fatness if label else 0)
    lumen = gut.moved(wall)
    scene.paint(lumen, content, label, texture=28.0 if faeces else 3.0)
    if faeces:
        scene.paint(lumen.within(4 * (np.float32(1.1) - rough)), -420.0, label)
    if gas > 0 and min(wavy.shape) > 1:
        # distances fall towards the lumen's middle, so their slope along y tells its front from its back
        slope = np.gradient(loop.distance, axis=1) / np.float32(scene.axes[1].flat[1] - scene.axes[1].flat[0])
        start = np.float32(np.quantile(wavy[:: 1 + len(wavy) // 40, ::4, ::4], 1 - gas))
        pocket = np.maximum(12 * (start - wavy), 12 * (slope + np.float32(0.15)))
        scene.paint(lumen.moved(0.5).within(pocket), GAS, label)


def _muscles(scene: _Scene, rng: np.random.Generator) -> None:
    """Back muscles, psoas and the crura of the diaphragm; older and fatter ones are streaked with fat."""
    streaks = 4 + 8 * scene.fatness + float(rng.uniform(0, 4))
    for side in (-1, 1):
        for x, y, z, radii in ((34, 74, 60, (33, 21, 150)), (30, 74, 240, (27, 17, 140)), (62, 64, 70, (21, 12, 70))):
            scene.paint(scene.ellipsoid((side * x, y, z), radii, 2), MUSCLE - streaks, texture=streaks)
        psoas = f"{side * 24} 44 175 6, {side * 36} 42 110 15, {side * 46} 38 50 20, {side * 54} 26 -20 22"
        scene.paint(scene.tube(_path(psoas), 1.0), MUSCLE + 4, texture=4)
        crus = f"{side * 12} 24 120 3, {side * 15 + 4} 20 165 4, {side * 17 + 6} 18 205 5, {side * 20 + 6} 20 240 4"
        scene.paint(scene.tube(_path(crus), 0.5), MUSCLE + 4)


def _bones(scene: _Scene, rng: np.random.Generator) -> None:
    """Vertebrae with discs, arches and canal, and the iliac wings."""
    marrow = float(rng.uniform(130, 220))
    for side in (-1, 1):
        wing = scene.ellipsoid((side * 92, 38, -8), (9, 48, 56), 1.5, (0.45 * side, 0, 0))
        scene.paint(wing, 420.0, texture=25)
        scene.paint(wing.moved(3), marrow, texture=15)
    for level in VERTEBRAE_MM:
        body = scene.ellipsoid((0, 44, level), (24, 18, 60), 0.6)
        height = np.abs(scene.local(body.box)[2] - level)
        scene.paint(body.within(height - 13.5), 430.0, texture=20)
        scene.paint(body.moved(1.8).within(height - 11.7), marrow, texture=20)
        scene.paint(body.moved(-1.5).within(np.abs(height - 17) - 3.6), 85.0)
        for x, y, z in ((0, 92, level - 12), (34, 66, level - 2), (-34, 66, level - 2)):
            arch = scene.tube(_path(f"{0.45 * x} 60 {level} 6, {0.5 * x} 68 {level} 6, {x} {y} {z} 4.5"), smooth=2)
            scene.paint(arch, 380.0, texture=20)
            scene.paint(arch.moved(2.5), marrow, texture=15)
    canal = scene.tube(_path("0 65 -20 9.5, 0 65 380 9.5"), smooth=1)
    scene.paint(canal, FAT / 2)
    scene.paint(canal.moved(2), 30.0)


def _under_diaphragm(scene: _Scene, shape: _Shape, gap: float) -> _Shape:
    """The shape's part inside the cavity and below the diaphragm."""
    return shape.within(np.maximum(scene.wall[shape.box], scene.diaphragm[shape.box]) + np.float32(gap))


def _liver(scene: _Scene, rng: np.random.Generator) -> None:
    """Liver between the diaphragm and a slanting lower face, with its veins, and the gallbladder."""
    sx, sy, _ = scene.scale
    bulk = scene.ellipsoid((-50, -5, 205), (62 + float(rng.uniform(55, 80)), 105, 112), 2)
    x, y, z = scene.local(bulk.box)
    face = float(rng.uniform(98, 122)) + 0.66 * (x / sx + 130) + 0.30 * np.clip(y / sy + 25, -30, 90)
    lower = 0.8 * (face + 5 * scene.wavy[bulk.box] - z)
    behind = 0.7 * (y / sy - 16 - 0.55 * np.clip(-x / sx - 25, 0, 130))
    liver = _under_diaphragm(scene, bulk.within(lower).within(behind), 2)
    fatty = 22 * scene.fatness * float(rng.uniform(0, 1))
    scene.paint(liver, scene.phase(72, 112) - fatty, Label.LIVER, texture=3, halo=0.5 + scene.fatness)
    for tree in (
        "-22 8 262 5, -60 0 250 3.5, -105 -5 225 1.2", "-22 6 262 5, -45 -35 240 3.5, -60 -65 205 1.2",
        "-22 4 262 5, 0 -30 250 3.5, 25 -55 235 1.2", "-60 0 250 3, -75 15 225 2.5, -90 30 200 1",
        "-28 -14 190 6, -60 -5 200 4, -105 5 185 1.2", "-45 -10 195 4, -75 -40 200 3, -95 -50 170 1.2",
        "-28 -14 190 5, -12 -35 218 3.5, 18 -50 228 1.2", "-60 -5 200 4, -85 20 225 3, -105 25 250 1.2",
        "-75 -40 200 2.5, -100 -35 215 2, -112 -20 225 1", "-85 20 225 2, -60 35 235 1.5, -50 40 215 1",
    ):  # fmt: skip
        vein = scene.tube(_path(tree, rng, 3))
        scene.paint(vein.within(liver.on(vein.box) + 2), scene.phase(90, 165) - fatty / 2, None)
    length = float(rng.uniform(24, 36))
    sac = f"-52 -28 166 7, -60 -42 {166 - length} 13, -64 -52 {166 - 1.7 * length} 11"
    bladder = scene.tube(_path(sac, rng, 2, float(rng.uniform(0.8, 1.15))), 0.8)
    scene.paint(bladder.moved(-1.6), 60.0)
    scene.paint(bladder, float(rng.uniform(4, 20)), Label.GALLBLADDER, texture=1)


def _stomach(scene: _Scene, rng: np.random.Generator) -> None:
    """Stomach with fluid and gas, and the duodenum's loop to the ligament of Treitz."""
    way = "46 22 250 20, 54 4 232 27, 62 -30 206 27, 52 -54 180 24, 24 -60 164 19, -8 -52 158 15, -30 -40 156 8"
    tube = scene.tube(_path(way, rng, 3, float(rng.uniform(0.72, 1.1))), 2.5)
    folds = _Shape(tube.box, tube.distance + np.float32(1.2) * scene.rough[tube.box])
    content = float(rng.choice([18.0, 35.0, 160.0], p=[0.5, 0.35, 0.15]))
    gas = float(rng.uniform(0.2, 0.5))
    stomach = _under_diaphragm(scene, folds, 4)
    _hollow(scene, stomach, 4.5, scene.phase(95, 85), content, gas, Label.STOMACH)
    loop = (
        "-30 -38 156 9, -44 -24 154 11, -50 -4 138 12, -49 4 106 12, -34 4 84 11, -8 -1 82 9, 20 -1 92 9, 34 -12 118 10"
    )
    duodenum = scene.tube(_path(loop, rng, 2, float(rng.uniform(0.85, 1.1))), 1.0)
    content, gas = float(rng.uniform(5, 60)), float(rng.uniform(0, 0.2))
    _hollow(scene, duodenum, 2.8, scene.phase(90, 95), content, gas, RESERVED)


def _spleen(scene: _Scene, rng: np.random.Generator) -> None:
    """Spleen behind under the left diaphragm, hollowed towards the stomach and the kidney."""
    size = float(rng.uniform(0.88, 1.15))
    body = scene.ellipsoid((96, 34, 205), (29 * size, 46 * size, 54 * size), 3, (0.05, 0.2, -0.35))
    hollow = scene.ellipsoid((58, 14, 200), (27, 40, 90), 2)
    spleen = _under_diaphragm(scene, body.within(2 - hollow.on(body.box)), 2.5)
    scene.paint(spleen, scene.phase(135, 118), Label.SPLEEN, halo=1 + scene.fatness)


def _kidneys(scene: _Scene, rng: np.random.Generator) -> None:
    """Kidneys in their fat, brighter cortex, sinus with fat and pelvis; adrenal glands above."""
    for label, side, level in ((Label.RIGHT_KIDNEY, -1, 126.0), (Label.LEFT_KIDNEY, 1, 138.0)):
        level += float(rng.normal(0, 5))
        size = float(rng.uniform(0.9, 1.05))
        kidney = scene.ellipsoid(
            (side * 64, 46, level), (26 * size, 28 * size, 53 * size), 1.5, (-0.16 * side, -0.12, 0.3 * side)
        )
        scene.paint(kidney, scene.phase(205, 180), label, texture=5, halo=3 + 6 * scene.fatness)
        pyramids = kidney.moved(7).within(-6 * (scene.rough[kidney.box] + np.float32(0.6)))
        scene.paint(pyramids, scene.phase(125, 172), label)
        sinus = f"{side * 36} 38 {level} 11, {side * 50} 42 {level} 10, {side * 60} 45 {level} 6"
        for hole in (scene.tube(_path(sinus), 1.5), scene.ellipsoid((side * 56, 44, level), (9, 8, 24), 2)):
            scene.paint(hole, FAT + 8)
        scene.paint(scene.ellipsoid((side * 50, 42, level), (8, 6, 10), 2), 15.0)
        for tip in ("36 36", "50 38"):
            x, y = tip.split()
            gland = _path(f"{side * 38} 22 {level + 52} 2.6, {side * int(x)} {y} {level + 42} 2.2")
            scene.paint(scene.tube(gland, 0.5), scene.phase(70, 80), RESERVED)


def _vessels(scene: _Scene, rng: np.random.Generator) -> None:
    """Aorta, vena cava, portal system and the arteries to bowel, liver, spleen and kidneys."""
    artery, vein, portal = scene.phase(270, 150), scene.phase(90, 130), scene.phase(105, 165)
    cava = "-16 16 -20 10, -21 15 80 10.5, -23 13 150 11.5, -26 8 220 12, -20 -2 290 12, -14 -12 330 13"
    scene.paint(scene.tube(_path(cava), 1.5), vein, RESERVED, halo=0.6)
    for renal in ("-10 8 142 4.5, -30 24 138 4.2, -50 38 132 4", "-8 4 148 4.5, 26 14 146 4.2, 50 38 142 4"):
        scene.paint(scene.tube(_path(renal)), vein, RESERVED)
    trunk = "4 16 20 .85, 9 15 90 .9, 11 15 150 1, 13 20 220 1.1, 19 27 290 1.15, 22 30 380 1.2"
    aorta = scene.tube(_path(trunk, girth=float(rng.uniform(8.5, 11.5))), 0.4)
    scene.paint(aorta, artery, Label.AORTA, halo=0.8)
    for branch in (
        "7 16 22 6.5, 22 20 -20 6", "1 16 22 6.5, -22 20 -20 6",
        "10 10 158 4, 9 -4 154 3.6, 7 -9 130 3.4, 6 -12 60 2.6",
        "11 10 172 4, 8 -4 176 3.2, -16 -18 178 3, -28 -16 188 2.6",
        "8 -4 176 3, 30 -8 180 3, 54 2 178 3, 84 26 194 2.4",
    ):  # fmt: skip
        scene.paint(scene.tube(_path(branch, rng, 1)), artery, RESERVED)
    for branch in (
        "-10 -14 40 4.5, -9 -16 100 5.5, -8 -13 148 6.5", "-8 -13 146 7, -16 -14 166 7, -28 -14 190 6",
        "-8 -12 149 6, 14 -10 156 5, 40 -2 163 4.5, 62 14 173 4.2, 88 30 192 3",
    ):  # fmt: skip
        scene.paint(scene.tube(_path(branch, rng, 0.7)), portal, RESERVED, halo=0.5)


def _pancreas(scene: _Scene, rng: np.random.Generator) -> None:
    """Pancreas: a tapered tube from the duodenum's loop over the great vessels to the spleen's hilum.

    Its lobulated border is moved in or out until the organ has the drawn volume, 58-112 mL.
    """
    up = float(rng.normal(0, 6))
    way = _path(
        "-24 -2 104 9, -32 -8 118 13, -31 -14 134 14, -20 -21 147 11.5, -4 -26 153 8.5, 18 -23 159 9.5, "
        f"40 -16 {165 + 0.3 * up} 10, 60 -2 {173 + 0.7 * up} 10, 78 14 {183 + up} 7.5", rng, 1.5,
    )  # fmt: skip
    way[:, 3] *= rng.uniform(0.9, 1.1, len(way))
    organ = scene.tube(way, 0.8, smooth=5)
    box, hook = organ.box, scene.tube(_path("-28 -2 112 9, -13 0 116 5"), smooth=1)
    lobules = np.float32(1.5 + scene.fatness) * scene.rough[box]
    distance = np.minimum(organ.distance, hook.on(box)) + lobules
    taken = scene.labels[box] != 0
    free = distance[~taken]
    wanted = round(float(rng.uniform(58, 112)) / scene.voxel_ml)
    if wanted < free.size:
        distance -= np.clip(np.partition(free, wanted)[wanted], -5, 5)
    distance[taken] = 5.0
    organ, hu = _Shape(box, distance), scene.phase(118, 98) + float(rng.normal(0, 4))
    scene.paint(organ, hu, Label.PANCREAS, texture=5, halo=0.8 + scene.fatness)
    clefts = organ.within(4 * (np.float32(1.5 - 0.5 * scene.fatness) - scene.rough[box]))
    scene.paint(clefts, hu - 40 - 50 * scene.fatness, None)
    duct = way[1:] * (1, 1, 1, 0) + (0, 0, 0, 1.0)
    scene.paint(scene.tube(duct).within(organ.on(scene.tube(duct).box) + 2), 30.0, None)
