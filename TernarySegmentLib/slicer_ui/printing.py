"""A page as PDF or PNG, drawn by Qt, which writes every script that the computer has letters for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from TernarySegmentLib.imaging.files.atomic import atomic_path, incomplete
from TernarySegmentLib.imaging.files.writing import check_suffix, check_whole
from TernarySegmentLib.imaging.report.page import (
    DPI,
    HEIGHT_MM,
    MARGIN_MM,
    PAGE_SUFFIXES,
    POINT_MM,
    WIDTH_MM,
    Block,
    Item,
    Picture,
    Text,
    rgb,
)

PDF_DPI = 1200
"""Dots on which letters and lines are placed."""


def print_page(items: list[Item], path: str | Path, title: str) -> None:
    """Draw a page, in the order of its items, as ``.pdf`` or ``.png``. Main thread only.

    Args:
        items: what stands on it.
        path: an existing file is replaced, missing folders are created.
        title: of the PDF document.

    Raises:
        OutputError: another ending, or the place cannot be written.
    """
    pdf = check_suffix(path, PAGE_SUFFIXES).endswith(".pdf")
    with atomic_path(path, _check) as temporary:
        device = _document(str(temporary), title) if pdf else _picture()
        painter = qt.QPainter()
        if not painter.begin(device):
            raise OSError(_("Qt could not write it"))
        try:
            painter.setRenderHint(qt.QPainter.SmoothPixmapTransform)
            for item in items:
                _draw(painter, item, (PDF_DPI if pdf else DPI) / 25.4)
        finally:
            painter.end()  # Qt must not lose what it paints on
        if not pdf and not device.save(str(temporary), "PNG"):
            raise OSError(_("Qt could not write it"))


def _check(written: Path) -> None:
    if written.suffix == ".png":
        check_whole(written)
    elif not written.read_bytes().rstrip().endswith(b"%%EOF"):
        raise incomplete()


def _document(path: str, title: str) -> Any:
    document = qt.QPdfWriter(path)
    document.setTitle(title)
    document.setCreator("TernarySegment")
    document.setResolution(PDF_DPI)
    document.setPageSize(qt.QPageSize(qt.QPageSize.A4))
    document.setPageMargins(qt.QMarginsF(0, 0, 0, 0))
    return document


def _picture() -> Any:
    picture = qt.QImage(round(WIDTH_MM * DPI / 25.4), round(HEIGHT_MM * DPI / 25.4), qt.QImage.Format_RGB32)
    picture.setDotsPerMeterX(round(DPI / 0.0254))
    picture.setDotsPerMeterY(round(DPI / 0.0254))
    picture.fill(qt.QColor("white"))
    return picture


def _draw(painter: Any, item: Item, dots: float) -> None:
    """Draw at so many dots per mm."""
    if isinstance(item, Text):
        _write(painter, item, dots)
        return
    x, y, width, height = (round(dots * mm) for mm in (item.x, item.y, item.width, item.height))
    box = qt.QRect(x, y, max(width, 1), max(height, 1))
    if isinstance(item, Block):
        painter.fillRect(box, qt.QColor(*rgb(item.colour)))
    else:
        painter.drawImage(box, _image(item))


def _write(painter: Any, item: Text, dots: float) -> None:
    """A line of text, in smaller letters where it would reach into the margin."""
    font = qt.QFont("Helvetica")
    font.setBold(item.bold)
    size, room = dots * item.size * POINT_MM, dots * (WIDTH_MM - MARGIN_MM - item.x)
    font.setPixelSize(round(size))
    font.setPixelSize(round(size * min(1.0, room / max(qt.QFontMetrics(font).horizontalAdvance(item.text), 1))))
    painter.setFont(font)
    painter.setPen(qt.QColor(*rgb(item.colour)))
    painter.drawText(round(dots * item.x), round(dots * item.y), item.text)


def _image(picture: Picture) -> Any:
    """Its pixels for Qt, by way of the format PPM, which takes them as they are."""
    rows, columns = picture.pixels.shape[:2]
    image = qt.QImage()
    image.loadFromData(qt.QByteArray(b"P6 %d %d 255\n" % (columns, rows) + picture.pixels.tobytes()))
    return image
