"""Loads a .ui file with the host's CTK and qMRML widgets and makes the connections that carry MRML objects."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pythonqt
from PySide6.QtCore import QBuffer, QByteArray, QFile, QObject
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QWidget
from segmenteditor import qMRMLSegmentEditorWidget
from widgets import CTK
from widgets import MRML as SIMPLE

MRML = SIMPLE | {"qMRMLSegmentEditorWidget": qMRMLSegmentEditorWidget}
OWN = CTK | MRML


class _Builder(QUiLoader):
    def createWidget(self, class_name: str, parent: QWidget | None = None, name: str = "") -> QWidget:
        own = OWN.get(class_name)
        if own is None:
            if class_name.startswith(("qMRML", "qSlicer", "ctk")):
                raise RuntimeError(f"the test host has no {class_name}; add it to widgets.py or choose another widget")
            return super().createWidget(class_name, parent, name)
        widget = own(parent)
        widget.setObjectName(name)
        return widget


class HostUiLoader(QObject):
    """Stands for QUiLoader in Slicer, with its designer plugins for CTK and qMRML."""

    def load(self, file: QFile, parent: QWidget | None = None) -> QWidget:
        tree = ElementTree.fromstring(bytes(file.readAll().data()))
        mrml = []
        for connections in tree.findall("connections"):
            for connection in list(connections):
                if "vtkMRML" in (connection.findtext("signal") or ""):
                    connections.remove(connection)
                    mrml.append({part.tag: part.text for part in connection if part.text})
        data = QBuffer()
        data.setData(QByteArray(ElementTree.tostring(tree)))
        builder = _Builder()
        root = builder.load(data, parent)
        if root is None:
            raise RuntimeError(f"{file.fileName()}: {builder.errorString()}")
        for link in mrml:
            sender, receiver = (_named(root, link[end] or "") for end in ("sender", "receiver"))
            slot_name = link["slot"].split("(")[0]
            pythonqt.wrap(sender).connect(link["signal"], _quiet(receiver, slot_name))
        root._loader = builder  # the widgets' Python halves live as long as it does
        root._children = root.findChildren(QObject)
        return root


def _quiet(receiver: QObject, slot_name: str) -> Any:
    method = getattr(receiver, slot_name)
    return lambda value: method(value)


def _named(root: QObject, name: str) -> QObject:
    found = root if root.objectName() == name else root.findChild(QObject, name)
    if found is None:
        raise RuntimeError(f"the .ui file connects '{name}', which it does not define")
    return found
