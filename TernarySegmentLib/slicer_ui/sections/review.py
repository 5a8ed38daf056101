"""The Review part of the panel: where the network is unsure, place by place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from TernarySegmentLib.slicer_ui.mrml import checklist
from TernarySegmentLib.slicer_ui.mrml.checklist import Entry
from TernarySegmentLib.slicer_ui.mrml.overlay import Overlay
from TernarySegmentLib.slicer_ui.mrml.segmentation import CONFIDENCE
from TernarySegmentLib.slicer_ui.mrml.views import go_to, hide_crosshair

NUMBER, WHAT, WHY, CHECKED = range(4)


class ReviewSection:
    """Shows the list of regions of one segmentation node and goes through it.

    Args:
        ui: the panel's widgets by name.
        used: called when the person goes to a place or marks one.
    """

    def __init__(self, ui: Any, used: Callable[[], None]) -> None:
        self._ui, self._used = ui, used
        self._node: Any = None
        self._entries: list[Entry] = []
        self._at: int | None = None
        self._filling = False
        self._overlay = Overlay()
        table = ui.regionsTable
        header = table.horizontalHeader()
        for column, width in ((NUMBER, 28), (WHAT, 96), (CHECKED, 60)):
            table.setColumnWidth(column, width)
        header.setSectionResizeMode(WHY, qt.QHeaderView.Stretch)
        # a row's height follows its sentence when the panel's width changes
        table.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.connect("cellClicked(int,int)", self._on_clicked)
        table.connect("itemChanged(QTableWidgetItem*)", self._on_changed)
        ui.nextButton.connect("clicked()", self.next)
        ui.previousButton.connect("clicked()", self.previous)
        ui.checkButton.connect("clicked()", self.check)

    @property
    def entries(self) -> list[Entry]:
        """The regions, most doubtful first."""
        return self._entries

    def show(self, node: Any, confidence_shown: bool) -> None:
        """Show a segmentation node's regions; None empties the part.

        Args:
            node: the segmentation node.
            confidence_shown: whether its confidence map lies over the slice views.
        """
        entries = checklist.kept(node)
        if node is not self._node or (entries or []) != self._entries:
            if node is not self._node and self._at is not None:
                self._at = None
                hide_crosshair()
            self._node, self._entries = node, entries or []
            self._fill()
        confidence = node.GetNodeReference(CONFIDENCE) if node is not None else None
        self._overlay.show(confidence if confidence_shown else None)
        self._ui.confidenceBox.enabled = confidence is not None
        self._update(entries is not None)

    def scene_closing(self) -> None:
        """Let go of the scene's views."""
        self._overlay.forget()

    def next(self) -> None:
        """Go to the place after the present one."""
        self._step(1)

    def previous(self) -> None:
        """Go to the place before the present one."""
        self._step(-1)

    def check(self) -> None:
        """Mark the present place as checked and go to the next unchecked one; a checked one becomes unchecked."""
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
        self._used()
        self._at = index
        self._ui.regionsTable.selectRow(index)
        self._ui.regionsTable.scrollToItem(self._ui.regionsTable.item(index, NUMBER))
        go_to(self._entries[index].position_ras, crosshair=True)
        self._update(True)

    def _mark(self, index: int, value: bool) -> None:
        self._used()
        self._entries = checklist.checked(self._entries, index, value)
        checklist.keep(self._entries, self._node)
        self._filling = True
        self._ui.regionsTable.item(index, CHECKED).setCheckState(qt.Qt.Checked if value else qt.Qt.Unchecked)
        self._filling = False
        self._update(True)

    def _on_clicked(self, row: int, column: int) -> None:
        if column != CHECKED:
            self._go(row)

    def _on_changed(self, item: Any) -> None:
        if not self._filling and item.column() == CHECKED:
            self._mark(item.row(), item.checkState() == qt.Qt.Checked)

    def _fill(self) -> None:
        table = self._ui.regionsTable
        self._filling = True
        table.setRowCount(len(self._entries))
        for row, entry in enumerate(self._entries):
            box = qt.QTableWidgetItem()
            box.setFlags(qt.Qt.ItemIsUserCheckable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            box.setCheckState(qt.Qt.Checked if entry.checked else qt.Qt.Unchecked)
            what = entry.kind[:1].upper() + entry.kind[1:]
            cells = (
                qt.QTableWidgetItem(str(row + 1)),
                qt.QTableWidgetItem(what),
                qt.QTableWidgetItem(entry.reason),
                box,
            )
            for column, cell in enumerate(cells):
                table.setItem(row, column, cell)
        self._filling = False

    def _update(self, searched: bool) -> None:
        ui, entries = self._ui, self._entries
        done = sum(entry.checked for entry in entries)
        if entries:
            text = _("{done} of {all} checked").format(done=done, all=len(entries))
        elif self._node is None:
            text = ""
        else:
            text = _("No suspicious regions were found.") if searched else _("Looking for suspicious regions …")
        ui.checkedLabel.text = text
        for button in (ui.nextButton, ui.previousButton, ui.checkButton):
            button.enabled = bool(entries)
        at_checked = self._at is not None and self._at < len(entries) and entries[self._at].checked
        ui.checkButton.text = _("Not checked after all (C)") if at_checked else _("Mark as checked (C)")


class Shortcuts:
    """Keys of the review: N and P go on and back, C and the space bar mark as checked.

    They work wherever the mouse is, as long as the panel is visible; text fields keep their letters.

    Args:
        ui: the panel's widgets by name.
        review: what they drive.
    """

    def __init__(self, ui: Any, review: ReviewSection) -> None:
        keys: tuple[tuple[str, Callable[[], None]], ...] = (
            ("N", review.next), ("P", review.previous), ("C", review.check), ("Space", review.check),
        )  # fmt: skip
        self._shortcuts = []
        for key, action in keys:
            shortcut = qt.QShortcut(qt.QKeySequence(key), ui.reviewButton)
            shortcut.setContext(qt.Qt.ApplicationShortcut)
            shortcut.connect("activated()", action)
            self._shortcuts.append(shortcut)

    def enable(self, usable: bool, space: bool) -> None:
        """Whether the keys work, and whether the space bar does, for which Slicer's editor has a use of its own."""
        for shortcut in self._shortcuts[:-1]:
            shortcut.setEnabled(usable)
        self._shortcuts[-1].setEnabled(usable and space)
