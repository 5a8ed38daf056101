"""All scans of a scene, frames of sequences among them, each as a volume that can be segmented and shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer

from TernarySegmentLib.slicer_ui.mrml.results import is_scan

FRAME, SEQUENCE = "TernarySegment.Frame", "TernarySegment.Sequence"
"""Of a volume node that shows one frame of a sequence: attribute with the frame's index value, role of the reference to
the sequence. Neither changes when other frames go, or when the scene is read into another one."""


@dataclass(frozen=True)
class SceneScan:
    """A scan of the scene; named by ID, since nodes may vanish.

    Attributes:
        name: what people call it.
        node_id: of the volume node, or of the sequence.
        frame: number of the sequence's data node; -1 for a volume.
    """

    name: str
    node_id: str
    frame: int = -1

    @property
    def key(self) -> str:
        """The same for the same scan."""
        return self.node_id if self.frame < 0 else f"{self.node_id} {self.frame}"

    def find(self) -> Any:
        """The scan's vtkMRMLScalarVolumeNode in the scene; None when there is none, or none yet for a frame."""
        if self.frame < 0:
            return slicer.mrmlScene.GetNodeByID(self.node_id)
        sequence = slicer.mrmlScene.GetNodeByID(self.node_id)
        if sequence is None or self.frame >= sequence.GetNumberOfDataNodes():
            return None
        index = sequence.GetNthIndexValue(self.frame)
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next(
            (v for v in volumes if v.GetAttribute(FRAME) == index and v.GetNodeReference(SEQUENCE) is sequence), None
        )

    def volume(self) -> Any:
        """The same; a frame gets its node now, which shares the sequence's voxels. None when the scan is gone."""
        found = self.find()
        return found if found is not None or self.frame < 0 else self._show_frame()

    def _show_frame(self) -> Any:
        sequence = slicer.mrmlScene.GetNodeByID(self.node_id)
        if sequence is None or self.frame >= sequence.GetNumberOfDataNodes():
            return None
        data = sequence.GetNthDataNode(self.frame)
        volume = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        volume.UnRegister(None)
        volume.SetName(self.name)
        volume.SetAttribute(FRAME, sequence.GetNthIndexValue(self.frame))  # before it is added: it is no scan
        volume.SetNodeReferenceID(SEQUENCE, sequence.GetID())
        volume.CopyOrientation(data)
        volume.SetAndObserveImageData(data.GetImageData())
        slicer.mrmlScene.AddNode(volume)
        volume.CreateDefaultDisplayNodes()
        return volume


def scans_of_scene() -> list[SceneScan]:
    """Every volume that may be a CT, and every frame of every sequence of such volumes, by name."""
    found = []
    shown = _browsed()
    for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if is_scan(volume) and volume.GetAttribute(FRAME) is None and volume.GetID() not in shown:
            found.append(SceneScan(volume.GetName(), volume.GetID()))
    for sequence in slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
        count = sequence.GetNumberOfDataNodes()
        for frame in range(count):
            data = sequence.GetNthDataNode(frame)
            if data is not None and data.GetClassName() == "vtkMRMLScalarVolumeNode":
                place = f"{frame + 1}/{count}"
                found.append(SceneScan(f"{sequence.GetName()} {place}", sequence.GetID(), frame))
    return found


def _browsed() -> set[str]:
    """IDs of the volumes in which the module Sequences shows a frame: copies, listed as frames already."""
    sequences = slicer.util.getNodesByClass("vtkMRMLSequenceNode")
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    proxies = [browser.GetProxyNode(sequence) for browser in browsers for sequence in sequences]
    return {proxy.GetID() for proxy in proxies if proxy is not None}
