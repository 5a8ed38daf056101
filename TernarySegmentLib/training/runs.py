"""Networks from settings, and from the folders of finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch

from TernarySegmentLib.engine.graph import unet
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.data import Case, PatchSampler
from TernarySegmentLib.training.network import SegmentationNetwork, TernaryNetwork
from TernarySegmentLib.training.norms import reestimate_norms
from TernarySegmentLib.training.settings import LABELS, SETTINGS_FILE, Settings
from TernarySegmentLib.training.slices import SliceNetwork

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


def build(settings: Settings) -> SegmentationNetwork:
    """An untrained network of these settings."""
    if settings.architecture == "slices":
        return SliceNetwork(settings.widths, len(LABELS), settings.weights, settings.activations)
    graph = unet(settings.widths, len(LABELS))
    auxiliary = tuple(f"dec{level}" for level in range(1, len(settings.widths) - 1))
    return TernaryNetwork(graph, settings.weights, settings.activations, auxiliary, len(LABELS))


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
    state = torch.load(run / CHECKPOINT, map_location=device, weights_only=True)
    network.load_state_dict(state["average"])
    reestimate_norms(network, PatchSampler(cases, settings))
    return Averaged(network.requires_grad_(False), settings, state["step"])
