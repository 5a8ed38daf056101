"""A working day in one scene: two patients, every section, other modules, a saved scene; and a clean log at its end."""

from __future__ import annotations

import numpy as np
import pytest
from panel_support import drag, finish, phantom, pixel_of, press_key, segment, slicer, view_of

ANNA, BERT = "Anna portal venous", "Bert portal venous"


@pytest.fixture
def files(host, widget, tmp_path):
    """Two scans as files."""
    found = {}
    for name, scale in ((ANNA, 1.0), (BERT, 1.1)):
        values, matrix = phantom()
        node = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix @ np.diag([scale, scale, 1, 1]), name=name)
        found[name] = tmp_path / f"{name}.nrrd"
        assert slicer.util.saveNode(node, str(found[name]))
    slicer.mrmlScene.Clear(0)
    return found


def wait(host, until, seconds: float = 60) -> None:
    assert host.process_events(until=until, timeout=seconds)


def draw_views(host) -> None:
    """As the screen does: what is drawn may complain."""
    host.render_four_up((600, 480))


def test_whole_session_leaves_a_clean_log(host, widget, files, tmp_path, caplog):
    ui, panel = widget.ui, widget.panel
    widget.enter()

    def load(name: str) -> None:
        host.io.on_dialog = lambda _dialog: slicer.util.loadVolume(str(files[name])) is not None
        host.click(ui.loadButton)
        host.io.on_dialog = None
        wait(host, lambda: ui.segmentButton.enabled)

    def save(button, name: str) -> None:
        host.paths.append(tmp_path / name)
        host.click(button)
        wait(host, lambda: (tmp_path / name).exists() and not panel.export.writing)

    load(ANNA)
    host.click(ui.segmentButton)
    host.click(ui.cancelButton)
    finish(host, widget)
    anna = segment(host, widget)
    wait(host, lambda: panel.review.entries)
    draw_views(host)
    # result and review
    for button in (ui.filledBox, ui.outlinedBox, ui.filledBox, ui.outlinedBox, ui.show3dBox, ui.show3dBox):
        host.click(button)
        draw_views(host)
    for button in (ui.copyButton, ui.tableButton, ui.windowButton, ui.windowButton, ui.confidenceBox):
        host.click(button)
    for button in (ui.nextButton, ui.checkButton, ui.previousButton):
        host.click(button)
        draw_views(host)
    host.click(ui.confidenceBox)
    # correction
    ui.correctButton.collapsed = False
    view = view_of(host)
    host.click(ui.jumpButton)
    spot = np.add(panel.result.report.centre_ras, (0, 25, 0))
    press_key(host, widget, "1", focus=view)
    drag(host, view, [pixel_of(view, spot), pixel_of(view, np.add(spot, (6, 0, 0)))])
    press_key(host, widget, "Ctrl+Z", focus=view)
    press_key(host, widget, "O", focus=view)
    drag(
        host,
        view,
        [pixel_of(view, spot), pixel_of(view, np.add(spot, (9, 0, 0))), pixel_of(view, np.add(spot, (18, 0, 0)))],
    )
    wait(host, lambda: not panel.background.busy("points"))
    press_key(host, widget, "B", focus=view)
    draw_views(host)
    host.click(ui.resegmentButton)
    finish(host, widget)
    wait(host, lambda: ui.revertButton.enabled)
    host.click(ui.revertButton)
    # export
    ui.exportButton.collapsed = False
    for button, name in (
        (ui.saveSegmentationButton, "a.seg.nrrd"), (ui.saveSegmentationButton, "a.nii.gz"),
        (ui.saveSurfaceButton, "a.stl"), (ui.saveReportButton, "a.pdf"),
    ):  # fmt: skip
        save(button, name)
    # another module, another patient
    widget.exit()
    slicer.mrmlScene.RemoveNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode"))
    widget.enter()
    load(BERT)
    bert = segment(host, widget)
    assert bert is not anna
    wait(host, lambda: panel.review.entries)
    segment(host, widget)
    host.click(ui.undoButton)
    ui.volumeSelector.setCurrentNode(slicer.util.getNode(ANNA))
    assert panel.parameters.result is anna
    draw_views(host)
    # save, close, open
    assert slicer.util.saveScene(str(tmp_path / "day.mrb"))
    slicer.mrmlScene.Clear(0)
    draw_views(host)
    slicer.util.loadScene(str(tmp_path / "day.mrb"))
    wait(host, lambda: ui.segmentButton.enabled and panel.parameters.result is not None)
    assert panel.parameters.volume.GetName() == ANNA
    slicer.mrmlScene.RemoveNode(panel.parameters.result)
    slicer.mrmlScene.RemoveNode(panel.parameters.volume)
    draw_views(host)
    slicer.mrmlScene.Clear(0)
    assert host.errors == []
    assert host.log == []
    assert [record for record in caplog.records if record.levelname != "INFO"] == []
