"""The one number of a result, in words."""

from __future__ import annotations

WORDS = (
    (0.9, "The network is sure of nearly all of this mask"),
    (0.8, "The network is sure of most of this mask, less so of its border"),
    (0.7, "The network is unsure of a good part of this mask"),
    (0.0, "The network is guessing in much of this mask"),
)
"""From which mean probability which sentence holds."""


def in_words(value: float) -> str:
    """One plain sentence on :attr:`TernarySegmentLib.pipeline.Result.confidence`.

    Args:
        value: mean probability of pancreas inside the mask, 0 to 1; 0 stands for nothing found.
    """
    if value <= 0:
        return "No pancreas was found, so there is no confidence to tell."
    sentence = next(words for least, words in WORDS if value >= least)
    return f"{sentence}: on average it gives a voxel inside {100 * value:.0f} % to be pancreas."
