"""The Hand on part of the panel: what leaves Slicer, and in which file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.dicomseg import Source, write_dicom_seg
from TernarySegmentLib.imaging.report import check_report, write_report
from TernarySegmentLib.imaging.surface import write_surface
from TernarySegmentLib.slicer_ui import handon
from TernarySegmentLib.slicer_ui.background import Background, once
from TernarySegmentLib.slicer_ui.parts import take_segment
from TernarySegmentLib.slicer_ui.segmentation import volume_of
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.volumes import Scan, matrix_of, take_scan

FOLDER = "TernarySegment/folder"
"""Setting: where the last file was saved."""
TASK = "hand on"


class HandOnSection:
    """Asks where, and writes in the background what would hold the panel up.

    Args:
        ui: the panel's widgets by name.
        background: where files are written.
        status: tells about it.
    """

    def __init__(self, ui: Any, background: Background, status: Status) -> None:
        self._ui, self._background, self._status = ui, background, status
        self._node: Any = None
        ui.saveSegmentationButton.connect("clicked()", self.save_segmentation)
        ui.saveSurfaceButton.connect("clicked()", self.save_surface)
        ui.saveDicomButton.connect("clicked()", self.save_dicom)
        ui.saveReportButton.connect("clicked()", self.save_report)

    @property
    def writing(self) -> bool:
        """Whether a file is being written."""
        return self._background.busy(TASK)

    def show(self, node: Any) -> None:
        """Hand on a segmentation node; None for none."""
        self._node = node
        self._update()

    def save_segmentation(self) -> None:
        """As a file that opens in Slicer as a segmentation, or as a plain mask."""
        path = self._ask(_("Save the segmentation"), ".seg.nrrd", "Segmentation (*.seg.nrrd);;Mask (*.nii.gz *.nrrd)")
        if path:
            node, volume = self._node, volume_of(self._node)
            self._try(lambda: handon.save_segmentation(node, path, volume), path)

    def save_surface(self) -> None:
        """As a surface for printing and planning."""
        path = self._ask(_("Save the surface"), ".stl", "STL (*.stl);;OBJ (*.obj)")
        if path:
            self._write(path, lambda surface: write_surface(surface, path), lambda: handon.surface_of(self._node))

    def save_dicom(self) -> None:
        """As a DICOM segmentation for the archive, beside the series it was made on."""
        if not handon.dicom_installed():
            self._status.say(handon.install_dicom())
            return
        volume = volume_of(self._node)
        files: Source = handon.dicom_files(volume)
        if not files:
            files = qt.QFileDialog.getExistingDirectory(None, _("Choose the folder of the scan's DICOM series"))
        path = self._ask(_("Save the DICOM segmentation"), ".dcm", "DICOM (*.dcm)") if files else ""
        if not path:
            return
        provenance, corrected = handon.provenance_of(self._node), handon.edited(self._node)
        # a DICOM file knows nothing of the transforms above the volume
        own = Scan(volume.GetName(), volume.GetImageData(), matrix_of(volume))

        def write(drawn: Any) -> None:
            ct = own.image()
            write_dicom_seg(drawn.part(ct).image(ct), files, path, provenance=provenance, corrected=corrected)

        self._write(path, write, self._drawn)

    def save_report(self) -> None:
        """As a page with pictures and numbers."""
        path = self._ask(_("Save the report"), ".pdf", "PDF (*.pdf);;PNG (*.png)")
        if not path:
            return
        node, volume, case = self._node, volume_of(self._node), self._ui.caseEdit.text.strip()

        def take() -> tuple[Any, Any, Any]:
            check_report(path, case)
            return take_scan(volume), self._drawn(), handon.facts_of(node, case)

        def write(taken: tuple[Any, Any, Any]) -> None:
            scan, drawn, facts = taken
            ct = scan.image()
            write_report(ct, drawn.part(ct).image(ct), facts, path)

        self._write(path, write, take)

    def _drawn(self) -> Any:
        return take_segment(self._node, handon.pancreas_in(self._node), volume_of(self._node))

    def _ask(self, title: str, suffix: str, kinds: str) -> str:
        """A path that the person chose, with an ending; empty when they did not."""
        settings = slicer.app.userSettings()
        name = self._node.GetName().replace("/", "-") + suffix
        path = str(qt.QFileDialog.getSaveFileName(None, title, str(Path(settings.value(FOLDER) or "") / name), kinds))
        if not path:
            return ""
        settings.setValue(FOLDER, str(Path(path).parent))
        return path if Path(path).suffix else path + suffix

    def _try(self, action: Callable[[], None], path: str) -> None:
        try:
            action()
        except TernarySegmentError as error:
            self._status.fail(error)
        else:
            self._saved(path)

    def _write(self, path: str, write: Callable[[Any], None], take: Callable[[], Any]) -> None:
        """Take what is needed from the scene, here, and write it, in the background."""
        try:
            taken = take()
        except TernarySegmentError as error:
            self._status.fail(error)
            return

        def failed(error: BaseException) -> None:
            self._status.fail(error)
            self._update()

        self._status.say(_("Writing “{path}” …").format(path=path))
        self._background.run(TASK, once("Writing", lambda: write(taken)), lambda _none: self._saved(path), failed)
        self._update()

    def _saved(self, path: str) -> None:
        self._status.say(_("Saved “{path}”.").format(path=path))
        self._update()

    def _update(self) -> None:
        ui, usable = self._ui, volume_of(self._node) is not None and not self.writing
        for button in (ui.saveSegmentationButton, ui.saveSurfaceButton, ui.saveDicomButton, ui.saveReportButton):
            button.enabled = usable
