"""The optional accelerator (numba): whether it is here, and its installation after asking."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import slicer
from slicer.i18n import tr as _

REQUIREMENT = "numba>=0.61"
"""Older ones know neither Python 3.12 nor NumPy 2 well."""
DOWNLOAD_MB = 45
"""numba and llvmlite together."""


def installed() -> bool:
    """Whether numba can be imported; does not import it, which takes a second."""
    return importlib.util.find_spec("numba") is not None


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
    return _("NumPy computes{time}. The accelerator, a download of {size} MB, is several times faster.").format(
        time=time, size=DOWNLOAD_MB
    )


def install() -> str:
    """Ask, then install. Blocks until pip is done. NumPy and all that Slicer brings keep their versions.

    Returns:
        A sentence about how it went.
    """
    pins = [f"numpy=={version('numpy')}"]
    try:
        done = _install_asking_itself(pins) if _has_packaging() else _ask_and_install(pins)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return _("The accelerator was not installed ({reason}); the module works without it.").format(reason=reason[0])
    importlib.invalidate_caches()
    if not done or not installed():
        return _("The accelerator was not installed; the module works without it.")
    return _("The accelerator is installed; the next run prepares it once, which takes up to a minute.")


def _has_packaging() -> bool:
    try:
        import slicer.packaging  # noqa: F401
    except ImportError:
        return False
    return True


def _install_asking_itself(pins: list[str]) -> bool:
    """Slicer 5.12 and later: a RuntimeError is raised when the person declines."""
    from packaging.requirements import Requirement
    from slicer.packaging import pip_ensure

    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins))
        pip_ensure([Requirement(REQUIREMENT)], constraints=str(constraints), requester="Pancreas Segmentation")
    return True


def _ask_and_install(pins: list[str]) -> bool:
    question = _("Install numba (about {size} MB) from the Python package index into Slicer?").format(size=DOWNLOAD_MB)
    if not slicer.util.confirmOkCancelDisplay(question, "Pancreas Segmentation"):
        return False
    slicer.util.pip_install(" ".join(["--only-binary=:all:", REQUIREMENT, *pins]))
    return True
