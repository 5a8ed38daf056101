"""The labelled organs, and the vessels and the duodenum between them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from TernarySegmentLib.phantom.body import hollow_organ
from TernarySegmentLib.phantom.canvas import FAT, Scene, Shape, waypoints

RESERVED = 255  # vessels and duodenum while painting: no label, but the pancreas must not cover them


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


def _under_diaphragm(scene: Scene, shape: Shape, gap: float) -> Shape:
    """The shape's part inside the cavity and below the diaphragm."""
    return shape.within(np.maximum(scene.wall[shape.box], scene.diaphragm[shape.box]) + np.float32(gap))


def liver(scene: Scene, rng: np.random.Generator) -> None:
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
        vein = scene.tube(waypoints(tree, rng, 3))
        scene.paint(vein.within(liver.on(vein.box) + 2), scene.phase(90, 165) - fatty / 2, None)
    length = float(rng.uniform(24, 36))
    sac = f"-52 -28 166 7, -60 -42 {166 - length} 13, -64 -52 {166 - 1.7 * length} 11"
    bladder = scene.tube(waypoints(sac, rng, 2, float(rng.uniform(0.8, 1.15))), 0.8)
    scene.paint(bladder.moved(-1.6), 60.0)
    scene.paint(bladder, float(rng.uniform(4, 20)), Label.GALLBLADDER, texture=1)


def stomach(scene: Scene, rng: np.random.Generator) -> None:
    """Stomach with fluid and gas, and the duodenum's loop to the ligament of Treitz."""
    way = "46 22 250 20, 54 4 232 27, 62 -30 206 27, 52 -54 180 24, 24 -60 164 19, -8 -52 158 15, -30 -40 156 8"
    tube = scene.tube(waypoints(way, rng, 3, float(rng.uniform(0.72, 1.1))), 2.5)
    folds = Shape(tube.box, tube.distance + np.float32(1.2) * scene.rough[tube.box])
    content = float(rng.choice([18.0, 35.0, 160.0], p=[0.5, 0.35, 0.15]))
    gas = float(rng.uniform(0.2, 0.5))
    stomach = _under_diaphragm(scene, folds, 4)
    hollow_organ(scene, stomach, 4.5, scene.phase(95, 85), content, gas, Label.STOMACH)
    loop = (
        "-30 -38 156 9, -44 -24 154 11, -50 -4 138 12, -49 4 106 12, -34 4 84 11, -8 -1 82 9, 20 -1 92 9, 34 -12 118 10"
    )
    duodenum = scene.tube(waypoints(loop, rng, 2, float(rng.uniform(0.85, 1.1))), 1.0)
    content, gas = float(rng.uniform(5, 60)), float(rng.uniform(0, 0.2))
    hollow_organ(scene, duodenum, 2.8, scene.phase(90, 95), content, gas, RESERVED)


def spleen(scene: Scene, rng: np.random.Generator) -> None:
    """Spleen behind under the left diaphragm, hollowed towards the stomach and the kidney."""
    size = float(rng.uniform(0.88, 1.15))
    body = scene.ellipsoid((96, 34, 205), (29 * size, 46 * size, 54 * size), 3, (0.05, 0.2, -0.35))
    hollow = scene.ellipsoid((58, 14, 200), (27, 40, 90), 2)
    spleen = _under_diaphragm(scene, body.within(2 - hollow.on(body.box)), 2.5)
    scene.paint(spleen, scene.phase(135, 118), Label.SPLEEN, halo=1 + scene.fatness)


def kidneys(scene: Scene, rng: np.random.Generator) -> None:
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
        for hole in (scene.tube(waypoints(sinus), 1.5), scene.ellipsoid((side * 56, 44, level), (9, 8, 24), 2)):
            scene.paint(hole, FAT + 8)
        scene.paint(scene.ellipsoid((side * 50, 42, level), (8, 6, 10), 2), 15.0)
        for tip in ("36 36", "50 38"):
            x, y = tip.split()
            gland = waypoints(f"{side * 38} 22 {level + 52} 2.6, {side * int(x)} {y} {level + 42} 2.2")
            scene.paint(scene.tube(gland, 0.5), scene.phase(70, 80), RESERVED)


def vessels(scene: Scene, rng: np.random.Generator) -> None:
    """Aorta, vena cava, portal system and the arteries to bowel, liver, spleen and kidneys."""
    artery, vein, portal = scene.phase(270, 150), scene.phase(90, 130), scene.phase(105, 165)
    cava = "-16 16 -20 10, -21 15 80 10.5, -23 13 150 11.5, -26 8 220 12, -20 -2 290 12, -14 -12 330 13"
    scene.paint(scene.tube(waypoints(cava), 1.5), vein, RESERVED, halo=0.6)
    for renal in ("-10 8 142 4.5, -30 24 138 4.2, -50 38 132 4", "-8 4 148 4.5, 26 14 146 4.2, 50 38 142 4"):
        scene.paint(scene.tube(waypoints(renal)), vein, RESERVED)
    trunk = "4 16 20 .85, 9 15 90 .9, 11 15 150 1, 13 20 220 1.1, 19 27 290 1.15, 22 30 380 1.2"
    aorta = scene.tube(waypoints(trunk, girth=float(rng.uniform(8.5, 11.5))), 0.4)
    scene.paint(aorta, artery, Label.AORTA, halo=0.8)
    for branch in (
        "7 16 22 6.5, 22 20 -20 6", "1 16 22 6.5, -22 20 -20 6",
        "10 10 158 4, 9 -4 154 3.6, 7 -9 130 3.4, 6 -12 60 2.6",
        "11 10 172 4, 8 -4 176 3.2, -16 -18 178 3, -28 -16 188 2.6",
        "8 -4 176 3, 30 -8 180 3, 54 2 178 3, 84 26 194 2.4",
    ):  # fmt: skip
        scene.paint(scene.tube(waypoints(branch, rng, 1)), artery, RESERVED)
    for branch in (
        "-10 -14 40 4.5, -9 -16 100 5.5, -8 -13 148 6.5", "-8 -13 146 7, -16 -14 166 7, -28 -14 190 6",
        "-8 -12 149 6, 14 -10 156 5, 40 -2 163 4.5, 62 14 173 4.2, 88 30 192 3",
    ):  # fmt: skip
        scene.paint(scene.tube(waypoints(branch, rng, 0.7)), portal, RESERVED, halo=0.5)


def pancreas(scene: Scene, rng: np.random.Generator) -> None:
    """Pancreas: a tapered tube from the duodenum's loop over the great vessels to the spleen's hilum.

    Its lobulated border is moved in or out until the organ has the drawn volume, 58-112 mL.
    """
    up = float(rng.normal(0, 6))
    way = waypoints(
        "-24 -2 104 9, -32 -8 118 13, -31 -14 134 14, -20 -21 147 11.5, -4 -26 153 8.5, 18 -23 159 9.5, "
        f"40 -16 {165 + 0.3 * up} 10, 60 -2 {173 + 0.7 * up} 10, 78 14 {183 + up} 7.5", rng, 1.5,
    )  # fmt: skip
    way[:, 3] *= rng.uniform(0.9, 1.1, len(way))
    organ = scene.tube(way, 0.8, smooth=5)
    box, hook = organ.box, scene.tube(waypoints("-28 -2 112 9, -13 0 116 5"), smooth=1)
    lobules = np.float32(1.5 + scene.fatness) * scene.rough[box]
    distance = np.minimum(organ.distance, hook.on(box)) + lobules
    taken = scene.labels[box] != 0
    free = distance[~taken]
    wanted = round(float(rng.uniform(58, 112)) / scene.voxel_ml)
    if wanted < free.size:
        distance -= np.clip(np.partition(free, wanted)[wanted], -5, 5)
    distance[taken] = 5.0
    organ, hu = Shape(box, distance), scene.phase(118, 98) + float(rng.normal(0, 4))
    scene.paint(organ, hu, Label.PANCREAS, texture=5, halo=0.8 + scene.fatness)
    clefts = organ.within(4 * (np.float32(1.5 - 0.5 * scene.fatness) - scene.rough[box]))
    scene.paint(clefts, hu - 40 - 50 * scene.fatness, None)
    duct = way[1:] * (1, 1, 1, 0) + (0, 0, 0, 1.0)
    scene.paint(scene.tube(duct).within(organ.on(scene.tube(duct).box) + 2), 30.0, None)
