"""Part of the Correct section: strokes drawn in the slice views with the left mouse button held down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

Position = tuple[float, float, float]
FIRST = 1.0
"""Priority of an observer that is called before Slicer's own."""


class Strokes(VTKObservationMixin):
    """Follows the mouse in the slice views; what Slicer does with it meanwhile stays as it is.

    Args:
        begun: gets the position under the mouse (RAS, mm) when the left button goes down.
        moved: gets it while the button is down.
        ended: called once the button went up and Slicer has done what it does then.
    """

    def __init__(
        self, begun: Callable[[Position], None], moved: Callable[[Position], None], ended: Callable[[], None]
    ) -> None:
        VTKObservationMixin.__init__(self)
        self._begun, self._moved, self._ended = begun, moved, ended
        self._nodes: dict[Any, Any] = {}
        self._down = False

    def follow(self) -> None:
        """Begin to follow; the views of the present layout."""
        self.stop()
        manager = slicer.app.layoutManager()
        if manager is None:
            return
        for name in manager.sliceViewNames():
            widget = manager.sliceWidget(name)
            interactor = widget.sliceView().interactor()
            self._nodes[interactor] = widget.mrmlSliceNode()
            for event, action in (
                (vtk.vtkCommand.LeftButtonPressEvent, self._on_press),
                (vtk.vtkCommand.MouseMoveEvent, self._on_move),
                (vtk.vtkCommand.LeftButtonReleaseEvent, self._on_release),
            ):
                self.addObserver(interactor, event, action, priority=FIRST)

    def stop(self) -> None:
        """Follow no more."""
        if self._down:
            self._down = False
            self._ended()
        self.removeObservers()
        self._nodes = {}

    def _on_press(self, caller: Any = None, event: Any = None) -> None:
        self._down = True
        self._begun(self._position(caller))

    def _on_move(self, caller: Any = None, event: Any = None) -> None:
        if self._down:
            self._moved(self._position(caller))

    def _on_release(self, caller: Any = None, event: Any = None) -> None:
        if self._down:
            self._down = False
            qt.QTimer.singleShot(0, self._ended)

    def _position(self, interactor: Any) -> Position:
        x, y = interactor.GetEventPosition()
        r, a, s = self._nodes[interactor].GetXYToRAS().MultiplyPoint((x, y, 0, 1))[:3]
        return r, a, s
