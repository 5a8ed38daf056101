"""Keys of the panel: they act while the panel or a view has the focus, and never take a letter from a text field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer


class Keys:
    """One set of keys.

    Each key is installed on the panel and on the frame of the views, for them and what lies in them. A shortcut of the
    whole application would take the key from every widget, also from buttons and other modules.

    Args:
        form: the panel's outermost widget.
        actions: what each key does, by the key's name in Qt.
    """

    def __init__(self, form: Any, actions: Mapping[str, Callable[[], None]]) -> None:
        manager = slicer.app.layoutManager()
        views = manager.viewport() if manager is not None else None
        self._shortcuts = []
        for place in filter(None, (form, views)):
            for key, action in actions.items():
                shortcut = qt.QShortcut(qt.QKeySequence(key), place)
                shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
                shortcut.setEnabled(False)
                shortcut.connect("activated()", action)
                self._shortcuts.append(shortcut)

    def enable(self, enabled: bool) -> None:
        """Let the keys act, or not."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(enabled)

    def remove(self) -> None:
        """Take the keys off the panel and off the frame of the views, which outlives it."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []
