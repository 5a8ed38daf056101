"""Cross-validation: every whole scan is judged once, by a network that never saw it, through the whole pipeline.

Three scans are too few to choose anything on: a recipe that was tuned to a mean Dice of 0.71 on three reached 0.61 on
five others. Scans that were annotated in part and phantoms train in every fold and judge in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.pipeline import load_model
from TernarySegmentLib.training.data import Case, divided, load_cases
from TernarySegmentLib.training.export import export_run
from TernarySegmentLib.training.folds import fold_of
from TernarySegmentLib.training.runs import CHECKPOINT
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
        settings: of every fold, but for the fold itself and the seed, to which its number is added: networks that
            are to vote should differ. Where ``start`` is a folder of this kind, each fold starts from its own.
        cases: all prepared cases.
        fold: whose scans are kept back.
        until: asked after every step; True saves and stops, to be resumed later.
        every: steps between evaluations around the true pancreas.
        compiled: use torch.compile.
    """
    own = settings.changed(fold=fold, seed=settings.seed + fold)
    if settings.start and fold_folder(Path(settings.start), fold).is_dir():
        own = own.changed(start=str(fold_folder(Path(settings.start), fold)))
    trainer = Trainer(fold_folder(runs, fold), own, *divided(cases, fold))
    for line in trainer.run(until, compiled, every):
        yield f"fold {fold}, {line}"


def coarse_networks(coarse: Path, data: Path | None) -> Callable[[int], modelfile.Stage]:
    """Give the network that localises for each fold; what is missing is refused now, before hours are spent.

    Args:
        coarse: model file, whose network serves all folds, or a folder with a run for each, see :func:`fold_folder`, of
            which each fold takes the one that never saw it.
        data: folder that such runs were trained on.

    Raises:
        InputError: it is a folder, and ``data`` is not given or holds no cases.
        ModelError: the model file cannot be used.
    """
    if not coarse.is_dir():
        stage = load_model(coarse).stages["coarse"]
        return lambda _fold: stage
    if data is None:
        raise InputError("Say with --coarse-data which folder the coarse runs were trained on.")
    cases = load_cases(data)
    return lambda fold: export_run(fold_folder(coarse, fold), cases)[0]


def exported(run: Path, cases: list[Case]) -> tuple[modelfile.Stage, str]:
    """A run's integer network and how it was made, exported anew where that is older than its checkpoint."""
    path = run / FOLD_MODEL
    if path.exists() and path.stat().st_mtime > (run / CHECKPOINT).stat().st_mtime:
        model = modelfile.load(path)
        return model.stages["fine"], model.provenance["fine"]
    return export_run(run, cases)


def fold_model(runs: Path, cases: list[Case], fold: int, coarse: modelfile.Stage) -> Path:
    """Write one fold's integer network beside its run, with a coarse network to localise for it."""
    run = fold_folder(runs, fold)
    stage, made = exported(run, cases)
    modelfile.save(
        modelfile.Model({"coarse": coarse, "fine": stage}, LABELS, PANCREAS, {"fine": made}), run / FOLD_MODEL
    )
    return run / FOLD_MODEL
