"""From a volume node to the image the pipeline takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import voxel_steps

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LARGEST_SHEAR = 1e-3
"""Of two axes' unit vectors' product. A gantry tilt of 1° gives 0.017, rounding in a file's header 1e-5."""


def image_of(voxels: np.ndarray, to_ras: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)) -> sitk.Image:
    """Voxels (z, y, x) as an image in LPS.

    Args:
        voxels: a copy is taken.
        to_ras: 4×4, from the grid's indices (i, j, k) to RAS, mm; axes not sheared.
        first: index of the first voxel in that grid.
    """
    matrix = RAS_TO_LPS @ to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((matrix @ (*first, 1))[:3].tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    return image


def to_ras_of(image: sitk.Image) -> np.ndarray:
    """4×4, an image's indices (i, j, k) to RAS, mm: the inverse of what :func:`image_of` does."""
    matrix = np.eye(4)
    matrix[:3, :3] = voxel_steps(image)
    matrix[:3, 3] = image.GetOrigin()
    return RAS_TO_LPS @ matrix


@dataclass(frozen=True)
class Scan:
    """A volume node's voxels and place, safe to hand to another thread.

    Attributes:
        name: the volume's name, for messages.
        voxels: the node's own vtkImageData; held, so that it outlives the node.
        ijk_to_world: 4×4, voxel (i, j, k) to RAS in mm, parent transforms included.
    """

    name: str
    voxels: Any
    ijk_to_world: np.ndarray

    def image(self) -> sitk.Image:
        """The scan in LPS. Copies every voxel (80 ms for 512×512×300), so call it off the main thread."""
        columns, rows, slices = self.voxels.GetDimensions()
        array = vtk_to_numpy(self.voxels.GetPointData().GetScalars()).reshape(slices, rows, columns)
        return image_of(array, self.ijk_to_world)


def take_scan(volume: Any) -> Scan:
    """Look at a vtkMRMLScalarVolumeNode without copying its voxels. Main thread only, takes no time.

    Raises:
        InputError: no voxels, several values per voxel, sheared axes or a non-linear transform; in one sentence.
    """
    name, voxels = volume.GetName(), volume.GetImageData()
    scalars = voxels.GetPointData().GetScalars() if voxels is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        raise InputError(f"“{name}” has no voxels; load it again or choose another volume.")
    if scalars.GetNumberOfComponents() != 1:
        raise InputError(f"“{name}” has {scalars.GetNumberOfComponents()} values per voxel; a CT has one, in HU.")
    matrix = _to_world(volume) @ matrix_of(volume)
    _check_axes(name, matrix)
    return Scan(name, voxels, matrix)


def matrix_of(volume: Any) -> np.ndarray:
    """4×4, voxel to RAS in mm, in the volume's own frame: parent transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return to_numpy(matrix)


def to_numpy(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as a 4×4 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def _to_world(volume: Any) -> np.ndarray:
    parent = volume.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"“{volume.GetName()}” lies under the non-linear transform “{parent.GetName()}”; harden it first "
            "(right-click the volume in the Data module)."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return to_numpy(matrix)


def _check_axes(name: str, matrix: np.ndarray) -> None:
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not np.isfinite(matrix).all() or (lengths < 1e-9).any():
        raise InputError(f"“{name}” has no usable spacing; set it in the Volumes module.")
    axes = matrix[:3, :3] / lengths
    shear = np.abs(axes.T @ axes - np.eye(3)).max()
    if shear > LARGEST_SHEAR:
        degrees = np.degrees(np.arcsin(min(shear, 1.0)))
        raise InputError(
            f"The axes of “{name}” are sheared by {degrees:.1f}° (gantry tilt?); resample the volume to straight axes "
            "first (module Resample Scalar/Vector/DWI Volume)."
        )
