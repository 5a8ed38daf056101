"""The Batch section: many scans of the scene one after the other, with a table of what came of each."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import qt
from slicer.i18n import tr as _

from TernarySegmentLib.errors import InputError, TernarySegmentError
from TernarySegmentLib.pipeline import Progress, Result
from TernarySegmentLib.review.suspicious_regions import SuspiciousRegion, find_suspicious_regions, scan_doubt
from TernarySegmentLib.slicer_ui.mrml import checklist, statistics
from TernarySegmentLib.slicer_ui.mrml.labelmaps import EMPTY, CroppedLabelmap, crop_labelmap
from TernarySegmentLib.slicer_ui.mrml.results import results_of
from TernarySegmentLib.slicer_ui.mrml.scans import SceneScan, scans_of_scene
from TernarySegmentLib.slicer_ui.mrml.volumes import take_scan
from TernarySegmentLib.slicer_ui.status import Status, sentence
from TernarySegmentLib.slicer_ui.tasks import LongJob

TICK, NAME, STATE, VOLUME, DOUBT = range(5)
TICKED, NOT_TICKED = "☑", "☐"
"""Text, since a dark style draws an item's check box dark on dark."""


@dataclass(frozen=True)
class BatchResult:
    """What came of one scan, made in the background.

    Attributes:
        result: of the pipeline.
        regions: worth a look.
        confidence: the confidence map.
    """

    result: Result
    regions: list[SuspiciousRegion]
    confidence: CroppedLabelmap


class BatchSection:
    """Segments the ticked scans; the others and the results so far stay as they are.

    Args:
        ui: the panel's widgets by name.
        logic: gives ``options(parameters)`` and ``steps(scan, options)``.
        job: runs one scan at a time; its Cancel button stops the batch.
        status: where it is reported.
        taken: puts a result into the scene; gets the volume node and the result.
        chosen: shows a volume node and its result.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        job: LongJob,
        status: Status,
        taken: Callable[[Any, BatchResult], None],
        chosen: Callable[[Any], None],
    ) -> None:
        self._ui, self._logic, self._job, self._status = ui, logic, job, status
        self._taken, self._chosen = taken, chosen
        self._scans: list[SceneScan] = []
        self._ticks: dict[str, bool] = {}
        self._states: dict[str, str] = {}
        self._queue: list[SceneScan] = []
        self._current: SceneScan | None = None
        self._options: Callable[[], Any] = lambda: None
        self._cells: list[list[str]] = []
        self._all = self._done = 0
        table = ui.batchTable
        header = table.horizontalHeader()
        for column, width in ((TICK, 28), (NAME, 110), (VOLUME, 52), (DOUBT, 52)):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(STATE, qt.QHeaderView.Stretch)
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.connect("cellClicked(int,int)", self._on_clicked)
        ui.batchRunButton.connect("clicked()", self.start)
        ui.progressBar.connect("valueChanged(int)", self._on_progress)

    @property
    def running(self) -> bool:
        """True from the first scan of a batch to the end of the last."""
        return self._current is not None

    def show(self, parameters: Any) -> None:
        """Bring the table in line with the scene; None for a scene without parameters.

        While the section is folded the table is empty: nothing on the panel names another patient than the chosen CT's.
        """
        # a region and an output node belong to the one chosen CT
        self._options = lambda: (
            replace(self._logic.options(parameters), region=None) if parameters is not None else None
        )
        self._scans = [] if parameters is None or self._ui.batchButton.collapsed else scans_of_scene()
        self._fill()

    def forget(self) -> None:
        """The scene is closing."""
        self._queue, self._current = [], None
        self._ticks, self._states, self._scans = {}, {}, []
        self._ui.batchLabel.text = ""
        self._fill()

    def start(self) -> None:
        """Begin with the first ticked scan."""
        if self._job.running:
            return
        self._queue = [scan for scan in self._scans if self._ticked(scan)]
        self._all, self._done = len(self._queue), 0
        for scan in self._queue:
            self._states[scan.key] = _("waiting")
        self._next()

    # -- one scan after the other
    def _next(self) -> None:
        """Begin the next scan that can be segmented; without one, end."""
        while self._queue:
            scan = self._queue.pop(0)
            try:
                self._begin(scan)
            except TernarySegmentError as error:
                self._finish(scan, sentence(error))
            else:
                return
        self._current = None
        self._status.say(_("Batch: {done} of {all} scans are done.").format(done=self._done, all=self._all))
        self._fill()

    def _begin(self, scan: SceneScan) -> None:
        volume = scan.volume()
        if volume is None:
            raise InputError(_("Removed from the scene."))
        image, options, logic = take_scan(volume), self._options(), self._logic

        def work() -> Generator[Progress, None, BatchResult]:
            result: Result = yield from logic.steps(image, options)
            confidence = result.confidence_map
            if not result.found or confidence is None:
                return BatchResult(result, [], EMPTY)
            return BatchResult(result, find_suspicious_regions(result.mask, confidence), crop_labelmap(confidence))

        self._current = scan
        self._states[scan.key] = _("segmenting")
        number = self._all - len(self._queue)
        self._job.start(
            work,
            self._take,
            _("Batch, scan {number} of {all}: segmenting “{name}” …").format(
                number=number, all=self._all, name=scan.name
            ),
            needs=lambda: scan.find() is not None,
            gone=_("“{name}” was removed while it was segmented.").format(name=scan.name),
            stopped=self._stopped,
        )

    def _take(self, outcome: BatchResult) -> None:
        scan = self._current
        if scan is None:  # the scene was closed
            return
        volume = scan.find()
        if volume is None:
            self._finish(scan, _("Removed from the scene."))
        elif not outcome.result.found:
            self._finish(scan, _("no pancreas found"), counts=True)
        else:
            self._taken(volume, outcome)
            self._ticks[scan.key] = False
            self._finish(scan, "", counts=True)
        self._next()

    def _stopped(self, error: BaseException | None) -> None:
        scan = self._current
        if scan is None:
            return
        if error is not None:
            self._finish(scan, sentence(error))
        elif scan.find() is None:
            self._finish(scan, _("Removed from the scene."))
        else:
            for waiting in (scan, *self._queue):
                self._states[waiting.key] = _("cancelled")
            self._queue = []
        self._next()

    def _finish(self, scan: SceneScan, state: str, counts: bool = False) -> None:
        """Note what came of a scan; an empty state is told by its result in the scene."""
        self._done += counts
        if state:
            self._states[scan.key] = state
        else:
            self._states.pop(scan.key, None)

    # -- the table
    def _ticked(self, scan: SceneScan) -> bool:
        return self._ticks.get(scan.key, not results_of(scan.find()))

    def _on_clicked(self, row: int, column: int) -> None:
        scan = self._scans[row]
        if column == TICK:
            if not self.running:
                self._ticks[scan.key] = not self._ticked(scan)
                self._fill()
            return
        volume = scan.volume()
        if volume is not None:
            self._chosen(volume)

    def _on_progress(self, value: int) -> None:
        if self._current is not None and value > 0:
            self._states[self._current.key] = _("segmenting, {percent} %").format(percent=value // 10)
            self._fill()

    def _row(self, scan: SceneScan) -> list[str]:
        result = next(reversed(results_of(scan.find())), None)
        report, entries = statistics.kept(result), checklist.kept(result)
        state = self._states.get(scan.key, _("segmented") if result is not None else "")
        doubt = "" if report is None or entries is None else scan_doubt([e.doubt for e in entries], report.volume_ml)
        return [
            TICKED if self._ticked(scan) else NOT_TICKED, scan.name, state,
            f"{report.volume_ml:.1f}" if report is not None else "",
            f"{doubt:.2f}" if isinstance(doubt, float) else "",
        ]  # fmt: skip

    def _fill(self) -> None:
        """Write what has changed."""
        table, rows = self._ui.batchTable, [self._row(scan) for scan in self._scans]
        if len(rows) != len(self._cells):
            table.setRowCount(len(rows))
            self._cells = [[] for _row in rows]
        for row, (cells, before) in enumerate(zip(rows, self._cells, strict=True)):
            if not before:
                for column, text in enumerate(cells):
                    table.setItem(row, column, qt.QTableWidgetItem(text))
            for column, (text, old) in enumerate(zip(cells, before, strict=False)):
                if text != old:
                    table.item(row, column).setText(text)
        self._cells = rows
        ticked = sum(self._ticked(scan) for scan in self._scans)
        self._ui.batchRunButton.enabled = ticked > 0 and not self._job.running and self._options() is not None
        if self.running:
            text = _("{done} of {all} scans are done.").format(done=self._done, all=self._all)
        elif self._scans:
            text = _("{ticked} of {all} scans are ticked.").format(ticked=ticked, all=len(self._scans))
        else:
            text = _("Load CTs, or a sequence of them.")
        self._ui.batchLabel.text = text
