"""Two patients in one scene: what is shown, chosen and segmented is one scan, and no number is another's."""

from __future__ import annotations

import numpy as np
import pytest
from panel_support import finish, mask_of, phantom, segment, segmentations, slicer

from TernarySegmentLib.slicer_ui.mrml.segmentation import volume_of

ANNA, BERT = "Anna portal venous", "Bert portal venous"


@pytest.fixture(scope="module")
def files(host, tmp_path_factory):
    """Two scans as files; Bert's voxels are larger, so that his pancreas has another volume."""
    found = {}
    for name, scale in ((ANNA, 1.0), (BERT, 1.1)):
        values, matrix = phantom()
        node = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix @ np.diag([scale, scale, 1, 1]), name=name)
        found[name] = tmp_path_factory.mktemp("scans") / f"{name}.nrrd"
        assert slicer.util.saveNode(node, str(found[name]))
        slicer.mrmlScene.RemoveNode(node)
    return found


@pytest.fixture
def load(host, widget, files):
    """Loads a scan by *Load CT…*, as the dialog does, and waits until it was looked at."""

    def load(name: str):
        host.io.on_dialog = lambda _dialog: slicer.util.loadVolume(str(files[name])) is not None
        host.click(widget.ui.loadButton)
        host.io.on_dialog = None
        ready(host, widget)
        return slicer.util.getNode(name)

    return load


def ready(host, widget) -> None:
    assert host.process_events(until=lambda: widget.ui.segmentButton.enabled, timeout=30), widget.ui.summaryLabel.text


def backgrounds() -> set[str]:
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {slicer.mrmlScene.GetNodeByID(c.GetBackgroundVolumeID()).GetName() for c in composites}


def texts(host, widget) -> str:
    """Everything that can be read on the panel, but the log and the lists to choose from."""
    from PySide6.QtWidgets import QLabel, QLineEdit, QTableWidget

    panel = host.panel_of(widget)
    words = [each.text() for kind in (QLabel, QLineEdit) for each in panel.findChildren(kind)]
    for table in panel.findChildren(QTableWidget):
        cells = [table.item(row, column) for row in range(table.rowCount()) for column in range(table.columnCount())]
        words += [cell.text() for cell in cells if cell is not None]
    return "\n".join(words)


def visible_masks() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [volume_of(node).GetName() for node in nodes if node.GetDisplayNode().GetVisibility()]


def test_wrong_patient_script_load_a_segment_load_b_click(host, widget, load):
    anna = load(ANNA)
    first = segment(host, widget)
    assert host.process_events(until=lambda: widget.panel.review.entries, timeout=30)
    volume = widget.ui.volumeLabel.text
    assert volume_of(first) is anna
    widget.ui.caseEdit.text = "Anna A."

    bert = load(BERT)
    assert widget.panel.parameters.volume is bert
    assert widget.ui.volumeSelector.currentNode() is bert
    assert backgrounds() == {BERT}
    assert visible_masks() == []
    said = texts(host, widget)
    assert "Anna" not in said
    assert volume not in said
    assert not widget.ui.undoButton.enabled
    assert widget.panel.review.entries == []

    second = segment(host, widget)
    assert volume_of(second) is bert
    assert volume_of(first) is anna
    assert visible_masks() == [BERT]
    assert host.process_events(until=lambda: widget.panel.review.entries, timeout=30)
    said = texts(host, widget)
    assert "Anna" not in said
    assert volume not in said
    assert f"“{BERT}”" in widget.ui.statusLabel.text
    assert widget.panel.result.report.source == BERT
    mask = mask_of(second, bert)
    assert widget.ui.volumeLabel.text == f"{mask.sum() * np.prod(bert.GetSpacing()) / 1000:.1f} mL"


def test_earlier_result_comes_back_with_its_ct(host, widget, load):
    anna = load(ANNA)
    first = segment(host, widget)
    volume = widget.ui.volumeLabel.text
    load(BERT)
    segment(host, widget)
    widget.ui.volumeSelector.setCurrentNode(anna)
    ready(host, widget)
    assert widget.panel.parameters.result is first
    assert widget.ui.volumeLabel.text == volume
    assert backgrounds() == {ANNA}
    assert visible_masks() == [ANNA]
    assert BERT not in texts(host, widget)


def test_refused_volume_shows_no_result_of_another(host, widget, load):
    load(ANNA)
    segment(host, widget)
    values = np.random.default_rng(0).integers(0, 900, (40, 60, 60)).astype(np.int16)
    widget.ui.volumeSelector.setCurrentNode(slicer.util.addVolumeFromArray(values, name="MR"))
    host.process_events(until=lambda: "MR or PET" in widget.ui.summaryLabel.text, timeout=10)
    assert backgrounds() == {"MR"}
    assert widget.ui.volumeLabel.text == "–"
    assert "Anna" not in texts(host, widget)
    assert visible_masks() == []


def test_scan_loaded_in_the_dicom_module_is_chosen_on_return(host, widget, load, files):
    load(ANNA)
    segment(host, widget)
    host.click(widget.ui.dicomButton)
    widget.exit()
    bert = slicer.util.loadVolume(str(files[BERT]))
    assert visible_masks() == [ANNA], "another module is on the screen: its display is left alone"
    widget.enter()
    assert widget.panel.parameters.volume is bert
    assert visible_masks() == []


def test_ct_shown_by_another_module_is_offered_in_one_click(host, widget, load):
    anna, bert = load(ANNA), load(BERT)
    host.panel_of(widget).window().show()
    assert not widget.ui.differsLabel.visible
    slicer.util.setSliceViewerLayers(background=anna)
    assert widget.panel.parameters.volume is bert
    assert widget.ui.differsLabel.visible
    assert ANNA in widget.ui.differsLabel.text
    assert BERT in widget.ui.differsLabel.text
    host.click(widget.ui.showChosenButton)
    assert backgrounds() == {BERT}
    assert not widget.ui.differsLabel.visible
    slicer.util.setSliceViewerLayers(background=anna)
    host.click(widget.ui.useShownButton)
    assert widget.panel.parameters.volume is anna
    assert not widget.ui.differsLabel.visible


def test_one_slice_view_with_another_scan_is_enough_to_say_so(host, widget, load):
    anna, _ = load(ANNA), load(BERT)
    host.panel_of(widget).window().show()
    composite = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceCompositeNode()
    composite.SetBackgroundVolumeID(anna.GetID())
    assert widget.ui.differsLabel.visible
    assert ANNA in widget.ui.differsLabel.text


def test_what_belongs_to_a_study_goes_with_it(host, widget, load):
    load(ANNA)
    parameters = widget.panel.parameters
    parameters.output = segment(host, widget)
    parameters.region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    widget.ui.caseEdit.text = "Anna A."
    load(BERT)
    assert (parameters.output, parameters.region, parameters.box) == (None, None, None)
    assert widget.ui.caseEdit.text == ""
    widget.ui.caseEdit.text = "Bert B."
    slicer.mrmlScene.Clear(0)
    assert widget.ui.caseEdit.text == ""


def test_second_run_on_one_ct_hides_the_first_mask_and_undo_shows_it_again(host, widget, load):
    load(ANNA)
    first = segment(host, widget)
    second = segment(host, widget)
    assert first is not second
    assert segmentations() == 2
    assert not first.GetDisplayNode().GetVisibility()
    assert second.GetDisplayNode().GetVisibility()
    assert f"“{first.GetName()}” is hidden" in widget.ui.statusLabel.text
    host.click(widget.ui.undoButton)
    assert first.GetDisplayNode().GetVisibility()
    assert widget.panel.parameters.result is first


def test_another_ct_chosen_during_a_run_gets_neither_mask_nor_numbers(host, widget, load):
    load(ANNA)
    host.click(widget.ui.segmentButton)
    bert = slicer.util.addVolumeFromArray(*phantom()[:1], ijkToRAS=phantom()[1], name=BERT)
    widget.ui.volumeSelector.setCurrentNode(bert)
    assert "is running" in widget.ui.segmentButton.toolTip
    finish(host, widget)
    assert segmentations() == 1
    assert widget.panel.parameters.result is None
    assert widget.ui.volumeLabel.text == "–"
    assert visible_masks() == []
    assert f"“{ANNA}”" in widget.ui.statusLabel.text


@pytest.mark.parametrize("running", [False, True], ids=["idle", "during a run"])
def test_scene_clear_leaves_nothing_of_the_former_scan(host, widget, load, running):
    load(ANNA)
    if running:
        host.click(widget.ui.segmentButton)
    slicer.mrmlScene.Clear(0)
    finish(host, widget, 10)
    assert "voxels" not in widget.ui.summaryLabel.text
    assert "Anna" not in texts(host, widget)


def test_saved_scene_of_two_patients_comes_back_with_the_chosen_one(host, widget, load, tmp_path):
    load(ANNA)
    segment(host, widget)
    load(BERT)
    segment(host, widget)
    volume = widget.ui.volumeLabel.text
    assert slicer.util.saveScene(str(tmp_path / "two.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process_events()
    slicer.util.loadScene(str(tmp_path / "two.mrb"))
    ready(host, widget)
    assert widget.panel.parameters.volume.GetName() == BERT
    assert widget.ui.volumeLabel.text == volume
    assert visible_masks() == [BERT]
    assert "Anna" not in texts(host, widget)


def test_scene_of_one_patient_read_into_that_of_another_shows_one_mask(host, widget, load, tmp_path):
    load(BERT)
    segment(host, widget)
    assert slicer.util.saveScene(str(tmp_path / "bert.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process_events()
    load(ANNA)
    segment(host, widget)
    assert slicer.app.ioManager().loadScene(str(tmp_path / "bert.mrb"), False)
    ready(host, widget)
    assert visible_masks() == [widget.panel.parameters.volume.GetName()]


def test_confidence_map_is_not_offered_as_a_ct(host, widget, load):
    load(ANNA)
    node = segment(host, widget)
    assert host.process_events(until=lambda: widget.panel.review.entries, timeout=30)
    confidence = node.GetNodeReference("TernarySegment.Confidence")
    assert confidence is not None
    selector = widget.ui.volumeSelector
    offered = [selector.nodeFromIndex(i) for i in range(selector.nodeCount())]
    assert confidence not in offered
    slicer.util.setSliceViewerLayers(background=confidence)
    host.panel_of(widget).window().show()
    assert widget.panel.parameters.volume.GetName() == ANNA
    assert widget.ui.differsLabel.visible
    assert not widget.ui.useShownButton.visible


def test_choosing_fills_a_view_that_shows_nothing(host, widget, load):
    load(ANNA)
    bert = load(BERT)
    composite = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceCompositeNode()
    widget.ui.volumeSelector.setCurrentNode(slicer.util.getNode(ANNA))
    slicer.util.setSliceViewerLayers(background=bert)
    composite.SetBackgroundVolumeID(None)
    widget.ui.volumeSelector.setCurrentNode(bert)
    assert composite.GetBackgroundVolumeID() == bert.GetID()


def test_fill_that_made_room_for_the_confidence_comes_back_to_its_own_patient_only(host, widget, load):
    load(ANNA)
    anna = segment(host, widget).GetDisplayNode()
    assert host.process_events(until=lambda: widget.ui.confidenceBox.enabled, timeout=30)
    host.click(widget.ui.confidenceBox)
    assert not anna.GetVisibility2DFill()
    load(BERT)
    bert = segment(host, widget).GetDisplayNode()
    bert.SetVisibility2DFill(False)
    assert host.process_events(until=lambda: widget.ui.confidenceBox.enabled, timeout=30)
    host.click(widget.ui.confidenceBox)
    assert anna.GetVisibility2DFill()
    assert not bert.GetVisibility2DFill()
