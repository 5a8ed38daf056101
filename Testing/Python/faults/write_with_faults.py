"""Run under the shim: every writer, a fault at every operation; print what happened as JSON."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import OutputError
from TernarySegmentLib.imaging.files.atomic import write_bytes
from TernarySegmentLib.imaging.files.writing import SUFFIXES, write_image, write_mask
from TernarySegmentLib.imaging.report.preview import write_preview
from TernarySegmentLib.imaging.report.surface import closed_surface, write_surface

OLD = b"the file that was there before"
FAULTS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES, "EDQUOT": errno.EDQUOT, "lost": 0}


def images() -> tuple[sitk.Image, sitk.Image]:
    """A CT of noise, which packs badly and so takes several writes, and a mask of noise on it."""
    noise = np.random.default_rng(3).integers(-1000, 1000, (24, 90, 100)).astype(np.int16)
    ct = sitk.GetImageFromArray(noise)
    ct.SetSpacing((2.0, 2.0, 4.0))
    mask = sitk.GetImageFromArray((noise > 0).astype(np.uint8))
    mask.CopyInformation(ct)
    return ct, mask


def writers() -> dict[str, Callable[[Path], None]]:
    ct, mask = images()
    block = sitk.Image(20, 20, 20, sitk.sitkUInt8)
    block[4:16, 5:14, 6:15] = 1
    surface = closed_surface(block)
    found: dict[str, Callable[[Path], None]] = {
        f"mask{suffix}": lambda path: write_mask(mask, path) for suffix in SUFFIXES
    }
    found |= {f"image{suffix}": lambda path: write_image(ct, path) for suffix in SUFFIXES[1:]}
    found["report.json"] = lambda path: write_bytes(path, b"x" * 300_000)
    found["preview.png"] = lambda path: write_preview(ct, mask, path)
    found |= {f"surface{suffix}": lambda path: write_surface(surface, path) for suffix in (".stl", ".obj")}
    return found


def attempt(path: Path, write: Callable[[Path], None], good: bytes) -> str:
    """How one try ended: ``kept`` and ``written`` are right, anything else is a defect."""
    try:
        write(path)
        told = "written"
    except OutputError:
        told = "kept"
    except BaseException as error:
        told = f"{type(error).__name__}: {error}"
    content = path.read_bytes() if path.exists() else b""
    expected = {"written": good, "kept": OLD}.get(told)
    if told in ("written", "kept") and content != expected:
        told = f"{told}, but holds {len(content)} bytes"
    rest = [name for name in os.listdir(path.parent) if name != path.name]
    for name in rest:
        (path.parent / name).unlink()
    return f"{told}, left {rest}" if rest else told


def main(folder: Path, sizes: list[int]) -> None:
    shim = ctypes.CDLL(None)
    counts: dict[str, int] = {}
    defects: list[str] = []
    for name, write in writers().items():
        path = folder / name
        shim.fault_arm(os.fsencode(folder), -1, errno.EIO, 0)
        write(path)
        operations, good = shim.fault_disarm(), path.read_bytes()
        tries = [(fault, at, stays) for fault in FAULTS for at in range(operations) for stays in (0, 1)]
        for fault, at, stays in tries:
            path.write_bytes(OLD)
            shim.fault_arm(os.fsencode(folder), at, FAULTS[fault], stays)
            ended = attempt(path, write, good)
            shim.fault_disarm()
            counts[fault] = counts.get(fault, 0) + 1
            if ended not in ("written", "kept"):
                defects.append(f"{name}, {fault} at operation {at} of {operations}: {ended}")
        for size in {size for size in (*sizes, len(good) // 2, len(good) - 1) if size < len(good)}:
            path.write_bytes(OLD)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            ended = attempt(path, write, good)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            counts["size limit"] = counts.get("size limit", 0) + 1
            if ended != "kept":
                defects.append(f"{name}, size limit {size} of {len(good)}: {ended}")
        path.unlink()
    print(json.dumps({"counts": counts, "defects": defects}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
