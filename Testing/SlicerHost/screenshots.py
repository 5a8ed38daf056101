"""Drive the panel and write pictures: python Testing/SlicerHost/screenshots.py [--ct PATH] [-o FOLDER]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from host import Host
from panel import MODULE, ROOT
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPalette
from PySide6.QtTest import QTest
from SimpleITK import GetArrayFromImage

WAIT_S = 600
PANEL = 430
"""Width of Slicer's module panel as it opens."""
VIEWS = (1000, 800)
DARK = {
    "Window": "#353535", "WindowText": "white", "Base": "#232323", "AlternateBase": "#2d2d2d", "Text": "white",
    "Button": "#353535", "ButtonText": "white", "ToolTipBase": "#353535", "ToolTipText": "white",
    "Highlight": "#2a82da", "HighlightedText": "white", "PlaceholderText": "#909090",
}  # fmt: skip
GREYED = ("WindowText", "Text", "ButtonText")
"""Roles of what cannot be used now."""
NARROW = 410
"""Pixels: the least at which nothing is clipped; Slicer's module panel opens wider."""


class Tour:
    """A walk through the panel.

    Args:
        host: the test host.
        folder: where the pictures go.
    """

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.widget = host.load_module(MODULE)
        self.ui = self.widget.ui

    def wait(self, until: Any) -> None:
        if not self.host.process_events(until, timeout=WAIT_S):
            raise SystemExit(f"The panel did not get there within {WAIT_S} s.")

    def settle(self) -> None:
        self.host.process_events(timeout=0.5)

    def open_only(self, *sections: Any) -> None:
        """Fold every section but these."""
        ui = self.ui
        for section in (
            ui.inputButton, ui.resultButton, ui.reviewButton, ui.correctButton, ui.exportButton, ui.compareButton,
            ui.similarButton, ui.batchButton,
        ):  # fmt: skip
            section.collapsed = all(section is not each for each in sections)
        self.settle()

    def panel(self, name: str, width: int = PANEL) -> None:
        """The panel alone."""
        self.host.grab(self.widget, self.folder / f"{name}.png", width)

    def views(self, name: str) -> None:
        """The four views alone."""
        self.host.render_four_up(VIEWS, self.folder / f"{name}.png")

    def both(self, name: str) -> None:
        """The panel at the left, the views at the right, as in Slicer."""
        self.panel(name)
        left = QImage(str(self.folder / f"{name}.png"))
        right = self.host.render_four_up((VIEWS[0], max(VIEWS[1], left.height())))
        whole = QImage(left.width() + right.width(), max(left.height(), right.height()), QImage.Format.Format_RGB888)
        whole.fill(self.host.panel_of(self.widget).palette().window().color())
        painter = QPainter(whole)
        painter.drawImage(0, 0, left)
        painter.drawImage(left.width(), 0, right)
        painter.end()
        whole.save(str(self.folder / f"{name}.png"))

    # -- the stops
    def segment(self) -> None:
        self.wait(lambda: self.ui.segmentButton.enabled)
        self.panel("panel-before")
        self.host.click(self.ui.segmentButton)
        self.wait(lambda: self.ui.progressBar.value > 300 or self.ui.segmentButton.enabled)
        self.panel("panel-during")
        self.wait(lambda: self.ui.segmentButton.enabled and self.widget.panel.review.entries)
        self.settle()
        self.panel("panel-after")
        self.views("views")
        self.both("first-sight")

    def review(self) -> None:
        self.host.click(self.ui.confidenceBox)
        for button in (self.ui.nextButton, self.ui.checkButton, self.ui.checkButton):
            self.host.click(button)
        self.settle()
        self.open_only(self.ui.reviewButton)
        self.both("review")
        self.host.click(self.ui.confidenceBox)

    def correct(self) -> None:
        """One point outside at the place in question, one inside beside it, and a box."""
        self.open_only(self.ui.correctButton)
        entry = self.widget.panel.review.entries[0]
        self.host.click(self.ui.outsideButton)
        self.click_at(entry.position_ras)
        self.host.click(self.ui.insideButton)
        self.click_at(np.add(entry.position_ras, (12, 8, 0)))
        self.host.click(self.ui.insideButton)
        self.host.click(self.ui.boxButton)
        self.wait(lambda: "Dice" in self.ui.changesLabel.text)
        self.settle()
        self.both("correct")

    def export(self) -> None:
        self.open_only(self.ui.exportButton)
        self.panel("export")

    def batch(self) -> None:
        """Another scan and a sequence of two, one after the other."""
        import slicer

        from TernarySegmentLib.phantom import make_phantom
        from TernarySegmentLib.slicer_ui.mrml.volumes import to_ras_of

        def add(name: str, seed: int) -> Any:
            ct = make_phantom(seed, (3.0, 3.0, 5.0)).ct
            return slicer.util.addVolumeFromArray(GetArrayFromImage(ct), ijkToRAS=to_ras_of(ct), name=name)

        add("follow-up", 1)
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "perfusion")
        for seed in (2, 3):
            frame = add("frame", seed)
            sequence.SetDataNodeAtValue(frame, str(seed))
            slicer.mrmlScene.RemoveNode(frame)
        self.open_only(self.ui.batchButton)
        self.host.click(self.ui.batchRunButton)
        self.wait(lambda: not self.widget.panel.job.running)
        self.settle()
        self.panel("batch")

    def dark(self) -> None:
        """The panel in a dark style."""
        palette = QPalette()
        for role, colour in DARK.items():
            palette.setColor(QPalette.ColorRole[role], QColor(colour))
        for role in GREYED:
            palette.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole[role], QColor("#808080"))
        self.host.qt_app.setStyle("Fusion")
        self.host.qt_app.setPalette(palette)
        self.open_only(self.ui.resultButton, self.ui.reviewButton)
        self.panel("panel-dark")

    def narrow(self) -> None:
        """The panel as narrow as it gets."""
        self.open_only(self.ui.inputButton, self.ui.resultButton, self.ui.reviewButton, self.ui.correctButton)
        self.panel("panel-narrow", NARROW)

    def click_at(self, ras: Any) -> None:
        """Click at a point in the axial view and wait for the border."""
        import vtk

        self.host.four_up().resize(*VIEWS)
        self.host.four_up().show()
        self.widget.panel.review._go(0)
        self.settle()
        view = self.host.qt_app.layoutManager().sliceWidget("Red").sliceView()
        view.picture(view.size())
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(view.mrmlSliceNode().GetXYToRAS(), matrix)
        x, y = matrix.MultiplyPoint((*ras, 1))[:2]
        where = QPoint(round(x), view.height() - 1 - round(y))
        QTest.mouseMove(view, where)
        self.host.process_events()
        QTest.mouseClick(view, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
        self.settle()
        self.wait(lambda: not self.widget.panel.background.busy("points"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ct", type=Path, help="a CT to segment; without it the synthetic abdomen")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    host = Host()
    tour = Tour(host, arguments.output)
    if arguments.ct is not None:
        host.io.on_dialog = lambda _name: host.load_volume(arguments.ct) is not None
        host.click(tour.ui.loadButton)
    else:
        from TernarySegmentLib.slicer_ui.sample import add_phantom

        add_phantom()
        tour.widget.enter()
    for stop in (tour.segment, tour.review, tour.correct, tour.export, tour.narrow, tour.batch, tour.dark):
        stop()
    for picture in sorted(arguments.output.glob("*.png")):
        print(picture)
    host.close()


if __name__ == "__main__":
    main()
