"""Slicer's own Segment Editor inside the panel, on the segment "pancreas" only."""

from __future__ import annotations

from typing import Any

import slicer

from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID

EFFECTS = ("Paint", "Erase", "Scissors", "Islands", "Smoothing", "Margin")
UNDO_STATES = 30
"""A state of a pancreas takes 2 MB."""
SINGLETON = "TernarySegment"


class Editor:
    """Makes the widget when it is first wanted: its effects take a while to load.

    Args:
        layout: where the widget goes.
    """

    def __init__(self, layout: Any) -> None:
        self._layout = layout
        self._widget: Any = None
        self._active = False

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
        if self._widget is None:
            self._make()
        widget, settings = self._widget, self._settings()
        widget.setMRMLSegmentEditorNode(settings)  # before the scene, so that selections are kept
        widget.setMRMLScene(slicer.mrmlScene)
        widget.setSegmentationNode(node)
        widget.setSourceVolumeNode(volume)
        widget.setCurrentSegmentID(SEGMENT_ID)
        settings.SetOverwriteMode(settings.OverwriteNone)  # what is painted stays in other segments too
        if not self._active:
            widget.setupViewObservations()
            widget.installKeyboardShortcuts(widget)
        self._active = True

    def leave(self) -> None:
        """Let go of views and keys."""
        if self._active:
            self.stop_effect()
            self._widget.uninstallKeyboardShortcuts()
            self._widget.removeViewObservations()
        self._active = False

    def close_scene(self) -> None:
        """Let go of everything in the scene."""
        self.leave()
        if self._widget is not None:
            self._widget.setSegmentationNode(None)
            self._widget.setMRMLSegmentEditorNode(None)

    def stop_effect(self) -> None:
        """Put the brush down."""
        if self._widget is not None:
            self._widget.setActiveEffect(None)

    def enable(self, enabled: bool) -> None:
        """Whether the person may edit now."""
        if self._widget is not None:
            self._widget.enabled = enabled

    def limit(self, limited: bool, lowest_hu: float, highest_hu: float) -> None:
        """Let effects change only voxels with a HU in a range."""
        if self._widget is not None and self._active:
            settings = self._settings()
            settings.SetSourceVolumeIntensityMaskRange(lowest_hu, highest_hu)
            settings.SetSourceVolumeIntensityMask(limited)

    def remember(self) -> None:
        """What is about to be changed becomes one step of the editor's Undo."""
        if self._active:
            self._widget.saveStateForUndo()

    def forget(self) -> None:
        """A new result: there is nothing to undo."""
        if self._widget is not None:
            self._widget.undoEnabled = True  # clears the history

    def _make(self) -> None:
        self._widget = widget = slicer.qMRMLSegmentEditorWidget()
        widget.setMaximumNumberOfUndoStates(UNDO_STATES)
        widget.setEffectNameOrder(list(EFFECTS))
        widget.unorderedEffectsVisible = False
        widget.setSegmentationNodeSelectorVisible(False)
        widget.setSourceVolumeNodeSelectorVisible(False)
        widget.setAutoShowSourceVolumeNode(False)
        widget.setAddRemoveSegmentButtonsVisible(False)
        widget.setSwitchToSegmentationsButtonVisible(False)
        widget.setMaskingSectionVisible(False)
        self._layout.addWidget(widget)

    def _settings(self) -> Any:
        """A vtkMRMLSegmentEditorNode of its own, so that the Segment Editor module keeps its settings."""
        settings = slicer.mrmlScene.GetSingletonNode(SINGLETON, "vtkMRMLSegmentEditorNode")
        if settings is None:
            settings = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            settings.UnRegister(None)
            settings.SetSingletonTag(SINGLETON)
            settings = slicer.mrmlScene.AddNode(settings)
        return settings
