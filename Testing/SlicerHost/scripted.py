"""slicer.ScriptedLoadableModule: the base classes of a scripted module, as far as a module can see them.

Compared with Slicer's file of that name in 5.10, 5.12 and 5.13, which is the same in all three; docs/developer.md has
what deviates on purpose.
"""

from __future__ import annotations

import os
import sys
import unittest
from pathlib import Path
from typing import Any

import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]

slicer.selfTests = {}


class ScriptedLoadableModule:
    """Name, texts and icon of a module; `parent` takes them as attributes."""

    def __init__(self, parent: Any):
        import qt

        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.categories, parent.dependencies = "", [], []
        parent.contributors = ["somebody of Slicer"]  # Slicer's own texts: a module must write its own over them
        parent.helpText = parent.acknowledgementText = "Slicer's text"
        icons = [Path(self.resourcePath(f"Icons/{self.moduleName}{suffix}")) for suffix in (".svg", ".png")]
        icon = next((path for path in icons if path.is_file()), None)
        if icon is not None:
            parent.icon = qt.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f'<p><a href="{docPage or self.moduleName}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        name = f"{self.moduleName}Test"
        kind = getattr(sys.modules[type(self).__module__], name, None)
        if kind is None:
            raise AssertionError(f"{type(self).__module__} has no class {name}")
        test = kind()
        test.messageDelay = msec
        test.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel: `parent` is the widget that Slicer lends, `layout` its layout; without one it shows its own widget."""

    def __init__(self, parent: Any = None):
        import qt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        alone = not parent
        if alone:
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent = parent
        self.layout = parent.layout()
        if alone:
            self.setup()
            parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        import ctk
        import qt

        if not self.developerMode:
            return
        self.reloadCollapsibleButton = ctk.ctkCollapsibleButton()
        self.reloadCollapsibleButton.text = "Reload && Test"
        self.layout.addWidget(self.reloadCollapsibleButton)
        row = qt.QHBoxLayout(self.reloadCollapsibleButton)
        for text, slot in (("Reload", self.onReload), ("Reload and Test", self.onReloadAndTest), ("Test", self.onTest)):
            button = qt.QPushButton(text)
            button.connect("clicked()", slot)
            row.addWidget(button)

    def cleanup(self) -> None:
        pass

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **kwargs: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Test failed."):
            slicer.selfTests[self.moduleName](msec=0, **kwargs)

    def onReloadAndTest(self, **kwargs: Any) -> None:
        with slicer.util.tryWithErrorDisplay("Reload and Test failed."):
            self.onReload()
            slicer.selfTests[self.moduleName](msec=0, **kwargs)


class ScriptedLoadableModuleLogic:
    """Computation without widgets; owns the module's parameter node, or nodes where it says that it is no singleton."""

    def __init__(self, parent: Any = None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        if not self.isSingletonParameterNode:
            return next(iter(self.getAllParameterNodes()), None) or slicer.mrmlScene.AddNode(self.createParameterNode())
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        if node.GetAttribute("ModuleName") != self.moduleName:
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        if slicer.mrmlScene is None:
            return None
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A self-test started from the Reload & Test section; without its own runTest it runs every method named test."""

    def __init__(self, *args: Any, **kwargs: Any):
        self.moduleTestNames: list[str] = []
        super().__init__(*args, **kwargs)
        self.enableScreenshots, self.screenshotScaleFactor = False, 1.0
        self.moduleTestNames = self.moduleTestNames or [
            name for name in dir(self) if "test" in name and callable(getattr(self, name))
        ]

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        chosen = (getattr(self, "messageDelay", None), msec, requestedDelay, 100)
        slicer.util.delayDisplay(message, next(delay for delay in chosen if delay is not None))

    def runTest(self) -> None:
        if self.moduleTestNames:
            self.setUpClass()
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        if self.moduleTestNames:
            self.tearDownClass()
