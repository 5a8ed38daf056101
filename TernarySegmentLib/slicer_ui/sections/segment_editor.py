"""Slicer's own Segment Editor inside the panel, on the segment "pancreas" only."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID

EFFECTS = ("Paint", "Erase", "Scissors", "Islands", "Smoothing", "Margin")
COLUMNS = 4
"""Of effect buttons."""
UNDO_STATES = 30
"""A state of a pancreas takes 2 MB."""
SINGLETON = "TernarySegment"


class Editor(VTKObservationMixin):
    """Makes the widget when it is first wanted: its effects take a while to load.

    Args:
        layout: where the widget goes.

    Attributes:
        active: true while the person edits here, so that changes are remembered for Undo.
    """

    def __init__(self, layout: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._layout = layout
        self._widget: Any = None
        self._options: Any = None
        self._frame: Any = None
        self.active = False

    @property
    def widget(self) -> Any:
        """The qMRMLSegmentEditorWidget; None before it was wanted."""
        return self._widget

    def enter(self, node: Any, volume: Any) -> None:
        """Edit a segmentation node's pancreas.

        Args:
            node: vtkMRMLSegmentationNode with the segment.
            volume: the CT below.
        """
        settings = self._settings()
        if self._widget is None:
            self._make(settings)
        widget = self._widget
        widget.setMRMLSegmentEditorNode(settings)  # before the scene, so that selections are kept
        widget.setMRMLScene(slicer.mrmlScene)
        if not self.hasObserver(settings, vtk.vtkCommand.ModifiedEvent, self._on_settings):
            self.addObserver(settings, vtk.vtkCommand.ModifiedEvent, self._on_settings)
        widget.setSegmentationNode(node)
        widget.setSourceVolumeNode(volume)
        widget.setCurrentSegmentID(SEGMENT_ID)
        settings.SetOverwriteMode(settings.OverwriteNone)  # what is painted stays in other segments too
        if not self.active:
            widget.setupViewObservations()
        self.active = True
        self._fit()

    def leave(self) -> None:
        """Let go of the views."""
        if self.active:
            self.stop_effect()
            self._widget.removeViewObservations()
        self.active = False

    def close_scene(self) -> None:
        """Let go of everything in the scene."""
        self.leave()
        self.removeObservers()
        if self._widget is not None:
            self._widget.setSegmentationNode(None)
            self._widget.setMRMLSegmentEditorNode(None)

    def toggle_effect(self, name: str) -> None:
        """Take an effect up, or put it down."""
        if self.active and self._widget.enabled:
            chosen = self._settings().GetActiveEffectName() == name
            self._widget.setActiveEffectByName("" if chosen else name)

    def stop_effect(self) -> None:
        """Put the brush down."""
        if self._widget is not None:
            self._widget.setActiveEffect(None)

    def enable(self, enabled: bool) -> None:
        """Let the person edit, or not."""
        if self._widget is not None:
            self._widget.enabled = enabled

    def limit(self, limited: bool, lowest_hu: float, highest_hu: float) -> None:
        """Let effects change only voxels with a HU in a range."""
        if self._widget is not None and self.active:
            settings = self._settings()
            settings.SetSourceVolumeIntensityMaskRange(lowest_hu, highest_hu)
            settings.SetSourceVolumeIntensityMask(limited)

    def undo(self) -> None:
        """Take the last stroke back."""
        if self.active and self._widget.enabled:
            self._widget.undo()

    def redo(self) -> None:
        """Bring back what was taken back last."""
        if self.active and self._widget.enabled:
            self._widget.redo()

    def remember(self) -> None:
        """What is about to be changed becomes one step of the editor's Undo."""
        if self.active:
            self._widget.saveStateForUndo()

    def forget(self) -> None:
        """A new result: there is nothing to undo."""
        if self._widget is not None:
            self._widget.undoEnabled = True  # clears the history

    def _make(self, settings: Any) -> None:
        self._widget = widget = slicer.qMRMLSegmentEditorWidget()
        widget.setMRMLSegmentEditorNode(settings)  # hiding the masking below asks for it
        widget.setMaximumNumberOfUndoStates(UNDO_STATES)
        widget.effectColumnCount = COLUMNS
        widget.setEffectNameOrder(list(EFFECTS))
        widget.unorderedEffectsVisible = False
        widget.setAutoShowSourceVolumeNode(False)
        for hide in (  # nothing but the pancreas of this CT is edited here, and Result has the one 3D control
            widget.setSegmentationNodeSelectorVisible, widget.setSourceVolumeNodeSelectorVisible,
            widget.setAddRemoveSegmentButtonsVisible, widget.setSwitchToSegmentationsButtonVisible,
            widget.setSpecifyGeometryButtonVisible, widget.setShow3DButtonVisible, widget.setMaskingSectionVisible,
        ):  # fmt: skip
            hide(False)
        for table in slicer.util.findChildren(widget, "SegmentsTableResizableFrame"):
            table.hide()
        buttons = [b for name in ("NULL", *EFFECTS) for b in slicer.util.findChildren(widget, name)]
        widest = max((button.sizeHint.width() for button in buttons), default=0)
        for button in buttons:
            button.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
            button.setMinimumWidth(widest)
        self._layout.addWidget(widget)
        for options in slicer.util.findChildren(widget, "EffectsOptionsFrame"):
            self._put_into_frame(options)

    def _put_into_frame(self, options: Any) -> None:
        """Let the options of an effect scroll sideways: some need 170 pixels more than the panel has, and would push
        the views aside with every click on an effect."""
        self._options, self._frame = options, qt.QScrollArea()
        options.parentWidget().layout().replaceWidget(options, self._frame)
        self._frame.setWidget(options)
        self._frame.setWidgetResizable(True)
        self._frame.setFrameShape(qt.QFrame.NoFrame)

    def _on_settings(self, caller: Any = None, event: Any = None) -> None:
        qt.QTimer.singleShot(0, self._fit)  # once the options of the effect are laid out

    def _fit(self) -> None:
        """Make the frame as high as the options in it."""
        if self._frame is not None:
            wide = self._options.minimumSizeHint.width() > self._frame.width
            bar = self._frame.horizontalScrollBar().sizeHint.height() if wide else 0
            self._frame.setFixedHeight(self._options.sizeHint.height() + bar)

    def _settings(self) -> Any:
        """A vtkMRMLSegmentEditorNode of its own, so that the Segment Editor module keeps its settings."""
        settings = slicer.mrmlScene.GetSingletonNode(SINGLETON, "vtkMRMLSegmentEditorNode")
        if settings is None:
            settings = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            settings.UnRegister(None)
            settings.SetSingletonTag(SINGLETON)
            settings = slicer.mrmlScene.AddNode(settings)
        return settings
