"""What the tests of the module share: the phantom, hands that click and drag, and eyes on the scene."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "TernarySegment" / "TernarySegment.py"
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(ROOT / "Testing" / "SlicerHost"))

import slicer  # noqa: E402

from TernarySegmentLib.slicer_ui import sample  # noqa: E402
from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID  # noqa: E402
from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of  # noqa: E402

PHANTOM = sample.NAME


@functools.cache
def phantom() -> tuple[np.ndarray, np.ndarray]:
    """The sample's voxels and matrix; painting it takes 4 s."""
    node = sample.add_phantom()
    values, matrix = slicer.util.arrayFromVolume(node).copy(), matrix_of(node)
    slicer.mrmlScene.RemoveNode(node)
    return values, matrix


def add_phantom():
    values, matrix = phantom()
    node = slicer.util.addVolumeFromArray(values, ijkToRAS=matrix, name=PHANTOM)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


def segmentations() -> int:
    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")


def finish(host, widget, timeout=100) -> None:
    assert host.process_events(until=lambda: not widget.panel.job.running, timeout=timeout)


def segment(host, widget):
    host.click(widget.ui.segmentButton)
    finish(host, widget)
    assert widget.panel.parameters.result is not None, widget.ui.statusLabel.text
    return widget.panel.parameters.result


def mask_of(node, volume) -> np.ndarray:
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, SEGMENT_ID, volume).copy()


def drag(host, view, points, button=None) -> None:
    """Press the left mouse button at the first of some positions in a widget, move along, release at the last."""
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    button = button or Qt.MouseButton.LeftButton
    at = [QPoint(round(x), round(y)) for x, y in points]
    QTest.mouseMove(view, at[0])
    QTest.mousePress(view, button, Qt.KeyboardModifier.NoModifier, at[0])
    for point in at[1:]:
        QTest.mouseMove(view, point)
        host.process_events()
    QTest.mouseRelease(view, button, Qt.KeyboardModifier.NoModifier, at[-1])
    host.process_events()


def press_key(host, widget, keys: str, focus=None) -> None:
    """Type keys such as "N" or "Ctrl+Z" while a widget has the focus; a button of the panel where none is given."""
    from PySide6.QtGui import QKeySequence
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QWidget

    target = focus if isinstance(focus, QWidget) else host.panel_of(focus or widget.ui.sampleButton)
    target.window().show()
    target.window().activateWindow()
    target.setFocus()
    host.process_events()
    assert target.hasFocus()
    QTest.keySequence(target, QKeySequence(keys))
    host.process_events()


def view_of(host, name: str = "Red"):
    """The slice view of that name, laid out at 400 × 300 pixels and snapshot once."""
    four_up = host.four_up()
    four_up.resize(802, 602)
    four_up.show()
    host.process_events()
    view = host.qt_app.layoutManager().sliceWidget(name).sliceView()
    view.picture(view.size())
    return view


def pixel_of(view, ras) -> tuple[float, float]:
    """Where a point lies in a slice view, in the widget's pixels."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(view.mrmlSliceNode().GetXYToRAS(), matrix)
    x, y = matrix.MultiplyPoint((*ras, 1))[:2]
    return x, view.height() - 1 - y
