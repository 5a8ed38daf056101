"""Stands for Slicer's Segment Editor widget: real logic, undo and masking; only brush and eraser have hands here."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import applog
import numpy as np
import slicer
import vtk
from PySide6.QtCore import Property, QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFrame,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from vtk.util.numpy_support import vtk_to_numpy
from widgets import qMRMLSegmentsTableView, qMRMLWidget, stored

HANDS = ("Paint", "Erase")
EFFECTS = (*HANDS, "Threshold", "Draw", "Grow from seeds", "Margin", "Hollow", "Smoothing", "Scissors", "Islands")
NO_EFFECT = "NULL"  # the object name of the arrow that puts the effect down
OPTIONS_WIDTH = 540  # of the widest effect's options; they widened the module panel from 430 to 600 pixels
NO_SETTINGS = "Invalid segment editor parameter set node"


class qMRMLSegmentationShow3DButton(QToolButton):
    """Slicer: makes and removes the closed surface; whether it is seen is left to the display node."""

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self.setText("Show 3D")
        self.setCheckable(True)
        self._node: Any = None
        self.toggled.connect(self._toggled)

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self._show()

    def _show(self) -> None:
        was = self.blockSignals(True)
        self.setChecked(self._node is not None and self._node.GetSegmentation().ContainsRepresentation(_SURFACE()))
        self.blockSignals(was)

    def _toggled(self, on: bool) -> None:
        if self._node is None:
            return
        if on:
            self._node.GetSegmentation().CreateRepresentation(_SURFACE())
        else:
            self._node.GetSegmentation().RemoveRepresentation(_SURFACE())


def _SURFACE() -> str:
    return str(slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName())


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Slicer: effects that change the selected segment, with undo.

    Edits go through vtkSlicerSegmentEditorLogic, as in Slicer, so that masks, other segments and the history are the
    real ones. The brush is a flat disc, applied when the mouse button is released.
    """

    currentSegmentIDChanged = Signal(str)
    SIGNATURES = {  # noqa: RUF012
        **qMRMLWidget.SIGNATURES,
        "currentSegmentIDChanged(QString)": "currentSegmentIDChanged",
    }
    HIDDEN = ("eventFilter",)

    def __init__(self, parent: QWidget | None = None):
        super().__init__(parent)
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._logic.AddObserver(self._logic.SegmentationHistoryChangedEvent, lambda *_: self._show())
        self._settings: Any = None
        self._settings_tag = 0
        self._order: list[str] = list(EFFECTS)
        self._others = True
        self._views: list[QWidget] = []
        self._stroke: list[np.ndarray] = []
        self._shortcuts: list[QShortcut] = []
        self._last = HANDS[0]
        self._masking = True
        self._columns = 2
        self._build()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        self._sections(column)
        effects = QFrame(self)
        effects.setObjectName("EffectsGroupBox")
        self._grid = QGridLayout(effects)
        self._grid.setContentsMargins(0, 0, 0, 0)
        column.addWidget(effects)
        self._effects: dict[str, QToolButton] = {}
        row = QHBoxLayout()
        column.addLayout(row)
        self._undo, self._redo = QToolButton(self), QToolButton(self)
        for button, name, text, action in (
            (self._undo, "UndoButton", "Undo", self.undo),
            (self._redo, "RedoButton", "Redo", self.redo),
        ):
            button.setObjectName(name)
            button.setText(text)
            button.clicked.connect(action)
            row.addWidget(button)
        self._options_and_masking(column)
        self._fill()

    def _sections(self, column: QVBoxLayout) -> None:
        """What Slicer shows above the effects unless it is hidden."""
        row = QHBoxLayout()
        column.addLayout(row)
        self._parts: dict[str, list[QWidget]] = {}
        for part, name, text in (
            ("geometry", "SpecifyGeometryButton", "Specify geometry"),
            ("add", "AddSegmentButton", "Add"),
            ("add", "RemoveSegmentButton", "Remove"),
            ("switch", "SwitchToSegmentationsButton", "Segmentations…"),
        ):
            button = QPushButton(text, self)
            button.setObjectName(name)
            self._parts.setdefault(part, []).append(button)
            row.addWidget(button)
        self._surface = qMRMLSegmentationShow3DButton(self)
        self._surface.setObjectName("Show3DButton")
        self._parts["surface"] = [self._surface]
        row.addWidget(self._surface)
        for part, text in (("segmentation", "Segmentation:"), ("volume", "Source volume:")):
            self._parts[part] = [QLabel(text, self)]
            column.addWidget(self._parts[part][0])
        frame = QFrame(self)
        frame.setObjectName("SegmentsTableResizableFrame")
        self._table = qMRMLSegmentsTableView(frame)
        self._table.setObjectName("SegmentsTableView")
        self._table.setMinimumHeight(70)
        QVBoxLayout(frame).addWidget(self._table)
        column.addWidget(frame)

    def _options_and_masking(self, column: QVBoxLayout) -> None:
        self._options = QGroupBox(self)
        self._options.setObjectName("OptionsGroupBox")
        self._frame = QFrame(self._options)
        self._frame.setObjectName("EffectsOptionsFrame")
        self._frame.setMinimumWidth(OPTIONS_WIDTH)
        QVBoxLayout(self._options).addWidget(self._frame)
        options = QHBoxLayout(self._frame)
        options.addWidget(QLabel("Diameter:", self))
        self._diameter = QDoubleSpinBox(self)
        self._diameter.setObjectName("BrushDiameter")
        self._diameter.setRange(0.5, 80)
        self._diameter.setValue(8)
        self._diameter.setSuffix(" mm")
        options.addWidget(self._diameter, 1)
        self._mask_box = QGroupBox("Masking", self)
        self._mask_box.setObjectName("MaskingGroupBox")
        for box in (self._options, self._mask_box):
            column.addWidget(box)
            box.hide()

    def _fill(self) -> None:
        """The effect buttons, in order; those without hands are there to be seen."""
        for button in self._effects.values():
            button.setParent(None)
            button.deleteLater()
        names = [n for n in self._order if n in EFFECTS]
        names += [n for n in EFFECTS if n not in names] if self._others else []
        self._effects = {}
        for index, name in enumerate((NO_EFFECT, *names)):
            button = QToolButton(self)
            button.setObjectName(name)
            button.setText(name if name != NO_EFFECT else "None")
            button.setCheckable(True)
            button.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Preferred)
            button.setToolTip("" if name in (*HANDS, NO_EFFECT) else "In Slicer; the test host has no hands for it.")
            button.clicked.connect(lambda _checked=False, n=name: self._toggle(n))
            self._grid.addWidget(button, index // self._columns, index % self._columns)
            self._effects[name] = button
        self._show()

    # -- what it works on
    def _scene_set(self) -> None:
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(self._scene)
        super()._scene_set()

    def mrmlSegmentEditorNode(self) -> Any:
        return self._settings

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self._settings:
            return
        if self._settings is not None:
            self._settings.RemoveObserver(self._settings_tag)
        self._settings = node
        self._logic.SetSegmentEditorNode(node)
        if node is not None:
            self._settings_tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        self._show()

    def segmentationNode(self) -> Any:
        return self._logic.GetSegmentationNode()

    def setSegmentationNode(self, node: Any) -> None:
        if self._logic.GetSegmentationNode() is node:
            return
        self._logic.SetSegmentationNode(node)
        self._table.setSegmentationNode(node)
        self._surface.setSegmentationNode(node)
        self.setActiveEffect(None)

    def sourceVolumeNode(self) -> Any:
        return self._logic.GetSourceVolumeNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._logic.SetSourceVolumeNode(node)

    def currentSegmentID(self) -> str:
        return self._logic.GetCurrentSegmentID()

    def setCurrentSegmentID(self, segment_id: str) -> None:
        if self._settings is not None and segment_id != self._settings.GetSelectedSegmentID():
            self._settings.SetSelectedSegmentID(segment_id)
            self.currentSegmentIDChanged.emit(segment_id)

    # -- effects
    def availableEffectNames(self) -> list[str]:
        return list(EFFECTS)

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._order = list(names)
        self._fill()

    def effectNameOrder(self) -> list[str]:
        return self._order

    def setUnorderedEffectsVisible(self, visible: bool) -> None:
        self._others = visible
        self._fill()

    def setActiveEffectByName(self, name: str) -> None:
        if self._settings is not None:
            self._settings.SetActiveEffectName(name if name in HANDS else "")

    def setActiveEffect(self, effect: Any) -> None:
        if effect is not None:
            raise NotImplementedError("the test host has no effect objects; use setActiveEffectByName")
        self.setActiveEffectByName("")

    def setEffectColumnCount(self, columns: int) -> None:
        self._columns = columns
        self._fill()

    def _active(self) -> str:
        return (self._settings.GetActiveEffectName() or "") if self._settings is not None else ""

    def _toggle(self, name: str) -> None:
        """The person chooses an effect, which ends the placing of markups, or puts it down."""
        chosen = "" if name in (self._active(), NO_EFFECT) else name
        if chosen:
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)
        self.setActiveEffectByName(chosen)
        self._show()

    def _show(self) -> None:
        active, usable = self._active(), self._settings is not None and self.sourceVolumeNode() is not None
        self._last = active or self._last
        for name, button in self._effects.items():
            button.setEnabled(usable and name in (*HANDS, NO_EFFECT))
            button.setChecked(name == (active or NO_EFFECT))
        self._options.setVisible(bool(active))
        self._options.setTitle(active)
        self._mask_box.setVisible(bool(active) and self._masking)
        self._undo.setEnabled(self._logic.CanUndo())
        self._redo.setEnabled(self._logic.CanRedo())

    # -- history
    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def undo(self) -> None:
        self._logic.Undo()

    def redo(self) -> None:
        self._logic.Redo()

    def maximumNumberOfUndoStates(self) -> int:
        return int(self._logic.GetMaximumNumberOfUndoStates())

    def setMaximumNumberOfUndoStates(self, most: int) -> None:
        self._logic.SetMaximumNumberOfUndoStates(most)

    def _set_undo(self, enabled: bool) -> None:
        if enabled:
            self._logic.ClearUndoState()
        self._undo.setVisible(enabled)
        self._redo.setVisible(enabled)

    # -- the hands
    def setupViewObservations(self) -> None:
        self.removeViewObservations()
        layout = slicer.app.layoutManager()._qt
        self._views = [layout.sliceWidget(name).sliceView() for name in layout.sliceViewNames()]
        for view in self._views:
            view.installEventFilter(self)

    def removeViewObservations(self) -> None:
        for view in self._views:
            view.removeEventFilter(self)
        self._views = []

    def eventFilter(self, view: QObject, event: QEvent) -> bool:
        kind = event.type()
        if not self.isEnabled() or self._active() not in HANDS:
            return False
        if kind == QEvent.Type.MouseButtonPress and event.button() == Qt.MouseButton.LeftButton:
            self._stroke = [self._world(view, event)]
        elif kind == QEvent.Type.MouseMove and self._stroke:
            self._stroke.append(self._world(view, event))
        elif kind == QEvent.Type.MouseButtonRelease and self._stroke:
            self._apply(view.mrmlSliceNode())
            self._stroke = []
        else:
            return False
        return True

    def _world(self, view: Any, event: Any) -> np.ndarray:
        return np.array(view.world(event.position()))

    def _apply(self, slice_node: Any) -> None:
        """Draw the stroke into the logic's modifier and let the logic put it into the segment."""
        logic, node = self._logic, self.segmentationNode()
        logic.SaveStateForUndo()
        logic.UpdateReferenceGeometryImage()
        logic.ResetModifierLabelmapToDefault()
        logic.UpdateAlignedSourceVolume()
        logic.UpdateMaskLabelmap()
        modifier = logic.GetModifierLabelmap()
        extent = self._draw(modifier, node, slice_node)
        if extent is not None:
            mode = logic.ModificationModeAdd if self._active() == "Paint" else logic.ModificationModeRemove
            logic.ModifySegmentByLabelmap(node, self.currentSegmentID(), modifier, mode, extent, False, False)

    def _draw(self, modifier: Any, node: Any, slice_node: Any) -> list[int] | None:
        """Set the voxels whose centres lie in the brush; their extent, None when there are none."""
        matrix, parent = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        modifier.GetImageToWorldMatrix(matrix)
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(node.GetParentTransformNode(), None, parent)
        vtk.vtkMatrix4x4.Multiply4x4(parent, matrix, matrix)
        to_world = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
        to_ras = slice_node.GetSliceToRAS()
        normal = np.array([to_ras.GetElement(r, 2) for r in range(3)])
        thickness = np.abs(normal @ (to_world[:3, :3])).max()
        radius = self._diameter.value() / 2
        x0, x1, y0, y1, z0, z1 = modifier.GetExtent()
        scalars = vtk_to_numpy(modifier.GetPointData().GetScalars()).reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
        reach = np.ceil(radius / np.linalg.norm(to_world[:3, :3], axis=0)).astype(int) + 1
        for point in _dense(self._stroke, radius / 2):
            middle = (np.linalg.inv(to_world) @ (*point, 1))[:3]
            axes = [
                np.arange(max(low, int(m) - r), min(high, int(m) + 1 + r) + 1)
                for m, r, low, high in zip(middle, reach, (x0, y0, z0), (x1, y1, z1), strict=True)
            ]
            if min(len(a) for a in axes) == 0:
                continue
            k, j, i = np.meshgrid(*axes[::-1], indexing="ij")
            offset = np.stack([i, j, k], -1) @ to_world[:3, :3].T + to_world[:3, 3] - point
            along = offset @ normal
            flat = np.linalg.norm(offset - along[..., None] * normal, axis=-1)
            inside = (flat <= radius) & (np.abs(along) <= thickness / 2 + 1e-6)
            scalars[k[inside] - z0, j[inside] - y0, i[inside] - x0] = 1
        modifier.Modified()
        used = [np.flatnonzero(scalars.any(tuple(a for a in range(3) if a != axis))) for axis in (2, 1, 0)]
        if min(len(u) for u in used) == 0:
            return None
        return [int(v) for u, low in zip(used, (x0, y0, z0), strict=True) for v in (u[0] + low, u[-1] + low)]

    # -- keys
    def installKeyboardShortcuts(self, parent: QWidget | None = None) -> None:
        self.uninstallKeyboardShortcuts()
        keys = {"Escape": lambda: self.setActiveEffectByName(""), "Space": lambda: self._toggle(self._last)}
        keys |= {"Z": self.undo, "Ctrl+Z": self.undo, "Y": self.redo, "Ctrl+Y": self.redo}
        names = [name for name in self._effects if name != NO_EFFECT]
        keys |= {str(i + 1): (lambda n=name: self._toggle(n)) for i, name in enumerate(names[:9])}
        for key, action in keys.items():
            shortcut = QShortcut(QKeySequence(key), parent or self.window())
            shortcut.activated.connect(action)
            self._shortcuts.append(shortcut)

    def uninstallKeyboardShortcuts(self) -> None:
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []

    # -- parts that can be hidden
    def _part(self, part: str, visible: bool) -> None:
        for widget in self._parts[part]:
            widget.setVisible(visible)

    def setSegmentationNodeSelectorVisible(self, visible: bool) -> None:
        self._part("segmentation", visible)

    def setSourceVolumeNodeSelectorVisible(self, visible: bool) -> None:
        self._part("volume", visible)

    def setAutoShowSourceVolumeNode(self, show: bool) -> None:
        self._auto_show = show

    def setAddRemoveSegmentButtonsVisible(self, visible: bool) -> None:
        self._part("add", visible)

    def setSwitchToSegmentationsButtonVisible(self, visible: bool) -> None:
        self._part("switch", visible)

    def setSpecifyGeometryButtonVisible(self, visible: bool) -> None:
        self._part("geometry", visible)

    def setShow3DButtonVisible(self, visible: bool) -> None:
        self._part("surface", visible)

    def setMaskingSectionVisible(self, visible: bool) -> None:
        self._masking = visible
        if self._settings is None:
            applog.critical(NO_SETTINGS)
        self._show()

    effectColumnCount = Property(int, lambda s: s._columns, setEffectColumnCount)
    unorderedEffectsVisible = Property(bool, lambda s: s._others, setUnorderedEffectsVisible)
    undoEnabled = Property(bool, lambda s: not s._undo.isHidden(), lambda s, v: s._set_undo(v))
    readOnly = stored(bool, "_read_only", False)


def _dense(stroke: list[np.ndarray], step: float) -> list[np.ndarray]:
    """The stroke's points and as many between them that no gap is wider than `step` mm."""
    points = [stroke[0]]
    for start, end in pairwise(stroke):
        pieces = max(1, int(np.ceil(np.linalg.norm(end - start) / step)))
        points += [start + (end - start) * i / pieces for i in range(1, pieces + 1)]
    return points
