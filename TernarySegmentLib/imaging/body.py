"""How large a patient is, measured on the body's cross-section."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.grids import Box, Grid, bounds, grid_over, to_grid

BODY_HU = -122.0
"""Above air, also where a scan was clipped at -125 HU, and below fat even at a low tube voltage."""
MOST_AT_BORDER = 0.1
"""Of a slice's border: where the body takes more, the picture cuts it, and its size is not known."""
COARSE_MM = 4.0
"""Grid on which a scan is measured: the coarse network's, which lies at the same place."""


def body_size(dense: np.ndarray, grid: Grid, box: Box) -> float | None:
    """Side of a square as large as the body's cross-section, mm: the median of the slices at the height of a box.

    The table is not counted where air lies between, arms not where they lie apart.

    Args:
        dense: what is above :data:`BODY_HU`, bool (z, y, x).
        grid: it lies on, all that the scan shows.
        box: LPS, mm; only its extent along the body is used.

    Returns:
        some 220 mm for a small adult, 350 for a large one; None where the scan does not show the whole body.

    Examples:
        >>> y, x = np.mgrid[-198:200:4, -198:200:4]
        >>> ellipse = (x / 150) ** 2 + (y / 100) ** 2 < 1
        >>> grid = Grid(4.0, (-198.0, -198.0, 2.0), (100, 100, 5))
        >>> round(body_size(np.stack([ellipse] * 5), grid, grid.box))  # of 300 by 200 mm
        217
        >>> cut = Grid(4.0, (-98.0, -98.0, 2.0), (50, 50, 5))
        >>> body_size(np.stack([ellipse[25:75, 25:75]] * 5), cut, cut.box) is None
        True
    """
    first, last = ((corner[2] - grid.origin[2]) / grid.spacing for corner in box)
    start = int(np.clip(round(first), 0, len(dense) - 1))
    connect, fill = sitk.ConnectedComponentImageFilter(), sitk.BinaryFillholeImageFilter()
    for each in (connect, fill):  # on several threads a slice takes longer, and holes were not always filled alike
        each.SetNumberOfWorkUnits(1)
    areas, at_border = [], []
    for part in dense[start : max(round(last), start) + 1]:
        pieces = sitk.RelabelComponent(connect.Execute(sitk.GetImageFromArray(part.astype(np.uint8))))
        body = sitk.GetArrayFromImage(fill.Execute(pieces == 1)) > 0
        areas.append(body.sum() * grid.spacing**2)
        at_border.append(np.concatenate([body[0], body[-1], body[1:-1, 0], body[1:-1, -1]]).mean())
    return None if np.median(at_border) > MOST_AT_BORDER else float(np.sqrt(np.median(areas)))


def body_size_in(ct: sitk.Image, box: Box) -> float | None:
    """The same of a scan in HU, of which only the slices at the height of the box are read."""
    lower, upper = bounds(ct)
    slab = (*lower[:2], max(lower[2], box[0][2])), (*upper[:2], min(upper[2], box[1][2]))
    grid = grid_over(slab, COARSE_MM)
    return body_size(to_grid(ct, grid) > BODY_HU, grid, box)
