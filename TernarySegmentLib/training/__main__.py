"""``python -m TernarySegmentLib.training prepare|train|evaluate|export``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from TernarySegmentLib.errors import TernarySegmentError
from TernarySegmentLib.training.settings import PRESETS, SETTINGS_FILE, VALIDATION, Settings


def _prepare(options: argparse.Namespace) -> None:
    from TernarySegmentLib.training.data import prepare

    for line in prepare(options.source, options.target, options.spacing, options.phantoms, options.mirrored):
        print(line, flush=True)


def _settings(options: argparse.Namespace) -> Settings:
    saved = options.run / SETTINGS_FILE
    settings = Settings.load(saved) if saved.exists() else PRESETS[options.preset]
    return settings.changed(**{name: getattr(options, name) for name in ("steps", "seed") if getattr(options, name)})


def _train(options: argparse.Namespace) -> None:
    import torch

    from TernarySegmentLib.training.data import load_cases
    from TernarySegmentLib.training.train import Trainer

    if options.threads:
        torch.set_num_threads(options.threads)
    cases = load_cases(options.data)
    validation = [case for case in cases if case.name in VALIDATION]
    training = [case for case in cases if case.name not in VALIDATION]
    trainer = Trainer(options.run, _settings(options), training, validation)
    stop = time.monotonic() + 60 * options.minutes
    for line in trainer.run(until=lambda: time.monotonic() > stop, compiled=not options.eager, every=options.every):
        print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m TernarySegmentLib.training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    prepare = commands.add_parser("prepare", help="bring labelled scans and phantoms to the working grid, once")
    prepare.add_argument("--source", type=Path, required=True, help="folder of <case>_ct.nii.gz, <case>_labels.nii.gz")
    prepare.add_argument("--target", type=Path, required=True, help="folder to write <case>.npz to")
    prepare.add_argument("--spacing", type=float, default=2.0, help="mm, isotropic (default 2)")
    prepare.add_argument("--phantoms", type=int, default=12, help="synthetic abdomens to add (default 12)")
    prepare.add_argument("--mirrored", action="store_true", help="headers point front to back the wrong way (BTCV)")
    prepare.set_defaults(run_command=_prepare)

    train = commands.add_parser("train", help="train, or go on training, in a run folder")
    train.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    train.add_argument("--run", type=Path, required=True, help="folder of this run; a checkpoint there is resumed")
    train.add_argument("--preset", choices=sorted(PRESETS), default="fine")
    train.add_argument("--steps", type=int, help="length of the schedule")
    train.add_argument("--seed", type=int)
    train.add_argument("--threads", type=int, default=0)
    train.add_argument("--minutes", type=float, default=1e9, help="stop after this long, to be resumed")
    train.add_argument("--every", type=int, default=500, help="steps between evaluations (default 500)")
    train.add_argument("--eager", action="store_true", help="no torch.compile")
    train.set_defaults(run_command=_train)
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
