"""What an edit changed, against the untouched automatic mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.measure import mask_box, same_grid, voxel_ml


@dataclass(frozen=True)
class Changes:
    """An edited mask against the automatic one.

    Attributes:
        volume_ml: of the edited mask, mL.
        automatic_ml: of the automatic mask, mL.
        dice: overlap of the two, 0 to 1; 1 when both are empty.
        added_ml: in the edited mask only, mL.
        removed_ml: in the automatic mask only, mL.
    """

    volume_ml: float
    automatic_ml: float
    dice: float
    added_ml: float
    removed_ml: float


def compare(edited: sitk.Image, automatic: sitk.Image) -> Changes:
    """Compare two masks; only the box around both is read.

    Args:
        edited: integer image, inside where not 0.
        automatic: the same, on the same grid.

    Raises:
        InputError: the grids differ.
    """
    if not same_grid(edited, automatic):
        raise InputError(
            f"The edited mask's grid {edited.GetSize()} is not the automatic one's {automatic.GetSize()}; "
            "compare masks of one scan."
        )
    boxes = [box for box in (mask_box(edited), mask_box(automatic)) if box is not None]
    if not boxes:
        return Changes(0.0, 0.0, 1.0, 0.0, 0.0)
    start = np.min([box[0] for box in boxes], axis=0)
    stop = np.max([np.add(*box) for box in boxes], axis=0)
    window = tuple(slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
    ours, theirs = (sitk.GetArrayViewFromImage(image)[window] != 0 for image in (edited, automatic))
    both, mine, other = (int(np.count_nonzero(part)) for part in (ours & theirs, ours, theirs))
    millilitres = voxel_ml(edited)
    return Changes(
        mine * millilitres, other * millilitres, 2 * both / (mine + other),
        (mine - both) * millilitres, (other - both) * millilitres,
    )  # fmt: skip
