"""What the panel says: one line for now, and a log of all of it."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any

from slicer.i18n import tr as _

from TernarySegmentLib.errors import TernarySegmentError

ERROR = "background-color: #a3211b; color: white; border-radius: 3px; padding: 4px;"
"""Readable in light and in dark styles."""


class Status:
    """Speaks to the person.

    Args:
        ui: the panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui

    def say(self, text: str) -> None:
        """Show a sentence under the progress bar, and keep it in the log."""
        self.show(text)
        if text:
            self.log(text)

    def warn(self, text: str) -> None:
        """Show that something did not work, and keep it in the log."""
        self.say(text)
        self._ui.statusLabel.styleSheet = ERROR

    def show(self, text: str) -> None:
        """Show a sentence that is not worth keeping."""
        self._ui.statusLabel.styleSheet = ""
        if text != self._ui.statusLabel.text:
            self._ui.statusLabel.text = text

    def clear(self) -> None:
        """The person turned to something else: what was said of the last thing stays in the log only."""
        self.show("")

    def log(self, text: str) -> None:
        """Keep a line in the log under Advanced."""
        self._ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def fail(self, error: BaseException) -> None:
        """Say what went wrong; the details of a surprise go to the log."""
        self.details(error)
        self.warn(sentence(error))

    def details(self, error: BaseException) -> None:
        """Keep the traceback of a surprise in the log."""
        if not isinstance(error, TernarySegmentError):
            text = "".join(traceback.format_exception(error))
            logging.error(text)
            self.log(text)


def sentence(error: BaseException) -> str:
    """What a person reads of an error."""
    if isinstance(error, TernarySegmentError):
        return str(error)
    if isinstance(error, MemoryError):
        return _("There is not enough memory for this volume; close other programs or crop it.")
    return _("An unexpected error ({kind}) came up; the log under Advanced has the details.").format(
        kind=type(error).__name__
    )
