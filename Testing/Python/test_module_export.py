"""Export in the test host: each button asks for a place, writes the mask as it is, and says so."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from panel_support import finish, mask_of, press_key, segment, slicer

from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID


@pytest.fixture
def edited(host, ready):
    """The phantom segmented, one slice of the mask wiped by hand, the Export section open."""
    widget, volume = ready
    node = segment(host, widget)
    mask = mask_of(node, volume)
    mask[np.flatnonzero(mask.any((1, 2)))[3]] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, SEGMENT_ID, volume)
    widget.ui.exportButton.collapsed = False
    return widget, volume, node, mask


def save(host, widget, button, path: Path) -> Path:
    """Press a button, choose a path, wait until it is written."""
    host.paths.append(path)
    host.click(button)
    assert host.process_events(until=lambda: "Writing" not in widget.ui.statusLabel.text, timeout=120)
    assert widget.ui.statusLabel.text == f"Saved “{path}”."
    return path


def test_segmentation_loads_again_with_the_mask_as_it_is(host, edited, tmp_path):
    widget, volume, _, mask = edited
    path = save(host, widget, widget.ui.saveSegmentationButton, tmp_path / "Ä b" / "mine.seg.nrrd")
    loaded = slicer.util.loadSegmentation(str(path))
    assert np.array_equal(mask_of(loaded, volume), mask)


def test_plain_mask_lies_on_the_scan_s_grid(host, edited, tmp_path):
    widget, _, _, mask = edited
    path = save(host, widget, widget.ui.saveSegmentationButton, tmp_path / "mine.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), mask)


@pytest.mark.parametrize("suffix", ["stl", "obj"])
def test_surface_is_written(host, edited, tmp_path, suffix):
    widget, _, _, _ = edited
    path = save(host, widget, widget.ui.saveSurfaceButton, tmp_path / f"mine.{suffix}")
    assert path.stat().st_size > 10_000


def test_report_names_nobody_unless_asked(host, edited, tmp_path):
    widget, _, _, _ = edited
    plain = save(host, widget, widget.ui.saveReportButton, tmp_path / "plain.png")
    widget.ui.caseEdit.text = "Case 7"
    named = save(host, widget, widget.ui.saveReportButton, tmp_path / "named.png")
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (plain, named))
    assert one.shape == other.shape
    assert (one != other).any()


def test_dicom_segmentation_asks_for_the_series_and_tells_when_it_does_not_fit(host, edited, tmp_path):
    widget, _, _, _ = edited
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    empty = tmp_path / "series"
    empty.mkdir()
    host.paths += [empty, tmp_path / "mine.dcm"]
    host.dialogs.clear()
    host.click(widget.ui.saveDicomButton)
    assert host.process_events(until=lambda: not widget.panel.export.writing, timeout=60)
    assert "holds no DICOM CT series" in widget.ui.statusLabel.text
    assert len(host.dialogs) == 1, "a wrong series is refused before a file's name is asked for"
    host.paths.clear()
    assert widget.ui.saveDicomButton.enabled


def test_no_dicom_segmentation_is_offered_under_the_name_of_another_scan(host, edited, monkeypatch):
    from TernarySegmentLib.slicer_ui.mrml import writers

    widget, volume = edited[:2]
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    monkeypatch.setattr(writers, "dicom_files", lambda _volume: ["a series"])
    looked = threading.Event()
    monkeypatch.setattr(writers, "dicom_series_check", lambda *_: lambda: looked.wait(20))
    host.dialogs.clear()
    host.click(widget.ui.saveDicomButton)
    widget.panel.choose_volume(slicer.util.addVolumeFromArray(np.zeros((4, 4, 4), np.int16), name="another"))
    looked.set()
    assert host.process_events(until=lambda: not widget.panel.export.writing, timeout=60)
    assert "Another result was chosen meanwhile" in widget.ui.statusLabel.text
    assert not host.dialogs
    widget.panel.choose_volume(volume)


def test_a_name_without_ending_gets_one_and_replaces_no_file_unasked(host, edited, tmp_path):
    widget, _, node, _ = edited
    node.SetName("2: Abdomen/portal")
    taken = tmp_path / "page.pdf"
    taken.write_text("another report")
    host.messages.clear()
    for answer in (False, True):
        host.paths.append(tmp_path / "page")
        host.answers.append(answer)
        host.click(widget.ui.saveReportButton)
        assert [kind for kind, _ in host.messages] == ["confirmOkCancelDisplay"]
        host.messages.clear()
        assert host.process_events(until=lambda: "Writing" not in widget.ui.statusLabel.text, timeout=120)
        assert taken.read_bytes().startswith(b"%PDF-" if answer else b"another")
    from TernarySegmentLib.slicer_ui.sections.export import FORBIDDEN

    assert FORBIDDEN.sub("-", node.GetName()) == "2- Abdomen-portal"


def test_nothing_is_written_when_no_place_is_chosen(host, edited):
    widget, _, _, _ = edited
    said = widget.ui.statusLabel.text
    for button in (widget.ui.saveSegmentationButton, widget.ui.saveSurfaceButton, widget.ui.saveReportButton):
        host.click(button)
    assert widget.ui.statusLabel.text == said
    assert len(host.dialogs) == 3


def open_by_hand(host, section) -> None:
    """Click on the title of a folded section."""
    from PySide6.QtWidgets import QToolButton

    assert section.collapsed
    host.click(section.findChildren(QToolButton)[0])
    assert not section.collapsed


def test_the_status_line_tells_of_the_section_used_last(host, edited, tmp_path):
    widget, _, _, _ = edited
    ui = widget.ui
    assert host.process_events(until=lambda: len(widget.panel.review.entries) > 0, timeout=30)
    said = [f"Saved “{save(host, widget, ui.saveSurfaceButton, tmp_path / 'first.stl')}”."]
    open_by_hand(host, ui.correctButton)
    assert ui.statusLabel.text == ""

    host.click(ui.boxButton)
    said.append(ui.statusLabel.text)
    assert "box" in said[-1]
    for use in (lambda: press_key(host, widget, "N"), lambda: host.click(ui.checkButton)):
        use()
        assert ui.statusLabel.text == ""
        save(host, widget, ui.saveSegmentationButton, tmp_path / "again.seg.nrrd")
    ui.exportButton.collapsed = True
    host.process_events()
    assert "again" in ui.statusLabel.text, "closing a section is no use of another one"
    open_by_hand(host, ui.exportButton)
    assert ui.statusLabel.text == ""
    assert all(sentence in ui.logText.toPlainText() for sentence in said), "the log keeps what was said"


def test_opening_a_section_does_not_hide_what_runs(host, edited, tmp_path):
    widget, _, _, _ = edited
    ui = widget.ui
    host.paths.append(tmp_path / "page.png")
    host.click(ui.saveReportButton)
    assert ui.statusLabel.text.startswith("Writing")
    open_by_hand(host, ui.correctButton)
    assert ui.statusLabel.text.startswith("Writing")
    assert host.process_events(until=lambda: "Writing" not in ui.statusLabel.text, timeout=120)
    assert ui.statusLabel.text.startswith("Saved")

    host.click(ui.segmentButton)
    ui.correctButton.collapsed = True
    open_by_hand(host, ui.correctButton)
    assert ui.statusLabel.text != ""
    finish(host, widget)
    assert "mL of pancreas" in ui.statusLabel.text


@pytest.mark.parametrize("way", ["itself", "link", "one of a series", "without its ending"])
def test_the_file_that_the_ct_was_loaded_from_is_never_written_over(host, edited, tmp_path, way):
    widget, volume, _, _ = edited
    sources = [tmp_path / "ct.nii.gz", tmp_path / "slice2.nrrd", tmp_path / "ct.seg.nrrd"]
    for source in sources:
        source.write_bytes(b"voxels")
    volume.AddDefaultStorageNode()
    storage = volume.GetStorageNode()
    storage.SetFileName(str(sources[0]))
    for source in sources[1:]:
        storage.AddFileName(str(source))
    path = {
        "itself": sources[0], "link": tmp_path / "link.nrrd", "one of a series": sources[1],
        "without its ending": tmp_path / "ct",
    }[way]  # fmt: skip
    if way == "link":
        path.symlink_to(sources[0])
    host.paths.append(path)
    host.click(widget.ui.saveSegmentationButton)
    host.process_events(timeout=0.2)
    assert "would overwrite the input" in widget.ui.statusLabel.text
    assert all(source.read_bytes() == b"voxels" for source in sources)
    storage.ResetFileNameList()
    storage.SetFileName(None)


def test_report_carries_the_name_of_the_scan_unless_the_box_is_unticked(host, edited, tmp_path):
    pdfium = pytest.importorskip("pypdfium2", reason="pypdfium2, which reads the PDF here, comes with .[test]")
    widget, volume, _, _ = edited
    volume.SetName("2: Abdomen venous")
    texts = []
    for name in ("named.pdf", "unnamed.pdf"):
        path = save(host, widget, widget.ui.saveReportButton, tmp_path / name)
        texts.append(pdfium.PdfDocument(path)[0].get_textpage().get_text_bounded())
        host.click(widget.ui.scanNameBox)
    assert "2: Abdomen venous" in texts[0]
    assert "Abdomen" not in texts[1]
