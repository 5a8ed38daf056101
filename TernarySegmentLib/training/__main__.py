"""Make weights from labelled scans and judge them: ``python -m TernarySegmentLib.training COMMAND``."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from TernarySegmentLib.errors import InputError, TernarySegmentError
from TernarySegmentLib.training.folds import FOLDS
from TernarySegmentLib.training.settings import LABELS, PANCREAS, PRESETS, SETTINGS_FILE, Settings
from TernarySegmentLib.training.sources import FORMATS, OWN_PATTERNS, Scan, pairs

if TYPE_CHECKING:
    from TernarySegmentLib.pipeline import Options
    from TernarySegmentLib.training.evaluate import Compared

DEFAULT_SOURCE = Path("data-local/btcv-native")
"""Where a checkout keeps the scans that the shipped weights were chosen on; their headers are mirrored."""
DEFAULT_PREPARED = Path("data-local/prepared-4mm")
"""Where it keeps them on the coarse grid, see the prepare command."""


def _scans(options: argparse.Namespace, source: Path, mirrored: bool = False) -> list[Scan]:
    """The labelled scans that the options of :func:`_source_options` describe."""
    if options.format != "pairs":
        return FORMATS[options.format](source)
    image, labels = options.pattern
    return pairs(
        source, (image, labels), dict(options.values) if options.values else None, mirrored or options.mirrored
    )


def _prepare(options: argparse.Namespace) -> None:
    from TernarySegmentLib.training.data import prepare

    for line in prepare(
        _scans(options, options.source), options.target, options.spacing, options.phantoms, options.sized
    ):
        print(line, flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    saved = options.run / SETTINGS_FILE
    settings = Settings.load(saved) if saved.exists() else PRESETS[options.preset]
    given = [
        name for name in ("steps", "rate", "dropout", "seed", "fold", "start", "stage", "teacher") if name in options
    ]
    return settings.changed(**{name: getattr(options, name) for name in given})


def _train(options: argparse.Namespace) -> None:
    import torch

    from TernarySegmentLib.training.data import divided, load_cases
    from TernarySegmentLib.training.train import Trainer

    if options.threads:
        torch.set_num_threads(options.threads)
    settings = _settings(options)
    trainer = Trainer(options.run, settings, *divided(load_cases(options.data), settings.fold))
    stop = time.monotonic() + 60 * options.minutes
    for line in trainer.run(until=lambda: time.monotonic() > stop, compiled=not options.eager, every=options.every):
        print(line, flush=True)


def _crossvalidate(options: argparse.Namespace) -> None:
    import torch

    from TernarySegmentLib.pipeline import Options
    from TernarySegmentLib.training.crossvalidate import (
        coarse_networks,
        fold_folder,
        fold_model,
        judging_folds,
        train_fold,
    )
    from TernarySegmentLib.training.data import load_cases
    from TernarySegmentLib.training.evaluate import evaluate, summary_lines
    from TernarySegmentLib.training.experiments.float_reference import FloatReference, evaluate_float_reference
    from TernarySegmentLib.training.folds import fold_of

    if options.threads:
        torch.set_num_threads(options.threads)
    cases, settings = load_cases(options.data), _settings(options)
    if settings.weights == "full" and options.coarse.is_dir():
        raise InputError("For networks in full precision give --coarse a model file, whose network localises for all.")
    coarse = coarse_networks(options.coarse, options.coarse_data)
    stop = time.monotonic() + 60 * options.minutes
    folds = options.folds or judging_folds(cases)
    for fold in folds:
        for line in train_fold(
            options.run, settings, cases, fold, lambda: time.monotonic() > stop, options.every, not options.eager
        ):
            print(line, flush=True)
        if time.monotonic() > stop:
            print("The time is up; give the command again to go on.")
            return
    scans = _scans(options, options.source)

    def compared() -> Iterator[Compared]:
        for fold in folds:
            judging = [scan for scan in scans if fold_of(scan.name) == fold]
            if settings.weights == "full":
                reference = FloatReference.load(fold_folder(options.run, fold), options.data)
                yield from evaluate_float_reference(judging, reference, Options(model=options.coarse))
            else:
                model = fold_model(options.run, cases, fold, coarse(fold))
                yield from evaluate(judging, Options(model=model))

    for line in summary_lines(compared()):
        print(line, flush=True)


def _average(options: argparse.Namespace) -> None:
    from TernarySegmentLib.training.runs import average_runs

    average_runs(options.of, options.run)
    print(f"{options.run}: mean weights of {', '.join(map(str, options.of))}")


def _export(options: argparse.Namespace) -> None:
    from TernarySegmentLib.engine import modelfile
    from TernarySegmentLib.training.crossvalidate import exported
    from TernarySegmentLib.training.data import load_cases
    from TernarySegmentLib.training.export import export_run
    from TernarySegmentLib.training.runs import settings_of
    from TernarySegmentLib.training.voters import kept_back, saying_kept_back, voter_names

    grids = {run: settings_of(run).spacing for run in options.fine}
    if len(set(grids.values())) > 1:
        named = ", ".join(f"{run} {spacing:g} mm" for run, spacing in grids.items())
        raise InputError(
            f"These runs were trained on several grids ({named}), whose scans lie in several folders; export those of "
            "each grid apart, and let them vote with --vote."
        )
    stages, provenance = {}, {"name": "pancreas", "created": time.strftime("%Y-%m-%d")}
    folds: dict[str, int | None] = {}

    def add(name: str, stage: modelfile.Stage, said: str) -> None:
        stages[name], provenance[name] = stage, said
        print(f"{name}: {said}", flush=True)

    voters: list[tuple[modelfile.Stage, str, int | None]] = []
    for path in options.vote:
        older = modelfile.load(path)
        said = f"of {path.name}, SHA-256 {older.sha256}"
        voters += [(older.stages[name], f"{name} {said}", kept_back(older).get(name)) for name in older.fine_names]
    if options.coarse.is_file():
        model = modelfile.load(options.coarse)
        add("coarse", model.stages["coarse"], f"coarse of {options.coarse.name}, SHA-256 {model.sha256}")
    elif options.coarse_data:
        add("coarse", *export_run(options.coarse, load_cases(options.coarse_data)))
    else:
        raise InputError("Say with --coarse-data which folder the coarse run was trained on.")
    cases = load_cases(options.fine_data)
    names = voter_names()
    for run in options.fine:
        name = next(names)
        add(name, *exported(run, cases))
        folds[name] = settings_of(run).fold
    for stage, said, fold in voters:
        name = next(names)
        add(name, stage, said)
        folds[name] = fold
    provenance["training data"] = options.origin
    provenance = saying_kept_back(provenance, folds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    digest = modelfile.save(modelfile.Model(stages, LABELS, PANCREAS, provenance), options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, SHA-256 {digest}")


def _curves(options: argparse.Namespace) -> None:
    from TernarySegmentLib.training.experiments.curves import draw

    figure = draw(options.run)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=120)
    print(f"{options.output} written")


def _evaluate(options: argparse.Namespace) -> None:
    from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, load_model
    from TernarySegmentLib.training.evaluate import evaluate, evaluate_sparse, summary_lines
    from TernarySegmentLib.training.experiments.float_reference import FloatReference, evaluate_float_reference

    settings = Options(options.backend, model=options.model or DEFAULT_MODEL)
    report = None
    if options.report:  # pictures need matplotlib, which nothing else here does
        from TernarySegmentLib.training.report import Report

        report = Report(options.report)
    if options.sparse:
        ct, mask = options.sparse
        for line in summary_lines([evaluate_sparse(ct, mask, settings)], report):
            print(line, flush=True)
    if options.source or not options.sparse:
        with _judged(options, settings.model) as judged:
            for line in summary_lines((case for scan, own in judged for case in evaluate([scan], own)), report):
                print(line, flush=True)
        if options.float_reference:
            reference = FloatReference.load(*options.float_reference)
            for line in summary_lines(evaluate_float_reference([scan for scan, _ in judged], reference, settings)):
                print(line, flush=True)
    if report:
        report.write(load_model(settings.model))
        print(f"{options.report / 'report.md'} and {len(report.scores)} pictures written")


def _voters(options: argparse.Namespace) -> None:
    from TernarySegmentLib.engine import modelfile
    from TernarySegmentLib.training.voters import with_voters

    chosen = with_voters(modelfile.load(options.model), options.model, options.names)
    digest = modelfile.save(chosen, options.output)
    print(f"{options.output}: SHA-256 {digest}")


def _adapt(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from TernarySegmentLib.engine import modelfile
    from TernarySegmentLib.training.data import load_cases
    from TernarySegmentLib.training.usual import following
    from TernarySegmentLib.training.voters import kept_back

    model, cases = modelfile.load(options.model), load_cases(options.data)
    stages, provenance = dict(model.stages), dict(model.provenance)
    for name, fold in kept_back(model).items():
        if not stages[name].adaptation:
            settings = PRESETS[options.preset].changed(fold=fold)
            stages[name] = following(stages[name], cases, settings)
            provenance[name] += f"; its thresholds follow a scan by {settings.adaptation:g}"
            print(f"{name}: thresholds follow a scan by {settings.adaptation:g}", flush=True)
    digest = modelfile.save(replace(model, stages=stages, provenance=provenance), options.output)
    print(f"{options.output}: SHA-256 {digest}")


@contextmanager
def _judged(options: argparse.Namespace, model: Path) -> Iterator[list[tuple[Scan, Options]]]:
    """Scans to measure on, all or one fold's, and with what: all of a model's networks, or those that never saw it."""
    from TernarySegmentLib.pipeline import Options
    from TernarySegmentLib.training.folds import split
    from TernarySegmentLib.training.voters import unseen_models

    scans = _scans(options, options.source or DEFAULT_SOURCE, mirrored=not options.source)
    with TemporaryDirectory() as folder:
        if options.fold is not None or not options.unseen:
            training, validation = split([scan.name for scan in scans], options.fold or 0)
            chosen = validation if options.split == "validation" else training
            scans = [scan for scan in scans if scan.name in chosen]
        models = [model] * len(scans)
        if options.unseen:
            models = unseen_models(model, [scan.name for scan in scans], Path(folder))
        yield [(scan, Options(options.backend, model=path)) for scan, path in zip(scans, models, strict=True)]


def _calibrate(options: argparse.Namespace) -> None:
    from dataclasses import replace

    from TernarySegmentLib.engine import modelfile
    from TernarySegmentLib.pipeline import DEFAULT_MODEL
    from TernarySegmentLib.training.calibrate import fitted, joined, voxels_of

    path = options.model or DEFAULT_MODEL
    with _judged(options, path) as judged:
        found_in = [voxels_of(scan, settings) for scan, settings in judged]
    parts = [part for part in found_in if part is not None]
    if not parts:
        raise InputError("No pancreas was found in any of these scans; calibrate on others, or train for longer.")
    found = fitted(joined(parts))
    model = replace(modelfile.load(path), temperature=round(found.temperature, 3), bias=round(found.bias, 3))
    digest = modelfile.save(model, path)
    print(f"{path}: temperature {model.temperature}, bias {model.bias} logits, SHA-256 {digest}")


def _review(options: argparse.Namespace) -> None:
    from TernarySegmentLib.pipeline import DEFAULT_MODEL, load_model
    from TernarySegmentLib.training.calibrate import Calibration, voxels_of
    from TernarySegmentLib.training.experiments.review import Reviewed, review
    from TernarySegmentLib.training.experiments.review_page import page, write_page

    path = options.model or DEFAULT_MODEL
    model, reviewed, voxels = load_model(path), [], {}
    with _judged(options, path) as judged:
        for scan, settings in judged:
            for each in review([scan], settings):
                if isinstance(each, Reviewed):
                    reviewed.append(each)
                else:
                    print(each, flush=True)
            part = voxels_of(scan, settings)
            if part is not None:
                voxels[scan.name] = part
    command = f"python -m TernarySegmentLib.training {shlex.join(sys.argv[1:])}"
    calibration = Calibration(model.temperature, model.bias)
    print(page(reviewed, voxels, calibration, command))
    if options.report:
        write_page(options.report, reviewed, voxels, calibration, command)


def _ablation(options: argparse.Namespace) -> None:
    import torch

    from TernarySegmentLib.training.data import divided, load_cases
    from TernarySegmentLib.training.experiments.ablation import BUDGET, ablation

    if options.threads:
        torch.set_num_threads(options.threads)
    cases = [case for case in load_cases(options.data) if not case.is_phantom]
    training, validation = divided(cases, BUDGET.fold)
    seeds = range(options.seeds)
    for line in ablation(training, validation, options.runs, options.report, options.steps, seeds):
        print(line, flush=True)


def _value(text: str) -> tuple[int, int]:
    """``5=liver`` as a label map's value and our label."""
    value, _, label = text.partition("=")
    if not value.isdecimal() or label not in LABELS:
        raise argparse.ArgumentTypeError(f"{text} is not N=LABEL with one of: {', '.join(LABELS)}")
    return int(value), LABELS.index(label)


def _fold(text: str) -> int | None:
    """A fold's number, or none."""
    if text == "none":
        return None
    if text not in map(str, range(FOLDS)):
        raise argparse.ArgumentTypeError(f"{text} is neither none nor one of 0 to {FOLDS - 1}")
    return int(text)


def _source_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--format", choices=["pairs", *FORMATS], default="pairs",
        help="layout of the folder: as the data set of that name is downloaded, or any pairs of files (default)",
    )  # fmt: skip
    command.add_argument(
        "--pattern", nargs=2, metavar=("IMAGE", "LABELS"), default=OWN_PATTERNS,
        help="of pairs: paths with {case} in them (default {case}_ct.nii.gz {case}_labels.nii.gz)",
    )  # fmt: skip
    command.add_argument(
        "--values", nargs="+", type=_value, metavar="N=LABEL",
        help="of pairs: what the label maps' values stand for, e.g. 1=pancreas; labels not named count as not drawn "
        f"(default: {', '.join(f'{n}={label}' for n, label in enumerate(LABELS))})",
    )  # fmt: skip
    command.add_argument(
        "--mirrored", action="store_true",
        help="of pairs: headers point front to back the wrong way (BTCV rebuilt from pictures)",
    )  # fmt: skip


def _schedule_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=sorted(PRESETS), default="fine")
    # what is left out keeps the value of the run or of the preset
    command.add_argument("--steps", type=int, default=argparse.SUPPRESS, help="length of the schedule")
    command.add_argument("--rate", type=float, default=argparse.SUPPRESS, help="peak learning rate")
    command.add_argument(
        "--dropout", type=float, default=argparse.SUPPRESS,
        help="part of the channels of coarser tensors that each step leaves out",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=argparse.SUPPRESS)
    command.add_argument(
        "--start", default=argparse.SUPPRESS, help="model file or run folder whose weights to start from (fine-tuning)"
    )
    command.add_argument("--stage", default=argparse.SUPPRESS, help="which of its networks (default: the preset's)")
    command.add_argument(
        "--teacher", metavar="RUN", default=argparse.SUPPRESS,
        help="folder of a finished run, full precision and of any size, whose scores to learn from too",
    )  # fmt: skip
    command.add_argument("--threads", type=int, default=0)
    command.add_argument("--minutes", type=float, default=1e9, help="stop after this long, to be resumed")
    command.add_argument("--every", type=int, default=500, help="steps between evaluations (default 500)")
    command.add_argument("--eager", action="store_true", help="no torch.compile")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m TernarySegmentLib.training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    prepare = commands.add_parser("prepare", help="bring labelled scans and phantoms to the working grid, once")
    prepare.add_argument("--source", type=Path, required=True, help="folder of labelled scans")
    _source_options(prepare)
    prepare.add_argument("--target", type=Path, required=True, help="folder to write <case>.npz to")
    prepare.add_argument("--spacing", type=float, default=2.0, help="mm, isotropic (default 2)")
    prepare.add_argument("--phantoms", type=int, default=12, help="synthetic abdomens to add (default 12)")
    prepare.add_argument(
        "--sized", action="store_true", help="on a finer grid where the patient is small, as the fine networks see them"
    )
    prepare.set_defaults(run_command=_prepare)

    train = commands.add_parser("train", help="train, or go on training, in a run folder")
    train.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    train.add_argument("--run", type=Path, required=True, help="folder of this run; a checkpoint there is resumed")
    train.add_argument(
        "--fold", type=_fold, default=argparse.SUPPRESS, help="kept back as validation set: 0 to 4, or none"
    )
    train.set_defaults(run_command=_train)

    crossvalidate = commands.add_parser(
        "crossvalidate", help="train one network for each fold and judge every scan by one that never saw it; resumable"
    )
    crossvalidate.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    crossvalidate.add_argument("--source", type=Path, required=True, help="folder of the scans that judge")
    _source_options(crossvalidate)
    crossvalidate.add_argument("--run", type=Path, required=True, help="folder of the folds' run folders")
    crossvalidate.add_argument(
        "--coarse", type=Path, required=True,
        help="model file whose coarse network localises, or folder with a coarse run for each fold (fold0, fold1, ...)",
    )  # fmt: skip
    crossvalidate.add_argument("--coarse-data", type=Path, help="folder that the coarse runs were trained on")
    crossvalidate.add_argument(
        "--folds", type=int, nargs="+", choices=range(FOLDS), help="default: all that hold a whole scan"
    )
    crossvalidate.set_defaults(run_command=_crossvalidate)
    for command in (train, crossvalidate):
        _schedule_options(command)

    average = commands.add_parser("average", help="make one network of several runs that started alike: their mean")
    average.add_argument("of", type=Path, nargs="+", metavar="RUN", help="folders that train wrote")
    average.add_argument("--run", type=Path, required=True, help="folder to write, to be exported or started from")
    average.set_defaults(run_command=_average)

    export = commands.add_parser("export", help="write the model file and prove it equal to the trained networks")
    export.add_argument("--coarse", type=Path, required=True, help="run folder, or a model file that has the network")
    export.add_argument("--coarse-data", type=Path, help="folder that the coarse run was trained on")
    export.add_argument(
        "--fine", type=Path, required=True, nargs="+", metavar="RUN", help="run folders; several networks vote"
    )
    export.add_argument("--fine-data", type=Path, required=True, help="folder that they were trained on")
    export.add_argument(
        "--vote", type=Path, nargs="+", default=[], metavar="MODEL", help="model files whose fine networks vote too"
    )
    export.add_argument("--origin", default="", help="a sentence on the training data, kept in the file")
    export.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    export.set_defaults(run_command=_export)

    voters = commands.add_parser("voters", help="write a model file with some of another one's fine networks")
    voters.add_argument("model", type=Path, help="the other one")
    voters.add_argument("names", nargs="+", metavar="NAME", help="its networks, such as fine fine3")
    voters.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    voters.set_defaults(run_command=_voters)

    adapt = commands.add_parser("adapt", help="let the thresholds of networks that were exported fixed follow a scan")
    adapt.add_argument("model", type=Path, help="a model file whose networks were each trained without a fold")
    adapt.add_argument("--data", type=Path, required=True, help="folder that they were trained on")
    adapt.add_argument("--preset", choices=sorted(PRESETS), default="fine", help="that they were trained with")
    adapt.add_argument("-o", "--output", type=Path, required=True, help="the .npz file to write")
    adapt.set_defaults(run_command=_adapt)

    curves = commands.add_parser("curves", help="draw the learning curves of runs")
    curves.add_argument("run", type=Path, nargs="+", help="folders that train wrote")
    curves.add_argument("-o", "--output", type=Path, required=True, help="picture to write, .png or .svg")
    curves.set_defaults(run_command=_curves)

    ablation = commands.add_parser("ablation", help="compare quantisers under one small budget; resumable")
    ablation.add_argument(
        "--data", type=Path, default=DEFAULT_PREPARED, help=f"on a 4 mm grid (default {DEFAULT_PREPARED})"
    )
    ablation.add_argument(
        "--runs", type=Path, default=Path("runs/ablation"), help="folder of the runs (default runs/ablation)"
    )
    ablation.add_argument("--report", type=Path, required=True, help="the Markdown file to write, its figure beside it")
    ablation.add_argument("--steps", type=int, default=500, help="length of each run (default 500)")
    ablation.add_argument("--seeds", type=int, default=2, help="runs of each variant (default 2)")
    ablation.add_argument("--threads", type=int, default=0)
    ablation.set_defaults(run_command=_ablation)

    evaluate = commands.add_parser("evaluate", help="accuracy of a model file through the whole pipeline")
    evaluate.add_argument(
        "--source", type=Path,
        help=f"folder of labelled scans, native grid (default {DEFAULT_SOURCE}, mirrored)",
    )  # fmt: skip
    _source_options(evaluate)
    evaluate.add_argument(
        "--fold", type=int, choices=range(FOLDS), help="that is the validation set (default 0; all with --unseen)"
    )
    evaluate.add_argument("--split", choices=["validation", "training"], default="validation")
    evaluate.add_argument(
        "--unseen", action="store_true", help="judge each scan by those of the networks that never saw it"
    )
    evaluate.add_argument("--sparse", type=Path, nargs=2, metavar=("CT", "MASK"), help="a scan outlined on some slices")
    evaluate.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write report.json, report.md and pictures there"
    )
    evaluate.add_argument(
        "--float-reference",
        type=Path,
        nargs=2,
        metavar=("RUN", "DATA"),
        help="judge a run's network in full precision beside it",
    )
    evaluate.add_argument("--model", type=Path, help="default: the model shipped")
    evaluate.add_argument("--backend", choices=["auto", "numba", "numpy"], default="auto")
    evaluate.set_defaults(run_command=_evaluate)

    calibrate = commands.add_parser("calibrate", help="fit what the confidence is computed with; rewrites the file")
    review = commands.add_parser("review", help="what suspicious regions, seeds and confidence are worth")
    for command in (calibrate, review):
        command.add_argument(
            "--source", type=Path, help=f"folder of labelled scans, native grid (default {DEFAULT_SOURCE}, mirrored)"
        )
        _source_options(command)
        command.add_argument(
            "--fold", type=int, choices=range(FOLDS), help="to measure on (default 0; all with --unseen)"
        )
        command.add_argument(
            "--unseen", action="store_true", help="measure on each scan with the networks that never saw it"
        )
        command.add_argument("--model", type=Path, help="default: the model shipped")
        command.add_argument("--backend", choices=["auto", "numba", "numpy"], default="auto")
    review.add_argument("--report", type=Path, metavar="MARKDOWN", help="write a page there, its figure beside it")
    calibrate.set_defaults(run_command=_calibrate, split="validation")
    review.set_defaults(run_command=_review, split="validation")
    return parser


def main() -> int:
    """Run one command; errors become one sentence and exit code 1."""
    options = _parser().parse_args()
    try:
        options.run_command(options)
    except TernarySegmentError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
