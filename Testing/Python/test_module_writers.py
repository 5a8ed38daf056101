"""What leaves Slicer, driven in the test host: files that hold what the segment holds now, where it lies."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(ROOT / "Testing" / "SlicerHost"))

pdfium = pytest.importorskip("pypdfium2", reason="needs pypdfium2: pip install -e .[report]")
import slicer  # noqa: E402
import vtk  # noqa: E402
from PIL import Image  # noqa: E402

from TernarySegmentLib.errors import InputError, OutputError  # noqa: E402
from TernarySegmentLib.imaging.files.reading import read_ct  # noqa: E402
from TernarySegmentLib.imaging.report.page import DPI, MARGIN_MM, WIDTH_MM, Block, Picture, Text  # noqa: E402

from test_imaging_surface import enclosed  # isort: skip  # noqa: E402

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def host():
    from host import Host

    return Host.shared()


@pytest.fixture
def writers(host):
    """The functions under test, on an empty scene."""
    from TernarySegmentLib.slicer_ui.mrml import writers as functions

    host.clear()
    return functions


def print_page(*arguments) -> None:
    """The function under test, which the host's Qt is needed for."""
    from TernarySegmentLib.slicer_ui import printing

    printing.print_page(*arguments)


def to_vtk(matrix: np.ndarray):
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(matrix.ravel().tolist())
    return result


def add_volume(ct: sitk.Image, name: str = "CT"):
    """A volume node with an image's voxels in their place."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(ct.GetDirection()).reshape(3, 3) * ct.GetSpacing()
    matrix[:3, 3] = ct.GetOrigin()
    return slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(ct), ijkToRAS=RAS @ matrix, name=name)


def ct_image() -> sitk.Image:
    """Random HU on an oblique grid."""
    ct = sitk.GetImageFromArray(np.random.default_rng(0).integers(-200, 200, (20, 40, 50)).astype(np.int16))
    ct.SetSpacing((0.8, 0.9, 2.5))
    ct.SetOrigin((-31.5, 17.25, -402.0))
    ct.SetDirection(sitk.VersorTransform([0.3, 0.5, 0.81], 0.4).GetMatrix())
    return ct


def mask_on(ct: sitk.Image) -> sitk.Image:
    """A lopsided mask on an image's grid."""
    inside = np.zeros(ct.GetSize()[::-1], np.uint8)
    inside[5:14, 10:28, 8:33] = 1
    inside[5:9, 10:16, 8:14] = 0
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(ct)
    return mask


def segmented(ct: sitk.Image):
    """A volume node and the segmentation node that a run on it makes."""
    from TernarySegmentLib.slicer_ui.mrml.segmentation import write_segment

    volume = add_volume(ct)
    node, _ = write_segment(volume, mask_on(ct))
    return volume, node


def move(*nodes, by=(100.0, -20.0, 3.0)) -> None:
    """Put nodes under a transform that moves and turns them."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(sitk.VersorTransform([0.1, 0.9, 0.2], 0.3).GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = by
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(to_vtk(matrix))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())


def paint(node, volume) -> np.ndarray:
    """Change the segment as an editor does; returns its voxels."""
    from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID

    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, SEGMENT_ID, volume).copy()
    voxels[12:17, 30:36, 20:41] = 1
    voxels[:8] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, node, SEGMENT_ID, volume)
    return voxels


def assert_same(read: sitk.Image, voxels: np.ndarray, ct: sitk.Image) -> None:
    assert np.array_equal(sitk.GetArrayFromImage(read) != 0, voxels != 0)
    np.testing.assert_allclose(read.GetOrigin(), ct.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(read.GetDirection(), ct.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(read.GetSpacing(), ct.GetSpacing(), rtol=1e-5)


def names(scene=None) -> set[str]:
    return {node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLNode")}


# --- segmentation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize("moved", [False, True])
def test_a_saved_mask_is_what_was_painted_on_the_volumes_own_grid(writers, tmp_path, suffix, moved):
    ct = ct_image()
    volume, node = segmented(ct)
    if moved:
        move(volume, node)
    voxels = paint(node, volume)
    before = names()
    writers.save_segmentation(node, tmp_path / "Müller 1" / f"p{suffix}", volume)
    assert_same(sitk.ReadImage(str(tmp_path / "Müller 1" / f"p{suffix}")), voxels, ct)
    assert names() == before


def test_a_saved_segmentation_loads_again_with_its_segments(writers, tmp_path):
    ct = ct_image()
    volume, node = segmented(ct)
    voxels = paint(node, volume)
    other = slicer.vtkSegment()
    other.SetName("lesion")
    node.GetSegmentation().AddSegment(other, "lesion")
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels[:, ::-1].copy(), node, "lesion", volume)
    writers.save_segmentation(node, tmp_path / "p.seg.nrrd")
    assert node.GetStorageNode() is None, "the scene would save elsewhere from now on"
    loaded = slicer.util.loadSegmentation(str(tmp_path / "p.seg.nrrd"))
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "pancreas", volume), voxels)
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(loaded, "lesion", volume), voxels[:, ::-1])
    tag = vtk.reference("")
    loaded.GetSegmentation().GetSegment("pancreas").GetTag("TerminologyEntry", tag)
    assert "15776009" in str(tag)


def test_the_reference_volume_serves_where_none_is_given(writers, tmp_path):
    ct = ct_image()
    volume, node = segmented(ct)
    writers.save_segmentation(node, tmp_path / "p.nii.gz")
    assert_same(sitk.ReadImage(str(tmp_path / "p.nii.gz")), sitk.GetArrayFromImage(mask_on(ct)), ct)
    slicer.mrmlScene.RemoveNode(volume)
    with pytest.raises(InputError, match="is not in the scene"):
        writers.save_segmentation(node, tmp_path / "q.nii.gz")


# --- surface ----------------------------------------------------------------------------------------------------------


def read_surface(path: Path):
    reader = vtk.vtkSTLReader() if path.suffix == ".stl" else vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("suffix", [".stl", ".obj"])
def test_a_saved_surface_equals_slicers_own_export_in_lps(writers, tmp_path, suffix, moved):
    volume, node = segmented(ct_image())
    if moved:
        move(volume, node)
    writers.surface_writer(node, tmp_path / f"p{suffix}")()
    (tmp_path / "slicer").mkdir()
    ids = vtk.vtkStringArray()
    ids.InsertNextValue("pancreas")
    export = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsClosedSurfaceRepresentationToFiles
    assert export(str(tmp_path / "slicer"), node, ids, "STL", True, 1.0, False)
    saved, own = read_surface(tmp_path / f"p{suffix}"), read_surface(next((tmp_path / "slicer").iterdir()))
    assert saved.GetNumberOfPolys() == own.GetNumberOfPolys()
    np.testing.assert_allclose(saved.GetBounds(), own.GetBounds(), atol=1e-3)
    assert enclosed(saved) == pytest.approx(enclosed(own), rel=1e-3)
    assert enclosed(writers.surface_of(node)) == pytest.approx(enclosed(saved), rel=1e-3)
    assert enclosed(saved) > 0, "outside is out"


def test_a_surface_follows_what_was_painted(writers):
    volume, node = segmented(ct_image())
    before = enclosed(writers.surface_of(node))
    voxels = paint(node, volume)
    after = enclosed(writers.surface_of(node))
    assert after != before
    assert after == pytest.approx(np.count_nonzero(voxels) * 0.8 * 0.9 * 2.5 / 1000, rel=0.05)


# --- DICOM ------------------------------------------------------------------------------------------------------------


def dicom_series(folder: Path, ct: sitk.Image) -> Path:
    pytest.importorskip("highdicom", reason="needs highdicom: pip install -e .[dicom]")
    from test_imaging_dicom_seg import patient_series

    return patient_series(folder, ct)


@pytest.mark.parametrize("moved", [False, True])
def test_a_dicom_segmentation_of_a_volume_from_the_database_lies_on_its_slices(host, writers, tmp_path, moved):
    source = dicom_series(tmp_path / "ct", ct_image())
    from test_imaging_dicom_seg import complaints, read_back

    ct = read_ct(source)
    volume, node = segmented(ct)
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(host.import_dicom(source)))
    if moved:
        move(volume, node)
    voxels = paint(node, volume)
    writers.dicom_writer(node, volume, tmp_path / "p.dcm")()
    assert np.array_equal(read_back(tmp_path / "p.dcm", ct), voxels)
    assert complaints(tmp_path / "p.dcm") == ([], [])


@pytest.mark.parametrize("moved", [False, True])
def test_a_segment_drawn_on_another_grid_lies_right_in_a_dicom_segmentation(writers, tmp_path, moved):
    source = dicom_series(tmp_path / "ct", ct_image())
    from test_imaging_dicom_seg import read_back

    from TernarySegmentLib.slicer_ui.mrml.labelmaps import crop_labelmap
    from TernarySegmentLib.slicer_ui.mrml.segmentation import replace_voxels

    ct = read_ct(source)
    volume, node = segmented(ct)
    coarse = sitk.Resample(
        mask_on(ct), [n // 3 for n in ct.GetSize()], sitk.Transform(), sitk.sitkNearestNeighbor, ct.GetOrigin(),
        [3 * step for step in ct.GetSpacing()], ct.GetDirection(),
    )  # fmt: skip
    other = add_volume(coarse, "coarse")
    if moved:
        move(volume, other, node)
    replace_voxels(other, crop_labelmap(coarse), node)
    writers.dicom_writer(node, volume, tmp_path / "p.dcm", source)()
    expected = sitk.Resample(coarse, ct, sitk.Transform(), sitk.sitkNearestNeighbor)
    found, wanted = read_back(tmp_path / "p.dcm", ct) != 0, sitk.GetArrayFromImage(expected) != 0
    assert wanted.any()
    assert np.array_equal(found, wanted)


def test_a_dicom_segmentation_says_which_model_made_it_and_that_a_person_changed_it(writers, tmp_path):
    from TernarySegmentLib.slicer_ui.mrml import statistics

    source = dicom_series(tmp_path / "ct", ct_image())
    volume, node = segmented(read_ct(source))
    statistics.keep(statistics.Report(1.0, 2.0, 3.0, (1.0, 2.0, 3.0), 0.9, (0.0, 0.0, 0.0), "CT", "0123456789ab"), node)
    import pydicom

    writers.dicom_writer(node, volume, tmp_path / "p.dcm", source)()
    segment = pydicom.dcmread(tmp_path / "p.dcm").SegmentSequence[0]
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert "0123456789ab" in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion
    node.SetAttribute("TernarySegment.Edited", "1")
    writers.dicom_writer(node, volume, tmp_path / "p.dcm", source)()
    assert pydicom.dcmread(tmp_path / "p.dcm").SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_a_volume_from_elsewhere_needs_the_folder_of_its_series(host, writers, tmp_path):
    source = dicom_series(tmp_path / "ct", ct_image())
    volume, node = segmented(read_ct(source))
    for attribute in (None, "1.2.3.4 1.2.3.5"):
        volume.SetAttribute("DICOM.instanceUIDs", attribute)
        with pytest.raises(InputError, match="choose the folder of its DICOM series"):
            writers.dicom_writer(node, volume, tmp_path / "p.dcm")()
    writers.dicom_writer(node, volume, tmp_path / "p.dcm", source)()
    assert (tmp_path / "p.dcm").exists()


@pytest.mark.parametrize("packaging", [True, False])
def test_highdicom_is_offered_with_what_slicer_brings_pinned(host, writers, monkeypatch, tmp_path, packaging):
    volume, node = segmented(ct_image())
    monkeypatch.setattr(writers.packages, "installed", lambda name: False)
    monkeypatch.setattr(writers, "HIGHDICOM", "highdicom>=999")
    with pytest.raises(OutputError, match="needs the package highdicom"):
        writers.dicom_writer(node, volume, tmp_path / "p.dcm")()
    host.set_packaging(packaging)
    try:
        host.pip_calls.clear()
        said = writers.install_dicom()
        assert "highdicom>=999" in str(host.pip_calls)
        assert "was not installed" in said
        if not packaging:
            assert "pydicom==" in str(host.pip_calls)
        host.pip_calls.clear()
        host.answers.append(False)
        writers.install_dicom()
        assert host.pip_calls == [] or packaging
    finally:
        host.answers.clear()
        host.set_packaging(True)


# --- report -----------------------------------------------------------------------------------------------------------


def test_a_report_measures_the_mask_as_it_is_now_and_names_nobody(writers, tmp_path):
    from TernarySegmentLib.review.confidence import format_confidence
    from TernarySegmentLib.slicer_ui.mrml import statistics

    volume, node = segmented(ct_image())
    volume.SetName("Meier Hans")
    move(volume, node)
    kept = statistics.Report(
        1.0,
        2.0,
        3.0,
        (1.0, 2.0, 3.0),
        0.95,
        (0.0, 0.0, 0.0),
        "Meier Hans",
        "0123456789ab",
        (True, False, False),
        "2026-03-04T05:06",
        2.34,
    )
    statistics.keep(kept, node)
    voxels = paint(node, volume)
    node.SetAttribute("TernarySegment.Edited", "1")
    print_page(writers.report_drawer(node, volume, case="Case 7")(), tmp_path / "p.pdf", "x")
    text = pdfium.PdfDocument(tmp_path / "p.pdf")[0].get_textpage().get_text_bounded()
    inside = slicer.util.arrayFromVolume(volume)[voxels != 0]
    for part in (
        f"{inside.size * 0.8 * 0.9 * 2.5 / 1000:.1f} mL", f"± {inside.std():.0f} HU", "corrected by hand", "Case 7",
        format_confidence(0.95), "0123456789ab", "2026-03-04 05:06 in 2.3 s", "mirror image",
    ):  # fmt: skip
        assert part in " ".join(text.split()), part
    assert b"Meier" not in (tmp_path / "p.pdf").read_bytes()


def test_a_report_of_a_segmentation_from_elsewhere_leaves_out_what_is_not_known(writers, tmp_path):
    volume, node = segmented(ct_image())
    print_page(writers.report_drawer(node, volume)(), tmp_path / "neu" / "p.pdf", "x")
    assert [path.name for path in (tmp_path / "neu").iterdir()] == ["p.pdf"]
    document = pdfium.PdfDocument(tmp_path / "neu" / "p.pdf")
    assert document[0].get_size() == pytest.approx((595.28, 841.89), abs=0.5)
    assert len(document) == 1
    assert "Confidence" not in document[0].get_textpage().get_text_bounded()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_saved_is_told_in_a_sentence_and_leaves_nothing(writers, tmp_path):
    volume, node = segmented(ct_image())

    def save_surface(node, path) -> None:
        writers.surface_writer(node, path)()

    with pytest.raises(InputError, match="segment a CT first"):
        writers.surface_writer(None, tmp_path / "p.stl")()
    with pytest.raises(OutputError, match=r"none of \.stl, \.obj"):
        writers.surface_writer(node, tmp_path / "p.vtk")()
    with pytest.raises(OutputError, match="none of"):
        writers.save_segmentation(node, tmp_path / "p.png")
    (tmp_path / "file").write_text("x")
    for save, name in ((writers.save_segmentation, "p.seg.nrrd"), (save_surface, "p.stl")):
        with pytest.raises(OutputError, match="cannot be written"):
            save(node, tmp_path / "file" / name)
    segmentation = node.GetSegmentation()
    empty = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(empty, node, "pancreas", volume)
    for save, name in ((writers.save_segmentation, "p.nrrd"), (save_surface, "p.stl")):
        with pytest.raises(InputError, match="is empty"):
            save(node, tmp_path / name)
    segmentation.RemoveSegment("pancreas")
    with pytest.raises(InputError, match="has no segment named pancreas"):
        writers.save_segmentation(node, tmp_path / "p.seg.nrrd")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_pancreas_of_a_loaded_segmentation_is_found_by_its_name(writers, tmp_path):
    from TernarySegmentLib.imaging.files.writing import write_mask

    ct = ct_image()
    write_mask(mask_on(ct), tmp_path / "p.seg.nrrd")
    node, volume = slicer.util.loadSegmentation(str(tmp_path / "p.seg.nrrd")), add_volume(ct)
    assert writers.pancreas_in(node) == "Segment_1"
    writers.save_segmentation(node, tmp_path / "again.nrrd", volume)
    assert_same(sitk.ReadImage(str(tmp_path / "again.nrrd")), sitk.GetArrayFromImage(mask_on(ct)), ct)


# --- letters ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Иванов Пётр", "Παπαδόπουλος", "Dvořák Šárka"])
def test_a_report_prints_the_letters_of_any_script_as_the_computer_writes_them(writers, tmp_path, name):
    volume, node = segmented(ct_image())
    items = writers.report_drawer(node, volume, name, name)()
    for suffix in (".pdf", ".png"):
        print_page(items, tmp_path / f"p{suffix}", "x")
    page = pdfium.PdfDocument(tmp_path / "p.pdf")[0]
    assert page.get_textpage().get_text_bounded().count(name) == 2
    png = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).min(axis=-1)
    for pixels, millimetre in (
        (page.render(scale=4).to_numpy()[..., :3].min(axis=-1), 4 * 72 / 25.4), (png, DPI / 25.4),
    ):  # fmt: skip
        line = pixels[round(39 * millimetre) : round(44 * millimetre), round(43 * millimetre) : round(65 * millimetre)]
        assert (line < 128).mean() > 0.03, "the name stands in its line"


def test_qt_draws_the_pictures_as_they_are_and_keeps_out_of_the_margin(host, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    items = [Picture(20, 20, 110, 70, pixels), Text(20, 150, "W" * 150), Block(20, 170, 30, 20, (1.0, 0.5, 0.0))]
    for suffix in (".pdf", ".png"):
        print_page(items, tmp_path / f"p{suffix}", "x")
    png = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    pdf = pdfium.PdfDocument(tmp_path / "p.pdf")[0].render(scale=DPI / 72).to_numpy()[..., 2::-1]
    for shown in (png, pdf):
        at = lambda x, y: shown[round(y * DPI / 25.4), round(x * DPI / 25.4)].astype(int)  # noqa: E731, B023
        for row, column in np.ndindex(7, 11):
            assert np.abs(at(25 + 10 * column, 25 + 10 * row) - pixels[row, column]).max() < 40
        assert np.abs(at(35, 180) - [255, 128, 0]).max() < 3
        assert (shown[:, round((WIDTH_MM - MARGIN_MM + 1) * DPI / 25.4) :] == 255).all()
        assert (shown[round(146 * DPI / 25.4) : round(150 * DPI / 25.4)] < 128).any()


def test_a_page_that_cannot_be_written_leaves_nothing(host, tmp_path):
    items = [Text(20, 20, "x")]
    with pytest.raises(OutputError, match=r"none of \.pdf, \.png"):
        print_page(items, tmp_path / "p.html", "x")
    (tmp_path / "file").write_text("x")
    for suffix in (".pdf", ".png"):
        with pytest.raises(OutputError, match="cannot be written"):
            print_page(items, tmp_path / "file" / f"p{suffix}", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_report_shows_the_scans_name_where_it_is_asked_for(writers):
    volume, node = segmented(ct_image())
    items = writers.report_drawer(node, volume, scan_name="2: Abdomen venous")()
    assert "2: Abdomen venous" in [item.text for item in items if isinstance(item, Text)]
