"""Finds names in a module's source that neither Slicer's headers nor the real libraries know.

The receiver of an attribute is followed where that is simple (``slicer.mrmlScene``, ``self.ui.button``,
``box = self.ui.box``, ``slicer.vtkSegment()``); there the name must exist in that very class. Elsewhere it must exist
somewhere: in the project, in Python, NumPy, SimpleITK, in a MRML or VTK class, or in api_names.txt.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import host  # noqa: F401  sets up slicer, qt, ctk
import parameters
import pythonqt
import sampledata
import scripted
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from scene import MODULE_LOGICS

LIST = Path(__file__).with_name("api_names.txt")


@dataclass
class Listed:
    """One class of api_names.txt."""

    base: str
    properties: set[str] = field(default_factory=set)
    methods: set[str] = field(default_factory=set)
    signals: set[str] = field(default_factory=set)


@cache
def listed() -> dict[str, Listed]:
    """api_names.txt by class name."""
    classes: dict[str, Listed] = {}
    name = ""
    for line in LIST.read_text().splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            name, base = line.split(" < ")
            classes[name] = Listed(base)
        else:
            kind, *names = line.split()
            getattr(classes[name], kind).update(names)
    return classes


# -- kinds: what an expression is, as far as it can be told
@dataclass(frozen=True)
class Qt:
    """An instance or a class of Qt, CTK or Slicer's Qt part."""

    name: str


@dataclass(frozen=True)
class Vtk:
    """An instance or a class of MRML or VTK."""

    name: str


@dataclass(frozen=True)
class Module:
    name: str


@dataclass(frozen=True)
class Method:
    owner: Any
    name: str


UI, MODULES = Module("ui"), Module("slicer.modules")
REPORTED = Module("")  # what hangs on a wrong name is not looked at
_RETURNS = {
    "ioManager": Qt("qSlicerIOManager"),
    "coreIOManager": Qt("qSlicerIOManager"),
    "layoutManager": Qt("qSlicerLayoutManager"),
    "sortFilterProxyModel": Qt("qMRMLSortFilterProxyModel"),
    "viewport": Qt("QWidget"),
    "moduleManager": Qt("qSlicerModuleManager"),
    "sliceWidget": Qt("qMRMLSliceWidget"),
    "threeDWidget": Qt("qMRMLThreeDWidget"),
    "threeDView": Qt("qMRMLThreeDView"),
    "sliceController": Qt("qMRMLSliceControllerWidget"),
    "userSettings": Qt("QSettings"),
    "settings": Qt("QSettings"),
    "clipboard": Qt("QClipboard"),
    "sliceLogic": Vtk("vtkMRMLSliceLogic"),
    "mrmlSliceNode": Vtk("vtkMRMLSliceNode"),
    "applicationLogic": Vtk("vtkSlicerApplicationLogic"),
    "GetSelectionNode": Vtk("vtkMRMLSelectionNode"),
    "GetSegmentation": Vtk("vtkSegmentation"),
    "GetSegment": Vtk("vtkSegment"),
    "GetImageData": Vtk("vtkImageData"),
    "GetSubjectHierarchyNode": Vtk("vtkMRMLSubjectHierarchyNode"),
    "segmentationNode": Vtk("vtkMRMLSegmentationNode"),
    "addVolumeFromArray": Vtk("vtkMRMLScalarVolumeNode"),
}
_ON_EVERY_OBJECT = {
    "name",
    "className",
    "delete",
    "exec_",
    "connect",
    "disconnect",
    "findChild",
    "findChildren",
    "property",
    "setProperty",
}


def _qt_class(name: str) -> Any:
    return next((getattr(m, name) for m in (QtWidgets, QtGui, QtCore) if hasattr(m, name)), None)


def qt_knows(class_name: str, name: str, writing: bool = False) -> bool:
    """Whether PythonQt lets a script read (or write) `name` on an object of this class."""
    entry = listed().get(class_name)
    if entry is not None:
        here = name in entry.properties
        if not writing:
            here = here or name in entry.methods or any(s.startswith(f"{name}(") for s in entry.signals)
        return here or qt_knows(entry.base, name, writing)
    qt_class = _qt_class(class_name)
    meta = getattr(qt_class, "staticMetaObject", None)
    if meta is not None and meta.indexOfProperty(name) >= 0:
        return True
    if writing:
        return False
    return name in _ON_EVERY_OBJECT or (name not in pythonqt._PYSIDE_ONLY and hasattr(qt_class, name))


def qt_has_signal(class_name: str, signature: str) -> bool:
    """Whether an object of this class has the signal, written as for connect()."""
    entry = listed().get(class_name)
    if entry is not None:
        return signature in entry.signals or qt_has_signal(entry.base, signature)
    meta = getattr(_qt_class(class_name), "staticMetaObject", None)
    return meta is not None and meta.indexOfSignal(signature) >= 0


def _vtk_class(name: str) -> Any:
    return getattr(slicer, name, None) or getattr(vtk, name, None)


@cache
def _known_somewhere() -> set[str]:
    """Names of Python's own types and of every MRML class, for receivers that cannot be followed."""
    import numpy as np
    import SimpleITK as sitk

    things: list[Any] = [str, bytes, int, float, list, dict, set, tuple, type, BaseException, np, np.ndarray, Path]
    things += [np.linalg, sitk, sitk.Image, re.Match, type(lambda: 0), type(_known_somewhere_generator())]
    things += [QtWidgets.QVBoxLayout, QtWidgets.QTableWidgetItem, QtWidgets.QHeaderView, QtGui.QPainter]
    things += [slicer.util.VTKObservationMixin, parameters._Wrapper]
    things += [sampledata, sampledata.SampleDataLogic, *(getattr(scripted, name) for name in scripted.__all__)]
    names = {name for thing in things for name in dir(thing)} | {"parameterNode"}
    for owner in (slicer, vtk):
        for class_name in dir(owner):
            if class_name.startswith("vtk") and (owner is slicer or class_name.startswith(_VTK_DATA)):
                names.update(n for n in dir(getattr(owner, class_name)) if n[:1].isupper() or n.startswith("__"))
    for entry in listed().values():
        names |= entry.properties | entry.methods | {s.split("(")[0] for s in entry.signals}
    return names


_VTK_DATA = (
    "vtkRenderWindowInteractor",
    "vtkImageData",
    "vtkPolyData",
    "vtkPointData",
    "vtkCellArray",
    "vtkDataArray",
    "vtkMatrix",
    "vtkTable",
    "vtkString",
    "vtkPoints",
    "vtkTextProperty",
)


def _known_somewhere_generator() -> Any:
    yield


class Checker(ast.NodeVisitor):
    """Walks one file.

    Args:
        ui: widget name -> class name, from the .ui file.
        project: names defined anywhere in the project's sources.
    """

    def __init__(self, file: str, ui: dict[str, str], project: set[str]) -> None:
        self.file, self.ui, self.project = file, ui, set(project)
        self.found: list[str] = []
        self.scopes: list[dict[str, Any]] = [{}]
        self.members: dict[str, Any] = {}

    def fail(self, node: Any, text: str) -> None:
        self.found.append(f"{self.file}:{node.lineno}: {text}")

    # -- imports
    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node, alias.name, alias.asname or alias.name.split(".")[0], None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if node.module and not node.module.startswith("TernarySegmentLib"):
                self._import(node, node.module, alias.asname or alias.name, alias.name)

    def _import(self, node: Any, module: str, local: str, member: str | None) -> None:
        if module in ("qt", "ctk", "slicer", "vtk"):
            name = module if member is None else None
            self.scopes[-1][local] = Module(name) if name else self._attribute(node, Module(module), member or "")
            return
        with contextlib.suppress(ImportError):
            found = importlib.import_module(module)
            if member is not None and not hasattr(found, member):
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{module}.{member}")
                    return
                self.fail(node, f"module '{module}' has no '{member}'")
            self.project.update(dir(found))
            if module.split(".")[0] in sys.stdlib_module_names:  # what threading.Event and the like offer
                for kind in (value for value in vars(found).values() if isinstance(value, type)):
                    self.project.update(dir(kind))
            self.project.update(dir(getattr(found, member or "", None)))

    # -- scopes and simple types
    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [a.arg for a in node.args.args]
        self.scopes.append({a: (UI if a == "ui" else None) for a in arguments})
        self.generic_visit(node)
        self.scopes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=True):
                    self._bind(one, self.kind(value))
            else:
                self._bind(target, self.kind(node.value))

    def _bind(self, target: Any, kind: Any) -> None:
        if isinstance(target, ast.Name):
            self.scopes[-1][target.id] = kind
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            self.members[target.attr] = kind if self.members.get(target.attr, kind) == kind else None

    def visit_For(self, node: ast.For) -> None:
        """``for box in (ui.a, ui.b)`` and ``for button, slot in ((ui.a, f), ...)``: the body is checked for each."""
        rows = node.iter.elts if isinstance(node.iter, ast.Tuple | ast.List) else []
        self.visit(node.iter)
        kinds = {self.kind(row.elts[0] if isinstance(row, ast.Tuple) else row) for row in rows}
        first = node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target
        for kind in kinds or {None}:
            self._bind(first, kind)
            for statement in node.body:
                self.visit(statement)

    def kind(self, node: Any) -> Any:
        """What an expression is; None when that cannot be told."""
        if isinstance(node, ast.Name):
            return next((scope[node.id] for scope in reversed(self.scopes) if node.id in scope), None)
        if isinstance(node, ast.Attribute):
            if node.attr in ("ui", "_ui"):
                return UI
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return self.members.get(node.attr)
            owner = self.kind(node.value)
            return None if owner is None else self._attribute(node, owner, node.attr, quiet=True)
        if isinstance(node, ast.Call):
            return self._result(node)
        return None

    def _result(self, node: ast.Call) -> Any:
        called = self.kind(node.func)
        if isinstance(called, Qt | Vtk):
            return called  # a class: its instance
        if isinstance(called, Method):
            if called.owner is not None and called.name == "logic" and isinstance(called.owner, Vtk):
                return called.owner
            if called.name == "AddNewNodeByClass" and node.args and isinstance(node.args[0], ast.Constant):
                return Vtk(node.args[0].value) if _vtk_class(node.args[0].value) else None
            return _RETURNS.get(called.name)
        return None

    def _attribute(self, node: Any, owner: Any, name: str, quiet: bool = False, writing: bool = False) -> Any:
        """The kind of ``owner.name``; an unknown name is reported unless `quiet`."""
        good, kind = self._look_up(owner, name, writing)
        if not good and not quiet:
            what = getattr(owner, "name", owner)
            self.fail(node, f"'{what}' has no {'writable property' if writing else 'name'} '{name}'")
        return kind if good else REPORTED

    def _look_up(self, owner: Any, name: str, writing: bool) -> tuple[bool, Any]:
        if owner == UI:
            return name in self.ui, Qt(self.ui[name]) if name in self.ui else None
        if owner == MODULES and name.endswith("Widget"):  # Slicer keeps a scripted module's widget under its class
            return name in self.project, None
        if owner == MODULES:
            logic = MODULE_LOGICS.get(name)
            return logic is not None, Method(Vtk(logic), "module") if logic else None
        if isinstance(owner, Module):
            return self._look_in_module(owner.name, name)
        if isinstance(owner, Qt):
            return qt_knows(owner.name, name, writing), Method(owner, name)
        if isinstance(owner, Vtk):
            return hasattr(_vtk_class(owner.name), name), Method(owner, name)
        if isinstance(owner, Method) and owner.name == "module":
            return name in ("logic", "path", "name"), Method(owner.owner, name)
        return True, None

    def _look_in_module(self, module: str, name: str) -> tuple[bool, Any]:
        if module == REPORTED.name:
            return True, REPORTED
        if module == "slicer":
            if name in _SLICER:
                return True, _SLICER[name]
            return (name.startswith("vtk") and hasattr(slicer, name)) or name in listed(), (
                Vtk(name) if name.startswith("vtk") else Qt(name)
            )
        if module == "slicer.util":
            return hasattr(slicer.util, name), Method(None, name)
        if module in ("slicer.i18n", "slicer.packaging"):
            return hasattr(importlib.import_module(module), name), Method(None, name)
        if module == "vtk":
            return hasattr(vtk, name), Vtk(name) if name.startswith("vtk") else None
        if module == "ctk":
            return name in listed(), Qt(name)
        return _qt_class(name) is not None or name == "QUiLoader", Qt(name)

    # -- uses
    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        owner = self.kind(node.value)
        if owner is not None:
            self._attribute(node, owner, node.attr, writing=isinstance(node.ctx, ast.Store) and isinstance(owner, Qt))
        elif node.attr not in self.project and node.attr not in _known_somewhere():
            self.fail(node, f"no class or module known here has a name '{node.attr}'")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("connect", "disconnect") and node.args:
            signal, owner = node.args[0], self.kind(node.func.value)
            if (
                isinstance(signal, ast.Constant)
                and isinstance(owner, Qt)
                and not qt_has_signal(owner.name, signal.value)
            ):
                self.fail(node, f"'{owner.name}' has no signal '{signal.value}'")


_SLICER = {
    "app": Qt("qSlicerApplication"),
    "mrmlScene": Vtk("vtkMRMLScene"),
    "modules": MODULES,
    "util": Module("slicer.util"),
    "i18n": Module("slicer.i18n"),
    "packaging": Module("slicer.packaging"),
}


def widgets_of(form: Path) -> dict[str, str]:
    """Widget name -> class name in a .ui file."""
    return {w.get("name", ""): w.get("class", "") for w in ElementTree.parse(form).iter("widget")}


def names_defined(sources: list[str]) -> set[str]:
    """Functions, classes, arguments, fields and members that the sources define."""
    names: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    names.add(node.attr)
            elif isinstance(node, ast.Assign):
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names.update((a.asname or a.name).split(".")[0] for a in node.names)
    return names


def unknown_names(sources: dict[str, str], form: Path, project: set[str]) -> list[str]:
    """Every use of a name that does not exist, as ``file:line: what``, for sources by file name."""
    ui, found = widgets_of(form), []
    for file, source in sources.items():
        checker = Checker(file, ui, project)
        tree = ast.parse(source)
        checker.visit(tree)  # the second walk knows the members that the first one saw
        checker.found.clear()
        checker.visit(tree)
        found += checker.found
    return sorted(set(found))


def unknown_in_form(form: Path) -> list[str]:
    """Classes, properties and connections of a .ui file that do not exist."""
    found = []
    root = ElementTree.parse(form)
    kinds = widgets_of(form)
    for widget in root.iter("widget"):
        kind = widget.get("class", "")
        if kind not in listed() and _qt_class(kind) is None:
            found.append(f"{form.name}: there is no class {kind}")
        for item in widget.findall("property"):
            if item.get("stdset") != "0" and not qt_knows(kind, item.get("name", ""), writing=True):
                found.append(f"{form.name}: {kind} has no property {item.get('name')} ({widget.get('name')})")
    for link in root.iter("connection"):
        sender, receiver = (kinds.get(link.findtext(end) or "", "") for end in ("sender", "receiver"))
        if not qt_has_signal(sender, link.findtext("signal") or ""):
            found.append(f"{form.name}: {sender} has no signal {link.findtext('signal')}")
        if not qt_knows(receiver, (link.findtext("slot") or "").split("(")[0]):
            found.append(f"{form.name}: {receiver} has no slot {link.findtext('slot')}")
    return found
