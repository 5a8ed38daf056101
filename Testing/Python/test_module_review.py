"""Review in the test host: the list of suspicious regions, keys, colours over the slices, what a saved scene keeps."""

from __future__ import annotations

import numpy as np
import pytest
from panel_support import press_key, segment, slicer, view_of


@pytest.fixture
def reviewed(host, ready):
    """The phantom segmented and searched for suspicious regions."""
    widget, volume = ready
    node = segment(host, widget)
    assert host.process_events(until=lambda: len(widget.panel.review.entries) > 0, timeout=30)
    return widget, volume, node


def offsets() -> list[float]:
    return [node.GetSliceOffset() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]


def shown_point() -> np.ndarray:
    """The middle of all slice views, RAS; they must agree."""
    matrices = [node.GetSliceToRAS() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    middles = np.array([[matrix.GetElement(row, 3) for row in range(3)] for matrix in matrices])
    assert np.ptp(middles, axis=0).max() < 3.1, middles
    return middles.mean(0)


def test_sections_are_closed_until_there_is_a_result(host, ready):
    widget, _ = ready
    ui = widget.ui
    for section in (ui.resultButton, ui.reviewButton, ui.correctButton):
        assert section.collapsed
        assert not section.enabled
    segment(host, widget)
    assert not ui.resultButton.collapsed
    assert not ui.reviewButton.collapsed
    assert ui.correctButton.collapsed
    assert ui.correctButton.enabled
    host.click(ui.undoButton)
    assert ui.resultButton.collapsed
    assert ui.reviewButton.collapsed


def test_places_are_listed_with_number_what_and_why_most_doubtful_first(host, reviewed):
    widget, _, _ = reviewed
    table, entries = widget.ui.regionsTable, widget.panel.review.entries
    assert table.rowCount == len(entries) <= 12
    assert [entry.doubt for entry in entries] == sorted((entry.doubt for entry in entries), reverse=True)
    for row, entry in enumerate(entries):
        cells = [table.item(row, column).text() for column in range(3)]
        assert cells == [str(row + 1), entry.kind.capitalize(), entry.reason]
    assert widget.ui.checkedLabel.text == f"0 of {len(entries)} checked"


def test_places_lie_on_the_pancreas_or_beside_it(host, reviewed):
    widget, volume, node = reviewed
    from panel_support import mask_of

    from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

    mask = np.argwhere(mask_of(node, volume))[:, ::-1]
    points = mask @ matrix_of(volume)[:3, :3].T + matrix_of(volume)[:3, 3]
    for entry in widget.panel.review.entries:
        distance = np.linalg.norm(points - entry.position_ras, axis=1).min()
        if entry.kind == "detached piece left out":  # wherever the network saw it
            assert distance > 0
        else:
            assert distance < 15, entry


def test_keys_n_and_p_bring_the_slices_to_the_next_and_the_previous_region_and_leave_3d_alone(host, reviewed):
    widget, _, _ = reviewed
    entries = widget.panel.review.entries
    view_of(host)
    picture(host)  # the 3D view makes its camera when it is first drawn
    looked_at = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCameraNode").GetFocalPoint()
    for key, index in (("N", 0), ("N", 1), ("N", 2), ("P", 1), ("P", 0), ("P", len(entries) - 1), ("N", 0)):
        press_key(host, widget, key)
        assert np.allclose(shown_point(), entries[index].position_ras, atol=3.1), (key, index)
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        assert np.allclose(crosshair.GetCrosshairRAS(), entries[index].position_ras)
        assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCameraNode").GetFocalPoint() == looked_at


def test_buttons_and_rows_go_to_places_as_the_keys_do(host, reviewed):
    widget, _, _ = reviewed
    entries = widget.panel.review.entries
    host.click(widget.ui.nextButton)
    host.click(widget.ui.nextButton)
    assert np.allclose(shown_point(), entries[1].position_ras, atol=3.1)
    host.click(widget.ui.previousButton)
    assert np.allclose(shown_point(), entries[0].position_ras, atol=3.1)
    click_cell(host, widget.ui.regionsTable, 2, 1)
    assert np.allclose(shown_point(), entries[2].position_ras, atol=3.1)


def click_cell(host, table, row: int, column: int, at=None) -> None:
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    target = host.panel_of(table)
    rect = target.visualItemRect(target.item(row, column))
    where = rect.center() if at is None else rect.topLeft() + QPoint(*at)
    QTest.mouseClick(target.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    host.process_events()


def test_c_marks_and_goes_on_until_all_are_checked_and_takes_back(host, reviewed):
    widget, _, _ = reviewed
    count = len(widget.panel.review.entries)
    press_key(host, widget, "N")
    for done in range(1, count + 1):
        press_key(host, widget, "C")
        assert widget.ui.checkedLabel.text == f"{done} of {count} checked"
    assert np.allclose(shown_point(), widget.panel.review.entries[-1].position_ras, atol=3.1)
    press_key(host, widget, "C")
    assert widget.ui.checkedLabel.text == f"{count - 1} of {count} checked"
    assert not widget.panel.review.entries[-1].checked


def test_tick_in_the_table_marks_as_checked_too(host, reviewed):
    widget, _, _ = reviewed
    table = widget.ui.regionsTable
    click_cell(host, table, 1, 3)
    assert widget.panel.review.entries[1].checked
    assert widget.ui.checkedLabel.text.startswith("1 of ")


def test_keys_do_nothing_while_another_module_is_shown(host, reviewed):
    widget, _, _ = reviewed
    before = offsets()
    widget.exit()
    press_key(host, widget, "N")
    assert offsets() == before
    widget.enter()
    press_key(host, widget, "N")
    assert offsets() != before


def test_confidence_is_laid_over_the_slices_with_a_legend_and_taken_away_again(host, reviewed):
    widget, volume, node = reviewed
    ui = widget.ui
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(volume)[::2].copy(), name="other phase")
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    for composite in composites:
        composite.SetForegroundVolumeID(other.GetID())
        composite.SetForegroundOpacity(0.3)
    press_key(host, widget, "N")
    view_of(host)
    before = picture(host)
    host.click(ui.confidenceBox)
    confidence = node.GetNodeReference("TernarySegment.Confidence")
    assert {composite.GetForegroundVolumeID() for composite in composites} == {confidence.GetID()}
    assert not node.GetDisplayNode().GetVisibility2DFill()
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(confidence)
    assert legend.GetVisibility()
    assert colourful(picture(host)) > colourful(before) + 200
    host.click(ui.confidenceBox)
    assert {composite.GetForegroundVolumeID() for composite in composites} == {other.GetID()}
    assert {composite.GetForegroundOpacity() for composite in composites} == {0.3}
    assert not legend.GetVisibility()
    assert node.GetDisplayNode().GetVisibility2DFill()


def picture(host) -> np.ndarray:
    image = host.render_four_up((802, 602))
    rows = np.frombuffer(bytes(image.constBits()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def colourful(pixels: np.ndarray) -> int:
    """Red pixels, which neither CT nor segment has."""
    return int(((pixels[..., 0] > pixels[..., 1] + 100) & (pixels[..., 0] > pixels[..., 2] + 100))[10:, :].sum())


def test_confidence_map_has_the_scan_s_voxels_and_is_sure_inside_the_mask(host, reviewed):
    _, volume, node = reviewed
    from panel_support import mask_of

    from TernarySegmentLib.slicer_ui.mrml.overlay import crop_confidence

    part = crop_confidence(node.GetNodeReference("TernarySegment.Confidence"), volume)
    whole = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    i, j, k = part.start
    depth, rows, columns = part.voxels.shape
    whole[k : k + depth, j : j + rows, i : i + columns] = part.voxels
    mask = mask_of(node, volume)
    assert whole[mask == 1].min() >= 50
    assert whole.max() <= 100


def test_confidence_is_told_in_plain_words(host, reviewed):
    from TernarySegmentLib.review.confidence import format_confidence

    widget, _, _ = reviewed
    assert widget.ui.confidenceLabel.text == format_confidence(widget.panel.result.report.confidence)
    assert len(widget.ui.confidenceLabel.text.split()) > 5


def test_saved_scene_brings_list_checks_confidence_and_automatic_mask_back(host, reviewed, tmp_path):
    widget, _, _ = reviewed
    press_key(host, widget, "N")
    for _ in range(2):
        press_key(host, widget, "C")
    entries, said = widget.panel.review.entries, widget.ui.checkedLabel.text
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process_events()
    assert widget.panel.review.entries == []
    assert widget.ui.checkedLabel.text == ""
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=20)
    assert widget.panel.review.entries == entries
    assert widget.ui.checkedLabel.text == said
    assert widget.ui.regionsTable.rowCount == len(entries)
    assert widget.panel.parameters.result.GetNodeReference("TernarySegment.Confidence").GetImageData() is not None


def test_undo_of_the_run_takes_list_and_confidence_with_it(host, reviewed):
    widget, _, _ = reviewed
    host.click(widget.ui.undoButton)
    assert widget.panel.review.entries == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert not widget.ui.nextButton.enabled


def test_undo_of_a_second_run_brings_the_first_list_with_its_checks_back(host, reviewed):
    widget, _, node = reviewed
    press_key(host, widget, "N")
    press_key(host, widget, "C")
    first = widget.panel.review.entries
    widget.panel.parameters.output = node
    widget.panel.parameters.smoothing = 3.0
    segment(host, widget)
    assert host.process_events(until=lambda: not widget.panel.background.busy("regions"), timeout=30)
    assert widget.panel.review.entries != first
    host.click(widget.ui.undoButton)
    assert widget.panel.review.entries == first


def test_space_presses_what_has_the_focus_and_marks_nothing(host, reviewed):
    widget, _, _ = reviewed
    press_key(host, widget, "N")
    before = widget.ui.checkedLabel.text
    ticked = widget.ui.outlinedBox.checked
    press_key(host, widget, "Space", focus=widget.ui.outlinedBox)
    assert widget.ui.outlinedBox.checked is not ticked
    assert widget.ui.checkedLabel.text == before


def test_keys_act_in_the_views_and_leave_text_and_other_windows_alone(host, reviewed):
    from PySide6.QtWidgets import QPushButton

    widget, _, _ = reviewed
    widget.ui.exportButton.collapsed = False
    press_key(host, widget, "N", focus=widget.ui.caseEdit)
    assert widget.ui.caseEdit.text == "n"
    elsewhere = QPushButton("of another module")
    press_key(host, widget, "N", focus=elsewhere)
    elsewhere.close()
    assert widget.panel.review._at is None
    press_key(host, widget, "N", focus=view_of(host))
    assert widget.panel.review._at == 0
    widget.ui.caseEdit.text = ""


def test_c_marks_the_row_that_is_highlighted_however_it_was_chosen(host, reviewed):
    widget, _, _ = reviewed
    entries = widget.panel.review.entries
    press_key(host, widget, "N")
    click_cell(host, widget.ui.regionsTable, 2, 1)
    press_key(host, widget, "C", focus=widget.ui.regionsTable)
    assert [entry.checked for entry in widget.panel.review.entries[:3]] == [False, False, True]
    at = widget.panel.review._at
    press_key(host, widget, "Up", focus=widget.ui.regionsTable)
    assert np.allclose(shown_point(), entries[at - 1].position_ras, atol=3.1)


def test_crosshair_goes_when_the_review_ends(host, reviewed):
    widget, _, _ = reviewed
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    before = crosshair.GetCrosshairMode()
    press_key(host, widget, "N")
    assert crosshair.GetCrosshairMode() != before
    widget.exit()
    assert crosshair.GetCrosshairMode() == before
    widget.enter()
    press_key(host, widget, "N")
    for _ in widget.panel.review.entries:
        press_key(host, widget, "C")
    assert all(entry.checked for entry in widget.panel.review.entries)
    assert crosshair.GetCrosshairMode() == before


@pytest.mark.parametrize("how", ["failed", "dropped"])
def test_search_that_did_not_finish_is_not_called_running(host, ready, monkeypatch, how):
    import importlib

    widget, _ = ready
    panel = importlib.import_module(type(widget.panel).__module__)
    if how == "failed":
        monkeypatch.setattr(panel, "find_suspicious_regions", lambda mask, confidence: 1 / 0)
    segment(host, widget)
    if how == "dropped":
        widget.panel.background.drop_all("regions")
        widget.panel.update()
    assert host.process_events(until=lambda: "Looking" not in widget.ui.checkedLabel.text, timeout=20)
    assert "did not finish" in widget.ui.checkedLabel.text
