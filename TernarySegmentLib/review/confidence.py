"""The one number of a result, in words."""

from __future__ import annotations

WORDS = (
    (0.75, "check its border"),
    (0.6, "check it slice by slice"),
    (0.45, "large parts may be wrong, check all of it"),
    (0.0, "it is little more than a guess"),
)
"""From which confidence what is to be done."""


def format_confidence(value: float) -> str:
    """One plain sentence on :attr:`TernarySegmentLib.pipeline.Result.confidence`.

    Args:
        value: the part of the mask that is expected to be pancreas, 0 to 1; 0 stands for nothing found.
    """
    if value <= 0:
        return "No pancreas was found, so there is no confidence to tell."
    advice = next(words for least, words in WORDS if value >= least)
    return f"About {100 * value:.0f} % of this mask is expected to be pancreas: {advice}."
