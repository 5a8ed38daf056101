"""Check that the stored words of a CT slice fit the bits that its header declares.

GDCM cuts every word to ``BitsStored`` and says nothing: of a file that declares fewer bits than it holds it makes other
HU. JPEG and JPEG-LS, whose streams may be of more bits than the header declares, are then decoded a second time; JPEG
2000 is read by the precision of its own stream, whatever the header declares.

Source: DICOM PS3.5 8.1.1 (bits above the high bit), PS3.3 C.7.6.3.1, C.7.5.1.1.2 (padding) and C.9.2 (overlays); ITU-T
T.81 B.2.2 and T.87 C.2.2 (frame headers).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.imaging.files.dicom_headers import Slice, quiet_pydicom

_RUN_LENGTH = "1.2.840.10008.1.2.5"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_JPEG = tuple(f"1.2.840.10008.1.2.4.{kind}" for kind in (50, 51, 57, 70, 80, 81))
"""Baseline, extended, lossless of any and of the first selection value, JPEG-LS lossless and near-lossless."""

_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Markers of T.81 and T.87 that the precision of the samples follows."""

_OVERLAYS = [0x6000_0000 + 0x2_0000 * plane for plane in range(16)]
_POSITION, _DATA = 0x0102, 0x3000
"""Elements of an overlay; one without data of its own lies in the pixels, at the bit of its position."""

_TAGS: list[Any] = [
    "BitsAllocated", "BitsStored", "PixelRepresentation", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "PixelPaddingValue", "PixelData",
    *(overlay + element for overlay in _OVERLAYS for element in (_POSITION, _DATA)),
]  # fmt: skip

LOWEST_HU = -2048
"""No CT value lies below; a positive one that is taken for negative does, by the usual intercept of -1024."""


def bits_fault(checked: Slice) -> str:
    """What is wrong with the bits of a slice's pixels, continuing "The CT slice “x” …"; empty when nothing is."""
    import pydicom

    bits, signed, allocated = checked.bits
    if bits == allocated or allocated not in (8, 16, 32):
        return ""
    with quiet_pydicom():
        header = pydicom.dcmread(checked.path, specific_tags=_TAGS, force=True)
        words = _words(header, allocated)
        if words is None:
            return ""
        padding = _padding(header)
        overlays = _overlays(header)
    if padding is not None:
        words = words[words != padding % 2**allocated]
    slope, intercept = checked.rescale or (1.0, 0.0)
    if _beyond(words, bits, bool(signed), allocated, overlays, (LOWEST_HU - intercept) / slope):
        return (
            f"holds values of more than the {bits} bits that it declares (BitsStored), which would be cut to wrong HU"
        )
    return ""


def _beyond(words: np.ndarray, bits: int, signed: bool, allocated: int, overlays: int, lowest: float) -> bool:
    """True where words need more bits; above a signed value there may be zeros throughout, or its sign throughout."""
    kind = words.dtype.type
    above = (2**allocated - 2**bits) & ~overlays
    if not signed:
        return bool((words & kind(above)).any())
    negative = words[(words & kind(2 ** (bits - 1))) != 0]
    positive = words[(words & kind(2 ** (bits - 1))) == 0]
    upper = negative & kind(above)
    if (positive & kind(above)).any() or not np.isin(upper, (0, above)).all():
        return True
    if not (above and (upper == 0).any()):
        return False
    least = int((negative[upper == 0] & kind(2**bits - 1)).min()) - 2**bits
    return bool(upper.any()) or least < lowest


def _words(header: Any, allocated: int) -> np.ndarray | None:
    """The words as they are stored, unsigned; None where they cannot be seen without decoding."""
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    kind = np.dtype(f"u{allocated // 8}")
    if syntax == _RUN_LENGTH:
        header.BitsStored, header.HighBit, header.PixelRepresentation = allocated, allocated - 1, 0  # else it cuts too
        try:
            return np.asarray(header.pixel_array).astype(kind, copy=False).ravel()
        except Exception:  # damaged bytes make pydicom raise nearly anything; GDCM says so
            return None
    if syntax in _JPEG and _precision(header.PixelData) > header.BitsStored:
        return _decoded(header, allocated)
    if header["PixelData"].is_undefined_length:
        return None
    count = int(header.Rows) * int(header.Columns)
    return np.frombuffer(header.PixelData, kind.newbyteorder(">" if syntax == _BIG_ENDIAN else "<"), count)


def _precision(encapsulated: bytes) -> int:
    """Bits of a sample in a JPEG or JPEG-LS stream; 0 where none begins."""
    place = encapsulated.find(b"\xff\xd8\xff") + 2
    while 2 <= place <= len(encapsulated) - 5 and encapsulated[place] == 0xFF:
        marker = encapsulated[place + 1]
        if marker in _FRAME_HEADERS:
            return encapsulated[place + 4]
        place += 1 if marker == 0xFF else 2 + int.from_bytes(encapsulated[place + 2 : place + 4], "big")
    return 0


def _decoded(header: Any, allocated: int) -> np.ndarray | None:
    """The words as GDCM decodes them when it is told that all their bits are stored; None where it cannot."""
    header.BitsStored, header.HighBit, header.PixelRepresentation = allocated, allocated - 1, 0
    with tempfile.TemporaryDirectory(prefix="ternarysegment-") as folder:
        path = Path(folder) / "slice.dcm"  # its pixels and nothing else
        header.save_as(path)
        try:
            words = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        except RuntimeError:  # damaged; the reading of the volume says so
            return None
    return words.astype(f"u{allocated // 8}", copy=False).ravel()


def _padding(header: Any) -> int | None:
    """The word that scanners write outside their circle, often beyond the bits; it is no measured value."""
    value = header.get("PixelPaddingValue")
    if isinstance(value, bytes):  # implicit types do not tell whether it is signed
        return int.from_bytes(value, "little")
    return value if isinstance(value, int) else None


def _overlays(header: Any) -> int:
    """A mask of the bits in which overlay planes lie."""
    planes = [header[overlay + _POSITION].value for overlay in _OVERLAYS
              if overlay + _POSITION in header and overlay + _DATA not in header]  # fmt: skip
    return sum(1 << plane for plane in {p for p in planes if isinstance(p, int)})
