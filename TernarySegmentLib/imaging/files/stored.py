"""Check that the voxels of a NRRD or MetaImage file are all there, before ITK reads them.

ITK reads a MetaImage whose compressed voxels are damaged as if they were sound, and some damaged NRRD files too. Both
formats begin with lines of text that say where the voxels lie and how they are packed.

Source: https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk

from TernarySegmentLib.errors import InputError

LONGEST_HEADER = 1 << 20
"""Bytes; Slicer's segmentations with hundreds of segments stay below 0.2 MB."""

MILLIMETRES = frozenset({"", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"})
"""Units in which a header may measure; ITK takes every length for millimetres, whatever the unit."""

LONGEST_STEP_MM = 1000.0
"""From one voxel to the next; ITK takes lengths whose squares overflow for 1 mm."""


@dataclass(frozen=True)
class Stored:
    """Where a header puts its voxels.

    Attributes:
        packing: ``raw``, ``gzip``, ``zlib``, or another that ITK checks itself.
        files: that hold them, relative names taken from the header's folder; one, or one for each slice.
        offset: byte at which they begin in each file; None when the header does not tell so simply.
        attached: header and voxels share one file.
    """

    packing: str
    files: tuple[Path, ...]
    offset: int | None
    attached: bool


def parse_stored(path: Path, kind: str) -> Stored:
    """Where the header of a file says that its voxels lie.

    Args:
        path: of the header.
        kind: ``nrrd`` or ``meta``.

    Raises:
        InputError: the header does not say so, or a data file is missing.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(LONGEST_HEADER)
    stored = _nrrd(path, start) if kind == "nrrd" else _meta(path, start)
    for file_path in stored.files:
        if not file_path.is_file():
            raise InputError(f"“{path.name}” keeps its voxels in “{file_path.name}”, which is missing; copy it too.")
    return stored


def check_stored(path: Path, stored: Stored, voxel_bytes: int, slices: int = 1) -> int | None:
    """Refuse voxels that are not all there, or are damaged as far as a check sum can say.

    Args:
        path: of the header.
        stored: what it says.
        voxel_bytes: how many bytes the voxels take unpacked.
        slices: of the volume; a file with room for one more is refused.

    Returns:
        CRC-32 of the unpacked voxels, for :func:`check_read`; None where they are not packed, or ITK checks them.

    Raises:
        InputError: cut off or damaged.
        OSError: a file cannot be read.
    """
    if stored.packing == "raw":
        _check_length(path, stored, voxel_bytes, slices)
        return None
    if stored.packing in ("gzip", "zlib") and stored.offset is not None:
        return _check_packed(path, stored, voxel_bytes)
    return None


def check_read(path: Path, image: sitk.Image, unpacked: int | None) -> None:
    """Compare the voxels that ITK gave with what :func:`check_stored` unpacked: ITK says nothing where it fails.

    Raises:
        InputError: they differ.
    """
    if unpacked is None:
        return
    values = sitk.GetArrayViewFromImage(image)
    if zlib.crc32(values.data) != unpacked and zlib.crc32(values.byteswap().data) != unpacked:
        raise InputError(
            f"“{path.name}” contradicts itself: its compressed voxels are not what its header says; "
            "copy or export it again."
        )


def voxel_bytes(image: sitk.Image | sitk.ImageFileReader) -> int:
    """How many bytes the voxels of an image, or of a file whose header was read, take unpacked."""
    components = (
        image.GetNumberOfComponentsPerPixel() if isinstance(image, sitk.Image) else image.GetNumberOfComponents()
    )
    return math.prod(image.GetSize()) * components * sitk.Image([1, 1], image.GetPixelID()).GetSizeOfPixelComponent()


def data_files(path: Path) -> tuple[Path, ...]:
    """The files beside a NRRD or MetaImage header that hold its voxels; none where they share one file."""
    with open(path, "rb") as file:
        start = file.read(LONGEST_HEADER)
    try:
        if start.startswith(b"NRRD"):
            return _nrrd(path, start).files
        return _meta(path, start).files if b"ElementDataFile" in start else ()
    except InputError:
        return ()


def files_of(path: Path) -> tuple[Path, ...]:
    """A volume's file and those beside it that hold its voxels, as far as they are there."""
    try:
        return path, *(file for file in data_files(path) if file.is_file())
    except OSError:  # reading the volume says why
        return (path,)


def _check_length(path: Path, stored: Stored, voxel_bytes: int, slices: int) -> None:
    sizes = [file.stat().st_size - (stored.offset or 0) for file in stored.files]
    whole = len(sizes) * min(sizes)  # ITK fills what one file of several lacks with whatever lies in memory
    if whole < voxel_bytes:
        raise InputError(
            f"“{path.name}” is cut off ({max(whole, 0)} of {voxel_bytes} bytes of voxels); copy or export it again."
        )
    if stored.offset is not None and sum(sizes) - voxel_bytes >= voxel_bytes // slices:
        raise InputError(f"“{path.name}” holds more voxels than its header says; copy or export it again.")


def _check_packed(path: Path, stored: Stored, voxel_bytes: int) -> int:
    found = check = 0
    try:
        for file in stored.files:
            length, check = _unpacked(file, stored.packing, stored.offset or 0, voxel_bytes, check)
            found += length
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(
            f"“{path.name}” is cut off or damaged (its compressed voxels fail their check sum); "
            "copy or export it again."
        ) from error
    if found != voxel_bytes:
        raise InputError(
            f"“{path.name}” is cut off or damaged ({found} bytes of voxels instead of {voxel_bytes}); "
            "copy or export it again."
        )
    return check


def _unpacked(file: Path, packing: str, offset: int, most: int, check: int) -> tuple[int, int]:
    """Bytes that a file holds once unpacked, and the check sum gone on with; raises where it is damaged or cut off."""
    found = 0
    with open(file, "rb") as packed:
        packed.seek(offset)
        if packing == "gzip":
            with gzip.GzipFile(fileobj=packed) as stream:
                while (chunk := stream.read(1 << 22)) and found <= most:
                    found, check = found + len(chunk), zlib.crc32(chunk, check)
            return found, check
        unpack = zlib.decompressobj()
        while not unpack.eof and found <= most:
            data = unpack.unconsumed_tail or packed.read(1 << 20)
            if not data:
                raise EOFError
            chunk = unpack.decompress(data, 1 << 22)
            found, check = found + len(chunk), zlib.crc32(chunk, check)
    return found, check


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").strip()


def _nrrd(path: Path, start: bytes) -> Stored:
    head, _, body = start.partition(b"\n\n")
    other, _, other_body = start.partition(b"\r\n\r\n")
    if len(other) < len(head):
        head, body = other, other_body
    fields: dict[str, str] = {}
    lines = [_text(line) for line in head.splitlines()]
    for number, line in enumerate(lines):
        if ":=" in line or line.startswith("#") or ": " not in line + " ":
            continue
        key, _, value = line.partition(":")
        fields[key.lower().replace(" ", "")] = value.strip()
        if key.lower().replace(" ", "") == "datafile" and value.strip().upper().startswith("LIST"):
            return _detached(path, fields, [name for name in lines[number + 1 :] if name])
    _refuse_nrrd(path, fields)
    if "datafile" in fields:
        return _detached(path, fields, [fields["datafile"]])
    return Stored(_nrrd_packing(path, fields), (path,), _skipped(fields, len(start) - len(body)), True)


def _refuse_nrrd(path: Path, fields: dict[str, str]) -> None:
    """Refuse steps between voxels that ITK takes for 1 mm, or for millimetres, without a word."""
    if "spacedirections" not in fields:
        if "nan" in fields.get("spacings", "nan").lower():
            raise _without_size(path)
    else:
        if "none" in fields["spacedirections"].lower() and fields.get("dimension") == "3":
            raise _without_size(path)
        for step in re.findall(r"\(([^()]*)\)", fields["spacedirections"]):
            try:
                sound = math.hypot(*(float(word) for word in step.split(","))) < LONGEST_STEP_MM
            except ValueError:
                sound = False
            if not sound:
                raise InputError(f"“{path.name}” has “({step[:40]})” among its space directions; export it again.")
    for unit in re.findall(r'"([^"]*)"', fields.get("spaceunits", "")):
        _refuse_unit(path, unit)


def _refuse_unit(path: Path, unit: str) -> None:
    if unit.strip().lower() not in MILLIMETRES:
        raise InputError(f"“{path.name}” measures its voxels in “{unit[:20]}”; export it again, in millimetres.")


def _detached(path: Path, fields: dict[str, str], names: list[str]) -> Stored:
    if not names:
        raise InputError(f"“{path.name}” lists no files of voxels; export it again.")
    if "%" in names[0]:  # a pattern with numbers; teem refuses it when a file is missing or short
        return Stored("pattern", (), None, False)
    files = tuple(path.parent / name for name in names)
    return Stored(_nrrd_packing(path, fields), files, _skipped(fields, 0), False)


def _skipped(fields: dict[str, str], offset: int) -> int | None:
    """Where the voxels begin; None when lines or a negative number of bytes are to be skipped."""
    lines, skip = fields.get("lineskip", "0"), fields.get("byteskip", "0")
    return offset + int(skip) if lines == "0" and skip.isdecimal() else None


def _nrrd_packing(path: Path, fields: dict[str, str]) -> str:
    encoding = fields.get("encoding", "raw").lower()
    packing = {"raw": "raw", "gzip": "gzip", "gz": "gzip"}.get(encoding)
    if packing is None and encoding not in ("txt", "text", "ascii", "hex", "bzip2", "bz2"):
        raise InputError(f"“{path.name}” is packed in an unknown way ({encoding[:20]}); save it again.")
    return packing or encoding


def _meta(path: Path, start: bytes) -> Stored:
    fields: dict[str, str] = {}
    offset = 0
    for line in start.splitlines(keepends=True):
        offset += len(line)
        key, equals, value = _text(line).partition("=")
        if equals:
            fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    else:
        raise InputError(f"“{path.name}” names no voxels (ElementDataFile); it may be cut off, copy it again.")
    _refuse_meta(path, fields)
    packing = "zlib" if fields.get("compresseddata", "").lower().startswith(("t", "1", "y")) else "raw"
    if fields.get("binarydata", "true").lower().startswith(("f", "0", "n")):
        packing = "text"
    name = fields["elementdatafile"]
    if name.upper() == "LOCAL":
        return Stored(packing, (path,), _meta_offset(fields, offset), True)
    if "%" in name:
        raise InputError(f"“{path.name}” names its voxels by a pattern, which is not read here; save it as one file.")
    if name.upper().startswith("LIST"):
        names = [text for line in start[offset:].splitlines() if (text := _text(line))]
        slices = fields.get("dimsize", "").split()[-1:]
        if not names or [str(len(names))] != slices:
            raise InputError(
                f"“{path.name}” lists {len(names)} files of voxels for {''.join(slices) or 'no'} slices; "
                "export it again."
            )
        return Stored(packing, tuple(path.parent / n for n in names), _meta_offset(fields, 0), False)
    return Stored(packing, (path.parent / name,), _meta_offset(fields, 0), False)


def _refuse_meta(path: Path, fields: dict[str, str]) -> None:
    """Refuse numbers in a MetaImage header that ITK takes for others without a word."""
    if "elementspacing" not in fields and "elementsize" not in fields:
        raise _without_size(path)
    _refuse_unit(path, fields.get("distanceunits", ""))
    modality = fields.get("modality", "").upper().removeprefix("MET_MOD_")
    if modality in ("MR", "NM", "US"):
        raise InputError(f"“{path.name}” says that it is of modality {modality}; choose a CT.")
    lengths = ("elementspacing", "elementsize")
    for key in ("offset", "position", "origin", "transformmatrix", "rotation", "orientation", *lengths):
        try:
            numbers = [float(word) for word in fields.get(key, "1").split()]
            sound = all(math.isfinite(v) and (v > 0 or key not in lengths) for v in numbers)
        except ValueError:
            sound = False
        if not sound:
            raise InputError(f"“{path.name}” has “{fields[key][:40]}” as its {key}; export it again.")
    for key, neutral in (("elementtointensityfunctionslope", 1.0), ("elementtointensityfunctionoffset", 0.0)):
        try:
            rescaled = float(fields.get(key, neutral)) != neutral
        except ValueError:
            rescaled = True
        if rescaled:
            raise InputError(
                f"“{path.name}” says that its values are to be rescaled ({key} {fields[key][:20]}), which programs "
                "read differently; export it with the values themselves in HU."
            )


def _without_size(path: Path) -> InputError:
    return InputError(f"“{path.name}” does not say how large its voxels are; export it again with its spacing.")


def _meta_offset(fields: dict[str, str], offset: int) -> int | None:
    """HeaderSize -1 means that the voxels are the file's last bytes."""
    size = fields.get("headersize", "0")
    return offset + int(size) if size.isdecimal() else None
