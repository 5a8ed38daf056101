"""Volume nodes in, segmentation nodes out, on Slicer's real MRML scene."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="needs the slicer-core package: pip install -e .[host]")
if not hasattr(slicer, "vtkMRMLScene"):
    pytest.skip("the package named slicer is not Slicer's", allow_module_level=True)

import vtk  # noqa: E402

from TernarySegmentLib.errors import InputError  # noqa: E402
from TernarySegmentLib.imaging.files.writing import COLOUR, TERMINOLOGY  # noqa: E402
from TernarySegmentLib.imaging.measure import Measures  # noqa: E402
from TernarySegmentLib.pipeline import Result  # noqa: E402
from TernarySegmentLib.slicer_ui.mrml import segmentation, statistics, volumes  # noqa: E402


@pytest.fixture
def scene(monkeypatch):
    """A scene of its own, in the place where Slicer has the one and only."""
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()  # registers the conversions between representations
    logic.SetMRMLScene(scene)
    volumes_logic = slicer.vtkSlicerVolumesLogic()
    volumes_logic.SetMRMLScene(scene)
    modules = SimpleNamespace(
        volumes=SimpleNamespace(logic=lambda: volumes_logic), segmentations=SimpleNamespace(logic=lambda: logic)
    )
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    yield scene
    logic.SetMRMLScene(None)
    scene.Clear(1)


def rotation(degrees: float) -> np.ndarray:
    turned = sitk.VersorTransform([0.3, 0.5, 0.81], np.radians(degrees)).GetMatrix()
    return np.array(turned).reshape(3, 3)


GEOMETRIES = {
    "straight": np.diag([1.0, 1.0, 1.0]),
    "lps": np.diag([-1.0, -1.0, 1.0]),
    "flipped slices": np.diag([-1.0, -1.0, -1.0]),
    "oblique": rotation(23),
    "axes swapped": np.eye(3)[[2, 0, 1]],
}


def matrix_for(direction: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = direction @ np.diag([0.8, 0.9, 2.5])
    matrix[:3, 3] = (-31.5, 17.25, -402.0)
    return matrix


def to_vtk(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result


def add_volume(matrix: np.ndarray, name: str = "CT"):
    values = np.random.default_rng(0).integers(-1000, 1500, (20, 40, 50)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(values, name=name)
    node.SetIJKToRASMatrix(to_vtk(matrix))
    return node, values


def mask_for(image: sitk.Image) -> tuple[sitk.Image, np.ndarray]:
    inside = np.zeros(image.GetSize()[::-1], np.uint8)
    inside[5:12, 10:22, 8:33] = np.random.default_rng(1).random((7, 12, 25)) > 0.4
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(image)
    return mask, inside


def voxels(node, volume) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentation.SEGMENT_ID, volume)


def add_transform(matrix: np.ndarray):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(to_vtk(matrix))
    return transform


@pytest.mark.parametrize("direction", GEOMETRIES.values(), ids=GEOMETRIES)
def test_image_has_the_volume_s_voxels_and_places_them_where_slicer_does(scene, direction):
    matrix = matrix_for(direction)
    volume, values = add_volume(matrix)
    image = volumes.take_scan(volume).image()
    assert np.array_equal(sitk.GetArrayFromImage(image), values)
    for index in ((0, 0, 0), (49, 39, 19), (7, 30, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose((-x, -y, z), (matrix @ (*index, 1))[:3], atol=1e-9)


@pytest.mark.parametrize("direction", GEOMETRIES.values(), ids=GEOMETRIES)
def test_segment_returns_exactly_the_mask_s_voxels(scene, direction):
    volume, _ = add_volume(matrix_for(direction))
    mask, inside = mask_for(volumes.take_scan(volume).image())
    node, _ = segmentation.write_segment(volume, mask)
    assert np.array_equal(voxels(node, volume), inside)
    labels = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segmentation.SEGMENT_ID, labels)
    assert labels.GetExtent() == (8, 32, 10, 21, 5, 11), "the labelmap should cover the mask's box only"
    stored = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(stored)
    assert np.allclose(volumes.to_numpy(stored), matrix_for(direction), atol=1e-9)


def test_segment_has_the_volume_the_mask_says(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["oblique"]))
    mask, inside = mask_for(volumes.take_scan(volume).image())
    node, _ = segmentation.write_segment(volume, mask)
    assert voxels(node, volume).sum() * 0.8 * 0.9 * 2.5 == pytest.approx(inside.sum() * 1.8)
    surface = vtk.vtkPolyData()
    solid, solid_array = mask_for(volumes.take_scan(volume).image())
    solid_array[5:12, 10:22, 8:33] = 1
    solid = sitk.GetImageFromArray(solid_array)
    node, _ = segmentation.write_segment(volume, solid)
    node.CreateClosedSurfaceRepresentation()
    node.GetClosedSurfaceRepresentation(segmentation.SEGMENT_ID, surface)
    properties = vtk.vtkMassProperties()
    properties.SetInputData(surface)
    assert properties.GetVolume() == pytest.approx(solid_array.sum() * 1.8, rel=0.08)  # smoothing rounds the edges


def test_node_is_named_coloured_coded_and_belongs_to_its_volume(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    node, _ = segmentation.write_segment(volume, mask_for(volumes.take_scan(volume).image())[0])
    segment = node.GetSegmentation().GetSegment(segmentation.SEGMENT_ID)
    assert (node.GetName(), segment.GetName()) == ("CT pancreas", "pancreas")
    assert segment.GetColor() == pytest.approx(COLOUR)
    code = vtk.mutable("")
    assert segment.GetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), code)
    assert str(code) == TERMINOLOGY
    assert node.GetDisplayNode() is not None
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_linear_parent_transform_moves_image_and_segment_alike(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = rotation(40), (10, -20, 30)
    volume.SetAndObserveTransformNodeID(add_transform(moved).GetID())
    image = volumes.take_scan(volume).image()
    x, y, z = image.TransformIndexToPhysicalPoint((3, 5, 7))
    assert np.allclose((-x, -y, z), (moved @ matrix_for(GEOMETRIES["lps"]) @ (3, 5, 7, 1))[:3], atol=1e-9)
    mask, inside = mask_for(image)
    node, _ = segmentation.write_segment(volume, mask)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert np.array_equal(voxels(node, volume), inside)


def test_existing_node_under_another_transform_still_gets_the_right_voxels(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    shifted = np.eye(4)
    shifted[:3, 3] = (5, 6, 7)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.SetAndObserveTransformNodeID(add_transform(shifted).GetID())
    mask, inside = mask_for(volumes.take_scan(volume).image())
    segmentation.write_segment(volume, mask, node)
    node.HardenTransform()
    assert np.array_equal(voxels(node, volume), inside)


def test_sheared_axes_are_refused_in_a_sentence(scene):
    matrix = matrix_for(GEOMETRIES["lps"])
    matrix[1, 2] += 0.5
    volume, _ = add_volume(matrix)
    with pytest.raises(InputError, match=r"“CT” are sheared by 11\.3°"):
        volumes.take_scan(volume)


def test_non_linear_transform_is_refused_by_name(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    bent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "breathing")
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (9, 0, 0), (0, 9, 0), (0, 0, 9), (5, 5, 5)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0], point[1] + point[0] ** 2 / 10, point[2])
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    bent.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(bent.GetID())
    with pytest.raises(InputError, match="non-linear transform “breathing”"):
        volumes.take_scan(volume)


def test_volume_without_voxels_and_colour_volume_are_refused(scene):
    with pytest.raises(InputError, match="has no voxels"):
        volumes.take_scan(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty"))
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="3 values per voxel"):
        volumes.take_scan(colour)


def test_scan_outlives_its_node(scene):
    volume, values = add_volume(matrix_for(GEOMETRIES["lps"]))
    scan = volumes.take_scan(volume)
    scene.RemoveNode(volume)
    assert np.array_equal(sitk.GetArrayFromImage(scan.image()), values)


def test_undo_of_a_first_run_removes_the_node(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    before = scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode")
    node, revert = segmentation.write_segment(volume, mask_for(volumes.take_scan(volume).image())[0])
    assert scene.IsNodePresent(node)
    revert()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationDisplayNode") == before
    revert()  # a second time is harmless


def test_undo_of_a_second_run_brings_the_first_mask_back_and_leaves_others_alone(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["oblique"]))
    image = volumes.take_scan(volume).image()
    mask, inside = mask_for(image)
    node, _ = segmentation.write_segment(volume, mask)
    other = node.GetSegmentation().AddEmptySegment("liver", "liver")
    snapshot = np.zeros_like(inside)
    snapshot[6:16, 12:30, 10:30] = 1  # overlaps the pancreas
    slicer.util.updateSegmentBinaryLabelmapFromArray(snapshot, node, other, volume)
    first = voxels(node, volume).copy()
    second = sitk.GetImageFromArray(np.roll(inside, 4, axis=0))
    _, revert = segmentation.write_segment(volume, second, node)
    assert np.array_equal(voxels(node, volume), np.roll(inside, 4, axis=0))
    revert()
    assert np.array_equal(voxels(node, volume), first)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, other, volume), snapshot)


def test_undo_of_a_run_on_another_volume_brings_the_first_volume_back_too(scene):
    first, second = (add_volume(np.diag([1.5, 1.5, 3.0, 1.0]), name)[0] for name in ("first", "second"))
    node, _ = segmentation.write_segment(first, mask_for(volumes.take_scan(first).image())[0])
    _, revert = segmentation.write_segment(second, mask_for(volumes.take_scan(second).image())[0], node)
    assert segmentation.volume_of(node) is second
    revert()
    assert segmentation.volume_of(node) is first


def test_two_runs_on_one_volume_make_two_names(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    mask, _ = mask_for(volumes.take_scan(volume).image())
    names = [segmentation.write_segment(volume, mask)[0].GetName() for _ in range(2)]
    assert names[0] == "CT pancreas"
    assert names[1].startswith("CT pancreas")
    assert len(set(names)) == 2


def test_volume_that_changed_its_size_is_refused_and_nothing_is_left(scene):
    volume, _ = add_volume(matrix_for(GEOMETRIES["lps"]))
    with pytest.raises(InputError, match="changed while it was segmented"):
        segmentation.write_segment(volume, sitk.Image(9, 9, 9, sitk.sitkUInt8))
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


MEASURES = Measures(81.25, 87.4, 31.6, (142.0, 61.0, 83.0), (12.0, -34.0, 56.0), 1000)
RESULT = Result(sitk.Image(1, 1, 1, sitk.sitkUInt8), True, MEASURES, 0.93, None, model={"sha256": "ab" * 32})


def test_report_stays_with_the_node_and_reads_as_text(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    report = statistics.report_of(RESULT, "CT")
    statistics.keep(report, node)
    assert statistics.kept(node) == report
    assert report.centre_ras == (-12.0, 34.0, 56.0)
    assert "Volume: 81.2 mL\nDensity: 87 ± 32 HU\nExtent: 142 × 61 × 83 mm" in report.text(corrected=False)
    assert "Confidence: 93%" in report.text(corrected=False)
    assert "corrected since" in report.text(corrected=True)
    assert "corrected" not in report.text(corrected=False)
    node.SetAttribute(segmentation.REPORT, '{"volume_ml": 3')
    assert statistics.kept(node) is None


def test_table_node_holds_every_number(scene):
    table = statistics.table_node(statistics.report_of(RESULT, "CT"), corrected=True)
    titles = [table.GetColumnName(column) for column in range(table.GetNumberOfColumns())]
    cells = [table.GetCellText(0, column) for column in range(table.GetNumberOfColumns())]
    assert titles == ["Segment", *statistics.COLUMNS, "Corrected since"]
    assert table.GetNumberOfRows() == 1
    assert cells == ["pancreas", "81.250", "87.400", "31.600", "142.000", "61.000", "83.000", "0.930", "yes"]
