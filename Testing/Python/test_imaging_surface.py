"""Surfaces: closed, the right way out, of the mask's volume and in its place; files that other programs read."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.report.surface import Surface, closed_surface, write_surface
from TernarySegmentLib.phantom import Label, make_phantom

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


def edges(surface: Surface) -> np.ndarray:
    corners = surface.triangles
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
    assert surface.volume_ml > 0, "inside out"


@pytest.mark.parametrize("direction", [np.eye(3).ravel(), OBLIQUE, LEFT_HANDED])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 1.0), (0.7, 0.7, 5.0)])
def test_a_balls_surface_lies_a_radius_from_its_centre(spacing, direction):
    mask = ball(spacing, direction)
    surface = closed_surface(mask)
    distance = np.linalg.norm(surface.points - CENTRE, axis=1)
    np.testing.assert_allclose(distance, RADIUS, atol=0.5 * max(spacing))
    assert distance.mean() == pytest.approx(RADIUS, abs=0.15 * max(spacing))
    assert surface.volume_ml == pytest.approx(volume_of(mask), rel=0.02)


def test_a_pancreas_keeps_its_volume():
    phantom = make_phantom(0, spacing=(0.9, 0.9, 2.5))
    mask = phantom.labels == Label.PANCREAS
    assert closed_surface(mask).volume_ml == pytest.approx(volume_of(mask), rel=0.01)


@pytest.mark.parametrize("suffix", [".stl", ".obj"])
def test_vtk_reads_the_file_back_in_lps(tmp_path, suffix):
    vtk = pytest.importorskip("vtk", reason="vtk, which reads the files back here, comes with pip install -e .[host]")
    from vtk.util.numpy_support import vtk_to_numpy

    surface = closed_surface(ball())
    path = tmp_path / "Müller, Bauch" / f"p{suffix}"
    write_surface(surface, path)
    assert b"SPACE=LPS" in path.read_bytes()[:80], "3D Slicer would have to guess"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    reader = vtk.vtkSTLReader() if suffix == ".stl" else vtk.vtkOBJReader()
    reader.SetFileName(str(path))
    reader.Update()
    read = reader.GetOutput()
    assert read.GetNumberOfPolys() == len(surface.triangles)
    points = vtk_to_numpy(read.GetPoints().GetData())
    np.testing.assert_allclose(points.min(0), surface.points.min(0), atol=1e-3)
    np.testing.assert_allclose(points.max(0), surface.points.max(0), atol=1e-3)
    mass = vtk.vtkMassProperties()
    mass.SetInputData(read)
    assert mass.GetVolume() / 1000 == pytest.approx(surface.volume_ml, rel=1e-3)


def test_an_empty_mask_another_ending_and_a_blocked_place_are_refused(tmp_path):
    with pytest.raises(OutputError, match="is empty"):
        closed_surface(ball() * 0)
    surface = closed_surface(ball())
    with pytest.raises(OutputError, match=r"none of \.stl, \.obj"):
        write_surface(surface, tmp_path / "p.ply")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_surface(surface, tmp_path / "file" / "p.stl")
