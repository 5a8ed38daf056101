"""Cross-entropy plus soft Dice over all organs, the pancreas weighted, on folded scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from TernarySegmentLib.training.settings import LABELS, PANCREAS, UNANNOTATED


def label_weights(pancreas: float) -> Tensor:
    """One weight per label: the pancreas' own, 1 for the others."""
    weights = torch.ones(len(LABELS))
    weights[PANCREAS] = pancreas
    return weights


def soft_dice(probability: Tensor, target: Tensor) -> Tensor:
    """Dice of every label over the whole batch.

    Args:
        probability: (B, labels, N).
        target: one-hot, (B, labels, N).

    Returns:
        (labels,); a label that is absent and not predicted scores 1.
    """
    overlap = (probability * target).sum((0, 2))
    total = probability.sum((0, 2)) + target.sum((0, 2))
    return (2 * overlap + 1) / (total + 1)


def marginal(log_probability: Tensor, known: Tensor) -> Tensor:
    """Background's probability joined by that of every label the annotators did not draw.

    Where only the pancreas is outlined, "0" means *not pancreas*: liver or background, both are right there (marginal
    loss, Shi et al., Medical Image Analysis 2021, arXiv 2007.03868).

    Args:
        log_probability: (B, labels, N).
        known: bool (B, labels).
    """
    drawn = known.clone()
    drawn[:, 0] = False
    joined = log_probability.masked_fill(drawn[:, :, None], -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([joined, log_probability[:, 1:]], 1)


def segmentation_loss(scores: Tensor, labels: Tensor, weights: Tensor, known: Tensor | None = None) -> Tensor:
    """Weighted cross-entropy plus (1 - weighted mean Dice), from one shared log-softmax.

    Args:
        scores: (B, labels, N).
        labels: int64 (B, N); :data:`UNANNOTATED` only where ``known`` is given.
        weights: (labels,).
        known: bool (B, labels), the labels that were drawn; None when all were, in every voxel.
    """
    log_probability = F.log_softmax(scores.float(), 1)
    probability = log_probability.exp()
    target_labels = labels
    if known is not None:
        log_probability = marginal(log_probability, known)
        annotated = labels != UNANNOTATED
        # what was not drawn, or where nothing was, cannot be wrong
        probability = probability * (known[:, :, None] & annotated[:, None])
        target_labels = labels * annotated  # background, which the Dice leaves out
        # a mean by hand: of a batch without any annotated voxel it is 0, not nan
        weight = weights[target_labels] * annotated
        picked = log_probability.gather(1, target_labels[:, None])[:, 0]
        cross_entropy = -(picked * weight).sum() / weight.sum().clamp(min=1)
    else:
        cross_entropy = F.nll_loss(log_probability, labels, weights)
    target = F.one_hot(target_labels, len(LABELS)).movedim(-1, 1)
    foreground = weights.clone()
    foreground[0] = 0
    dice = soft_dice(probability, target)
    return cross_entropy + 1 - (foreground * dice).sum() / foreground.sum()


def total_loss(
    scores: Tensor, extra: list[Tensor], folded_labels: Tensor, weights: Tensor, known: Tensor | None = None
) -> Tensor:
    """Loss of the head plus half that of each auxiliary head (deep supervision).

    Args:
        scores: (B, labels·8, D, H, W), label-major.
        extra: (B, labels, d, h, w) each, coarser.
        folded_labels: int64 (B, 8, D, H, W).
        weights: (labels,).
        known: bool (B, labels), the labels that were drawn; None when all were.
    """
    batch = scores.shape[0]
    loss = segmentation_loss(scores.reshape(batch, len(LABELS), -1), folded_labels.reshape(batch, -1), weights, known)
    for coarse in extra:
        stride = folded_labels.shape[2] // coarse.shape[2]
        offset = stride // 2
        # the label at each coarse voxel's centre stands for the voxel
        picked = folded_labels[:, 0, offset::stride, offset::stride, offset::stride]
        loss = loss + 0.5 * segmentation_loss(coarse.flatten(2), picked.flatten(1), weights, known)
    return loss
