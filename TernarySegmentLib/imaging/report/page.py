"""One page of A4 with text, lines and pictures, as PDF without any library, or as PNG with Pillow."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.writing import check_suffix

PAGE_SUFFIXES = (".pdf", ".png")
"""What a page's file name may end in."""

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
"""A4, upright."""

DPI = 200
"""Of a page as PNG."""

POINT_MM = 25.4 / 72

PNG_LETTERS = "".join(map(chr, range(32, 127))) + "…‹‘’“”™›©«°±´·»"
"""What the font that comes with Pillow can write."""


@dataclass(frozen=True)
class Text:
    """A line of text; places are mm from the page's left and upper edge, ``y`` that of the baseline.

    Attributes:
        x, y: where it begins.
        text: what Western Europe's alphabets can write; see :func:`check_text`.
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


def check_text(text: str, path: str | Path) -> None:
    """Check that the fonts of a page at that path can write a text.

    Raises:
        InputError: a character is missing, naming it.
    """
    png = Path(path).suffix.lower() == ".png"
    for letter in text:
        if not (letter in PNG_LETTERS if png else letter == "?" or _encoded(letter) != b"?"):
            other = "save it as .pdf, which has more, or write it otherwise" if png else "write it in Latin letters"
            raise InputError(f"“{text}” holds “{letter}”, which the report's fonts lack; {other}.")


def write_page(items: list[Item], path: str | Path, title: str) -> None:
    """Draw a page, in the order of its items, as ``.pdf`` or ``.png``.

    Args:
        items: what stands on it.
        path: an existing file is replaced, missing folders are created.
        title: of the PDF document.

    Raises:
        OutputError: another ending, Pillow is missing for a PNG, or the place cannot be written.
    """
    if check_suffix(path, PAGE_SUFFIXES).endswith(".pdf"):
        write_bytes(path, pdf(items, title))
        return
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise OutputError("A report as PNG needs the package Pillow; save it as .pdf instead.") from error
    content = BytesIO()
    _drawn(items).save(content, "PNG", dpi=(DPI, DPI))
    write_bytes(path, content.getvalue())


# --- PDF (ISO 32000-1) ------------------------------------------------------------------------------------------------


def pdf(items: list[Item], title: str) -> bytes:
    """The page as a PDF document; its text can be searched and copied."""
    pictures = [item for item in items if isinstance(item, Picture)]
    names = " ".join(f"/P{number} {6 + number} 0 R" for number in range(len(pictures)))
    encoding = "/Subtype /Type1 /Encoding /WinAnsiEncoding"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {_pt(WIDTH_MM)} {_pt(HEIGHT_MM)}] /Contents 4 0 R "
            f"/Resources << /Font << /F0 << /Type /Font /BaseFont /Helvetica {encoding} >> "
            f"/F1 << /Type /Font /BaseFont /Helvetica-Bold {encoding} >> >> /XObject << {names} >> >> >>"
        ).encode(),
        _stream(b"", _instructions(items)),
        b"<< /Title " + _string(title) + b" /Producer (TernarySegment) >>",
        *(_image(picture.pixels) for picture in pictures),
    ]
    out, offsets = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(out)


def _instructions(items: list[Item]) -> bytes:
    lines: list[bytes] = []
    pictures = 0
    for item in items:
        if isinstance(item, Text):
            place = f"{_pt(item.x)} {_pt(HEIGHT_MM - item.y)} Td".encode()
            font = f"BT /F{int(item.bold)} {item.size:g} Tf {_rgb(item.colour)}".encode()
            lines.append(b" ".join([font, place, _string(item.text), b"Tj ET"]))
            continue
        box = f"{_pt(item.x)} {_pt(HEIGHT_MM - item.y - item.height)}", _pt(item.width), _pt(item.height)
        if isinstance(item, Block):
            lines.append(f"{_rgb(item.colour)} {box[0]} {box[1]} {box[2]} re f".encode())
        else:
            lines.append(f"q {box[1]} 0 0 {box[2]} {box[0]} cm /P{pictures} Do Q".encode())
            pictures += 1
    return b"\n".join(lines)


def _image(pixels: np.ndarray) -> bytes:
    """An image, each row as the difference to the one above (PNG predictor 2), which packs CT slices tighter."""
    rows, columns = pixels.shape[:2]
    flat = pixels.reshape(rows, 3 * columns)
    packed = np.full((rows, 3 * columns + 1), 2, np.uint8)
    packed[:, 1:] = np.diff(flat, axis=0, prepend=np.zeros((1, 3 * columns), np.uint8))
    header = (
        f"/Type /XObject /Subtype /Image /Width {columns} /Height {rows} /ColorSpace /DeviceRGB /BitsPerComponent 8 "
        f"/DecodeParms << /Predictor 12 /Colors 3 /Columns {columns} >>"
    )
    return _stream(header.encode(), packed.tobytes())


def _stream(header: bytes, content: bytes) -> bytes:
    packed = zlib.compress(content, 6)
    return b"<< %s /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (header, len(packed), packed)


def _string(text: str) -> bytes:
    content = _encoded(text)
    for special in (b"\\", b"(", b")"):
        content = content.replace(special, b"\\" + special)
    return b"(" + content + b")"


def _encoded(text: str) -> bytes:
    return text.replace("−", "–").encode("cp1252", "replace")  # the fonts have a dash, no minus


def _pt(mm: float) -> str:
    return f"{mm / POINT_MM:.2f}"


def _rgb(colour: tuple[float, float, float]) -> str:
    return " ".join(f"{part:.3f}" for part in colour) + " rg"


# --- PNG --------------------------------------------------------------------------------------------------------------


def _drawn(items: list[Item]) -> PIL.Image.Image:  # type: ignore[name-defined]  # noqa: F821
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (_px(WIDTH_MM), _px(HEIGHT_MM)), "white")
    draw = ImageDraw.Draw(page)
    for item in items:
        if isinstance(item, Picture):
            pixels = Image.fromarray(np.ascontiguousarray(item.pixels))
            page.paste(
                pixels.resize((_px(item.width), _px(item.height)), Image.Resampling.LANCZOS), (_px(item.x), _px(item.y))
            )
            continue
        colour = tuple(round(255 * part) for part in item.colour)
        if isinstance(item, Block):
            x, y = _px(item.x), _px(item.y)
            draw.rectangle((x, y, x + max(_px(item.width), 1) - 1, y + max(_px(item.height), 1) - 1), fill=colour)
        else:
            font = ImageFont.load_default(item.size * DPI / 72)
            draw.text((_px(item.x), _px(item.y)), _plain(item.text), colour, font, "ls", stroke_width=0.6 * item.bold)
    return page


def _plain(text: str) -> str:
    """Without what Pillow's font lacks."""
    for letter, instead in (("×", "x"), ("–", "-"), ("−", "-")):
        text = text.replace(letter, instead)
    return text


def _px(mm: float) -> int:
    return round(mm * DPI / 25.4)
