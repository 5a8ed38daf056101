"""Interleaved timing: contestants take turns, so that a disturbance of the machine hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs.

    Attributes:
        median: the figure to quote.
        fastest: the shortest run.
        quartiles: a quarter of the runs took less, a quarter more.
        runs: how many there were.
    """

    median: float
    fastest: float
    quartiles: tuple[float, float]
    runs: int

    @staticmethod
    def of(seconds: list[float]) -> Timing:
        """Summarise; raises ValueError without a single run."""
        if not seconds:
            raise ValueError("nothing was timed")
        low, median, high = (float(v) for v in np.percentile(seconds, [25, 50, 75]))
        return Timing(median, min(seconds), (low, high), len(seconds))

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def take_turns(tasks: Mapping[str, Callable[[], object]], rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Time every task in turn, round after round.

    Args:
        tasks: what to run, by name. Each is run once before, untimed.
        rounds: turns for each task.
        budget_s: no task is given more time than this; a slow one sits out rounds, but is timed at least once.

    Returns:
        Seconds of each run, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            spent = seconds[name]
            if spent and sum(spent) + spent[-1] > budget_s:
                continue
            started = time.perf_counter()
            task()
            spent.append(time.perf_counter() - started)
    return seconds
