"""From a mask to a segmentation node, and back again in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.measure import mask_box
from TernarySegmentLib.imaging.writing import COLOUR, TERMINOLOGY
from TernarySegmentLib.slicer_ui.volumes import matrix_of, to_numpy

SEGMENT_ID = "pancreas"
REPORT = "TernarySegment.Report"
"""Attribute of the segmentation node that holds the numbers, so that a saved scene brings them back."""


@dataclass(frozen=True)
class Revert:
    """Undoes one run: removes the node it made, or puts back what it replaced.

    Attributes:
        node_id: the segmentation node.
        created: whether the run made the node.
        before: copy of the segment that was there; None when the run added it.
        report: the node's report before the run; None when there was none.
    """

    node_id: str
    created: bool
    before: Any = None
    report: str | None = None

    def __call__(self) -> None:
        """Undo; does nothing when the node is gone already."""
        node = slicer.mrmlScene.GetNodeByID(self.node_id)
        if node is None:
            return
        if self.created:
            display = node.GetDisplayNode()
            slicer.mrmlScene.RemoveNode(node)
            if display is not None:
                slicer.mrmlScene.RemoveNode(display)
            return
        was = node.StartModify()
        segmentation = node.GetSegmentation()
        segmentation.RemoveSegment(SEGMENT_ID)
        if self.before is not None:
            segmentation.AddSegment(self.before, SEGMENT_ID)
        node.RemoveAttribute(REPORT) if self.report is None else node.SetAttribute(REPORT, self.report)
        node.EndModify(was)


def write_segment(volume: Any, mask: sitk.Image, node: Any = None) -> tuple[Any, Revert]:
    """Put a mask into the scene as the segment "pancreas".

    Args:
        volume: the vtkMRMLScalarVolumeNode that was segmented.
        mask: uint8 image on the volume's voxels, 1 inside.
        node: vtkMRMLSegmentationNode to write to; None makes "<volume> pancreas". Its other segments stay as they are.

    Returns:
        The node, and what undoes the run.

    Raises:
        InputError: the volume's size has changed since it was segmented.
        OutputError: Slicer refused the segment.
    """
    if volume.GetImageData() is None or volume.GetImageData().GetDimensions() != mask.GetSize():
        raise InputError(f"“{volume.GetName()}” changed while it was segmented; segment it again.")
    created = node is None
    if created:
        node = _new_node(volume)
    revert = Revert(node.GetID(), created, _copy_of_segment(node), node.GetAttribute(REPORT))
    was = node.StartModify()
    try:
        _describe(node, volume)
        labels = _labelmap(mask, _to_node(volume, node) @ matrix_of(volume))
        if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labels, node, SEGMENT_ID):
            raise OutputError(f"Slicer could not write the segment to “{node.GetName()}”; choose a new segmentation.")
    except Exception:
        revert()
        raise
    finally:
        node.EndModify(was)
    return node, revert


def _new_node(volume: Any) -> Any:
    name = f"{volume.GetName()} pancreas"
    if slicer.mrmlScene.GetFirstNodeByName(name) is not None:
        name = slicer.mrmlScene.GenerateUniqueName(name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    _place_in_study(node, volume)
    return node


def _place_in_study(node: Any, volume: Any) -> None:
    """Beside the volume in the subject hierarchy, so that a DICOM export finds patient and study."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    invalid = hierarchy.GetInvalidItemID()
    item = hierarchy.GetItemByDataNode(volume)
    if item == invalid:  # without the application's plugins nothing makes items
        return
    parent = hierarchy.GetItemParent(item)
    own = hierarchy.GetItemByDataNode(node)
    if own == invalid:
        hierarchy.CreateItem(parent, node)
    else:
        hierarchy.SetItemParent(own, parent)


def _describe(node: Any, volume: Any) -> None:
    """Make sure that the node has the segment, and a reference geometry if it never had one."""
    segmentation = node.GetSegmentation()
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    if segmentation.GetNumberOfSegments() == 0:
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    if segmentation.GetSegment(SEGMENT_ID) is None:
        segment = slicer.vtkSegment()
        segment.SetName("pancreas")
        segment.SetColor(*COLOUR)
        segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), TERMINOLOGY)
        segmentation.AddSegment(segment, SEGMENT_ID)


def _copy_of_segment(node: Any) -> Any:
    segment = node.GetSegmentation().GetSegment(SEGMENT_ID)
    if segment is None:
        return None
    copy = slicer.vtkSegment()
    copy.DeepCopy(segment)
    return copy


def _to_node(volume: Any, node: Any) -> np.ndarray:
    """4×4 from the volume's own frame to the segmentation's."""
    matrix = vtk.vtkMatrix4x4()
    between = slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes
    if not between(volume.GetParentTransformNode(), node.GetParentTransformNode(), matrix):
        raise OutputError(f"“{node.GetName()}” lies under a non-linear transform; choose a new segmentation.")
    return to_numpy(matrix)


def _labelmap(mask: sitk.Image, ijk_to_ras: np.ndarray) -> Any:
    """The mask as vtkOrientedImageData, restricted to its bounding box: 2 MB instead of 80 for a whole CT."""
    box = mask_box(mask)
    if box is None:
        raise OutputError("The mask is empty, so there is nothing to write.")
    start, size = box
    part = sitk.GetArrayFromImage(sitk.RegionOfInterest(mask, size, start))
    labels = slicer.vtkOrientedImageData()
    labels.SetExtent([bound for a, n in zip(start, size, strict=True) for bound in (a, a + n - 1)])
    labels.GetPointData().SetScalars(numpy_to_vtk(part.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(ijk_to_ras.ravel().tolist())
    labels.SetGeometryFromImageToWorldMatrix(matrix)
    return labels
