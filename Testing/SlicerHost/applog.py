"""Slicer's application log: what turns the status bar's error icon red, or yellow. Tests fail on any line in it."""

from __future__ import annotations

from typing import Any

import vtk

lines: list[str] = []
_LACKS = (  # the wheel's own, whatever the module does
    "vtkMRMLColorTableNodeFileGenericColors.txt",  # a file of Slicer's share folder
    "Unexpected resolve coincident topology value",  # drawing handles of a box
)


def critical(text: str) -> None:
    """As qCritical() in Slicer's own widgets."""
    lines.append(f"critical: {text}")


def warning(text: str) -> None:
    """As qWarning() in Slicer's own widgets."""
    lines.append(f"warning: {text}")


def watch_vtk() -> None:
    """Record VTK's errors and warnings too."""

    @vtk.calldata_type(vtk.VTK_STRING)
    def said(_caller: Any, event: str, text: str = "") -> None:
        if not any(lack in text for lack in _LACKS):
            lines.append(f"{event}: {text.strip()}")

    window = vtk.vtkOutputWindow.GetInstance()
    window.AddObserver("ErrorEvent", said)
    window.AddObserver("WarningEvent", said)
