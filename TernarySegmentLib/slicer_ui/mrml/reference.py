"""A mask and its reference out of the scene, and what differs back into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.agreement import Agreement, compare_masks, surfaces_available
from TernarySegmentLib.imaging.measure import same_grid
from TernarySegmentLib.imaging.report.difference import TOO_LITTLE, TOO_MUCH
from TernarySegmentLib.slicer_ui.mrml.labelmaps import CroppedLabelmap, crop_labelmap, take_segment
from TernarySegmentLib.slicer_ui.mrml.segmentation import (
    DIFFERENCES,
    SEGMENT_ID,
    forget_differences,
    remove,
    volume_of,
)
from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of, take_scan

PARTS = (("too much", TOO_MUCH), ("too little", TOO_LITTLE))


@dataclass(frozen=True)
class Comparison:
    """How a mask agrees with a reference.

    Attributes:
        agreement: the figures.
        too_much, too_little: where they differ, on the volume's grid.
    """

    agreement: Agreement
    too_much: CroppedLabelmap
    too_little: CroppedLabelmap


def choices(reference: Any) -> list[tuple[str, str]]:
    """The structures of a reference: what to call each, and its segment ID or the label's value.

    Args:
        reference: vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode; None has none.
    """
    if reference is None:
        return []
    if reference.GetClassName() == "vtkMRMLSegmentationNode":
        segmentation = reference.GetSegmentation()
        ids = [segmentation.GetNthSegmentID(number) for number in range(segmentation.GetNumberOfSegments())]
        return [(segmentation.GetSegment(each).GetName(), each) for each in ids]
    voxels = reference.GetImageData()
    scalars = voxels.GetPointData().GetScalars() if voxels is not None else None
    labels = [] if scalars is None else [int(value) for value in np.unique(vtk_to_numpy(scalars)) if value != 0]
    return [(_("label {value}").format(value=label), str(label)) for label in labels]


def comparison(node: Any, reference: Any, choice: str) -> Callable[[], Comparison]:
    """Take both masks out of the scene, here, and return what compares them, in the background.

    Args:
        node: a result, vtkMRMLSegmentationNode.
        reference: vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode.
        choice: one of :func:`choices`.

    Raises:
        InputError: the result's CT is gone, or the choice is.
        OutputError: a non-linear transform lies between the nodes.
    """
    volume = volume_of(node)
    if volume is None:
        raise InputError(_("The CT of this result is gone; load it again."))
    if choice not in [key for _name, key in choices(reference)]:
        raise InputError(_("Choose the segment or label that holds the pancreas."))
    scan, mask = take_scan(volume), take_segment(node, SEGMENT_ID, volume)
    if reference.GetClassName() == "vtkMRMLSegmentationNode":
        segment = take_segment(reference, choice, volume)

        def reference_on(ct: sitk.Image) -> sitk.Image:
            return segment.labelmap(ct).image(ct)

    else:
        labels, value, name = take_scan(reference), int(choice), reference.GetName()

        def reference_on(ct: sitk.Image) -> sitk.Image:
            image = labels.image() == value
            if not same_grid(image, ct):
                raise InputError(
                    _("“{name}” lies on another grid than the CT; import it into a segmentation first.").format(
                        name=name
                    )
                )
            image.CopyInformation(ct)
            return image

    def compare() -> Comparison:
        ct = scan.image()
        one, other = mask.labelmap(ct).image(ct), reference_on(ct)
        agreement = compare_masks(one, other, surfaces_available())
        return Comparison(agreement, _without(one, other), _without(other, one))

    return compare


def _without(one: sitk.Image, other: sitk.Image) -> CroppedLabelmap:
    first, second = (sitk.GetArrayViewFromImage(image) != 0 for image in (one, other))
    image = sitk.GetImageFromArray((first & ~second).astype(np.uint8))
    image.CopyInformation(one)
    return crop_labelmap(image)


def show_differences(node: Any, found: Comparison) -> Any:
    """Put what differs into the scene as two segments, in the place of an earlier comparison's.

    Args:
        node: the result.
        found: of it.

    Returns:
        The vtkMRMLSegmentationNode.

    Raises:
        InputError: the result's CT is gone.
        OutputError: Slicer refused.
    """
    volume = volume_of(node)
    if volume is None:
        raise InputError(_("The CT of this result is gone; load it again."))
    forget_differences(node)
    name = _("{name} differences").format(name=node.GetName())
    shown = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    shown.CreateDefaultDisplayNodes()
    shown.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    shown.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for (title, colour), part in zip(PARTS, (found.too_much, found.too_little), strict=True):
        segment = slicer.vtkSegment()
        segment.SetName(title)
        segment.SetColor(*colour)
        shown.GetSegmentation().AddSegment(segment, title)
        labels = part.labels(matrix_of(volume))
        if not slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labels, shown, title):
            remove(shown)
            raise OutputError(_("Slicer could not write the differences; save the scene and start Slicer again."))
    node.SetNodeReferenceID(DIFFERENCES, shown.GetID())
    return shown
