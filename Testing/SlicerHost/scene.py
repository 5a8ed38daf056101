"""The real MRML scene with Slicer's application and module logics, as Slicer's start-up code sets them up."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import applog
import slicer
import vtk

SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}  # Slicer's names and default orientations
_WHEEL_ONLY = ("item_name", "me", "info", "extend_path", "import_module", "iter_modules")
_COLOURS = {"Red": (0.953, 0.29, 0.2), "Yellow": (0.929, 0.835, 0.298), "Green": (0.431, 0.69, 0.294)}

# the logic reads no presets without it
PRESETS_SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Volumes/Resources/Schema/"
    "volumes-display-presets-schema-v1.0.1.json#"
)
# slicer.modules.<key>.logic() is a slicer.<value>; the order is the order in which they see the scene
MODULE_LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "units": "vtkSlicerUnitsLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "cameras": "vtkSlicerCamerasModuleLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "models": "vtkSlicerModelsLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
}
# appLogic.GetModuleLogic() knows these under Slicer's module names
_REGISTERED = {
    "colors": "Colors",
    "units": "Units",
    "volumes": "Volumes",
    "models": "Models",
    "tables": "Tables",
    "transforms": "Transforms",
    "markups": "Markups",
    "terminologies": "Terminologies",
    "segmentations": "Segmentations",
}


class Scene:
    """`mrml` (vtkMRMLScene), `app_logic`, `logics` by module name, `slice_nodes` by view name, `view_node`."""

    def __init__(self, cache: Path) -> None:
        tidy_slicer_module()
        self.mrml = slicer.vtkMRMLScene()
        self.mrml.SetSaveToXMLString(0)
        self.mrml.SetLoadFromXMLString(0)
        self.app_logic = slicer.vtkSlicerApplicationLogic()
        self.app_logic.SetTemporaryPath(str(cache))
        self._remote_io(cache)
        self.app_logic.SetMRMLScene(self.mrml)
        self.logics: dict[str, Any] = {}
        for name, class_name in MODULE_LOGICS.items():
            self._add_logic(name, getattr(slicer, class_name)())
        self._presets(cache)
        self._views()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.mrml.AddNode(crosshair)
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.mrml)
        self._hierarchy = _HierarchyItems(self.mrml)
        self._buttons = _SegmentationButtons(self.mrml)
        slicer.mrmlScene = self.mrml

    def _remote_io(self, cache: Path) -> None:
        """ReadFromMRB asks the data manager where to unpack."""
        self.remote_io = slicer.vtkMRMLRemoteIOLogic()
        self.remote_io.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self.remote_io.SetMRMLScene(self.mrml)
        self.remote_io.AddDataIOToScene()
        self.data_io = slicer.vtkDataIOManagerLogic()
        self.data_io.SetMRMLApplicationLogic(self.app_logic)
        self.data_io.SetAndObserveDataIOManager(self.remote_io.GetDataIOManager())

    def _add_logic(self, name: str, logic: Any) -> None:
        with contextlib.suppress(AttributeError):
            logic.SetMRMLApplicationLogic(self.app_logic)
        if name in _REGISTERED:
            self.app_logic.SetModuleLogic(_REGISTERED[name], logic)
        if name == "colors":
            self.app_logic.SetColorLogic(logic)
        # the files these two look for (colour tables, terminologies) are in Slicer's share folder, not in the wheel
        with quiet_vtk(name in ("colors", "terminologies")):
            logic.SetMRMLScene(self.mrml)
        self.logics[name] = logic

    def _presets(self, folder: Path) -> None:
        """The abdominal window of the Volumes module, whose file is in Slicer's share folder, not in the wheel."""
        abdomen = {
            "id": "CT_ABDOMEN", "name": "CT-Abdomen", "description": "", "icon": "", "window": 350.0, "level": 40.0,
            "color": "vtkMRMLColorTableNodeGrey",
        }  # fmt: skip
        presets = {"$schema": PRESETS_SCHEMA, "volumeDisplayPresets": [abdomen]}
        (folder / "VolumeDisplayPresets.json").write_text(json.dumps(presets))
        self.logics["volumes"].SetModuleShareDirectory(str(folder))

    def _views(self) -> None:
        """Slice and 3D view nodes with their logics: what the layout manager makes in Slicer."""
        self.slice_nodes: dict[str, Any] = {}
        self.slice_logics = vtk.vtkCollection()
        self._slice_logic: dict[str, Any] = {}
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.mrml)
        for name, orientation in SLICE_VIEWS.items():
            self.slice_nodes[name] = self.add_slice_view(name, orientation, shown=True)
            self.slice_nodes[name].SetLayoutColor(*_COLOURS[name])
        self.app_logic.SetSliceLogics(self.slice_logics)
        self.view_logic = slicer.vtkMRMLViewLogic()
        self.view_logic.SetMRMLApplicationLogic(self.app_logic)
        self.view_logic.SetMRMLScene(self.mrml)
        self.view_node = self.view_logic.AddViewNode("1")
        self._bare_3d_view()
        self.view_logics = vtk.vtkCollection()
        self.view_logics.AddItem(self.view_logic)
        self.app_logic.SetViewLogics(self.view_logics)

    def turn_views_back(self) -> None:
        """Give the views what they began with: an oblique scan turns the slice views, and closing it does not.

        A scene saved with a turned view logs an error of its own when it is loaded again.
        """
        for name, orientation in SLICE_VIEWS.items():
            self.slice_nodes[name].SetOrientation(orientation)
        self._bare_3d_view()

    def _bare_3d_view(self) -> None:
        """No box and no letters in the 3D view; closing a scene brings them back, and the camera would take them in."""
        self.view_node.SetBoxVisible(False)
        self.view_node.SetAxisLabelsVisible(False)

    def add_slice_view(self, name: str, orientation: str, shown: bool = False) -> Any:
        """A slice node with logic and layers; one that is not shown belongs to a layout that was used before."""
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.app_logic)
        logic.SetMRMLScene(self.mrml)
        node = logic.AddSliceNode(name)
        logic.ResizeSliceNode(600, 450)  # a view in a window of usual size, so that "fit" fits
        node.SetLayoutLabel(name[0])
        node.SetOrientation(orientation)
        node.SetMappedInLayout(shown)
        self.slice_logics.AddItem(logic)
        self._slice_logic[name] = logic
        return node

    def remove_slice_view(self, name: str) -> None:
        """Take back :meth:`add_slice_view`."""
        logic = self._slice_logic.pop(name)
        self.slice_logics.RemoveItem(logic)
        for node in (logic.GetSliceCompositeNode(), logic.GetSliceNode()):
            self.mrml.RemoveNode(node)
        logic.SetMRMLScene(None)

    def slice_logic(self, name: str) -> Any:
        return self._slice_logic.get(name)


class _SegmentationButtons:
    """The outline and fill buttons of the slice views' bars, which know no mask that is neither outlined nor filled."""

    def __init__(self, scene: Any) -> None:
        def check(display: Any, _event: Any) -> None:
            if not display.GetVisibility2DOutline() and not display.GetVisibility2DFill():
                applog.warning("Invalid segmentation outline/fill state: neither are on")

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_caller: Any, _event: Any, node: Any) -> None:
            if node is not None and node.IsA("vtkMRMLSegmentationDisplayNode"):
                node.AddObserver(vtk.vtkCommand.ModifiedEvent, check)

        self._callback = added
        scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)


class _HierarchyItems:
    """Gives every shown data node its subject hierarchy item, the work of Slicer's (Qt) subject hierarchy plugins."""

    _KINDS = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")

    def __init__(self, scene: Any) -> None:
        self.scene = scene

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def added(_caller: Any, _event: Any, node: Any) -> None:
            if not scene.IsBatchProcessing():
                self._add(node)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def leaving(_caller: Any, _event: Any, node: Any) -> None:
            if node is None or scene.IsClosing():
                return
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())  # logs when gone
            item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
            if item:
                hierarchy.RemoveItem(item, False, False)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def gone(_caller: Any, _event: Any, node: Any) -> None:
            """Display nodes go with what they display."""
            if node is not None and not scene.IsClosing() and node.IsA("vtkMRMLDisplayableNode"):
                for display in [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]:
                    if display is not None and scene.IsNodePresent(display):
                        scene.RemoveNode(display)

        self._callbacks = (added, leaving, gone)
        scene.AddObserver(slicer.vtkMRMLScene.NodeRemovedEvent, gone)
        scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
        scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, leaving)
        # priority 10, as in Slicer: an imported hierarchy must be merged before anyone asks it for a parent
        for event in (slicer.vtkMRMLScene.EndImportEvent, slicer.vtkMRMLScene.EndCloseEvent):
            scene.AddObserver(event, lambda *_: self._add_all(), 10.0)

    def _add_all(self) -> None:
        slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self.scene)  # merges what an import brought
        for index in range(self.scene.GetNumberOfNodes()):
            self._add(self.scene.GetNthNode(index))

    def _add(self, node: Any) -> None:
        if node is None or node.GetHideFromEditors() or not any(node.IsA(kind) for kind in self._KINDS):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@contextlib.contextmanager
def quiet_vtk(quiet: bool = True) -> Any:
    """VTK's warnings off for a while."""
    was = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0 if quiet else was)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(was)


def tidy_slicer_module() -> None:
    """Take out of `slicer` what the wheel copies there from slicer.util (slicer.loadVolume is not in Slicer)."""
    import slicer.util

    for name, value in list(vars(slicer).items()):
        if name.startswith(("_", "vtk")) or name in ("util", "slicer_core"):
            continue
        if vars(slicer.util).get(name) is value or inspect.ismodule(value) or name in _WHEEL_ONLY:
            delattr(slicer, name)
    for alias in ("vtkITK", "vtkSegmentationCorePython", "vtkAddon"):  # names real Slicer lets a module import
        sys.modules.setdefault(alias, sys.modules["slicer_core"])
