"""The test host's pictures show the scene: the slice, the segment in its colour, its surface."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

HOST = Path(__file__).resolve().parents[1] / "SlicerHost"
if importlib.util.find_spec("slicer_core") is None or importlib.util.find_spec("PySide6") is None:
    pytest.skip("needs the test host's packages: pip install -e .[host]", allow_module_level=True)
sys.path.insert(0, str(HOST))

import slicer  # noqa: E402

SIZE = (400, 300)
ORANGE = (249, 180, 111)


@pytest.fixture(scope="module")
def host():
    from host import Host

    return Host.shared()


@pytest.fixture
def scan(host):
    """A bright box in air, 2 × 2 × 3 mm, shown in the slice views."""
    host.clear()
    voxels = np.full((20, 30, 30), -1000, np.int16)
    voxels[4:16, 6:24, 6:24] = 200
    node = slicer.util.addVolumeFromArray(voxels, np.diag([-2.0, -2.0, 3.0, 1.0]), "box")
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(400, 0)
    host.show_volume(node)
    return node


@pytest.fixture
def segmented(scan):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "box segment")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segment = node.GetSegmentation().AddEmptySegment("a", "a", tuple(c / 255 for c in ORANGE))
    mask = (slicer.util.arrayFromVolume(scan) > 0).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, scan)
    return node


def picture(host):
    """Height × width × RGB."""
    image = host.render_four_up(SIZE)
    rows = np.frombuffer(bytes(image.constBits()), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def orange(pixels):
    """Pixels whose hue is the segment's, whatever the shading."""
    return int(((pixels[..., 0] > pixels[..., 1] + 20) & (pixels[..., 1] > pixels[..., 2] + 20)).sum())


def test_axial_view_shows_the_volume_in_its_place(host, scan):
    axial = picture(host)[40:140, :190]
    assert axial[50, 100].min() > 200  # the box
    assert axial[50, 5].max() < 20  # air


def test_segment_is_filled_in_all_three_slice_views(host, segmented):
    pixels = picture(host)
    for rows, columns in (
        (slice(10, 148), slice(0, 199)),
        (slice(160, 300), slice(0, 199)),
        (slice(160, 300), slice(202, 400)),
    ):
        assert orange(pixels[rows, columns]) > 500


def test_hidden_segment_is_not_drawn(host, segmented):
    segmented.GetDisplayNode().SetVisibility(False)
    assert orange(picture(host)[10:148, :199]) == 0


def test_three_d_view_shows_the_surface_once_it_is_made(host, segmented):
    assert orange(picture(host)[10:148, 202:]) == 0
    segmented.CreateClosedSurfaceRepresentation()
    slicer.util.resetThreeDViews()
    assert orange(picture(host)[10:148, 202:]) > 500


def test_three_d_view_looks_at_the_surface_alone_after_other_scenes_were_closed(host):
    picture(host)
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetSize(400, 400, 400)
    picture(host)
    host.clear()
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetSize(40, 40, 40)
    slicer.util.resetThreeDViews()
    picture(host)
    camera = host.four_up().views()[1].renderer.GetActiveCamera()
    assert camera.GetDistance() < 200  # mm; 283 with the box and the letters of an empty view


def test_mouse_wheel_goes_one_slice_on_and_stops_at_the_end(host, scan):
    from PySide6.QtCore import QPoint, QPointF, Qt
    from PySide6.QtGui import QWheelEvent

    view = host.four_up().views()[0]
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    start = logic.GetSliceOffset()

    def turn(notches):
        for _ in range(abs(notches)):
            delta = QPoint(0, 120 if notches > 0 else -120)
            where = QPointF(10, 10)
            keys, phase = Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase
            view.wheelEvent(QWheelEvent(where, where, QPoint(), delta, Qt.MouseButton.NoButton, keys, phase, False))

    turn(1)
    assert logic.GetSliceOffset() == pytest.approx(start + 3.0)
    turn(100)
    bounds = [0.0] * 6
    slicer.util.getNode("box").GetRASBounds(bounds)
    assert logic.GetSliceOffset() <= bounds[5]


def test_jump_moves_the_picture(host, segmented):
    filled = orange(picture(host)[10:148, :199])
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        node.JumpSliceByOffsetting(0.0, 0.0, 1.0)  # outside the box in every direction
    assert orange(picture(host)[10:148, :199]) < filled / 10


def test_panel_picture_is_not_empty(host, tmp_path):
    import qt

    label = qt.QLabel("Pancreas")
    path = host.grab(label, tmp_path / "label.png", 120, 40)
    from PySide6.QtGui import QImage

    image = QImage(str(path))
    assert len({image.pixel(x, y) for x in range(image.width()) for y in range(image.height())}) > 2
