"""Read NIfTI-1 and NIfTI-2 in one file, gzip-compressed or not, with every byte accounted for.

ITK's reader fills up a file that ends early, ignores a gzip check sum after the last voxel, turns NaN into 0 and does
not know NIfTI-2. The geometry here is ITK's wherever ITK has one, so that a mask lies on the CT in 3D Slicer.

Source: https://nifti.nimh.nih.gov, nifti1.h and nifti2.h.
"""

from __future__ import annotations

import gzip
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError

log = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
NIFTI_MAGIC = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
"""By the header's size in bytes: how the two versions call themselves when header and voxels share a file."""

_VERSION_1 = np.dtype(
    {
        "names": ["dim", "datatype", "pixdim", "vox_offset", "slope", "inter", "units", "qform", "sform", "quatern",
                  "qoffset", "srow", "magic"],
        "formats": ["8i2", "i2", "8f4", "f4", "f4", "f4", "u1", "i2", "i2", "3f4", "3f4", "(3,4)f4", "V4"],
        "offsets": [40, 70, 76, 108, 112, 116, 123, 252, 254, 256, 268, 280, 344],
        "itemsize": 348,
    }
)  # fmt: skip
_VERSION_2 = np.dtype(
    {
        "names": ["magic", "datatype", "dim", "pixdim", "vox_offset", "slope", "inter", "qform", "sform", "quatern",
                  "qoffset", "srow", "units"],
        "formats": ["V8", "i2", "8i8", "8f8", "i8", "f8", "f8", "i4", "i4", "3f8", "3f8", "(3,4)f8", "i4"],
        "offsets": [4, 12, 16, 104, 168, 176, 184, 344, 348, 352, 376, 400, 500],
        "itemsize": 540,
    }
)  # fmt: skip
_LAYOUTS = {348: _VERSION_1, 540: _VERSION_2}

_VOXELS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""NumPy's name for NIfTI's ``datatype`` where a voxel is one real number."""

_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Millimetres in NIfTI's unit of length: unknown, metre, millimetre, micrometre."""

MOST_PACKED = 1032
"""How many bytes one byte of a gzip file can stand for at most."""

SHEAR = 1e-3
"""Largest cosine between two axes that counts as rounding; 0.3 mm over 300 mm."""

TO_LPS = np.diag([-1.0, -1.0, 1.0])
"""NIfTI counts to the right and to the front of the patient, everything here to the left and to the back."""


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says.

    Attributes:
        size: voxels along the first, second and third axis.
        voxel: NumPy type of a stored voxel, with its byte order.
        offset: byte at which the voxels begin.
        slope: factor from stored value to HU; 1 where the file says none.
        intercept: added to that, HU.
        spacing: mm.
        origin: LPS position of the first voxel, mm.
        direction: 3×3, columns along the three axes, LPS.
    """

    size: tuple[int, int, int]
    voxel: np.dtype
    offset: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray

    @property
    def voxel_bytes(self) -> int:
        return math.prod(self.size) * self.voxel.itemsize


def is_nifti(start: bytes) -> bool:
    """True for the first bytes, at least 348, of a NIfTI file that is not compressed."""
    return any(
        int.from_bytes(start[:4], order) == length and start[position : position + len(magic)] == magic
        for order in ("little", "big")
        for (length, magic), position in zip(NIFTI_MAGIC.items(), (344, 4), strict=True)
    )


def read_nifti(path: Path) -> sitk.Image:
    """Read a 3D image, or a 4D one with a single volume.

    Args:
        path: a NIfTI file; compression and version are found out from its content.

    Returns:
        The stored type; float32 where the header rescales. NaN stays NaN.

    Raises:
        InputError: no NIfTI, cut off, damaged, several values per voxel or volumes, or a geometry that is no grid.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        size = path.stat().st_size
        try:
            if not packed:
                return _image(file, path.name, size)
            with gzip.GzipFile(fileobj=file) as stream:
                return _image(stream, path.name, size * MOST_PACKED)  # type: ignore[arg-type]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"“{path.name}” is cut off or damaged (its gzip check sum or length is wrong); copy or export it again."
            ) from error


def _image(stream: BinaryIO, name: str, most: int) -> sitk.Image:
    """The image in a stream of at most so many bytes."""
    start = stream.read(540)
    header = parse_header(start, name)
    _skip(stream, start, header.offset, name)
    if header.voxel_bytes > most:  # before memory is asked for
        raise InputError(
            f"“{name}” is cut off (less than {header.voxel_bytes} bytes of voxels); copy or export it again."
        )
    stored = np.empty(header.size[::-1], header.voxel)
    _fill(stream, stored, header, name)
    if _drain(stream, header.voxel_bytes // header.size[2]):
        raise InputError(f"“{name}” holds more voxels than its header says; copy or export it again.")
    values = stored.astype(header.voxel.newbyteorder("="), copy=False)
    if (header.slope, header.intercept) != (1.0, 0.0):
        values = values.astype(np.float32)
        values *= np.float32(header.slope)
        values += np.float32(header.intercept)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(header.spacing)
    image.SetOrigin(header.origin)
    image.SetDirection(header.direction.ravel().tolist())
    return image


def _skip(stream: BinaryIO, start: bytes, offset: int, name: str) -> None:
    """Go to the first voxel; gzip streams and files alike."""
    stream.seek(offset)
    if stream.tell() != offset or len(start) < min(offset, 540):
        raise InputError(f"“{name}” is cut off in its header; copy or export it again.")


def _fill(stream: BinaryIO, stored: np.ndarray, header: Header, name: str) -> None:
    rest = stored.reshape(-1).view(np.uint8).data
    while len(rest):
        read = stream.readinto(rest[: 1 << 24])  # type: ignore[attr-defined]
        if not read:
            found = header.voxel_bytes - len(rest)
            raise InputError(
                f"“{name}” is cut off ({found} of {header.voxel_bytes} bytes of voxels); copy or export it again."
            )
        rest = rest[read:]


def _drain(stream: BinaryIO, enough: int) -> bool:
    """Read to the end, where gzip checks its sum; True when at least ``enough`` bytes were left."""
    left = 0
    while chunk := stream.read(1 << 20):
        left += len(chunk)
        if left >= enough + (1 << 20):
            break
    return left >= enough


# --- the header -------------------------------------------------------------------------------------------------------


def parse_header(start: bytes, name: str) -> Header:
    """What the first bytes of a NIfTI file say.

    Args:
        start: 540 bytes, or the whole file where it is shorter.
        name: of the file, for messages.

    Raises:
        InputError: no NIfTI header, or one that describes no CT volume.
    """
    fields, order = _fields(start, name)
    size = _size(fields["dim"].tolist(), name)
    code = int(fields["datatype"])
    if code not in _VOXELS:
        raise InputError(
            f"“{name}” has voxels of NIfTI's type {code} (colour, complex or several values per voxel); "
            "a CT has one number per voxel, in HU."
        )
    spacing, origin, direction = _geometry(fields, name)
    least = _header_bytes(start, order)
    offset = float(fields["vox_offset"])
    if not (offset == 0 or least + 4 <= offset < 2**31):  # four bytes say whether extensions follow
        raise InputError(f"“{name}” says that its voxels begin at byte {offset:g}; it is damaged, export it again.")
    slope, intercept = float(fields["slope"]), float(fields["inter"])
    if slope == 0 and intercept != 0 and math.isfinite(intercept):
        raise InputError(
            f"“{name}” has an intercept of {intercept:g} with a slope of 0, which programs read differently; "
            "correct the header."
        )
    if slope < 0:
        raise InputError(f"“{name}” turns its values round (slope {slope:g}), which no CT does; correct the header.")
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)):
        slope, intercept = 1.0, 0.0  # the standard's way, and ITK's, to say nothing
    return Header(
        size, np.dtype(order + _VOXELS[code]), int(offset) or least + 4, slope, intercept, spacing, origin, direction
    )


def _header_bytes(start: bytes, order: str) -> int:
    return int.from_bytes(start[:4], "little" if order == "<" else "big")


def _fields(start: bytes, name: str) -> tuple[np.void, str]:
    """The raw header and its byte order, as NumPy writes it."""
    for order in "<>":
        length = _header_bytes(start, order)
        if length in _LAYOUTS and len(start) >= length:
            fields = np.frombuffer(start, _LAYOUTS[length].newbyteorder("<" if order == "<" else ">"), 1)[0]
            if fields["magic"].tobytes() == NIFTI_MAGIC[length]:
                return fields, order
            if fields["magic"].tobytes()[:3] in (b"ni1", b"ni2"):
                raise InputError(f"“{name}” is half of a NIfTI pair (.hdr and .img); save it as one .nii file.")
    raise InputError(f"“{name}” has no NIfTI header; it may be cut off or damaged, copy or export it again.")


def _size(dim: list[int], name: str) -> tuple[int, int, int]:
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : dim[0] + 1]):
        raise InputError(f"“{name}” has an impossible size in its header ({dim}); it is damaged, export it again.")
    sides = dim[1 : dim[0] + 1]
    if len(sides) > 4 and any(n > 1 for n in sides[4:]):
        raise InputError(f"“{name}” has {math.prod(sides[4:])} values per voxel; a CT has one, in HU.")
    if len(sides) > 3 and sides[3] > 1:
        raise InputError(f"“{name}” is a 4D image with {sides[3]} volumes; save one of them as a 3D image.")
    if len(sides) < 3 or sides[2] == 1:
        raise InputError(f"“{name}” is a single 2D image; a CT volume with many slices is needed.")
    return sides[0], sides[1], sides[2]


def _geometry(fields: np.void, name: str) -> tuple[tuple[float, float, float], tuple[float, float, float], np.ndarray]:
    """Spacing, origin and direction, LPS, by the rules that ITK follows.

    The sform counts where it was written by a scanner (code 1) or stands alone, else the qform, and without either the
    voxel axes are taken for LPS.
    """
    unit = _MM.get(int(fields["units"]) & 7, 1.0)
    pixdim = fields["pixdim"][1:4].astype(float) * unit
    if not (np.isfinite(pixdim).all() and (pixdim != 0).all()):
        raise InputError(f"“{name}” has a voxel size of {_listed(pixdim)} mm; correct the spacing of the image.")
    qform, sform = int(fields["qform"]), int(fields["sform"])
    if sform == 1 or (sform > 0 and qform <= 0):
        steps, origin = _sform(fields["srow"].astype(float) * unit, pixdim, name)
    elif qform > 0:
        steps, origin = _rotation(fields, name), fields["qoffset"].astype(float) * unit
    else:
        steps, origin = TO_LPS.copy(), np.zeros(3)
    if not np.isfinite(origin).all():
        raise InputError(f"“{name}” has a position that is not a number in its header; export it again.")
    direction = TO_LPS @ steps
    if (pixdim < 0).any():
        log.warning(
            "“%s” has a negative voxel size (%s mm): that axis is taken to run backwards, as 3D Slicer does.",
            name, _listed(pixdim),
        )  # fmt: skip
        direction = direction * np.sign(pixdim)
    return tuple(np.abs(pixdim).tolist()), tuple((TO_LPS @ origin).tolist()), direction


def _sform(srow: np.ndarray, pixdim: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Directions, RAS, and origin of the affine matrix; refused where it is no grid with right angles."""
    lengths = np.linalg.norm(srow[:, :3], axis=0)
    if not (np.isfinite(srow).all() and (lengths > 0).all()):
        raise InputError(f"“{name}” has no usable sform in its header; export it again.")
    if np.abs(lengths / np.abs(pixdim) - 1).max() > 0.01:
        raise InputError(
            f"“{name}” contradicts itself: voxels of {_listed(pixdim)} mm, but steps of {_listed(lengths)} mm in its "
            "sform; correct the header."
        )
    directions = srow[:, :3] / lengths
    if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR:
        raise InputError(
            f"The axes of “{name}” are not at right angles (sheared, as after a tilted gantry); "
            "resample it to a grid with right angles first."
        )
    left, _, right = np.linalg.svd(directions)  # the nearest rotation or reflection
    return left @ right, srow[:, 3]


def _rotation(fields: np.void, name: str) -> np.ndarray:
    """The qform's directions, RAS: the rotation of a unit quaternion, its third axis turned round by qfac -1."""
    b, c, d = (float(v) for v in fields["quatern"])
    square = b * b + c * c + d * d
    if not square < 1.01:  # also NaN
        raise InputError(f"“{name}” has no usable qform in its header; export it again.")
    a = math.sqrt(max(0.0, 1 - square))
    if 1 - square < 1e-7:  # half a turn; what is missing to 1 is the rounding of single precision
        a, (b, c, d) = 0.0, (v / math.sqrt(square) for v in (b, c, d))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    if float(fields["pixdim"][0]) < 0:
        rotation[:, 2] *= -1
    return rotation


def _listed(values: np.ndarray) -> str:
    return "×".join(f"{v:.4g}" for v in values)
