"""Surfaces: closed, the right way out, of the mask's volume and in its place; files that other programs read."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.report.surface import HEADER, check_surface, closed_surface, moved, write_surface
from TernarySegmentLib.phantom import Label, make_phantom

vtk = pytest.importorskip("vtk", reason="needs vtk: pip install -e .[surface]")
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

OBLIQUE = np.array(sitk.VersorTransform([0.3, 0.5, 0.81], 0.4).GetMatrix())
LEFT_HANDED = np.diag([1.0, -1.0, 1.0]).ravel()
CENTRE, RADIUS = np.array([12.0, -30.0, 200.0]), 15.0


def ball(spacing=(0.9, 0.8, 2.5), direction=OBLIQUE, radius: float = RADIUS) -> sitk.Image:
    """A ball around CENTRE on any grid."""
    size = np.ceil(2 * (radius + 4) / np.array(spacing)).astype(int)
    matrix = np.array(direction).reshape(3, 3) * spacing
    image = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    image.SetOrigin((CENTRE - matrix @ ((size - 1) / 2)).tolist())
    index = np.moveaxis(np.indices(size[::-1])[::-1], 0, -1)
    inside = np.linalg.norm((index - (size - 1) / 2) @ matrix.T, axis=-1) < radius
    mask = sitk.GetImageFromArray(inside.astype(np.uint8))
    mask.CopyInformation(image)
    return mask


def noise() -> sitk.Image:
    """A mask as ragged as can be, up to the image's rim."""
    mask = sitk.GetImageFromArray((np.random.default_rng(0).random((9, 14, 17)) > 0.5).astype(np.uint8))
    mask.SetSpacing((0.8, 0.8, 3.0))
    return mask


def parts(surface: vtk.vtkPolyData) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and triangles (m, 3)."""
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    return points, vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)


def enclosed(surface: vtk.vtkPolyData) -> float:
    """What a closed surface encloses, mL (divergence theorem); negative when its inside is out."""
    points, triangles = parts(surface)
    a, b, c = (points - points.mean(0))[triangles].swapaxes(0, 1)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6000)


def edges(surface: vtk.vtkPolyData) -> np.ndarray:
    corners = parts(surface)[1]
    return np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])


def volume_of(mask: sitk.Image) -> float:
    return float(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * np.prod(mask.GetSpacing()) / 1000)


@pytest.mark.parametrize(
    "mask", [ball(), ball(direction=LEFT_HANDED), noise()], ids=["oblique", "left-handed", "ragged"]
)
def test_every_edge_is_passed_as_often_one_way_as_the_other(mask):
    surface = closed_surface(mask)
    there, back = (np.unique(e, axis=0, return_counts=True) for e in (edges(surface), edges(surface)[:, ::-1]))
    assert np.array_equal(there[0], back[0])
    assert np.array_equal(there[1], back[1])
    assert enclosed(surface) > 0, "inside out"


@pytest.mark.parametrize("direction", [np.eye(3).ravel(), OBLIQUE, LEFT_HANDED])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.0), (0.7, 0.7, 5.0)])
def test_a_balls_surface_lies_a_radius_from_its_centre(spacing, direction):
    mask = ball(spacing, direction)
    surface = closed_surface(mask)
    distance = np.linalg.norm(parts(surface)[0] - CENTRE, axis=1)
    np.testing.assert_allclose(distance, RADIUS, atol=0.5 * max(spacing))
    assert distance.mean() == pytest.approx(RADIUS, abs=0.15 * max(spacing))
    assert enclosed(surface) == pytest.approx(volume_of(mask), rel=0.02)


def test_a_pancreas_keeps_its_volume():
    phantom = make_phantom(0, spacing=(0.9, 0.9, 2.5))
    mask = phantom.labels == Label.PANCREAS
    assert enclosed(closed_surface(mask)) == pytest.approx(volume_of(mask), rel=0.01)


@pytest.mark.parametrize("suffix", [".stl", ".obj"])
def test_vtk_reads_the_file_back_in_lps(tmp_path, suffix):
    surface = closed_surface(ball())
    path = tmp_path / "Müller, Bauch" / f"p{suffix}"
    write_surface(surface, path)
    assert b"SPACE=LPS" in path.read_bytes()[:80], "3D Slicer would have to guess"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    reader = vtk.vtkSTLReader() if suffix == ".stl" else vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    reader.Update()
    assert HEADER in (reader.GetHeader() if suffix == ".stl" else reader.GetComment())
    read, points = parts(reader.GetOutput())[0], parts(surface)[0]
    assert reader.GetOutput().GetNumberOfPolys() == surface.GetNumberOfPolys()
    np.testing.assert_allclose(read.min(0), points.min(0), atol=1e-3)
    np.testing.assert_allclose(read.max(0), points.max(0), atol=1e-3)
    assert enclosed(reader.GetOutput()) == pytest.approx(enclosed(surface), rel=1e-3)


def test_a_moved_surface_keeps_its_volume_and_its_outside():
    surface = closed_surface(ball())
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[:3, 3] = 5, 6, 7
    points, other = parts(surface)[0], moved(surface, mirror)
    np.testing.assert_allclose(parts(other)[0], points * [-1, 1, 1] + [5, 6, 7], atol=1e-3)
    assert enclosed(other) == pytest.approx(enclosed(surface), rel=1e-3)


def test_without_vtk_a_surface_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vtkmodules" else found(name))
    for act in (
        lambda: check_surface("p.stl"), lambda: closed_surface(ball()), lambda: write_surface(None, tmp_path / "p.stl"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=r"pip install 'ternarysegment\[surface\]'"):
            act()


def test_an_empty_mask_another_ending_and_a_blocked_place_are_refused(tmp_path):
    with pytest.raises(OutputError, match="is empty"):
        closed_surface(ball() * 0)
    surface = closed_surface(ball())
    with pytest.raises(OutputError, match=r"none of \.stl, \.obj"):
        write_surface(surface, tmp_path / "p.ply")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_surface(surface, tmp_path / "file" / "p.stl")
