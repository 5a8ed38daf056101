"""How well a mask agrees with a reference: overlap, distances between the surfaces, volumes.

The surface measures come from the package surface-distance, the implementation by the authors of the surface Dice, so
that figures can be set beside published ones; it is an extra (``compare``), and imported when they are asked for.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.measure import same_grid, voxel_ml

TOLERANCE_MM = 2.0
"""Borders this close count as equal in the surface Dice."""
PERCENTILE = 95.0
"""Of the Hausdorff distance."""
STRAIGHT = 1e-3
"""Largest cosine between two axes of a grid on which distances are measured."""


@dataclass(frozen=True)
class Agreement:
    """Two masks compared.

    Attributes:
        dice: 2·|A∩B| / (|A| + |B|), 1 when both are empty.
        surface_dice: the share of both surfaces that lies within :data:`TOLERANCE_MM` of the other (Nikolov et al.
            2021, "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy"); None where surfaces
            were not measured.
        hausdorff_mm: 95th percentile of the distances between the surfaces; None where they were not measured, or where
            a mask is empty and no distance exists.
        volume_ml, reference_ml: of the mask and of the reference.
    """

    dice: float
    surface_dice: float | None
    hausdorff_mm: float | None
    volume_ml: float
    reference_ml: float

    @property
    def volume_error(self) -> float | None:
        """Relative error of the volume, signed; None when the reference is empty."""
        return self.volume_ml / self.reference_ml - 1 if self.reference_ml else None


def surfaces_available() -> bool:
    """True when surfaces can be measured: the package surface-distance is installed."""
    return importlib.util.find_spec("surface_distance") is not None


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Dice overlap of two boolean masks; 1 when both are empty.

    Examples:
        >>> overlap(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return float(2 * np.count_nonzero(first & second) / total) if total else 1.0


def agreement_of(
    found: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float], surfaces: bool = True
) -> Agreement:
    """Compare a mask with a reference on the same grid.

    Args:
        found: the mask, boolean, (z, y, x).
        truth: the reference, alike.
        spacing: voxel size (z, y, x), mm.
        surfaces: measure distances between the surfaces; meaningless where only some slices are annotated.

    Raises:
        ImportError: surfaces are asked for and surface-distance is not installed.
    """
    voxel = float(np.prod(spacing)) / 1000
    volumes = np.count_nonzero(found) * voxel, np.count_nonzero(truth) * voxel
    surface, hausdorff = _surface_agreement(found, truth, spacing) if surfaces else (None, None)
    return Agreement(overlap(found, truth), surface, hausdorff, *volumes)


def compare_masks(mask: sitk.Image, reference: sitk.Image, surfaces: bool = True) -> Agreement:
    """Compare two masks.

    Args:
        mask: integer image, inside where not 0.
        reference: alike, on the same grid.
        surfaces: see :func:`agreement_of`; on a sheared grid they are not measured.

    Raises:
        InputError: the grids differ.
        ImportError: surfaces are asked for and surface-distance is not installed.
    """
    check_same_grid(mask, reference)
    found, truth = (sitk.GetArrayViewFromImage(image) != 0 for image in (mask, reference))
    axes = np.array(mask.GetDirection()).reshape(3, 3)
    straight = bool(np.abs(axes.T @ axes - np.eye(3)).max() < STRAIGHT)
    agreement = agreement_of(found, truth, mask.GetSpacing()[::-1], surfaces and straight)
    voxel = voxel_ml(mask)
    return replace(agreement, volume_ml=np.count_nonzero(found) * voxel, reference_ml=np.count_nonzero(truth) * voxel)


def check_same_grid(mask: sitk.Image, reference: sitk.Image) -> None:
    """Refuse to compare voxels that do not lie on each other.

    Raises:
        InputError: size, spacing, origin or direction differ, naming the first that does.
    """
    if same_grid(mask, reference):
        return
    names = ("size", "spacing", "origin", "direction")
    ways = [(name, getattr(mask, f"Get{name.title()}")(), getattr(reference, f"Get{name.title()}")()) for name in names]
    name, one, other = next(
        way for way in ways if len(way[1]) != len(way[2]) or not np.allclose(way[1], way[2], rtol=1e-4, atol=1e-3)
    )
    first, second = (" × ".join(f"{v:g}" for v in values) for values in (one, other))
    raise InputError(
        f"The mask's {name} ({first}) is not the reference's ({second}); bring both to one grid first, or take the "
        "masks of one scan."
    )


def _surface_agreement(
    found: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[float, float | None]:
    """Surface Dice, and the Hausdorff percentile in mm."""
    from surface_distance import metrics

    if not found.any() or not truth.any():  # the library divides by an empty surface
        return (1.0 if found.any() == truth.any() else 0.0), None
    measured = metrics.compute_surface_distances(truth, found, spacing)
    return (
        float(metrics.compute_surface_dice_at_tolerance(measured, TOLERANCE_MM)),
        float(metrics.compute_robust_hausdorff(measured, PERCENTILE)),
    )
