"""Cross-validation: every whole scan is judged once, by a network that never saw it, through the whole pipeline.

Three scans are too few to choose anything on: a recipe that was tuned to a mean Dice of 0.71 on three reached 0.61 on
five others. Scans that were annotated in part and phantoms train in every fold and judge in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.training.data import Case, divided
from TernarySegmentLib.training.export import export_run
from TernarySegmentLib.training.folds import fold_of
from TernarySegmentLib.training.settings import LABELS, PANCREAS, Settings
from TernarySegmentLib.training.train import Trainer

FOLD_MODEL = "model.npz"
"""A fold's integer network, in its run folder."""


def judging_folds(cases: list[Case]) -> list[int]:
    """List the folds that hold a whole scan; scans annotated in part and phantoms judge nothing."""
    return sorted({fold_of(case.name) for case in cases if not (case.sparse or case.is_phantom)})


def fold_folder(runs: Path, fold: int) -> Path:
    """The run folder of one fold."""
    return runs / f"fold{fold}"


def train_fold(
    runs: Path, settings: Settings, cases: list[Case], fold: int, until: Callable[[], bool], every: int, compiled: bool
) -> Iterator[str]:
    """Train, or go on training, without the scans of one fold; yields lines worth printing.

    Args:
        runs: folder of the folds' run folders.
        settings: of every fold, but for the fold itself.
        cases: all prepared cases.
        fold: whose scans are kept back.
        until: asked after every step; True saves and stops, to be resumed later.
        every: steps between evaluations around the true pancreas.
        compiled: use torch.compile.
    """
    trainer = Trainer(fold_folder(runs, fold), settings.changed(fold=fold), *divided(cases, fold))
    for line in trainer.run(until, compiled, every):
        yield f"fold {fold}, {line}"


def fold_model(runs: Path, cases: list[Case], fold: int, coarse: modelfile.Model) -> Path:
    """Write one fold's integer network beside its run, with the coarse network of another model file."""
    stage, made = export_run(fold_folder(runs, fold), cases)
    stages = {"coarse": coarse.stages["coarse"], "fine": stage}
    path = fold_folder(runs, fold) / FOLD_MODEL
    modelfile.save(modelfile.Model(stages, LABELS, PANCREAS, {"fine": made}), path)
    return path
