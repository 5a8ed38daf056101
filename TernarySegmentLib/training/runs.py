"""Networks from settings, and from the folders of finished runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from TernarySegmentLib.engine.graph import unet
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.batchnorm import FINAL_BATCHES, reestimate_batch_norms
from TernarySegmentLib.training.data import Case, PatchSampler
from TernarySegmentLib.training.network import SegmentationNetwork, TernaryNetwork
from TernarySegmentLib.training.settings import LABELS, SETTINGS_FILE, Settings
from TernarySegmentLib.training.slices import SliceNetwork

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def build(settings: Settings) -> SegmentationNetwork:
    """Build an untrained network.

    Raises:
        InputError: the settings give the paper's network what only the 3D one knows, several trits a sum what knows
            one, or a dropout that is none.
    """
    if not 0 <= settings.dropout < 1:
        raise InputError(f"A dropout of {settings.dropout:g} leaves nothing to train; give 0 or more, and less than 1.")
    if settings.dropout and settings.architecture == "slices":
        raise InputError("Dropout goes with the 3D network only; set it to 0.")
    if settings.trits > 1 and (settings.architecture == "slices" or settings.schedule == "continuation"):
        raise InputError("Several trits a sum go with the 3D network and the hard step only; set trits to 1.")
    if settings.architecture == "slices":
        return SliceNetwork(settings.widths, len(LABELS), settings.weights, settings.activations)
    graph = unet(settings.widths, len(LABELS))
    auxiliary = tuple(f"dec{level}" for level in range(1, len(settings.widths) - 1))
    return TernaryNetwork(
        graph, settings.weights, settings.activations, auxiliary, len(LABELS), settings.trits, settings.dropout,
        settings.adaptation,
    )  # fmt: skip


def read_checkpoint(run: Path, device: torch.device) -> dict[str, Any]:
    """What :func:`write_checkpoint` wrote, on a device."""
    state: dict[str, Any] = torch.load(run / CHECKPOINT, map_location=device, weights_only=True)
    return state


def write_checkpoint(state: dict[str, Any], run: Path) -> None:
    """Write a run's checkpoint whole or not at all."""
    temporary = run / (CHECKPOINT + ".tmp")
    torch.save(state, temporary)
    os.replace(temporary, run / CHECKPOINT)


def settings_of(run: Path) -> Settings:
    """The settings of a run that was saved.

    Raises:
        InputError: the folder holds none.
    """
    if not (run / CHECKPOINT).exists() or not (run / SETTINGS_FILE).exists():
        raise InputError(f"{run} holds no saved training run; give the folder that train wrote.")
    return Settings.load(run / SETTINGS_FILE)


def read_log(run: Path) -> list[dict[str, float]]:
    """What training logged, by rising step; steps repeated after an interruption count once, as they went last.

    Raises:
        InputError: the folder has no log.
    """
    path = run / LOG
    if not path.exists():
        raise InputError(f"{run} holds no {LOG}; give the folder that train wrote.")
    entries: dict[tuple[float, bool], dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        entries[entry["step"], "loss" in entry] = entry
    return [entries[key] for key in sorted(entries)]


def series(log: list[dict[str, float]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one quantity in a log, such as ``loss`` or ``dice/mean``."""
    entries = [entry for entry in log if name in entry]
    return [int(entry["step"]) for entry in entries], [entry[name] for entry in entries]


class Averaged(NamedTuple):
    """The averaged network of a run, ready to evaluate or export, its settings, and how many steps it was trained."""

    network: SegmentationNetwork
    settings: Settings
    step: int


def load_averaged(run: Path, cases: list[Case], device: torch.device) -> Averaged:
    """What a run's checkpoint holds.

    Args:
        run: the run's folder.
        cases: those it was trained on; batch-norm statistics are taken from them.
        device: where to.

    Raises:
        InputError: the folder holds no run that was saved.
    """
    settings = settings_of(run)
    network = build(settings).to(device)
    state = read_checkpoint(run, device)
    network.load_state_dict(state["average"])
    reestimate_batch_norms(network, PatchSampler(cases, settings), FINAL_BATCHES)
    return Averaged(network.requires_grad_(False), settings, state["step"])


def average_runs(runs: list[Path], target: Path) -> None:
    """Make a run folder of the mean weights of several runs of one network.

    Runs that started from common weights and saw other patches err in other places; their mean errs less than any of
    them, at the price of one (Wortsman et al., ICML 2022).

    Args:
        runs: folders of runs of the same architecture, widths, grid and quantisers; where they kept back different
            folds, their mean keeps back none.
        target: folder to write to; it can be evaluated, exported and started from, not trained on.

    Raises:
        InputError: the runs differ, or the target holds a run already.
    """
    if (target / CHECKPOINT).exists():
        raise InputError(f"{target} holds a run already; name another folder.")
    settings = [settings_of(run) for run in runs]
    for run, other in zip(runs, settings, strict=True):
        for name in ("architecture", "spacing", "widths", "weights", "activations", "trits", "adaptation"):
            ours, theirs = getattr(settings[0], name), getattr(other, name)
            if ours != theirs:
                raise InputError(
                    f"{run} has {name} {theirs}, {runs[0]} has {ours}; only equal networks can be averaged."
                )
    states = [read_checkpoint(run, torch.device("cpu")) for run in runs]
    averages = [state["average"] for state in states]
    mean = {name: torch.stack([each[name].double() for each in averages]).mean(0) for name in averages[0]}
    target.mkdir(parents=True, exist_ok=True)
    folds = {each.fold for each in settings}  # of runs without different folds the mean has seen all
    settings[0].changed(fold=folds.pop() if len(folds) == 1 else None).save(target / SETTINGS_FILE)
    average = {name: value.to(averages[0][name].dtype) for name, value in mean.items()}
    write_checkpoint({"average": average, "step": max(state["step"] for state in states)}, target)
