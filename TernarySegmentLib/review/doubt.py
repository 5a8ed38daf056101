"""How much a scan is worth a look, as one number: by this the scans of a cohort are ranked."""

from __future__ import annotations

import math
from collections.abc import Iterable

from TernarySegmentLib.review.suspicious_regions import RADIUS_MM

BALL_ML = 4 / 3 * math.pi * RADIUS_MM**3 / 1000
"""What the doubt of a place is relative to."""


def scan_doubt(doubts: Iterable[float], volume_ml: float | None) -> float:
    """The volume expected to be wrong at suspicious regions over that of the mask.

    Args:
        doubts: of the regions, see :class:`~TernarySegmentLib.review.suspicious_regions.SuspiciousRegion`.
        volume_ml: of the mask; None without one.

    Returns:
        At most 1, which a scan without a mask gets as well: a scan of the abdomen has a pancreas.

    Examples:
        >>> scan_doubt([], 80.0), scan_doubt([1.0], None)
        (0.0, 1.0)
    """
    return min(1.0, sum(doubts) * BALL_ML / volume_ml) if volume_ml else 1.0
