"""One picture of a result: the pancreas in three planes and in five axial slices, as a radiologist expects them."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.writing import COLOUR, check_suffix
from TernarySegmentLib.imaging.grids import OUTSIDE_HU, bounds, positions, voxel_steps
from TernarySegmentLib.imaging.measure import mask_box

WINDOW_CENTRE, WINDOW_WIDTH = 40, 400
"""HU; the usual abdominal window."""

PREVIEW_SUFFIXES = (".png",)
WIDTH = 1500
"""Pixels of the whole picture."""

GAP = 6
"""Pixels between panels."""

THUMBNAIL = (120, 160)
"""Rows and columns."""

SLICES = 5
"""Axial slices in the lower row."""

GLYPHS = {
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "C": "01110 10001 10000 10000 10000 10001 01110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "m": "00000 00000 11010 10101 10101 10101 10101",
    " ": "00000 00000 00000 00000 00000 00000 00000",
}
"""5×7 dots for the letters and digits that appear in a picture."""


@dataclass(frozen=True)
class View:
    """How a plane lies on the screen.

    Attributes:
        right: unit vector in LPS that points to the right of the screen.
        down: unit vector in LPS that points down.
        letters: what stands at the left, right, top and bottom edge.
    """

    right: tuple[int, int, int]
    down: tuple[int, int, int]
    letters: str


Layer = tuple[sitk.Image, tuple[float, float, float]]
"""A mask and its colour, red, green, blue, 0 to 1."""

# radiological convention: the patient seen from the feet and from the front, head up; sagittal from the left
AXIAL = View((1, 0, 0), (0, 1, 0), "RLAP")
CORONAL = View((1, 0, 0), (0, 0, -1), "RLSI")
SAGITTAL = View((0, 1, 0), (0, 0, -1), "APSI")


def write_preview(ct: sitk.Image, mask: sitk.Image, path: str | Path) -> None:
    """Write a PNG: axial, coronal and sagittal planes where the mask is largest, five axial slices through it below.

    Patient right is at the left of the picture and the head is up, all upper planes have one scale, window 40/400 HU.
    With an empty mask the planes go through the middle of the scan.

    Args:
        ct: 3D image in HU.
        mask: integer image on the same grid, inside where not 0.
        path: ends in ``.png``; an existing file is replaced.

    Raises:
        OutputError: another ending, or the place cannot be written.
    """
    check_suffix(path, PREVIEW_SUFFIXES)
    write_png(draw_preview(ct, mask), path)


def write_png(picture: np.ndarray, path: str | Path) -> None:
    """Write a picture, uint8, (rows, columns, red-green-blue).

    Raises:
        OutputError: the place cannot be written.
    """
    write_bytes(path, _png(picture))


def draw_preview(ct: sitk.Image, mask: sitk.Image, layers: Sequence[Layer] = ()) -> np.ndarray:
    """The picture that :func:`write_preview` writes, uint8, (rows, columns, red-green-blue).

    Args:
        ct: 3D image in HU.
        mask: where to look; integer image on the same grid.
        layers: what is drawn on the CT, masks and their colours; none draws the mask.
    """
    layers = layers or ((mask, COLOUR),)
    points = _points(mask)
    scan = np.array(bounds(ct))
    if len(points):
        centre, levels = _largest_planes(mask, points)
        organ = np.array([points.min(0), points.max(0)])
    else:
        centre = scan.mean(0)
        levels = np.linspace(scan[0, 2], scan[1, 2], SLICES + 2)[1:-1]
        organ = scan
    upper = _planes(ct, layers, centre, scan)
    lower = _slices(ct, layers, levels, organ, scan)
    return np.concatenate([upper, np.zeros((GAP, WIDTH, 3), np.uint8), lower])


def thumbnail_png(ct: sitk.Image, mask: sitk.Image) -> str:
    """A small axial picture where the mask is largest, as a PNG in a data URI.

    Greys are coarsened, which halves the size: about 12 kB.
    """
    points, scan = _points(mask), np.array(bounds(ct))
    centre = _largest_planes(mask, points)[0] if len(points) else scan.mean(0)
    organ = np.array([points.min(0), points.max(0)]) if len(points) else scan
    rows, columns = THUMBNAIL
    room = np.minimum(organ[1] - organ[0] + 80, scan[1] - scan[0])[:2]
    scale = max(room[0] / columns, room[1] / rows)
    picture = _panel(ct, ((mask, COLOUR),), AXIAL, centre, organ, float(scale), THUMBNAIL)
    return f"data:image/png;base64,{base64.b64encode(_png(picture & 0xF0)).decode()}"


def _png(picture: np.ndarray) -> bytes:
    """A picture, uint8 (rows, columns, 3), as a PNG file (ISO/IEC 15948); no temporary file holds a patient's image."""
    rows, columns = picture.shape[:2]
    lines = np.pad(picture.reshape(rows, -1), ((0, 0), (1, 0)))  # each line begins with its filter, 0: none

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)), chunk(b"IEND", b"")]
    )


def _points(mask: sitk.Image) -> np.ndarray:
    """LPS positions of a mask's voxels, (n, 3), mm."""
    box = mask_box(mask)
    if box is None:
        return np.zeros((0, 3))
    inside = sitk.GetArrayFromImage(sitk.RegionOfInterest(mask, box[1], box[0])) != 0
    return positions(mask, np.argwhere(inside) + box[0][::-1])


def _largest_planes(mask: sitk.Image, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where planes along each patient axis cut most of the mask, (3,), and axial levels spread over it, (slices,)."""
    steps = np.abs(voxel_steps(mask)).max(1)
    first = points.min(0)
    counts = [np.bincount(column) for column in np.rint((points - first) / steps).astype(int).T]
    centre = first + steps * [int(count.argmax()) for count in counts]
    filled = np.flatnonzero(counts[2])
    chosen = filled[np.rint(np.linspace(0.9, 0.1, SLICES) * (len(filled) - 1)).astype(int)]
    return centre, first[2] + steps[2] * chosen


def _planes(ct: sitk.Image, layers: Sequence[Layer], centre: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """Axial, coronal and sagittal panel side by side at one scale."""
    wide, deep, high = scan[1] - scan[0]
    # a trunk scan of 900 mm would leave postage stamps: show as much of it as the axial panel is wide
    high = min(high, wide)
    low = float(np.clip(centre[2] - high / 2, scan[0, 2], scan[1, 2] - high))
    shown = np.array([[*scan[0, :2], low], [*scan[1, :2], low + high]])
    scale = (2 * wide + deep) / (WIDTH - 2 * GAP)
    rows = round(max(deep, high) / scale)
    columns = [round(wide / scale), round(wide / scale)]
    columns.append(WIDTH - 2 * GAP - sum(columns))
    panels = []
    for view, count in zip((AXIAL, CORONAL, SAGITTAL), columns, strict=True):
        panels += [_panel(ct, layers, view, centre, shown, scale, (rows, count)), np.zeros((rows, GAP, 3), np.uint8)]
    return np.concatenate(panels[:-1], axis=1)


def _slices(
    ct: sitk.Image, layers: Sequence[Layer], levels: np.ndarray, organ: np.ndarray, scan: np.ndarray
) -> np.ndarray:
    """Axial slices at the given levels, from the head down, close up on the organ."""
    count = (WIDTH - (SLICES - 1) * GAP) // SLICES
    room = np.minimum(organ[1] - organ[0] + 60, scan[1] - scan[0])[:2]
    scale = max(room[0], room[1] / 0.8) / count
    rows = round(0.8 * count)
    panels = []
    for level in sorted(levels, reverse=True):
        centre = np.array([*organ.mean(0)[:2], level])
        panels += [_panel(ct, layers, AXIAL, centre, organ, scale, (rows, count)), np.zeros((rows, GAP, 3), np.uint8)]
    row = np.concatenate(panels[:-1], axis=1)
    return np.pad(row, ((0, 0), (0, WIDTH - row.shape[1]), (0, 0)))


def _panel(
    ct: sitk.Image,
    layers: Sequence[Layer],
    view: View,
    through: np.ndarray,
    shown: np.ndarray,
    scale: float,
    shape: tuple[int, int],
) -> np.ndarray:
    """One plane as a picture.

    Args:
        ct, layers: what to show.
        view: how the plane lies on the screen.
        through: a point of the plane, LPS, mm.
        shown: lower and upper corner of what the panel is centred on, LPS, mm.
        scale: mm per pixel.
        shape: rows and columns.
    """
    right, down = np.array(view.right), np.array(view.down)
    normal = np.cross(right, down)
    middle = shown.mean(0)
    middle = middle + normal * (normal @ (through - middle))
    corner = middle - scale * ((shape[1] - 1) / 2 * right + (shape[0] - 1) / 2 * down)
    direction = np.column_stack([right, down, normal]).ravel().astype(float).tolist()

    def sample(image: sitk.Image, outside: float) -> np.ndarray:
        plane = sitk.Resample(
            image, (shape[1], shape[0], 1), sitk.Transform(), sitk.sitkLinear, corner.tolist(), [scale] * 3,
            direction, outside, sitk.sitkFloat32,
        )  # fmt: skip
        return sitk.GetArrayFromImage(plane)[0]

    grey = (sample(ct, OUTSIDE_HU) - (WINDOW_CENTRE - WINDOW_WIDTH / 2)) * (255 / WINDOW_WIDTH)
    picture = np.repeat(grey.clip(0, 255)[..., None], 3, axis=2)
    for mask, colour in layers:
        inside = sample(mask, 0) >= 0.5
        picture[inside] += 0.25 * (255 * np.array(colour) - picture[inside])
        picture[inside & ~_eroded(inside)] = 255 * np.array(colour)
    picture = np.rint(picture).astype(np.uint8)
    _letter(picture, view.letters)
    _scale_bar(picture, scale)
    return picture


def _eroded(inside: np.ndarray) -> np.ndarray:
    padded = np.pad(inside, 1)
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inside


def _letter(picture: np.ndarray, letters: str) -> None:
    """Put the four orientation letters at the left, right, top and bottom edge."""
    rows, columns = picture.shape[:2]
    places = [(rows // 2, 14), (rows // 2, columns - 14), (14, columns // 2), (rows - 14, columns // 2)]
    for letter, (row, column) in zip(letters, places, strict=True):
        write_text(picture, letter, row, column)


def _scale_bar(picture: np.ndarray, scale: float) -> None:
    """A bar of 100, 50, 20 or 10 mm, at most a third of the width, in the lower left corner."""
    rows, columns = picture.shape[:2]
    length = next((mm for mm in (100, 50, 20) if mm / scale <= columns / 3), 10)
    bar = np.zeros((rows, columns), bool)
    bar[rows - 14 : rows - 11, 12 : 12 + round(length / scale)] = True
    _stamp(picture, bar)
    text = f"{length} mm"
    write_text(picture, text, rows - 26, 12 + 6 * len(text))


def write_text(picture: np.ndarray, text: str, row: int, column: int) -> None:
    """Write text, twice the dots' size, centred on a pixel."""
    dots = [np.array([[int(d) for d in line] for line in GLYPHS[c].split()]) for c in text]
    block: np.ndarray = np.kron(
        np.concatenate([np.pad(d, ((0, 0), (0, 1))) for d in dots], axis=1)[:, :-1], np.ones((2, 2), int)
    )
    rows, columns = picture.shape[:2]
    place = np.zeros((rows, columns), bool)
    top, left = max(row - block.shape[0] // 2, 0), max(column - block.shape[1] // 2, 0)
    block = block[: max(rows - top, 0), : max(columns - left, 0)]  # what a narrow panel has room for
    place[top : top + block.shape[0], left : left + block.shape[1]] = block > 0
    _stamp(picture, place)


def _stamp(picture: np.ndarray, dots: np.ndarray) -> None:
    """White dots with a black rim of one pixel, so that they show on bone and on air."""
    picture[~_eroded(~dots) & ~dots] = 0
    picture[dots] = 255
