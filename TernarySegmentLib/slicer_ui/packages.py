"""Python packages that Slicer may lack: numba, the optional accelerator, and others; installed after asking."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import slicer
from slicer.i18n import tr as _

TITLE = "Pancreas Segmentation"


def installed(package: str) -> bool:
    """True when a package can be imported; does not import it, which may take a second."""
    return importlib.util.find_spec(package) is not None


def install(requirement: str, question: str, keep: Iterable[str]) -> str | None:
    """Ask, then install. Blocks until pip is done.

    Args:
        requirement: for pip, e.g. "numba>=0.61".
        question: what the person is asked where Slicer does not ask itself.
        keep: packages that keep their present versions; those that are not installed are passed over.

    Returns:
        None when pip is done, else why not in a few words; empty when the person declined.
    """
    pins = [f"{name}=={found}" for name in keep if (found := _version(name))]
    try:
        done = (
            _install_asking_itself(requirement, pins)
            if _has_packaging()
            else _ask_and_install(requirement, question, pins)
        )
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        return reason[0]
    importlib.invalidate_caches()
    return None if done else ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _has_packaging() -> bool:
    try:
        import slicer.packaging  # noqa: F401
    except ImportError:
        return False
    return True


def _install_asking_itself(requirement: str, pins: list[str]) -> bool:
    """Slicer 5.12 and later: a RuntimeError is raised when the person declines."""
    from packaging.requirements import Requirement
    from slicer.packaging import pip_ensure

    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(pins))
        pip_ensure([Requirement(requirement)], constraints=str(constraints), requester=TITLE)
    return True


def _ask_and_install(requirement: str, question: str, pins: list[str]) -> bool:
    if not slicer.util.confirmOkCancelDisplay(question, TITLE):
        return False
    slicer.util.pip_install(" ".join(["--only-binary=:all:", requirement, *pins]))
    return True


NUMBA = "numba>=0.61"
"""Older ones know neither Python 3.12 nor NumPy 2 well."""
NUMBA_MB = 60
"""numba and llvmlite together."""


def has_accelerator() -> bool:
    """True when numba can be imported."""
    return installed("numba")


def accelerator_available() -> bool:
    """True when there are wheels: macOS on Intel has none since numba 0.63."""
    return not (platform.system() == "Darwin" and platform.machine() != "arm64")


def backend() -> str:
    """The kernels that the next run will use."""
    return "numba" if has_accelerator() else "numpy"


def accelerator_state(expected: str | None) -> str:
    """A sentence about what computes.

    Args:
        expected: how long a run takes, in words; None when unknown.
    """
    time = f", {expected}" if expected else ""
    if has_accelerator():
        return _("Installed (numba {version}){time}.").format(version=version("numba"), time=time)
    if not accelerator_available():
        return _("NumPy computes{time}. There is no accelerator for Macs with Intel processors.").format(time=time)
    return _("NumPy computes{time}. The accelerator, a download of {size} MB, is faster.").format(
        time=time, size=NUMBA_MB
    )


def install_accelerator() -> str:
    """Ask, then install. Blocks until pip is done. NumPy keeps its version.

    Returns:
        A sentence about how it went.
    """
    question = _("Install numba (about {size} MB) from the Python package index into Slicer?").format(size=NUMBA_MB)
    why_not = install(NUMBA, question, keep=["numpy"])
    if why_not:
        return _("The accelerator was not installed ({reason}); the module works without it.").format(reason=why_not)
    if why_not is not None or not has_accelerator():
        return _("The accelerator was not installed; the module works without it.")
    return _("The accelerator is installed; the next run prepares it once, which takes up to a minute.")
