"""A mask's closed surface, as STL or OBJ, for printing, planning and teaching; VTK makes and writes it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.atomic import atomic_path, incomplete
from TernarySegmentLib.imaging.files.writing import check_suffix
from TernarySegmentLib.imaging.grids import voxel_steps
from TernarySegmentLib.imaging.measure import mask_box

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkPolyData

SURFACE_SUFFIXES = (".stl", ".obj")
"""What a surface's file name may end in; STL is written in its binary form."""

HEADER = "TernarySegment output. SPACE=LPS"
"""First words of a file. 3D Slicer reads from them which way the axes run, and takes LPS where nothing is said."""


def check_surface(path: str | Path) -> str:
    """The file's name in small letters, if a surface can be written there; call it before minutes are spent.

    Raises:
        OutputError: another ending, or VTK is missing.
    """
    _check_vtk()
    return check_suffix(path, SURFACE_SUFFIXES)


def _check_vtk() -> None:
    if importlib.util.find_spec("vtkmodules") is None:
        raise OutputError("A surface needs the package vtk; run: pip install 'ternarysegment[surface]'.")


def closed_surface(mask: sitk.Image, smoothing_mm: float = 1.0) -> vtkPolyData:
    """The surface around a mask: triangles, counter-clockwise as seen from outside, in LPS and mm.

    The mask is smoothed first; the level that then counts as border is chosen so that as many voxels lie inside as
    before: at half height smoothing would take 1 % of a pancreas' volume away with slices of 1 mm, 2.5 % with 4.25 mm.

    Args:
        mask: integer image, inside where not 0, any grid.
        smoothing_mm: standard deviation of the Gaussian, at least 0.7 voxels along each axis against stair steps.

    Raises:
        OutputError: the mask is empty, or VTK is missing.
    """
    _check_vtk()
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    field = smooth_field(mask, smoothing_mm)
    values, voxels = sitk.GetArrayFromImage(field), vtkImageData()
    voxels.SetDimensions(field.GetSize())
    voxels.GetPointData().SetScalars(numpy_to_vtk(values.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(voxels)
    edges.SetValue(0, 0.0)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = voxel_steps(field), field.GetOrigin()
    return moved(edges.GetOutput(), matrix)


def moved(surface: vtkPolyData, matrix: np.ndarray) -> vtkPolyData:
    """The surface after a linear transform, 4×4; a mirror turns the triangles too, so that outside stays outside."""
    from vtkmodules.vtkCommonTransforms import vtkTransform
    from vtkmodules.vtkFiltersCore import vtkReverseSense
    from vtkmodules.vtkFiltersGeneral import vtkTransformPolyDataFilter

    transform, move = vtkTransform(), vtkTransformPolyDataFilter()
    transform.SetMatrix(matrix.ravel().tolist())
    move.SetTransform(transform)
    move.SetInputData(surface)
    move.Update()
    if np.linalg.det(matrix) > 0:
        return move.GetOutput()
    turn = vtkReverseSense()
    turn.SetInputData(move.GetOutput())
    turn.Update()
    return turn.GetOutput()


def write_surface(surface: vtkPolyData, path: str | Path) -> None:
    """Write ``.stl`` (binary) or ``.obj``, in LPS and mm; the file's first words say so.

    Args:
        surface: triangles without normals, positions in LPS, mm.
        path: an existing file is replaced, missing folders are created.

    Raises:
        OutputError: another ending, VTK is missing, or the place cannot be written; nothing half-written is left.
    """
    stl = check_surface(path).endswith(".stl")
    from vtkmodules.vtkIOGeometry import vtkOBJWriter, vtkSTLWriter

    points, triangles = surface.GetNumberOfPoints(), surface.GetNumberOfPolys()

    def check(written: Path) -> None:  # VTK's writer of OBJ does not notice a full disk
        content = written.read_bytes()
        lines = (content.count(b"\nv "), content.count(b"\nf "), content[-1:])
        if len(content) != 84 + 50 * triangles if stl else lines != (points, triangles, b"\n"):
            raise incomplete()

    writer: Any = vtkSTLWriter() if stl else vtkOBJWriter()
    writer.SetInputData(surface)
    if stl:
        writer.SetHeader(HEADER)
        writer.SetFileTypeToBinary()
    with atomic_path(path, check) as temporary:
        temporary.touch()  # says why where it cannot: VTK prints that and goes on
        writer.SetFileName(os.fsencode(temporary))
        if not writer.Write():
            raise OSError("VTK could not write it, as on a full disk")
        if not stl:
            temporary.write_bytes(f"# {HEADER}\n".encode() + temporary.read_bytes())


def smooth_field(mask: sitk.Image, smoothing_mm: float = 1.0) -> sitk.Image:
    """A smoothed mask, float32, around the mask's box: positive inside, negative outside and at the rim, never 0.

    Args and errors as for :func:`closed_surface`.
    """
    box = mask_box(mask)
    if box is None:
        raise OutputError("The mask is empty, so it has no surface.")
    spacing = np.array(mask.GetSpacing())
    sigma = np.maximum(smoothing_mm, 0.7 * spacing)
    margin = np.ceil(3 * sigma / spacing).astype(int) + 1
    part = sitk.Cast(sitk.RegionOfInterest(mask, box[1], box[0]) != 0, sitk.sitkFloat32)
    part = sitk.ConstantPad(part, margin.tolist(), margin.tolist(), 0.0)
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(part, sigma.tolist()))
    inside = int(np.count_nonzero(sitk.GetArrayViewFromImage(part)))
    level = float(np.partition(smooth.ravel(), -inside)[-inside])
    smooth -= np.float32(min(max(level, 0.05), 0.5))
    smooth[smooth == 0] = np.float32(1e-6)  # a border through a voxel's very centre has no place on an edge
    field = sitk.GetImageFromArray(smooth)
    field.CopyInformation(part)
    return field
