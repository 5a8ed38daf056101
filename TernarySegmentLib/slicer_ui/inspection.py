"""Looks at a volume in the background and says in a sentence what it is, or why it cannot be segmented."""

from __future__ import annotations

from collections.abc import Generator

from TernarySegmentLib.imaging.checks import CtSummary, check_ct
from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.runner import Runner
from TernarySegmentLib.slicer_ui.volumes import Scan


def inspect(scan: Scan) -> Runner[CtSummary]:
    """A started runner whose result is the summary and whose error says why not."""

    def steps() -> Generator[Progress, None, CtSummary]:
        yield Progress("Looking at the scan", 0.0, 0.0, None)
        return check_ct(scan.image())

    runner = Runner(steps)
    runner.start()
    return runner
