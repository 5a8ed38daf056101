"""slicer.app and slicer.modules: the parts of Slicer's application object that a scripted module reaches."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, QSettings, Signal
from PySide6.QtWidgets import QApplication, QWidget
from views import FourUp, SliceView, ThreeDView

VERSION = (5, 12)  # the Slicer release that the host plays
_REVISION = "34000"
LAYOUTS = ("SlicerLayoutFourUpView", "SlicerLayoutOneUp3DView", "SlicerLayoutConventionalView")


class qMRMLSliceWidget(QWidget):
    """A slice view with its logic."""

    def __init__(self, name: str, scene: Any) -> None:
        super().__init__()
        self._name, self._scene = name, scene
        self._view = SliceView(scene.slice_logic(name), self)
        self._controller = qMRMLSliceControllerWidget(scene.slice_logic(name), self)

    def sliceLogic(self) -> Any:
        return self._scene.slice_logic(self._name)

    def mrmlSliceNode(self) -> Any:
        return self._scene.slice_nodes[self._name]

    def mrmlSliceCompositeNode(self) -> Any:
        return self.sliceLogic().GetSliceCompositeNode()

    def sliceView(self) -> QWidget:
        return self._view

    def sliceController(self) -> QWidget:
        return self._controller

    def fitSliceToBackground(self) -> None:
        self.sliceLogic().FitSliceToBackground()

    def resizeEvent(self, event: Any) -> None:
        self._view.setGeometry(self.rect())
        super().resizeEvent(event)


class qMRMLSliceControllerWidget(QWidget):
    """The bar over a slice view: here only its slots."""

    def __init__(self, logic: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self._logic = logic
        self.hide()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def setSliceOffsetValue(self, offset: float) -> None:
        self._logic.SetSliceOffset(offset)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()


class qMRMLThreeDWidget(QWidget):
    """The 3D view."""

    def __init__(self, scene: Any) -> None:
        super().__init__()
        self._scene = scene
        self._view = ThreeDView(scene, self)

    def threeDView(self) -> QWidget:
        return self._view

    def mrmlViewNode(self) -> Any:
        return self._scene.view_node

    def resizeEvent(self, event: Any) -> None:
        self._view.setGeometry(self.rect())
        super().resizeEvent(event)


class qSlicerLayoutManager(QObject):
    """Knows the views by name."""

    layoutChanged = Signal(int)

    def __init__(self, scene: Any) -> None:
        super().__init__()
        self._scene = scene
        self._slices = {name: qMRMLSliceWidget(name, scene) for name in scene.slice_nodes}
        self._three_d = qMRMLThreeDWidget(scene)
        self._layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self._viewport: FourUp | None = None

    def viewport(self) -> QWidget:
        """The widget that all views lie in."""
        if self._viewport is None:
            self._viewport = FourUp(self)
        return self._viewport

    def sliceWidget(self, name: str) -> QWidget | None:
        return self._slices.get(name)

    def sliceViewNames(self) -> list[str]:
        return list(self._slices)

    def mrmlSliceLogics(self) -> Any:
        return self._scene.slice_logics

    def mrmlViewLogics(self) -> Any:
        return self._scene.view_logics

    def threeDWidget(self, index: int) -> QWidget | None:
        return self._three_d if index == 0 else None

    def resetThreeDViews(self) -> None:
        self._three_d.threeDView().resetFocalPoint()

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def setLayout(self, layout: int) -> None:
        self._layout = layout
        self.layoutChanged.emit(layout)

    def setRenderPaused(self, _paused: bool) -> None: ...

    def activeThreeDRenderer(self) -> Any:
        return self._three_d.threeDView().renderer

    layout = Property(int, lambda s: s._layout, setLayout)
    threeDViewCount = Property(int, lambda s: 1)


class qSlicerIOManager(QObject):
    """Reads and writes nodes through the module logics; dialogs are recorded in `Host.dialogs`."""

    def __init__(self, scene: Any) -> None:
        super().__init__()
        self._scene = scene
        self.dialogs: list[str] = []
        self.on_dialog: Any = None  # a test's stand-in for the person in front of the dialog

    def fileType(self, path: str) -> str:
        name = str(path).lower()
        for suffixes, kind in _FILE_TYPES:
            if name.endswith(suffixes):
                return kind
        return "NoFile"

    def fileWriterFileType(self, node: Any, _extension: str = "") -> str:
        return "SegmentationFile" if node.IsA("vtkMRMLSegmentationNode") else "VolumeFile"

    def loadNodes(self, kind: str, properties: dict, loaded: Any = None, messages: Any = None) -> bool:
        path = properties["fileName"]
        if kind == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        node = self._load(kind, path, properties)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def _load(self, kind: str, path: str, properties: dict) -> Any:
        logics, name = self._scene.logics, properties.get("name") or _stem(path)
        if kind == "VolumeFile":
            flags = (
                ("labelmap", 1),
                ("center", 2),
                ("singleFile", 4),
                ("autoWindowLevel", 8),
                ("discardOrientation", 16),
            )
            options = sum(flag for key, flag in flags if properties.get(key))
            files = None
            if properties.get("fileNames"):
                files = vtk.vtkStringArray()
                for file in properties["fileNames"]:
                    files.InsertNextValue(file)
            node = logics["volumes"].AddArchetypeVolume(path, name, options, files)
            if node is not None and properties.get("show", True) and not node.IsA("vtkMRMLLabelMapVolumeNode"):
                selection = self._scene.app_logic.GetSelectionNode()
                selection.SetActiveVolumeID(node.GetID())
                self._scene.app_logic.PropagateVolumeSelection()
            return node
        if kind == "SegmentationFile":
            return logics["segmentations"].LoadSegmentationFromFile(path, True, name)
        if kind == "ModelFile":
            return logics["models"].AddModel(path)
        if kind == "TableFile":
            return logics["tables"].AddTable(path, name)
        if kind == "MarkupsFile":
            node_id = logics["markups"].LoadMarkups(path, name)
            return self._scene.mrml.GetNodeByID(node_id) if node_id else None
        raise NotImplementedError(f"the test host cannot load a {kind}")

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = self._scene.mrml
        if path.endswith(".mrb"):
            good = bool(scene.ReadFromMRB(path, clear))
        else:
            scene.SetURL(path)
            good = bool(scene.Connect() if clear else scene.Import())
        return good

    def loadScene(self, path: str, clear: bool = True) -> bool:
        return self._load_scene(path, clear)

    def saveNodes(self, kind: str, properties: dict, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        return self._save_scene(path) if kind == "SceneFile" else self._save_node(path, properties)

    def _save_scene(self, path: str) -> bool:
        scene = self._scene.mrml
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path))
        if path.endswith(".mrml"):
            return bool(scene.Commit(path))
        return bool(self._scene.app_logic.SaveSceneToSlicerDataBundleDirectory(path))

    def _save_node(self, path: str, properties: dict) -> bool:
        node = self._scene.mrml.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        storage.SetUseCompression(properties.get("useCompression", True))
        return bool(storage.WriteData(node))

    def _dialog(self, name: str) -> bool:
        self.dialogs.append(name)
        return bool(self.on_dialog(name)) if self.on_dialog is not None else False

    def openAddDataDialog(self) -> bool:
        return self._dialog("openAddDataDialog")

    def openAddVolumesDialog(self) -> bool:
        return self._dialog("openAddVolumesDialog")

    def openAddVolumeDialog(self) -> bool:
        return self._dialog("openAddVolumeDialog")

    def openAddSceneDialog(self) -> bool:
        return self._dialog("openAddSceneDialog")

    def openSaveDataDialog(self) -> bool:
        return self._dialog("openSaveDataDialog")


_FILE_TYPES = (
    ((".mrml", ".mrb"), "SceneFile"),
    ((".seg.nrrd", ".seg.nhdr", ".seg.vtm"), "SegmentationFile"),
    ((".mrk.json", ".fcsv"), "MarkupsFile"),
    ((".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm"), "VolumeFile"),
    ((".vtk", ".vtp", ".stl", ".ply", ".obj"), "ModelFile"),
    ((".csv", ".tsv"), "TableFile"),
)


def _stem(path: str) -> str:
    name = Path(path).name
    for suffix in (".nii.gz", ".seg.nrrd", ".mrk.json"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(path).stem


class qSlicerModuleManager(QObject):
    """Which modules are loaded."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def module(self, name: str) -> Any:
        return getattr(slicer.modules, name.lower(), None)


class qSlicerApplication(QApplication):
    """slicer.app."""

    startupCompleted = Signal()

    def prepare(self, scene: Any, home: Path) -> None:
        """The parts that need the scene; not a name of Slicer's, hidden from modules."""
        self._scene, self._home = scene, home
        self._settings = QSettings(str(home / "Slicer.ini"), QSettings.Format.IniFormat)
        self._layout_manager: qSlicerLayoutManager | None = None
        self._io = qSlicerIOManager(scene)
        self._modules = qSlicerModuleManager()
        self._testing = False

    HIDDEN = ("prepare",)

    def applicationLogic(self) -> Any:
        return self._scene.app_logic

    def mrmlScene(self) -> Any:
        return self._scene.mrml

    def layoutManager(self) -> QObject:
        if self._layout_manager is None:
            self._layout_manager = qSlicerLayoutManager(self._scene)
        return self._layout_manager

    def ioManager(self) -> QObject:
        return self._io

    def coreIOManager(self) -> QObject:
        return self._io

    def moduleManager(self) -> QObject:
        return self._modules

    def settings(self) -> QSettings:
        return self._settings

    def userSettings(self) -> QSettings:
        return self._settings

    def revisionUserSettings(self) -> QSettings:
        return self._settings

    def moduleLogic(self, name: str) -> Any:
        return self._scene.logics.get(name.lower())

    def testingEnabled(self) -> bool:
        return self._testing

    def pauseRender(self) -> None: ...

    def resumeRender(self) -> None: ...

    isInstalled = Property(bool, lambda s: True)
    majorVersion = Property(int, lambda s: VERSION[0])
    minorVersion = Property(int, lambda s: VERSION[1])
    revision = Property(str, lambda s: _REVISION)
    temporaryPath = Property(str, lambda s: str(s._home / "tmp"))
    slicerHome = Property(str, lambda s: str(s._home))
    slicerUserSettingsFilePath = Property(str, lambda s: str(s._home / "Slicer.ini"))
    defaultScenePath = Property(str, lambda s: str(s._home))


class ModuleFactory:
    """slicer.modules: one attribute per loaded module, under its lower-case name, and its widget."""


class LogicModule:
    """slicer.modules.volumes and the like: a C++ module's logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> Any:
        return self._logic


class qSlicerScriptedLoadableModule(QObject):
    """What ScriptedLoadableModule gets as `parent`, and slicer.modules.<name> afterwards."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._values: dict[str, Any] = {"index": -1, "hidden": False, "widgetRepresentationCreationEnabled": True}
        self.representation: Any = None  # the widget, made by Host.load_module

    def _kept(kind: Any, name: str) -> Property:  # type: ignore[misc]
        return Property(kind, lambda s: s._values.get(name, ""), lambda s, v: s._values.__setitem__(name, v))

    title = _kept(str, "title")
    categories = _kept("QStringList", "categories")
    dependencies = _kept("QStringList", "dependencies")
    contributors = _kept("QStringList", "contributors")
    helpText = _kept(str, "helpText")
    acknowledgementText = _kept(str, "acknowledgementText")
    hidden = _kept(bool, "hidden")
    index = _kept(int, "index")
    icon = _kept("QIcon", "icon")
    widgetRepresentationCreationEnabled = _kept(bool, "widgetRepresentationCreationEnabled")
    path = Property(str, lambda s: s._path)
    name = Property(str, lambda s: Path(s._path).stem)
    HIDDEN = ("representation",)

    def widgetRepresentation(self) -> Any:
        return self.representation

    def logic(self) -> Any:
        return None


def make_home() -> Path:
    """A folder for settings and temporary files, removed by `remove_home`."""
    home = Path(tempfile.mkdtemp(prefix="slicerhost-"))
    (home / "tmp").mkdir()
    return home


def remove_home(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
