"""Suspicious regions, seeds and calibration on one Markdown page with one figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from TernarySegmentLib.training.calibrate import (
    NEAR_MM,
    Bin,
    Calibration,
    Voxels,
    expected_error,
    joined,
    left_out_errors,
    reliability,
)
from TernarySegmentLib.training.experiments.review import CLICKS, DRAWS, FIRST, Reviewed

matplotlib.use("Agg")

FIGURE = "figures/review-reliability.svg"


def curve(before: list[Bin], after: list[Bin]) -> Figure:
    """Reliability curves: what part of the voxels is pancreas against how sure the network was."""
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    for bins, label, marker in ((before, "margin as it is", "o"), (after, "calibrated", "s")):
        text = f"{label}, error {expected_error(bins):.3f}"
        axes.plot([each.said for each in bins], [each.so for each in bins], marker=marker, markersize=4, label=text)
    axes.set(xlabel="probability given", ylabel="part that is pancreas", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(frameon=False, loc="upper left")
    return figure


def page(reviewed: list[Reviewed], voxels: Mapping[str, Voxels], calibration: Calibration, command: str) -> str:
    """The whole page, Markdown.

    Args:
        reviewed: scans in which a pancreas was found.
        voxels: of the same scans, for calibration.
        calibration: that the model file holds.
        command: that made the page.
    """
    pooled = joined(voxels.values())
    before = reliability(Calibration().probability(pooled), pooled.truth)
    after = reliability(calibration.probability(pooled), pooled.truth)
    worst = min(reviewed, key=lambda each: each.clicks.dice[0])
    border = float(calibration.probability(Voxels(np.zeros(1, np.float32), np.zeros(1, bool)))[0])
    dice = [_dice(pooled.margin > least, pooled.truth) for least in (0.0, calibration.bias)]
    return f"""# Reviewing a mask: what the tools are worth

Measured on {len(reviewed)} scans ({", ".join(each.name for each in reviewed)}). The constants of these tools were
chosen on 0007, 0024 and 0034: read those scans' figures as an upper bound. This page is written by

```sh
{command}
```

## Suspicious regions

How much of the volume on which mask and expert differ lies within the first {FIRST} suspicious
regions; beside it the same for as many regions of the same radii at random on the mask's border, mean of {DRAWS} draws.

{_coverage_table(reviewed)}

Errors that the network makes with full certainty, such as a missing tail, are in no list.

## Seeds

{CLICKS} simulated clicks, each into the middle of the largest connected error that is left; Dice against the expert
before the first and after each click.

{_clicks_table(reviewed)}

On the worst scan, {worst.name}, Dice goes from {worst.clicks.dice[0]:.3f} to {worst.clicks.dice[-1]:.3f}.

## Calibration

Voxels of the working grid inside the network's mask or up to {NEAR_MM:g} mm outside it. Calibrated: temperature
{calibration.temperature:.2f}, bias {calibration.bias:.2f} logits, kept in the model file
(`python -m TernarySegmentLib.training calibrate`).

![Reliability curves before and after calibration]({FIGURE})

{_reliability_table(before, after)}

Expected calibration error on a scan that the fit has not seen (fitted on the others, mean of the scans):

{_errors_table(left_out_errors(voxels))}

A temperature alone does not help where a network is biased: trained with the pancreas weighted up, it draws its border
where a voxel is pancreas in {border:.0%} of the cases. Dice of these voxels is {dice[0]:.3f} with that border and
{dice[1]:.3f} with one at 50 %. The confidence map keeps the mask's scale, 50 % being the mask's border, and divides the
margin by the temperature only. The one number of a result uses temperature and bias: it is the part of the mask that is
expected to be pancreas.

{_precision_table(reviewed)}
"""


def _dice(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)))


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _coverage_table(reviewed: list[Reviewed]) -> str:
    rows = [
        [r.name, f"{c.error_ml:.1f}", f"{c.regions:.0%}", f"{c.random:.0%}", f"{c.seconds:.2f}"]
        for r, c in ((each, each.coverage) for each in reviewed)
    ]
    if len(reviewed) > 1:
        count = len(reviewed)
        ours, chance = (sum(getattr(r.coverage, name) for r in reviewed) / count for name in ("regions", "random"))
        rows.append(["mean", "", f"{ours:.0%}", f"{chance:.0%}", ""])
    return _table(["scan", "error, mL", f"first {FIRST} regions", f"random {FIRST}", "seconds"], rows)


def _clicks_table(reviewed: list[Reviewed]) -> str:
    rows = [[r.name, *(f"{dice:.3f}" for dice in r.clicks.dice), f"{max(r.clicks.seconds):.2f}"] for r in reviewed]
    return _table(["scan", "before", *(f"click {n + 1}" for n in range(CLICKS)), "slowest update, s"], rows)


def _reliability_table(before: list[Bin], after: list[Bin]) -> str:
    rows = [
        [title, f"{each.count:,}", f"{each.said:.0%}", f"{each.so:.0%}"]
        for title, bins in (("as it is", before), ("calibrated", after))
        for each in bins
    ]
    return _table(["margin", "voxels", "probability given", "is pancreas"], rows)


def _errors_table(errors: Mapping[str, float]) -> str:
    return _table(["margin", "expected calibration error"], [[name, f"{value:.3f}"] for name, value in errors.items()])


def _precision_table(reviewed: list[Reviewed]) -> str:
    rows = [[r.name, f"{r.confidence:.0%}", f"{r.precision:.0%}"] for r in reviewed]
    return _table(["scan", "confidence", "part of the mask that is pancreas"], rows)


def write_page(
    path: Path, reviewed: list[Reviewed], voxels: Mapping[str, Voxels], calibration: Calibration, command: str
) -> None:
    """Write the page, and its figure into the folder ``figures`` beside it."""
    pooled = joined(voxels.values())
    figure = path.parent / FIGURE
    figure.parent.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "review"  # the same figure gives the same file
    curves = (reliability(each.probability(pooled), pooled.truth) for each in (Calibration(), calibration))
    curve(*curves).savefig(figure, metadata={"Date": None})
    path.write_text(page(reviewed, voxels, calibration, command), encoding="utf-8")
