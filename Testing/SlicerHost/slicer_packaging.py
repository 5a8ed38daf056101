"""slicer.packaging with the arguments of Slicer 5.12. Nothing is installed; what was asked for is kept in `calls`."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

__all__ = ["isPipInstallInProgress", "pip_check", "pip_ensure", "pip_install", "pip_uninstall"]

Requirements = str | Requirement | list[str | Requirement]
calls: list[tuple[str, dict[str, Any]]] = []  # (function, its arguments)
fail_with: list[BaseException] = []  # a test puts an exception here; the next installation raises it


def _each(requirements: Requirements) -> list[Requirement]:
    if isinstance(requirements, Requirement):
        return [requirements]
    words = requirements.split() if isinstance(requirements, str) else requirements
    return [word if isinstance(word, Requirement) else Requirement(word) for word in words]


def _record(name: str, **arguments: Any) -> None:
    calls.append((name, arguments))
    if fail_with:
        raise fail_with.pop()


def pip_check(req: Requirements) -> bool:
    for wanted in _each(req):
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            if not wanted.specifier.contains(version(wanted.name), prereleases=True):
                return False
        except PackageNotFoundError:
            return False
    return True


def isPipInstallInProgress() -> bool:
    return False


def pip_ensure(
    requirements: Requirements,
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    arguments = dict(locals())
    if not pip_check(requirements):
        import slicer.util

        if prompt_install and not slicer.util.confirmOkCancelDisplay("Install Python packages?", requester):
            raise RuntimeError("User declined package installation")
        _record("pip_ensure", **arguments)
    return [] if skip_packages else None


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> list[str] | None:
    if blocking and (logCallback is not None or completedCallback is not None):
        raise ValueError("logCallback and completedCallback need blocking=False")
    _record("pip_install", **locals())
    if completedCallback is not None:
        completedCallback(0)
    return [] if skip_packages else None


def pip_uninstall(
    requirements: str | list[str],
    blocking: bool = True,
    logCallback: Callable[[str], None] | None = None,
    completedCallback: Callable[[int], None] | None = None,
) -> None:
    _record("pip_uninstall", **locals())


def pip_install_5_10(requirements: str) -> None:
    """slicer.util.pip_install before 5.12: one argument, a string or a list for pip's command line."""
    _record("pip_install", requirements=requirements)


def pip_uninstall_5_10(requirements: str) -> None:
    _record("pip_uninstall", requirements=requirements)
