"""Masks on disk: whole or not at all, and as 3D Slicer expects them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.writing import COLOUR, SUFFIXES, TERMINOLOGY, atomic_path, check_suffix, write_mask

OBLIQUE = np.array(sitk.VersorTransform([0.3, 0.5, 0.81], 0.4).GetMatrix())
LEFT_HANDED = np.diag([1.0, -1.0, 1.0]).ravel()


def blob(direction=OBLIQUE, value: int = 1) -> sitk.Image:
    """An asymmetric mask on an anisotropic grid."""
    array = np.zeros((14, 20, 30), np.uint8)
    array[3:9, 4:15, 5:25] = value
    array[3, 4, 5:20] = 0
    mask = sitk.GetImageFromArray(array)
    mask.SetSpacing((0.7, 0.8, 2.5))
    mask.SetOrigin((-123.4, 56.7, 890.1))
    mask.SetDirection(direction)
    return mask


def assert_same(one: sitk.Image, other: sitk.Image) -> None:
    assert np.array_equal(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other))
    np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection(), atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("direction", [OBLIQUE, LEFT_HANDED])
def test_mask_reads_back_equal_in_every_format(tmp_path, suffix, direction):
    path = tmp_path / f"Müller, Bauch 1{suffix}"
    write_mask(blob(direction), path)
    back = sitk.ReadImage(str(path))
    assert back.GetPixelID() == sitk.sitkUInt8
    assert_same(back, blob(direction))


def test_any_label_value_is_written_as_1(tmp_path):
    write_mask(sitk.Cast(blob(value=7), sitk.sitkInt16), tmp_path / "mask.nrrd")
    assert_same(sitk.ReadImage(str(tmp_path / "mask.nrrd")), blob())


@pytest.mark.parametrize("name", ["mask.stl", "mask", "mask.png", "mask.dcm", "mask.nrrd.txt"])
def test_other_endings_are_refused_naming_the_allowed_ones(tmp_path, name):
    with pytest.raises(OutputError, match=r"none of \.seg\.nrrd, \.nii\.gz, \.nii, \.nrrd, \.mha"):
        write_mask(blob(), tmp_path / name)
    with pytest.raises(OutputError, match="mask"):
        check_suffix(tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_endings_count_in_capitals_too(tmp_path):
    write_mask(blob(), tmp_path / "MASK.NII.GZ")
    assert_same(sitk.ReadImage(str(tmp_path / "MASK.NII.GZ")), blob())


def test_missing_folders_are_created_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "neu" / "für später" / "mask.seg.nrrd"
    write_mask(blob(), path)
    assert [p.name for p in path.parent.iterdir()] == ["mask.seg.nrrd"]


def test_a_file_in_place_of_the_folder_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_mask(blob(), tmp_path / "file" / "mask.nii.gz")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="/proc, where nobody may write, exists on Linux only")
def test_a_place_where_nobody_may_write_is_told_in_one_sentence():
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_mask(blob(), "/proc/mask.seg.nrrd")
    assert "\n" not in str(caught.value)


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "mask.nii.gz").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_mask(blob(), tmp_path / "mask.nii.gz")


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_finished_write_replaces_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".json"
        assert temporary.parent == path.parent
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["report.json"]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nrrd", ".mha"])
def test_provenance_is_kept_in_the_header_on_one_line(tmp_path, suffix):
    write_mask(blob(), tmp_path / f"mask{suffix}", provenance={"model": "one\nline", "sha256": "abc"})
    back = sitk.ReadImage(str(tmp_path / f"mask{suffix}"))
    assert back.GetMetaData("TernarySegment_model") == "one line"
    assert back.GetMetaData("TernarySegment_sha256") == "abc"


def test_no_header_field_of_the_scan_reaches_the_mask(tmp_path):
    mask = blob()
    mask.SetMetaData("0010|0010", "Doe^Jane")
    write_mask(mask, tmp_path / "mask.seg.nrrd")
    assert b"Doe" not in (tmp_path / "mask.seg.nrrd").read_bytes()
    assert [(key, mask.GetMetaData(key)) for key in mask.GetMetaDataKeys()] == [("0010|0010", "Doe^Jane")]


def test_segmentation_header_says_what_slicer_writes(tmp_path):
    write_mask(blob(), tmp_path / "mask.seg.nrrd")
    back = sitk.ReadImage(str(tmp_path / "mask.seg.nrrd"))
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segment0_ID": "Segment_1",
        "Segment0_Name": "pancreas",
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": "0.976471 0.705882 0.435294",
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_Extent": "5 24 4 14 3 8",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Tags": "TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^15776009^Pancreas~^^~Anatomic codes - DICOM master list~^^~^^|",
    }
    assert {key: back.GetMetaData(key) for key in fields} == fields


@pytest.fixture
def read_in_slicer():
    """Read a file as 3D Slicer does; returns its segmentation node."""
    slicer = pytest.importorskip("slicer", reason="needs the slicer-core package: pip install -e .[host]")
    if not hasattr(slicer, "vtkMRMLSegmentationStorageNode"):
        pytest.skip("the package named slicer is not Slicer's")
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()  # registers the node classes
    logic.SetMRMLScene(scene)

    def read(path: Path):
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node) == 1
        return node

    yield read
    logic.SetMRMLScene(None)
    scene.Clear(1)


def image_from_slicer(labelmap) -> sitk.Image:
    """A vtkOrientedImageData, in RAS, as an image, in LPS."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    matrix = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(matrix)
    lps = np.diag([-1.0, -1, 1, 1]) @ [[matrix.GetElement(i, j) for j in range(4)] for i in range(4)]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    array = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((lps @ [*labelmap.GetExtent()[::2], 1])[:3])
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    return image


@pytest.mark.parametrize("direction", [OBLIQUE, LEFT_HANDED, np.diag([-1.0, -1.0, 1.0]).ravel()])
def test_slicer_reads_name_colour_terminology_voxels_and_geometry(tmp_path, read_in_slicer, direction):
    import vtk

    write_mask(blob(direction), tmp_path / "Müller 1.seg.nrrd")
    segmentation = read_in_slicer(tmp_path / "Müller 1.seg.nrrd").GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    segment = segmentation.GetSegment("Segment_1")
    assert segment.GetName() == "pancreas"
    np.testing.assert_allclose(segment.GetColor(), COLOUR, atol=1e-5)
    assert not segment.GetNameAutoGenerated()
    assert not segment.GetColorAutoGenerated()
    entry = vtk.reference("")
    assert segment.GetTag("TerminologyEntry", entry)
    assert str(entry) == TERMINOLOGY
    assert segmentation.GetSourceRepresentationName() == "Binary labelmap"
    read = image_from_slicer(segment.GetRepresentation("Binary labelmap"))
    # Slicer keeps the voxels in a box; put them where the whole mask has them
    resampled = sitk.Resample(read, blob(direction), sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    assert np.array_equal(sitk.GetArrayFromImage(resampled), sitk.GetArrayFromImage(blob(direction)))
    np.testing.assert_allclose(read.GetSpacing(), blob().GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(read.GetDirection(), direction, atol=1e-5)
    index = blob(direction).TransformPhysicalPointToContinuousIndex(read.GetOrigin())
    np.testing.assert_allclose(index, np.rint(index), atol=1e-3)


def test_slicer_reads_an_empty_mask_as_an_empty_segment(tmp_path, read_in_slicer):
    write_mask(blob() * 0, tmp_path / "empty.seg.nrrd")
    segmentation = read_in_slicer(tmp_path / "empty.seg.nrrd").GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert segmentation.GetSegment("Segment_1").GetName() == "pancreas"
