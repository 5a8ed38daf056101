"""What each quantisation costs and what the continuation brings: all variants under one small budget, one report."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from TernarySegmentLib.engine.graph import unet
from TernarySegmentLib.training.data import Case
from TernarySegmentLib.training.experiments.cost import Cost, cost
from TernarySegmentLib.training.runs import read_log, series
from TernarySegmentLib.training.settings import LABELS, Settings
from TernarySegmentLib.training.train import Trainer

BUDGET = Settings(
    spacing=4.0, widths=(16, 32, 32), patch=(32, 32, 32), steps=500, pancreas_share=0.75, phantom_share=0.0
)
"""What the variants share; about 0.1 s a step on an idle core with AVX2, so that ten runs take 10 to 20 minutes."""
CURVE_POINTS = 4
"""Evaluations of a run."""
SCAN = (80, 80, 96)
"""Voxels (z, y, x) of the scan that products and activations are counted for: 32 × 32 × 38 cm at 4 mm."""
RESULT = "result.json"


@dataclass(frozen=True)
class Variant:
    """One row of the table: a name for people, one for folders, and how the settings differ."""

    title: str
    name: str
    settings: Settings


FULL = Variant("full precision, ReLU", "full", BUDGET.changed(weights="full", activations="relu"))
WEIGHTS = Variant("ternary weights, ReLU", "weights", BUDGET.changed(activations="relu"))
STEP = Variant("ternary weights and activations, no continuation", "step", BUDGET)
CONTINUATION = Variant(
    "ternary weights and activations, continuation", "continuation",
    BUDGET.changed(schedule="continuation", continuation_share=0.5),
)  # fmt: skip
BINARY = Variant(
    "binary weights and activations, continuation", "binary",
    CONTINUATION.settings.changed(weights="binary", activations="binary"),
)  # fmt: skip
VARIANTS = (FULL, WEIGHTS, STEP, CONTINUATION, BINARY)


@dataclass(frozen=True)
class Outcome:
    """A variant after its runs.

    Attributes:
        variant: what was trained.
        curves: for each seed, validation Dice by step.
        minutes: of all its runs together.
    """

    variant: Variant
    curves: tuple[dict[int, float], ...]
    minutes: float

    @property
    def finals(self) -> list[float]:
        """Dice of each seed at the end."""
        return [curve[max(curve)] for curve in self.curves]

    @property
    def dice(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.finals)


def train_variant(
    variant: Variant, seed: int, steps: int, cases: list[Case], validation: list[Case], runs: Path
) -> Iterator[str]:
    """Train one run to its end, going on where it stood; a finished run is not touched. Yields lines to print."""
    settings = variant.settings.changed(seed=seed, steps=steps)
    folder = run_folder(variant, seed, steps, runs)
    if (folder / RESULT).exists():
        return
    trainer = Trainer(folder, settings, cases, validation)
    for line in trainer.run(compiled=False, every=max(1, steps // CURVE_POINTS)):
        yield f"{folder.name}: {line}"
    log = read_log(folder)
    curve = dict(zip(*series(log, "dice/mean"), strict=True))
    _, seconds = series(log, "seconds_per_step")
    minutes = steps * statistics.fmean(seconds or [0.0]) / 60
    (folder / RESULT).write_text(json.dumps({"curve": curve, "minutes": minutes}) + "\n", encoding="utf-8")


def run_folder(variant: Variant, seed: int, steps: int, runs: Path) -> Path:
    """Where a run lives; the settings' digest in its name keeps results of other budgets apart."""
    digest = variant.settings.changed(seed=seed, steps=steps).digest
    return runs / f"{variant.name}-seed{seed}-{digest}"


def collect(variant: Variant, seeds: range, steps: int, runs: Path) -> Outcome:
    """The finished runs of a variant."""
    results = [
        json.loads((run_folder(variant, seed, steps, runs) / RESULT).read_text(encoding="utf-8")) for seed in seeds
    ]
    curves = tuple({int(step): dice for step, dice in one["curve"].items()} for one in results)
    return Outcome(variant, curves, sum(one["minutes"] for one in results))


def ablation(
    cases: list[Case], validation: list[Case], runs: Path, report: Path, steps: int, seeds: range
) -> Iterator[str]:
    """Train every variant with every seed, then write the report and, beside it, its figure.

    Args:
        cases, validation: prepared on the grid of :data:`BUDGET`.
        runs: folder of the runs; finished ones there are used again.
        report: the Markdown file.
        steps: length of each run.
        seeds: of each variant.
    """
    for seed in seeds:  # all variants once, then all again: a stopped ablation has a whole round
        for variant in VARIANTS:
            yield from train_variant(variant, seed, steps, cases, validation, runs)
    outcomes = [collect(variant, seeds, steps, runs) for variant in VARIANTS]
    report.parent.mkdir(parents=True, exist_ok=True)
    picture = report.with_suffix(".png")
    draw(outcomes).savefig(picture, dpi=100)
    names = [case.name for case in cases], [case.name for case in validation]
    report.write_text(markdown(outcomes, steps, names, picture.name), encoding="utf-8")
    yield f"{report} and {picture} written"


def cost_of(variant: Variant) -> Cost:
    """What the variant needs for one scan."""
    settings = variant.settings
    return cost(unet(settings.widths, len(LABELS)), settings.weights, settings.activations, SCAN)


def markdown(outcomes: list[Outcome], steps: int, names: tuple[list[str], list[str]], picture: str) -> str:
    """The report; every sentence in it follows from the runs."""
    seeds, settings = len(outcomes[0].curves), outcomes[0].variant.settings
    training, validation = names
    size = " × ".join(str(n) for n in SCAN)
    patch = " × ".join(str(n) for n in settings.patch)
    lines = [
        "# Ablation of the quantisation", "",
        f"{len(outcomes)} variants of one 3D U-Net (channels {settings.widths}, {settings.spacing:g} mm grid), "
        f"{_seeds(seeds)} each, {steps} steps each with {settings.batch} patches of {patch} voxels; rate, loss, "
        f"augmentation and order of the patches are the same. Trained on {', '.join(training)}; Dice of the pancreas "
        f"on {', '.join(validation)}, on the working grid around the true pancreas, at the last step. "
        f"All runs together took {sum(outcome.minutes for outcome in outcomes):.0f} minutes by the "
        "clock; on a core that has nothing else to do they take less.", "",
        "**The budget is small on purpose: the table compares variants early in training. It is no statement on the "
        "accuracy of the shipped weights, and few seeds and scans tell only large differences.**", "",
        "| variant | Dice, mean | Dice by seed | model, kB | activations, kB | products in float | of 8-bit integers "
        "| of bits |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for outcome in outcomes:
        needs = cost_of(outcome.variant)
        counts = [_millions(n) for n in (needs.float_products, needs.integer_products, needs.bit_products)]
        finals = " ".join(f"{dice:.3f}" for dice in outcome.finals)
        lines.append(
            f"| {outcome.variant.title} | {outcome.dice:.3f} | {finals} | {needs.model_bytes / 1e3:.0f} "
            f"| {needs.activation_bytes / 1e3:.0f} | {' | '.join(counts)} |"
        )
    lines += [
        "", f"Model, activations and products (millions) are counted for a scan of {size} voxels: weights as bits with "
        "thresholds; activations that must be kept at once between layers; a product of bits is an exclusive-or and "
        "a population count for 32 channels at a time.", "",
        f"![Learning curves and final Dice]({picture})", "",
        "## What it says", "", *[f"- {sentence}" for sentence in findings(outcomes)],
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _millions(count: int) -> str:
    return f"{count / 1e6:.0f}" if count else "0"


def findings(outcomes: list[Outcome]) -> list[str]:
    """Comparisons of pairs, each held against how far equal runs with different seeds lie apart."""
    by_name = {outcome.variant.name: outcome for outcome in outcomes}
    pairs = [
        ("weights", "full", "Ternary weights against full precision"),
        ("continuation", "step", "Continuation against the hard step from the start"),
        ("continuation", "weights", "Ternary activations (with continuation) against ReLU, both with ternary weights"),
        ("binary", "continuation", "Binary against ternary, both with continuation"),
    ]
    return [comparison(by_name[one], by_name[other], title) for one, other, title in pairs]


def comparison(one: Outcome, other: Outcome, title: str) -> str:
    """A sentence that claims a difference only where it exceeds the spread between seeds."""
    difference = one.dice - other.dice
    if min(len(one.finals), len(other.finals)) < 2:
        return f"{title}: {difference:+.3f} Dice with one seed each; how far equal runs lie apart is not known."
    spread = max(max(outcome.finals) - min(outcome.finals) for outcome in (one, other))
    verdict = (
        "more than seeds of one variant differ" if abs(difference) > spread
        else "no more than seeds of one variant differ, so nothing is shown"
    )  # fmt: skip
    return f"{title}: {difference:+.3f} Dice; seeds differ by up to {spread:.3f}: {verdict}."


def draw(outcomes: list[Outcome]) -> Figure:
    """Learning curves (mean of the seeds as line, range as band) and final Dice of every seed."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    FigureCanvasAgg(figure)
    curves, bars = figure.subplots(1, 2)
    for index, outcome in enumerate(outcomes):
        steps = sorted(outcome.curves[0])
        values = [[curve[step] for curve in outcome.curves] for step in steps]
        (line,) = curves.plot(steps, [statistics.fmean(v) for v in values], marker="o", label=outcome.variant.title)
        curves.fill_between(
            steps, [min(v) for v in values], [max(v) for v in values], color=line.get_color(), alpha=0.15
        )
        bars.barh(index, outcome.dice, color=line.get_color(), alpha=0.6)
        bars.plot(outcome.finals, [index] * len(outcome.finals), "k|", markersize=14)
    curves.set(xlabel="step", ylabel="validation Dice of the pancreas", ylim=(0, None))
    curves.legend(fontsize="small")
    bars.set(
        yticks=range(len(outcomes)),
        yticklabels=[o.variant.name for o in outcomes],
        xlabel="final Dice; a tick each seed",
    )
    bars.invert_yaxis()
    return figure
