"""A mask as a shaded body, seen along the patient's axes, without any graphics library."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.files.writing import COLOUR
from TernarySegmentLib.imaging.grids import positions, voxel_steps
from TernarySegmentLib.imaging.report.preview import View
from TernarySegmentLib.imaging.report.surface import smooth_field

BACKGROUND = 255
"""White, for paper."""

DEPTH_MM = 0.7
"""Between two samples along a ray; the surface is interpolated between them."""

MARGIN_MM = 4.0
"""Around the body."""

LIGHT = np.array([-0.45, -0.6, -0.9])
"""Where the light is, (right, down, into the screen): above the viewer's left shoulder."""


def draw_body(mask: sitk.Image, view: View, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Look at a mask's smoothed surface in parallel projection.

    Args:
        mask: integer image, inside where not 0, any grid.
        view: how the screen lies in the patient.
        shape: rows and columns of the picture.

    Returns:
        uint8 (rows, columns, red-green-blue), and mm per pixel.

    Raises:
        OutputError: the mask is empty.
    """
    field = smooth_field(mask)
    axes = np.column_stack([view.right, view.down, np.cross(view.right, view.down)]).astype(float)
    low, high = _bounds(field, axes)
    scale = max((high[0] - low[0]) / shape[1], (high[1] - low[1]) / shape[0])
    step = np.array([scale, scale, DEPTH_MM])
    size = np.array([shape[1], shape[0], int(np.ceil((high[2] - low[2]) / DEPTH_MM)) + 1])
    first = (low + high) / 2 - step * (size - 1) / 2
    rays = sitk.Resample(
        field, size.tolist(), sitk.Transform(), sitk.sitkLinear, (axes @ first).tolist(), step.tolist(),
        axes.ravel().tolist(), -1.0,
    )  # fmt: skip
    return np.rint(_shade(sitk.GetArrayViewFromImage(rays), step[::-1])).astype(np.uint8), scale


def _bounds(field: sitk.Image, axes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a field is positive, lower and upper corner along the screen's axes, mm, with a margin."""
    places = positions(field, np.argwhere(sitk.GetArrayViewFromImage(field) > 0)) @ axes
    reach = np.abs(axes.T @ voxel_steps(field)).sum(1) / 2 + MARGIN_MM
    return places.min(0) - reach, places.max(0) + reach


def _shade(field: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Colours 0 to 255 where rays along the first axis enter what is positive.

    Args:
        field: axes (into the screen, down, right).
        step: mm between its values along these axes.
    """
    highest = field.max(0)
    # how much of a pixel the body covers: how far the outline is off, in pixels
    slope = np.hypot(*np.gradient(highest))
    cover = (0.5 + highest / np.maximum(slope, 1e-6)).clip(0, 1)
    rows, columns = np.nonzero(cover)
    entered = (field > 0).argmax(0)[rows, columns]
    behind = np.where(highest[rows, columns] > 0, entered, field.argmax(0)[rows, columns])
    before = np.maximum(behind - 1, 0)
    near, far = field[before, rows, columns], field[behind, rows, columns]
    share = np.where((near < 0) & (far > 0), far / np.maximum(far - near, 1e-6), 0.0)
    outward = -(
        share * _slopes(field, step, before, rows, columns) + (1 - share) * _slopes(field, step, behind, rows, columns)
    )
    outward /= np.maximum(np.linalg.norm(outward, axis=0), 1e-6)
    depth = behind - share
    light = LIGHT / np.linalg.norm(LIGHT)
    half = light - np.array([0, 0, 1])  # between the light and the viewer
    half /= np.linalg.norm(half)
    gloss = 0.25 * np.maximum(half @ outward, 0) ** 30
    nearness = 1 - 0.25 * (depth - depth.min()) / max(float(np.ptp(depth)), 1.0)
    body = 255 * (np.outer((0.3 + 0.7 * np.maximum(light @ outward, 0)) * nearness, COLOUR) + gloss[:, None]).clip(0, 1)
    picture = np.full((*highest.shape, 3), float(BACKGROUND))
    picture[rows, columns] += cover[rows, columns, None] * (body - BACKGROUND)
    return picture


def _slopes(field: np.ndarray, step: np.ndarray, *place: np.ndarray) -> np.ndarray:
    """Central differences at places, per mm, (3, n) in the order right, down, into the screen."""
    slopes = []
    for axis in (2, 1, 0):
        ends = []
        for side in (-1, 1):
            moved = list(place)
            moved[axis] = (place[axis] + side).clip(0, field.shape[axis] - 1)
            ends.append(field[tuple(moved)])
        slopes.append((ends[1] - ends[0]) / (2 * step[axis]))
    return np.array(slopes)
