"""The panel's behaviour: choose a CT, segment it, and show its result in the sections below."""

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
from TernarySegmentLib.slicer_ui.keys import Keys
from TernarySegmentLib.slicer_ui.mrml import checklist, statistics
from TernarySegmentLib.slicer_ui.mrml.labelmaps import CroppedLabelmap, crop_labelmap
from TernarySegmentLib.slicer_ui.mrml.overlay import put_confidence
from TernarySegmentLib.slicer_ui.mrml.results import hide_others, results_of, show_only
from TernarySegmentLib.slicer_ui.mrml.roi import make_region
from TernarySegmentLib.slicer_ui.mrml.segmentation import edited, volume_of, write_segment
from TernarySegmentLib.slicer_ui.mrml.views import all_show, show_volume
from TernarySegmentLib.slicer_ui.sections.batch import BatchResult, BatchSection
from TernarySegmentLib.slicer_ui.sections.compare import CompareSection
from TernarySegmentLib.slicer_ui.sections.correct import CorrectSection, hu_range
from TernarySegmentLib.slicer_ui.sections.export import ExportSection
from TernarySegmentLib.slicer_ui.sections.input import Inspection, Run
from TernarySegmentLib.slicer_ui.sections.result import ResultSection
from TernarySegmentLib.slicer_ui.sections.review import ReviewSection
from TernarySegmentLib.slicer_ui.sections.similar import SimilarSection
from TernarySegmentLib.slicer_ui.sections.volume_choice import VolumeChoice, volume_to_begin_with
from TernarySegmentLib.slicer_ui.status import Status
from TernarySegmentLib.slicer_ui.tasks import Background, LongJob, format_duration, once

SEARCH = "regions"
"""Name of the background tasks that look for suspicious regions, with the segmentation node's ID."""


@dataclass(frozen=True)
class ReviewData:
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
        self._chosen = ""
        self.background = Background()
        self.status = Status(ui)
        self.job = LongJob(ui, self.background, self.status, self.update)
        self.run = Run(logic, self.job, self.status, self._take)
        self._inspection = Inspection(self.background, self._on_inspected)
        self.choice = VolumeChoice(ui, self.status, self.choose_volume)
        self.result = ResultSection(ui)
        self.review = ReviewSection(ui, self._on_used, self._on_edited)
        self.correct = CorrectSection(ui, logic, self.background, self.job, self.status, self._on_edited)
        self.export = ExportSection(ui, self.background, self.status)
        self.compare = CompareSection(ui, self.background, self.status)
        self.similar = SimilarSection(ui, self.background, self.status, lambda: logic.options(self.parameters))
        self.batch = BatchSection(ui, logic, self.job, self.status, self._take_of_batch, self.choose_volume)
        form = ui.inputButton.parentWidget()
        self._review_keys = Keys(form, self.review.keys())
        self._correct_keys = Keys(form, self.correct.keys())
        self._connect()

    def _connect(self) -> None:
        ui = self.ui
        for button, action in (
            (ui.segmentButton, self.start),
            (ui.undoButton, self.undo),
            (ui.regionButton, self.mark_region),
            (ui.acceleratorButton, self.install_accelerator),
        ):
            button.connect("clicked()", action)
        ui.confidenceBox.connect("clicked(bool)", self.result.make_room)
        ui.modelPathEdit.connect("currentPathChanged(QString)", self.choose_model)
        for section in (
            ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton, ui.compareButton, ui.similarButton,
            ui.batchButton,
        ):  # fmt: skip
            section.connect("contentsCollapsed(bool)", self._on_collapsed)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_ready)
        self.addObserver(scene, scene.StartImportEvent, self._on_import)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_ready)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_removed)
        self.addObserver(scene, scene.NodeAddedEvent, self._on_added)

    # -- coming and going
    def enter(self) -> None:
        """The panel is on the screen: views and keys may be used."""
        self._entered = True
        self.open()
        self.choice.follow(True)

    def exit(self) -> None:
        """Another module is on the screen."""
        self._entered = False
        self.choice.follow(False)
        self.update()

    def open(self) -> None:
        """Take up the scene's parameters; a volume that is shown is chosen by itself."""
        if self.parameters is None:
            self._take_up_parameters()
        if self.parameters.volume is None:
            self.parameters.volume = volume_to_begin_with()
        self.update()

    def close(self) -> None:
        """Before the widgets go."""
        self.job.cancel()
        self._let_go()
        self._review_keys.remove()
        self._correct_keys.remove()
        self.choice.close()
        self.background.close()
        self.removeObservers()

    def _take_up_parameters(self) -> None:
        """As the scene has them: a scene that was saved is shown as it was, so nothing is chosen or shown.

        Hidden is what belongs to another CT than the chosen one: the scene may have been read into one with a result.
        """
        self.parameters = self.logic.getParameterNode()
        self._gui = self.parameters.connectGui(self.ui)
        self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_changed)
        volume = self.parameters.volume
        self._chosen = volume.GetID() if volume is not None else ""
        if volume_of(self.parameters.result) is not volume:
            self.parameters.result = next(reversed(results_of(volume)), None)
        if volume is not None:
            hide_others(volume)
        self.choice.meet_all()

    def _let_go(self) -> None:
        """Let go of the parameters, and of the nodes they name."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._on_changed)
        self.parameters = self._gui = None
        self._chosen = ""
        self._inspection.look_at(None)
        self.result.show(None)
        self.correct.close_scene()

    def _on_scene_closing(self, caller: Any = None, event: Any = None) -> None:
        self.job.drop()
        self.background.drop_all(SEARCH)
        self.run.revert = None
        self.batch.forget()
        self.review.scene_closing()
        self.choice.forget()
        self.result.forget()
        self._let_go()
        self._forget_study()

    def _on_import(self, caller: Any = None, event: Any = None) -> None:
        """Parameters that are read now keep None for every node that has not come yet, and the widgets write it."""
        self._let_go()

    def _on_scene_ready(self, caller: Any = None, event: Any = None) -> None:
        if self._entered or self.job.running:  # a run that goes on needs the parameters
            self.open()
        else:
            self.update()

    def _on_changed(self, caller: Any = None, event: Any = None) -> None:
        self.update()

    def _on_removed(self, caller: Any = None, event: Any = None) -> None:
        if self.parameters is not None and not _busy():
            self.parameters.Modified()  # what it keeps of the node that is gone is read again

    def _on_added(self, caller: Any = None, event: Any = None) -> None:
        if not (_busy() or self.ui.batchButton.collapsed):
            self.batch.show(self.parameters)

    def _on_collapsed(self, collapsed: bool) -> None:
        self._enable_keys()
        if not _busy():
            self.batch.show(self.parameters)
        if not collapsed:
            self._on_used()
            self.result.refresh()

    def _on_used(self) -> None:
        """Another section is used: the line below the button no longer reports on the one used before."""
        if not self.job.running and not self.export.writing:
            self.status.clear()

    def _on_edited(self) -> None:
        """The segment or a mark was changed: cheaper than :meth:`update`, as it comes with every stroke of a brush."""
        self.result.refresh()

    # -- the chosen CT
    def choose_volume(self, volume: Any) -> None:
        """Make a vtkMRMLScalarVolumeNode the one that is segmented, shown and reported on."""
        if self.parameters is not None:
            self.parameters.volume = volume

    def _follow_choice(self) -> None:
        """Another CT was chosen: from now on everything on the panel and in the views is its own."""
        volume = self.parameters.volume if self.parameters is not None else None
        chosen = volume.GetID() if volume is not None else ""
        if chosen == self._chosen:
            return
        self._chosen = chosen
        self._forget_study()
        if self.parameters is None:
            return
        result = next(reversed(results_of(volume)), None)
        with slicer.util.NodeModify(self.parameters.parameterNode):
            for box in filter(None, (self.parameters.region, self.parameters.box)):
                box.GetDisplayNode().SetVisibility(False)
            self.parameters.output = self.parameters.region = self.parameters.box = None
            self._choose_result(result)
        if volume is not None:
            show_only(result)
            if not all_show(volume):
                show_volume(volume)

    def _forget_study(self) -> None:
        """What was typed and said about the CT before."""
        self.run.offer_region = False
        self.ui.caseEdit.text = ""
        if not self.job.running:
            self.status.show("")

    def _choose_result(self, node: Any) -> None:
        self.parameters.result = node
        report = statistics.kept(node)
        if report is not None:
            self.parameters.lowest_hu, self.parameters.highest_hu = hu_range(report)

    # -- what the widgets show
    def update(self) -> None:
        """Bring every widget in line with parameters and jobs."""
        if _busy():
            return
        self._follow_choice()
        ui, parameters = self.ui, self.parameters
        volume = parameters.volume if parameters is not None else None
        self._inspection.look_at(volume)
        ui.summaryLabel.text = self._inspection.text or _("Load a CT of the abdomen, or choose one that is loaded.")
        self.choice.show(volume)
        why_not = self._why_not()
        expected = self.run.expected_s
        time_text = _("takes {time} on this computer").format(time=format_duration(expected)) if expected else ""
        ui.segmentButton.enabled = not why_not
        ui.segmentButton.toolTip = why_not or " – ".join(filter(None, (_("Find and outline the pancreas"), time_text)))
        self.job.update()
        ui.undoButton.enabled = self._revertible()
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
                for section in (ui.correctButton, ui.exportButton, ui.compareButton, ui.similarButton):
                    section.collapsed = True
        for section in (
            ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton, ui.compareButton, ui.similarButton,
        ):  # fmt: skip
            section.enabled = node is not None
        self.result.show(node)
        searching = node is not None and self.background.busy(_search_of(node.GetID()))
        self.review.show(node, searching, self._entered, parameters is not None and parameters.show_confidence)
        self.correct.show(node, parameters, self._entered)
        self.export.show(node)
        self.compare.show(node)
        self.similar.show(node)
        self.batch.show(parameters)
        self._enable_keys()

    def _enable_keys(self) -> None:
        usable = self._entered and self._opened is not None
        self._review_keys.enable(usable)
        self._correct_keys.enable(usable and not self.ui.correctButton.collapsed)

    def _why_not(self) -> str:
        """Why the button is disabled; empty when it is not."""
        if self.job.running:
            return _("A segmentation is running; wait for it or cancel it.")
        if self.parameters is None or self.parameters.volume is None:
            return _("Choose a CT volume first.")
        return self._inspection.why_not

    def _revertible(self) -> bool:
        """True when the last run made the result that is shown."""
        revert, result = self.run.revert, self.parameters.result if self.parameters is not None else None
        return revert is not None and result is not None and revert.node_id == result.GetID() and not self.job.running

    def _on_inspected(self) -> None:
        if self._inspection.error is not None:
            self.status.details(self._inspection.error)
        if self._inspection.ready:
            self.choice.inspected()
            expected = self.run.expected_s
            if not self.job.running:
                self.status.show(
                    _("Takes {time} on this computer.").format(time=format_duration(expected))
                    if expected
                    else _("How long a run takes on this computer is known after the first.")
                )
        self.update()

    # -- a run
    def start(self) -> None:
        """Begin to segment the chosen volume."""
        if not self._why_not():
            self.run.start(self.parameters)
            self.update()

    def undo(self) -> None:
        """Take the last run back; asks first where a person has corrected its mask since."""
        if not self._revertible():
            return
        node, question = self.parameters.result, _("Undo takes the last run back, and your corrections with it.")
        if edited(node) and not slicer.util.confirmOkCancelDisplay(question):
            return
        self.background.drop(_search_of(node.GetID()))
        self.run.undo()
        result = next(reversed(results_of(self.parameters.volume)), None)
        if result is node:
            self.correct.reset()
        self._choose_result(result)
        self.update()

    def _take(self, node: Any, result: Result) -> list[Any]:
        """Show a result that was put into the scene, and look for what is suspicious in it.

        Returns:
            Earlier results that it hides.
        """
        hidden: list[Any] = []
        if volume_of(node) is self.parameters.volume:
            hidden = show_only(node)
            again = self.parameters.result is node
            with slicer.util.NodeModify(self.parameters.parameterNode):
                self._choose_result(node)
            if again:
                self.correct.reset()
            self.result.present()
        else:  # another CT was chosen meanwhile: this one's mask appears when it is chosen again
            node.GetDisplayNode().SetVisibility(False)
        self._search(result, node.GetID())
        return hidden

    def _take_of_batch(self, volume: Any, found: BatchResult) -> None:
        """Put one result of a batch into the scene; it is shown when its CT is the chosen one."""
        node, _revert = write_segment(volume, found.result.mask)
        statistics.keep(statistics.report_of(found.result, volume.GetName()), node)
        put_confidence(node, volume, found.confidence)
        checklist.keep(checklist.entries_of(found.regions), node)
        if volume is self.parameters.volume:
            show_only(node)
            self._choose_result(node)
        else:
            node.GetDisplayNode().SetVisibility(False)

    def _search(self, result: Result, node_id: str) -> None:
        mask, confidence = result.mask, result.confidence_map
        if confidence is None:
            return

        def failed(error: BaseException) -> None:
            self.status.fail(error)
            self.update()

        search = once(
            "Looking for suspicious regions",
            lambda: ReviewData(find_suspicious_regions(mask, confidence), crop_labelmap(confidence)),
        )
        self.background.run(_search_of(node_id), search, lambda found: self._take_review(found, node_id), failed)

    def _take_review(self, data: ReviewData, node_id: str) -> None:
        node = slicer.mrmlScene.GetNodeByID(node_id)
        volume = volume_of(node)
        if volume is not None:
            put_confidence(node, volume, data.confidence)
            checklist.keep(checklist.entries_of(data.regions), node)
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

    def install_accelerator(self) -> None:
        """Ask for consent and install numba."""
        self.status.say(packages.install_accelerator())
        self.update()


def _busy() -> bool:
    """True while the scene is read, closed or changed as a whole, so that references lead nowhere yet."""
    scene = slicer.mrmlScene
    return bool(scene.IsImporting() or scene.IsClosing() or scene.IsRestoring() or scene.IsBatchProcessing())


def _search_of(node_id: str) -> str:
    return f"{SEARCH} {node_id}"
