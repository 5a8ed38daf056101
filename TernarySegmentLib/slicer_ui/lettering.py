"""Lines of text as pictures: Qt writes every script that the computer has letters for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import qt
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.report.page import check_text

PIXELS = 80
"""Height of a letter's body: 560 dots an inch at 10 points."""
MARGIN = 4


def pictures_of(texts: Iterable[str], path: str) -> dict[str, np.ndarray]:
    """Draw the texts that the fonts of a page at that path lack. Main thread only.

    Returns:
        Pixels by text, uint8 (rows, columns, red-green-blue), black on white; nothing for a text that the fonts have.
    """
    return {text: draw(text) for text in texts if not _has_letters(text, path)}


def draw(text: str) -> np.ndarray:
    """One line of text, uint8 (rows, columns, red-green-blue), black on white."""
    font = qt.QFont()
    font.setPixelSize(PIXELS)
    metrics = qt.QFontMetrics(font)
    width, height = metrics.horizontalAdvance(text) + 2 * MARGIN, metrics.height()
    image = qt.QImage(width, height, qt.QImage.Format_RGB32)
    image.fill(qt.QColor("white"))
    painter = qt.QPainter()
    painter.begin(image)
    painter.setFont(font)
    painter.setPen(qt.QColor("black"))
    painter.drawText(MARGIN, metrics.ascent(), text)
    painter.end()
    pixels = vtk.vtkImageData()
    slicer.qMRMLUtils().qImageToVtkImageData(image, pixels)
    columns, rows, _ = pixels.GetDimensions()
    values = vtk_to_numpy(pixels.GetPointData().GetScalars()).reshape(rows, columns, -1)
    return np.ascontiguousarray(values[::-1, :, :3])  # VTK's first row is the lowest


def _has_letters(text: str, path: str) -> bool:
    try:
        check_text(text, path)
    except InputError:
        return False
    return True
