"""Random but plausible variants of a scan: position, shape, contrast, noise and slice thickness."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from TernarySegmentLib.engine.levels import LIMIT, WINDOW
from TernarySegmentLib.training.settings import LABELS, PANCREAS, UNANNOTATED

STOMACH, AORTA = LABELS.index("stomach"), LABELS.index("aorta")
REFILLED = 0.35
"""Part of the patches whose stomach is filled with something else."""
CURVE_HU = (-150.0, 300.0)
CURVE_KNOTS = 5
"""Of a random curve over these HU, its ends not counted."""

ROTATION = 0.3
"""Standard deviation is half of it; rad about each axis."""
SCALE = 0.2
ELASTIC_MM = 7.0
"""Largest standard deviation of the control points' displacement."""
CONTROL_SPACING_MM = 32.0
SWOLLEN = 0.5
"""Part of the patches in which organs are fuller or emptier than they are."""
SWELLING_MM = 5.0
"""Standard deviation of how far an organ's surface moves."""
COARSER = 4
"""Voxels of a patch along a side of those on which swelling is computed."""
PANCREAS_SWELLING_MM = 2.0
CONTRAST_AGENT = (-0.6, 1.0)
"""What is added to enhancement, as a part of it."""
NARROW_HU = (30.0, 190.0)
"""The window of pictures that were published without their HU."""
NARROW_DARK_HU = -90.0
"""What stands for everything below it: fat, water and gas, which cannot be told apart there."""
NARROW_RAMP_HU = 7.0
"""Just above the window's lower end the values blend from that to their own."""


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix for (z, y, x) axes from three angles in rad."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def sample_points(
    centre: np.ndarray,
    patch: tuple[int, int, int],
    spacing: float,
    random: np.random.Generator,
) -> Tensor:
    """Where in the scan each voxel of an affinely and elastically deformed patch lies.

    Returns:
        float32 (3, *patch), voxel coordinates (z, y, x).
    """
    scale = np.exp(random.normal(0, SCALE / 2)) * np.exp(random.normal(0, SCALE / 4, 3))
    matrix = torch.from_numpy(_rotation(random.normal(0, ROTATION / 2, 3)) @ np.diag(scale)).float()
    z, y, x = (matrix[:, axis, None] * (torch.arange(n) - (n - 1) / 2) for axis, n in enumerate(patch))
    z = z + torch.from_numpy(centre).float()[:, None]
    points = (z[:, :, None] + y[:, None, :])[..., None] + x[:, None, None, :]
    if random.random() < 0.85:
        controls = [max(3, round(n * spacing / CONTROL_SPACING_MM) + 1) for n in patch]
        shifts = random.normal(0, random.uniform(1, ELASTIC_MM) / spacing, (1, 3, *controls)).astype(np.float32)
        points += F.interpolate(torch.from_numpy(shifts), patch, mode="trilinear", align_corners=True)[0]
    return points


def swollen(points: Tensor, labels: Tensor, spacing: float, random: np.random.Generator) -> Tensor:
    """Organs fuller or emptier than they are, what lies around them pushed away or drawn near.

    The surface of each moves along the gradient of its blurred mask (after Kovacs et al., Anatomy-informed data
    augmentation, MICCAI 2023, arXiv 2309.03652). The patch's own turn, some degrees, is neglected.

    Args:
        points: where each voxel of the patch lies in the scan, (3, D, H, W), voxel coordinates (z, y, x).
        labels: of the whole scan.
        spacing: mm.
        random: every draw comes from here.
    """
    seen = resample(labels, points[:, 2::COARSER, 2::COARSER, 2::COARSER], "nearest")
    moved = torch.zeros(3, *seen.shape)
    for label in range(1, len(LABELS)):
        inside = (seen == label).float()
        deviation = PANCREAS_SWELLING_MM if label == PANCREAS else SWELLING_MM
        distance = float(random.normal(0, deviation)) / spacing
        if label == AORTA or not inside.any():
            continue
        blurred = inside[None, None]
        for _ in range(3):
            blurred = F.avg_pool3d(blurred, 3, 1, 1)
        slope = torch.stack(torch.gradient(blurred[0, 0]))
        steepest = slope.square().sum(0).max().sqrt()
        moved += slope * (distance / steepest.clamp(min=1e-3))
    return points + F.interpolate(moved[None], points.shape[1:], mode="trilinear", align_corners=False)[0]


def resample(volume: Tensor, points: Tensor, mode: str) -> Tensor:
    """Read a volume (D, H, W) at voxel coordinates (3, *shape), cutting out only the part that is needed."""
    size = torch.tensor(volume.shape)
    low = torch.minimum(points.amin((1, 2, 3)).floor().long().clamp(min=0), size - 2)
    high = torch.maximum(torch.minimum(points.amax((1, 2, 3)).ceil().long() + 1, size), low + 2)
    part = volume[low[0] : high[0], low[1] : high[1], low[2] : high[2]].float()
    step = 2 / (torch.tensor(part.shape) - 1)
    unit = points * step.view(3, 1, 1, 1) - (low * step + 1).view(3, 1, 1, 1)
    sampled = F.grid_sample(
        part[None, None], unit.flip(0).permute(1, 2, 3, 0)[None], mode=mode, padding_mode="border", align_corners=True
    )  # fmt: skip
    return sampled[0, 0]


def _thick_slices(hu: Tensor, random: np.random.Generator) -> Tensor:
    """As if every few slices had been averaged by the scanner and interpolated again."""
    factor = int(random.integers(2, 5))
    thick = F.avg_pool1d(hu.flatten(1).T[:, None], factor, ceil_mode=True)
    return F.interpolate(thick, hu.shape[0], mode="linear")[:, 0].T.reshape(hu.shape)


def _noise(shape: torch.Size, random: np.random.Generator) -> Tensor:
    """Unit noise of a scanner: white, grained by the reconstruction filter, or drawn out into streaks."""
    noise = torch.from_numpy(random.standard_normal(shape, dtype=np.float32))[None, None]
    kind = random.random()
    if kind < 0.4:
        return noise[0, 0]
    if kind < 0.75:
        kernel = (1, 3, 3)
    else:  # streaks run between dense bones or arms: across the body
        kernel = (1, 1, int(random.choice([5, 9, 13]))) if random.random() < 0.7 else (1, 5, 1)
    grained = F.avg_pool3d(noise, kernel, 1, tuple(n // 2 for n in kernel), count_include_pad=False)[0, 0]
    return grained / grained.std()


def _curve(hu: Tensor, random: np.random.Generator) -> Tensor:
    """A smooth random curve over the HU of soft tissue: other phases, tubes and reconstructions (after Ouyang et al.,
    arXiv 2111.12525, but by some 15 HU, so that neighbouring tissues stay apart)."""
    knots = torch.from_numpy(np.r_[0, random.normal(0, 15, CURVE_KNOTS), 0].astype(np.float32))
    low, high = CURVE_HU
    place = ((hu - low) / (high - low)).clamp(0, 1) * (len(knots) - 1)
    left = place.floor().clamp(max=len(knots) - 2).long()
    part = place - left
    part = part * part * (3 - 2 * part)
    return hu + knots[left] * (1 - part) + knots[left + 1] * part


def _shrunk(inside: Tensor, steps: int) -> Tensor:
    """A mask (D, H, W) less ``steps`` voxels at its border."""
    beyond = -inside[None, None]
    for axis in range(3):  # a box is the product of three lines, and a line is much cheaper
        line = [1 + 2 * steps * (axis == each) for each in range(3)]
        beyond = F.max_pool3d(beyond, line, 1, [length // 2 for length in line])
    return -beyond[0, 0]


def refill_stomach(hu: Tensor, labels: Tensor, random: np.random.Generator) -> Tensor:
    """The stomach's lumen filled with something else: oral contrast, water, food or gas, perhaps to a level.

    Args:
        hu, labels: a patch, (D, H, W); without the stomach's label it stays as it is.
        random: every draw comes from here.
    """
    stomach = (labels == STOMACH).float()
    lumen = _shrunk(stomach, int(random.integers(1, 4)))
    if not lumen.any():
        return hu
    kind = random.random()
    if kind < 0.45:
        value = float(random.uniform(80, 400))  # oral contrast
    elif kind < 0.75:
        value = float(random.uniform(-5, 35))
    else:
        value = float(random.uniform(20, 70))
    filled = torch.full_like(hu, value)
    if kind >= 0.75:  # food
        filled = filled + _drift(hu.shape, random) * 20 + _noise(hu.shape, random) * 25
    if random.random() < 0.35:  # gas collects at the front
        rows = torch.nonzero(lumen.amax((0, 2)))
        level = int(random.integers(int(rows[0]), int(rows[-1]) + 1))
        filled[:, :level] = -300
    soft = F.avg_pool3d(lumen[None, None], 3, 1, 1)[0, 0]
    return hu * (1 - soft) + filled * soft


def _drift(shape: torch.Size, random: np.random.Generator) -> Tensor:
    """Smooth unit field: what beam hardening and scatter add over a few centimetres."""
    knots = torch.from_numpy(random.standard_normal((1, 1, 3, 3, 3), dtype=np.float32))
    return F.interpolate(knots, shape, mode="trilinear", align_corners=True)[0, 0]


def vary_intensity(hu: Tensor, random: np.random.Generator) -> Tensor:
    """Contrast, brightness, contrast agent, slice thickness, blur, drift and noise."""
    hu = hu.clamp(-300, 600)
    hu = (hu - 50) * float(np.exp(random.normal(0, 0.12))) + 50 + float(random.normal(0, 14))
    if random.random() < 0.6:  # more or less contrast agent: what is enhanced moves, fat and water stay
        enhanced = (hu - 40).clamp(min=0)
        hu = hu + enhanced * float(random.uniform(*CONTRAST_AGENT))
    if random.random() < 0.3:
        hu = _curve(hu, random)
    if random.random() < 0.4:
        hu = _thick_slices(hu, random)
    if random.random() < 0.25:
        hu = F.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0] * 0.5 + hu * 0.5
    if random.random() < 0.3:
        hu = hu + _drift(hu.shape, random) * float(random.uniform(2, 10))
    if random.random() < 0.8:
        hu = hu + _noise(hu.shape, random) * float(random.uniform(2, 28))
    return hu


def narrow_window(hu: Tensor) -> Tensor:
    """What pictures of the window :data:`NARROW_HU` would have kept of a scan."""
    low, high = NARROW_HU
    above = hu.clamp(low, high)
    return NARROW_DARK_HU + ((above - low) / NARROW_RAMP_HU).clamp(0, 1) * (above - NARROW_DARK_HU)


def to_levels(hu: Tensor) -> Tensor:
    """The torch counterpart of :func:`TernarySegmentLib.engine.levels.hu_to_levels`, as float32."""
    low, high = WINDOW
    return ((hu.clamp(low, high) - (low + high) / 2) * (2 * LIMIT / (high - low))).round()


def augmented_patch(
    hu: Tensor,
    labels: Tensor,
    centre: np.ndarray,
    patch: tuple[int, int, int],
    spacing: float,
    random: np.random.Generator,
    sparse: bool = False,
    narrow: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cut and vary one patch.

    Args:
        hu, labels: the scan, (z, y, x).
        centre: voxel position of the patch's centre, (z, y, x).
        patch: size in voxels.
        spacing: mm.
        random: every draw comes from here.
        sparse: the scan is a part of one, annotated on some slices; what lies beyond it is :data:`UNANNOTATED` instead
            of like its border.
        narrow: let the patch be seen through the window of such scans.

    Returns:
        HU levels, float32, and labels, int64, both of shape ``patch``.
    """
    points = sample_points(centre, patch, spacing, random)
    if random.random() < SWOLLEN:
        points = swollen(points, labels, spacing, random)
    sampled = resample(hu, points, "bilinear")
    cut = resample(labels, points, "nearest").long()
    if random.random() < REFILLED:
        sampled = refill_stomach(sampled, cut, random)
    varied = vary_intensity(narrow_window(sampled) if narrow else sampled, random)
    if sparse:
        last = torch.tensor(labels.shape).view(3, 1, 1, 1) - 0.5
        beyond = ((points < -0.5) | (points > last)).any(0)
        cut[beyond] = UNANNOTATED
    return to_levels(varied), cut
