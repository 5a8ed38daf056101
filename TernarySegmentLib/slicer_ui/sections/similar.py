"""The Similar cases section: the cases of an archive whose pancreas looks most like this one to the network."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from TernarySegmentLib.cohort.codes import describe_mask
from TernarySegmentLib.cohort.index import Neighbour, read_index
from TernarySegmentLib.errors import InputError, TernarySegmentError
from TernarySegmentLib.imaging.grids import Flips
from TernarySegmentLib.pipeline import Options, Progress, load_model
from TernarySegmentLib.slicer_ui.mrml import statistics
from TernarySegmentLib.slicer_ui.mrml.labelmaps import SegmentSnapshot, take_segment
from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID, volume_of
from TernarySegmentLib.slicer_ui.mrml.volumes import Scan, take_scan
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background

TASK = "similar"
INDEX = "TernarySegment/index"
"""Setting: the index that was searched last."""
LISTED = 10
PICTURE, ALIKE, NAME, VOLUME, DENSITY, FAT = range(6)
WIDTH, HEIGHT = 80, 60
"""Of a picture in the table, pixels: half of a thumbnail."""


def search(
    scan: Scan, snapshot: SegmentSnapshot, flipped: Flips, path: Path, options: Options
) -> Generator[Progress, None, list[Neighbour]]:
    """Describe a mask and find the nearest cases; for the background thread.

    Raises:
        InputError: the index cannot be used, holds no case or belongs to another model; or the mask is empty.
        ModelError: the model file is damaged, foreign or from a newer version.
    """
    yield Progress(_("Reading the index"), 0.0, 0.0, None)
    index = read_index(path)
    index.check_model(load_model(options.model).sha256)
    if not index.entries:
        raise InputError(_("The index “{path}” holds no case; add some with: ternarysegment index").format(path=path))
    ct = scan.image()
    described = yield from describe_mask(ct, snapshot.labelmap(ct).image(ct), flipped, options)
    return index.search(described.means, LISTED, options.backend, options.threads)


class SimilarSection:
    """Lists the nearest cases of one segmentation node.

    Args:
        ui: the panel's widgets by name.
        background: where the index is searched.
        status: where it is reported.
        options: gives the pipeline's options as the panel has them.
    """

    def __init__(self, ui: Any, background: Background, status: Status, options: Callable[[], Options]) -> None:
        self._ui, self._background, self._status, self._options = ui, background, status, options
        self._node: Any = None
        header = ui.similarTable.horizontalHeader()
        for column, width in ((PICTURE, WIDTH + 4), (ALIKE, 48), (VOLUME, 44), (DENSITY, 40), (FAT, 40)):
            ui.similarTable.setColumnWidth(column, width)
        header.setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        ui.similarTable.setIconSize(qt.QSize(WIDTH, HEIGHT))
        ui.indexPathEdit.currentPath = str(slicer.app.userSettings().value(INDEX) or "")
        ui.indexPathEdit.connect("currentPathChanged(QString)", self._on_path)
        ui.similarRunButton.connect("clicked()", self.find)

    def show(self, node: Any) -> None:
        """Search for cases like a segmentation node; None for none."""
        if node is not self._node:
            self._node = node
            self._background.drop(TASK)
            self._ui.similarTable.setRowCount(0)
            self._ui.similarLabel.text = ""
        self._update()

    def find(self) -> None:
        """Search the chosen index for cases like the mask as it is now, corrections included."""
        node, path = self._node, self._ui.indexPathEdit.currentPath.strip()
        volume, report = volume_of(node), statistics.kept(node)
        if volume is None or not path:
            return
        try:
            scan, snapshot, options = take_scan(volume), take_segment(node, SEGMENT_ID, volume), self._options()
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        slicer.app.userSettings().setValue(INDEX, path)
        flipped: Flips = report.flipped if report is not None and report.flipped is not None else (False, False, False)
        self._ui.similarTable.setRowCount(0)
        self._ui.similarLabel.text = _("Searching …")

        def failed(error: BaseException) -> None:
            self._ui.similarLabel.text = ""
            self._status.fail(error)
            self._update()

        work = lambda: search(scan, snapshot, flipped, Path(path), options)  # noqa: E731
        self._background.run(TASK, work, self._list, failed, self._progress)
        self._update()

    def _progress(self, news: Progress) -> None:
        self._ui.similarLabel.text = f"{news.stage}, {100 * news.fraction:.0f} %"

    def _list(self, neighbours: list[Neighbour]) -> None:
        table = self._ui.similarTable
        table.setRowCount(len(neighbours))
        for row, neighbour in enumerate(neighbours):
            entry = neighbour.entry
            texts = (
                "", f"{100 * neighbour.similarity:.0f} %", entry.name, f"{entry.volume_ml:.0f}", f"{entry.mean_hu:.0f}",
                f"{100 * entry.fat_fraction:.0f} %",
            )  # fmt: skip
            for column, text in enumerate(texts):
                table.setItem(row, column, qt.QTableWidgetItem(text))
            if entry.thumbnail:
                table.item(row, PICTURE).setIcon(_icon(entry.thumbnail))
                table.setRowHeight(row, HEIGHT + 4)
        pictures = any(neighbour.entry.thumbnail for neighbour in neighbours)
        self._ui.similarLabel.text = (
            _("Alike to the network, which need not matter clinically.")
            if pictures
            else _("Alike to the network, which need not matter clinically. This index holds no pictures.")
        )
        self._update()

    def _on_path(self, path: str) -> None:
        self._update()

    def _update(self) -> None:
        usable = self._node is not None and bool(self._ui.indexPathEdit.currentPath.strip())
        self._ui.similarRunButton.enabled = usable and not self._background.busy(TASK)


def _icon(thumbnail: str) -> Any:
    """The picture of a data URI; empty where it is none."""
    pixmap = qt.QPixmap()
    try:
        content = base64.b64decode(thumbnail.partition(",")[2], validate=True)
    except ValueError:
        content = b""
    pixmap.loadFromData(qt.QByteArray(content))
    return qt.QIcon(pixmap)
