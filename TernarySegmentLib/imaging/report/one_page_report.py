"""A result on one page, to go with a record: pictures, numbers, and where they come from."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib import __version__
from TernarySegmentLib.imaging.measure import Measures, measure
from TernarySegmentLib.imaging.report.page import (
    MARGIN_MM,
    WIDTH_MM,
    Block,
    Item,
    Picture,
    Text,
    check_page,
    write_page,
)
from TernarySegmentLib.imaging.report.preview import CORONAL, SAGITTAL, View, draw_preview
from TernarySegmentLib.imaging.report.rendering import draw_body

LEFT, WIDTH = MARGIN_MM, WIDTH_MM - 2 * MARGIN_MM
"""mm; the margin and what lies between the margins."""

FOOT = 283
"""mm from the upper edge; below it stand the program and the warning."""

TITLE = "Pancreas segmentation"

GREY, PALE, AMBER = (0.40, 0.40, 0.40), (0.90, 0.90, 0.90), (1.0, 0.95, 0.80)

BODY = (270, 400)
"""Pixels of a 3D view, rows and columns."""

WARNING = "For research only. Not a medical device: check the outline in the images before using any number."
CAPTION = (
    "Above: axial, coronal and sagittal plane through the segmentation's largest cross-sections. Below: five axial "
    "slices, from head to foot. Orange: the segmentation.",
    "Seen from the feet, from the front and from the left: the patient's right (R) is at the left of the picture. "
    "Window 40/400 HU.",
)


@dataclass(frozen=True)
class Facts:
    """What the page says beside what is measured on the images.

    Attributes:
        confidence: in words; empty leaves it out.
        model: SHA-256 of the model, as much of it as is known.
        segmented: when the segmentation was made; None when that is not known.
        seconds: that the segmentation took; 0 when that is not known.
        corrected: whether a person changed the mask since.
        case: patient or case, as the page shall name it; empty leaves a line to write on.
        notes: sentences about the scan that the reader should know.
        scan: name of the scan, as the page shall show it; empty leaves it out.
    """

    confidence: str = ""
    model: str = ""
    segmented: datetime | None = None
    seconds: float = 0.0
    corrected: bool = False
    case: str = ""
    notes: tuple[str, ...] = ()
    scan: str = ""


def write_report(ct: sitk.Image, mask: sitk.Image, facts: Facts, path: str | Path) -> None:
    """Write a page about a mask as ``.pdf`` or ``.png``. It names nobody but in ``facts.case``, ``facts.scan``.

    Args:
        ct: 3D image in HU.
        mask: integer image on the same grid, inside where not 0.
        facts: see :class:`Facts`.
        path: an existing file is replaced, missing folders are created.

    Raises:
        InputError: the grids differ, the mask is empty, or the case's name cannot be printed.
        OutputError: another ending, a package is missing, or the place cannot be written.
    """
    check_page(path, facts.case)
    write_page(draw_report(ct, mask, facts), path, TITLE)


def draw_report(ct: sitk.Image, mask: sitk.Image, facts: Facts) -> list[Item]:
    """What stands on the page that :func:`write_report` writes."""
    measures = measure(ct, mask)
    items: list[Item] = [*_head(facts)]
    y = _picture(items, draw_preview(ct, mask), 47.0)
    for line in CAPTION:
        items.append(Text(LEFT, y, line, 7, colour=GREY))
        y += 3.2
    y += 3
    _bodies(items, mask, y)
    _table(items, _rows(ct, measures, facts), y + 3)
    items.append(Block(LEFT, FOOT, WIDTH, 0.2, GREY))
    foot = f"TernarySegment {__version__}. {WARNING}"
    items.append(Text(LEFT, 287.5, foot, 7, colour=GREY))
    return items


def _head(facts: Facts) -> list[Item]:
    method = "automatic, then corrected by hand" if facts.corrected else "automatic"
    items: list[Item] = [
        Text(LEFT, 21, TITLE, 18, bold=True),
        Text(LEFT, 26.5, f"Computed tomography, {method}", 10, colour=GREY),
        Block(LEFT, 30, WIDTH, 6.5, AMBER),
        Text(LEFT + 2, 34.3, WARNING, 9, bold=True),
        Text(LEFT, 43, "Patient or case", 9, colour=GREY),
    ]
    if facts.case:
        return [*items, Text(LEFT + 28, 43, facts.case, 10, bold=True)]
    return [*items, Block(LEFT + 28, 43.4, WIDTH - 28, 0.15, GREY)]


def _picture(items: list[Item], pixels: np.ndarray, y: float) -> float:
    """The planes at full width, less where that would be too high; returns where the caption goes."""
    rows, columns = pixels.shape[:2]
    width = min(WIDTH, 130 * columns / rows)
    height = width * rows / columns
    items.append(Picture(LEFT + (WIDTH - width) / 2, y, width, height, pixels))
    return y + height + 4


def _bodies(items: list[Item], mask: sitk.Image, y: float) -> None:
    """Two 3D views, one below the other, with letters at their edges, in the left half."""
    height = min(48.0, (280 - y) / 2 - 7)
    for view, name in ((CORONAL, "from the front"), (SAGITTAL, "from the left")):
        items.append(Text(LEFT, y + 2.5, f"3D, {name}", 7, colour=GREY))
        width = height * BODY[1] / BODY[0]
        pixels, scale = draw_body(mask, view, BODY)
        items.append(Picture(LEFT + 4, y + 3.5, width, height, pixels))
        items += _letters(view, LEFT + 4, y + 3.5, width, height)
        bar = 20 / scale * width / BODY[1]  # mm on paper for 20 mm of the patient
        items += [
            Block(LEFT + 4, y + height + 3, bar, 0.5, GREY),
            Text(LEFT + 5 + bar, y + height + 3.6, "20 mm", 6, colour=GREY),
        ]
        y += height + 7


def _letters(view: View, x: float, y: float, width: float, height: float) -> list[Item]:
    middle = (x + width / 2, y + height / 2)
    places = ((x - 3, middle[1]), (x + width + 1, middle[1]), (middle[0], y + 1), (middle[0], y + height + 2))
    return [Text(*place, letter, 8, bold=True, colour=GREY) for place, letter in zip(places, view.letters, strict=True)]


def _rows(ct: sitk.Image, measures: Measures, facts: Facts) -> list[tuple[str, str]]:
    """Names and values of the table; what is not known is left out."""
    size, spacing = "×".join(map(str, ct.GetSize())), " × ".join(f"{mm:.2f}" for mm in ct.GetSpacing())
    taken = f" in {facts.seconds:.1f} s" if facts.seconds else ""
    rows = [
        ("Volume", f"{measures.volume_ml:.1f} mL"),
        ("Density", f"{measures.mean_hu:.0f} ± {measures.sd_hu:.0f} HU (mean ± standard deviation)"),
        ("Extent", " × ".join(f"{mm:.0f}" for mm in measures.extent_mm) + " mm (R–L × A–P × S–I)"),
        ("Confidence", facts.confidence + (" Before correction." if facts.corrected and facts.confidence else "")),
        ("Outline", "automatic, then corrected by hand" if facts.corrected else "automatic, not corrected"),
        ("Scan", facts.scan),
        ("Grid", f"{size} voxels of {spacing} mm"),
        ("Segmented", f"{facts.segmented:%Y-%m-%d %H:%M}{taken}" if facts.segmented else ""),
        ("Report", f"{datetime.now():%Y-%m-%d %H:%M}"),
        ("Program", f"TernarySegment {__version__}"),
        ("Model", f"SHA-256 {facts.model[:12]}" if facts.model else ""),
        *(("Note", note) for note in facts.notes),
    ]
    return [(name, value.replace("-", "−") if name == "Density" else value) for name, value in rows if value]


def _table(items: list[Item], rows: list[tuple[str, str]], y: float) -> None:
    """In the right half, above the foot: the volume large, the rest in lines, smaller where there are many."""
    shrink = 1.0
    while _lay_table([], rows, y, shrink) > FOOT - 2:
        shrink *= 0.95
    _lay_table(items, rows, y, shrink)


def _lay_table(items: list[Item], rows: list[tuple[str, str]], y: float, shrink: float) -> float:
    """The table in letters of a part of their usual size; returns where it ends, mm."""
    x, values = LEFT + 88, LEFT + 109
    y += 3 * shrink
    for number, (name, value) in enumerate(rows):
        first = number == 0
        items.append(Text(x, y, name, 8.5 * shrink, colour=GREY))
        for line in textwrap.wrap(value, int(44 / shrink)):
            items.append(Text(values, y, line, (15 if first else 8.5) * shrink, bold=first))
            y += 4 * shrink
        items.append(Block(x, y - 2.2 * shrink, LEFT + WIDTH - x, 0.1, PALE))
        y += 2.2 * shrink
    return y
