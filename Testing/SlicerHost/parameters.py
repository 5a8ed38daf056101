"""slicer.parameterNodeWrapper: typed parameters kept in a vtkMRMLScriptedModuleNode and bound to widgets.

Compared with Slicer's folder of that name in 5.10, 5.12 and 5.13; docs/developer.md has what deviates on purpose.
"""

from __future__ import annotations

import enum
import pathlib
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer.util
import vtk

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]
SlicerParameterNamePropertyName = "SlicerParameterName"


@dataclass(frozen=True)
class Default:
    value: Any


@dataclass(frozen=True)
class Decimals:
    value: int


@dataclass(frozen=True)
class SingleStep:
    value: float


class Validator:
    """Base of the annotations that refuse a value with ValueError."""


@dataclass(frozen=True)
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} lies outside {self.minimum}…{self.maximum}")


@dataclass(frozen=True)
class Minimum(Validator):
    minimum: float

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is below {self.minimum}")


@dataclass(frozen=True)
class Maximum(Validator):
    maximum: float

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is above {self.maximum}")


class Choice(Validator):
    def __init__(self, choices: Any):
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class _Parameter:
    """One typed field: how it is written to and read from the node."""

    def __init__(self, name: str, hint: Any, has_default: bool, default: Any):
        self.name, self.hint = name, hint
        self.kind, self.notes, self.optional = _split(hint)
        noted = [n.value for n in self.notes if isinstance(n, Default)]
        self.is_node = isinstance(self.kind, type) and hasattr(self.kind, "GetNodeTagName")
        if not self.is_node and self.kind not in (str, int, float, bool, pathlib.Path) and not _is_enum(self.kind):
            raise TypeError(f"{name}: the host's parameterNodeWrapper does not know {self.kind}")
        self.default = default if has_default else noted[0] if noted else self._empty()

    def _empty(self) -> Any:
        """Slicer asks neither range nor choices for it: where they forbid it, making the wrapper raises."""
        if self.is_node or self.optional:
            return None
        return next(iter(self.kind)) if _is_enum(self.kind) else self.kind()

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: Any, value: Any) -> None:
        nullable = self.is_node or self.optional
        if value is None and not nullable:
            raise ValueError(f"{self.name} takes no None")
        wanted = (int, float) if self.kind is float else self.kind
        if value is not None and not isinstance(value, wanted):
            raise TypeError(f"{self.name} takes {self.kind.__name__}, not {value!r}")
        for note in self.notes:
            if isinstance(note, Validator):
                note.validate(value)  # type: ignore[attr-defined]
        if self.is_node:
            node.SetParameter(self.name, "")  # so that None can be told from never written
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any) -> Any:
        if not self.is_in(node):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.optional and text == "None":
            return None
        if _is_enum(self.kind):
            if text not in self.kind.__members__:
                raise ValueError(f"{text!r} is none of {self.kind}")
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _split(hint: Any) -> tuple[Any, tuple, bool]:
    """The bare type, its annotations, and whether None is allowed."""
    notes: tuple = ()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *rest = typing.get_args(hint)
        notes = tuple(rest)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [a for a in typing.get_args(hint) if a is not type(None)]
        if len(members) != 1:
            raise TypeError(f"the host's parameterNodeWrapper does not know {hint}")
        return members[0], notes, True
    return hint, notes, False


def parameterNodeWrapper(cls: type | None = None) -> Any:
    """Turn a class of annotated fields into a wrapper around a vtkMRMLScriptedModuleNode."""
    if cls is None:
        return parameterNodeWrapper
    parameters = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        has_default = hasattr(cls, name)
        parameters[name] = _Parameter(name, hint, has_default, getattr(cls, name, None))
        setattr(cls, name, property(lambda s, n=name: s.getValue(n), lambda s, v, n=name: s.setValue(n, v)))
    if "dataType" in vars(cls) or "allParameters" in vars(cls):
        raise ValueError(f"{cls.__name__}: dataType and allParameters are the wrapper's own; rename the field")
    members = {k: v for k, v in vars(_Wrapper).items() if k == "__init__" or not k.startswith("__")}
    for name, member in members.items():
        if name != "__init__" and name in vars(cls):
            raise ValueError(f"{cls.__name__}.{name} would hide a method of the wrapper; rename the field")
        setattr(cls, name, member)
    cls.allParameters = parameters  # type: ignore[attr-defined]
    cls.dataType = staticmethod(lambda name: cls._parameter(cls, name).hint)  # type: ignore[attr-defined]
    return cls


def isParameterNodeWrapper(thing: Any) -> bool:
    return hasattr(thing, "allParameters")


class _Cached:
    """A parameter's value as Slicer's wrapper keeps it: read once, and again only when the node says it was modified.

    So a reference to a node that an import has not brought yet stays None until somebody calls ``Modified``.
    """

    def __init__(self, parameter: _Parameter, node: Any) -> None:
        self._parameter, self._node, self._tag = parameter, node, None
        self.value = parameter.read(node)
        self._writing = False
        itself = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: itself() and itself()._modified())

    def __del__(self) -> None:
        if self._tag is not None:
            self._node.RemoveObserver(self._tag)

    def _modified(self) -> None:
        if not self._writing:
            self.value = self._parameter.read(self._node)

    def write(self, value: Any) -> None:
        self._writing = True
        was = self._node.StartModify()
        try:
            self._parameter.write(self._node, value)
            self.value = self._parameter.read(self._node)
        finally:
            self._node.EndModify(was)
            self._writing = False


class _Wrapper:
    """The methods every wrapper has; copied onto the decorated class."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: Any, prefix: str | None = None):
        if prefix:
            raise NotImplementedError("the host's parameterNodeWrapper knows no prefix")
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[int, list]] = {}
        self._next_tag = 0
        self._updating = False
        self._values: dict[str, Any] = {}
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)
            self._values[parameter.name] = _Cached(parameter, parameterNode)

    def getValue(self, name: str) -> Any:
        self._parameter(name)
        return self._values[name].value

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name)
        self._values[name].write(value)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"there is no parameter {name!r}, only {sorted(self.allParameters)}")
        return self.allParameters[name]

    def default(self, name: str) -> Default:
        return Default(self._parameter(name).default)

    def isCached(self, name: str) -> bool:
        self._parameter(name)
        return True

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> int:
        return self.parameterNode.EndModify(was)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui: Any) -> int:
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "findChildren") else list(vars(gui).values())
        named = {w.property(SlicerParameterNamePropertyName): w for w in widgets}
        return self.connectParametersToGui({k: w for k, w in named.items() if k})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        for name in mapping:
            self._parameter(name)
        links = [_Link(widget, self._parameter(name)) for name, widget in mapping.items()]
        for link in links:
            name = link.parameter.name
            link.write(self.getValue(name))
            callback = lambda name=name, link=link: self._from_gui(name, link)  # noqa: E731
            link.callback = lambda callback=callback: callback()
            link.signal().connect(_no_arguments(callback, link))
        tag = self._next_tag
        self._next_tag += 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        self._guis[tag] = (observer, links)
        return tag

    def disconnectGui(self, tag: int) -> None:
        observer, links = self._guis.pop(tag, (None, []))
        if observer is not None:
            self.RemoveObserver(observer)
        for link in links:
            link.signal().disconnect(link.connected)

    def _from_gui(self, name: str, link: _Link) -> None:
        with slicer.util.NodeModify(self):
            if not self._updating:
                self.setValue(name, link.read())

    def _to_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):  # what the widgets bring about is told once, while they are not asked
                for _, links in list(self._guis.values()):
                    for link in links:
                        link.write(self.getValue(link.parameter.name))
        finally:
            self._updating = False


def _no_arguments(callback: Callable, link: _Link) -> Callable:
    def changed() -> None:
        callback()

    link.connected = changed
    return changed


@dataclass(frozen=True)
class _Kind:
    """How Slicer ties a widget to a parameter: types it can show, property and signal."""

    types: tuple
    attribute: str | None
    signal: str | None


_NUMBERS, _TEXTS = (float, int), (str,)
_KINDS = {
    "qMRMLNodeComboBox": _Kind((), None, "currentNodeChanged"),
    "QCheckBox": _Kind((bool,), "checked", "stateChanged"),
    "QPushButton": _Kind((bool,), "checked", "toggled"),
    "ctkCheckablePushButton": _Kind((bool,), "checked", "toggled"),
    "QSlider": _Kind((int,), "value", "valueChanged"),
    "QSpinBox": _Kind((int,), "value", "valueChanged"),
    "QDoubleSpinBox": _Kind(_NUMBERS, "value", "valueChanged"),
    "ctkSliderWidget": _Kind(_NUMBERS, "value", "valueChanged"),
    "QComboBox": _Kind((int, float, str, bool), None, "currentIndexChanged"),
    "ctkComboBox": _Kind((int, float, str, bool), None, "currentIndexChanged"),
    "QLineEdit": _Kind(_TEXTS, "text", "textChanged"),
    "QLabel": _Kind(_TEXTS, "text", None),
    "QTextEdit": _Kind(_TEXTS, "plainText", "textChanged"),
    "ctkPathLineEdit": _Kind((pathlib.Path,), "currentPath", "currentPathChanged"),
}


class _Link:
    """One widget and the property and signal that carry its value."""

    def __init__(self, widget: Any, parameter: _Parameter):
        self.widget, self.parameter = widget, parameter
        self.callback: Any = None
        self.connected: Any = None
        name = type(widget).__name__
        found = _KINDS.get(name)
        self.is_combo = name in ("QComboBox", "ctkComboBox")
        fits = found is not None and not parameter.optional and (
            parameter.kind in found.types
            or (parameter.is_node and name == "qMRMLNodeComboBox")
            or (self.is_combo and _is_enum(parameter.kind))
        )  # fmt: skip
        if found is None or not fits:
            raise RuntimeError(f"a {name} cannot show the parameter {parameter.name!r} of type {parameter.hint}")
        self.attribute, self.signal_name = found.attribute, found.signal
        if parameter.is_node:
            widget.nodeTypes = (parameter.kind.__name__,)
        elif self.is_combo:
            self._fill()
        elif name in ("QSlider", "QSpinBox", "QDoubleSpinBox", "ctkSliderWidget"):
            self._limit(name)
        elif name in ("QPushButton", "ctkCheckablePushButton"):
            widget.checkable = True

    def _note(self, *kinds: type) -> Any:
        return next((note for note in self.parameter.notes if isinstance(note, kinds)), None)

    def _limit(self, name: str) -> None:
        """The range of the parameter, whatever the form says; without one the widget's own limits."""
        low, high = self._note(WithinRange, Minimum), self._note(WithinRange, Maximum)
        if name in ("QSlider", "ctkSliderWidget") and not (low and high):
            raise RuntimeError(f"a {name} cannot show {self.parameter.name!r}, which has no range")
        whole = name in ("QSlider", "QSpinBox")
        self.widget.minimum = low.minimum if low else -(2**31) if whole else float("-inf")
        self.widget.maximum = high.maximum if high else 2**31 - 1 if whole else float("inf")
        decimals, step = self._note(Decimals), self._note(SingleStep)
        if not whole and (decimals is not None or self.parameter.kind is int):
            self.widget.decimals = 0 if self.parameter.kind is int else decimals.value
        if step is not None:
            self.widget.singleStep = step.value

    def _fill(self) -> None:
        """The choices, in place of what the form holds."""
        choice = self._note(Choice)
        if choice is None and not _is_enum(self.parameter.kind):
            raise RuntimeError(f"a combo box cannot show {self.parameter.name!r}, which has no Choice")
        label = getattr(self.parameter.kind, "label", lambda item: item.name)
        self.items = list(self.parameter.kind if _is_enum(self.parameter.kind) else choice.choices)
        self.widget.clear()
        self.widget.addItems([label(item) if isinstance(item, enum.Enum) else str(item) for item in self.items])

    def signal(self) -> Any:
        return getattr(self.widget, self.signal_name) if self.signal_name else _Never()

    def read(self) -> Any:
        if self.parameter.is_node:
            return self.widget.currentNode()
        if self.is_combo:
            return self.items[self.widget.currentIndex]
        value = getattr(self.widget, self.attribute)
        return int(value) if self.parameter.kind is int else self.parameter.kind(value)

    def write(self, value: Any) -> None:
        if self.parameter.is_node:
            self.widget.setCurrentNode(value)
        elif self.is_combo:
            if self.widget.currentIndex != self.items.index(value):
                self.widget.setCurrentIndex(self.items.index(value))
        elif getattr(self.widget, self.attribute) != value:
            setattr(self.widget, self.attribute, str(value) if self.parameter.kind is pathlib.Path else value)


class _Never:
    def connect(self, _function: Callable) -> None: ...

    def disconnect(self, _function: Callable) -> None: ...
