"""The numbers of a result: kept with the segmentation, as text, as a table node."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import slicer

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.grids import Flips
from TernarySegmentLib.pipeline import Result
from TernarySegmentLib.slicer_ui.mrml.segmentation import REPORT

COLUMNS = (
    "Volume [mL]", "Mean [HU]", "SD [HU]", "Right-left [mm]", "Front-back [mm]", "Foot-head [mm]", "Confidence",
)  # fmt: skip


@dataclass(frozen=True)
class Report:
    """What the panel shows of a result.

    Attributes:
        volume_ml: of the mask.
        mean_hu, sd_hu: of the CT inside the mask.
        extent_mm: right-left, front-back, foot-head.
        confidence: 0 to 1.
        centre_ras: a point inside the organ, RAS, mm.
        source: name of the volume.
        model: SHA-256 of the model, first 12 digits.
        flipped: which axes of the patient the file was found to have reversed; None when nobody looked.
        segmented: when, as ISO 8601 to the minute; empty in scenes from before this was kept.
        seconds: that it took.
        notes: sentences that the reader should know: warnings about scan and mask, own weights.
    """

    volume_ml: float
    mean_hu: float
    sd_hu: float
    extent_mm: tuple[float, float, float]
    confidence: float
    centre_ras: tuple[float, float, float]
    source: str
    model: str
    flipped: Flips | None = None
    segmented: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def density(self) -> str:
        """Mean ± SD, e.g. "87 ± 31 HU"."""
        return f"{self.mean_hu:.0f} ± {self.sd_hu:.0f} HU".replace("-", "−")

    @property
    def extent(self) -> str:
        """E.g. "142 × 61 × 83 mm (R-L × A-P × S-I)"."""
        return " × ".join(f"{mm:.0f}" for mm in self.extent_mm) + " mm (R-L × A-P × S-I)"

    def text(self, corrected: bool) -> str:
        """A few lines for the clipboard; those of a mask that was ``corrected`` since say so."""
        since = "\nThe mask was corrected since; these are the numbers of the automatic one." if corrected else ""
        return (
            f"Pancreas in {self.source}\nVolume: {self.volume_ml:.1f} mL\nDensity: {self.density}\n"
            f"Extent: {self.extent}\nConfidence: {self.confidence:.0%}\n"
            + "".join(f"Note: {note}\n" for note in self.notes)
            + f"Automatic segmentation (TernarySegment, model {self.model}); not for diagnosis.{since}"
        )


def report_of(result: Result, source: str, notes: tuple[str, ...] = ()) -> Report:
    """The report of a result that found something.

    Args:
        result: with measures.
        source: name of the volume.
        notes: what the reader should know beside the result's own warnings.
    """
    assert result.measures is not None
    found = result.measures
    x, y, z = found.centre_lps
    return Report(
        found.volume_ml, found.mean_hu, found.sd_hu, found.extent_mm, result.confidence, (-x, -y, z), source,
        result.model.get("sha256", "")[:12], result.flipped, datetime.now().isoformat(timespec="minutes"),
        sum(result.seconds.values()), (*result.warnings, *notes),
    )  # fmt: skip


def keep(report: Report, node: Any) -> None:
    """Store the report with its segmentation node."""
    node.SetAttribute(REPORT, json.dumps(vars(report)))


def kept(node: Any) -> Report | None:
    """The report stored with a segmentation node; None when there is none that can be read."""
    text = node.GetAttribute(REPORT) if node is not None else None
    try:
        values = json.loads(text or "null").items()
        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values}
        mirrored = fields.pop("mirrored", None)  # scenes from before the other axes were looked at
        if mirrored is not None:
            fields["flipped"] = (False, mirrored, False)
        return Report(**fields)
    except (ValueError, TypeError, AttributeError):
        return None


def table_node(report: Report, corrected: bool) -> Any:
    """A new vtkMRMLTableNode with the numbers, one row; whether the mask was ``corrected`` since is one of them.

    Raises:
        OutputError: Slicer could not make it.
    """
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", f"{report.source} pancreas statistics")
    if table is None:
        raise OutputError("Slicer could not make a table; save the scene and start Slicer again.")
    values = (report.volume_ml, report.mean_hu, report.sd_hu, *report.extent_mm, report.confidence)
    names = table.AddColumn()
    names.SetName("Segment")
    table.AddEmptyRow()
    table.SetCellText(0, 0, "pancreas")
    for position, (title, value) in enumerate(zip(COLUMNS, values, strict=True), start=1):
        table.AddColumn().SetName(title)
        table.SetCellText(0, position, f"{value:.3f}")
    table.AddColumn().SetName("Corrected since")
    table.SetCellText(0, len(COLUMNS) + 1, "yes" if corrected else "no")
    return table
