"""The CTK and qMRML widgets a module's panel uses, as plain PySide6 classes on the real MRML scene.

Each class carries those properties, slots and signals of its namesake in CTK or Slicer that the host supports;
`SIGNATURES` maps the C++ signature of a signal to the Python signal that stands for it.
"""

from __future__ import annotations

from typing import Any

import shiboken6
import slicer
import vtk
from PySide6.QtCore import Property, QObject, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)


def stored(kind: Any, attribute: str, default: Any, changed: str = "") -> Property:
    """A Qt property kept in a Python attribute; `changed` names a method to call after writing."""

    def read(self: Any) -> Any:
        return getattr(self, attribute, default)

    def write(self: Any, value: Any) -> None:
        setattr(self, attribute, value)
        if changed:
            getattr(self, changed)()

    return Property(kind, read, write)


class ctkCollapsibleButton(QWidget):
    """CTK: a titled button that folds the widgets laid out in it."""

    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)
    clicked = Signal(bool)
    HIDDEN = ("changeEvent", "paintEvent")

    def __init__(self, *args: Any):
        parent = next((a for a in args if isinstance(a, QWidget)), None)
        super().__init__(parent)
        self._head = QToolButton(self)
        self._head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._head.clicked.connect(self._on_clicked)
        self._collapsed = False
        self._head.setText(next((a for a in args if isinstance(a, str)), ""))
        self._show()

    def _on_clicked(self) -> None:
        self.collapsed = not self._collapsed
        self.clicked.emit(not self._collapsed)

    def _get_text(self) -> str:
        return self._head.text()

    def _set_text(self, text: str) -> None:
        self._head.setText(text)

    def _get(self) -> bool:
        return self._collapsed

    def _set(self, collapsed: bool) -> None:
        if collapsed != self._collapsed:
            self._collapsed = collapsed
            self._show()
            self.contentsCollapsed.emit(collapsed)
            self.toggled.emit(not collapsed)

    def _show(self) -> None:
        self._head.setArrowType(Qt.ArrowType.RightArrow if self._collapsed else Qt.ArrowType.DownArrow)
        for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if child is not self._head and not child.isWindow():
                if self._collapsed and not child.property("_folded"):  # folding twice must not forget what was shown
                    child.setProperty("_folded", True)
                    child.setProperty("_shown", child.isVisibleTo(self))
                    child.hide()
                elif not self._collapsed and child.property("_folded"):
                    child.setProperty("_folded", False)
                    child.setVisible(bool(child.property("_shown")))
        self.setMaximumHeight(self._head.sizeHint().height() + 4 if self._collapsed else 16777215)

    def resizeEvent(self, event: Any) -> None:
        self._head.setGeometry(0, 0, self.width(), self._head.sizeHint().height())
        self._margins()
        super().resizeEvent(event)

    def showEvent(self, event: Any) -> None:
        if self._collapsed:  # children added after the property was set
            self._show()
        self._margins()
        super().showEvent(event)

    def _margins(self) -> None:
        if self.layout() is not None:
            left, _, right, bottom = self.layout().getContentsMargins()
            self.layout().setContentsMargins(left, self._head.sizeHint().height() + 4, right, bottom)

    def setChecked(self, checked: bool) -> None:
        self._set(not checked)

    text = Property(str, _get_text, _set_text)
    collapsed = Property(bool, _get, _set)
    checked = Property(bool, lambda self: not self._collapsed, setChecked)
    checkable = stored(bool, "_checkable", True)
    flat = stored(bool, "_flat", False)
    contentsFrameShape = stored(int, "_shape", 0)
    collapsedHeight = stored(int, "_collapsed_height", 0)


class ctkSliderWidget(QWidget):
    """CTK: a slider of doubles with a spin box beside it."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    SIGNATURES = {"valueChanged(double)": "valueChanged", "valueIsChanging(double)": "valueIsChanging"}  # noqa: RUF012

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin)
        self._spin.setRange(0, 99)
        self._range()
        self._spin.valueChanged.connect(self._on_spin)
        self._slider.valueChanged.connect(
            lambda v: self._spin.setValue(self._spin.minimum() + v * self._spin.singleStep())
        )

    def _range(self) -> None:
        with QSignalBlocker(self._slider):
            steps = (self._spin.maximum() - self._spin.minimum()) / max(self._spin.singleStep(), 1e-9)
            self._slider.setRange(0, int(steps + 0.5))
        self._follow()

    def _follow(self) -> None:
        with QSignalBlocker(self._slider):
            self._slider.setValue(
                round((self._spin.value() - self._spin.minimum()) / max(self._spin.singleStep(), 1e-9))
            )

    def _on_spin(self, value: float) -> None:
        self._follow()
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _write(self, setter: str, value: Any) -> None:
        getattr(self._spin, setter)(value)
        self._range()

    value = Property(float, lambda s: s._spin.value(), lambda s, v: s._spin.setValue(v))
    minimum = Property(float, lambda s: s._spin.minimum(), lambda s, v: s._write("setMinimum", v))
    maximum = Property(float, lambda s: s._spin.maximum(), lambda s, v: s._write("setMaximum", v))
    singleStep = Property(float, lambda s: s._spin.singleStep(), lambda s, v: s._write("setSingleStep", v))
    decimals = Property(int, lambda s: s._spin.decimals(), lambda s, v: s._write("setDecimals", v))
    prefix = Property(str, lambda s: s._spin.prefix(), lambda s, v: s._spin.setPrefix(v))
    suffix = Property(str, lambda s: s._spin.suffix(), lambda s, v: s._spin.setSuffix(v))
    pageStep = stored(float, "_page", 10.0)
    tracking = stored(bool, "_tracking", True)
    spinBoxVisible = Property(bool, lambda s: not s._spin.isHidden(), lambda s, v: s._spin.setVisible(v))

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)


class ctkPathLineEdit(QWidget):
    """CTK: a line edit for a path with a browse button."""

    currentPathChanged = Signal(str)
    SIGNATURES = {"currentPathChanged(QString)": "currentPathChanged"}  # noqa: RUF012

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._edit, self._browse = QLineEdit(self), QToolButton(self)
        self._browse.setText("…")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._edit, 1)
        row.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    def browse(self) -> None:
        path = QFileDialog.getOpenFileName(self)[0]
        if path:
            self._edit.setText(path)

    currentPath = Property(str, lambda s: s._edit.text(), lambda s, v: s._edit.setText(v))
    filters = stored(int, "_filters", 0)
    nameFilters = stored("QStringList", "_name_filters", [])
    settingKey = stored(str, "_key", "")

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)


class ctkComboBox(QComboBox):
    """CTK: a combo box with a default text."""

    defaultText = stored(str, "_default_text", "")


class ctkPushButton(QPushButton):
    """CTK: a push button."""


class ctkCheckablePushButton(ctkPushButton):
    """CTK: a push button with a check box."""

    checkBoxControlsButton = stored(bool, "_controls", True)


class _SceneWidget(QWidget):
    """What the widgets below share: mrmlScene() and setMRMLScene()."""

    _scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._scene_set()

    def _scene_set(self) -> None:
        pass


class qMRMLWidget(_SceneWidget):
    """Slicer: a widget that knows the scene and hands it on through mrmlSceneChanged(vtkMRMLScene*)."""

    mrmlSceneChanged = Signal(object)
    SIGNATURES = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012

    def _scene_set(self) -> None:
        self.mrmlSceneChanged.emit(self._scene)


class qMRMLSortFilterProxyModel(QObject):
    """Slicer: which nodes of the scene a widget lists."""

    def __init__(self, parent: QObject | None = None, changed: Any = None):
        super().__init__(parent)
        self._changed = changed
        self._hidden: list[str] = []

    def hides(self, node: Any) -> bool:
        return node.GetID() in self._hidden

    HIDDEN = ("hides",)

    def setHiddenNodeIDs(self, ids: list[str]) -> None:
        if list(ids) != self._hidden:
            self._hidden = list(ids)
            self._changed()

    hiddenNodeIDs = Property("QStringList", lambda s: s._hidden, setHiddenNodeIDs)


class qMRMLNodeComboBox(_SceneWidget):
    """Slicer: chooses a node of given classes and follows the scene."""

    currentNodeChanged = Signal(object)
    _currentNodeValid = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    SIGNATURES = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "currentNodeChanged",
        "currentNodeChanged(bool)": "_currentNodeValid",
        "currentNodeIDChanged(QString)": "currentNodeIDChanged",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUser(vtkMRMLNode*)": "nodeAddedByUser",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAboutToBeRemoved(vtkMRMLNode*)": "nodeAboutToBeRemoved",
    }

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._combo = QComboBox(self)
        self._combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        self._filter = qMRMLSortFilterProxyModel(self, self._refresh)
        self._current = ""
        self._attributes: list[tuple[str, str, Any]] = []
        self._tags: list[int] = []

    def _scene_set(self) -> None:
        events = ("NodeAddedEvent", "NodeRemovedEvent", "EndCloseEvent", "EndImportEvent", "EndBatchProcessEvent")
        for name in events:
            event = getattr(slicer.vtkMRMLScene, name)
            if name == "NodeAddedEvent":
                self._scene.AddObserver(event, self._on_added)
            else:
                self._scene.AddObserver(event, lambda *_: self._refresh())
        self._refresh()

    def _added(self, caller: Any, event: Any, node: Any) -> None:
        self._refresh()
        if node is not None and self._accepts(node):
            self.nodeAdded.emit(node)

    @property
    def _on_added(self) -> Any:
        if "_added_callback" not in self.__dict__:

            @vtk.calldata_type(vtk.VTK_OBJECT)
            def callback(caller: Any, event: Any, node: Any) -> None:
                self._added(caller, event, node)

            self._added_callback = callback
        return self._added_callback

    def _accepts(self, node: Any) -> bool:
        types_ = self._types if hasattr(self, "_types") else []
        fits = any(node.IsA(t) if self._get("_child_types", True) else node.GetClassName() == t for t in types_)
        for kind, name, value in self._attributes:
            if fits and node.IsA(kind):
                held = node.GetAttribute(name)
                fits = held is not None and (value is None or held == str(value))
        hidden = self._filter.hides(node) or (node.GetHideFromEditors() and not self._get("_show_hidden", False))
        return fits and not hidden

    def _get(self, attribute: str, default: Any) -> Any:
        return getattr(self, attribute, default)

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        return [
            n for n in (self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())) if self._accepts(n)
        ]

    def _refresh(self) -> None:
        if not shiboken6.isValid(self._combo):  # the scene still calls a panel that is gone
            return
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        nodes = self._nodes()
        with QSignalBlocker(self._combo):
            self._combo.clear()
            if self._get("_none", False):
                self._combo.addItem(self._get("_none_text", "None"), "")
            for node in nodes:
                self._combo.addItem(node.GetName(), node.GetID())
            base = self._get("_base", "") or "node"
            if self._get("_add", True) and self._get("_types", []):
                self._combo.addItem(f"Create new {base}", "+")
            if self._get("_remove", True) and nodes:
                self._combo.addItem("Delete current", "-")
        ids = [n.GetID() for n in nodes]
        wanted = self._current
        if wanted not in ids:
            wanted = "" if self._get("_none", False) or not ids else ids[0]
        self._select(wanted)

    def _select(self, node_id: str) -> None:
        with QSignalBlocker(self._combo):
            self._combo.setCurrentIndex(self._combo.findData(node_id))
        if node_id != self._current:
            self._current = node_id
            node = self.currentNode()
            self.currentNodeChanged.emit(node)
            self._currentNodeValid.emit(node is not None)
            self.currentNodeIDChanged.emit(node_id)

    def _on_activated(self, index: int) -> None:
        data = self._combo.itemData(index)
        if data == "+":
            node = self.addNode()
            self.nodeAddedByUser.emit(node)
        elif data == "-":
            self.removeCurrentNode()
        else:
            self._select(data)
            self.nodeActivated.emit(self.currentNode())

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID("" if node is None else node if isinstance(node, str) else node.GetID())

    def setCurrentNodeID(self, node_id: str) -> None:
        ids = [n.GetID() for n in self._nodes()]
        if node_id in ids:
            self._select(node_id)
        elif not node_id or self._get("_none", False):
            self._select("")

    def setCurrentNodeIndex(self, index: int) -> None:
        nodes = self._nodes()
        self._select(nodes[index].GetID() if 0 <= index < len(nodes) else "")

    def sortFilterProxyModel(self) -> QObject:
        return self._filter

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes()[index]

    def addNode(self, kind: str = "") -> Any:
        node = self._scene.AddNewNodeByClass(kind or self._types[0])
        if self._get("_base", ""):
            node.SetName(self._scene.GenerateUniqueName(self._base))
        if self._get("_select_new", True):
            self.setCurrentNode(node)
        return node

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._attributes.append((kind, name, value))
        self._refresh()

    nodeTypes = stored("QStringList", "_types", [], "_refresh")
    noneEnabled = stored(bool, "_none", False, "_refresh")
    addEnabled = stored(bool, "_add", True, "_refresh")
    removeEnabled = stored(bool, "_remove", True, "_refresh")
    renameEnabled = stored(bool, "_rename", False)
    editEnabled = stored(bool, "_edit", False)
    showHidden = stored(bool, "_show_hidden", False, "_refresh")
    showChildNodeTypes = stored(bool, "_child_types", True, "_refresh")
    hideChildNodeTypes = stored("QStringList", "_hidden_types", [])
    baseName = stored(str, "_base", "", "_refresh")
    noneDisplay = stored(str, "_none_text", "None", "_refresh")
    selectNodeUponCreation = stored(bool, "_select_new", True)
    interactionNodeSingletonTag = stored(str, "_singleton", "")
    currentNodeID = Property(str, lambda s: s._current, lambda s, v: s.setCurrentNodeID(v))


class qMRMLSegmentsTableView(qMRMLWidget):
    """Slicer: the segments of a segmentation with visibility, colour and opacity."""

    selectionChanged = Signal(object, object)
    segmentAboutToBeModified = Signal(str)
    SIGNATURES = {  # noqa: RUF012
        **qMRMLWidget.SIGNATURES,
        "selectionChanged(QItemSelection,QItemSelection)": "selectionChanged",
        "segmentAboutToBeModified(QString)": "segmentAboutToBeModified",
    }

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._table = QTableWidget(0, 4, self)
        self._table.setHorizontalHeaderLabels(["●", "", "Opacity", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        for column, width in enumerate((32, 32, 64)):
            self._table.setColumnWidth(column, width)
        self._table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._table)
        self._node: Any = None
        self._tags: list[int] = []
        self._filling = False
        self._table.itemChanged.connect(self._on_item)
        self._table.itemSelectionChanged.connect(self._on_selection)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        for tag in self._tags:
            self._node.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            core = slicer.vtkSegmentation
            events = (
                core.SegmentAdded,
                core.SegmentRemoved,
                core.SegmentModified,
                slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent,
            )
            self._tags = [node.AddObserver(e, lambda *_: self._fill()) for e in events]
        self._fill()

    def _ids(self) -> list[str]:
        return list(self._node.GetSegmentation().GetSegmentIDs()) if self._node is not None else []

    def _fill(self) -> None:
        self._filling = True
        self._table.setRowCount(len(self._ids()))
        display = self._node.GetDisplayNode() if self._node is not None else None
        for row, segment_id in enumerate(self._ids()):
            segment = self._node.GetSegmentation().GetSegment(segment_id)
            shown = QTableWidgetItem()
            visible = display is None or display.GetSegmentVisibility(segment_id)
            shown.setCheckState(Qt.CheckState.Checked if visible else Qt.CheckState.Unchecked)
            colour = QPixmap(16, 16)
            colour.fill(QColor.fromRgbF(*segment.GetColor()))
            opacity = display.GetSegmentOpacity3D(segment_id) if display is not None else 1.0
            items = (
                shown,
                QTableWidgetItem(QIcon(colour), ""),
                QTableWidgetItem(f"{opacity:.2f}"),
                QTableWidgetItem(segment.GetName()),
            )
            for column, item in enumerate(items):
                self._table.setItem(row, column, item)
        self._filling = False

    def _on_item(self, item: QTableWidgetItem) -> None:
        if self._filling or self._node is None:
            return
        segment_id = self._ids()[item.row()]
        self.segmentAboutToBeModified.emit(segment_id)
        if item.column() == 0:
            self._node.GetDisplayNode().SetSegmentVisibility(segment_id, item.checkState() == Qt.CheckState.Checked)
        elif item.column() == 3:
            self._node.GetSegmentation().GetSegment(segment_id).SetName(item.text())

    def _on_selection(self) -> None:
        self.selectionChanged.emit(None, None)  # the host passes no QItemSelection; ask selectedSegmentIDs()

    def tableWidget(self) -> QTableWidget:
        return self._table

    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted({i.row() for i in self._table.selectedIndexes()})
        return [self._ids()[r] for r in rows]

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        self._table.clearSelection()
        for segment_id in ids:
            self._table.selectRow(self._ids().index(segment_id))

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def rowForSegmentID(self, segment_id: str) -> int:
        return self._ids().index(segment_id) if segment_id in self._ids() else -1

    def segmentIDForRow(self, row: int) -> str:
        return self._ids()[row]

    def _column(self: Any, index: int, shown: bool) -> None:
        self._table.setColumnHidden(index, not shown)

    segmentCount = Property(int, lambda s: len(s._ids()))
    visibilityColumnVisible = Property(bool, lambda s: not s._table.isColumnHidden(0), lambda s, v: s._column(0, v))
    colorColumnVisible = Property(bool, lambda s: not s._table.isColumnHidden(1), lambda s, v: s._column(1, v))
    opacityColumnVisible = Property(bool, lambda s: not s._table.isColumnHidden(2), lambda s, v: s._column(2, v))
    headerVisible = Property(
        bool,
        lambda s: not s._table.horizontalHeader().isHidden(),
        lambda s, v: s._table.horizontalHeader().setVisible(v),
    )
    statusColumnVisible = stored(bool, "_status", False)
    layerColumnVisible = stored(bool, "_layer", False)
    readOnly = stored(bool, "_read_only", False)
    filterBarVisible = stored(bool, "_filter_bar", False)
    textFilter = stored(str, "_filter", "")
    selectionMode = Property(
        int,
        lambda s: s._table.selectionMode().value,
        lambda s, v: s._table.setSelectionMode(QAbstractItemView.SelectionMode(v)),
    )
    jumpToSelectedSegmentEnabled = stored(bool, "_jump", False)
    useTerminologySelector = stored(bool, "_terminology", True)


CTK = {
    c.__name__: c
    for c in (
        ctkCollapsibleButton,
        ctkSliderWidget,
        ctkPathLineEdit,
        ctkComboBox,
        ctkPushButton,
        ctkCheckablePushButton,
    )
}
CTK["ctkFrame"] = QFrame
MRML = {c.__name__: c for c in (qMRMLWidget, qMRMLNodeComboBox, qMRMLSortFilterProxyModel, qMRMLSegmentsTableView)}
