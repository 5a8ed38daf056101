"""Every choice of a training run, frozen, saved beside its checkpoints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.quantise import Activations, Weights

LABELS = ("background", "spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
PANCREAS = LABELS.index("pancreas")
UNANNOTATED = 255
"""Value of voxels that nobody annotated: they count in no loss, no Dice and no patch centre."""
SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Settings:
    """One training run.

    Attributes:
        architecture: ``volume`` is the 3D network that the engine runs; ``slices`` the paper's 2.5D U-Net, which looks
            at 15 slices to label one, for comparison in torch.
        spacing: working grid, mm.
        widths: channels at each level of the U-Net, finest first.
        weights, activations: quantisers.
        trits: ternary channels made of each convolution sum by as many pairs of thresholds; finer activations for the
            same weights.
        schedule: ``step`` trains with the hard step and its surrogate gradient from the start; ``continuation`` with
            the ternary tanh whose β rises from ``beta_start`` to ``beta_end``, then the hard step.
        continuation_share: part of the run that the continuation takes; 1 for the continuation alone, as in the paper.
        patch: training patch in voxels, (z, y, x).
        batch: patches per step.
        steps: length of the run.
        rate: peak learning rate of AdamW.
        warmup, decay: parts of the run in which the rate rises at the start and falls to zero at the end.
        frozen_norm: last part of the run in which batch norm uses population statistics, as inference does.
        pancreas_share: part of the patches centred on the pancreas; the rest is centred on any organ.
        phantom_share: part of the patches cut from synthetic abdomens.
        sparse_share: part of the patches of real scans cut from those that were annotated on some slices only.
        narrow_share: where there are such scans, whose pictures hold a narrow window of HU only: part of the other
            patches that are seen through the same window, so that the window tells the network nothing.
        pancreas_weight: weight of the pancreas in cross-entropy and Dice, against 1 for each other label.
        dropout: part of the channels, of tensors coarser than the finest, that each step leaves out.
        adaptation: part of each sum's mean and variance that is taken from the scan itself, in training as at
            inference, see :class:`TernarySegmentLib.training.network.ScanNorm`.
        ema: decay of the averaged weights that are evaluated and exported.
        seed: of everything random.
        start: model file, or folder of a run of the same layers, that the weights start from; empty: random weights.
        stage: which of the model file's networks.
        teacher: run folder of a network whose scores this one learns from too; empty: none.
        distillation: weight of the teacher's loss.
        fold: of the cases that judge and are not trained on, see :mod:`TernarySegmentLib.training.folds`; None trains
            on all.
    """

    architecture: Literal["volume", "slices"] = "volume"
    spacing: float = 2.0
    widths: tuple[int, ...] = (32, 64, 128, 128)
    weights: Weights = "ternary"
    activations: Activations = "ternary"
    trits: int = 1
    schedule: Literal["step", "continuation"] = "step"
    beta_start: float = 1.0
    beta_end: float = 8.0
    continuation_share: float = 0.3
    patch: tuple[int, int, int] = (64, 64, 96)
    batch: int = 2
    steps: int = 8000
    rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: float = 0.03
    decay: float = 0.4
    frozen_norm: float = 0.1
    pancreas_share: float = 0.75
    phantom_share: float = 0.08
    sparse_share: float = 0.4
    narrow_share: float = 0.3
    pancreas_weight: float = 3.0
    dropout: float = 0.0
    adaptation: float = 0.0
    ema: float = 0.998
    seed: int = 0
    start: str = ""
    stage: str = "fine"
    teacher: str = ""
    distillation: float = 1.0
    fold: int | None = 0

    def changed(self, **values: Any) -> Settings:
        """A copy with some values replaced.

        Examples:
            >>> FINE.changed(steps=100).steps
            100
        """
        return replace(self, **values)

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Settings:
        """Read what :meth:`save` wrote."""
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {field.name for field in fields(Settings)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"{path} has settings this version does not know: {', '.join(unknown)}.")
        tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return Settings(**{**values, **tuples})

    @property
    def digest(self) -> str:
        """Short hash by which the model card names these settings."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


COARSE = Settings(
    spacing=4.0, widths=(32, 64, 64), trits=2, patch=(64, 64, 80), steps=1200, rate=1.5e-3, decay=0.6,
    pancreas_share=0.3, seed=1, frozen_norm=0.0,
    stage="coarse",
)  # fmt: skip
FINE = Settings(spacing=1.5, trits=2, steps=4500, rate=2e-3, decay=0.6, pancreas_weight=2.0, adaptation=0.5)
PAPER = Settings(
    architecture="slices", widths=(32, 64, 128, 256), schedule="continuation", continuation_share=1.0, beta_start=3.0,
    spacing=1.5, patch=(32, 96, 128),
)  # fmt: skip
FULL = FINE.changed(weights="full", activations="relu", trits=1)
TUNE = FINE.changed(steps=2800, rate=1e-3, decay=0.7, pancreas_weight=1.0)
PRESETS = {"coarse": COARSE, "fine": FINE, "tune": TUNE, "full": FULL, "paper": PAPER}
