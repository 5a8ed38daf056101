"""One page of A4 with text, lines and pictures, as PDF, which fpdf2 writes, or as a picture of it."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.writing import check_suffix

if TYPE_CHECKING:
    from fpdf import FPDF

PAGE_SUFFIXES = (".pdf", ".png")
"""What a page's file name may end in."""

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
"""A4, upright."""

DPI = 200
"""Of a page as PNG."""

POINT_MM = 25.4 / 72

LATIN = "cp1252"
"""What Helvetica, which every reader of PDF has, can write: Western Europe's alphabets."""

MARGIN_MM = 15.0
"""White at both sides; a text that would reach into it is written in smaller letters."""

FONTS = (
    "DejaVuSans", "NotoSans-Regular", "LiberationSans-Regular", "segoeui", "arial", "Arial", "Arial Unicode",
    "NotoSansCJK-Regular", "NotoSansHebrew-Regular", "NotoSansArabic-Regular", "NotoSansDevanagari-Regular",
    "NotoSansThai-Regular", "DroidSansFallbackFull", "wqy-zenhei", "wqy-microhei", "msyh", "msgothic", "YuGothM",
    "simsun", "malgun", "Nirmala", "PingFang", "Hiragino Sans GB", "AppleSDGothicNeo",
)  # fmt: skip
"""File names, without ending, of fonts that Linux, Windows and macOS have; the first with a letter writes it."""


@dataclass(frozen=True)
class Text:
    """A line of text; places are mm from the page's left and upper edge, ``y`` that of the baseline.

    Attributes:
        x, y: where it begins.
        text: one line.
        size: points.
        bold: whether in bold type.
        colour: red, green, blue, 0 to 1.
    """

    x: float
    y: float
    text: str
    size: float = 9.0
    bold: bool = False
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Block:
    """A filled rectangle; a line when it is thin. ``x``, ``y`` is its upper left corner, mm."""

    x: float
    y: float
    width: float
    height: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Picture:
    """Pixels, uint8 (rows, columns, red-green-blue); ``x``, ``y`` is the upper left corner, mm."""

    x: float
    y: float
    width: float
    height: float
    pixels: np.ndarray


Item = Text | Block | Picture


def check_page(path: str | Path, text: str = "") -> None:
    """Check that a page with a text can be written there; call it before minutes are spent.

    Raises:
        OutputError: another ending, or a package is missing.
        InputError: no font has one of the text's letters, naming it.
    """
    check_suffix(path, PAGE_SUFFIXES)
    missing = [name for name in ("fpdf", "pypdfium2") if importlib.util.find_spec(name) is None]
    if missing:
        raise OutputError(f"A report needs the package {missing[0]}; run: pip install 'ternarysegment[report]'.")
    if absent := _fonts(text)[1]:
        raise InputError(
            f"“{text}” holds “{absent[0]}”, which no font here has; install one, as Noto Sans, or use Latin letters."
        )


def write_page(items: list[Item], path: str | Path, title: str) -> None:
    """Draw a page, in the order of its items, as ``.pdf`` or ``.png``.

    Args:
        items: what stands on it.
        path: an existing file is replaced, missing folders are created.
        title: of the PDF document.

    Raises:
        OutputError: another ending, a package is missing, or the place cannot be written.
    """
    check_page(path)
    content = pdf(items, title)
    write_bytes(path, content if Path(path).suffix.lower() == ".pdf" else _png(content))


def pdf(items: list[Item], title: str) -> bytes:
    """The page as a PDF document; its text can be searched and copied."""
    from fpdf import FPDF
    from PIL import Image

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # names every table of a font that it leaves out
    page = FPDF(format="A4")
    page.core_fonts_encoding = LATIN
    page.set_image_filter("FlateDecode")  # JPEG would blur the outline
    page.set_auto_page_break(False)
    page.c_margin = 0
    page.set_title(title)
    page.set_producer("TernarySegment")
    page.add_page()
    for item in items:
        if isinstance(item, Picture):
            pixels = Image.fromarray(np.ascontiguousarray(item.pixels))
            page.image(pixels, item.x, item.y, item.width, item.height)
        elif isinstance(item, Block):
            page.set_fill_color(*rgb(item.colour))
            page.rect(item.x, item.y, item.width, item.height, style="F")
        else:
            _write(page, item)
    return bytes(page.output())


def rgb(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    """Red, green and blue of 0 to 1 as 0 to 255."""
    red, green, blue = (round(255 * part) for part in colour)
    return red, green, blue


def _write(page: FPDF, item: Text) -> None:
    """A line in Helvetica, which every reader has; in fonts of this computer where that lacks a letter."""
    text, (fonts, _absent) = item.text, _fonts(item.text)
    for font in fonts:
        if font.lower() not in page.fonts:
            page.add_font(font, fname=font)
    if fonts:
        page.set_font(fonts[0], size=item.size)
        page.set_fallback_fonts(fonts[1:])
    else:
        text = _latin(text).encode(LATIN, "replace").decode(LATIN)
        page.set_font("Helvetica", "B" if item.bold else "", item.size)
    room = WIDTH_MM - MARGIN_MM - item.x
    page.set_font_size(item.size * min(1.0, room / max(page.get_string_width(text), 1e-6)))
    page.set_text_color(*rgb(item.colour))
    page.set_xy(item.x, item.y - 0.8 * page.font_size)  # where fpdf2 puts the baseline of a line of this height
    page.cell(h=page.font_size, text=text)


def _png(content: bytes) -> bytes:
    """The only page of a PDF document as a picture."""
    from pypdfium2 import PdfDocument

    picture = BytesIO()
    PdfDocument(content)[0].render(scale=DPI / 72).to_pil().save(picture, "PNG", dpi=(DPI, DPI))
    return picture.getvalue()


# --- fonts ------------------------------------------------------------------------------------------------------------


def _fonts(text: str) -> tuple[list[str], str]:
    """Files of the fonts that write a text, none where Helvetica does, and the letters that none has."""
    absent = set(_latin(text))
    if all(letter.encode(LATIN, "ignore") for letter in absent):
        return [], ""
    fonts = []
    for font, letters in _installed():
        if absent & letters:
            fonts.append(font)
            absent -= letters
    return fonts, "".join(sorted(absent))


def _latin(text: str) -> str:
    return text.replace("−", "–")  # Helvetica has a dash, no minus


@cache
def _installed() -> list[tuple[str, set[str]]]:
    """Files of :data:`FONTS` that are there, and what each can write."""
    from fontTools.ttLib import TTFont
    from PIL import ImageFont

    found = []
    for name in FONTS:
        with suppress(OSError):  # not there
            file = str(ImageFont.truetype(name).path)
            found.append((file, set(map(chr, TTFont(file, fontNumber=0, lazy=True).getBestCmap() or ()))))
    return found
