"""From the voxels a network marked to one plausible organ."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def largest_plausible(
    mask: np.ndarray,
    spacing_mm: float,
    minimum_ml: float = 3.0,
    keep_ratio: float = 0.2,
    keep_distance_mm: float = 15.0,
) -> np.ndarray:
    """Keep the largest component, and large ones close to it; nothing when that is too small for a pancreas.

    Voxels that touch at a corner belong together (26 neighbours): the neck of a pancreas is thin and runs obliquely,
    and with 6 neighbours it breaks on a grid of 2 mm. A pancreas that still breaks in two keeps its second
    part when this has ``keep_ratio`` of the largest and lies within ``keep_distance_mm`` of its bounding box; the neck
    is 10-20 mm long, a false piece of bowel or adrenal is smaller or further away.

    Args:
        mask: bool, axes (z, y, x).
        spacing_mm: isotropic voxel size.
        minimum_ml: less than this in all is no pancreas; an atrophic one still has 15-20 mL.
        keep_ratio: what part of the largest component's voxels another must have to be kept.
        keep_distance_mm: how far from the largest component's bounding box it may lie.

    Returns:
        bool, same shape; all False when nothing is plausible.

    Examples:
        >>> mask = np.zeros((40, 40, 40), bool)
        >>> mask[5:20, 5:20, 5:20] = mask[38:, 38:, 38:] = True
        >>> kept = largest_plausible(mask, spacing_mm=2.0)
        >>> int(mask.sum()), int(kept.sum())
        (3383, 3375)
    """
    kept = np.zeros(mask.shape, bool)
    window = _window(mask)
    if window is None:
        return kept
    inside = np.ascontiguousarray(mask[window], np.uint8)
    labels = sitk.ConnectedComponent(sitk.GetImageFromArray(inside), True)
    labelled = sitk.GetArrayFromImage(labels)
    counts = np.bincount(labelled.ravel())
    counts[0] = 0
    largest = int(counts.argmax())
    chosen = [
        label
        for label in np.flatnonzero(counts >= max(1, keep_ratio * counts[largest]))
        if label == largest or _gap_voxels(labelled == largest, labelled == label) * spacing_mm <= keep_distance_mm
    ]
    if counts[chosen].sum() * spacing_mm**3 / 1000 < minimum_ml:
        return kept
    kept[window] = np.isin(labelled, chosen)
    return kept


def _window(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The bounding box of a mask as slices; None when it is empty."""
    spans = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        if hit.size == 0:
            return None
        spans.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(spans)


def _gap_voxels(one: np.ndarray, other: np.ndarray) -> float:
    """Distance from the nearest voxel of ``other`` to the bounding box of ``one``, in voxels."""
    box = _window(one)
    assert box is not None
    apart = [
        np.maximum(np.maximum(span.start - where, where - (span.stop - 1)), 0)
        for span, where in zip(box, np.nonzero(other), strict=True)
    ]
    return float(np.sqrt(np.sum(np.square(apart), axis=0).min()))
