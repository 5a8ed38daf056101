"""slicer.dicomDatabase: which file holds an instance, for folders that a test has added."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject


class ctkDICOMDatabase(QObject):
    """The part of Slicer's DICOM database that tells files."""

    HIDDEN = ("files",)

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Path] = {}

    def fileForInstance(self, instance: str) -> str:
        return str(self.files.get(instance, ""))


def index(folder: Path) -> dict[str, Path]:
    """The DICOM files of a folder by instance."""
    import pydicom

    return {str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID): file for file in folder.iterdir()}
