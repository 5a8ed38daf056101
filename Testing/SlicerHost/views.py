"""Slice and 3D views: VTK draws the MRML scene off screen with Slicer's own displayable managers, Qt shows the picture.

An image widget, not QVTKRenderWindowInteractor: pictures need no display, and the widget stays an ordinary one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtCore import QEvent, QPointF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QWidget
from scene import quiet_vtk
from vtk.util.numpy_support import vtk_to_numpy

_SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)
_MARKUPS = "vtkMRMLMarkupsDisplayableManager"


class _View(QWidget):
    """Opens its render window at the first picture, so that tests without pictures pay nothing."""

    HIDDEN = ("open", "shut", "stale", "picture", "world")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumSize(64, 64)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # as QVTKOpenGLNativeWidget
        self.renderer: Any = None
        self._image: QImage | None = None
        self._drawing = False

    def open(self) -> None:
        """Make the render window and the displayable managers."""
        if self.renderer is not None:
            return
        self.renderer = vtk.vtkRenderer()
        self.render_window = vtk.vtkRenderWindow()
        self.render_window.SetOffScreenRendering(1)
        self.render_window.SetMultiSamples(4)
        self.render_window.SetSize(400, 400)
        self.render_window.AddRenderer(self.renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()  # the markups managers ask for one
        self._interactor.SetInteractorStyle(None)
        self._interactor.SetRenderWindow(self.render_window)
        with quiet_vtk():  # the view manager observes an event twice, and says so
            self.group = self._managers()
        self.group.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self.stale())

    def _managers(self) -> Any:
        raise NotImplementedError

    def shut(self) -> None:
        """Let go of the scene and of OpenGL while both still exist; destroying them later, in any order, crashes."""
        if self.renderer is None:
            return
        self.group.RemoveAllObservers()
        with quiet_vtk():
            self.group.SetMRMLDisplayableNode(None)
            self.group.SetRenderer(None)
        self.render_window.Finalize()
        self.group = self._interactor = self.render_window = self.renderer = None

    def stale(self) -> None:
        """The scene changed: draw again at the next paint."""
        if not self._drawing:
            self._image = None
            self.update()

    def picture(self, size: QSize) -> QImage:
        """The view as an image of `size` pixels."""
        self.open()
        if self._image is None or self._image.size() != size:
            self._drawing = True
            try:
                self._image = self._draw(size)
            finally:
                self._drawing = False
        return self._image

    def _draw(self, size: QSize) -> QImage:
        self.render_window.SetSize(size.width(), size.height())
        self.render_window.Render()
        pixels = vtk.vtkUnsignedCharArray()
        self.render_window.GetPixelData(0, 0, size.width() - 1, size.height() - 1, 1, pixels, 0)
        rows = vtk_to_numpy(pixels).reshape(size.height(), size.width(), 3)
        rows = np.ascontiguousarray(rows[::-1])  # OpenGL's first row is the lowest
        image = QImage(rows.data, size.width(), size.height(), 3 * size.width(), QImage.Format.Format_RGB888)
        return image.copy()

    def paintEvent(self, _event: Any) -> None:
        image = self.picture(self.size())  # before the painter: Qt aborts when one outlives an exception
        painter = QPainter(self)
        painter.drawImage(QPointF(0, 0), image)
        painter.end()

    def interactor(self) -> Any:
        self.open()
        return self._interactor

    def forceRender(self) -> None:
        self.stale()
        self.repaint()

    def scheduleRender(self) -> None:
        self.stale()


class SliceView(_View):
    """One slice through the scene: volumes, segmentation fill and outline, markups. Markups take the mouse."""

    def __init__(self, logic: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = logic
        self.setMouseTracking(True)

    def world(self, position: QPointF) -> tuple[float, float, float]:
        """RAS of a position in the widget."""
        self.picture(self.size())  # the slice node has the view's size once it was drawn
        x, y = position.x(), self.height() - 1 - position.y()
        return self._logic.GetSliceNode().GetXYToRAS().MultiplyPoint((x, y, 0, 1))[:3]

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def _managers(self) -> Any:
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._volume = vtk.vtkActor2D()
        self._volume.SetMapper(self._mapper)
        self._volume.GetProperty().SetDisplayLocationToBackground()
        self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.stale())
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        for name in (*_SLICE_MANAGERS, _MARKUPS):
            _add(group, name, self._logic.GetMRMLApplicationLogic(), self)
        group.SetMRMLDisplayableNode(self._logic.GetSliceNode())
        return group

    def _draw(self, size: QSize) -> QImage:
        self._logic.ResizeSliceNode(size.width(), size.height())
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        shown = self.renderer.HasViewProp(self._volume)
        if connection is None and shown:
            self.renderer.RemoveViewProp(self._volume)
        if connection is not None and not shown:
            self.renderer.AddViewProp(self._volume)
        image = super()._draw(size)
        node = self._logic.GetSliceNode()
        painter = QPainter(image)
        painter.fillRect(0, 0, size.width(), 4, QColor.fromRgbF(*node.GetLayoutColor()))
        painter.setPen(QColor("white"))
        painter.drawText(8, 20, f"{node.GetOrientation()}  {self._logic.GetSliceOffset():.1f} mm")
        painter.end()
        return image

    def mousePressEvent(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._delegate("MouseMoveEvent", event)  # a pointer has come from somewhere; a synthetic press has not
            self._delegate("LeftButtonPressEvent", event)

    def mouseMoveEvent(self, event: Any) -> None:
        self._delegate("MouseMoveEvent", event)

    def mouseReleaseEvent(self, event: Any) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._delegate("LeftButtonReleaseEvent", event)

    def _delegate(self, name: str, event: Any) -> None:
        """Give a mouse event to the displayable manager that is nearest to it, as Slicer's interactor style does."""
        self.picture(self.size())
        where = [int(event.position().x()), self.height() - 1 - int(event.position().y())]
        self._interactor.SetEventInformation(*where, 0, 0, chr(0), 0, None)
        self._interactor.InvokeEvent(name)  # for observers of a module
        data = slicer.vtkMRMLInteractionEventData()
        data.SetType(getattr(vtk.vtkCommand, name))
        data.SetDisplayPosition(where)
        data.SetAttributesFromInteractor(self._interactor)
        best, nearest = None, float("inf")
        for index in range(self.group.GetDisplayableManagerCount()):
            manager, distance = self.group.GetNthDisplayableManager(index), vtk.mutable(float("inf"))
            if manager.CanProcessInteractionEvent(data, distance) and (best is None or distance.get() < nearest):
                best, nearest = manager, distance.get()
        if best is not None:
            best.ProcessInteractionEvent(data)

    def wheelEvent(self, event: Any) -> None:
        """One slice per notch, as in Slicer."""
        step = self._logic.GetLowestVolumeSliceSpacing()[2] or 1.0
        notches = 1 if event.angleDelta().y() > 0 else -1
        offset = self._logic.GetSliceOffset() + notches * step
        bounds = [0.0] * 6
        self._logic.GetLowestVolumeSliceBounds(bounds)
        if bounds[4] < bounds[5]:
            offset = min(max(offset, bounds[4]), bounds[5])
        self._logic.SetSliceOffset(offset)
        event.accept()


class ThreeDView(_View):
    """The 3D view: closed surfaces, models, markups. Drag turns it, the wheel zooms."""

    def __init__(self, scene: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = scene
        self._last: Any = None
        self._reset = False

    def mrmlViewNode(self) -> Any:
        return self._scene.view_node

    def _managers(self) -> Any:
        self.renderer.SetUseDepthPeeling(1)
        self.renderer.SetMaximumNumberOfPeels(8)
        self.render_window.SetAlphaBitPlanes(1)
        group = slicer.vtkMRMLDisplayableManagerGroup()
        group.SetRenderer(self.renderer)
        for name in _THREE_D_MANAGERS:
            _add(group, name, self._scene.app_logic, self)
        group.SetMRMLDisplayableNode(self._scene.view_node)
        light = vtk.vtkLight()
        light.SetLightTypeToHeadlight()
        self.renderer.AddLight(light)
        return group

    def _draw(self, size: QSize) -> QImage:
        if self._reset:
            self._reset = False
            self.render_window.SetSize(size.width(), size.height())
            self.render_window.Render()  # lets the managers make their actors, which give the bounds
            self._look_from_front()
        return super()._draw(size)

    def _look_from_front(self) -> None:
        """Camera in front of the patient (anterior), head up: Slicer's default 3D view."""
        bounds = self.renderer.ComputeVisiblePropBounds()
        if not vtk.vtkMath.AreBoundsInitialized(bounds):
            return
        centre = [(bounds[i] + bounds[i + 1]) / 2 for i in (0, 2, 4)]
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(*centre)
        camera.SetPosition(centre[0], centre[1] + 500, centre[2])
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera(bounds)

    def resetFocalPoint(self) -> None:
        self._reset = True
        self.stale()

    def resetCamera(self, *_args: Any) -> None:
        self.resetFocalPoint()

    def mousePressEvent(self, event: Any) -> None:
        self._last = event.position()

    def mouseMoveEvent(self, event: Any) -> None:
        if self._last is None or not event.buttons() & Qt.MouseButton.LeftButton:
            return
        moved, self._last = event.position() - self._last, event.position()
        camera = self.renderer.GetActiveCamera()
        camera.Azimuth(-moved.x() * 0.5)
        camera.Elevation(moved.y() * 0.5)
        camera.OrthogonalizeViewUp()
        self.renderer.ResetCameraClippingRange()
        self.stale()

    def wheelEvent(self, event: Any) -> None:
        self.open()
        self.renderer.GetActiveCamera().Dolly(1.1 if event.angleDelta().y() > 0 else 0.9)
        self.renderer.ResetCameraClippingRange()
        self.stale()
        event.accept()


def _add(group: Any, name: str, app_logic: Any, view: _View) -> None:
    manager = getattr(slicer, name)()
    if hasattr(manager, "SetMRMLApplicationLogic"):
        manager.SetMRMLApplicationLogic(app_logic)
    group.AddDisplayableManager(manager)


class FourUp(QWidget):
    """Slicer's four-up layout: axial and 3D above, coronal and sagittal below."""

    GAP = 2

    def __init__(self, layout_manager: Any) -> None:
        super().__init__()
        self.places = [
            (layout_manager.sliceWidget("Red"), 0, 0),
            (layout_manager.threeDWidget(0), 1, 0),
            (layout_manager.sliceWidget("Green"), 0, 1),
            (layout_manager.sliceWidget("Yellow"), 1, 1),
        ]
        for widget, _, _ in self.places:
            widget.setParent(self)
        self.setMinimumSize(320, 240)

    def views(self) -> list[_View]:
        return [w.threeDView() if hasattr(w, "threeDView") else w.sliceView() for w, _, _ in self.places]

    def resizeEvent(self, event: QEvent) -> None:
        width, height = (self.width() - self.GAP) // 2, (self.height() - self.GAP) // 2
        for widget, column, row in self.places:
            widget.setGeometry(column * (width + self.GAP), row * (height + self.GAP), width, height)
        super().resizeEvent(event)

    def picture(self, width: int, height: int) -> QImage:
        """The four views in one image, without a window on a screen."""
        image = QImage(width, height, QImage.Format.Format_RGB888)
        image.fill(QColor("black"))
        size = QSize((width - self.GAP) // 2, (height - self.GAP) // 2)
        pictures = [view.picture(size) for view in self.views()]
        painter = QPainter(image)
        for picture, (_, column, row) in zip(pictures, self.places, strict=True):
            painter.drawImage(QPointF(column * (size.width() + self.GAP), row * (size.height() + self.GAP)), picture)
        painter.end()
        return image
