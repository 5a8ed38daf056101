"""The probe's parameters: one field of each kind that the host's wrapper knows."""

import enum
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper


class Mode(enum.Enum):
    FAST = "fast"
    CAREFUL = "careful"


@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    smoothing: Annotated[float, WithinRange(0.0, 3.0)] = 1.0
    threads: Annotated[int, WithinRange(0, 8)] = 2
    name: str = "pancreas"
    keep: bool = True
    side: Annotated[str, Choice(["left", "right"]), Default("right")]
    mode: Mode = Mode.FAST
    limit: float | None = None
