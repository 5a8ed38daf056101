"""Notes about a result that a reader would want before believing it: one sentence each, none for an ordinary scan."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.modelcheck import LABELS
from TernarySegmentLib.imaging.grids import voxel_steps
from TernarySegmentLib.imaging.measure import Measures, mask_box
from TernarySegmentLib.pipeline.decide import Decision

SMALL_ML, LARGE_ML = 25.0, 150.0
"""Outside lies hardly any adult's pancreas: 78 mL on average in 204 trauma patients, standard deviation 22, smallest
19, largest 140 (doi 10.1007/s00261-018-1793-8). Children's are smaller, tumours and inflammation make it larger."""
UNENHANCED_HU = 60.0
"""Median of the aorta. Blood without contrast agent has 30 to 50 HU: 36 and 40 in the two such scans of 15; the others
have 84 or more."""
AORTA_ML = 20.0
"""Seen at least, to judge by; in those scans 27 to 142 mL."""

SIDES = (("right", "left"), ("front", "back"), ("lower", "upper"))


def contrast_notes(coarse: Decision) -> tuple[str, ...]:
    """A note where the aorta shows no contrast agent."""
    aorta = coarse.labels == LABELS.index("aorta")
    if np.count_nonzero(aorta) * coarse.grid.spacing**3 / 1000 < AORTA_ML:
        return ()
    low, high = coarse.window
    hu = (low + high) / 2 + float(np.median(coarse.levels[aorta])) * (high - low) / 254
    if hu >= UNENHANCED_HU:
        return ()
    return (
        f"The scan shows no contrast agent (aorta {hu:.0f} HU), so the pancreas is hard to tell from its neighbours; "
        "check its border.",
    )


def volume_notes(measures: Measures) -> tuple[str, ...]:
    """A note where the volume is hardly ever that of a pancreas."""
    if SMALL_ML <= measures.volume_ml <= LARGE_ML:
        return ()
    than = f"smaller than {SMALL_ML:.0f} mL" if measures.volume_ml < SMALL_ML else f"larger than {LARGE_ML:.0f} mL"
    return (
        f"With {measures.volume_ml:.0f} mL the mask is {than}, as hardly any adult's pancreas is; check that it covers "
        "all of it and nothing else.",
    )


def edge_notes(ct: sitk.Image, mask: sitk.Image) -> tuple[str, ...]:
    """A note where the mask ends at the scan's edge, or at slices that hold a single value, as padding does."""
    box = mask_box(mask)
    if box is None:
        return ()
    values, steps, sides = sitk.GetArrayViewFromImage(ct), voxel_steps(ct), []
    for axis, (start, size) in enumerate(zip(*box, strict=True)):
        patient = int(np.abs(steps[:, axis]).argmax())
        for beyond, direction in ((start - 1, -1), (start + size, 1)):
            if _is_empty(values, 2 - axis, beyond):
                sides.append(SIDES[patient][int(direction * steps[patient, axis] > 0)])
    if not sides:
        return ()
    return (
        f"The mask reaches the scan's {' and '.join(sides)} edge, so a part of the pancreas may lie outside and be "
        "missing from the volume.",
    )


def _is_empty(values: np.ndarray, axis: int, index: int) -> bool:
    """True when a plane of voxels lies outside the scan or holds a single value."""
    if not 0 <= index < values.shape[axis]:
        return True
    plane = values.take(index, axis)
    return bool(plane.min() == plane.max())
