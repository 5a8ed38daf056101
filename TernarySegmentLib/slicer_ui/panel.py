"""The panel's behaviour: choose a CT, segment, watch, cancel, and hand the result to the Result part."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.pipeline import Progress, Result
from TernarySegmentLib.slicer_ui import accelerator, statistics
from TernarySegmentLib.slicer_ui.inspection import Inspection, sentence
from TernarySegmentLib.slicer_ui.region import make_region
from TernarySegmentLib.slicer_ui.review import EDITED, Review
from TernarySegmentLib.slicer_ui.runner import Runner
from TernarySegmentLib.slicer_ui.segmentation import Revert, write_segment
from TernarySegmentLib.slicer_ui.timing import Timing, in_words
from TernarySegmentLib.slicer_ui.volumes import Scan, take_scan

POLL_MS = 10
"""Between two looks at the background thread; the event loop serves the person meanwhile."""
YIELD_S = 0.02
"""Slept at each look. An event loop written in C++ may keep Python's interpreter lock; the background thread's Python
then runs only while the main thread sleeps. 20 ms of 30 leave it its speed and the views 30 frames a second."""
PATIENCE_S = 2.0
"""How long closing the application waits for the background thread."""


@dataclass(frozen=True)
class Job:
    """One run: what it works on, by ID, since nodes may vanish meanwhile."""

    runner: Runner[Result]
    scan: Scan
    volume_id: str
    output_id: str | None


class Panel(VTKObservationMixin):
    """Connects the widgets to the logic.

    Args:
        ui: the widgets by name, from Resources/UI/TernarySegment.ui.
        logic: gives ``getParameterNode()``, ``options(parameters)`` and ``steps(scan, options)``.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self.parameters: Any = None
        self.job: Job | None = None
        self.revert: Revert | None = None
        self._gui: Any = None
        self._inspection = Inspection()
        self._offer_region = False
        self._timing = Timing(slicer.app.userSettings())
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)
        self.review = Review(ui)
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        for button, action in (
            (ui.segmentButton, self.start),
            (ui.cancelButton, self.cancel),
            (ui.undoButton, self.undo),
            (ui.regionButton, self.mark_region),
            (ui.acceleratorButton, self.install_accelerator),
            (ui.loadButton, slicer.util.openAddVolumeDialog),
            (ui.dicomButton, _open_dicom),
            (ui.sampleButton, self.load_sample),
        ):
            button.connect("clicked()", action)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndImportEvent, self._on_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_removed)

    # -- coming and going
    def open(self) -> None:
        """Take up the scene's parameters; a volume that is shown is chosen by itself."""
        if self.parameters is None:
            self.parameters = self.logic.getParameterNode()
            self._gui = self.parameters.connectGui(self.ui)
            self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_changed)
        if self.parameters.volume is None:
            self.parameters.volume = _shown_volume()
        self.update()

    def release(self) -> None:
        """Let go of the parameters, and stop what runs."""
        self.cancel()
        self._inspection.look_at(None)
        self.revert = None
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_changed)
        self.parameters = self._gui = None
        self.review.show(None)

    def close(self) -> None:
        """Before the widgets go."""
        self.release()
        self._timer.stop()
        self.removeObservers()
        if self.job is not None:
            self.job.runner.join(PATIENCE_S)  # a thread left behind may crash Python's shutdown
            self.job = None

    def _on_scene_closing(self, caller: Any = None, event: Any = None) -> None:
        self.release()
        self._say("")
        self.update()

    def _on_changed(self, caller: Any = None, event: Any = None) -> None:
        self.update()

    def _on_removed(self, caller: Any = None, event: Any = None) -> None:
        if self.parameters is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.update()

    # -- what the widgets show
    def update(self) -> None:
        """Bring every widget in line with parameters and job."""
        ui, parameters = self.ui, self.parameters
        if self._inspection.look_at(parameters.volume if parameters else None):
            self._offer_region = False
            if self.job is None:
                ui.statusLabel.text = ""  # what was said of another volume
            self._show_inspection()
            self._timer.start()
        why_not = self._why_not()
        expected = self._expected()
        time_text = _("takes {time} on this computer").format(time=in_words(expected)) if expected else ""
        ui.segmentButton.enabled = not why_not
        ui.segmentButton.toolTip = why_not or " – ".join(filter(None, (_("Find and outline the pancreas"), time_text)))
        ui.cancelButton.enabled = self.job is not None and not self.job.runner.cancelled
        ui.undoButton.enabled = self.revert is not None and self.job is None
        ui.regionButton.setVisible(self._offer_region)
        ui.acceleratorLabel.text = accelerator.state(in_words(expected) if expected else None)
        ui.acceleratorButton.setVisible(accelerator.available() and not accelerator.installed())
        ui.acceleratorButton.enabled = self.job is None
        self.review.show(parameters.result if parameters else None)
        if parameters is not None:
            self.review.display(parameters)

    def _why_not(self) -> str:
        """Why the button is disabled; empty when it is not."""
        if self.job is not None:
            return _("A segmentation is running; wait for it or cancel it.")
        if self.parameters is None or self.parameters.volume is None:
            return _("Choose a CT volume first.")
        return self._inspection.why_not

    def _expected(self) -> float | None:
        return self._timing.expected(accelerator.backend())

    def _say(self, text: str) -> None:
        self.ui.statusLabel.text = text
        if text:
            self._log(text)

    def _log(self, text: str) -> None:
        self.ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def _show_inspection(self) -> None:
        inspection = self._inspection
        self.ui.summaryLabel.text = inspection.text
        if inspection.error is not None:
            self._log_error(inspection.error)
        expected = self._expected()
        if inspection.ready and self.job is None:
            self.ui.statusLabel.text = (
                _("Takes {time} on this computer.").format(time=in_words(expected))
                if expected
                else _("The first run on this computer; later ones tell beforehand how long they take.")
            )

    # -- a run
    def start(self) -> None:
        """Begin to segment the chosen volume."""
        if self._why_not():
            return
        parameters = self.parameters
        volume, output = parameters.volume, parameters.output
        try:
            scan, options = take_scan(volume), self.logic.options(parameters)
        except TernarySegmentError as error:
            self._say(str(error))
            return
        logic = self.logic
        runner: Runner[Result] = Runner(lambda: logic.steps(scan, options))
        self.job = Job(runner, scan, volume.GetID(), output.GetID() if output else None)
        self._offer_region = False
        self._say(_("Segmenting “{name}” …").format(name=scan.name))
        runner.start()
        self._timer.start()
        self.update()

    def cancel(self) -> None:
        """Ask the run to stop; the scene stays as it is."""
        if self.job is not None and not self.job.runner.cancelled:
            self.job.runner.cancel()
            self._say(_("Cancelling …"))
            self.ui.cancelButton.enabled = False

    def _poll(self) -> None:
        time.sleep(YIELD_S)
        if self._inspection.poll():
            self._show_inspection()
            self.update()
        if self.job is not None:
            self._poll_job(self.job)
        if self.job is None and not self._inspection.busy:
            self._timer.stop()

    def _poll_job(self, job: Job) -> None:
        finished = not job.runner.running  # asked before the queue is emptied, so that no news is lost
        for news in job.runner.progress():
            self._show_progress(news)
        if finished:
            self.job = None
            self._finish(job)
            self.ui.progressBar.value = 0
            self.update()
        elif slicer.mrmlScene.GetNodeByID(job.volume_id) is None:
            self.cancel()

    def _show_progress(self, news: Progress) -> None:
        self.ui.progressBar.value = round(news.fraction * 1000)
        if self.job is None or self.job.runner.cancelled:
            return
        expected = self._expected()
        remaining = expected - news.elapsed_s if news.remaining_s is None and expected else news.remaining_s
        left = _(", {time} left").format(time=in_words(remaining)) if remaining is not None and remaining > 0 else ""
        text = f"{news.stage}{left}"
        if text != self.ui.statusLabel.text:
            self.ui.statusLabel.text = text

    def _finish(self, job: Job) -> None:
        runner, name = job.runner, job.scan.name
        volume = slicer.mrmlScene.GetNodeByID(job.volume_id)
        if runner.cancelled or self.parameters is None:
            self._say(_("Cancelled; the scene is as it was."))
        elif runner.error is not None:
            self._log_error(runner.error)
            self._say(sentence(runner.error))
        elif volume is None:
            self._say(_("“{name}” was removed while it was segmented; nothing was added.").format(name=name))
        elif runner.result is not None:
            self._take(runner.result, job, volume)

    def _take(self, result: Result, job: Job, volume: Any) -> None:
        """Put a result into the scene and show it."""
        self._timing.learn(result.backend or accelerator.backend(), result.seconds)
        self._log(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds.items()))
        if not result.found:
            self._offer_region = True
            self._say(
                _("No pancreas was found in “{name}”. If you can see it, mark a region and segment again.").format(
                    name=job.scan.name
                )
            )
            return
        output = slicer.mrmlScene.GetNodeByID(job.output_id) if job.output_id else None
        try:
            node, self.revert = write_segment(volume, result.mask, output)
        except TernarySegmentError as error:
            self._say(str(error))
            return
        report = statistics.report_of(result, volume.GetName())
        statistics.keep(report, node)
        node.RemoveAttribute(EDITED)
        self.parameters.result = node
        found = _("{volume:.1f} mL of pancreas in “{node}”, found in {seconds:.1f} s.").format(
            volume=report.volume_ml, node=node.GetName(), seconds=sum(result.seconds.values())
        )
        shown = self.ui.summaryLabel.text  # tells already what the check of the volume had warned of
        self._say("\n".join((found, *(warning for warning in result.warnings if warning not in shown))))

    def undo(self) -> None:
        """Take the last run back."""
        if self.revert is None or self.job is not None:
            return
        revert, self.revert = self.revert, None
        revert()
        self._say(_("The last run was undone."))
        self.update()

    # -- what else can be pressed
    def mark_region(self) -> None:
        """Place a box that limits the search."""
        if self.parameters is None or self.parameters.volume is None:
            return
        self._offer_region = False
        self.parameters.region = make_region(self.parameters.volume)
        self._say(_("Move and size the box around the pancreas, then press Segment pancreas again."))

    def load_sample(self) -> None:
        """Load Slicer's sample CT of the liver, which shows the pancreas too."""
        import SampleData  # type: ignore[import-not-found]

        try:
            volume = SampleData.SampleDataLogic().downloadSample("CTLiver")
        except Exception as error:  # the Sample Data module raises bare exceptions
            self._log(str(error))
            volume = None
        if volume is None:
            self._say(_("The sample could not be downloaded; check the internet connection or load a CT of your own."))
        elif self.parameters is not None:
            self.parameters.volume = volume

    def install_accelerator(self) -> None:
        """Ask for consent and install numba."""
        self._say(accelerator.install())
        self.update()

    def _log_error(self, error: BaseException) -> None:
        if not isinstance(error, TernarySegmentError):
            details = "".join(traceback.format_exception(error))
            logging.error(details)
            self._log(details)


def _shown_volume() -> Any:
    """The volume in the slice views, else the only one there is; None when that is no scalar volume."""
    shown = slicer.mrmlScene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID() or "")
    if shown is not None and shown.GetClassName() == "vtkMRMLScalarVolumeNode":
        return shown
    everything = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    scalar = [node for node in everything if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    return scalar[0] if len(scalar) == 1 else None


def _open_dicom() -> None:
    slicer.util.selectModule("DICOM")
