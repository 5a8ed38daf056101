"""Learning curves of training runs, one picture for several runs."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.runs import read_log, series


def draw(runs: list[Path]) -> Figure:
    """Loss, and Dice around the true pancreas on the working grid: mean of the validation cases bold, each case thin.

    Args:
        runs: folders of runs.

    Raises:
        InputError: a run has not logged a Dice yet.
    """
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for number, run in enumerate(runs):
        colour, log = f"C{number}", read_log(run)
        left.plot(*series(log, "loss"), color=colour, label=run.name)
        steps, means = series(log, "dice/mean")
        if not steps:
            raise InputError(f"{run} has no Dice in its log yet; train on, or lower --every.")
        right.plot(steps, means, color=colour, linewidth=2.5, label=f"{run.name}: {means[-1]:.3f}")
        cases = sorted({key for entry in log for key in entry if key.startswith("dice/")} - {"dice/mean"})
        for case in cases:
            steps, values = series(log, case)
            right.plot(steps, values, color=colour, linewidth=0.8, alpha=0.6)
            right.annotate(case.removeprefix("dice/"), (steps[-1], values[-1]), fontsize=7, color=colour)
    left.set(xlabel="step", ylabel="loss, mean of 100 steps")
    right.set(xlabel="step", ylabel="Dice around the true pancreas", ylim=(0, 1))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="best")
    return figure
