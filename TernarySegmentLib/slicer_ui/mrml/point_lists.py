"""Points that a person clicks, and strokes that a person draws, inside and outside the pancreas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.util import VTKObservationMixin

NAMES = {True: "Pancreas points inside", False: "Pancreas points outside"}
STROKE_MM = 6.0
"""Between the points of a stroke: each decides what is within 2.5 mm and pulls what is within 18."""
COLOURS = {True: (0.2, 0.9, 0.3), False: (1.0, 0.35, 0.3)}

Point = tuple[float, float, float]


class PointLists(VTKObservationMixin):
    """Two lists of points in the scene, made when first wanted, not saved with it.

    Args:
        changed: called when a point was placed, moved or removed by the person.
        placing_ended: called when the person left the placing of points, e.g. by the right mouse button.
    """

    def __init__(self, changed: Callable[[], None], placing_ended: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._changed, self._placing_ended = changed, placing_ended
        self._nodes: dict[bool, Any] = {}
        self._order: list[list[tuple[bool, str]]] = []
        self._stroke: list[tuple[bool, str]] | None = None
        self._last: Point = (0.0, 0.0, 0.0)
        self._quiet = False

    @property
    def count(self) -> int:
        """Points placed."""
        return sum(len(_placed(node)) for node in self._nodes.values())

    def points_lps(self, inside: bool) -> list[Point]:
        """Positions in LPS, mm, of the points inside or outside."""
        node = self._nodes.get(inside)
        return [_position_lps(node, index) for index in _placed(node)] if node is not None else []

    @property
    def placing(self) -> bool | None:
        """The side on which clicks in the views place points: True inside, False outside, None for no points."""
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        if interaction.GetCurrentInteractionMode() != slicer.vtkMRMLInteractionNode.Place:
            return None
        active = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
        return next((inside for inside, node in self._nodes.items() if node.GetID() == active), None)

    def place(self, inside: bool) -> None:
        """Let every click in the views place a point, until :meth:`stop`."""
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        node = self._node(inside)
        slicer.modules.markups.logic().SetActiveList(node)
        if not self.hasObserver(interaction, interaction.InteractionModeChangedEvent, self._on_mode):
            self.addObserver(interaction, interaction.InteractionModeChangedEvent, self._on_mode)
        self._quiet = True
        slicer.modules.markups.logic().StartPlaceMode(True)
        self._quiet = False

    def stop(self) -> None:
        """Clicks in the views place no more points."""
        if self.placing is not None:
            interaction = slicer.app.applicationLogic().GetInteractionNode()
            interaction.SetCurrentInteractionMode(slicer.vtkMRMLInteractionNode.ViewTransform)

    # -- strokes
    def begin_stroke(self, position_ras: Point) -> None:
        """The mouse button goes down at a position (RAS, mm): what is placed until :meth:`end_stroke` counts as one."""
        if self.placing is not None:
            self._stroke, self._last = [], position_ras

    def draw_to(self, position_ras: Point) -> None:
        """Place another point (RAS, mm) once the mouse is far enough from the last one."""
        if self._stroke is None or self.placing is None:
            return
        if np.linalg.norm(np.subtract(position_ras, self._last)) < STROKE_MM:
            return
        node = self._nodes[self.placing]
        if not self._stroke:  # Slicer places its own point where the button goes up
            node.AddControlPointWorld(*self._last)
        node.AddControlPointWorld(*position_ras)
        self._last = position_ras

    def end_stroke(self) -> None:
        """The mouse button went up, and what Slicer places then is placed."""
        stroke, self._stroke = self._stroke, None
        if stroke:
            self._order.append(stroke)
            self._on_changed()

    def undo(self) -> None:
        """Remove the point placed last, or the whole stroke."""
        while self._order:
            here = [(self._nodes[inside], each) for inside, each in self._order.pop()]
            places = [(node, node.GetNthControlPointIndexByID(each)) for node, each in here]
            there = sorted((place for place in places if place[1] >= 0), key=lambda place: -place[1])
            if there:
                self._quiet = True
                for node, index in there:
                    node.RemoveNthControlPoint(index)
                self._quiet = False
                self._on_changed()
                return

    def clear(self) -> None:
        """Remove all points without a word."""
        self._quiet = True
        for node in self._nodes.values():
            for index in reversed(_placed(node)):
                node.RemoveNthControlPoint(index)
        self._order, self._stroke = [], None
        self._quiet = False

    def remove(self) -> None:
        """Remove the lists too."""
        self.stop()
        self.removeObservers()
        for node in self._nodes.values():
            if slicer.mrmlScene.IsNodePresent(node):
                slicer.mrmlScene.RemoveNode(node)
        self._nodes, self._order, self._stroke = {}, [], None

    def _node(self, inside: bool) -> Any:
        node = self._nodes.get(inside)
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", NAMES[inside])
            node.SetSaveWithScene(False)
            node.CreateDefaultDisplayNodes()
            display = node.GetDisplayNode()
            display.SetSelectedColor(*COLOURS[inside])
            display.SetColor(*COLOURS[inside])
            display.SetActiveColor(*COLOURS[inside])  # while placed or under the mouse; Slicer's own is bright green
            display.SetPointLabelsVisibility(False)
            self._nodes[inside] = node

            def placed(caller: Any = None, event: Any = None) -> None:
                known = {each for group in [*self._order, self._stroke or []] for each in group}
                new = [(inside, node.GetNthControlPointID(i)) for i in _placed(node)]
                new = [each for each in new if each not in known]
                if self._stroke is None:
                    self._order += [[each] for each in new]
                    self._on_changed()
                else:
                    self._stroke += new

            self.addObserver(node, node.PointPositionDefinedEvent, placed)
            for event in (node.PointPositionUndefinedEvent, node.PointRemovedEvent, node.PointEndInteractionEvent):
                self.addObserver(node, event, self._on_changed)
        return node

    def _on_changed(self, caller: Any = None, event: Any = None) -> None:
        if not self._quiet and not slicer.mrmlScene.IsClosing():
            self._changed()

    def _on_mode(self, caller: Any = None, event: Any = None) -> None:
        if not self._quiet:
            self._placing_ended()


def _placed(node: Any) -> list[int]:
    """Points that have a position: the one under the mouse has none yet."""
    defined = slicer.vtkMRMLMarkupsNode.PositionDefined
    return [i for i in range(node.GetNumberOfControlPoints()) if node.GetNthControlPointPositionStatus(i) == defined]


def _position_lps(node: Any, index: int) -> Point:
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(index, position)
    return -position[0], -position[1], position[2]
