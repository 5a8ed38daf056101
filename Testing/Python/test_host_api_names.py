"""Every Qt, CTK, Slicer and MRML name that the module uses exists in the real API, and typos are caught."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(ROOT / "Testing" / "SlicerHost"))

FORM = ROOT / "Resources" / "UI" / "TernarySegment.ui"
MODULE = [ROOT / "TernarySegment" / "TernarySegment.py", *sorted((ROOT / "TernarySegmentLib/slicer_ui").rglob("*.py"))]


@pytest.fixture(scope="module")
def api():
    from host import Host

    Host.shared()
    import api_check

    return api_check


@pytest.fixture(scope="module")
def project(api):
    return api.names_defined([path.read_text() for path in [*(ROOT / "TernarySegmentLib").rglob("*.py"), MODULE[0]]])


def test_module_uses_only_names_that_exist(api, project):
    assert api.unknown_names({path.name: path.read_text() for path in MODULE}, FORM, project) == []


def test_form_uses_only_names_that_exist(api):
    assert api.unknown_in_form(FORM) == []


HEAD = "import qt, ctk, slicer, vtk\nfrom typing import Any\n"
TYPOS = {
    "a widget that the form lacks": "def f(ui):\n    ui.segmentButon.enabled = True",
    "a property of a button": "def f(ui):\n    ui.segmentButton.enabeld = True",
    "a method written as a property": "def f(ui):\n    ui.segmentButton.click = True",
    "a property read": "def f(ui):\n    return ui.progressBar.valeu",
    "a CTK property": "def f(ui):\n    ui.opacitySlider.maximun = 1.0",
    "a method of the node selector": "def f(ui):\n    ui.volumeSelector.currentNod()",
    "a name in a loop": "def f(ui):\n    for b in (ui.segmentButton, ui.cancelButton):\n        b.enabeld = False",
    "a member": (
        "class P:\n    def __init__(self):\n        self.t = qt.QTimer()\n"
        "    def g(self):\n        self.t.setIntervall(5)"
    ),
    "a signal": "def f(ui):\n    ui.segmentButton.connect('cliked()', f)",
    "a signal's argument": "def f(ui):\n    ui.volumeSelector.connect('currentNodeChanged(vtkMRMLNod*)', f)",
    "a Qt class": "qt.QPushButon()",
    "a CTK class": "ctk.ctkColapsibleButton()",
    "a MRML class": "slicer.vtkMRMLSegmentationNod()",
    "a name that only the wheel has": "slicer.loadVolume('a.nrrd')",
    "a scene method": "slicer.mrmlScene.GetNodeByIDD('x')",
    "a scene event": "slicer.mrmlScene.EndClosedEvent",
    "a MRML method": "n = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLSegmentationNode')\nn.GetSegmentaton()",
    "a MRML method of an unknown receiver": "def f(node):\n    return node.GetDisplayNoed()",
    "a property of an unknown receiver": "def f(thing):\n    return thing.noSuchNameAnywhere",
    "slicer.util": "slicer.util.addVolumeFromAray(1)",
    "an import": "from slicer.i18n import trr",
    "slicer.app": "slicer.app.layoutManger()",
    "a layout manager": "slicer.app.layoutManager().resetThreeDVews()",
    "a module": "slicer.modules.segmentatons.logic()",
    "a module's widget": "slicer.modules.TernarySegmntWidget",
    "a module's logic": "slicer.modules.markups.logic().JumpSlicesToLocaton(0, 0, 0, True)",
    "vtk": "vtk.vtkComand.ModifiedEvent",
}


@pytest.mark.parametrize("what", TYPOS)
def test_typo_is_caught(api, what):
    source = HEAD + TYPOS[what]
    assert len(api.unknown_names({"typo.py": source}, FORM, api.names_defined([source]))) == 1


def test_the_same_code_without_typos_passes(api):
    good = """
class P:
    def __init__(self, ui):
        self.timer = qt.QTimer()
        self.timer.setInterval(5)
        self.timer.timeout.connect(print)
        for button in (ui.segmentButton, ui.cancelButton):
            button.enabled = False
            button.connect('clicked()', print)
        ui.volumeSelector.connect('currentNodeChanged(vtkMRMLNode*)', print)
        ui.opacitySlider.maximum = 1.0
        slicer.app.layoutManager().resetThreeDViews()
        node = slicer.mrmlScene.AddNewNodeByClass('vtkMRMLSegmentationNode')
        node.GetSegmentation().GetSegment('a').SetName('b')
        slicer.modules.markups.logic().JumpSlicesToLocation(0, 0, 0, True)
"""
    assert api.unknown_names({"good.py": HEAD + good}, FORM, api.names_defined([good])) == []


def test_form_typos_are_caught(api, tmp_path):
    text = FORM.read_text()
    for right, wrong in (
        ("noneEnabled", "nonEnabled"),
        ("mrmlSceneChanged(", "mrmlScenChanged("),
        ("QSpinBox", "QSpinnBox"),
    ):
        assert right in text
        broken = tmp_path / "broken.ui"
        broken.write_text(text.replace(right, wrong))
        assert api.unknown_in_form(broken), wrong


def test_host_widgets_offer_nothing_that_slicer_lacks(api):
    """Otherwise the panel could come to rely on an invention of the test host."""
    import application
    import dicom
    import widgets
    from views import SliceView, ThreeDView

    offered = widgets.CTK | widgets.MRML | {"qMRMLSliceView": SliceView, "qMRMLThreeDView": ThreeDView}
    offered["ctkDICOMDatabase"] = dicom.ctkDICOMDatabase
    offered |= {name: value for name, value in vars(application).items() if name in api.listed()}
    invented = []
    for name, kind in offered.items():
        for base in kind.__mro__:
            if base.__module__.startswith("PySide6"):
                break
            hidden = {"HIDDEN", "SIGNATURES", "staticMetaObject", *getattr(kind, "HIDDEN", ())}
            own = [n for n in vars(base) if not n.startswith("_") and n not in hidden]
            invented += [f"{name}.{n}" for n in own if not api.qt_knows(name, n)]
    assert invented == []
