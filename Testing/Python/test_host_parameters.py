"""The test host's parameter nodes, module classes and reload do what Slicer's do, where a module could tell."""

from __future__ import annotations

import enum
import importlib.util
import sys
import types
from pathlib import Path
from typing import Annotated

import pytest

HOST = Path(__file__).resolve().parents[1] / "SlicerHost"
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(HOST))

import slicer  # noqa: E402
import vtk  # noqa: E402

VOLUME, ROI = "vtkMRMLScalarVolumeNode", "vtkMRMLMarkupsROINode"


class Side(enum.Enum):
    LEFT = "on the left"
    RIGHT = "on the right"


@pytest.fixture
def host():
    from host import Host

    host = Host.shared()
    host.clear()
    return host


@pytest.fixture
def wrapper(host):
    """Slicer's folder of names, and a node: wrapper.make(size=(int, 3)) wraps it with one typed field each."""
    names = slicer.parameterNodeWrapper
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")

    def make(**fields):
        hints = {name: field[0] if isinstance(field, tuple) else field for name, field in fields.items()}
        defaults = {name: field[1] for name, field in fields.items() if isinstance(field, tuple)}
        return names.parameterNodeWrapper(type("Parameters", (), {"__annotations__": hints, **defaults}))

    return types.SimpleNamespace(names=names, node=node, make=make)


def test_what_has_no_default_begins_empty_whatever_its_range(wrapper):
    made = wrapper.make(a=float, b=int, c=str, d=bool, e=Side, f=Path, g=slicer.vtkMRMLScalarVolumeNode)(wrapper.node)
    assert [made.getValue(name) for name in "abcdefg"] == [0, 0, "", False, Side.LEFT, Path(), None]
    for hint in (Annotated[float, wrapper.names.Minimum(1)], Annotated[str, wrapper.names.Choice(["x"])]):
        with pytest.raises(ValueError, match=r"1|x"):
            wrapper.make(h=hint)(wrapper.node)


@pytest.mark.parametrize(
    ("hint", "value", "error"),
    [
        (int, None, ValueError),
        (int, 1.5, TypeError),
        (str, None, ValueError),
        (str, Path("a"), TypeError),
        (bool, 1, TypeError),
        (Path, "a", TypeError),
        (Side, "LEFT", TypeError),
        (slicer.vtkMRMLScalarVolumeNode, "vtkMRMLScalarVolumeNode1", TypeError),
        (slicer.vtkMRMLScalarVolumeNode, "roi", TypeError),
    ],
)
def test_a_value_of_another_type_is_refused_and_the_old_one_stays(wrapper, hint, value, error):
    made = wrapper.make(field=hint)(wrapper.node)
    before = made.field
    if value == "roi":
        value = slicer.mrmlScene.AddNewNodeByClass(ROI)
    with pytest.raises(error):
        made.field = value
    assert made.field == before


def test_a_reference_is_kept_until_the_parameter_node_says_that_it_changed(wrapper):
    made = wrapper.make(volume=slicer.vtkMRMLScalarVolumeNode)(wrapper.node)
    wrapper.node.SetNodeReferenceID("volume", f"{VOLUME}1")  # as a scene file does before it brings the volume
    assert slicer.mrmlScene.AddNewNodeByClass(VOLUME) is wrapper.node.GetNodeReference("volume")
    before = made.volume
    wrapper.node.Modified()
    assert (before, made.volume.GetID()) == (None, f"{VOLUME}1")
    assert made.isCached("volume")


def test_an_unknown_choice_in_the_node_is_refused_when_it_is_read(wrapper):
    kind = wrapper.make(side=Side)
    kind(wrapper.node)
    wrapper.node.SetParameter("side", "MIDDLE")
    with pytest.raises(ValueError, match="MIDDLE"):
        kind(wrapper.node)


def test_several_changes_within_one_modification_are_one_event(wrapper):
    made, seen = wrapper.make(a=int, b=int)(wrapper.node), []
    made.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append((made.a, made.b)))
    with slicer.util.NodeModify(made):
        made.a, made.b = 1, 2
    assert seen == [(1, 2)]


def test_types_and_defaults_are_known_to_the_class(wrapper):
    kind = wrapper.make(a=(int, 3))
    assert kind.dataType("a") is int
    assert kind(wrapper.node).default("a").value == 3
    with pytest.raises(ValueError, match="b"):
        kind.dataType("b")
    with pytest.raises(ValueError, match="default"):
        wrapper.make(default=int)


def connect(wrapper, widget, hint, *default):
    made = wrapper.make(field=(hint, *default) if default else hint)(wrapper.node)
    made.connectParametersToGui({"field": widget})
    return made


def test_a_widget_gets_the_range_of_its_parameter_and_not_the_forms(wrapper):
    import qt

    box = qt.QSpinBox()
    box.setRange(0, 5)
    connect(wrapper, box, Annotated[int, wrapper.names.WithinRange(-7, 9)])
    assert (box.minimum, box.maximum) == (-7, 9)
    free = qt.QSpinBox()
    connect(wrapper, free, int)
    assert (free.minimum, free.maximum) == (-(2**31), 2**31 - 1)


def test_a_combo_box_gets_the_choices_and_not_the_forms(wrapper):
    import qt

    box = qt.QComboBox()
    box.addItem("of the form")
    made = connect(wrapper, box, Side, Side.RIGHT)
    assert [box.itemText(index) for index in range(box.count)] == ["LEFT", "RIGHT"]
    assert box.currentIndex == 1
    box.currentIndex = 0
    assert made.field is Side.LEFT


def test_a_node_selector_gets_the_class_of_its_parameter_and_a_button_can_be_checked(wrapper):
    import qt

    box, button = slicer.qMRMLNodeComboBox(), qt.QPushButton()
    box.setMRMLScene(slicer.mrmlScene)
    connect(wrapper, box, slicer.vtkMRMLMarkupsROINode)
    assert list(box.nodeTypes) == [ROI]
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    connect(types.SimpleNamespace(make=wrapper.make, node=other), button, bool)
    assert button.checkable


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: __import__("qt").QSlider(), int),  # without a range
        (lambda: __import__("ctk").ctkSliderWidget(), float),
        (lambda: __import__("qt").QComboBox(), str),  # without choices
        (lambda: __import__("qt").QLineEdit(), int),
        (lambda: __import__("qt").QSpinBox(), float),
        (lambda: __import__("qt").QCheckBox(), int),
        (lambda: __import__("ctk").ctkPathLineEdit(), str),
        (lambda: __import__("qt").QDoubleSpinBox(), float | None),
    ],
)
def test_widgets_that_slicer_cannot_tie_to_a_parameter_are_refused(wrapper, make, hint):
    with pytest.raises(RuntimeError):
        connect(wrapper, make(), hint)


# --- module, widget, logic, test --------------------------------------------------------------------------------------


@pytest.fixture
def probe(host):
    widget = host.load_module(HOST / "probe" / "HostProbe.py")
    yield widget
    widget.cleanup()


def test_a_reloaded_panel_is_set_up_and_not_told_that_it_is_shown(probe, monkeypatch):
    entered = []
    kind = slicer.ScriptedLoadableModule.ScriptedLoadableModuleWidget
    assert not hasattr(kind, "enter")
    monkeypatch.setattr(kind, "enter", lambda self: entered.append(self), raising=False)
    assert probe.onReload() is None
    assert slicer.modules.HostProbeWidget is not probe
    assert entered == []
    slicer.modules.HostProbeWidget.cleanup()


def test_a_module_that_is_unloaded_cleans_its_widget_up_once(host, probe):
    probe.cleaned = 0
    probe.cleanup = lambda: setattr(probe, "cleaned", probe.cleaned + 1)
    for name in ("Another", "HostProbe", "HostProbe"):
        host.qt_app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    assert probe.cleaned == 1
    del probe.cleanup


def test_the_parameter_node_is_one_hidden_by_no_name_and_named_after_the_module(host):
    class OneLogic(slicer.ScriptedLoadableModule.ScriptedLoadableModuleLogic):
        pass

    logic = OneLogic()
    node = logic.getParameterNode()
    assert (node.GetName(), node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("One", "One", "One")
    node.SetAttribute("ModuleName", None)
    assert OneLogic().getParameterNode() is node
    assert logic.getAllParameterNodes() == [node]
    logic.isSingletonParameterNode = False
    second = slicer.mrmlScene.AddNode(logic.createParameterNode())
    assert (second is node, second.GetSingletonTag()) == (False, None)
    assert logic.getAllParameterNodes() == [node, second]


def test_a_self_test_runs_every_method_named_test_and_is_found_by_the_modules_name(host, probe):
    ran = []

    class SelfTest(slicer.ScriptedLoadableModule.ScriptedLoadableModuleTest):
        def setUp(self):
            ran.append("setUp")

        def test_one(self):
            ran.append(("one", self.messageDelay))

    module = sys.modules["HostProbe"]
    with pytest.raises(AssertionError, match="HostProbeTest"):
        slicer.selfTests["HostProbe"]()
    module.HostProbeTest = SelfTest
    slicer.selfTests["HostProbe"](msec=7)
    assert ran == ["setUp", ("one", 7)]


def test_a_panel_without_a_parent_makes_one_and_shows_it(host):
    class AloneWidget(slicer.ScriptedLoadableModule.ScriptedLoadableModuleWidget):
        ready = False

        def setup(self):
            self.ready = True

    alone = AloneWidget()
    assert alone.ready
    assert alone.parent.visible
    alone.parent.hide()
