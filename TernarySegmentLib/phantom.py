"""A synthetic portal-venous abdomen with its labels: the demo CT, and a small share of the training patches.

Organs are signed distances (mm, negative inside) in a patient frame: x to the left from the midline, y to the back
from the body's centre, z to the head from the pelvis. They are painted back to front onto the voxel grid with a soft
edge, so that borders blend as in a scanner. No patient's data goes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from TernarySegmentLib.errors import InputError

Floats = NDArray[np.floating[Any]]
Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]
DEFAULT_FIELD_MM = (340.0, 270.0, 360.0)
# the noise lattice covers the largest body, so that a seed means one anatomy whatever the grid
DOMAIN_MM = ((-190.0, 190.0), (-160.0, 160.0), (-10.0, 370.0))
LEVELS_MM = [45 + 34.0 * level for level in range(-2, 11)]  # vertebral centres; index 4 is L2
FAT, MUSCLE, GAS, LUNG = -104.0, 58.0, -960.0, -850.0


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


@dataclass(frozen=True)
class _Shape:
    """A signed distance (z, y, x), mm, on a part of the grid."""

    box: Box
    distance: Floats


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
    """
    if min(spacing) <= 0 or min(field_mm) <= 0:
        raise InputError(f"A phantom needs positive millimetres, not spacing {spacing} and field {field_mm}.")
    rng = np.random.default_rng(seed)
    scene = _Scene(rng, spacing, field_mm)
    for add in (_trunk, _chest, _bowel, _muscles_and_bones, _liver, _spleen, _kidneys, _stomach, _vessels, _pancreas):
        add(scene, rng)
    if noise:
        _add_noise(scene.hu, rng, spacing)
    np.clip(scene.hu, -1024, 3071, out=scene.hu)
    ct = sitk.GetImageFromArray(np.rint(scene.hu).astype(np.int16))
    labels = sitk.GetImageFromArray(scene.labels)
    for image in (ct, labels):
        image.SetSpacing(spacing)
        image.SetOrigin([float(axis.flat[0]) for axis in scene.axes])
    return Phantom(ct, labels)


# ---------------------------------------------------------------------------------------------- the canvas


class _Scene:
    """The voxel grid being painted, with the patient's build and contrast phase.

    `hu` and `labels` are (z, y, x); `axes` are x, y, z in mm, shaped to broadcast against them.
    """

    def __init__(self, rng: np.random.Generator, spacing: Point, field_mm: Point) -> None:
        counts = [max(1, round(extent / step)) for extent, step in zip(field_mm, spacing, strict=True)]
        centres = (0.0, 0.0, DEFAULT_FIELD_MM[2] / 2)
        lines = [
            (c + (np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
            for c, n, step in zip(centres, counts, spacing, strict=True)
        ]
        self.axes = (lines[0][None, None, :], lines[1][None, :, None], lines[2][:, None, None])
        self.hu: Floats = np.full(counts[::-1], -1000.0, np.float32)
        self.labels = np.zeros(counts[::-1], np.uint8)
        self.edge = max(1.6, float(np.mean(spacing)) * 1.2)  # mm over which a border blends
        self.voxel_ml = float(np.prod(spacing)) / 1000
        self.wavy = _smooth_noise(rng, lines, 26.0)
        self.rough = _smooth_noise(rng, lines, 6.5)

        self.fatness = float(rng.uniform(0, 1))
        self.portal = float(rng.uniform(0.35, 1))  # 0: late arterial, 1: late portal-venous
        self.half_width = 124 + 20 * self.fatness + float(rng.uniform(-5, 5))  # of the muscle wall
        self.half_depth = 84 + 18 * self.fatness + float(rng.uniform(-4, 4))
        self.wall: Floats = np.empty(0, np.float32)  # distance to the cavity's border, set by _trunk
        self.diaphragm: Floats = np.empty(0, np.float32)  # distance to the diaphragm: negative below

    def phase(self, arterial: float, portal: float) -> float:
        """HU between the two contrast phases."""
        return arterial + (portal - arterial) * self.portal

    def place(self, points: Sequence[Point]) -> NDArray[np.float64]:
        """Patient positions for a build of 130 x 92 mm, moved apart for a larger one."""
        return np.asarray(points, float) * (self.half_width / 130, self.half_depth / 92, 1.0)

    def crop(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Box, tuple[Floats, Floats, Floats]]:
        """The part of the grid between two corners (x, y, z), mm, and its axes."""
        x, y, z = (
            slice(*np.searchsorted(axis.ravel(), (a, b)).tolist())
            for axis, a, b in zip(self.axes, low, high, strict=True)
        )
        return (z, y, x), (self.axes[0][:, :, x], self.axes[1][:, y], self.axes[2][z])

    def ellipsoid(self, centre: Point, radii: Point, wobble: float = 0.0, tilt: Point = (0, 0, 0)) -> _Shape:
        """An ellipsoid; `tilt` shears x and y along z and y along x, `wobble` (mm) bends its surface."""
        middle = self.place([centre])[0]
        reach = np.array(radii) * 1.15 + np.abs([tilt[0], tilt[1], 0]) * radii[2] + abs(tilt[2]) * radii[0] + 8
        box, (x, y, z) = self.crop(middle - reach, middle + reach)
        dz = z - middle[2]
        dx = x - middle[0] - tilt[0] * dz
        dy = y - middle[1] - tilt[1] * dz - tilt[2] * dx
        a, b, c = radii
        level = np.sqrt((dx / a) ** 2 + (dy / b) ** 2 + (dz / c) ** 2)
        slope = np.sqrt((dx / a**2) ** 2 + (dy / b**2) ** 2 + (dz / c**2) ** 2) + 1e-6
        distance = level * (level - 1) / slope
        return _Shape(box, (distance + wobble * self.wavy[box]).astype(np.float32))

    def tube(self, points: Sequence[Point], radii: Sequence[float], wobble: float = 0.0, smooth: int = 4) -> _Shape:
        """A curved tube through points (x, y, z) of a build of 130 x 92 mm, with a radius at each, mm."""
        knots = _curve(np.column_stack([self.place(points), radii]), smooth)
        margin = knots[:, 3].max() + 4 + 3 * abs(wobble)
        box, _ = self.crop(knots[:, :3].min(0) - margin, knots[:, :3].max(0) + margin)
        shape = tuple(s.stop - s.start for s in box)
        distance = np.full(shape, 30.0, np.float32)
        for start, end in pairwise(knots):
            part, axes = self.crop(np.minimum(start, end)[:3] - margin, np.maximum(start, end)[:3] + margin)
            step = end - start
            offsets = [axis - np.float32(s) for axis, s in zip(axes, start[:3], strict=True)]
            dot = sum(o * np.float32(s) for o, s in zip(offsets, step[:3], strict=True))
            along = np.clip(dot / np.float32(step[:3] @ step[:3] + 1e-6), 0, 1)
            square = sum((o - along * np.float32(s)) ** 2 for o, s in zip(offsets, step[:3], strict=True))
            near = np.sqrt(square) - along * np.float32(step[3]) - np.float32(start[3])
            local = tuple(slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, box, strict=True))
            np.minimum(distance[local], near, out=distance[local])
        return _Shape(box, distance + np.float32(wobble) * self.wavy[box])

    def paint(
        self, shape: _Shape, hu: float | Floats, label: int | None = 0, texture: float = 2.0, halo: float = 0.0
    ) -> None:
        """Blend a shape in. `label` None keeps the labels below; `halo` lays fat of that width (mm) around first."""
        box = shape.box
        if halo > 0:
            self.paint(_Shape(box, shape.distance - np.float32(halo)), FAT, label, 5.0)
        share = np.clip(0.5 - shape.distance / np.float32(self.edge), 0, 1)
        if label is not None:
            self.labels[box][share > 0.5] = label
        value = hu + np.float32(texture) * (self.wavy[box] + self.rough[box])
        self.hu[box] += share * (value - self.hu[box])


def _smooth_noise(rng: np.random.Generator, lines: Sequence[Floats], scale: float) -> Floats:
    """Random field (z, y, x) of about unit variance: cubic B-splines on a lattice of `scale` mm."""
    counts = [int((high - low) / scale) + 4 for low, high in DOMAIN_MM]
    lattice = rng.standard_normal(counts[::-1], np.float32) * np.float32(3.0)  # splines keep 1/9 of the variance
    weights = []
    for line, count, (low, high) in zip(lines, counts, DOMAIN_MM, strict=True):
        at = (np.clip(line, low, high) - low) / scale + 1
        gap = np.abs(at[:, None] - np.arange(count))
        inner, outer = 2 / 3 - gap**2 + gap**3 / 2, np.clip(2 - gap, 0, None) ** 3 / 6
        weights.append(np.where(gap < 1, inner, outer).astype(np.float32))
    plane = weights[1] @ (lattice @ weights[0].T)
    return (weights[2] @ plane.reshape(len(plane), -1)).reshape(-1, *plane.shape[1:])


def _curve(knots: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """A Catmull-Rom curve through the knots, `steps` pieces for each span."""
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        bend = t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * b - a - 3 * c + d)))
        spans.append(b + bend / 2)
    return np.concatenate([*spans, knots[-1:]])


def _jitter(rng: np.random.Generator, points: Sequence[Point], mm: float) -> list[Point]:
    """The points, each moved by a normal step of `mm`."""
    moved = np.asarray(points, float) + rng.normal(0, mm, (len(points), 3))
    return [(float(x), float(y), float(z)) for x, y, z in moved]


def _add_noise(hu: Floats, rng: np.random.Generator, spacing: Point) -> None:
    """Scanner noise of 10-15 HU, correlated over about a millimetre in the plane and a little between slices."""
    sigma = float(rng.uniform(10, 15))
    blur = [float(np.exp(-0.5 * (step / 0.8) ** 2)) for step in spacing[:2]]
    norm = np.prod([1 / np.sqrt(1 + 2 * b * b) for b in blur]) / np.sqrt(1 + 0.35**2)
    before = np.zeros(hu.shape[1:], np.float32)
    for plane in hu:
        grain = rng.standard_normal((plane.shape[0] + 2, plane.shape[1] + 2), np.float32)
        grain = grain[1:-1] + np.float32(blur[1]) * (grain[:-2] + grain[2:])
        grain = grain[:, 1:-1] + np.float32(blur[0]) * (grain[:, :-2] + grain[:, 2:])
        plane += np.float32(sigma * norm) * (grain + np.float32(0.35) * before)
        before = grain


# --------------------------------------------------------------------------------------------- the anatomy


def _trunk(scene: _Scene, rng: np.random.Generator) -> None:
    """Skin, subcutaneous fat, the muscle wall with ribs, and the fat-filled cavity."""
    x, y, z = scene.axes
    whole: Box = (slice(None), slice(None), slice(None))
    waist = 1 - 0.045 * np.exp(-(((z - 110) / 70) ** 2))
    fat = 6 + 16 * scene.fatness + float(rng.uniform(0, 5))
    wall = _oval(x, y, scene.half_width * waist, scene.half_depth * waist) + 1.5 * scene.wavy
    # the back has little fat, the flanks and the belly more
    cover = (
        fat * (0.75 + 0.25 * np.cos(np.clip((y + 40) / 60, -1.5, 2.2))) * (1 + 0.2 * np.exp(-(((z - 60) / 60) ** 2)))
    )
    skin = _Shape(whole, wall - cover.astype(np.float32))
    scene.paint(skin, 5.0)
    scene.paint(_Shape(whole, skin.distance + np.float32(2.2)), FAT, texture=4)
    scene.paint(_Shape(whole, wall), MUSCLE, texture=5)
    thickness = 11.0 - 2.5 * scene.fatness
    scene.wall = wall + np.float32(thickness)
    scene.paint(_Shape(whole, scene.wall), FAT - 2, texture=5)
    # ribs: oblique hoops inside the wall, above the costal margin; cartilage in front
    hoop = np.mod(z + 0.55 * (60 - y) + 4 * scene.wavy, 29.0) - 14.5
    rib = np.sqrt(((wall + 6.0) / 3.6) ** 2 + (hoop / 6.5) ** 2) * 4 - 4
    margin = 150 + 1.05 * np.clip(45 - y, 0, 120) - 0.25 * np.abs(x)
    rib = np.maximum(rib, margin - z)
    front = np.clip((-35 - y) / 10, 0, 1)
    scene.paint(_Shape(whole, rib), 430 - 310 * front)
    marrow = (rib + 2.4).astype(np.float32)
    scene.paint(_Shape(whole, marrow), 170 - 60 * front)


def _oval(x: Floats, y: Floats, a: Floats | float, b: Floats | float) -> Floats:
    """Distance to a body-like oval: an ellipse with fuller corners."""
    u, v = (x / a) ** 2, (y / b) ** 2
    level = np.sqrt(np.clip(u + v - 0.33 * u * v, 0, None))
    return ((level - 1) * (0.45 * np.mean(a) + 0.55 * np.mean(b))).astype(np.float32)


def _chest(scene: _Scene, rng: np.random.Generator) -> None:
    """Diaphragm, lung bases with their vessels, heart and gullet."""
    x, y, z = scene.axes
    whole: Box = (slice(None), slice(None), slice(None))
    sx, sy = scene.half_width / 130, scene.half_depth / 92
    top = float(rng.uniform(284, 300))
    right = top - 62 * ((x / sx + 62) / 75) ** 2 - 70 * ((y / sy + 8) / 78) ** 2
    left = top - 16 - 62 * ((x / sx - 66) / 72) ** 2 - 70 * ((y / sy + 4) / 78) ** 2
    dome = np.maximum(np.maximum(right, left), top - 42 - 0.5 * np.clip(y + 20, 0, 200))
    scene.diaphragm = (0.75 * (z - np.maximum(dome, 165) - 3 * scene.wavy)).astype(np.float32)
    spine = 34 - np.sqrt(x**2 + ((y - 44 * sy) / 1.1) ** 2)
    lung = np.maximum(np.maximum(scene.wall + 1.5, 3 - scene.diaphragm), spine)
    scene.paint(_Shape(whole, np.maximum(scene.wall, spine - 3) + 0 * lung * 1.0 if False else lung), LUNG, texture=9)
    for _ in range(46):
        side = rng.choice([-1, 1])
        start = (side * rng.uniform(30, 50), rng.uniform(-10, 30), 370)
        end = (side * rng.uniform(40, 115), rng.uniform(-60, 65), rng.uniform(215, 330))
        middle = tuple((np.array(start) + end) / 2 + rng.normal(0, 10, 3))
        vessel = scene.tube([start, middle, end], [2.6, 1.7, 0.8], smooth=2)
        inside = np.maximum(vessel.distance, lung[vessel.box] + 2)
        scene.paint(_Shape(vessel.box, inside), 20.0)
    heart = scene.ellipsoid((24, -28, 345), (62, 48, 52), 3, (0, 0, 0.2))
    above = np.maximum(heart.distance, 4 - scene.diaphragm[heart.box])
    scene.paint(_Shape(heart.box, above - 5), FAT)
    scene.paint(_Shape(heart.box, above), 105.0)
    scene.paint(_Shape(heart.box, above + 11), scene.phase(260, 150))
    scene.paint(scene.tube([(6, 14, 370), (10, 8, 300), (22, 2, 262)], [8, 8, 9]), 50.0)


def _bowel(scene: _Scene, rng: np.random.Generator) -> None:
    """Mesenteric vessels, small-bowel loops and the colon with faeces and gas."""
    for _ in range(26):
        end = (rng.uniform(-80, 80), rng.uniform(-70, 5), rng.uniform(10, 120))
        scene.paint(scene.tube([(0, -15, 110), ((end[0]) / 2, -30, 85), end], [2.5, 2, 1.2], smooth=3), 130.0)
    for _ in range(9):
        spot = np.array([rng.uniform(-65, 75), rng.uniform(-72, -8), rng.uniform(10, 115)])
        course = [spot.copy()]
        for _ in range(7):
            spot = np.clip(spot + rng.normal(0, 1, 3) * (26, 16, 22), (-80, -72, -5), (85, 8, 122))
            course.append(spot.copy())
        radius = rng.uniform(8, 12.5)
        loop = scene.tube([tuple(p) for p in course], [radius * rng.uniform(0.8, 1.15) for _ in course], 1.0)
        _hollow(
            scene,
            loop,
            wall=2.3,
            wall_hu=scene.phase(75, 95),
            content=float(rng.uniform(5, 45)),
            gas=rng.uniform(0, 0.25),
        )
    colon: list[Point] = [
        (-88, 30, -15),
        (-98, 22, 40),
        (-98, 18, 85),
        (-86, -18, 116),
        (-62, -58, 104),
        (-20, -70, 88),
    ]
    colon += [
        (30, -72, 92),
        (70, -58, 126),
        (96, -8, 178),
        (104, 22, 172),
        (106, 36, 120),
        (102, 40, 60),
        (96, 30, -15),
    ]
    width = rng.uniform(15, 20) * np.array([1.25, 1.3, 1.2, 1.1, 1, 1, 1, 1, 1, 0.9, 0.8, 0.75, 0.8])
    loop = scene.tube(_jitter(rng, colon, 4), list(width * rng.uniform(0.85, 1.12, len(colon))), 1.5, smooth=5)
    folds = np.float32(1.6) * scene.rough[loop.box]
    _hollow(scene, _Shape(loop.box, loop.distance + folds), 2.5, 75, 35, float(rng.uniform(0.15, 0.5)), faeces=True)


def _hollow(
    scene: _Scene,
    loop: _Shape,
    wall: float,
    wall_hu: float,
    content: float,
    gas: float,
    label: int = 0,
    faeces: bool = False,
) -> None:
    """A gut segment: wall, fluid or faeces, and gas that rises to the front in a share `gas` of its length."""
    inside = np.maximum(loop.distance, scene.wall[loop.box] + 2)
    scene.paint(_Shape(loop.box, inside), wall_hu, label, halo=0.8 + scene.fatness if label else 0)
    lumen = _Shape(loop.box, inside + np.float32(wall))
    rough, wavy = scene.rough[loop.box], scene.wavy[loop.box]
    scene.paint(lumen, content, label, texture=28.0 if faeces else 3.0)
    if faeces:
        bubbles = np.maximum(lumen.distance, (1.1 - rough) * 4)
        scene.paint(_Shape(loop.box, bubbles), -420.0, label)
    if gas > 0:
        # the distance falls towards the lumen's middle: its slope along y tells front from back
        front = np.gradient(loop.distance, axis=1) if loop.distance.shape[1] > 1 else np.zeros_like(loop.distance)
        front = front / float(np.diff(scene.axes[1].ravel()[:2])[0])
        bound = float(np.quantile(wavy, 1 - gas)) if wavy.size else 0.0
        pocket = np.maximum(lumen.distance + 0.5, np.maximum((bound - wavy) * 12, (front + 0.15) * 12))
        scene.paint(_Shape(loop.box, pocket), GAS, label)


def _muscles_and_bones(scene: _Scene, rng: np.random.Generator) -> None:
    """Back muscles, psoas, vertebrae with discs and canal, iliac wings."""
    for side in (-1, 1):
        for centre, radii in [
            ((34, 74, 60), (29, 17, 150)),
            ((30, 74, 240), (24, 14, 140)),
            ((62, 62, 70), (20, 12, 70)),
        ]:
            back = scene.ellipsoid((side * centre[0], centre[1], centre[2]), radii, 2)
            scene.paint(back, MUSCLE - 6 * scene.fatness, texture=8)
        scene.paint(
            scene.tube(
                [(side * 24, 44, 175), (side * 36, 42, 110), (side * 46, 38, 50), (side * 54, 26, -20)],
                [6, 15, 20, 22], 1.0,
            ),
            MUSCLE + 4, texture=4,
        )  # fmt: skip
        wing = scene.ellipsoid((side * 92, 38, -8), (9, 48, 56), 1.5, (0.45 * side, 0, 0))
        scene.paint(wing, 420.0, texture=25)
        scene.paint(_Shape(wing.box, wing.distance + 3), 150.0, texture=15)
    dense = float(rng.uniform(150, 230))
    for level in LEVELS_MM:
        for hu, shrink in ((430.0, 0.0), (dense, 1.8)):
            body = scene.ellipsoid((0, 44, level), (24 - shrink, 18 - shrink, 60), 0.6)
            z = scene.axes[2][body.box[0]]
            flat = np.maximum(body.distance, np.abs(z - level) - (13.5 - shrink))
            scene.paint(_Shape(body.box, flat), hu, texture=20)
        disc = np.maximum(body.distance - 1.5, np.abs(z - level - 17) - 3.6)
        scene.paint(_Shape(body.box, disc), 85.0)
        for tail, radius in [((0, 92, level - 12), 4.0), ((34, 66, level - 2), 4.5), ((-34, 66, level - 2), 4.5)]:
            arch = scene.tube([(0.45 * tail[0], 60, level), (0.5 * tail[0], 68, level), tail], [6, 6, radius], smooth=2)
            scene.paint(arch, 380.0, texture=20)
            scene.paint(_Shape(arch.box, arch.distance + 2.5), 200.0, texture=15)
    scene.paint(scene.tube([(0, 65, -20), (0, 65, 380)], [9.5, 9.5], smooth=1), FAT / 2)
    scene.paint(scene.tube([(0, 65, -20), (0, 65, 380)], [7.5, 7.5], smooth=1), 30.0)


def _below(scene: _Scene, shape: _Shape, gap: float = 2.0) -> _Shape:
    """The shape's part inside the cavity and under the diaphragm."""
    inside = np.maximum(scene.wall[shape.box], scene.diaphragm[shape.box]) + np.float32(gap)
    return _Shape(shape.box, np.maximum(shape.distance, inside))


def _liver(scene: _Scene, rng: np.random.Generator) -> None:
    """Liver between the diaphragm and a slanting lower face, with its veins, and the gallbladder."""
    sx, sy = scene.half_width / 130, scene.half_depth / 92
    reach = float(rng.uniform(55, 80))
    bulk = scene.ellipsoid((-50, -5, 205), (62 + reach, 105, 112), 2)
    x, y, z = (
        axis[(slice(None),) * k + (s,)] for axis, k, s in zip(scene.axes, (2, 1, 0), bulk.box[::-1], strict=True)
    )
    face = float(rng.uniform(98, 122)) + 0.66 * (x / sx + 130) + 0.30 * np.clip(y / sy + 25, -30, 90)
    lower = 0.8 * (face + 5 * scene.wavy[bulk.box] - z)
    behind = 0.7 * (y / sy - 16 - 0.55 * np.clip(-x / sx - 25, 0, 130))
    cut = np.maximum(np.maximum(bulk.distance, lower), behind)
    liver = _below(scene, _Shape(bulk.box, cut.astype(np.float32)))
    hu = scene.phase(72, 112) - 18 * scene.fatness * float(rng.uniform(0, 1))
    scene.paint(liver, hu, Label.LIVER, texture=3, halo=0.5 + scene.fatness)
    trees: list[list[Point]] = [
        [(-22, 8, 262), (-60, 0, 250), (-105, -5, 225)],
        [(-22, 6, 262), (-45, -35, 240), (-60, -65, 205)],
    ]
    trees += [[(-22, 4, 262), (0, -30, 250), (25, -55, 235)], [(-28, -14, 190), (-60, -5, 200), (-105, 5, 185)]]
    trees += [[(-45, -10, 195), (-75, -40, 200), (-95, -50, 170)], [(-28, -14, 190), (-12, -35, 218), (18, -50, 228)]]
    trees += [[(-60, -5, 200), (-85, 20, 225), (-105, 25, 250)], [(-60, 0, 250), (-75, 15, 225), (-90, 30, 200)]]
    for tree in trees:
        vein = scene.tube(_jitter(rng, tree, 3), [5, 3.5, 1.2])
        inside = np.maximum(vein.distance, _part(liver, vein.box) + 2)
        scene.paint(_Shape(vein.box, inside), scene.phase(90, 165), None)
    length = float(rng.uniform(24, 36))
    sac: list[Point] = [(-52, -28, 166), (-60, -42, 166 - length), (-64, -52, 166 - 1.7 * length)]
    bladder = scene.tube(_jitter(rng, sac, 2), list(np.array([7, 13, 11]) * rng.uniform(0.85, 1.15)), 0.8)
    scene.paint(_Shape(bladder.box, bladder.distance - 1.6), 60.0)
    scene.paint(bladder, float(rng.uniform(4, 16)), Label.GALLBLADDER, texture=1)


def _part(shape: _Shape, box: Box) -> Floats:
    """A shape's distance on another box: far outside where the shape has no values."""
    result = np.full([s.stop - s.start for s in box], 30.0, np.float32)
    mine, theirs = [], []
    for a, b in zip(shape.box, box, strict=True):
        low, high = max(a.start, b.start), max(max(a.start, b.start), min(a.stop, b.stop))
        mine.append(slice(low - a.start, high - a.start))
        theirs.append(slice(low - b.start, high - b.start))
    result[tuple(theirs)] = shape.distance[tuple(mine)]
    return result


def _spleen(scene: _Scene, rng: np.random.Generator) -> None:
    """Spleen under the left diaphragm, hollowed towards the stomach and the kidney."""
    size = float(rng.uniform(0.88, 1.15))
    body = scene.ellipsoid((98, 30, 212), (30 * size, 48 * size, 54 * size), 3, (0.1, 0.25, -0.35))
    hollow = scene.ellipsoid((66, 12, 205), (26, 44, 80), 3)
    carved = np.maximum(body.distance, 2 - _part(hollow, body.box))
    scene.paint(
        _below(scene, _Shape(body.box, carved), 2.5), scene.phase(135, 118), Label.SPLEEN, halo=1 + scene.fatness
    )


def _kidneys(scene: _Scene, rng: np.random.Generator) -> None:
    """Kidneys in their fat, brighter cortex, sinus with fat and pelvis; adrenal glands above."""
    for label, side, level in ((Label.RIGHT_KIDNEY, -1, 132.0), (Label.LEFT_KIDNEY, 1, 144.0)):
        level += float(rng.normal(0, 5))
        size = float(rng.uniform(0.9, 1.08))
        radii = (27 * size, 29 * size, 54 * size)
        kidney = scene.ellipsoid((side * 64, 42, level), radii, 1.5, (-0.16 * side, -0.1, 0.3 * side))
        scene.paint(kidney, scene.phase(215, 190), label, texture=5, halo=3 + 7 * scene.fatness)
        pyramids = np.maximum(kidney.distance + 7, -6 * (scene.rough[kidney.box] + 0.6))
        scene.paint(_Shape(kidney.box, pyramids), scene.phase(120, 185), label)
        sinus = scene.tube([(side * 36, 34, level), (side * 50, 38, level), (side * 60, 41, level)], [11, 10, 6], 1.5)
        deep = scene.ellipsoid((side * 56, 40, level), (9, 8, 24), 2)
        for hole in (sinus, deep):
            scene.paint(hole, FAT + 8)
        scene.paint(scene.ellipsoid((side * 50, 38, level), (8, 6, 10), 2), 15.0)
        for tip in ((36, 34), (50, 36)):
            gland = scene.tube([(side * 38, 18, level + 52), (side * tip[0], tip[1], level + 42)], [2.6, 2.2], 0.5)
            scene.paint(gland, 75.0)


def _stomach(scene: _Scene, rng: np.random.Generator) -> None:
    """Stomach with fluid and gas, and the duodenum's loop to the ligament of Treitz."""
    way: list[Point] = [
        (58, 26, 252),
        (62, 8, 232),
        (68, -28, 206),
        (56, -54, 178),
        (24, -58, 160),
        (-8, -50, 156),
        (-30, -40, 156),
    ]
    fill = float(rng.uniform(0.72, 1.1))
    stomach = _below(
        scene, scene.tube(_jitter(rng, way, 3), list(np.array([24, 31, 29, 25, 20, 16, 8]) * fill), 2.5), 4
    )
    content = float(rng.choice([18.0, 35.0, 160.0], p=[0.5, 0.35, 0.15]))
    _hollow(scene, stomach, 4.0, scene.phase(95, 80), content, float(rng.uniform(0.2, 0.5)), Label.STOMACH)
    loop: list[Point] = [
        (-30, -38, 156),
        (-44, -24, 154),
        (-50, -4, 138),
        (-49, 4, 106),
        (-34, 4, 84),
        (-8, -1, 82),
        (20, -1, 92),
    ]
    duodenum = scene.tube(_jitter(rng, [*loop, (34, -12, 118)], 2), [9, 11, 12, 12, 11, 9, 9, 10], 1.0)
    _hollow(scene, duodenum, 2.5, scene.phase(90, 95), float(rng.uniform(5, 50)), float(rng.uniform(0, 0.2)))


def _vessels(scene: _Scene, rng: np.random.Generator) -> None:
    """Aorta, vena cava, portal system and the arteries to bowel, liver, spleen and kidneys."""
    artery, vein, portal = scene.phase(285, 150), scene.phase(95, 145), scene.phase(105, 172)
    wide = float(rng.uniform(8.5, 11.5))
    cava: list[Point] = [(-16, 16, -20), (-21, 15, 80), (-23, 13, 150), (-26, 8, 220), (-20, -2, 290), (-14, -12, 330)]
    scene.paint(scene.tube(cava, [10, 10.5, 11.5, 12, 12, 13], 1.5), vein, halo=0.6)
    for side in (-1, 1):
        scene.paint(
            scene.tube([(side * 2 - 4, 4, 148), (side * 28, 22, 146), (side * 48, 36, 142)], [4.5, 4.2, 4]), vein
        )
    course: list[Point] = [(4, 16, 20), (9, 15, 90), (11, 15, 150), (13, 20, 220), (19, 27, 290), (22, 30, 380)]
    aorta = scene.tube(course, list(wide * np.array([0.85, 0.9, 1, 1.1, 1.15, 1.2])), 0.4)
    scene.paint(aorta, artery, Label.AORTA, halo=0.8)
    for side in (-1, 1):
        scene.paint(scene.tube([(4 + side * 3, 16, 22), (side * 22, 20, -20)], [6.5, 6]), artery)
    branches: list[list[Point]] = [
        [(10, 12, 158), (9, -4, 154), (7, -9, 130), (6, -12, 60)],
        [(11, 10, 172), (8, -4, 176), (-16, -18, 178), (-28, -16, 188)],
    ]
    branches += [[(8, -4, 176), (30, -8, 180), (54, 2, 176), (84, 26, 194)]]
    for branch in branches:
        scene.paint(scene.tube(_jitter(rng, branch, 1), [4, 3.2, 3, 2.6]), artery, halo=0.8)
    for path, radii in (
        ([(-10, -14, 40), (-9, -16, 100), (-8, -13, 148)], [4.5, 5.5, 6.5]),
        ([(-8, -13, 146), (-16, -14, 166), (-28, -14, 190)], [7, 7, 6]),
        ([(-8, -12, 149), (14, -10, 156), (40, -2, 163), (64, 15, 174), (90, 32, 194)], [6, 5, 4.5, 4.2, 3]),
    ):
        scene.paint(scene.tube(path, radii), portal, halo=0.5)


def _pancreas(scene: _Scene, rng: np.random.Generator) -> None:
    """Pancreas: a tapered tube from the duodenum's loop over the great vessels to the spleen's hilum.

    Its lobulated border is moved in or out until the organ has the drawn volume, 58-112 mL.
    """
    tail = float(rng.normal(0, 7))
    way: list[Point] = [(-24, 0, 104), (-32, -6, 118), (-31, -12, 134), (-20, -20, 147), (-4, -25, 153), (18, -22, 159)]
    way += [(42, -14, 165 + 0.3 * tail), (63, 2, 172 + 0.7 * tail), (82, 20, 182 + tail)]
    girth = np.array([9, 13, 14, 11.5, 8.5, 9.5, 10, 10, 7]) * rng.uniform(0.92, 1.08, 9)
    organ = scene.tube(_jitter(rng, way, 1.5), list(girth), 0.8, smooth=5)
    hook = scene.tube([(-26, 0, 110), (-14, 2, 114)], [9, 5], smooth=1)
    box = organ.box
    distance = np.minimum(organ.distance, _part(hook, box)) + np.float32(1.7 + 0.8 * scene.fatness) * scene.rough[box]
    # vessels and the other organs were there first: bright blood, and all labelled voxels but a trace, stay
    taken = (scene.hu[box] > 118) | ((scene.labels[box] != 0) & (scene.labels[box] != Label.STOMACH))
    distance = np.where(taken, np.maximum(distance, 1.0), distance)
    wanted = round(float(rng.uniform(58, 112)) / scene.voxel_ml)
    if wanted < distance.size:
        shift = float(np.clip(np.partition(distance[~taken], wanted)[wanted], -4, 4))
        distance = np.where(taken, 5.0, distance - shift)
    hu = scene.phase(118, 92) + float(rng.normal(0, 4))
    organ = _Shape(box, distance.astype(np.float32))
    scene.paint(organ, hu, Label.PANCREAS, texture=4, halo=0.8 + scene.fatness)
    clefts = np.maximum(distance, 4 * (1.35 - 0.35 * scene.fatness - scene.rough[box]))
    scene.paint(_Shape(box, clefts.astype(np.float32)), hu - 45 - 50 * scene.fatness, None)
    scene.paint(scene.tube(way[1:], [1.2] * 8), 30.0, None)
