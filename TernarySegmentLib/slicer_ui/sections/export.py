"""The Export section of the panel: what leaves Slicer, and in which file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.files.dicom_seg import Source
from TernarySegmentLib.imaging.files.writing import check_suffix
from TernarySegmentLib.imaging.report.one_page_report import TITLE
from TernarySegmentLib.imaging.report.page import PAGE_SUFFIXES, Item
from TernarySegmentLib.slicer_ui.mrml import writers
from TernarySegmentLib.slicer_ui.mrml.segmentation import volume_of
from TernarySegmentLib.slicer_ui.printing import print_page
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, Steps, once

FOLDER = "TernarySegment/folder"
"""Setting: where the last file was saved."""
TASK = "export"
FORBIDDEN = re.compile(r'[\\/:*?"<>|]')
"""What a file's name cannot hold on one system or another; Slicer names DICOM volumes "2: Abdomen"."""


class ExportSection:
    """Asks where, and writes in the background what would hold the panel up.

    Args:
        ui: the panel's widgets by name.
        background: where files are written.
        status: where it is reported.
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
        """True while a file is being written."""
        return self._background.busy(TASK)

    def show(self, node: Any) -> None:
        """Export a segmentation node; None for none."""
        self._node = node
        self._update()

    def save_segmentation(self) -> None:
        """As a file that opens in Slicer as a segmentation, or as a plain mask."""
        path = self._ask(_("Save the segmentation"), ".seg.nrrd", "Segmentation (*.seg.nrrd);;Mask (*.nii.gz *.nrrd)")
        if path:
            node, volume = self._node, volume_of(self._node)
            self._try(lambda: writers.save_segmentation(node, path, volume), path)

    def save_surface(self) -> None:
        """As a surface for printing and planning."""
        path = self._ask(_("Save the surface"), ".stl", "STL (*.stl);;OBJ (*.obj)")
        if path:
            self._write(path, lambda: writers.surface_writer(self._node, path))

    def save_dicom(self) -> None:
        """As a DICOM segmentation for the archive, beside the series it was made on."""
        if not writers.dicom_installed():
            self._status.say(writers.install_dicom())
            return
        volume = volume_of(self._node)
        files: Source = writers.dicom_files(volume)
        if not files:
            files = qt.QFileDialog.getExistingDirectory(None, _("Choose the folder of the scan's DICOM series"))
        if not files:
            return
        node = self._node

        def fits(_none: Any) -> None:
            self._status.show("")
            if self._node is not node:
                self._status.say(_("Another result was chosen meanwhile; no DICOM segmentation was written."))
            else:
                path = self._ask(_("Save the DICOM segmentation"), ".dcm", "DICOM (*.dcm)")
                if path:
                    self._write(path, lambda: writers.dicom_writer(node, volume, path, files))
            self._update()

        try:
            check = writers.dicom_series_check(node, volume, files)
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        self._status.show(_("Looking at the series …"))
        self._run(once("Looking at the series", check), fits)

    def save_report(self) -> None:
        """As a page with pictures and numbers."""
        path = self._ask(_("Save the report"), ".pdf", "PDF (*.pdf);;PNG (*.png)")
        if path:
            node, volume, case = self._node, volume_of(self._node), self._ui.caseEdit.text.strip()
            name = volume.GetName() if self._ui.scanNameBox.checked else ""

            def prepare() -> Callable[[], list[Item]]:
                check_suffix(path, PAGE_SUFFIXES)
                return writers.report_drawer(node, volume, case, name)

            self._write(path, prepare, lambda items: print_page(items, path, TITLE))

    def _ask(self, title: str, suffix: str, kinds: str) -> str:
        """A path that the person chose, with an ending; empty when they did not."""
        settings = slicer.app.userSettings()
        name = FORBIDDEN.sub("-", self._node.GetName()) + suffix
        path = str(qt.QFileDialog.getSaveFileName(None, title, str(Path(settings.value(FOLDER) or "") / name), kinds))
        if not path:
            return ""
        settings.setValue(FOLDER, str(Path(path).parent))
        asked = bool(Path(path).suffix)
        path = path if asked else path + suffix
        try:
            writers.refuse_source(path)
        except TernarySegmentError as error:
            self._status.fail(error)
            return ""
        question = _("“{path}” is there already. Replace it?").format(path=path)
        # of a name that an ending was added to nobody was asked
        return path if asked or not Path(path).exists() or slicer.util.confirmOkCancelDisplay(question) else ""

    def _try(self, action: Callable[[], None], path: str) -> None:
        try:
            action()
        except TernarySegmentError as error:
            self._status.fail(error)
        else:
            self._saved(path)

    def _write(
        self, path: str, prepare: Callable[[], Callable[[], Any]], finish: Callable[[Any], None] = lambda _none: None
    ) -> None:
        """Take what is needed from the scene, here, work in the background, and finish here."""
        try:
            work = prepare()
        except TernarySegmentError as error:
            self._status.fail(error)
            return

        def done(result: Any) -> None:
            finish(result)
            self._saved(path)

        self._status.say(_("Writing “{path}” …").format(path=path))
        self._run(once("Writing", work), done)

    def _run(self, work: Callable[[], Steps], done: Callable[[Any], None]) -> None:
        def failed(error: BaseException) -> None:
            self._status.fail(error)
            self._update()

        self._background.run(TASK, work, done, failed)
        self._update()

    def _saved(self, path: str) -> None:
        self._status.say(_("Saved “{path}”.").format(path=path))
        self._update()

    def _update(self) -> None:
        ui, usable = self._ui, volume_of(self._node) is not None and not self.writing
        for button in (ui.saveSegmentationButton, ui.saveSurfaceButton, ui.saveDicomButton, ui.saveReportButton):
            button.enabled = usable
