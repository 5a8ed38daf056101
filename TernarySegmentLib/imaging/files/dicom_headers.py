"""What the files of a DICOM folder are, by their SOP class, and what is wrong with those that are CT slices.

Read with pydicom, pixels excepted; of these only the length is checked. Used by the reader and by the writer of DICOM
segmentations, so that both see the same slices.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import stat
import struct
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from TernarySegmentLib.errors import InputError

log = logging.getLogger(__name__)

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
"""SOP class of CT images with one frame for each file (DICOM PS3.4 B.5)."""

MULTI_FRAME_CT = (f"{CT_IMAGE}.1", f"{CT_IMAGE}.2")
"""SOP classes of enhanced CT images: all slices in one file."""

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOP classes; converters write CTs as secondary captures, scanners dose sheets."""

HU_TYPES = ("", "HU", "HU_MOD", "US")
"""RescaleType (PS3.3 C.11.1.1.2) of HU, of HU of one energy, and of what is not said; others are iodine, density …"""

_PROJECTION = re.compile(r"(?<![A-Z])(MIP|MINIP|PROJECTION)(?![A-Z])")
"""In an ImageType: the largest or smallest values along a line instead of those of a slice."""

STEEPEST_RESCALING = 1000.0
"""HU for a step of stored values; no CT comes near, and sums with larger ones overflow."""

RECONSTRUCTION = ("ConvolutionKernel", "FilterType", "ReconstructionDiameter")
"""What a scanner keeps within one volume; tube voltage, current and acquisition may change from slice to slice."""

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID",
    "Modality", "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "ModalityLUTSequence", *RECONSTRUCTION,
]  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """What one CT slice's header says; positions and directions in LPS, mm.

    Attributes:
        path: of the file.
        series: SeriesInstanceUID.
        instance: SOPInstanceUID.
        subject: patient, study and frame of reference; one series has one of each.
        position: of the first voxel's centre.
        orientation: unit vectors along a row and down a column.
        spacing: between columns and between rows, mm.
        size: columns and rows.
        rescale: slope and intercept, None where the header has neither.
        bits: stored bits, 1 where they are signed, allocated bits.
        reconstruction: what the header says of :data:`RECONSTRUCTION`, "" where it says nothing.
        aside: the slice is a scout or a projection, taken only where its study has nothing else.
        fault: what is wrong with it, continuing "The CT slice “x” …"; empty when nothing is.
    """

    path: Path
    series: str
    instance: str
    subject: tuple[str, str, str]
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    spacing: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)
    rescale: tuple[float, float] | None = None
    bits: tuple[int, int, int] = (16, 1, 16)
    reconstruction: tuple[str, ...] = ()
    aside: bool = False
    fault: str = ""


@dataclass
class Folder:
    """What was found among some files.

    Attributes:
        slices: CT slices, sound or not.
        modalities: of the other DICOM objects.
        multi_frame: names of enhanced CT files.
        captures: CT slices stored as secondary captures, as some converters do.
        foreign: files that are no DICOM.
    """

    slices: list[Slice] = field(default_factory=list)
    modalities: set[str] = field(default_factory=set)
    multi_frame: list[Path] = field(default_factory=list)
    captures: list[Slice] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)

    @property
    def ct(self) -> list[Slice]:
        """The slices to go by: secondary captures only from studies that hold nothing else."""
        studies = {each.subject[1] for each in self.slices}
        return [*self.slices, *(each for each in self.captures if each.subject[1] not in studies)]


def files_in(folder: Path) -> list[Path]:
    """Every regular file in a folder and its subfolders, links followed, sorted by path.

    Raises:
        InputError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"The folder “{error.filename}” cannot be read ({error.strerror}); ask for the right to read it."
        ) from error

    found, seen = [], set()
    for where, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        here = os.stat(where)
        if (here.st_dev, here.st_ino) in seen:  # a link to a folder further up
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        found += [Path(where, name) for name in names if not name.startswith("._") and name != ".DS_Store"]
    return sorted(path for path in found if _is_regular(path))


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a link that leads nowhere
        return False


def scan(files: Iterable[Path]) -> Folder:
    """Sort files by what they are.

    Raises:
        InputError: a file cannot be read, or is a DICOM file too damaged to say what it is.
    """
    found = Folder()
    with quiet_pydicom():
        for path in files:
            try:
                with open(path, "rb") as file:
                    _sort(path, file, found)
            except OSError as error:
                raise InputError(
                    f"“{path.name}” cannot be read ({error.strerror}); ask for the right to read it."
                ) from error
    return found


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning of odd values: those that matter are checked here, by their meaning."""
    import pydicom

    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _sort(path: Path, file: BinaryIO, found: Folder) -> None:
    import pydicom

    start = file.read(132)
    tagged = start[128:] == b"DICM"
    # without the preamble of files: a data set that begins with a length or the character set, as very old ones do
    bare = start[:2] == b"\x08\x00" and start[2:4] in (b"\x00\x00", b"\x01\x00", b"\x05\x00", b"\x08\x00", b"\x16\x00")
    if not (tagged or bare):
        found.foreign.append(path)
        return
    file.seek(0)
    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=bare)
        kind = _text(header, "SOPClassUID") or str(header.file_meta.get("MediaStorageSOPClassUID", ""))
        modality = _text(header, "Modality")
    except Exception as error:  # damaged bytes make pydicom raise nearly anything
        raise _damaged(path) from error
    if kind in MULTI_FRAME_CT:
        found.multi_frame.append(path)
    elif kind == CT_IMAGE or (not kind and modality == "CT"):
        found.slices.append(_slice(path, file, header))
    elif kind == SECONDARY_CAPTURE and modality == "CT" and "ImagePositionPatient" in header:
        found.captures.append(_slice(path, file, header))
    elif kind:
        found.modalities.add(modality or "unknown")
    elif not bare:
        raise _damaged(path)
    else:
        found.foreign.append(path)


def _damaged(path: Path) -> InputError:
    return InputError(
        f"The CT slice or DICOM file “{path.name}” is cut off or damaged; copy or export the series again."
    )


# --- one slice --------------------------------------------------------------------------------------------------------


def _text(header: Any, name: str) -> str:
    value = header.get(name, "")
    return "" if value is None else str(value).strip(" \0")


def _numbers(header: Any, name: str, count: int) -> tuple[float, ...]:
    """So many finite numbers of an attribute.

    Raises:
        ValueError: what is wrong with it, continuing "The CT slice “x” has …".
    """
    try:
        value = header.get(name)
        values = [] if value is None or value == "" else value if isinstance(value, Sequence) else [value]
        if isinstance(values, str | bytes):
            values = [values]
        numbers = tuple(float(v) for v in values)
    except Exception as error:  # text where numbers belong; pydicom converts when asked
        raise ValueError(f"a {name} that is no number") from error
    if len(numbers) != count:
        raise ValueError(f"no {name}" if not numbers else f"{len(numbers)} numbers as its {name} instead of {count}")
    if not all(math.isfinite(v) for v in numbers):
        raise ValueError(f"a {name} that is not finite")
    return numbers


def _slice(path: Path, file: BinaryIO, header: Any) -> Slice:
    series, instance = _text(header, "SeriesInstanceUID"), _text(header, "SOPInstanceUID")
    subject = (_text(header, "PatientID"), _text(header, "StudyInstanceUID"), _text(header, "FrameOfReferenceUID"))
    kind = _text(header, "ImageType").upper()
    projection = bool(_PROJECTION.search(kind))
    aside = "LOCALIZER" in kind or projection
    if not series:
        raise InputError(
            f"The CT slice “{path.name}” is cut off or damaged: it has no SeriesInstanceUID; copy or export it again."
        )
    try:
        if projection:
            raise ValueError("largest or smallest values of many slices (ImageType MIP) instead of those of its own")
        geometry = _checked(header)
        fault = _pixel_fault(file, header, geometry["size"])
    except ValueError as error:
        return Slice(path, series, instance or str(path), subject, aside=aside, fault=f"has {error}")
    return Slice(
        path, series, instance or str(path), subject, aside=aside, fault=fault,
        **geometry,
    )  # fmt: skip


def _checked(header: Any) -> dict[str, Any]:
    """Geometry and rescaling of a slice; ValueError as :func:`_numbers`."""
    rows, columns = (int(_numbers(header, name, 1)[0]) for name in ("Rows", "Columns"))
    if min(rows, columns) < 1:
        raise ValueError(f"{columns}×{rows} pixels")
    samples = int(_numbers(header, "SamplesPerPixel", 1)[0]) if "SamplesPerPixel" in header else 1
    meaning = _text(header, "PhotometricInterpretation")
    if samples != 1 or "PALETTE" in meaning:
        raise ValueError("colours; a CT has one value for each pixel, in HU")
    if meaning not in ("", "MONOCHROME2"):  # GDCM turns MONOCHROME1 round, HU and all
        raise ValueError(f"{meaning} as its PhotometricInterpretation, of which programs make different HU")
    if "NumberOfFrames" in header and _numbers(header, "NumberOfFrames", 1)[0] > 1:
        raise ValueError("several frames; export it as single slices or as NIfTI")
    row_step, column_step = _numbers(header, "PixelSpacing", 2)  # rows come first in DICOM
    if min(row_step, column_step) <= 0:
        raise ValueError(f"a PixelSpacing of {row_step:g}×{column_step:g} mm")
    position = _numbers(header, "ImagePositionPatient", 3)
    orientation = _numbers(header, "ImageOrientationPatient", 6)
    along, down = orientation[:3], orientation[3:]
    across = sum(a * b for a, b in zip(along, down, strict=True))
    if any(abs(math.hypot(*v) - 1) > 0.01 for v in (along, down)) or abs(across) > 0.01:
        raise ValueError("an ImageOrientationPatient that is no pair of perpendicular directions")
    bits, signed, allocated = (
        int(_numbers(header, name, 1)[0]) for name in ("BitsStored", "PixelRepresentation", "BitsAllocated")
    )
    if not 1 <= bits <= allocated:
        raise ValueError(f"{bits} bits stored in fewer bits allocated")
    high = _numbers(header, "HighBit", 1)[0] if "HighBit" in header else bits - 1
    if high > bits - 1 or (high < bits - 1 and bits < allocated):  # GDCM moves them down wrongly, or not at all
        raise ValueError(f"its {bits} bits at another place than DICOM wants them (HighBit)")
    return {
        "position": position,
        "orientation": orientation,
        "spacing": (column_step, row_step),
        "size": (columns, rows),
        "rescale": _rescale(header),
        "bits": (bits, signed, allocated),
        "reconstruction": _reconstruction(header),
    }


def _reconstruction(header: Any) -> tuple[str, ...]:
    """As text; a diameter to the millimetre, as headers round it differently."""
    kernel, filter_, diameter = (_text(header, name) for name in RECONSTRUCTION)
    try:
        diameter = f"{round(float(diameter))} mm"
    except (ValueError, OverflowError):  # none, or no number: nothing depends on it
        diameter = ""
    return kernel, filter_, diameter


def _rescale(header: Any) -> tuple[float, float] | None:
    if "ModalityLUTSequence" in header:
        raise ValueError("its HU in a table (Modality LUT), which is not read here; convert it to NIfTI")
    if "RescaleSlope" not in header and "RescaleIntercept" not in header:
        return None
    slope, intercept = _numbers(header, "RescaleSlope", 1)[0], _numbers(header, "RescaleIntercept", 1)[0]
    if not 0 < slope <= STEEPEST_RESCALING:
        raise ValueError(f"a RescaleSlope of {slope:g}")
    kind = _text(header, "RescaleType").upper()
    if kind not in HU_TYPES and "HOUNSFIELD" not in kind:
        raise ValueError(f"values of the kind “{kind}” instead of HU (RescaleType)")
    return slope, intercept


# --- pixels, without decoding them ------------------------------------------------------------------------------------

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_JPEG = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(5\d|[6-9]\d|20\d)")
"""Transfer syntaxes of the JPEG family, whose streams all end in FF D9."""


def _pixel_fault(file: BinaryIO, header: Any, size: tuple[int, int]) -> str:
    """What is wrong with the pixels, "" when nothing is; the file stands where they begin."""
    import pydicom

    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) if hasattr(header, "file_meta") else ""
    needed = math.prod(size) * int(_numbers(header, "BitsAllocated", 1)[0]) // 8
    if syntax == _DEFLATED:  # GDCM refuses one that ends early, but fills up pixels that are too few
        file.seek(0)
        length = len(pydicom.dcmread(file, specific_tags=["PixelData"]).get("PixelData", b""))
        return _length_fault(length, length, needed)
    begin = file.read(12)
    big = syntax == _BIG_ENDIAN
    if begin[:4] != (b"\x7f\xe0\x00\x10" if big else b"\xe0\x7f\x10\x00"):
        return "is cut off: it has no pixels"
    explicit = begin[4:6] in (b"OW", b"OB")
    length = struct.unpack((">" if big else "<") + "I", begin[8:12] if explicit else begin[4:8])[0]
    start = file.tell() - (0 if explicit else 4)
    there = os.fstat(file.fileno()).st_size - start
    if length == _UNDEFINED:
        return _fragment_fault(file, bool(_JPEG.fullmatch(syntax)))
    return _length_fault(length, there, needed)


def _length_fault(length: int, there: int, needed: int) -> str:
    """What is wrong with pixels said to have so many bytes, of which so many are there."""
    if length > there or needed > length:
        return f"is cut off or damaged ({min(length, there)} of {needed} bytes of pixels)"
    if length - needed > 1:  # an even length asks for one byte more at most
        return f"is damaged ({length} bytes of pixels instead of {needed})"
    return ""


def _fragment_fault(file: BinaryIO, jpeg: bool) -> str:
    """What is wrong with encapsulated pixels (PS3.5 A.4): an offset table, fragments and an end, each whole."""
    size, tail, fragments = os.fstat(file.fileno()).st_size, b"", -1
    while True:
        head = file.read(8)
        tag, length = head[:4], int.from_bytes(head[4:], "little")
        if tag == _END and len(head) == 8:
            break
        if tag != _ITEM or file.tell() + length > size:
            return "is cut off or damaged (its compressed pixels have no end)"
        fragments += 1
        if fragments and length:
            file.seek(max(length - 4, 0), os.SEEK_CUR)
            tail = file.read(min(length, 4))
        else:
            file.seek(length, os.SEEK_CUR)
    if fragments < 1 or (jpeg and b"\xff\xd9" not in tail):
        return "is cut off or damaged (its compressed pixels have no end)"
    return ""


def pixel_digest(path: Path) -> str:
    """A digest of a slice's pixels as they are stored; empty where they cannot be read, as another check says."""
    import pydicom

    with quiet_pydicom():
        try:
            pixels = pydicom.dcmread(path, specific_tags=["PixelData"], force=True).get("PixelData", b"")
        except Exception:  # damaged bytes make pydicom raise nearly anything
            return ""
    return hashlib.sha256(pixels).hexdigest()
