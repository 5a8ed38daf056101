"""PythonQt's manners over PySide6: every QObject is handled through a strict proxy.

In Slicer, PythonQt wraps each QObject: Qt properties are attributes, ``connect('clicked(bool)', f)`` trims arguments,
and an unknown name is an AttributeError on reading and on writing. The proxies here do the same; PySide6 itself is left
untouched.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

errors: list[BaseException] = []  # what slots raised; PythonQt prints these and goes on
_classes: dict[type, type] = {}
_extra: dict[str, Any] = {}  # names added to the qt module: the .ui loader, and the painter below
# PySide6's own helpers, which PythonQt does not have
_PYSIDE_ONLY = {
    "staticMetaObject",
    "sender",
    "receivers",
    "isSignalConnected",
    "connectNotify",
    "disconnectNotify",
    "tr",
}


def wrap(value: Any) -> Any:
    """Give a value from Qt to the module: QObjects become proxies, all else passes."""
    if isinstance(value, QtCore.QObject):
        proxy = value.__dict__.get("_pythonqt")
        if proxy is None:
            proxy = object.__new__(wrapper_class(type(value)))
            _adopt(proxy, value)
        return proxy
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value: Any) -> Any:
    """Give a value from the module to Qt."""
    if isinstance(value, Wrapped):
        return value._qt
    if isinstance(value, list | tuple):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, types.FunctionType | types.MethodType):
        return slot(value)
    return value


def _adopt(proxy: Wrapped, qt_object: QtCore.QObject) -> None:
    object.__setattr__(proxy, "_qt", qt_object)
    qt_object.__dict__["_pythonqt"] = proxy


def slot(function: Callable, most: int | None = None) -> Callable:
    """A callable for PySide6 that passes `function` only as many arguments as it takes, and records what it raises.

    PySide6 asks the callable how many it takes, too, so there is one of each arity.
    """
    code = getattr(function, "__func__", function)
    code = getattr(code, "__code__", None)
    takes = sys.maxsize
    if code is not None and not code.co_flags & inspect.CO_VARARGS:
        takes = code.co_argcount - (1 if isinstance(function, types.MethodType) else 0)
    takes = takes if most is None else min(takes, most)

    def call(*args: Any) -> Any:
        try:
            return unwrap(function(*[wrap(a) for a in args[:takes]]))
        except Exception as error:
            errors.append(error)
            traceback.print_exc()
            return None

    if most is None:  # not a signal: whatever comes
        return call
    return (
        lambda: call(),
        lambda a: call(a),
        lambda a, b: call(a, b),
        lambda a, b, c: call(a, b, c),
        lambda a, b, c, d: call(a, b, c, d),
    )[takes]


class SignalProxy:
    """``widget.clicked``: connect, disconnect, or call to emit."""

    def __init__(self, owner: Wrapped, name: str):
        self._owner, self._name = owner, name

    def connect(self, function: Callable) -> bool:
        return self._owner._connect(self._name, self._name, function, self._owner._arity(self._name))

    def disconnect(self, function: Callable) -> bool:
        return self._owner._disconnect(self._name, function)

    def __call__(self, *args: Any) -> None:
        getattr(self._owner._qt, self._name).emit(*unwrap(args))


class WrapperMeta(type):
    """Makes enums and static methods of the Qt class reachable from the proxy class."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or "_qt_class" not in dir(cls):
            raise AttributeError(name)
        found = getattr(cls._qt_class, name, None)  # type: ignore[attr-defined]
        if found is None or name in _PYSIDE_ONLY:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        if callable(found) and not isinstance(found, type):
            return lambda *args: wrap(found(*[unwrap(a) for a in args]))
        return found


def meta_of(qt_object: QtCore.QObject) -> QtCore.QMetaObject:
    """The meta object of an object's class.

    Not by ``metaObject()``: PySide6 6.12 takes what that returns for a child of the object, and deletes the class's own
    ``staticMetaObject``, for the whole process, with the first widget around such an object.
    """
    return type(qt_object).staticMetaObject


class Wrapped(metaclass=WrapperMeta):
    """A QObject as PythonQt shows it."""

    _qt_class: type = QtCore.QObject
    _plain = True  # False for Python subclasses, which may carry attributes of their own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._plain = "_generated" in cls.__dict__

    def __init__(self, *args: Any) -> None:
        qt_class = type(self)._qt_class if type(self)._plain else _with_overrides(type(self), self)
        _adopt(self, qt_class(*[unwrap(a) for a in args]))

    def _alive(self) -> QtCore.QObject:
        qt_object = self.__dict__.get("_qt")
        if qt_object is None or not shiboken6.isValid(qt_object):
            raise ValueError(f"trying to use a destroyed {type(self).__name__} object")
        return qt_object

    def __getattr__(self, name: str) -> Any:
        qt_object = self._alive()
        meta = meta_of(qt_object)
        if name == "name":
            return qt_object.objectName()
        if meta.indexOfProperty(name) >= 0:
            return wrap(qt_object.property(name))
        if name.startswith("set") and len(name) > 3 and not hasattr(type(qt_object), name):  # a property's write slot
            own = name[3].lower() + name[4:]
            index = meta.indexOfProperty(own)
            if index >= 0 and meta.property(index).isWritable():
                return lambda value: setattr(self, own, value)
        refused = name.startswith("_") or name in _PYSIDE_ONLY
        found = None if refused else getattr(type(qt_object), name, None)
        if found is None or name in getattr(qt_object, "HIDDEN", ()):
            raise AttributeError(f"{meta.className()} has no attribute named '{name}'")
        if type(found) is QtCore.Signal:
            return SignalProxy(self, name)
        found = getattr(qt_object, name)
        if type(found).__name__ == "SignalInstance":
            return SignalProxy(self, name)
        if callable(found) and not isinstance(found, type):
            return lambda *args: wrap(found(*[unwrap(a) for a in args]))
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if "_qt" not in self.__dict__:  # a Python subclass before super().__init__()
            object.__setattr__(self, name, value)
            return
        qt_object = self._alive()
        name = "objectName" if name == "name" else name
        index = meta_of(qt_object).indexOfProperty(name)
        if index >= 0:
            if not meta_of(qt_object).property(index).isWritable():
                raise AttributeError(f"{meta_of(qt_object).className()}.{name} is read only")
            given = list(value) if isinstance(value, tuple) else unwrap(value)  # PythonQt takes any sequence for a list
            if not qt_object.setProperty(name, given):
                raise ValueError(f"property '{name}' of {meta_of(qt_object).className()} does not take {value!r}")
        elif not type(self)._plain:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(f"{meta_of(qt_object).className()} has no attribute named '{name}' to set")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapped) and self._qt is other._qt

    def __hash__(self) -> int:
        return id(self._qt)

    def __bool__(self) -> bool:
        return shiboken6.isValid(self._qt)

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self._qt.objectName() if bool(self) else 'destroyed'})"

    # -- what PythonQt adds to QObject or does its own way
    def className(self) -> str:
        return meta_of(self._alive()).className()

    def delete(self) -> None:
        shiboken6.delete(self._alive())

    def exec_(self, *args: Any) -> Any:
        return wrap(self._alive().exec(*[unwrap(a) for a in args]))

    def property(self, name: str) -> Any:
        return wrap(self._alive().property(name))

    def setProperty(self, name: str, value: Any) -> bool:
        return self._alive().setProperty(name, unwrap(value))

    def findChildren(self, kind: Any = QtCore.QObject, name: str = "") -> list:
        return [wrap(child) for child in self._alive().findChildren(QtCore.QObject) if _matches(child, kind, name)]

    def findChild(self, kind: Any = QtCore.QObject, name: str = "") -> Any:
        return next(iter(self.findChildren(kind, name)), None)

    def connect(self, signal: str, *receiver: Any) -> bool:
        name, count = self._resolve(signal)
        target = receiver[0]
        if len(receiver) == 2:  # connect('clicked()', other, 'close()')
            target = getattr(receiver[0], receiver[1].split("(")[0])
        return self._connect(signal.replace(" ", ""), name, target, count)

    def disconnect(self, signal: str, *receiver: Any) -> bool:
        target = receiver[0] if len(receiver) == 1 else getattr(receiver[0], receiver[1].split("(")[0])
        return self._disconnect(signal.replace(" ", ""), target)

    def _resolve(self, signal: str) -> tuple[str, int]:
        """The PySide6 signal and the number of arguments behind a signature such as 'clicked(bool)'."""
        qt_object = self._alive()
        signal = re.sub(r"const | |&", "", signal)
        match = re.fullmatch(r"(\w+)\((.*)\)", signal)
        if match is None:
            raise ValueError(f"'{signal}' is not a signal signature such as 'clicked()'")
        own = getattr(qt_object, "SIGNATURES", {})
        normal = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
        known = signal in own or meta_of(qt_object).indexOfSignal(normal) >= 0
        if not known:
            raise AttributeError(f"{meta_of(qt_object).className()} has no signal '{signal}'")
        return own.get(signal, match[1]), len([a for a in match[2].split(",") if a])

    def _arity(self, name: str) -> int:
        """How many arguments the longest signal of that name has; PythonQt takes that one."""
        meta = meta_of(self._alive())
        methods = (meta.method(index) for index in range(meta.methodCount()))
        return max((m.parameterCount() for m in methods if bytes(m.name().data()).decode() == name), default=0)

    def _connect(self, key: str, name: str, function: Callable, count: int) -> bool:
        call = slot(function, count)
        table = self._qt.__dict__.setdefault("_connections", [])
        table.append((key, function, call, name))
        return bool(getattr(self._alive(), name).connect(call))

    def _disconnect(self, key: str, function: Callable) -> bool:
        table = self._qt.__dict__.get("_connections", [])
        for entry in table:
            if entry[0] == key and entry[1] == function:
                getattr(self._alive(), entry[3]).disconnect(entry[2])
                table.remove(entry)
                return True
        return False


def _matches(child: QtCore.QObject, kind: Any, name: str) -> bool:
    if name and child.objectName() != name:
        return False
    if isinstance(kind, str):
        return child.inherits(kind)
    return isinstance(child, getattr(kind, "_qt_class", kind))


def _with_overrides(cls: type, proxy: Wrapped) -> type:
    """A Qt class whose virtual methods call what the module's Python subclass defines under the same name."""
    qt_class = cls._qt_class  # type: ignore[attr-defined]
    members: dict[str, Any] = {}
    for base in cls.__mro__:
        if getattr(base, "_plain", True):
            break
        for name, member in vars(base).items():
            if isinstance(member, types.FunctionType) and not name.startswith("_") and hasattr(qt_class, name):
                members.setdefault(name, _forward(proxy, name))
    return type(qt_class)(cls.__name__, (qt_class,), members) if members else qt_class


def _forward(proxy: Wrapped, name: str) -> Callable:
    return lambda _self, *args: unwrap(getattr(proxy, name)(*[wrap(a) for a in args]))


def wrapper_class(qt_class: type) -> type:
    """The proxy class of a Qt class; the proxy classes inherit from each other as the Qt classes do."""
    if qt_class is QtCore.QObject:
        _classes.setdefault(qt_class, type("QObject", (Wrapped,), {"_generated": True, "_qt_class": qt_class}))
    if qt_class not in _classes:
        bases = tuple(wrapper_class(b) for b in qt_class.__bases__ if issubclass(b, QtCore.QObject))
        members = {"_generated": True, "_qt_class": qt_class}
        _classes[qt_class] = WrapperMeta(qt_class.__name__, bases, members)
    return _classes[qt_class]


class Painter(QtGui.QPainter):
    """Draws on a QObject, as QPdfWriter is, too."""

    def begin(self, device: Any) -> bool:
        return bool(super().begin(unwrap(device)))


_extra["QPainter"] = Painter


class QtModule(types.ModuleType):
    """``import qt``: the classes of QtCore, QtGui and QtWidgets in one module, as in Slicer."""

    def __getattr__(self, name: str) -> Any:
        if name in _extra:
            return _extra[name]
        for source in (QtWidgets, QtGui, QtCore):
            found = getattr(source, name, None)
            if isinstance(found, type):
                return wrapper_class(found) if issubclass(found, QtCore.QObject) else found
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def make_module(name: str, classes: dict[str, type]) -> types.ModuleType:
    """A module such as ctk from the host's own widget classes."""
    module = types.ModuleType(name)
    for class_name, qt_class in classes.items():
        setattr(module, class_name, wrapper_class(qt_class))
    return module
