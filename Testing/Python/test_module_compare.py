"""Compare in the test host: the result against another segmentation or a label map, in figures and in the views."""

from __future__ import annotations

import numpy as np
import pytest
from panel_support import mask_of, slicer
from test_module_batch import coarse

from TernarySegmentLib.imaging.agreement import overlap
from TernarySegmentLib.slicer_ui.mrml.segmentation import write_segment


@pytest.fixture
def compared(host, widget):
    """A result, made of two boxes' worth of voxels, and its volume: nothing need be segmented to compare."""
    import SimpleITK as sitk

    values, matrix = coarse(0)
    volume = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="scan")
    mask = np.zeros(values.shape, np.uint8)
    mask[10:20, 20:40, 20:40] = 1
    node, _ = write_segment(volume, sitk.GetImageFromArray(mask))
    widget.panel.open()
    widget.panel.enter()
    widget.panel.parameters.volume = volume
    host.process_events(until=lambda: widget.panel.parameters.result is node, timeout=10)
    widget.ui.compareButton.collapsed = False
    return widget, volume, node, mask


def differences_of(node):
    return node.GetNodeReference("TernarySegment.Differences")


def moved(mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, 5, axis=2)


def reference_segmentation(volume, mask: np.ndarray):
    labels = slicer.util.addVolumeFromArray(mask, name="drawn", nodeClassName="vtkMRMLLabelMapVolumeNode")
    labels.CopyOrientation(volume)
    return labels


def compare(host, widget) -> str:
    host.click(widget.ui.compareRunButton)
    assert host.process_events(until=lambda: not widget.panel.background.busy("compare"), timeout=60)
    return widget.ui.agreementLabel.text


def test_without_a_reference_the_button_says_what_to_choose(host, compared):
    widget, _, node, _ = compared
    assert not widget.ui.compareRunButton.enabled
    assert "Choose another segmentation" in widget.ui.compareRunButton.toolTip
    widget.ui.referenceSelector.setCurrentNode(node)  # itself
    assert not widget.ui.compareRunButton.enabled


def test_a_label_of_a_label_map_is_compared_and_what_differs_is_shown_in_two_colours(host, compared):
    widget, volume, node, mask = compared
    reference = reference_segmentation(volume, moved(mask) * 3)
    values = slicer.util.arrayFromVolume(reference)
    values[0, 0, 0] = 1
    slicer.util.arrayFromVolumeModified(reference)
    widget.ui.referenceSelector.setCurrentNode(reference)
    assert [widget.ui.referenceSegmentBox.itemText(i) for i in range(2)] == ["label 1", "label 3"]
    widget.ui.referenceSegmentBox.setCurrentIndex(1)
    text = compare(host, widget)
    assert f"Dice: {overlap(mask > 0, moved(mask) > 0):.3f}" in text
    assert "Volume: 180.0 mL, reference 180.0 mL (+0 %)" in text
    shown = differences_of(node)
    for title, wanted in (("too much", mask & ~moved(mask)), ("too little", moved(mask) & ~mask)):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(shown, title, volume)
        assert np.array_equal(found > 0, wanted == 1), title
    assert shown.GetDisplayNode().GetVisibility()
    host.click(widget.ui.differencesBox)
    assert not shown.GetDisplayNode().GetVisibility()


def test_a_segment_of_another_segmentation_is_compared_and_a_pancreas_is_chosen_by_its_name(host, compared):
    import SimpleITK as sitk

    widget, volume, node, mask = compared
    other, _ = write_segment(volume, sitk.GetImageFromArray(moved(mask)))
    other.GetSegmentation().AddEmptySegment("liver", "liver")
    widget.ui.referenceSelector.setCurrentNode(other)
    assert widget.ui.referenceSegmentBox.currentText == "pancreas"
    assert f"Dice: {overlap(mask > 0, moved(mask) > 0):.3f}" in compare(host, widget)
    first = differences_of(node)
    compare(host, widget)
    assert not slicer.mrmlScene.IsNodePresent(first)  # the second comparison's took its place
    assert np.array_equal(mask_of(node, volume), mask)


def test_a_reference_on_another_grid_and_an_empty_choice_are_refused_in_a_sentence(host, compared):
    widget, volume, _, mask = compared
    reference = reference_segmentation(volume, moved(mask))
    reference.SetSpacing(3.0, 3.0, 5.5)
    widget.ui.referenceSelector.setCurrentNode(reference)
    assert compare(host, widget) == ""
    assert "lies on another grid" in widget.ui.statusLabel.text
    slicer.mrmlScene.RemoveNode(reference)
    host.process_events()
    widget.panel.update()
    assert not widget.ui.compareRunButton.enabled
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    widget.ui.referenceSelector.setCurrentNode(empty)
    assert not widget.ui.compareRunButton.enabled


def test_what_differs_goes_with_its_patient_and_its_result(host, compared):
    import SimpleITK as sitk

    widget, volume, node, mask = compared
    widget.ui.referenceSelector.setCurrentNode(reference_segmentation(volume, moved(mask)))
    compare(host, widget)
    shown = differences_of(node)
    values, matrix = coarse(1)
    widget.panel.choose_volume(slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="another"))
    host.process_events()
    assert not shown.GetDisplayNode().GetVisibility(), "one patient's differences over another's scan"
    widget.panel.choose_volume(volume)
    host.process_events()
    assert node.GetDisplayNode().GetVisibility()
    widget.ui.compareButton.collapsed = False
    _node, undo = write_segment(volume, sitk.GetImageFromArray(moved(mask)), node)
    assert not slicer.mrmlScene.IsNodePresent(shown), "they were the old mask's"
    widget.ui.referenceSelector.setCurrentNode(reference_segmentation(volume, mask))
    compare(host, widget)
    shown = differences_of(node)
    undo()
    assert not slicer.mrmlScene.IsNodePresent(shown)


def test_another_scan_or_scene_drops_reference_and_figures(host, compared):
    widget, volume, _, mask = compared
    widget.ui.referenceSelector.setCurrentNode(reference_segmentation(volume, moved(mask)))
    assert compare(host, widget)
    values, matrix = coarse(1)
    widget.panel.choose_volume(slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name="another"))
    assert widget.ui.agreementLabel.text == ""
    assert widget.ui.referenceSelector.currentNode() is None
    slicer.mrmlScene.Clear()
    host.process_events()
    assert widget.ui.agreementLabel.text == ""
    assert widget.ui.compareButton.collapsed
