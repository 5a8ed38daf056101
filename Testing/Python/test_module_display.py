"""How a result is drawn: the display node decides, boxes show it, and only a click of the person writes it."""

from __future__ import annotations

import numpy as np
import pytest
from panel_support import segment, slicer, view_of


@pytest.fixture
def shown(host, ready):
    """The phantom segmented; panel, display node."""
    widget, volume = ready
    slicer.app.userSettings().remove("TernarySegment/show3d")
    node = segment(host, widget)
    return widget, volume, node, node.GetDisplayNode()


def state(display) -> tuple:
    return (
        display.GetOpacity(), display.GetVisibility(), display.GetVisibility2D(), display.GetVisibility2DFill(),
        display.GetVisibility2DOutline(), display.GetVisibility3D(),
    )  # fmt: skip


def has_surface(node) -> bool:
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    return node.GetSegmentation().ContainsRepresentation(name)


def test_what_was_set_elsewhere_survives_leaving_entering_and_removed_nodes(host, shown):
    widget, _, _, display = shown
    display.SetOpacity(0.3)
    display.SetVisibility2DFill(False)
    display.SetVisibility3D(False)
    before = state(display)
    widget.exit()
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode"))
    widget.enter()
    widget.panel.update()
    assert state(display) == before


def test_boxes_and_slider_follow_the_display_node(host, shown):
    widget, _, _, display = shown
    ui = widget.ui
    display.SetOpacity(0.35)
    display.SetVisibility2DFill(False)
    assert ui.opacitySlider.value == pytest.approx(0.35)
    assert (ui.filledBox.checked, ui.outlinedBox.checked) == (False, True)
    display.SetVisibility2D(False)
    assert (ui.filledBox.checked, ui.outlinedBox.checked) == (False, False)


def test_clicks_write_the_display_node_and_nothing_else_of_it(host, shown):
    widget, _, _, display = shown
    before = state(display)
    host.click(widget.ui.filledBox)
    assert state(display) == (*before[:3], False, *before[4:])
    widget.ui.opacitySlider.value = 0.4
    assert display.GetOpacity() == pytest.approx(0.4)


def test_neither_fill_nor_outline_hides_the_mask_without_a_state_that_slicer_calls_invalid(host, shown):
    widget, _, _, display = shown
    for box in (widget.ui.filledBox, widget.ui.outlinedBox):
        host.click(box)
    assert not display.GetVisibility2D()
    host.click(widget.ui.filledBox)
    assert (display.GetVisibility2D(), bool(display.GetVisibility2DFill())) == (1, True)
    assert not display.GetVisibility2DOutline()


def test_result_is_shown_in_3d_until_the_person_prefers_not_to(host, ready):
    widget, _ = ready
    slicer.app.userSettings().remove("TernarySegment/show3d")
    node = segment(host, widget)
    assert widget.ui.show3dBox.checked
    assert has_surface(node)
    host.click(widget.ui.show3dBox)
    assert not has_surface(node)
    second = segment(host, widget)
    assert not widget.ui.show3dBox.checked
    assert not has_surface(second)
    host.click(widget.ui.show3dBox)
    assert has_surface(second)
    assert second.GetDisplayNode().GetVisibility3D()


def test_surface_made_by_slicers_own_button_ticks_the_box(host, shown):
    widget, _, node, _ = shown
    host.click(widget.ui.show3dBox)
    assert not widget.ui.show3dBox.checked
    node.CreateClosedSurfaceRepresentation()
    assert widget.ui.show3dBox.checked
    slicer.app.userSettings().remove("TernarySegment/show3d")


def test_views_go_to_a_new_result_and_are_zoomed_to_it(host, ready):
    widget, _ = ready
    fields = [node.GetFieldOfView()[0] for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    node = segment(host, widget)
    bounds = np.zeros(6)
    node.GetRASBounds(bounds)
    for before, slice_node in zip(fields, slicer.util.getNodesByClass("vtkMRMLSliceNode"), strict=True):
        to_ras = slice_node.GetSliceToRAS()
        middle = np.array([to_ras.GetElement(row, 3) for row in range(3)])
        assert (middle >= bounds[0::2]).all()
        assert (middle <= bounds[1::2]).all()
        assert slice_node.GetFieldOfView()[0] < before
        width, height, _ = slice_node.GetFieldOfView()
        assert width * height > np.prod(sorted(np.diff(bounds)[::2])[:2]), "the organ still fits"


def test_confidence_leaves_the_outline_and_gives_the_fill_back(host, shown):
    widget, _, _, display = shown
    assert host.process_events(until=lambda: widget.ui.confidenceBox.enabled, timeout=30)
    host.click(widget.ui.outlinedBox)  # fill alone
    host.click(widget.ui.confidenceBox)
    assert (widget.ui.filledBox.checked, widget.ui.outlinedBox.checked) == (False, True)
    assert display.GetVisibility2DOutline()
    host.click(widget.ui.confidenceBox)
    assert widget.ui.filledBox.checked


def test_confidence_is_not_shown_in_other_modules(host, shown):
    widget, _, node, _ = shown
    assert host.process_events(until=lambda: widget.ui.confidenceBox.enabled, timeout=30)
    host.click(widget.ui.confidenceBox)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    confidence = node.GetNodeReferenceID("TernarySegment.Confidence")
    assert {c.GetForegroundVolumeID() for c in composites} == {confidence}
    widget.exit()
    assert {c.GetForegroundVolumeID() for c in composites} == {None}
    widget.enter()
    assert {c.GetForegroundVolumeID() for c in composites} == {confidence}
    host.click(widget.ui.confidenceBox)


def test_confidence_of_a_saved_scene_can_be_taken_off(host, shown):
    widget = shown[0]
    assert host.process_events(until=lambda: widget.ui.confidenceBox.enabled, timeout=30)
    host.click(widget.ui.confidenceBox)
    widget.panel.review.scene_closing()  # as when the scene is read: it shows the map, and nobody laid it there
    widget.panel.update()
    host.click(widget.ui.confidenceBox)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {c.GetForegroundVolumeID() for c in composites} == {None}


def test_soft_tissue_window_is_set_by_itself_for_a_scan_loaded_here_and_taken_back(host, widget, tmp_path):
    from panel_support import phantom

    values, matrix = phantom()
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="scan")
    assert slicer.util.saveNode(node, str(tmp_path / "scan.nrrd"))
    slicer.mrmlScene.Clear(0)
    host.io.on_dialog = lambda _dialog: slicer.util.loadVolume(str(tmp_path / "scan.nrrd")) is not None
    host.click(widget.ui.loadButton)
    host.io.on_dialog = None
    display = widget.panel.parameters.volume.GetDisplayNode()
    assert host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=20)
    assert (display.GetWindow(), display.GetLevel()) == (350, 40)
    assert widget.ui.windowButton.checked
    host.click(widget.ui.windowButton)
    assert display.GetWindow() > 350
    assert display.GetAutoWindowLevel()
    assert not widget.ui.windowButton.checked


def test_window_from_the_file_or_a_person_is_kept(host, ready):
    widget, volume = ready
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(1200, 300)
    widget.exit()
    widget.enter()
    assert (display.GetWindow(), display.GetLevel()) == (1200, 300)
    host.click(widget.ui.windowButton)
    assert display.GetWindow() == 350
    host.click(widget.ui.windowButton)
    assert (display.GetWindow(), display.GetLevel()) == (1200, 300)


def test_headline_says_the_most_important_first(host, shown):
    widget, volume, _, _ = shown
    assert host.process_events(until=lambda: widget.panel.review.entries, timeout=30)
    text, report = widget.ui.headlineLabel.text, widget.panel.result.report
    assert " %" not in text, "no line ends between a number and its unit"
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith(
        f"“{volume.GetName()}”: {report.volume_ml:.1f} mL, confidence {100 * report.confidence:.0f} %"
    )
    view_of(host)


def test_panel_with_every_section_open_is_no_wider_than_slicers_own(host, shown):
    widget, _, _, _ = shown
    ui = widget.ui
    sections = (ui.inputButton, ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton)
    before = [section.collapsed for section in sections]
    for section in sections:
        section.collapsed = False
    host.process_events()
    assert host.panel_of(widget).minimumSizeHint().width() <= 430
    for section, collapsed in zip(sections, before, strict=True):
        section.collapsed = collapsed
