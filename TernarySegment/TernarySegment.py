"""Automatic pancreas segmentation in CT: the scripted module of 3D Slicer. The work is done in TernarySegmentLib."""

import shutil
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# a folder above in a checkout, beside this file once installed
ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "TernarySegmentLib").is_dir())
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


class TernarySegment(ScriptedLoadableModule):
    """Name, texts and icon."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Pancreas Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Markups"]
        parent.contributors = ["TernarySegment contributors"]
        parent.helpText = _(
            "Automatic pancreas segmentation in CT, on this computer's processor, in seconds. Choose a CT, press "
            "<b>Segment pancreas</b>, check the result. No image leaves the computer. Not a medical device: for "
            "research only."
        )
        parent.acknowledgementText = _(
            "The network computes with ternary weights and activations after M. P. Heinrich, M. Blendowski and "
            "O. Oktay, TernaryNet, IJCARS 2018."
        )
        parent.icon = qt.QIcon(self.resourcePath("Icons/TernarySegment.png"))
        slicer.app.connect("startupCompleted()", register_sample)

    def resourcePath(self, filename):
        return str(ROOT / "Resources" / filename)


def register_sample():
    """Once Slicer is up: add the synthetic abdomen to the Sample Data module."""
    from TernarySegmentLib.slicer_ui import sample

    sample.register(ROOT / "Resources" / "Icons" / "TernarySegment.png")


class TernarySegmentWidget(ScriptedLoadableModuleWidget):
    """Loads the form; its behaviour is in TernarySegmentLib/slicer_ui/panel.py."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        self.panel = None

    def resourcePath(self, filename):
        return str(ROOT / "Resources" / filename)

    def setup(self):
        from TernarySegmentLib.slicer_ui.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        form = slicer.util.loadUI(self.resourcePath("UI/TernarySegment.ui"))
        self.layout.addWidget(form)
        self.ui = slicer.util.childWidgetVariables(form)
        form.setMRMLScene(slicer.mrmlScene)
        self.logic = TernarySegmentLogic()
        self.panel = Panel(self.ui, self.logic)
        self.panel.open()

    def enter(self):
        self.panel.enter()

    def exit(self):
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onReload(self):
        for name in [name for name in sys.modules if name.split(".")[0] == "TernarySegmentLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        slicer.modules.TernarySegmentWidget.enter()  # Slicer sets it up, but does not say that it is on the screen


class TernarySegmentLogic(ScriptedLoadableModuleLogic):
    """What a script needs: ``node, report = TernarySegmentLogic().run(volume)``."""

    def getParameterNode(self):
        from TernarySegmentLib.slicer_ui.parameters import Parameters

        return Parameters(ScriptedLoadableModuleLogic.getParameterNode(self))

    def options(self, parameters):
        """The pipeline's options as the panel's parameters say; with the confidence map, for the review."""
        from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options
        from TernarySegmentLib.slicer_ui.mrml.roi import box_of

        return Options(
            threads=parameters.threads,
            smoothing_mm=parameters.smoothing,
            region=box_of(parameters.region) if parameters.region else None,
            model=Path(parameters.model) if parameters.model else DEFAULT_MODEL,
            python=shutil.which("PythonSlicer") or sys.executable,
            confidence=True,
        )

    def steps(self, scan, options):
        """The segmentation as a generator of progress; call it on a background thread."""
        from TernarySegmentLib.pipeline import segment

        return segment(scan.image(), options)

    def region_steps(self, scan, snapshot, box, parameters, report):
        """A function that makes the generator which segments again inside a box; call it on a background thread.

        Args:
            scan, snapshot: the CT and the segment as it is.
            box: lower and upper corner in LPS, mm.
            parameters: the panel's.
            report: of the result before; None when it has none.
        """
        from dataclasses import replace

        from TernarySegmentLib.review.resegment import resegment

        flipped = report.flipped if report is not None else None
        options = replace(self.options(parameters), region=None, flipped=flipped)

        def steps():
            ct = scan.image()
            return resegment(ct, snapshot.labelmap(ct).image(ct), box, options)

        return steps

    def run(self, volume, output=None):
        """Segment a volume and wait for it, with the panel's options; its search region is the chosen volume's only.

        Returns:
            The segmentation node and its report; None, None when no pancreas was found.
        """
        from dataclasses import replace

        from TernarySegmentLib.pipeline import run
        from TernarySegmentLib.slicer_ui.mrml import statistics
        from TernarySegmentLib.slicer_ui.mrml.segmentation import write_segment
        from TernarySegmentLib.slicer_ui.mrml.volumes import take_scan

        parameters = self.getParameterNode()
        options = self.options(parameters)
        if volume is not parameters.volume:
            options = replace(options, region=None)
        result = run(self.steps(take_scan(volume), options))
        if not result.found:
            return None, None
        node, _revert = write_segment(volume, result.mask, output)
        report = statistics.report_of(result, volume.GetName())
        statistics.keep(report, node)
        return node, report


class TernarySegmentTest(ScriptedLoadableModuleTest):
    """Segments a synthetic abdomen, offline, in a few seconds."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_phantom()

    def test_phantom(self):
        from TernarySegmentLib.slicer_ui.mrml.segmentation import SEGMENT_ID
        from TernarySegmentLib.slicer_ui.sample import add_phantom

        self.delayDisplay("Segmenting a synthetic abdomen")
        volume = add_phantom()
        node, report = TernarySegmentLogic().run(volume)
        assert node is not None, "no pancreas was found in the phantom"
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, SEGMENT_ID, volume)
        assert mask.shape == slicer.util.arrayFromVolume(volume).shape
        assert abs(mask.sum() * 1.5 * 1.5 * 3.0 / 1000 - report.volume_ml) < 0.001
        assert report.volume_ml > 20
        self.delayDisplay(f"Found {report.volume_ml:.1f} mL of pancreas")
