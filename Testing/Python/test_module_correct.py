"""Correction in the test host: paint, undo, a region again, points, what changed, and back; by real clicks."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from panel_support import drag, finish, mask_of, pixel_of, press_key, segment, slicer, view_of


@pytest.fixture
def corrected(host, ready):
    """The phantom segmented, the Correct part open, the views at its middle."""
    widget, volume = ready
    node = segment(host, widget)
    assert host.process_events(until=lambda: len(widget.panel.review.entries) > 0, timeout=30)
    view_of(host)
    host.click(widget.ui.jumpButton)
    open_section(host, widget.ui.correctButton)
    return widget, volume, node


def open_section(host, section) -> None:
    """Click on its title."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QToolButton

    assert section.collapsed
    title = host.panel_of(section).findChild(QToolButton)
    QTest.mouseClick(title, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, QPoint(10, 5))
    host.process_events()
    assert not section.collapsed


def tool(host, widget, name: str):
    """A button of the editor, by its object name as in Slicer."""
    from PySide6.QtWidgets import QToolButton

    return host.panel_of(widget.panel.correct.editor.widget).findChild(QToolButton, name)


def free_spot(node, volume) -> np.ndarray:
    """A point 25 mm in front of the middle of the mask, in the slice that is shown; RAS."""
    from TernarySegmentLib.slicer_ui.mrml import statistics

    return np.add(statistics.kept(node).centre_ras, (0, 25, 0))


def changes(widget) -> dict[str, float]:
    """The numbers of the line on what changed."""
    found = re.match(
        r"Now ([\d.]+) mL, automatic ([\d.]+) mL: ([\d.]+) mL added, ([\d.]+) mL removed, Dice ([\d.]+)\.",
        widget.ui.changesLabel.text,
    )
    names = ("now", "automatic", "added", "removed", "dice")
    return dict(zip(names, map(float, found.groups()), strict=True)) if found else {}


def disc(volume, centre, radius_mm: float) -> np.ndarray:
    """Voxels of one axial slice whose centres are within a radius of a point."""
    from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

    shape = slicer.util.arrayFromVolume(volume).shape
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)[..., ::-1]
    points = index @ matrix_of(volume)[:3, :3].T + matrix_of(volume)[:3, 3]
    offset = points - centre
    return (np.hypot(offset[..., 0], offset[..., 1]) <= radius_mm) & (np.abs(offset[..., 2]) <= 1.5 + 1e-6)


def test_corrected_mask_equals_what_was_painted_and_undo_takes_it_back(host, corrected):
    widget, volume, node = corrected
    before, spot, view = mask_of(node, volume), free_spot(node, volume), view_of(host)
    host.click(tool(host, widget, "Paint"))
    where = pixel_of(view, spot)
    drag(host, view, [where, where])
    painted = mask_of(node, volume)
    x, y = round(where[0]), round(where[1])
    centre = view.mrmlSliceNode().GetXYToRAS().MultiplyPoint((x, view.height() - 1 - y, 0, 1))[:3]
    expected = before | disc(volume, centre, 4.0)
    assert (painted != before).sum() > 10
    assert np.array_equal(painted, expected)
    assert host.process_events(until=lambda: changes(widget), timeout=10)
    told = changes(widget)
    assert told["added"] == pytest.approx((expected != before).sum() * 6.75 / 1000, abs=0.051)
    assert told["removed"] == 0
    assert told["dice"] == pytest.approx(2 * before.sum() / (before.sum() + expected.sum()), abs=0.0006)
    host.click(tool(host, widget, "UndoButton"))
    assert np.array_equal(mask_of(node, volume), before)
    assert host.process_events(until=lambda: "as the automatic" in widget.ui.changesLabel.text, timeout=10)
    host.click(tool(host, widget, "RedoButton"))
    assert np.array_equal(mask_of(node, volume), expected)


def test_eraser_removes_and_keys_undo_and_redo(host, corrected):
    widget, volume, node = corrected
    before, view = mask_of(node, volume), view_of(host)
    host.click(tool(host, widget, "Erase"))
    middle = np.array(widget.panel.result.report.centre_ras)
    drag(host, view, [pixel_of(view, middle), pixel_of(view, np.add(middle, (8, 0, 0)))])
    erased = mask_of(node, volume)
    assert 10 < (before & ~erased.astype(bool)).sum() == before.sum() - erased.sum()
    press_key(host, widget, "Z")
    assert np.array_equal(mask_of(node, volume), before)
    press_key(host, widget, "Y")
    assert np.array_equal(mask_of(node, volume), erased)


def test_painting_can_be_limited_to_the_pancreas_hu(host, corrected):
    widget, volume, node = corrected
    ui, report = widget.ui, widget.panel.result.report
    assert ui.lowestBox.value == round(report.mean_hu - 2 * report.sd_hu)
    assert ui.highestBox.value == round(report.mean_hu + 2 * report.sd_hu)
    before, spot, view = mask_of(node, volume), free_spot(node, volume), view_of(host)
    hu = slicer.util.arrayFromVolume(volume)
    ui.lowestBox.value, ui.highestBox.value = 20, 120
    host.click(ui.limitBox)
    host.click(tool(host, widget, "Paint"))
    drag(host, view, [pixel_of(view, spot - (30, 0, 0)), pixel_of(view, np.add(spot, (30, 0, 0)))])
    added = (mask_of(node, volume) != 0) & (before == 0)
    assert added.any()
    assert 20 <= hu[added].min() <= hu[added].max() <= 120
    host.click(ui.limitBox)
    drag(host, view, [pixel_of(view, spot - (30, 0, 0)), pixel_of(view, np.add(spot, (30, 0, 0)))])
    added = (mask_of(node, volume) != 0) & (before == 0)
    assert not 20 <= hu[added].min() <= hu[added].max() <= 120


def test_region_is_segmented_again_merged_and_undone(host, corrected):
    widget, volume, node = corrected
    automatic, view = mask_of(node, volume), view_of(host)
    host.click(tool(host, widget, "Erase"))
    middle = np.array(widget.panel.result.report.centre_ras)
    drag(host, view, [pixel_of(view, middle - (8, 0, 0)), pixel_of(view, np.add(middle, (8, 0, 0)))])
    erased = mask_of(node, volume)
    assert not widget.ui.resegmentButton.enabled
    assert widget.ui.resegmentButton.toolTip == "Place a box first."
    host.click(widget.ui.boxButton)
    box = widget.panel.parameters.box
    assert np.allclose(box.GetCenter(), middle, atol=3.1)
    host.click(widget.ui.resegmentButton)
    finish(host, widget)
    again = mask_of(node, volume)
    inside = inside_box(volume, box)
    assert np.array_equal(again[~inside], erased[~inside])
    hole = erased != automatic
    assert hole.sum() > 20
    assert (again == automatic)[hole].mean() > 0.9
    host.click(tool(host, widget, "UndoButton"))
    assert np.array_equal(mask_of(node, volume), erased)


def inside_box(volume, box) -> np.ndarray:
    from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

    shape = slicer.util.arrayFromVolume(volume).shape
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)[..., ::-1]
    points = index @ matrix_of(volume)[:3, :3].T + matrix_of(volume)[:3, 3]
    return (np.abs(points - box.GetCenter()) <= np.array(box.GetSize()) / 2).all(-1)


def test_cancelled_region_leaves_the_mask_alone(host, corrected):
    widget, volume, node = corrected
    before = mask_of(node, volume)
    host.click(widget.ui.boxButton)
    widget.panel.correct.resegment()
    assert not widget.ui.resegmentButton.enabled
    assert widget.ui.cancelButton.enabled
    host.click(widget.ui.cancelButton)
    finish(host, widget, 10)
    assert np.array_equal(mask_of(node, volume), before)
    assert widget.ui.resegmentButton.enabled


def test_points_and_undo_wait_while_a_region_is_segmented_again(host, corrected):
    widget, volume, node = corrected
    view = view_of(host)
    spot = free_spot(node, volume)
    host.click(widget.ui.insideButton)
    seeding(host, widget, view)(spot)
    pointed = mask_of(node, volume)
    assert widget.panel.correct.points.count == 1
    host.click(widget.ui.boxButton)
    host.click(widget.ui.resegmentButton)
    assert widget.panel.correct.points.count == 0, "what the point did is part of the mask"
    assert not widget.ui.insideButton.checked, "clicks place no more points"
    widget.panel.correct.undo()
    assert np.array_equal(mask_of(node, volume), pointed)
    host.click(widget.ui.cancelButton)
    finish(host, widget, 10)
    assert np.array_equal(mask_of(node, volume), pointed)


def test_points_clicked_inside_and_outside_move_the_border_and_can_be_taken_back(host, corrected):
    widget, volume, node = corrected
    ui, before, view = widget.ui, mask_of(node, volume), view_of(host)
    spot, middle = free_spot(node, volume), np.array(widget.panel.result.report.centre_ras)
    click = seeding(host, widget, view)
    host.click(ui.insideButton)
    seconds = [click(spot)]
    added = mask_of(node, volume)
    assert added[voxel(volume, spot)] == 1 > before[voxel(volume, spot)]
    host.click(ui.outsideButton)
    assert not ui.insideButton.checked
    seconds.append(click(middle))
    assert mask_of(node, volume)[voxel(volume, middle)] == 0
    print(f"the border followed {', '.join(f'{s:.2f}' for s in seconds)} s after each point")
    host.click(ui.undoPointButton)
    settle(host, widget)
    assert np.array_equal(mask_of(node, volume), added)
    host.click(ui.clearPointsButton)
    settle(host, widget)
    assert np.array_equal(mask_of(node, volume), before)
    assert not ui.clearPointsButton.enabled
    host.click(ui.outsideButton)  # pressed again: clicks place no more points
    assert not ui.outsideButton.checked
    click(middle)
    assert np.array_equal(mask_of(node, volume), before)


def seeding(host, widget, view):
    """A hand that clicks at a point, waits for the border, and tells the seconds."""

    def click(ras) -> float:
        where = pixel_of(view, ras)
        begun = time.monotonic()
        drag(host, view, [where, where])
        settle(host, widget)
        return time.monotonic() - begun

    return click


def settle(host, widget) -> None:
    assert host.process_events(until=lambda: not widget.panel.background.busy("points"), timeout=20)


def voxel(volume, ras) -> tuple[int, ...]:
    from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of

    return tuple(int(v) for v in np.rint(np.linalg.inv(matrix_of(volume)) @ (*ras, 1))[2::-1])


def test_painting_after_points_keeps_both(host, corrected):
    widget, volume, node = corrected
    ui, view, spot = widget.ui, view_of(host), free_spot(node, volume)
    host.click(ui.insideButton)
    click = seeding(host, widget, view)
    click(spot)
    host.click(tool(host, widget, "Paint"))
    assert not ui.insideButton.checked
    aside = np.add(spot, (30, 0, 0))
    drag(host, view, [pixel_of(view, aside), pixel_of(view, aside)])
    assert not ui.undoPointButton.enabled  # what the points did is part of the mask now
    host.click(ui.insideButton)
    assert not tool(host, widget, "Paint").isChecked()
    click(spot - (30, 0, 0))
    mask = mask_of(node, volume)
    assert [mask[voxel(volume, point)] for point in (spot, aside, spot - (30, 0, 0))] == [1, 1, 1]


def test_revert_brings_the_automatic_mask_back_even_after_reload_and_can_be_undone(host, corrected, tmp_path):
    widget, volume, node = corrected
    automatic, view, spot = mask_of(node, volume), view_of(host), free_spot(node, volume)
    assert not widget.ui.revertButton.enabled
    host.click(tool(host, widget, "Paint"))
    drag(host, view, [pixel_of(view, spot), pixel_of(view, np.add(spot, (10, 5, 0)))])
    painted = mask_of(node, volume)
    assert host.process_events(until=lambda: widget.ui.revertButton.enabled, timeout=10)
    host.click(widget.ui.revertButton)
    assert np.array_equal(mask_of(node, volume), automatic)
    host.click(tool(host, widget, "UndoButton"))
    assert np.array_equal(mask_of(node, volume), painted)
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process_events()
    slicer.util.loadScene(str(tmp_path / "case.mrb"))
    assert host.process_events(until=lambda: changes(widget), timeout=20)
    node, volume = widget.panel.parameters.result, widget.panel.parameters.volume
    assert np.array_equal(mask_of(node, volume), painted)
    if widget.ui.correctButton.collapsed:
        open_section(host, widget.ui.correctButton)
    host.click(widget.ui.revertButton)
    assert np.array_equal(mask_of(node, volume), automatic)


def test_what_cannot_be_written_or_read_is_told_and_not_called_done(host, corrected):
    widget, volume, node = corrected
    correct = widget.panel.correct
    grid = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "breathing")
    volume.SetAndObserveTransformNodeID(grid.GetID())
    correct.revert()
    assert "non-linear transform" in widget.ui.statusLabel.text
    assert "is back" not in widget.ui.statusLabel.text
    assert correct._take() is None
    assert node.GetAttribute("TernarySegment.Edited") is None


def test_a_comparison_overtaken_by_a_stroke_does_not_call_the_mask_untouched(host, corrected):
    """The mark that a mask was corrected, which Undo asks about, stays while the next comparison is awaited."""
    import threading

    from TernarySegmentLib.slicer_ui.sections.correct import ChangeWatch
    from TernarySegmentLib.slicer_ui.tasks import Background

    widget, _, node = corrected
    correct, gate, told = widget.panel.correct, threading.Event(), []
    assert host.process_events(until=lambda: widget.ui.changesLabel.text, timeout=20)  # the panel's own comparison
    taken, automatic, spacing = correct._comparison()

    class Slow:
        @staticmethod
        def labelmap():
            gate.wait(20)
            return taken.labelmap()

    def tell(changes, current):
        correct._show_changes(changes, current)
        told.append((current, node.GetAttribute("TernarySegment.Edited")))

    background = Background()
    watch = ChangeWatch(background, lambda: (Slow, automatic, spacing), tell, pytest.fail)
    watch.look()
    assert host.process_events(until=lambda: background.busy("changes"), timeout=20)
    node.SetAttribute("TernarySegment.Edited", "1")
    watch.look()  # as a stroke does
    gate.set()
    assert host.process_events(until=lambda: len(told) == 2, timeout=20)
    background.close()
    assert told == [(False, "1"), (True, None)]


def test_other_segments_stay_as_they_are_and_edits_elsewhere_are_noticed(host, corrected):
    widget, volume, node = corrected
    view, spot = view_of(host), free_spot(node, volume)
    other = node.GetSegmentation().AddEmptySegment("stomach", "stomach")
    snapshot = disc(volume, spot, 9.0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(snapshot, node, other, volume)
    host.click(tool(host, widget, "Paint"))
    drag(host, view, [pixel_of(view, spot), pixel_of(view, np.add(spot, (4, 0, 0)))])
    assert np.array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(node, other, volume), snapshot)
    assert mask_of(node, volume)[voxel(volume, spot)] == 1


def test_strokes_do_not_hold_the_panel_up(host, corrected):
    """Processor time from press to release and the panel's answer, without the stand-in's own share."""
    widget, _, node = corrected
    seconds = []
    for _ in range(5):
        begun = time.thread_time()
        node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
        widget.panel.correct._apply(widget.panel.correct._automatic)
        seconds.append(time.thread_time() - begun)
    print(f"a change of the mask holds the panel for {min(seconds) * 1000:.0f} ms")
    assert min(seconds) < 0.2


def test_undo_after_a_region_takes_the_region_back_and_leaves_what_points_did(host, corrected):
    widget, volume, node = corrected
    view, spot = view_of(host), free_spot(node, volume)
    press_key(host, widget, "O", focus=view)
    assert widget.ui.insideButton.checked
    seeding(host, widget, view)(spot)
    pointed = mask_of(node, volume)
    press_key(host, widget, "B", focus=view)
    box = widget.panel.parameters.box
    host.click(widget.ui.resegmentButton)
    finish(host, widget)
    assert not box.GetDisplayNode().GetVisibility()
    assert widget.panel.correct.points.count == 0, "their effect cannot be taken back alone any more"
    host.click(tool(host, widget, "UndoButton"))
    assert np.array_equal(mask_of(node, volume), pointed)


def test_one_key_takes_back_points_and_strokes_and_the_editors_undo_all_points(host, corrected):
    widget, volume, node = corrected
    before, spot, view = mask_of(node, volume), free_spot(node, volume), view_of(host)
    click = seeding(host, widget, view)
    press_key(host, widget, "O", focus=view)
    click(spot)
    first = mask_of(node, volume)
    press_key(host, widget, "T", focus=view)
    assert widget.ui.outsideButton.checked
    click(np.array(widget.panel.result.report.centre_ras))
    press_key(host, widget, "Ctrl+Z", focus=view)
    settle(host, widget)
    assert np.array_equal(mask_of(node, volume), first)
    host.click(tool(host, widget, "UndoButton"))
    assert np.array_equal(mask_of(node, volume), before)
    assert widget.panel.correct.points.count == 0
    press_key(host, widget, "1", focus=view)
    drag(host, view, [pixel_of(view, spot), pixel_of(view, spot)])
    assert not np.array_equal(mask_of(node, volume), before)
    press_key(host, widget, "Ctrl+Z", focus=view)
    assert np.array_equal(mask_of(node, volume), before)


def test_points_keep_their_colour_under_the_mouse(host, corrected):
    widget, _, _ = corrected
    for button in (widget.ui.insideButton, widget.ui.outsideButton):
        host.click(button)
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        display = node.GetDisplayNode()
        assert display.GetActiveColor() == display.GetSelectedColor() == display.GetColor()


@pytest.fixture
def other_layout(host):
    """A slice view of a layout that was used before, far away."""
    node = host.scene.add_slice_view("Slice4", "Coronal")
    node.SetSliceOffset(400)
    yield node
    host.scene.remove_slice_view("Slice4")


def test_box_lies_where_the_visible_views_meet(host, corrected, other_layout):
    widget, _, _ = corrected
    host.click(widget.ui.boxButton)
    middle = np.array(widget.panel.result.report.centre_ras)
    assert np.allclose(widget.panel.parameters.box.GetCenter(), middle, atol=3.1)


def test_box_lies_in_the_middle_of_the_only_view(host, corrected):
    widget, _, _ = corrected
    hidden = [host.scene.slice_nodes[name] for name in ("Yellow", "Green")]
    for node in hidden:
        node.SetMappedInLayout(False)
    host.click(widget.ui.boxButton)
    centre = widget.panel.parameters.box.GetCenter()
    for node in hidden:
        node.SetMappedInLayout(True)
    to_ras = host.scene.slice_nodes["Red"].GetSliceToRAS()
    assert np.allclose(centre, [to_ras.GetElement(row, 3) for row in range(3)], atol=1e-3)


def test_editor_has_nothing_that_makes_no_sense_here_and_its_effects_do_not_widen_the_panel(host, corrected):
    from PySide6.QtWidgets import QWidget

    widget, _, _ = corrected
    editor = host.panel_of(widget.panel.correct.editor.widget)
    for name in (
        "Show3DButton", "SpecifyGeometryButton", "AddSegmentButton", "RemoveSegmentButton",
        "SwitchToSegmentationsButton", "SegmentsTableResizableFrame", "MaskingGroupBox",
    ):  # fmt: skip
        assert not editor.findChild(QWidget, name).isVisible(), name
    panel = host.panel_of(widget)
    before = panel.minimumSizeHint().width()
    host.click(tool(host, widget, "Paint"))
    assert editor.findChild(QWidget, "OptionsGroupBox").isVisible()
    assert panel.minimumSizeHint().width() == before
    widths = {tool(host, widget, name).width() for name in ("Paint", "Erase", "Smoothing", "Margin")}
    assert max(widths) - min(widths) <= 1


def test_a_stroke_marks_what_it_crosses_and_is_one_step(host, corrected):
    widget, volume, node = corrected
    before, view, spot = mask_of(node, volume), view_of(host), free_spot(node, volume)
    stroke = [np.add(spot, (x, 0, 0)) for x in np.linspace(0, 30, 16)]
    host.click(widget.ui.insideButton)
    drag(host, view, [pixel_of(view, point) for point in stroke])
    settle(host, widget)
    drawn = mask_of(node, volume)
    assert [drawn[voxel(volume, point)] for point in stroke[::3]] == [1] * 6
    assert 4 <= widget.panel.correct.points.count <= 7
    assert "inside" in widget.ui.statusLabel.text
    host.click(widget.ui.outsideButton)
    seeding(host, widget, view)(np.array(widget.panel.result.report.centre_ras))
    press_key(host, widget, "Ctrl+Z", focus=view)  # the point
    settle(host, widget)
    assert np.array_equal(mask_of(node, volume), drawn)
    press_key(host, widget, "Ctrl+Z", focus=view)  # the whole stroke
    settle(host, widget)
    assert np.array_equal(mask_of(node, volume), before)
    assert widget.panel.correct.points.count == 0
