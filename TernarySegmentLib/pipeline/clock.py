"""Turn the finished share of the job into progress, and keep each stage's seconds."""

from __future__ import annotations

import time

from TernarySegmentLib.pipeline.options import Progress

# what each stage ends at, as a fraction of the whole job; the shares were measured on a 512×512×221 scan
LOCALISED, SEGMENTED, RESTORED = 0.35, 0.8, 0.9


class Clock:
    """Turns finished fractions into progress and keeps each stage's seconds."""

    def __init__(self) -> None:
        self.started = self.stage_started = time.monotonic()
        self.stage = ""
        self.fraction = 0.0
        self.seconds: dict[str, float] = {}

    def at(self, stage: str, fraction: float) -> Progress:
        """The progress to yield now."""
        now = time.monotonic()
        if stage != self.stage:
            self.close()
            self.stage, self.stage_started = stage, now
        self.fraction = max(self.fraction, min(fraction, 1.0))
        elapsed = now - self.started
        remaining = elapsed * (1 - self.fraction) / self.fraction if self.fraction > 0.05 else None
        return Progress(stage, self.fraction, elapsed, remaining)

    def close(self) -> None:
        """Book the time since the last stage began."""
        if self.stage:
            now = time.monotonic()
            self.seconds[self.stage] = round(self.seconds.get(self.stage, 0.0) + now - self.stage_started, 3)
            self.stage_started = now
