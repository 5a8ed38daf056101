"""A tiny scripted module for the tests of the test host: one input, one slider, one button."""

import ctk
import qt
import slicer
from HostProbeParameters import Parameters
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class HostProbe(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Host probe")
        parent.categories = ["Testing"]


class HostProbeWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.clicks = 0
        self.cleaned = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/HostProbe.ui"))
        self.layout.addWidget(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.ui = slicer.util.childWidgetVariables(form)
        self.extra = ctk.ctkCollapsibleButton()
        self.extra.text = "More"
        self.layout.addWidget(self.extra)
        qt.QVBoxLayout(self.extra)
        self.ui.runButton.connect("clicked(bool)", self.onRun)  # passes one argument to a method that takes none
        self.parameters = Parameters(self.logic_node())
        self.tag = self.parameters.connectGui(self.ui)

    def logic_node(self):
        return HostProbeLogic().getParameterNode()

    def onRun(self):
        self.clicks += 1

    def cleanup(self):
        self.removeObservers()
        self.parameters.disconnectGui(self.tag)
        self.cleaned = True


class HostProbeLogic(ScriptedLoadableModuleLogic):
    pass
