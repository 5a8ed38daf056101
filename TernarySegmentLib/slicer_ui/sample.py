"""The synthetic abdomen as sample data: made on this computer, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import slicer

from TernarySegmentLib.phantom import make_phantom

NAME = "TernarySegmentPhantom"


def register(thumbnail: Path) -> None:
    """Add the abdomen to the Sample Data module."""
    import SampleData  # type: ignore[import-not-found]

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Pancreas Segmentation",
        sampleName=NAME,
        uris="",
        fileNames=f"{NAME}.nrrd",
        nodeNames=NAME,
        thumbnailFileName=str(thumbnail),
        customDownloader=lambda source=None: [add_phantom()],
    )


def add_phantom(spacing: tuple[float, float, float] = (1.5, 1.5, 3.0)) -> Any:
    """A portal-venous abdomen as a new volume node, shown in the slice views.

    Args:
        spacing: voxel size (x, y, z), mm.
    """
    ct = make_phantom(0, spacing=spacing).ct
    ijk_to_ras = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    ijk_to_ras[:3, 3] = np.array(ct.GetOrigin()) * (-1, -1, 1)
    node = slicer.util.addVolumeFromArray(sitk.GetArrayFromImage(ct), ijkToRAS=ijk_to_ras, name=NAME)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAutoWindowLevel(False)
    node.GetDisplayNode().SetWindowLevel(400, 50)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
