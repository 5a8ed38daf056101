"""Parts of a volume's grid: how masks and maps pass between SimpleITK, the scene and its attributes.

A pancreas fills 2 of the 80 MB of a CT's mask, so everything the main thread touches is cut to its box.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.measure import mask_box
from TernarySegmentLib.slicer_ui.mrml.volumes import image_of, matrix_of, to_numpy, to_ras_of

SAME_VOXEL = 1e-2
"""Of a voxel: how far two grids may be apart and still count as one."""


@dataclass(frozen=True)
class CroppedLabelmap:
    """A box of voxels on a volume's grid; zero everywhere else.

    Attributes:
        start: first voxel, (x, y, z).
        voxels: uint8, axes (z, y, x); of size 0 when everything is zero.
    """

    start: tuple[int, int, int]
    voxels: np.ndarray

    @property
    def empty(self) -> bool:
        """True when every voxel is zero."""
        return self.voxels.size == 0

    @property
    def extent(self) -> list[int]:
        """First and last voxel of each axis, as VTK has them."""
        return [bound for a, n in zip(self.start, self.voxels.shape[::-1], strict=True) for bound in (a, a + n - 1)]

    def image(self, reference: sitk.Image) -> sitk.Image:
        """The part in its place on a whole grid; uint8.

        Args:
            reference: has the volume's grid.
        """
        whole = sitk.Image(reference.GetSize(), sitk.sitkUInt8)
        whole.CopyInformation(reference)
        if self.empty:
            return whole
        low = np.maximum(self.start, 0)
        high = np.minimum(np.add(self.start, self.voxels.shape[::-1]), reference.GetSize())
        if (high <= low).any():
            return whole
        cut = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, self.start, strict=True))[::-1]
        inside = sitk.GetImageFromArray(np.ascontiguousarray(self.voxels[cut]))
        return sitk.Paste(whole, inside, inside.GetSize(), [0, 0, 0], [int(v) for v in low])

    def labels(self, ijk_to_world: np.ndarray) -> Any:
        """The part as vtkOrientedImageData; one zero voxel when it is empty.

        Args:
            ijk_to_world: 4×4, the volume's voxels to mm in the frame of the node that will hold it.
        """
        part = CroppedLabelmap((0, 0, 0), np.zeros((1, 1, 1), np.uint8)) if self.empty else self
        labels = slicer.vtkOrientedImageData()
        labels.SetExtent(part.extent)
        scalars = numpy_to_vtk(part.voxels.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
        labels.GetPointData().SetScalars(scalars)
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(ijk_to_world.ravel().tolist())
        labels.SetGeometryFromImageToWorldMatrix(matrix)
        return labels

    def text(self) -> str:
        """For an attribute: 15 kB for a pancreas. Keeps only whether a voxel is zero."""
        bits = base64.urlsafe_b64encode(zlib.compress(np.packbits(self.voxels != 0).tobytes(), 6)).decode("ascii")
        return json.dumps({"start": self.start, "size": self.voxels.shape[::-1], "bits": bits})


EMPTY = CroppedLabelmap((0, 0, 0), np.zeros((0, 0, 0), np.uint8))


def labelmap_from_text(text: str | None) -> CroppedLabelmap | None:
    """What :meth:`CroppedLabelmap.text` wrote, voxels 0 or 1; None when it cannot be read."""
    try:
        kept = json.loads(text or "null")
        x, y, z = (int(n) for n in kept["size"])
        bits = np.frombuffer(zlib.decompress(base64.urlsafe_b64decode(kept["bits"])), np.uint8)
        voxels = np.unpackbits(bits, count=x * y * z).reshape(z, y, x)
        i, j, k = (int(a) for a in kept["start"])
        return CroppedLabelmap((i, j, k), voxels)
    except (ValueError, TypeError, KeyError, zlib.error):
        return None


def crop_labelmap(image: sitk.Image) -> CroppedLabelmap:
    """The box around everything that is not zero in an uint8 image. Reads the whole image: 40 ms for 512×512×300."""
    box = mask_box(image)
    if box is None:
        return EMPTY
    start, size = box
    return CroppedLabelmap(
        (start[0], start[1], start[2]), sitk.GetArrayFromImage(sitk.RegionOfInterest(image, size, start))
    )


@dataclass(frozen=True)
class SegmentSnapshot:
    """A segment's voxels as they were, safe to hand to another thread.

    Attributes:
        labels: a copy, vtkOrientedImageData.
        to_volume: 4×4, its voxels (with its own extent's offset) to the volume's.
    """

    labels: Any
    to_volume: np.ndarray

    def labelmap(self, reference: sitk.Image | None = None) -> CroppedLabelmap:
        """The segment on the volume's grid.

        Args:
            reference: has that grid; needed only where the segment was snapshot on another one.
        """
        x0, x1, y0, y1, z0, z1 = self.labels.GetExtent()
        if x1 < x0 or y1 < y0 or z1 < z0 or self.labels.GetPointData().GetScalars() is None:
            return EMPTY
        shape = (z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
        voxels = (vtk_to_numpy(self.labels.GetPointData().GetScalars()).reshape(shape) != 0).astype(np.uint8)
        shift = self.to_volume[:3, 3]
        same = (
            np.abs(self.to_volume - np.eye(4))[:, :3].max() < 1e-4 and (abs(shift - shift.round()) < SAME_VOXEL).all()
        )
        if same:
            i, j, k = (int(v) for v in np.add(shift.round(), (x0, y0, z0)))
            return _cropped(CroppedLabelmap((i, j, k), voxels))
        if reference is None:
            raise OutputError("The segment was snapshot on another grid than the volume's; segment again.")
        # placed through the reference, which may leave the transforms above the volume out
        snapshot = image_of(voxels, to_ras_of(reference) @ self.to_volume, (x0, y0, z0))
        return crop_labelmap(sitk.Resample(snapshot, reference, sitk.Transform(), sitk.sitkNearestNeighbor))


def take_segment(node: Any, segment_id: str, volume: Any) -> SegmentSnapshot:
    """Copy a segment as it is now. Main thread only; takes as long as copying its box.

    Args:
        node: vtkMRMLSegmentationNode.
        segment_id: of one of its segments.
        volume: the vtkMRMLScalarVolumeNode whose grid is wanted.
    """
    labels = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, labels)
    matrix = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(matrix)
    return SegmentSnapshot(labels, np.linalg.inv(matrix_of(volume)) @ between(node, volume) @ to_numpy(matrix))


def between(source: Any, target: Any) -> np.ndarray:
    """4×4 from one node's own frame to another's.

    Raises:
        OutputError: a non-linear transform lies between them.
    """
    matrix = vtk.vtkMatrix4x4()
    above, other = source.GetParentTransformNode(), target.GetParentTransformNode()
    if not linear_between(above, other):
        names = " and ".join(f"“{node.GetName()}”" for node in (source, target))
        raise OutputError(f"A non-linear transform lies between {names}; choose a new segmentation.")
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(above, other, matrix)
    return to_numpy(matrix)


def linear_between(source: Any, target: Any) -> bool:
    """True when a matrix leads from one transform node to another, None for the world; asking otherwise logs errors."""
    if source is not None:
        return bool(source.IsTransformToNodeLinear(target))
    return target is None or bool(target.IsTransformToWorldLinear())


def _cropped(part: CroppedLabelmap) -> CroppedLabelmap:
    """Without the zeros around."""
    inside = part.voxels
    bounds = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(tuple(a for a in range(3) if a != axis)))
        if used.size == 0:
            return EMPTY
        bounds.append((int(used[0]), int(used[-1]) + 1))
    (z0, z1), (y0, y1), (x0, x1) = bounds
    i, j, k = part.start
    return CroppedLabelmap((i + x0, j + y0, k + z0), np.ascontiguousarray(inside[z0:z1, y0:y1, x0:x1]))
