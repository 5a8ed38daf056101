"""Batch in the test host: volumes of the scene and frames of a sequence, one after the other, with a table."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from panel_support import finish, mask_of, phantom, segment, segmentations, slicer

from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.slicer_ui.mrml.results import results_of
from TernarySegmentLib.slicer_ui.mrml.scans import FRAME, scans_of_scene
from TernarySegmentLib.slicer_ui.mrml.volumes import to_ras_of

TICK, NAME, STATE, VOLUME, DOUBT = range(5)


@functools.cache
def coarse(seed: int):
    """A phantom of large voxels: its values and matrix."""
    import SimpleITK as sitk

    ct = make_phantom(seed, (3.0, 3.0, 5.0)).ct
    return sitk.GetArrayFromImage(ct), to_ras_of(ct)


def add(name: str, seed: int):
    values, matrix = coarse(seed)
    return slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name=name)


def add_sequence(name: str, seeds: tuple[int, ...]):
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    for time, seed in enumerate(seeds):
        volume = add("frame", seed)
        sequence.SetDataNodeAtValue(volume, str(time))
        slicer.mrmlScene.RemoveNode(volume)
    return sequence


def opened(host, widget):
    widget.panel.open()
    widget.panel.enter()
    widget.ui.batchButton.collapsed = False
    host.process_events()
    return widget.ui.batchTable


def row(table, number: int) -> list[str]:
    return [table.item(number, column).text() for column in range(5)]


def click_cell(host, table, number: int, column: int) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    target = host.panel_of(table)
    where = target.visualItemRect(target.item(number, column)).center()
    QTest.mouseClick(target.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
    host.process_events()


def test_volumes_and_frames_are_listed_and_nothing_that_is_no_scan(host, widget):
    add("portal", 0)
    add_sequence("breathing", (0, 1))
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    table = opened(host, widget)
    assert [row(table, number)[:2] for number in range(table.rowCount)] == [
        ["☑", "portal"], ["☑", "breathing 1/2"], ["☑", "breathing 2/2"],
    ]  # fmt: skip
    assert widget.ui.batchLabel.text == "3 of 3 scans are ticked."


def test_the_volume_in_which_a_sequence_is_played_is_not_listed_beside_its_frames(host, widget):
    slicer.mrmlScene.RegisterNodeClass(slicer.vtkMRMLSequenceBrowserNode())
    sequence = add_sequence("breathing", (0, 1))
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    proxy = add("breathing", 0)
    browser.AddProxyNode(proxy, sequence, False)
    assert [scan.name for scan in scans_of_scene()] == ["breathing 1/2", "breathing 2/2"]


def test_a_batch_segments_volumes_and_frames_as_single_runs_do_and_a_click_shows_each(host, widget):
    first = add("portal", 0)
    add_sequence("breathing", (1,))
    noise = np.random.default_rng(0).integers(0, 900, (40, 60, 60)).astype(np.int16)
    slicer.util.addVolumeFromArray(noise, name="MR")
    table = opened(host, widget)
    host.click(widget.ui.batchRunButton)
    assert not widget.ui.segmentButton.enabled
    assert not widget.ui.batchRunButton.enabled
    finish(host, widget)
    rows = {row(table, number)[NAME]: row(table, number) for number in range(table.rowCount)}
    assert rows["portal"][STATE] == rows["breathing 1/1"][STATE] == "segmented"
    assert "MR or PET" in rows["MR"][STATE]
    assert rows["MR"][TICK] == "☑"  # may be tried again
    for name in ("portal", "breathing 1/1"):
        assert rows[name][TICK] == "☐"
        assert 0 <= float(rows[name][DOUBT]) <= 1
    assert "2 of 3 scans are done" in widget.ui.statusLabel.text
    [result] = results_of(first)
    mask = mask_of(result, first)
    assert f"{mask.sum() * 45 / 1000:.1f}" == rows["portal"][VOLUME]

    click_cell(host, table, [scan.name for scan in scans_of_scene()].index("breathing 1/1"), NAME)
    frame = widget.panel.parameters.volume
    assert frame.GetAttribute(FRAME) is not None
    assert widget.panel.parameters.result is results_of(frame)[0]
    assert widget.panel.parameters.result.GetDisplayNode().GetVisibility()
    assert not result.GetDisplayNode().GetVisibility()
    click_cell(host, table, 0, NAME)
    assert widget.panel.parameters.result is result
    assert len(widget.panel.review.entries) > 0

    # the same mask as a run of this scan alone
    host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=20)
    again = segment(host, widget)
    assert again is not result
    assert np.array_equal(mask_of(again, first), mask)


def test_a_frame_keeps_its_node_when_other_frames_go_and_scenes_are_read(host, widget, tmp_path):
    first = add_sequence("breathing", (0, 1))
    shown = scans_of_scene()[1].volume()
    assert [scan.find() for scan in scans_of_scene()] == [None, shown]
    first.RemoveDataNodeAtValue("0")
    assert [scan.find() for scan in scans_of_scene()] == [shown]
    assert slicer.util.saveScene(str(tmp_path / "saved.mrb"))
    slicer.mrmlScene.Clear(0)
    another = add_sequence("another", (1,))
    assert slicer.app.ioManager().loadScene(str(tmp_path / "saved.mrb"), False)
    found = {scan.name: scan.find() for scan in scans_of_scene()}
    assert found.pop(f"{another.GetName()} 1/1") is None, "another patient's frame"
    (read,) = found.values()
    assert read is not None


def test_a_scene_read_during_a_batch_while_another_module_is_shown_does_not_stop_it(host, widget, tmp_path):
    values, matrix = phantom()
    slicer.util.addVolumeFromArray(values[:4], ijkToRAS=matrix, name="other")
    assert slicer.util.saveScene(str(tmp_path / "saved.mrb"))
    slicer.mrmlScene.Clear(0)
    volumes = [add("one", 0), add("two", 1)]
    opened(host, widget)
    host.click(widget.ui.batchRunButton)
    widget.exit()
    assert slicer.app.ioManager().loadScene(str(tmp_path / "saved.mrb"), False)
    finish(host, widget)
    widget.enter()
    assert [len(results_of(volume)) for volume in volumes] == [1, 1]


def test_cancel_stops_within_a_scan_and_leaves_the_rest_as_it_was(host, widget):
    values, matrix = phantom()
    for name in ("one", "two", "three"):
        slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name=name)
    table = opened(host, widget)
    click_cell(host, table, 1, TICK)
    assert widget.ui.batchLabel.text == "2 of 3 scans are ticked."
    host.click(widget.ui.batchRunButton)
    assert host.process_events(until=lambda: "%" in row(table, 0)[STATE], timeout=60)
    host.click(widget.ui.cancelButton)
    finish(host, widget)
    assert [row(table, number)[STATE] for number in range(3)] == ["cancelled", "", "cancelled"]
    assert segmentations() == 0
    assert widget.ui.batchRunButton.enabled


def test_a_scan_that_is_removed_meanwhile_does_not_stop_the_batch(host, widget):
    gone, left = add("gone", 0), add("left", 1)
    table = opened(host, widget)
    host.click(widget.ui.batchRunButton)
    slicer.mrmlScene.RemoveNode(gone)
    finish(host, widget)
    assert len(results_of(left)) == 1
    assert [row(table, number)[NAME] for number in range(table.rowCount)] == ["left"]


def test_closing_the_scene_ends_a_batch_and_the_next_one_works(host, widget):
    add("one", 0)
    add("two", 1)
    opened(host, widget)
    host.click(widget.ui.batchRunButton)
    slicer.mrmlScene.Clear()
    host.process_events(until=lambda: not widget.panel.job.running, timeout=20)
    assert widget.ui.batchTable.rowCount == 0
    assert segmentations() == 0
    volume = add("three", 0)
    opened(host, widget)
    host.click(widget.ui.batchRunButton)
    finish(host, widget)
    assert len(results_of(volume)) == 1


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_a_scan_that_cannot_be_taken_into_the_scene_fails_alone(host, widget, monkeypatch, kind):
    add("one", 0)
    two = add("two", 1)
    table = opened(host, widget)
    take = widget.panel.batch._taken

    def failing(volume, found):
        if volume is not two:
            raise kind("no room")
        take(volume, found)

    monkeypatch.setattr(widget.panel.batch, "_taken", failing)
    host.click(widget.ui.batchRunButton)
    finish(host, widget)
    assert [bool(results_of(scan.find())) for scan in scans_of_scene()] == [False, True]
    assert row(table, 0)[STATE] not in ("", "segmented")
    assert widget.ui.segmentButton.enabled or widget.panel.parameters.volume is None
    assert not widget.panel.job.running
    host.errors.clear()
    host.log.clear()
