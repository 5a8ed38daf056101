"""The regions worth a look, and which of them are checked: kept with the segmentation, so a saved scene has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from TernarySegmentLib.slicer_ui.mrml.segmentation import SUSPICIOUS_REGIONS


@dataclass(frozen=True)
class Entry:
    """One region.

    Attributes:
        position_ras: RAS, mm, in the world.
        kind: what it is, in a few words.
        reason: why it is worth a look, a sentence.
        doubt: 0 to 1.
        checked: whether somebody looked.
    """

    position_ras: tuple[float, float, float]
    kind: str
    reason: str
    doubt: float
    checked: bool = False


URGENT_DOUBT = 0.2
"""About 1.5 mL that is expected to be wrong."""


def is_urgent(entry: Entry) -> bool:
    """True for a region that must be looked at."""
    return entry.doubt >= URGENT_DOUBT


def entries_of(regions: Sequence[Any]) -> list[Entry]:
    """From :func:`TernarySegmentLib.review.suspicious_regions.find_suspicious_regions`."""
    return [
        Entry((-region.position[0], -region.position[1], region.position[2]), region.kind, region.reason, region.doubt)
        for region in regions
    ]


def keep(entries: Sequence[Entry], node: Any) -> None:
    """Store the list with its segmentation node."""
    node.SetAttribute(SUSPICIOUS_REGIONS, json.dumps([asdict(entry) for entry in entries]))


def kept(node: Any) -> list[Entry] | None:
    """The list stored with a segmentation node; None when there is none that can be read."""
    text = node.GetAttribute(SUSPICIOUS_REGIONS) if node is not None else None
    try:
        return [Entry(**{**fields, "position_ras": tuple(fields["position_ras"])}) for fields in json.loads(text or "")]
    except (ValueError, TypeError, KeyError):
        return None


def checked(entries: Sequence[Entry], index: int, value: bool) -> list[Entry]:
    """The list with one entry checked or not."""
    return [replace(entry, checked=value) if i == index else entry for i, entry in enumerate(entries)]


def next_unchecked(entries: Sequence[Entry], index: int) -> int | None:
    """The first entry after one that nobody looked at, from the start again at the end; None when all are checked."""
    order = [*range(index + 1, len(entries)), *range(index + 1)]
    return next((i for i in order if not entries[i].checked), None)
