"""An evaluation on paper: JSON for programs, Markdown for people, a picture of every case."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk
from matplotlib.figure import Figure

from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.imaging.agreement import PERCENTILE, TOLERANCE_MM
from TernarySegmentLib.training.evaluate import Compared, Score
from TernarySegmentLib.training.metrics import Mean, mean_dice, mean_with_interval

matplotlib.use("Agg")

SLICES = 5
"""Axial slices in a picture, spread over both masks."""
MARGIN_MM = 40.0
"""Shown around both masks."""
GREY = (-160, 240)
"""HU, black to white."""


@dataclass
class Report:
    """Collects compared cases and writes ``report.json``, ``report.md`` and ``<case>.png`` into a folder."""

    folder: Path
    scores: list[Score] = field(default_factory=list)

    def add(self, case: Compared) -> None:
        """Keep a case's score and draw its picture."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.scores.append(case.score)
        if case.mask is not None:
            draw(case).savefig(self.folder / f"{case.score.name}.png", dpi=100)

    def write(self, model: Model) -> None:
        """Write both files, once all cases are in."""
        content = {
            "model": {**model.provenance, "sha256": model.sha256},
            "cases": [asdict(score) for score in self.scores],
            "summary": {name: asdict(mean) for name, mean in summary(self.scores).items()},
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (self.folder / "report.md").write_text(markdown(self.scores, model.sha256), encoding="utf-8")


def summary(scores: list[Score]) -> dict[str, Mean]:
    """Means over the fully annotated cases; refused scans count as Dice 0, distances only where they exist."""
    whole = [score.agreement for score in scores if not score.sparse]
    if not whole:
        return {}
    means = {
        "Dice": mean_dice(whole),
        f"surface Dice at {TOLERANCE_MM:g} mm": mean_with_interval(
            [a.surface_dice or 0.0 if a else 0.0 for a in whole]
        ),
    }
    distances = [a.hausdorff_mm for a in whole if a and a.hausdorff_mm is not None]
    errors = [abs(a.volume_error) for a in whole if a and a.volume_error is not None]
    if distances:
        means[f"Hausdorff {PERCENTILE:g} %, mm"] = mean_with_interval(distances)
    if errors:
        means["absolute volume error"] = mean_with_interval(errors)
    return means


def extremes(scores: list[Score]) -> dict[str, Score]:
    """The best, the median and the worst by Dice of the fully annotated cases that have a mask."""
    dice = {score.name: score.agreement.dice for score in scores if score.agreement and not score.sparse}
    ranked = sorted((score for score in scores if score.name in dice), key=lambda score: -dice[score.name])
    return {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]} if ranked else {}


def markdown(scores: list[Score], sha256: str) -> str:
    """The report that people read."""
    lines = [
        "# Evaluation", "",
        f"Through the whole pipeline, on the scans' own grids. Model SHA-256 `{sha256}`.", "",
        f"| case | Dice | surface Dice ({TOLERANCE_MM:g} mm) | Hausdorff {PERCENTILE:g} %, mm "
        "| volume, mL | expert, mL | volume error | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [_row(score) for score in scores]
    if any(score.sparse for score in scores):
        lines += ["", "\\* compared on the annotated slices only; not part of the means."]
    means = summary(scores)
    if means:
        lines += ["", "| mean | value | 95 % interval | cases |", "|---|---|---|---|"]
        lines += [f"| {n} | {m.value:.3f} | {m.low:.3f} to {m.high:.3f} | {m.count} |" for n, m in means.items()]
        lines += ["", "The interval is a bootstrap over the cases; with few cases it is narrower than the truth."]
    failures = [f"- {score.name}: {score.failure}" for score in scores if score.failure]
    lines += ["", "## Failures", "", *(failures or ["None."])]
    for name, score in extremes(scores).items():
        lines += ["", f"## {name.capitalize()}: {score.name}", "", f"![{score.name}]({score.name}.png)"]
    return "\n".join(lines) + "\n"


def _row(score: Score) -> str:
    name, agreement = score.name + ("\\*" if score.sparse else ""), score.agreement
    if agreement is None:
        return f"| {name} | refused | | | | | | |"

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    cells = [
        name, shown(agreement.dice, ".3f"), shown(agreement.surface_dice, ".3f"), shown(agreement.hausdorff_mm, ".1f"),
        shown(agreement.volume_ml, ".1f"), shown(agreement.reference_ml, ".1f"), shown(agreement.volume_error, "+.0%"),
        shown(score.seconds, ".1f"),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def draw(case: Compared) -> Figure:
    """Axial slices, patient right at the left, with the expert's outline and the network's over the scan."""
    assert case.mask is not None
    # to the axes of the patient, whatever the order the file keeps
    ct, expert, mask = (sitk.DICOMOrient(image, "LPS") for image in (case.ct, case.expert, case.mask))
    outlines = [sitk.GetArrayFromImage(image) != 0 for image in (expert, mask)]
    hu = sitk.GetArrayViewFromImage(ct)
    either = outlines[0] | outlines[1] if not case.score.sparse else outlines[0]
    inside = np.argwhere(either) if either.any() else np.array([[0, 0, 0], np.array(hu.shape) - 1])
    levels = np.unique(inside[:, 0])
    chosen = levels[np.rint(np.linspace(0.9, 0.1, SLICES) * (len(levels) - 1)).astype(int)]
    spacing = np.array(ct.GetSpacing()[::-1])
    around = np.ceil(MARGIN_MM / spacing).astype(int)
    low, high = np.maximum(inside.min(0) - around, 0)[1:], (inside.max(0) + around)[1:]
    part = (slice(low[0], high[0]), slice(low[1], high[1]))

    figure = Figure(figsize=(15, 2.4), layout="constrained")
    agreement = case.score.agreement
    figure.suptitle(
        f"{case.score.name}: Dice {agreement.dice:.3f}; green the expert, orange the network" if agreement else ""
    )
    for axes, level in zip(figure.subplots(1, SLICES), chosen, strict=True):
        axes.imshow(hu[level][part], cmap="gray", vmin=GREY[0], vmax=GREY[1], aspect=spacing[1] / spacing[2])
        for outline, colour in zip(outlines, ("lime", "orange"), strict=True):
            if outline[level][part].any():
                axes.contour(outline[level][part], [0.5], colors=colour, linewidths=1)
        axes.set_axis_off()
    return figure
