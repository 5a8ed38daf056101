"""The optional accelerator (numba): whether it is here, and its installation after asking."""

from __future__ import annotations

import platform
from importlib.metadata import version

from slicer.i18n import tr as _

from TernarySegmentLib.slicer_ui import packages

REQUIREMENT = "numba>=0.61"
"""Older ones know neither Python 3.12 nor NumPy 2 well."""
DOWNLOAD_MB = 60
"""numba and llvmlite together."""


def installed() -> bool:
    """Whether numba can be imported."""
    return packages.installed("numba")


def available() -> bool:
    """Whether there are wheels: macOS on Intel has none since numba 0.63."""
    return not (platform.system() == "Darwin" and platform.machine() != "arm64")


def backend() -> str:
    """The kernels that the next run will use."""
    return "numba" if installed() else "numpy"


def state(expected: str | None) -> str:
    """A sentence about what computes.

    Args:
        expected: how long a run takes, in words; None when unknown.
    """
    time = f", {expected}" if expected else ""
    if installed():
        return _("Installed (numba {version}){time}.").format(version=version("numba"), time=time)
    if not available():
        return _("NumPy computes{time}. There is no accelerator for Macs with Intel processors.").format(time=time)
    return _("NumPy computes{time}. The accelerator, a download of {size} MB, is faster.").format(
        time=time, size=DOWNLOAD_MB
    )


def install() -> str:
    """Ask, then install. Blocks until pip is done. NumPy keeps its version.

    Returns:
        A sentence about how it went.
    """
    question = _("Install numba (about {size} MB) from the Python package index into Slicer?").format(size=DOWNLOAD_MB)
    why_not = packages.install(REQUIREMENT, question, keep=["numpy"])
    if why_not:
        return _("The accelerator was not installed ({reason}); the module works without it.").format(reason=why_not)
    if why_not is not None or not installed():
        return _("The accelerator was not installed; the module works without it.")
    return _("The accelerator is installed; the next run prepares it once, which takes up to a minute.")
