"""Learning from another network's scores: a full-precision teacher of any size tells more than a label does.

After Hinton et al. (Distilling the Knowledge in a Neural Network, arXiv 1503.02531).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.training.data import Case
from TernarySegmentLib.training.network import SegmentationNetwork
from TernarySegmentLib.training.runs import load_averaged
from TernarySegmentLib.training.settings import Settings

TEMPERATURE = 2.0
"""Divides the scores of both, so that the second most likely label counts too."""


def load_teacher(settings: Settings, cases: list[Case], device: torch.device) -> SegmentationNetwork:
    """The averaged network of the run that the settings name, ready to be asked.

    Raises:
        InputError: there is no such run, or it works on other volumes than its pupil.
    """
    teacher, taught, _ = load_averaged(Path(settings.teacher), cases, device)
    if (taught.architecture, taught.spacing) != (settings.architecture, settings.spacing):
        raise InputError(
            f"The teacher {settings.teacher} works on {taught.architecture} at {taught.spacing:g} mm, its pupil on "
            f"{settings.architecture} at {settings.spacing:g} mm; both must be the same."
        )
    return teacher


def distillation_loss(scores: Tensor, wanted: Tensor, labels: int) -> Tensor:
    """Kullback-Leibler divergence of the pupil's label probabilities from the teacher's, mean over voxels.

    Args:
        scores, wanted: of pupil and teacher, label-major, (B, labels·n, ...).
        labels: number of labels.
    """
    pupil, teacher = (
        F.log_softmax(values.float().reshape(values.shape[0], labels, -1) / TEMPERATURE, 1)
        for values in (scores, wanted)
    )
    divergence = F.kl_div(pupil, teacher, reduction="none", log_target=True).sum(1).mean()
    return TEMPERATURE**2 * divergence
