"""What every organ lies in: trunk, chest, bowel, muscles and bones."""

from __future__ import annotations

import numpy as np

from TernarySegmentLib.phantom.canvas import FAT, GAS, LUNG, MUSCLE, Scene, Shape, waypoints

VERTEBRAE_MM = [45 + 34.0 * level for level in range(-2, 11)]  # index 4 is L2


def trunk(scene: Scene, rng: np.random.Generator) -> None:
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
        scene.paint(Shape(box, couch + 0 * wall), 60.0, texture=0)
        skin = Shape(box, wall - cover * (1 + 0.2 * np.exp(-(((z - 60) / 60) ** 2))))
        scene.paint(skin, 5.0)
        scene.paint(skin.moved(2.2), FAT, texture=4)
        scene.paint(Shape(box, wall), MUSCLE, texture=5)
        scene.paint(Shape(box, scene.wall[box]), FAT - 2, texture=7)
        # ribs: oblique hoops inside the wall, above the costal margin; cartilage in front
        hoop = np.mod(z + 0.55 * (60 - y) + 4 * scene.wavy[box], 29.0) - 14.5
        rib = np.sqrt(((wall + 6) / 3.6) ** 2 + (hoop / 6.5) ** 2) * 4 - 4
        margin = 150 + 1.05 * np.clip(45 - y, 0, 120) - 0.25 * np.abs(x)
        bone, front = Shape(box, rib).within(margin - z), np.clip((-35 - y) / 10, 0, 1)
        scene.paint(bone, 430 - 310 * front)
        scene.paint(bone.moved(2.4), 170 - 60 * front)


def chest(scene: Scene, rng: np.random.Generator) -> None:
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
        scene.paint(Shape(box, lung), LUNG, texture=9)
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
    scene.paint(scene.tube(waypoints("6 14 370 8, 10 8 300 8, 22 2 262 9")), 50.0)


def bowel(scene: Scene, rng: np.random.Generator) -> None:
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
        hollow_organ(scene, loop, 1.9, wall, content, float(rng.uniform(0, 0.2)))
    for _ in range(26):
        x, y, z = rng.uniform(-80, 80), rng.uniform(-70, 0), rng.uniform(10, 120)
        scene.paint(scene.tube(waypoints(f"0 -15 110 2.5, {x / 2} -30 85 2, {x} {y} {z} 1.2"), smooth=3), wall + 40)
    colon = (
        "-88 30 -15 21, -98 22 40 22, -98 18 85 20, -86 -18 116 18, -62 -58 104 17, -20 -70 88 17, 30 -72 92 17, "
        "70 -58 126 17, 98 -14 170 16, 106 22 164 15, 106 36 120 14, 102 40 60 13, 96 30 -15 14"
    )
    loop = scene.tube(waypoints(colon, rng, 4, float(rng.uniform(0.85, 1.15))), 1.5)
    folds = Shape(loop.box, loop.distance + np.float32(1.6) * scene.rough[loop.box])
    hollow_organ(scene, folds, 2.2, wall, 35, float(rng.uniform(0.2, 0.8)), faeces=True)


def hollow_organ(
    scene: Scene, loop: Shape, wall: float, hu: float, content: float, gas: float, label: int = 0,
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


def muscles(scene: Scene, rng: np.random.Generator) -> None:
    """Back muscles, psoas and the crura of the diaphragm; older and fatter ones are streaked with fat."""
    streaks = 4 + 8 * scene.fatness + float(rng.uniform(0, 4))
    for side in (-1, 1):
        for x, y, z, radii in ((34, 74, 60, (33, 21, 150)), (30, 74, 240, (27, 17, 140)), (62, 64, 70, (21, 12, 70))):
            scene.paint(scene.ellipsoid((side * x, y, z), radii, 2), MUSCLE - streaks, texture=streaks)
        psoas = f"{side * 24} 44 175 6, {side * 36} 42 110 15, {side * 46} 38 50 20, {side * 54} 26 -20 22"
        scene.paint(scene.tube(waypoints(psoas), 1.0), MUSCLE + 4, texture=4)
        crus = f"{side * 12} 24 120 3, {side * 15 + 4} 20 165 4, {side * 17 + 6} 18 205 5, {side * 20 + 6} 20 240 4"
        scene.paint(scene.tube(waypoints(crus), 0.5), MUSCLE + 4)


def bones(scene: Scene, rng: np.random.Generator) -> None:
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
            arch = scene.tube(waypoints(f"{0.45 * x} 60 {level} 6, {0.5 * x} 68 {level} 6, {x} {y} {z} 4.5"), smooth=2)
            scene.paint(arch, 380.0, texture=20)
            scene.paint(arch.moved(2.5), marrow, texture=15)
    canal = scene.tube(waypoints("0 65 -20 9.5, 0 65 380 9.5"), smooth=1)
    scene.paint(canal, FAT / 2)
    scene.paint(canal.moved(2), 30.0)
