"""How long a run takes on this computer, learned from earlier runs."""

from __future__ import annotations

import contextlib
from statistics import median
from typing import Any

REMEMBERED = 7
"""Runs per back end; their median ignores the one that met a busy computer."""


class Timing:
    """Remembers the seconds of earlier runs in the application's settings.

    Args:
        settings: has ``value(key)`` and ``setValue(key, text)``, as QSettings.
    """

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def expected(self, backend: str) -> float | None:
        """Seconds a run should take with these kernels; None before the first."""
        seconds = self._seconds(backend)
        return median(seconds) if seconds else None

    def learn(self, backend: str, seconds: dict[str, float]) -> None:
        """Remember a run by its stages' seconds; what happens only once is left out."""
        total = sum(value for stage, value in seconds.items() if "only this once" not in stage)
        latest = [*self._seconds(backend), total][-REMEMBERED:]
        self._settings.setValue(self._key(backend), " ".join(f"{value:.2f}" for value in latest))

    def _seconds(self, backend: str) -> list[float]:
        text = self._settings.value(self._key(backend))
        with contextlib.suppress(ValueError):  # settings that someone edited by hand
            return [float(value) for value in str(text or "").split()]
        return []

    @staticmethod
    def _key(backend: str) -> str:
        return f"TernarySegment/seconds-{backend}"


def in_words(seconds: float) -> str:
    """E.g. "under 1 s", "about 7 s", "about 3 min"."""
    if seconds < 1:
        return "under 1 s"
    return f"about {seconds:.0f} s" if seconds < 99.5 else f"about {seconds / 60:.0f} min"
