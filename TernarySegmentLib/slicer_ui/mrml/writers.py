"""What leaves Slicer: segmentation, surface, DICOM and report files of the segment "pancreas", in its present state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from slicer.i18n import tr as _

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import atomic_path
from TernarySegmentLib.imaging.files.dicom_seg import Source, check_dicom_series, write_dicom_seg
from TernarySegmentLib.imaging.files.outputs import check_outputs
from TernarySegmentLib.imaging.files.writing import check_suffix, check_whole, write_mask
from TernarySegmentLib.imaging.orientation import flip_note
from TernarySegmentLib.imaging.report.one_page_report import Facts, draw_report
from TernarySegmentLib.imaging.report.page import Item
from TernarySegmentLib.imaging.report.surface import check_surface, moved, write_surface
from TernarySegmentLib.review.confidence import format_confidence
from TernarySegmentLib.slicer_ui import packages
from TernarySegmentLib.slicer_ui.mrml import statistics
from TernarySegmentLib.slicer_ui.mrml.labelmaps import SegmentSnapshot, linear_between, take_segment
from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID, edited
from TernarySegmentLib.slicer_ui.mrml.volumes import RAS_TO_LPS, Scan, image_of, matrix_of, take_scan, to_numpy

Writer = Callable[[], None]
"""Writes what was taken from the scene: the taking needs the main thread, the writing does not."""
HIGHDICOM = "highdicom>=0.28"
"""Slicer 5.12 brings it along. Slicer 5.10 has pydicom 2, and highdicom 0.22, the last for it, fails with NumPy 2: pip
then says that it found none."""


# --- files ------------------------------------------------------------------------------------------------------------


def save_segmentation(node: Any, path: str | Path, volume: Any = None) -> None:
    """Save as ``.seg.nrrd`` with all its segments, or the pancreas alone as ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``.

    The scene is left as it is: where the node itself is saved with the scene does not change. Positions are those of
    the volume's own file; a transform above both is left out.

    Args:
        node: vtkMRMLSegmentationNode.
        path: an existing file is replaced, missing folders are created.
        volume: the scan, on whose grid a mask is written; None takes the node's reference. ``.seg.nrrd`` needs none.

    Raises:
        InputError: the node holds no pancreas, or there is no volume.
        OutputError: another ending, or the place cannot be written; nothing half-written is left.
    """
    if not check_suffix(path).endswith(".seg.nrrd"):
        write_mask(segment_mask(node, _scan_of(node, volume)), path, provenance=provenance_of(node))
        return
    pancreas_in(node)
    with atomic_path(path, check_whole) as temporary:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(temporary))
        if not storage.WriteData(node):
            raise OSError(_("Slicer could not write it"))


def surface_writer(node: Any, path: str | Path) -> Writer:
    """Ready to write the closed surface that the 3D view shows (.stl, .obj), in LPS and mm, transforms applied.

    Raises:
        InputError: the node holds no pancreas.
        OutputError: another ending, a non-linear transform above the node; when writing: the place cannot be written.
    """
    check_surface(path)
    surface = surface_of(node)
    return lambda: write_surface(surface, path)


def dicom_writer(node: Any, volume: Any, path: str | Path, source: Source | None = None) -> Writer:
    """Ready to write a DICOM segmentation (``.dcm``) that refers to the slices of the scan's own series.

    Args:
        node: vtkMRMLSegmentationNode.
        volume: vtkMRMLScalarVolumeNode that was segmented.
        path: an existing file is replaced, missing folders are created.
        source: folder of the DICOM series; None asks Slicer's DICOM database for the volume's files.

    Raises:
        InputError: the node holds no pancreas, or the volume is not from the DICOM database and no source is given;
            when writing: the mask is empty, or the source is not the volume's series.
        OutputError: highdicom is missing, see :func:`install_dicom`; when writing: the place cannot be written.
    """
    if not dicom_installed():
        raise OutputError(
            _("A DICOM segmentation needs the package highdicom; install it here, or save as .seg.nrrd instead.")
        )
    files: Source = source if source is not None else dicom_files(volume)
    if not source and not files:
        raise InputError(
            _("“{name}” did not come from Slicer's DICOM database; choose the folder of its DICOM series.").format(
                name=volume.GetName()
            )
        )
    snapshot, name = take_segment(node, pancreas_in(node), volume), node.GetName()
    # a DICOM file knows nothing of the transforms above the volume
    own = Scan(volume.GetName(), volume.GetImageData(), matrix_of(volume))
    provenance, corrected = provenance_of(node), edited(node)

    def write() -> None:
        mask = _mask_on(own.image(), snapshot, name)
        write_dicom_seg(mask, files, path, provenance=provenance, corrected=corrected)

    return write


def dicom_series_check(node: Any, volume: Any, files: Source) -> Callable[[], None]:
    """Ready to check, off the main thread, that files are the series which the mask lies on.

    Raises:
        InputError: the node holds no pancreas; when checking: the files cannot be read, or are of another series.
    """
    snapshot, name = take_segment(node, pancreas_in(node), volume), node.GetName()
    own = Scan(volume.GetName(), volume.GetImageData(), matrix_of(volume))
    return lambda: check_dicom_series(_mask_on(own.image(), snapshot, name), files)


def report_drawer(node: Any, volume: Any, case: str = "", scan_name: str = "") -> Callable[[], list[Item]]:
    """Ready to draw a page with pictures and numbers, measured on the mask as it is now; ``print_page`` writes it.

    Args:
        node: vtkMRMLSegmentationNode.
        volume: vtkMRMLScalarVolumeNode that was segmented.
        case: patient or case, as the page shall name it. Empty leaves a line
            to write on.
        scan_name: of the volume, as the page shall show it; empty leaves it out.

    Raises:
        InputError: the node holds no pancreas, or the volume cannot be measured; when drawing: the mask is empty.
    """
    snapshot, name = take_segment(node, pancreas_in(node), volume), node.GetName()
    scan, facts = take_scan(volume), replace(facts_of(node, case), scan=scan_name)

    def draw() -> list[Item]:
        ct = scan.image()  # parent transforms included, as where the numbers of the panel were measured
        return draw_report(ct, _mask_on(ct, snapshot, name), facts)

    return draw


def _mask_on(ct: sitk.Image, snapshot: SegmentSnapshot, name: str) -> sitk.Image:
    part = snapshot.labelmap(ct)
    if part.empty:
        raise InputError(_("The pancreas in “{name}” is empty, so there is nothing to save.").format(name=name))
    return part.image(ct)


# --- what they hold ---------------------------------------------------------------------------------------------------


def pancreas_in(node: Any) -> str:
    """ID of the pancreas' segment: the module's own, else one of that name, else the only one.

    Raises:
        InputError: no node, or none of its segments is recognised as the pancreas.
    """
    if node is None:
        raise InputError(_("There is no segmentation yet; segment a CT first."))
    segmentation = node.GetSegmentation()
    if segmentation.GetSegment(SEGMENT_ID) is not None:
        return SEGMENT_ID
    ids = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    named = [each for each in ids if segmentation.GetSegment(each).GetName().lower() == "pancreas"]
    for found in (named, ids):
        if len(found) == 1:
            return str(found[0])
    raise InputError(
        _("“{name}” has no segment named pancreas; choose another segmentation or name the segment so.").format(
            name=node.GetName()
        )
    )


def segment_mask(node: Any, volume: Any) -> sitk.Image:
    """The pancreas on a volume's voxels, uint8, in the volume's own frame (LPS): parent transforms left out.

    Raises:
        InputError: no pancreas, no volume, or an empty segment.
    """
    segment = pancreas_in(node)
    if volume is None or volume.GetImageData() is None:
        raise InputError(_("The scan of “{name}” is not in the scene; load it again.").format(name=node.GetName()))
    voxels = _voxels(node, segment, volume)
    if not voxels.any():
        raise InputError(
            _("The pancreas in “{name}” is empty, so there is nothing to save.").format(name=node.GetName())
        )
    return image_of(voxels, matrix_of(volume))


def surface_of(node: Any) -> vtk.vtkPolyData:
    """The closed surface as the 3D view shows it, made where there is none yet, in LPS, transforms applied.

    Raises:
        InputError: no pancreas, or an empty one.
        OutputError: a non-linear transform lies above the node.
    """
    segment = pancreas_in(node)
    node.CreateClosedSurfaceRepresentation()
    closed = vtk.vtkPolyData()
    node.GetClosedSurfaceRepresentation(segment, closed)
    if closed.GetNumberOfPolys() == 0:
        raise InputError(_("The pancreas in “{name}” is empty, so it has no surface.").format(name=node.GetName()))
    triangles = vtk.vtkTriangleFilter()
    triangles.SetInputData(closed)
    triangles.PassVertsOff()
    triangles.PassLinesOff()
    triangles.Update()
    bare = triangles.GetOutput()
    bare.GetPointData().Initialize()
    return moved(bare, RAS_TO_LPS @ _to_world(node))


def dicom_files(volume: Any) -> Sequence[str]:
    """The files of a volume that was loaded from Slicer's DICOM database; empty for any other, or if one is gone."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (volume.GetAttribute("DICOM.instanceUIDs") or "").split()
    if database is None or not instances:
        return []
    files = [database.fileForInstance(instance) for instance in instances]
    return files if all(file and Path(file).is_file() for file in files) else []


def refuse_source(path: str | Path) -> None:
    """Refuse to write over a file that a volume of the scene was loaded from, by whatever name.

    Raises:
        OutputError: it is one, or the place cannot be written.
    """
    check_outputs({_("The file"): Path(path)}, [file for volume in _volumes() for file in _files_of(volume)])


def _volumes() -> list[Any]:
    return list(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def _files_of(volume: Any) -> list[Path]:
    storage = volume.GetStorageNode()
    names = [*dicom_files(volume)]
    if storage is not None:
        names += [storage.GetFileName(), *map(storage.GetNthFileName, range(storage.GetNumberOfFileNames()))]
    return [Path(name) for name in names if name]


def dicom_installed() -> bool:
    """True when DICOM segmentations can be written."""
    return packages.installed("highdicom")


def install_dicom() -> str:
    """Ask, then install highdicom. Blocks until pip is done. What Slicer brings keeps its version.

    Returns:
        A sentence about how it went.
    """
    question = _("Install highdicom (about 5 MB), which writes DICOM segmentations, into Slicer?")
    why_not = packages.install(HIGHDICOM, question, keep=["numpy", "pydicom", "pillow"])
    if why_not:
        return _("highdicom was not installed ({reason}); .seg.nrrd needs none.").format(reason=why_not)
    if why_not is not None or not dicom_installed():
        return _("highdicom was not installed; .seg.nrrd needs none.")
    return _("highdicom is installed; DICOM segmentations can be saved now.")


def _voxels(node: Any, segment: str, volume: Any) -> np.ndarray:
    """A segment on a volume's grid, uint8 of 0 and 1, axes (z, y, x).

    As slicer.util.arrayFromSegmentBinaryLabelmap, which leaves a display node behind with every call.
    """
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segment)
    scene = slicer.mrmlScene
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "__temp__")
    try:
        if not slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(node, ids, labels, volume):
            raise OutputError(_("Slicer could not read the pancreas in “{name}”.").format(name=node.GetName()))
        scene.RemoveNode(labels.GetDisplayNode().GetColorNode())  # made by the export
        return (slicer.util.arrayFromVolume(labels) != 0).astype(np.uint8)
    finally:
        if labels.GetDisplayNode() is not None:
            scene.RemoveNode(labels.GetDisplayNode())
        scene.RemoveNode(labels)


def _scan_of(node: Any, volume: Any) -> Any:
    if volume is None and node is not None:
        return node.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    return volume


def _to_world(node: Any) -> np.ndarray:
    if not linear_between(node.GetParentTransformNode(), None):
        raise OutputError(
            _(
                "“{name}” lies under a non-linear transform; harden it first (right-click it in the Data module)."
            ).format(name=node.GetName())
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, matrix)
    return to_numpy(matrix)


def facts_of(node: Any, case: str) -> Facts:
    """Collect what a report says beside what is measured, from what the node keeps of its run."""
    kept = statistics.kept(node)
    if kept is None:
        return Facts(corrected=edited(node), case=case)
    flips = (flip_note(kept.flipped),) if kept.flipped and any(kept.flipped) else ()
    return Facts(
        confidence=format_confidence(kept.confidence),
        model=kept.model,
        segmented=datetime.fromisoformat(kept.segmented) if kept.segmented else None,
        seconds=kept.seconds,
        corrected=edited(node),
        case=case,
        notes=tuple(dict.fromkeys((*flips, *kept.notes))),
    )


def provenance_of(node: Any) -> dict[str, str]:
    """Name and check sum of the model that made the mask; empty when that is not known."""
    report = statistics.kept(node)
    return {"name": "pancreas", "sha256": report.model} if report is not None and report.model else {}
