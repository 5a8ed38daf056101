"""Which networks of a model file vote: those named, or those that were never trained on a scan."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.folds import fold_of

KEPT_BACK = "folds kept back"
"""Provenance that names, for each network that votes, the fold whose scans it was not trained on."""


def voter_names() -> Iterator[str]:
    """What a model file calls the networks that vote: fine, fine2, fine3 and so on."""
    return itertools.chain(["fine"], (f"fine{number}" for number in itertools.count(2)))


def known_voters(model: Model, path: Path, names: Sequence[str]) -> Sequence[str]:
    """The names of networks that vote, all of which a model file has.

    Raises:
        InputError: it lacks one.
    """
    absent = sorted(set(names) - set(model.fine_names))
    if absent:
        raise InputError(f"{path} has no {', '.join(absent)}; it has {', '.join(model.fine_names)}.")
    return names


def kept_back(model: Model) -> dict[str, int]:
    """The fold that each network was not trained on, by the network's name; one that saw all scans is left out.

    Examples:
        >>> model = Model({}, (), 0, {KEPT_BACK: "fine 0, fine2 3"})
        >>> kept_back(model)
        {'fine': 0, 'fine2': 3}
    """
    pairs = (entry.split() for entry in model.provenance.get(KEPT_BACK, "").split(", ") if entry)
    return {name: int(fold) for name, fold in pairs}


def saying_kept_back(provenance: Mapping[str, str], folds: Mapping[str, int | None]) -> dict[str, str]:
    """Provenance that names the folds, where there are any; the inverse of :func:`kept_back`."""
    said = ", ".join(f"{name} {fold}" for name, fold in folds.items() if fold is not None)
    return {**provenance, **({KEPT_BACK: said} if said else {})}


def with_voters(model: Model, path: Path, names: Sequence[str]) -> Model:
    """The same model with some of its networks, renamed in the order given.

    Args:
        model: what ``path`` holds.
        path: named in what is said.
        names: of networks that vote.

    Raises:
        InputError: the model lacks one.
    """
    folds, dropped = kept_back(model), {*model.fine_names, KEPT_BACK}
    stages = {"coarse": model.stages["coarse"]}
    provenance = {name: said for name, said in model.provenance.items() if name not in dropped}
    provenance["voters of"] = f"{path.name}, {model.sha256}"
    own = dict(zip(voter_names(), known_voters(model, path, names), strict=False))
    for name, source in own.items():
        stages[name], provenance[name] = model.stages[source], model.provenance.get(source, source)
    provenance = saying_kept_back(provenance, {name: folds.get(source) for name, source in own.items()})
    return replace(model, stages=stages, provenance=provenance)


def unseen_models(path: Path, cases: Iterable[str], folder: Path) -> list[Path]:
    """Write, for each case, a model file of those networks that were never trained on it.

    Args:
        path: the model file; which fold each network was trained without is known from its provenance.
        cases: to be judged.
        folder: to write to.

    Returns:
        a path for each case, the same one for cases of one fold.

    Raises:
        InputError: no network of the file is known to have been trained without a case's fold.
        ModelError: the model file cannot be used.
    """
    model = modelfile.load(path)
    targets: dict[int, Path] = {}
    folds = [fold_of(case) for case in cases]
    for fold in sorted(set(folds)):
        names = [name for name, kept in kept_back(model).items() if kept == fold]
        if not names:
            raise InputError(
                f"No network of {path} is known to have been trained without fold {fold}; judge the scans of another "
                "fold, or a model whose networks kept it back."
            )
        targets[fold] = folder / f"without-fold{fold}.npz"
        modelfile.save(with_voters(model, path, names), targets[fold])
    return [targets[fold] for fold in folds]
