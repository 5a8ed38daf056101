"""Types of the command line's arguments: numbers within bounds."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

MOST_SMOOTHING_MM = 10.0
"""Half as thick as a pancreas; more leaves nothing of it."""
MOST_THREADS = 1024


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    """An argument's type: a number within bounds; argparse says of others what was given and what may be."""

    def within(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(low) - 1
        if not low <= value <= high:  # also NaN
            raise argparse.ArgumentTypeError(f"“{text}” is no number from {low:g} to {high:g}")
        return value

    return within


def given_path(text: str) -> Path:
    """An argument's type: a path. An empty one, as of a variable that was never set, would mean the present folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty; give the name of a file or folder")
    return Path(text)


def add_threads(parser: argparse.ArgumentParser, default: str = "all cores") -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads", type=number(int, 0, MOST_THREADS), default=0, metavar="N",
        help=f"up to {MOST_THREADS} (default: {default})",
    )  # fmt: skip


def add_smoothing(parser: argparse.ArgumentParser) -> None:
    """Add ``--smoothing``."""
    parser.add_argument(
        "--smoothing", type=number(float, 0, MOST_SMOOTHING_MM), default=0.0, metavar="MM",
        help=f"smooth the border, up to {MOST_SMOOTHING_MM:.0f} mm (default: off)",
    )  # fmt: skip
