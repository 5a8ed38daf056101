"""The test host speaks PythonQt: properties, strictness, signals, .ui files, node widgets, a scripted module."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

HOST = Path(__file__).resolve().parents[1] / "SlicerHost"
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(HOST))

import slicer  # noqa: E402
import vtk  # noqa: E402


@pytest.fixture(scope="module")
def host():
    from host import Host

    return Host.shared()


@pytest.fixture(scope="module")
def probe_module(host):
    return host.load_module(HOST / "probe" / "HostProbe.py")


@pytest.fixture
def probe(host, probe_module):
    host.clear()
    from HostProbeParameters import Parameters

    probe_module.parameters.disconnectGui(probe_module.tag)
    probe_module.parameters = Parameters(probe_module.logic_node())
    probe_module.tag = probe_module.parameters.connectGui(probe_module.ui)
    yield probe_module
    assert host.errors == []


@pytest.fixture
def qt(host):
    import qt

    return qt


def add_volume(name="ct", value=0):
    return slicer.util.addVolumeFromArray(np.full((4, 5, 6), value, np.int16), name=name)


# -- PythonQt's manners
def test_properties_are_attributes(qt):
    button = qt.QPushButton("Go")
    button.enabled = False
    assert (button.text, button.enabled) == ("Go", False)


@pytest.mark.parametrize("name", ["enabeld", "setTexxt", "_private"])
def test_unknown_attributes_are_refused_on_reading_and_writing(qt, name):
    button = qt.QPushButton("Go")
    with pytest.raises(AttributeError, match=name):
        getattr(button, name)
    with pytest.raises(AttributeError, match=name):
        setattr(button, name, 1)


def test_what_is_known_of_a_class_outlives_the_widgets_that_were_looked_at(qt, host):
    from PySide6.QtWidgets import QToolButton

    assert QToolButton.staticMetaObject.className() == "QToolButton"
    around = qt.QWidget()
    button = qt.QToolButton(around)
    button.connect("clicked(bool)", print)
    button.text, _ = "Press", (button.text, button.className())
    around.delete()
    assert QToolButton.staticMetaObject.indexOfProperty("text") > 0


def test_calling_a_property_as_pyside_does_fails(qt):
    with pytest.raises(TypeError):
        qt.QPushButton("Go").text()


def test_misspelt_class_is_refused(qt):
    with pytest.raises(AttributeError, match="QPushButon"):
        qt.QPushButon  # noqa: B018


def test_signals_pass_only_the_arguments_that_fit(qt):
    button, seen = qt.QPushButton("Go"), []
    button.connect("clicked(bool)", lambda: seen.append("none"))
    button.connect("clicked()", lambda *everything: seen.append(everything))
    button.clicked.connect(lambda checked: seen.append(checked))
    button.click()
    assert seen == ["none", (), False]


def test_disconnected_slot_is_not_called(qt):
    button, seen = qt.QPushButton("Go"), []

    def slot():
        seen.append(1)

    button.connect("clicked()", slot)
    assert button.disconnect("clicked()", slot)
    button.click()
    assert seen == []


def test_unknown_signal_is_refused(qt):
    with pytest.raises(AttributeError, match="clikced"):
        qt.QPushButton("Go").connect("clikced()", print)


def test_an_error_in_a_slot_is_kept_and_the_program_goes_on(host, qt, capsys):
    button = qt.QPushButton("Go")
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert isinstance(host.errors.pop(), ZeroDivisionError)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_wrappers_inherit_as_the_qt_classes_do(qt, host):
    import ctk

    assert isinstance(qt.QPushButton("Go"), qt.QWidget)
    assert isinstance(slicer.qMRMLSegmentsTableView(), slicer.qMRMLWidget)
    assert not isinstance(slicer.qMRMLNodeComboBox(), slicer.qMRMLWidget)
    assert not isinstance(ctk.ctkSliderWidget(), qt.QPushButton)


def test_module_has_no_util_names_in_slicer_itself(host):
    assert not hasattr(slicer, "loadVolume")
    assert callable(slicer.util.loadVolume)


# -- a scripted module
def test_a_real_mouse_click_reaches_the_module(host, probe):
    before = probe.clicks
    host.click(probe.ui.runButton)
    assert probe.clicks == before + 1


def test_nobody_can_click_what_is_disabled_or_hidden(host, probe):
    before = probe.clicks
    probe.ui.runButton.enabled = False
    host.click(probe.ui.runButton)
    probe.ui.runButton.enabled = True
    probe.ui.runButton.visible = False
    with pytest.raises(RuntimeError, match="runButton"):
        host.click(probe.ui.runButton)
    probe.ui.runButton.visible = True
    assert probe.clicks == before


def test_collapsing_a_section_hides_what_is_in_it(host, probe):
    host.panel_of(probe).show()
    probe.ui.inputButton.collapsed = True
    host.process_events()
    assert not probe.ui.keepBox.visible
    probe.ui.inputButton.collapsed = False
    host.process_events()
    assert probe.ui.keepBox.visible


def test_reload_makes_the_panel_again_and_cleans_the_old_one_up(host, probe):
    probe.onReload()
    after = slicer.modules.HostProbeWidget
    assert after is not probe
    assert probe.cleaned
    assert probe.parent.layout().count() == 2
    host.click(after.ui.runButton)
    assert after.clicks == 1
    probe.ui, probe.parameters, probe.tag = after.ui, after.parameters, after.tag


# -- widgets on the scene
def test_node_combo_box_follows_the_scene(host, probe):
    box, seen = probe.ui.volumeSelector, []
    box.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: seen.append(node))
    first, second = add_volume("first"), add_volume("second")
    assert box.nodeCount() == 2
    box.setCurrentNode(second)
    assert box.currentNodeID == second.GetID()
    slicer.mrmlScene.RemoveNode(second)
    assert box.nodeCount() == 1
    assert box.currentNode() is None
    assert seen == [second, None]
    assert first.GetID()


def test_node_combo_box_leaves_subclasses_out_when_told_so(probe):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    assert probe.ui.volumeSelector.nodeCount() == 0
    probe.ui.volumeSelector.showChildNodeTypes = True
    assert probe.ui.volumeSelector.nodeCount() == 1
    probe.ui.volumeSelector.showChildNodeTypes = False


def test_segments_table_shows_and_hides_segments(host, probe):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    probe.ui.segmentsTable.setSegmentationNode(node)
    segment = node.GetSegmentation().AddEmptySegment("a", "pancreas")
    assert probe.ui.segmentsTable.segmentCount == 1
    from PySide6.QtCore import Qt

    host.panel_of(probe.ui.segmentsTable).tableWidget().item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert not node.GetDisplayNode().GetSegmentVisibility(segment)


# -- the parameter node
def test_parameters_and_widgets_follow_each_other(probe):
    probe.parameters.smoothing = 2.5
    assert probe.ui.smoothingSlider.value == 2.5
    probe.ui.smoothingSlider.value = 0.5
    probe.ui.keepBox.checked = False
    probe.ui.modeBox.currentIndex = 1
    assert (probe.parameters.smoothing, probe.parameters.keep) == (0.5, False)
    assert probe.parameters.mode.value == "careful"


def test_disconnected_widgets_change_nothing(probe):
    probe.parameters.disconnectGui(probe.tag)
    probe.ui.smoothingSlider.value = 1.7
    assert probe.parameters.smoothing == 1.0


def test_parameters_refuse_wrong_values(probe):
    with pytest.raises(ValueError, match="3"):
        probe.parameters.smoothing = 3.5
    with pytest.raises(ValueError, match="left"):
        probe.parameters.side = "up"
    with pytest.raises(TypeError):
        probe.parameters.threads = "four"


def test_parameter_changes_are_events(probe):
    seen = []
    tag = probe.parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(1))
    probe.parameters.threads = 5
    probe.parameters.RemoveObserver(tag)
    assert seen == [1]


def test_scene_file_brings_parameters_and_panel_back(host, probe, tmp_path):
    from HostProbeParameters import Mode, Parameters

    probe.parameters.volume = add_volume("kept", 40)
    probe.parameters.smoothing, probe.parameters.threads, probe.parameters.limit = 0.3, 7, 1.25
    probe.parameters.mode, probe.parameters.name, probe.parameters.keep = Mode.CAREFUL, "Bauchspeicheldrüse", False
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    probe.parameters.disconnectGui(probe.tag)
    host.clear()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    back = Parameters(probe.logic_node())
    probe.parameters, probe.tag = back, back.connectGui(probe.ui)
    assert (back.smoothing, back.threads, back.limit, back.mode) == (0.3, 7, 1.25, Mode.CAREFUL)
    assert (back.name, back.keep, back.side) == ("Bauchspeicheldrüse", False, "right")
    assert (slicer.util.arrayFromVolume(back.volume) == 40).all()
    assert probe.ui.volumeSelector.currentNode() is back.volume
    assert probe.ui.smoothingSlider.value == 0.3


# -- what surrounds a module
def test_messages_are_recorded_and_questions_answered(host, probe):
    host.answers = [False]
    slicer.util.errorDisplay("It broke")
    assert slicer.util.confirmOkCancelDisplay("Go on?") is False
    assert host.messages == [("errorDisplay", "It broke"), ("confirmOkCancelDisplay", "Go on?")]
    assert slicer.util.messageBox("Done") == int(importlib.import_module("PySide6.QtWidgets").QMessageBox.Ok.value)
    with pytest.raises(ValueError, match="text"):
        slicer.util.errorDisplay(ValueError("It broke"))


def test_the_events_that_wait_are_handled_while_a_message_is_shown_for_a_moment(host, qt):
    seen = []
    qt.QTimer.singleShot(0, lambda: seen.append("handled"))
    slicer.util.delayDisplay("A moment")
    assert seen == ["handled"]


def test_nothing_is_installed_but_recorded(host, probe):
    host.set_packaging(True)
    packaging = importlib.import_module("slicer.packaging")
    assert packaging.pip_check("numpy>=1.20")
    packaging.pip_ensure(["no-such-package>=1"], requester="Probe")
    assert [name for name, _ in host.pip_calls] == ["pip_ensure"]


def test_slicer_5_10_has_no_packaging_module(host):
    host.set_packaging(False)
    with pytest.raises(ImportError):
        importlib.import_module("slicer.packaging")
    with pytest.raises(TypeError):
        slicer.util.pip_install("numba", constraints="c.txt")
    host.set_packaging(True)


def test_volume_and_segmentation_have_subject_hierarchy_items(probe):
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    volume = add_volume()
    assert hierarchy.GetItemByDataNode(volume)
    slicer.mrmlScene.RemoveNode(volume)
    assert hierarchy.GetItemByName("ct") == 0
