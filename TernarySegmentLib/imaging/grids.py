"""Between the scan's own grid and the network's working grid.

A working grid is axis aligned in the patient's LPS frame (x to the left, y to the back, z to the head) with one
isotropic spacing, so that every scan reaches the network in the same orientation whatever its direction cosines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

OUTSIDE_HU = -1024
"""What a working grid holds that touches no voxel of the scan: air."""

Box = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Lower and upper corner in LPS, mm."""

Flips = tuple[bool, bool, bool]
"""Which axes of the patient are reversed: left to right, front to back, head to foot."""


def box_of_corners(values: Sequence[float]) -> Box:
    """The box between two opposite corners.

    Args:
        values: x, y, z of one corner, then of the other; LPS, mm.

    Raises:
        ValueError: not six numbers, or they enclose no volume.

    Examples:
        >>> box_of_corners([40, -100, 10, -60, 20, 90])
        ((-60.0, -100.0, 10.0), (40.0, 20.0, 90.0))
    """
    corners = np.array(values, float).reshape(2, 3)
    lower, upper = corners.min(0), corners.max(0)
    if not (np.isfinite(corners).all() and (upper > lower).all()):
        raise ValueError("no volume")
    return tuple(lower.tolist()), tuple(upper.tolist())


@dataclass(frozen=True)
class Grid:
    """An axis-aligned LPS grid; ``origin`` is the centre of voxel (0, 0, 0).

    Attributes:
        spacing: isotropic voxel size, mm.
        origin: LPS position of the first voxel's centre, mm, (x, y, z).
        size: number of voxels, (x, y, z).
    """

    spacing: float
    origin: tuple[float, float, float]
    size: tuple[int, int, int]

    @property
    def box(self) -> Box:
        """Outer bounds of the grid's voxels in LPS, mm."""
        lower = tuple(o - self.spacing / 2 for o in self.origin)
        upper = tuple(low + n * self.spacing for low, n in zip(lower, self.size, strict=True))
        return lower, upper  # type: ignore[return-value]

    def image(self, array: np.ndarray) -> sitk.Image:
        """The array, axes (z, y, x), as an image on this grid."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([self.spacing] * 3)
        image.SetOrigin(self.origin)
        return image


def voxel_steps(image: sitk.Image) -> np.ndarray:
    """From one voxel to the next: 3×3, columns along the image's x, y and z, rows in LPS, mm."""
    return np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()


def with_unit_axes(image: sitk.Image) -> sitk.Image:
    """The same voxels in the same place, the lengths of its axes in its spacing: MetaImage may put them elsewhere.

    Examples:
        >>> image = sitk.Image(4, 4, 4, sitk.sitkInt16)
        >>> image.SetDirection([2, 0, 0, 0, 2, 0, 0, 0, 2])
        >>> with_unit_axes(image).GetSpacing()
        (2.0, 2.0, 2.0)
    """
    steps = voxel_steps(image)
    lengths = np.linalg.norm(steps, axis=0)
    if np.allclose(lengths, image.GetSpacing(), rtol=1e-6):
        return image
    unit = sitk.Image(image)
    unit.SetSpacing(lengths.tolist())
    unit.SetDirection((steps / lengths).ravel().tolist())
    return unit


def positions(image: sitk.Image, indices: np.ndarray) -> np.ndarray:
    """LPS, mm, (n, 3), of indices (z, y, x), whole or not, (n, 3)."""
    return indices[:, ::-1] @ voxel_steps(image).T + image.GetOrigin()


def flip(image: sitk.Image, flips: Flips) -> sitk.Image:
    """The same voxels with axes of the patient reversed in position and direction: x becomes -x where flipped."""
    signs = np.where(flips, -1.0, 1.0)
    flipped = sitk.Image(image)
    flipped.SetOrigin((signs * image.GetOrigin()).tolist())
    flipped.SetDirection((signs[:, None] * np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    return flipped


def flip_anterior_posterior(image: sitk.Image) -> sitk.Image:
    """The same voxels with the patient's front and back exchanged."""
    return flip(image, (False, True, False))


def flip_box(box: Box, flips: Flips) -> Box:
    """The same part of the patient after :func:`flip`."""
    lower = tuple(-high if turn else low for low, high, turn in zip(*box, flips, strict=True))
    upper = tuple(-low if turn else high for low, high, turn in zip(*box, flips, strict=True))
    return lower, upper  # type: ignore[return-value]


def bounds(image: sitk.Image) -> Box:
    """Outer bounds of an image's voxels in LPS, mm, whatever its direction cosines.

    Examples:
        >>> bounds(sitk.Image(10, 10, 4, sitk.sitkInt16))
        ((-0.5, -0.5, -0.5), (9.5, 9.5, 3.5))
    """
    size = image.GetSize()
    indices = [[n * far - 0.5 for n, far in zip(size, corner, strict=True)] for corner in np.ndindex(2, 2, 2)]
    corners = np.array([image.TransformContinuousIndexToPhysicalPoint(index) for index in indices])
    return tuple(corners.min(0).tolist()), tuple(corners.max(0).tolist())


def grid_over(box: Box, spacing: float, multiple: int = 1) -> Grid:
    """The smallest grid of the patient's lattice over a box, each side a multiple of ``multiple`` voxels.

    The lattice has a corner at the frame's origin and steps of ``multiple`` voxels, so a point of the patient lies at
    the same place of the same voxel, and of the network's strides, whatever the box: a box that moves by a few
    millimetres, because the scan was cropped, padded or stored in another axis order, changes what lies at the border
    and nothing else.

    Args:
        box: lower and upper corner in LPS, mm.
        spacing: voxel size, mm.
        multiple: what each side's voxel count must be divisible by (the network's total stride).

    Examples:
        >>> grid_over(((0, 0, 0), (99, 50, 20)), spacing=2, multiple=8).size
        (56, 32, 16)
        >>> grid_over(((3, 0, 0), (101, 50, 20)), spacing=2, multiple=8).box[0]
        (0.0, 0.0, 0.0)
    """
    step = spacing * multiple
    first = np.floor(np.array(box[0]) / step + 1e-6)
    steps = (np.ceil(np.array(box[1]) / step - 1e-6) - first).clip(1).astype(int)
    origin = first * step + spacing / 2
    return Grid(spacing, tuple(origin.tolist()), tuple((steps * multiple).tolist()))


def index_window(image: sitk.Image, box: Box, margin: int) -> tuple[list[int], list[int]] | None:
    """Start and size of the voxels of ``image`` that a box touches, plus a margin; None when it touches none."""
    corners = [[box[far][axis] for axis, far in enumerate(corner)] for corner in np.ndindex(2, 2, 2)]
    indices = np.array([image.TransformPhysicalPointToContinuousIndex(corner) for corner in corners])
    size = np.array(image.GetSize())
    start = (np.floor(indices.min(0)).astype(int) - margin).clip(0, size)
    stop = (np.ceil(indices.max(0)).astype(int) + 1 + margin).clip(0, size)
    if (stop <= start).any():
        return None
    return [int(v) for v in start], [int(v) for v in stop - start]


def shrink_factors(image: sitk.Image, spacing: float) -> list[int]:
    """How many voxels of each image axis one voxel of the working grid averages over."""
    return [max(1, int(spacing / s + 0.3)) for s in image.GetSpacing()]


def to_grid(image: sitk.Image, grid: Grid, outside: float | None = None) -> np.ndarray:
    """Resample an image to a working grid: whole-voxel averaging against aliasing, then linear interpolation.

    Only the voxels that the grid touches are read, so that a small region of a large scan costs little.

    Args:
        image: a 3D scalar image.
        grid: where to sample.
        outside: the value where the image has no voxel; None repeats the image's edge. Air beyond the first and last
            slice looks like the end of the lung: with it, a network found half of what it finds with repeated slices.

    Returns:
        float32 array of shape ``grid.size[::-1]``, axes (z, y, x).
    """
    factors = shrink_factors(image, grid.spacing)
    window = index_window(image, grid.box, margin=2 * max(factors))
    if window is None:
        return np.full(grid.size[::-1], OUTSIDE_HU if outside is None else outside, np.float32)
    start = [first // f * f for first, f in zip(window[0], factors, strict=True)]  # the same voxels in any box
    size = [n + first - s for first, n, s in zip(*window, start, strict=True)]
    whole = size == list(image.GetSize())  # then a copy would only take memory
    part = image if whole else sitk.RegionOfInterest(image, size, start)
    # a window thinner than the factor cannot be binned along that axis
    factors = [min(f, n) for f, n in zip(factors, size, strict=True)]
    if max(factors) > 1:
        part = sitk.BinShrink(part, factors)
    sampled = sitk.Resample(
        part, grid.size, sitk.Transform(), sitk.sitkLinear, grid.origin, [grid.spacing] * 3,
        sitk.Image(1, 1, 1, sitk.sitkUInt8).GetDirection(), outside or 0.0, sitk.sitkFloat32, outside is None,
    )  # fmt: skip
    return sitk.GetArrayFromImage(sampled)


def to_image(margin: np.ndarray, grid: Grid, reference: sitk.Image) -> sitk.Image:
    """Bring a decision margin back to an image's own grid: the mask is where the interpolated margin is positive.

    Interpolating the margin and thresholding once gives smoother borders than moving a finished mask.

    Args:
        margin: float array on the grid, axes (z, y, x); positive inside the structure.
        grid: where the margin lives.
        reference: the image whose grid the mask must have.

    Returns:
        uint8 image, 1 inside, with exactly the size, spacing, origin and direction of ``reference``.
    """
    positive = margin > 0
    if not positive.any():
        return blank(reference)
    # a value between voxels is positive only beside a positive voxel: nothing farther than one voxel need be sampled
    cut = []
    for axis, length in enumerate(margin.shape):
        occupied = np.flatnonzero(positive.any(tuple(other for other in range(3) if other != axis)))
        cut.append(slice(max(int(occupied[0]) - 1, 0), min(int(occupied[-1]) + 2, length)))
    margin = margin[tuple(cut)]
    corner = [part.start * grid.spacing + origin for part, origin in zip(cut[::-1], grid.origin, strict=True)]
    grid = Grid(grid.spacing, tuple(corner), margin.shape[::-1])  # type: ignore[arg-type]
    window = index_window(reference, grid.box, margin=1)
    if window is None:
        return blank(reference)
    start, size = window
    values = sample(margin, grid, reference, window, float(min(margin.min(), -1.0)))
    # untouched zeros take no memory, unlike the copy that pasting one image into another makes
    mask = np.zeros(reference.GetSize()[::-1], np.uint8)
    inside = tuple(slice(first, first + length) for first, length in zip(start[::-1], size[::-1], strict=True))
    mask[inside] = sitk.GetArrayViewFromImage(values) > 0
    result = sitk.GetImageFromArray(mask)
    result.CopyInformation(reference)
    return result


def sample(
    array: np.ndarray, grid: Grid, reference: sitk.Image, window: tuple[list[int], list[int]], outside: float
) -> sitk.Image:
    """Interpolate an array linearly at a window of another image's voxels.

    Args:
        array: on the grid, axes (z, y, x).
        grid: where the array lives.
        reference: the image whose voxels are sampled.
        window: start and size of those voxels, (x, y, z), see :func:`index_window`.
        outside: the value where the grid has no voxel.

    Returns:
        float32 image of the window's size, at the window's place.
    """
    start, size = window
    return sitk.Resample(
        grid.image(np.ascontiguousarray(array, np.float32)), size, sitk.Transform(), sitk.sitkLinear,
        reference.TransformIndexToPhysicalPoint(start), reference.GetSpacing(), reference.GetDirection(),
        outside, sitk.sitkFloat32,
    )  # fmt: skip


def blank(reference: sitk.Image) -> sitk.Image:
    """An uint8 image of zeros on the grid of another."""
    result = sitk.Image(reference.GetSize(), sitk.sitkUInt8)
    result.CopyInformation(reference)
    return result
