"""The Review section of the panel: where the network is unsure, region by region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from TernarySegmentLib.slicer_ui.mrml import checklist
from TernarySegmentLib.slicer_ui.mrml.checklist import Entry
from TernarySegmentLib.slicer_ui.mrml.overlay import Overlay
from TernarySegmentLib.slicer_ui.mrml.segmentation import CONFIDENCE
from TernarySegmentLib.slicer_ui.mrml.views import Crosshair, go_to

NUMBER, WHAT, WHY, CHECKED = range(4)
TICKED, NOT_TICKED = "☑", "☐"
"""Text, since a dark style draws an item's check box dark on dark."""
URGENT = "#a3211b"
"""Behind the number of a region that must be looked at; white on it is readable in light and dark styles."""


class ReviewSection:
    """Shows the list of regions of one segmentation node and goes through it.

    Args:
        ui: the panel's widgets by name.
        used: called when the person goes to a region or marks one.
        changed: called when a region was marked.
    """

    def __init__(self, ui: Any, used: Callable[[], None], changed: Callable[[], None]) -> None:
        self._ui, self._used, self._changed = ui, used, changed
        self._node: Any = None
        self._entries: list[Entry] = []
        self._at: int | None = None
        self._filling = self._searched = self._searching = False
        self._overlay = Overlay()
        self._crosshair = Crosshair()
        table = ui.regionsTable
        header = table.horizontalHeader()
        for column, width in ((NUMBER, 28), (WHAT, 88), (CHECKED, 28)):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(WHY, qt.QHeaderView.Stretch)
        # a row's height follows its sentence when the panel's width changes
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.connect("currentCellChanged(int,int,int,int)", self._on_current)
        table.connect("cellClicked(int,int)", self._on_clicked)
        ui.nextButton.connect("clicked()", self.next)
        ui.previousButton.connect("clicked()", self.previous)
        ui.checkButton.connect("clicked()", self.check)

    @property
    def entries(self) -> list[Entry]:
        """The regions, most doubtful first."""
        return self._entries

    def keys(self) -> dict[str, Callable[[], None]]:
        """What keys do while there is a result."""
        return {"N": self.next, "P": self.previous, "C": self.check}

    def show(self, node: Any, searching: bool, entered: bool, confidence_shown: bool) -> None:
        """Show a segmentation node's regions; None empties the part.

        Args:
            node: the segmentation node.
            searching: whether its regions are still looked for.
            entered: whether the panel is on the screen, so that it may use the views.
            confidence_shown: whether its confidence map lies over the slice views then.
        """
        entries = checklist.kept(node)
        if node is not self._node or (entries or []) != self._entries:
            self._node, self._entries, self._at = node, entries or [], None
            self._fill()
        if self._at is None or not entered:
            self._crosshair.put_back()
        confidence = node.GetNodeReference(CONFIDENCE) if node is not None else None
        self._overlay.show(confidence if confidence_shown and entered else None)
        self._ui.confidenceBox.enabled = confidence is not None
        self._searched, self._searching = entries is not None, searching
        self._update()

    def scene_closing(self) -> None:
        """Let go of the scene's views."""
        self._crosshair.put_back()
        self._overlay.forget()

    def next(self) -> None:
        """Go to the region after the present one."""
        self._step(1)

    def previous(self) -> None:
        """Go to the region before the present one."""
        self._step(-1)

    def check(self) -> None:
        """Mark the present region as checked and go to the next unchecked one; a checked one becomes unchecked."""
        if self._at is None:
            self.next()
            return
        value = not self._entries[self._at].checked
        self._mark(self._at, value)
        following = checklist.next_unchecked(self._entries, self._at) if value else None
        if following is not None:
            self._go(following)

    def _step(self, by: int) -> None:
        if self._entries:
            first = 0 if by > 0 else len(self._entries) - 1
            self._go(first if self._at is None else (self._at + by) % len(self._entries))

    def _go(self, index: int) -> None:
        """Choose a row, as the mouse and the arrow keys do."""
        if self._ui.regionsTable.currentRow() == index:
            self._visit(index)
        else:
            self._ui.regionsTable.setCurrentCell(index, WHAT)

    def _on_current(self, row: int) -> None:
        if not self._filling and 0 <= row < len(self._entries) and row != self._at:
            self._visit(row)

    def _on_clicked(self, row: int, column: int) -> None:
        if column == CHECKED:
            self._mark(row, not self._entries[row].checked)
        else:
            self._visit(row)  # also the one that the views have left since

    def _visit(self, index: int) -> None:
        self._used()
        self._at = index
        go_to(self._entries[index].position_ras)
        self._crosshair.point_at(self._entries[index].position_ras)
        self._update()

    def _mark(self, index: int, value: bool) -> None:
        self._used()
        self._entries = checklist.checked(self._entries, index, value)
        checklist.keep(self._entries, self._node)
        self._ui.regionsTable.item(index, CHECKED).setText(TICKED if value else NOT_TICKED)
        if all(entry.checked for entry in self._entries):
            self._crosshair.put_back()  # the review is over
        self._update()
        self._changed()

    def _fill(self) -> None:
        table = self._ui.regionsTable
        self._filling = True
        table.setCurrentCell(-1, -1)
        table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            what = entry.kind[:1].upper() + entry.kind[1:]
            cells = (
                qt.QTableWidgetItem(str(row + 1)),
                qt.QTableWidgetItem(what),
                qt.QTableWidgetItem(entry.reason),
                qt.QTableWidgetItem(TICKED if entry.checked else NOT_TICKED),
            )
            if checklist.is_urgent(entry):
                cells[NUMBER].setBackground(qt.QBrush(qt.QColor(URGENT)))
                cells[NUMBER].setForeground(qt.QBrush(qt.QColor("white")))
            for column, cell in enumerate(cells):
                table.setItem(row, column, cell)
        self._filling = False

    def _update(self) -> None:
        ui, entries = self._ui, self._entries
        done = sum(entry.checked for entry in entries)
        if self._node is None:
            text = ""
        elif entries:
            text = _("{done} of {all} checked").format(done=done, all=len(entries))
        elif self._searched:
            text = _("No suspicious regions were found.")
        elif self._searching:
            text = _("Looking for suspicious regions …")
        else:
            text = _("The search for suspicious regions did not finish; segment the scan again to repeat it.")
        ui.checkedLabel.text = text
        for button in (ui.nextButton, ui.previousButton, ui.checkButton):
            button.enabled = bool(entries)
        at_checked = self._at is not None and entries[self._at].checked
        ui.checkButton.text = _("Mark as unchecked (C)") if at_checked else _("Mark as checked (C)")
