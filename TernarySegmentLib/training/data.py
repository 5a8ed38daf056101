"""Labelled scans on the working grid: preparing them once, keeping them in memory, cutting patches from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.grids import Grid, bounds, grid_over, to_grid, turned_front_to_back
from TernarySegmentLib.training.augment import augmented_patch
from TernarySegmentLib.training.settings import LABELS, PANCREAS, Settings

CT_SUFFIX, LABELS_SUFFIX = "_ct.nii.gz", "_labels.nii.gz"
PHANTOM = "phantom"


@dataclass(frozen=True)
class Case:
    """One scan on the working grid, axes (z, y, x).

    Attributes:
        name: case number, or ``phantom<seed>``.
        hu: int16.
        labels: uint8, indices into :data:`LABELS`.
        pancreas, organs: (n, 3) voxel positions that patches may be centred on.
    """

    name: str
    hu: Tensor
    labels: Tensor
    pancreas: np.ndarray
    organs: np.ndarray

    @property
    def is_phantom(self) -> bool:
        """Whether the scan is synthetic."""
        return self.name.startswith(PHANTOM)


def labels_on_grid(labels: sitk.Image, grid: Grid) -> np.ndarray:
    """A label map on a working grid: each label averaged and interpolated, the strongest wins.

    Returns:
        uint8 array of shape ``grid.size[::-1]``.
    """
    scores = [to_grid(labels == value, grid, outside=float(value == 0)) for value in range(len(LABELS))]
    return np.argmax(scores, axis=0).astype(np.uint8)


def prepare_case(ct: sitk.Image, labels: sitk.Image, spacing: float, path: Path) -> tuple[int, ...]:
    """Resample one scan and its labels exactly as inference does and save them; returns the grid's size (x, y, z)."""
    grid = grid_over(bounds(ct), spacing)
    hu = np.clip(np.rint(to_grid(ct, grid)), -1024, 3000).astype(np.int16)
    np.savez_compressed(path, hu=hu, labels=labels_on_grid(labels, grid))
    return grid.size


def case_names(source: Path) -> list[str]:
    """Names of the cases in a folder of ``<case>_ct.nii.gz`` and ``<case>_labels.nii.gz``."""
    names = sorted(path.name.removesuffix(CT_SUFFIX) for path in source.glob(f"*{CT_SUFFIX}"))
    if not names:
        raise InputError(f"{source} holds no file named <case>{CT_SUFFIX}; point --source at the labelled scans.")
    return names


def read_labelled(source: Path, name: str, mirrored: bool) -> tuple[sitk.Image, sitk.Image]:
    """CT (int16) and label map (uint8) of one case.

    The rebuilt BTCV scans carry an identity direction although their rows run from the back to the front: read as
    they are, every patient is a mirror image. ``mirrored`` mends that.
    """
    ct = sitk.ReadImage(str(source / (name + CT_SUFFIX)), sitk.sitkInt16)
    labels = sitk.ReadImage(str(source / (name + LABELS_SUFFIX)), sitk.sitkUInt8)
    return (turned_front_to_back(ct), turned_front_to_back(labels)) if mirrored else (ct, labels)


def prepare(source: Path, target: Path, spacing: float, phantoms: int, mirrored: bool) -> Iterator[str]:
    """Bring every labelled scan of a folder, and some phantoms, to the working grid; yields a line for each.

    Args:
        source: folder of ``<case>_ct.nii.gz`` and ``<case>_labels.nii.gz`` (label values as in :data:`LABELS`).
        target: folder for ``<case>.npz``; cases already there are left alone.
        spacing: working grid, mm.
        phantoms: how many synthetic abdomens to add.
        mirrored: the source's headers point front to back the wrong way, see :func:`read_labelled`.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in case_names(source):
        path = target / f"{name}.npz"
        if not path.exists():
            yield f"{name}: {prepare_case(*read_labelled(source, name, mirrored), spacing, path)} voxels"
    for seed in range(phantoms):
        path = target / f"{PHANTOM}{seed:03d}.npz"
        if not path.exists():
            from TernarySegmentLib.phantom import make_phantom

            # seed 0 is the demo's abdomen and must not have been trained on
            phantom = make_phantom(seed + 1)
            yield f"{path.stem}: {prepare_case(phantom.ct, phantom.labels, spacing, path)} voxels"


def load(path: Path) -> Case:
    """Read what :func:`prepare` wrote."""
    with np.load(path) as arrays:
        hu, labels = arrays["hu"], arrays["labels"]
    return Case(
        path.stem, torch.from_numpy(hu), torch.from_numpy(labels),
        np.argwhere(labels == PANCREAS), np.argwhere(labels > 0)[::50],
    )  # fmt: skip


def load_cases(folder: Path, names: list[str] | None = None) -> list[Case]:
    """All prepared cases of a folder, or those named."""
    paths = sorted(folder.glob("*.npz")) if names is None else [folder / f"{name}.npz" for name in names]
    missing = [path.name for path in paths if not path.exists()]
    if missing or not paths:
        raise InputError(f"{folder} lacks {', '.join(missing) or 'prepared cases'}; run the prepare command first.")
    return [load(path) for path in paths]


class PatchSampler:
    """Draws augmented training batches; the same seed and step always give the same batch."""

    def __init__(self, cases: list[Case], settings: Settings) -> None:
        self.real = [case for case in cases if not case.is_phantom]
        self.phantoms = [case for case in cases if case.is_phantom]
        self.settings = settings

    def _draw(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        settings = self.settings
        synthetic = self.phantoms and (not self.real or random.random() < settings.phantom_share)
        pool = self.phantoms if synthetic else self.real
        case = pool[random.integers(len(pool))]
        centres = case.pancreas if random.random() < settings.pancreas_share and len(case.pancreas) else case.organs
        jitter = random.uniform(-1, 1, 3) * np.array(settings.patch) * 0.2
        centre = centres[random.integers(len(centres))] + jitter
        return augmented_patch(case.hu, case.labels, centre, settings.patch, settings.spacing, random)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of one step.

        Returns:
            HU levels, float32 (B, 1, *patch), and labels, int64 (B, *patch).
        """
        random = np.random.default_rng((self.settings.seed, step))
        levels, labels = zip(*(self._draw(random) for _ in range(self.settings.batch)), strict=True)
        return torch.stack(levels)[:, None], torch.stack(labels)
