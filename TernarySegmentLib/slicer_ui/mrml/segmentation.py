"""From a mask to a segmentation node, and back again in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import SimpleITK as sitk
import slicer
import vtk

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.writing import COLOUR, TERMINOLOGY
from TernarySegmentLib.slicer_ui.mrml.labelmaps import CroppedLabelmap, between, crop_labelmap
from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

SEGMENT_ID = "pancreas"
REPORT, AUTOMATIC = "TernarySegment.Report", "TernarySegment.Automatic"
SUSPICIOUS_REGIONS, EDITED = "TernarySegment.SuspiciousRegions", "TernarySegment.Edited"
KEPT = (REPORT, AUTOMATIC, SUSPICIOUS_REGIONS, EDITED)
"""Attributes of the segmentation node, so that a saved scene brings them back: the numbers, the untouched automatic
mask, the suspicious regions and which of them are checked, and whether the mask was changed since."""
CONFIDENCE_MAP = "TernarySegment.ConfidenceMap"
"""Attribute of a volume node that holds such a map, and is no CT."""
SOURCE, CONFIDENCE = "TernarySegment.Volume", "TernarySegment.Confidence"
"""Roles of the segmentation node's references: to the CT that was segmented, to the map of the network's confidence."""
DIFFERENCES = "TernarySegment.Differences"
"""Role of its reference to the segmentation node that shows where it differs from a reference mask."""


@dataclass(frozen=True)
class Map:
    """What a confidence map's volume node holds.

    Attributes:
        voxels: vtkImageData.
        ijk_to_ras: vtkMatrix4x4.
        transform_id: of the transform node above it; None for none.
    """

    voxels: Any
    ijk_to_ras: Any
    transform_id: str | None

    def put_into(self, node: Any) -> None:
        """Show this in a vtkMRMLScalarVolumeNode."""
        node.SetAndObserveTransformNodeID(self.transform_id)
        node.SetIJKToRASMatrix(self.ijk_to_ras)
        node.SetAndObserveImageData(self.voxels)


def map_in(node: Any) -> Map | None:
    """What a volume node holds; None without a node or voxels."""
    if node is None or node.GetImageData() is None:
        return None
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return Map(node.GetImageData(), matrix, node.GetTransformNodeID())


@dataclass(frozen=True)
class Revert:
    """Undoes one run: removes the node it made, or puts back what it replaced.

    Attributes:
        node_id: the segmentation node.
        created: whether the run made the node.
        before: copy of the segment that was there; None when the run added it.
        kept: what the node had kept of the run before, by attribute name.
        confidence: the confidence map before the run.
        source: ID of the volume that the node was made on before.
        hidden: IDs of the results that the run's one hides.
    """

    node_id: str
    created: bool
    before: Any = None
    kept: Mapping[str, str] = field(default_factory=dict)
    confidence: Map | None = None
    source: str | None = None
    hidden: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Undo; does nothing when the node is gone already."""
        for hidden in filter(None, map(slicer.mrmlScene.GetNodeByID, self.hidden)):
            hidden.GetDisplayNode().SetVisibility(True)
        node = slicer.mrmlScene.GetNodeByID(self.node_id)
        if node is None:
            return
        forget_differences(node)
        confidence = node.GetNodeReference(CONFIDENCE)
        if confidence is not None and self.confidence is None:
            remove(confidence)
        elif confidence is not None and self.confidence is not None:
            self.confidence.put_into(confidence)
        if self.created:
            remove(node)
            return
        was = node.StartModify()
        segmentation = node.GetSegmentation()
        segmentation.RemoveSegment(SEGMENT_ID)
        if self.before is not None:
            segmentation.AddSegment(self.before, SEGMENT_ID)
        for name in KEPT:
            if name in self.kept:
                node.SetAttribute(name, self.kept[name])
            else:
                node.RemoveAttribute(name)
        node.SetNodeReferenceID(SOURCE, self.source)
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
    kept = {name: node.GetAttribute(name) for name in KEPT if node.GetAttribute(name) is not None}
    revert = Revert(
        node.GetID(), created, _copy_of_segment(node), kept, map_in(node.GetNodeReference(CONFIDENCE)),
        node.GetNodeReferenceID(SOURCE),
    )  # fmt: skip
    part = crop_labelmap(mask)
    was = node.StartModify()
    try:
        _describe(node, volume)
        if part.empty:
            raise OutputError("The mask is empty, so there is nothing to write.")
        replace_voxels(volume, part, node)
        forget_differences(node)
        node.SetNodeReferenceID(SOURCE, volume.GetID())
        node.SetAttribute(AUTOMATIC, part.text())
        node.RemoveAttribute(SUSPICIOUS_REGIONS)
        node.RemoveAttribute(EDITED)
    except Exception:
        revert()
        raise
    finally:
        node.EndModify(was)
    return node, revert


def replace_voxels(volume: Any, part: CroppedLabelmap, node: Any) -> None:
    """Set what the segment "pancreas" covers; surfaces follow.

    Args:
        volume: on whose grid the part lies.
        part: the new voxels; an empty one empties the segment.
        node: vtkMRMLSegmentationNode that has the segment.

    Raises:
        OutputError: Slicer refused, or a non-linear transform lies between the two nodes.
    """
    labels = part.labels(between(volume, node) @ matrix_of(volume))
    if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labels, node, SEGMENT_ID):
        raise OutputError(f"Slicer could not write the segment to “{node.GetName()}”; choose a new segmentation.")


def edited(node: Any) -> bool:
    """True when a person changed the mask of a segmentation node after it was made; False for None."""
    return node is not None and node.GetAttribute(EDITED) is not None


def volume_of(node: Any) -> Any:
    """The volume node that a segmentation node was made on; None when it is gone."""
    return node.GetNodeReference(SOURCE) if node is not None else None


def differences_of(node: Any) -> Any:
    """The segmentation node that shows where a result differs from a reference mask; None when there is none."""
    return node.GetNodeReference(DIFFERENCES) if node is not None else None


def forget_differences(node: Any) -> None:
    """Take what a comparison showed of a result out of the scene."""
    shown = differences_of(node)
    if shown is not None:
        remove(shown)


def remove(node: Any) -> None:
    """Together with its display node."""
    display = node.GetDisplayNode()
    slicer.mrmlScene.RemoveNode(node)
    if display is not None and slicer.mrmlScene.IsNodePresent(display):  # Slicer removes it by itself
        slicer.mrmlScene.RemoveNode(display)


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
