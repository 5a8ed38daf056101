"""What the panel shows and a scene saves."""

from typing import Annotated

from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper


# No `from __future__ import annotations` here: the wrapper reads the annotations as types.
@parameterNodeWrapper
class Parameters:
    """Bound to the widgets by their SlicerParameterName.

    volume: the CT.
    output: where to write; None makes a new segmentation.
    result: the segmentation that the Result part shows.
    region: search only inside this box; None searches the whole scan.
    smoothing: of the border, mm.
    threads: 0 means all cores.
    model: path of own weights; empty for those that came with the module.
    show_confidence: whether the confidence map lies over the slice views while the panel is on the screen.
    box: segment again inside this box.
    limit_hu: paint only voxels from lowest_hu to highest_hu.
    """

    volume: vtkMRMLScalarVolumeNode
    output: vtkMRMLSegmentationNode
    result: vtkMRMLSegmentationNode
    region: vtkMRMLMarkupsROINode
    smoothing: Annotated[float, WithinRange(0.0, 3.0)] = 0.0
    threads: Annotated[int, WithinRange(0, 64)] = 0
    model: str = ""
    show_confidence: bool = False
    box: vtkMRMLMarkupsROINode
    limit_hu: bool = False
    lowest_hu: Annotated[int, WithinRange(-1024, 3000)] = 0
    highest_hu: Annotated[int, WithinRange(-1024, 3000)] = 180
