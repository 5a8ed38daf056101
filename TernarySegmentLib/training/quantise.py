"""Quantisers: full-precision values that training updates, few-valued ones that the forward pass sees.

Sources: ternary weights after Li et al. (Ternary Weight Networks, arXiv 1605.04711); ternary tanh and its continuation
after Heinrich et al. (TernaryNet, IJCARS 2018, arXiv 1801.09449); binary weights after Rastegari et al. (XNOR-Net).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Weights = Literal["full", "ternary", "binary"]
Activations = Literal["relu", "ternary", "binary"]

THRESHOLD = 0.5
"""Where the ternary activation steps from 0 to ±1."""
WINDOW = 1.5
"""The hard step's surrogate gradient is 1 up to this |x| and 0 beyond: ±1 around each of its two edges."""
LEVEL = 0.5
"""Distance of the thresholds where a sum makes several trits."""


def trit_edges(trits: int) -> list[tuple[float, float]]:
    """Below and above which value each trit of a channel is -1 and +1.

    A single trit is the paper's symmetric step. Several are a thermometer code of a rectifier that saturates: their sum
    counts in steps of :data:`LEVEL` from ``-trits`` (x ≤ 0) to ``+trits`` (x ≥ 2·trits·LEVEL).

    Examples:
        >>> trit_edges(1)
        [(-0.5, 0.5)]
        >>> trit_edges(2)
        [(0.25, 1.25), (0.75, 1.75)]
    """
    if trits == 1:
        return [(-THRESHOLD, THRESHOLD)]
    return [((trit + 0.5) * LEVEL, (trit + trits + 0.5) * LEVEL) for trit in range(trits)]


def ternary_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes in {-1, 0, +1} and the scale α of each output channel.

    Δ = 0.7·mean|w| per output channel; α = mean of |w| above Δ.

    Args:
        weight: shape (out, in, *kernel).

    Returns:
        codes of the weight's shape, and α of shape (out,).

    Examples:
        >>> codes, alpha = ternary_codes(torch.tensor([[0.9, -0.1, -0.8, 0.2]]))
        >>> codes.tolist(), round(alpha.item(), 2)
        ([[1.0, -0.0, -1.0, 0.0]], 0.85)
    """
    flat = weight.detach().flatten(1)
    delta = 0.7 * flat.abs().mean(1, keepdim=True)
    above = flat.abs() > delta
    alpha = (flat.abs() * above).sum(1) / above.sum(1).clamp(min=1)
    return (flat.sign() * above).view_as(weight), alpha


def binary_codes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes in {-1, +1} and the scale α = mean|w| of each output channel, shapes as in :func:`ternary_codes`."""
    flat = weight.detach().flatten(1)
    return torch.where(flat >= 0, 1.0, -1.0).view_as(weight), flat.abs().mean(1)


def quantise_weight(weight: Tensor, kind: Weights) -> Tensor:
    """α times the codes, with the gradient passed straight through to the full-precision weight."""
    if kind == "full":
        return weight
    codes, alpha = ternary_codes(weight) if kind == "ternary" else binary_codes(weight)
    quantised = codes * alpha.view(-1, *[1] * (weight.dim() - 1))
    return weight + (quantised - weight).detach()


def integer_codes(weight: Tensor, per_channel: bool, limit: int = 127) -> tuple[Tensor, Tensor]:
    """Integers in [-limit, limit] and the step they are multiples of.

    Args:
        weight: shape (out, ...).
        per_channel: one step per output channel (first layer) or one for all (head, whose scores are compared).

    Returns:
        integer-valued tensor of the weight's shape, and the step, broadcastable against it.
    """
    flat = weight.detach().flatten(1).abs()
    largest = flat.amax(1).view(-1, *[1] * (weight.dim() - 1)) if per_channel else flat.amax()
    step = largest.clamp(min=1e-8) / limit
    return (weight.detach() / step).round(), step


def quantise_integer(weight: Tensor, per_channel: bool) -> Tensor:
    """A weight rounded to 8-bit integers times a step, gradient straight through."""
    codes, step = integer_codes(weight, per_channel)
    return weight + (codes * step - weight).detach()


def ternary_tanh(x: Tensor, beta: float | Tensor) -> Tensor:
    """t_β(x) = ½·tanh(β(2x - 1)) + ½·tanh(β(2x + 1)): approaches the ternary step as β grows.

    Examples:
        >>> x = torch.tensor([-1.0, -0.25, 0.0, 0.25, 1.0])
        >>> [round(v, 2) for v in ternary_tanh(x, 1.0).tolist()]  # soft at the start
        [-0.88, -0.22, 0.0, 0.22, 0.88]
        >>> [round(v, 2) + 0 for v in ternary_tanh(x, 20.0).tolist()]  # the step at the end
        [-1.0, 0.0, 0.0, 0.0, 1.0]
    """
    return 0.5 * torch.tanh(beta * (2 * x - 1)) + 0.5 * torch.tanh(beta * (2 * x + 1))


class _Step(torch.autograd.Function):
    """The hard step forward, a window as its gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(x.abs() < WINDOW)
        if threshold == 0:  # binary: no zero state
            return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        return (x > threshold).to(x.dtype) - (x < -threshold).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None


class _Trits(torch.autograd.Function):
    """The mean of a channel's trits forward, the ramp that they approximate as its gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, trits: int) -> Tensor:
        edges = trit_edges(trits)
        ctx.save_for_backward((x > edges[0][0] - LEVEL) & (x < edges[-1][1] + LEVEL))
        total = torch.zeros_like(x)
        for below, above in edges:
            total += (x > above).to(x.dtype) - (x < below).to(x.dtype)
        return total / trits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None


def activate(x: Tensor, kind: Activations, beta: float | Tensor | None = None, trits: int = 1) -> Tensor:
    """The activation after batch normalisation.

    Args:
        x: any shape.
        kind: ``relu``, ``ternary`` (sign(x)·[|x| > 0.5]) or ``binary`` (sign(x)).
        beta: steepness of the continuation; None for the hard step with its surrogate gradient.
        trits: ternary values made of each one, see :func:`trit_edges`; several have no continuation.

    Returns:
        The activation; of several trits their mean, since the next layer multiplies all of them by one weight.

    Examples:
        >>> activate(torch.tensor([-0.6, 0.4, 0.6]), "ternary").tolist()
        [-1.0, 0.0, 1.0]
        >>> activate(torch.tensor([-0.6, 0.4, 0.6, 1.0, 1.8]), "ternary", trits=2).tolist()
        [-1.0, -0.5, -0.5, 0.0, 1.0]
    """
    if kind == "relu":
        return torch.relu(x)
    if trits > 1:
        return _Trits.apply(x, trits)
    if beta is not None:
        return ternary_tanh(x, beta) if kind == "ternary" else torch.tanh(2 * beta * x)
    return _Step.apply(x, THRESHOLD if kind == "ternary" else 0.0)
