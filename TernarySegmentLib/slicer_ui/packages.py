"""Python packages that Slicer may lack: whether they are here, and their installation after asking."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import slicer

TITLE = "Pancreas Segmentation"


def installed(package: str) -> bool:
    """Whether a package can be imported; does not import it, which may take a second."""
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
