"""The panel's behaviour: choose a CT, segment, and hand the result to the sections below."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from TernarySegmentLib.pipeline import Result
from TernarySegmentLib.review.suspicious_regions import SuspiciousRegion, find_suspicious_regions
from TernarySegmentLib.slicer_ui import packages
from TernarySegmentLib.slicer_ui.mrml import checklist, statistics
from TernarySegmentLib.slicer_ui.mrml.labelmaps import CroppedLabelmap, crop_labelmap
from TernarySegmentLib.slicer_ui.mrml.overlay import put_confidence
from TernarySegmentLib.slicer_ui.mrml.roi import make_region
from TernarySegmentLib.slicer_ui.mrml.segmentation import edited, volume_of
from TernarySegmentLib.slicer_ui.sections.correct import CorrectSection, hu_range
from TernarySegmentLib.slicer_ui.sections.export import ExportSection
from TernarySegmentLib.slicer_ui.sections.input import Inspection, Run
from TernarySegmentLib.slicer_ui.sections.result import ResultSection
from TernarySegmentLib.slicer_ui.sections.review import ReviewSection, Shortcuts
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, LongJob, format_duration, once


@dataclass(frozen=True)
class Findings:
    """What the review needs of a result, made in the background.

    Attributes:
        regions: worth a look.
        confidence: the confidence map.
    """

    regions: list[SuspiciousRegion]
    confidence: CroppedLabelmap


class Panel(VTKObservationMixin):
    """Connects the widgets to the logic and the sections to each other.

    Args:
        ui: the widgets by name, from Resources/UI/TernarySegment.ui.
        logic: TernarySegmentLogic, or what gives the same.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self.parameters: Any = None
        self._gui: Any = None
        self._entered = False
        self._opened: Any = None
        self.background = Background()
        self.status = Status(ui)
        self.job = LongJob(ui, self.background, self.status, self.update)
        self.run = Run(ui, logic, self.job, self.status, self._take)
        self._inspection = Inspection(self.background, self._show_inspection)
        self.result = ResultSection(ui)
        self.review = ReviewSection(ui, self._turned)
        self.correct = CorrectSection(ui, logic, self.background, self.job, self.status, self._on_edited)
        self.handon = ExportSection(ui, self.background, self.status)
        self._shortcuts = Shortcuts(ui, self.review)
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        for button, action in (
            (ui.segmentButton, self.start),
            (ui.undoButton, self.undo),
            (ui.regionButton, self.mark_region),
            (ui.acceleratorButton, self.install_accelerator),
            (ui.loadButton, slicer.util.openAddVolumeDialog),
            (ui.dicomButton, _open_dicom),
            (ui.sampleButton, self.load_sample),
        ):
            button.connect("clicked()", action)
        ui.modelPathEdit.connect("currentPathChanged(QString)", self.choose_model)
        for section in (ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton):
            section.connect("contentsCollapsed(bool)", self._on_collapsed)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndImportEvent, self._on_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_removed)

    # -- coming and going
    def enter(self) -> None:
        """The panel is on the screen: views and keys may be used."""
        self._entered = True
        self.open()

    def exit(self) -> None:
        """Another module is on the screen."""
        self._entered = False
        self.update()

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
        self.job.cancel()
        self.background.drop("regions")
        self._inspection.look_at(None)
        self.run.revert = None
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_changed)
        self.parameters = self._gui = None
        self.result.show(None)
        self.correct.close_scene()

    def close(self) -> None:
        """Before the widgets go."""
        self.release()
        self._shortcuts.enable(False, False)
        self.background.close()
        self.removeObservers()

    def _on_scene_closing(self, caller: Any = None, event: Any = None) -> None:
        self.review.scene_closing()
        self.release()
        self.status.say("")
        self.update()

    def _on_changed(self, caller: Any = None, event: Any = None) -> None:
        self.update()

    def _on_removed(self, caller: Any = None, event: Any = None) -> None:
        if self.parameters is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.update()

    def _on_collapsed(self, collapsed: bool) -> None:
        if not collapsed:
            self._turned()

    def _turned(self) -> None:
        """The person uses another section: the line below the button no longer tells of the one used before."""
        if not self.job.running and not self.handon.writing:
            self.status.clear()

    def _on_edited(self) -> None:
        """The segment was changed: cheaper than :meth:`update`, since it comes with every stroke of a brush."""
        self.result.refresh()

    # -- what the widgets show
    def update(self) -> None:
        """Bring every widget in line with parameters and jobs."""
        ui, parameters = self.ui, self.parameters
        if self._inspection.look_at(parameters.volume if parameters else None):
            self.run.offer_region = False
            if not self.job.running:
                self.status.show("")  # what was said of another volume
            self._show_volume()
        why_not = self._why_not()
        expected = self.run.expected_s
        time_text = _("takes {time} on this computer").format(time=format_duration(expected)) if expected else ""
        ui.segmentButton.enabled = not why_not
        ui.segmentButton.toolTip = why_not or " – ".join(filter(None, (_("Find and outline the pancreas"), time_text)))
        self.job.update()
        ui.undoButton.enabled = self.run.revert is not None and not self.job.running
        ui.regionButton.setVisible(self.run.offer_region)
        ui.acceleratorLabel.text = packages.accelerator_state(format_duration(expected) if expected else None)
        ui.acceleratorButton.setVisible(packages.accelerator_available() and not packages.has_accelerator())
        ui.acceleratorButton.enabled = not self.job.running
        if parameters is not None and ui.modelPathEdit.currentPath != parameters.model:
            ui.modelPathEdit.currentPath = parameters.model
        self._update_sections(parameters.result if parameters else None)

    def _update_sections(self, node: Any) -> None:
        """The sections below, open as far as there is something in them."""
        ui, parameters = self.ui, self.parameters
        if node is not self._opened:
            self._opened = node
            for section in (ui.resultButton, ui.reviewButton):
                section.collapsed = node is None
            if node is None:
                ui.correctButton.collapsed = ui.exportButton.collapsed = True
        for section in (ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton):
            section.enabled = node is not None
        self.result.show(node)
        if parameters is not None:
            self.result.display(parameters)
        self.review.show(node, parameters is not None and parameters.show_confidence)
        self.correct.show(node, parameters, self._entered)
        self.handon.show(node)
        self._shortcuts.enable(self._entered and node is not None, ui.correctButton.collapsed)

    def _why_not(self) -> str:
        """Why the button is disabled; empty when it is not."""
        if self.job.running:
            return _("A segmentation is running; wait for it or cancel it.")
        if self.parameters is None or self.parameters.volume is None:
            return _("Choose a CT volume first.")
        return self._inspection.why_not

    def _show_volume(self) -> None:
        inspection = self._inspection
        self.ui.summaryLabel.text = inspection.text
        if inspection.error is not None:
            self.status.details(inspection.error)
        expected = self.run.expected_s
        if inspection.ready and not self.job.running:
            self.status.show(
                _("Takes {time} on this computer.").format(time=format_duration(expected))
                if expected
                else _("The first run on this computer; later ones tell beforehand how long they take.")
            )

    def _show_inspection(self) -> None:
        self._show_volume()
        self.update()

    # -- a run
    def start(self) -> None:
        """Begin to segment the chosen volume."""
        if not self._why_not():
            self.run.start(self.parameters)
            self.update()

    def undo(self) -> None:
        """Take the last run back; asks first where a person has corrected its mask since."""
        node = slicer.mrmlScene.GetNodeByID(self.run.revert.node_id) if self.run.revert is not None else None
        question = _("Undo takes the last run back, and with it the corrections you made since.")
        if edited(node) and not slicer.util.confirmOkCancelDisplay(question):
            return
        self.background.drop("regions")
        self.run.undo()
        if self.parameters is not None and self.parameters.result is not None:
            self.correct.reset()
        self.update()

    def _take(self, node: Any, result: Result) -> None:
        """Show a result that was put into the scene, and look for what is doubtful in it."""
        report = statistics.kept(node)
        assert report is not None
        parameters = self.parameters
        parameters.lowest_hu, parameters.highest_hu = hu_range(report)
        again = parameters.result is node
        parameters.result = node
        if again:
            self.correct.reset()
        mask, confidence, node_id = result.mask, result.confidence_map, node.GetID()
        if confidence is None:
            return
        search = once(
            "Looking for suspicious regions",
            lambda: Findings(find_suspicious_regions(mask, confidence), crop_labelmap(confidence)),
        )
        self.background.run("regions", search, lambda found: self._take_findings(found, node_id), self.status.fail)

    def _take_findings(self, findings: Findings, node_id: str) -> None:
        node = slicer.mrmlScene.GetNodeByID(node_id)
        volume = volume_of(node)
        if volume is not None:
            put_confidence(node, volume, findings.confidence)
            checklist.keep(checklist.entries_of(findings.regions), node)
            self.update()

    # -- what else can be pressed
    def choose_model(self, path: str) -> None:
        """Take own weights; an empty path goes back to those that came with the module."""
        if self.parameters is not None:
            self.parameters.model = path

    def mark_region(self) -> None:
        """Place a box that limits the search."""
        if self.parameters is None or self.parameters.volume is None:
            return
        self.run.offer_region = False
        self.parameters.region = make_region(self.parameters.volume)
        self.status.say(_("Move and size the box around the pancreas, then press Segment pancreas again."))

    def load_sample(self) -> None:
        """Load Slicer's sample CT of the liver, which shows the pancreas too."""
        import SampleData  # type: ignore[import-not-found]

        try:
            volume = SampleData.SampleDataLogic().downloadSample("CTLiver")
        except Exception as error:  # the Sample Data module raises bare exceptions
            self.status.log(str(error))
            volume = None
        if volume is None:
            text = _("The sample could not be downloaded; check the internet connection or load a CT of your own.")
            self.status.say(text)
        elif self.parameters is not None:
            self.parameters.volume = volume

    def install_accelerator(self) -> None:
        """Ask for consent and install numba."""
        self.status.say(packages.install_accelerator())
        self.update()


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
