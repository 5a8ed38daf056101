"""The system's libraries that Qt and VTK load: what a bare server lacks is named with the package to install."""

from __future__ import annotations

import ctypes
import os
import sys

DRAWING = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libfontconfig.so.1": "libfontconfig1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libglib-2.0.so.0": "libglib2.0-0",
}
WINDOW = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
}
"""For a window on a screen; off screen none of them is loaded."""


def missing() -> list[str]:
    """Debian packages whose libraries cannot be loaded; none elsewhere than on Linux."""
    if not sys.platform.startswith("linux"):
        return []
    wanted = DRAWING | (WINDOW if os.environ.get("DISPLAY") else {})
    return [package for library, package in wanted.items() if not _loads(library)]


def require() -> None:
    """Stop with a sentence instead of Qt's abort or a loader's error."""
    packages = missing()
    if packages:
        raise ImportError(
            f"The test host needs libraries that this system lacks; run: sudo apt install {' '.join(packages)}"
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


require()
