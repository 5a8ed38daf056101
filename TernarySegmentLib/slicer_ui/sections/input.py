"""The Input section: what the chosen volume is, and the segmentation of the whole scan with its undo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import slicer
from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.imaging.checks import CtSummary, check_ct
from TernarySegmentLib.pipeline import Result
from TernarySegmentLib.slicer_ui import packages
from TernarySegmentLib.slicer_ui.mrml import statistics
from TernarySegmentLib.slicer_ui.mrml.segmentation import Revert, write_segment
from TernarySegmentLib.slicer_ui.mrml.volumes import matrix_of, take_scan
from TernarySegmentLib.slicer_ui.status import Status, sentence
from TernarySegmentLib.slicer_ui.tasks import Background, LongJob, Timing, once


class Inspection:
    """What is known about the chosen volume.

    Args:
        background: where volumes are looked at.
        ended: called after each look.

    Attributes:
        text: the sentence to show, with warnings below it.
        why_not: why it cannot be segmented (yet); empty when it can.
        error: what went wrong while looking at it.
    """

    def __init__(self, background: Background, ended: Callable[[], None]) -> None:
        self.text = self.why_not = ""
        self.error: BaseException | None = None
        self._background, self._ended = background, ended
        self._seen: tuple[Any, ...] | None = None

    @property
    def ready(self) -> bool:
        """True when there is a volume that can be segmented."""
        return self._seen is not None and not self.why_not

    def look_at(self, volume: Any) -> bool:
        """Begin to look at a volume node; False when it is the one already seen, unchanged. Takes no time."""
        seen = None
        if volume is not None:
            voxels, transform = volume.GetImageData(), volume.GetParentTransformNode()
            seen = (
                volume.GetID(), voxels and voxels.GetMTime(), transform and transform.GetTransformToWorldMTime(),
                matrix_of(volume).tobytes(),
            )  # fmt: skip
        if seen == self._seen:
            return False
        self._background.drop("inspection")
        self._seen, self.error = seen, None
        self.text = self.why_not = ""
        if volume is not None:
            self._begin(volume)
        return True

    def _begin(self, volume: Any) -> None:
        try:
            scan = take_scan(volume)
        except TernarySegmentError as error:
            self.text = self.why_not = str(error)
            return
        self.text = self.why_not = _("Looking at the volume …")
        look = once("Looking at the volume", lambda: check_ct(scan.image()))
        self._background.run("inspection", look, self._done, self._failed)

    def _done(self, summary: CtSummary) -> None:
        self.text, self.why_not = "\n".join((summary.sentence, *summary.warnings)), ""
        self._ended()

    def _failed(self, error: BaseException) -> None:
        self.error = error
        self.text = self.why_not = sentence(error)
        self._ended()


class Run:
    """Segments the whole scan or a region of it, and takes the last run back.

    Args:
        logic: gives ``options(parameters)`` and ``steps(scan, options)``.
        job: runs it.
        status: where it is reported.
        taken: gets each segmentation node written and the result in it; returns the nodes that it hid.

    Attributes:
        revert: takes the last run back; None when there is none.
        offer_region: whether the last run found nothing, so that a region may help.
    """

    def __init__(self, logic: Any, job: LongJob, status: Status, taken: Callable[[Any, Result], list[Any]]) -> None:
        self._logic, self._job, self._status, self._taken = logic, job, status, taken
        self._timing = Timing(slicer.app.userSettings())
        self.revert: Revert | None = None
        self.offer_region = False

    @property
    def expected_s(self) -> float | None:
        """Seconds a run should take on this computer; None before the first."""
        return self._timing.expected(packages.backend())

    def start(self, parameters: Any) -> None:
        """Begin to segment the chosen volume."""
        volume, output = parameters.volume, parameters.output
        try:
            scan, options = take_scan(volume), self._logic.options(parameters)
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        logic, name, volume_id, region = self._logic, scan.name, volume.GetID(), parameters.region
        where = _("“{name}” inside “{region}”").format(name=name, region=region.GetName()) if region else f"“{name}”"
        whole = region is None
        output_id = output.GetID() if output is not None else ""
        own = _("The weights are your own: {name}.").format(name=options.model.name)
        notes = (own,) if parameters.model else ()
        self.offer_region = False
        self._job.start(
            lambda: logic.steps(scan, options),
            lambda result: self._finish(result, where, volume_id, output_id, whole, notes),
            _("Segmenting {where} …").format(where=where),
            self.expected_s,
            lambda: slicer.mrmlScene.GetNodeByID(volume_id) is not None,  # by ID, since nodes may vanish meanwhile
            _("{where} was removed while it was segmented; nothing was added.").format(where=where),
        )

    def undo(self) -> None:
        """Take the last run back."""
        if self.revert is None or self._job.running:
            return
        revert, self.revert = self.revert, None
        revert()
        self._status.say(_("The last run was undone."))

    def _finish(
        self, result: Result, where: str, volume_id: str, output_id: str, whole: bool, notes: tuple[str, ...]
    ) -> None:
        """Put a result into the scene.

        Args:
            result: of the pipeline.
            where: the volume's and the search region's names.
            volume_id, output_id: of the volume, and of the node to write to; the latter may be empty.
            whole: whether there was no search region.
            notes: what the result's reader should know beside its own warnings.
        """
        volume, output = (slicer.mrmlScene.GetNodeByID(each) if each else None for each in (volume_id, output_id))
        if volume is None:  # removed since the thread ended
            self._status.warn(_("{where} was removed while it was segmented; nothing was added.").format(where=where))
            return
        self._status.log(", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.seconds.items()))
        if not result.found:
            self.offer_region = True
            text = (
                _("No pancreas was found in {where}. If you can see it, mark a region and segment again.")
                if whole
                else _("No pancreas was found in {where}. Move the box, or choose no search region under Advanced.")
            )
            self._status.warn(text.format(where=where))
            return
        if whole:
            self._timing.learn(result.backend or packages.backend(), result.seconds)
        try:
            node, revert = write_segment(volume, result.mask, output)
        except TernarySegmentError as error:
            self._status.fail(error)
            return
        report = statistics.report_of(result, volume.GetName(), notes)
        statistics.keep(report, node)
        self.revert = revert
        hidden = self._taken(node, result)
        self.revert = replace(revert, hidden=tuple(each.GetID() for each in hidden))
        text = _("{volume:.1f} mL of pancreas in {where}, found in {seconds:.1f} s.")
        sentences = [text.format(volume=report.volume_ml, where=where, seconds=sum(result.seconds.values()))]
        sentences += [_("The earlier result “{name}” is hidden.").format(name=each.GetName()) for each in hidden]
        self._status.say(" ".join(sentences))
