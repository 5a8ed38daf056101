"""Labelled scans on the working grid: preparing them once, keeping them in memory, cutting patches from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.body import body_size_in
from TernarySegmentLib.imaging.files.atomic import atomic_path
from TernarySegmentLib.imaging.grids import Grid, bounds, grid_over, to_grid
from TernarySegmentLib.imaging.measure import mask_box
from TernarySegmentLib.pipeline.decide import grid_scale
from TernarySegmentLib.training.augment import augmented_patch
from TernarySegmentLib.training.folds import fold_of
from TernarySegmentLib.training.settings import LABELS, PANCREAS, UNANNOTATED, Settings
from TernarySegmentLib.training.sources import EVERY_LABEL, Scan

PHANTOM = "phantom"
ALL_KNOWN = (True,) * len(LABELS)
SOFT_HU = -20
"""Above it lies what is neither fat nor gas."""


@dataclass(frozen=True)
class Case:
    """One scan on the working grid, axes (z, y, x).

    Attributes:
        name: case number, or ``phantom<seed>``.
        hu: int16.
        labels: uint8, indices into :data:`LABELS`, or :data:`UNANNOTATED`.
        pancreas, organs: (n, 3) voxel positions that patches may be centred on.
        known: for each label whether the annotators drew it; a voxel of label 0 may belong to any that they did not.
        spacing: of the grid, mm; None in files from before it was kept.
        sparse: a part of a scan, annotated on some slices only; the rest of it is :data:`UNANNOTATED`.
    """

    name: str
    hu: Tensor
    labels: Tensor
    pancreas: np.ndarray
    organs: np.ndarray
    known: tuple[bool, ...] = ALL_KNOWN
    spacing: float | None = None
    sparse: bool = False

    @property
    def is_phantom(self) -> bool:
        """True for a synthetic scan."""
        return self.name.startswith(PHANTOM)


def labels_on_grid(labels: sitk.Image, grid: Grid) -> np.ndarray:
    """A label map on a working grid: each label averaged and interpolated, the strongest wins.

    Returns:
        uint8 array of shape ``grid.size[::-1]``.
    """
    values = np.arange(len(LABELS), dtype=np.uint8)
    sparse = bool((sitk.GetArrayViewFromImage(labels) == UNANNOTATED).any())
    if sparse:
        values = np.append(values, np.uint8(UNANNOTATED))
    beyond = UNANNOTATED if sparse else 0
    scores = [to_grid(labels == int(value), grid, outside=float(value == beyond)) for value in values]
    return values[np.argmax(scores, axis=0)]


def scale_for(ct: sitk.Image, labels: sitk.Image) -> float:
    """How many times as coarse as usual inference makes the grid of the patient for the fine networks."""
    found = mask_box(labels == PANCREAS)
    part = ct if found is None else sitk.RegionOfInterest(ct, found[1], found[0])
    return grid_scale(body_size_in(ct, bounds(part)))


def prepare_case(
    ct: sitk.Image,
    labels: sitk.Image,
    spacing: float,
    path: Path,
    known: frozenset[int] = EVERY_LABEL,
    sized: bool = False,
) -> tuple[int, ...]:
    """Resample one scan and its labels exactly as inference does and save them; returns the grid's size (x, y, z).

    ``sized`` gives small patients a finer grid, as the fine networks get; the spacing that is kept is the usual one.
    """
    grid = grid_over(bounds(ct), spacing * scale_for(ct, labels) if sized else spacing)
    hu = np.clip(np.rint(to_grid(ct, grid)), -1024, 3000).astype(np.int16)
    drawn = np.isin(range(len(LABELS)), sorted(known))
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary, hu=hu, labels=labels_on_grid(labels, grid), known=drawn, spacing=spacing, sized=sized
        )
    return grid.size


def prepare(scans: list[Scan], target: Path, spacing: float, phantoms: int, sized: bool = False) -> Iterator[str]:
    """Bring labelled scans and phantoms to the working grid; yields a line for each.

    Args:
        scans: see :mod:`TernarySegmentLib.training.sources`.
        target: folder for ``<case>.npz``; cases already there, prepared in the same way, are left alone.
        spacing: working grid, mm.
        phantoms: how many synthetic abdomens to add.
        sized: on a finer grid where the patient is small, as the fine networks see them.
    """
    target.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        path = target / f"{scan.name}.npz"
        if not _is_prepared(path, spacing, sized):
            yield f"{scan.name}: {prepare_case(*scan.read(), spacing, path, scan.known, sized)} voxels"
    for seed in range(phantoms):
        path = target / f"{PHANTOM}{seed:03d}.npz"
        if not _is_prepared(path, spacing, sized):
            from TernarySegmentLib.phantom import make_phantom

            # seed 0 is the demo's abdomen and must not have been trained on
            phantom = make_phantom(seed + 1)
            yield f"{path.stem}: {prepare_case(phantom.ct, phantom.labels, spacing, path, sized=sized)} voxels"


def _is_prepared(path: Path, spacing: float, sized: bool) -> bool:
    """Test if a case was prepared already, in this way.

    Raises:
        InputError: it was, in another way.
    """
    if not path.exists():
        return False
    with np.load(path) as arrays:
        before = tuple(arrays[name].item() if name in arrays else None for name in ("spacing", "sized"))
    if before not in ((spacing, sized), (spacing, None), (None, None)):  # files from before kept less
        raise InputError(f"{path} was prepared with another --spacing or --sized; name another folder with --target.")
    return True


def load(path: Path) -> Case:
    """Read what :func:`prepare` wrote."""
    with np.load(path) as arrays:
        hu, labels = arrays["hu"], arrays["labels"]
        known = tuple(arrays["known"].tolist()) if "known" in arrays else ALL_KNOWN
        spacing = float(arrays["spacing"]) if "spacing" in arrays else None
    return Case(
        path.stem, torch.from_numpy(hu), torch.from_numpy(labels),
        np.argwhere(labels == PANCREAS), _organs(hu, labels, known), known, spacing,
        sparse=bool((labels == UNANNOTATED).any()),
    )  # fmt: skip


def _organs(hu: np.ndarray, labels: np.ndarray, known: tuple[bool, ...]) -> np.ndarray:
    """Positions in organs; where not all were drawn, in anything that is neither fat nor gas and was annotated."""
    drawn = labels > 0 if all(known) else hu > SOFT_HU
    return np.argwhere(drawn & (labels != UNANNOTATED))[::50]


def load_cases(folder: Path, names: list[str] | None = None) -> list[Case]:
    """All prepared cases of a folder, or those named."""
    paths = sorted(folder.glob("*.npz")) if names is None else [folder / f"{name}.npz" for name in names]
    missing = [path.name for path in paths if not path.exists()]
    if missing or not paths:
        raise InputError(f"{folder} lacks {', '.join(missing) or 'prepared cases'}; run the prepare command first.")
    return [load(path) for path in paths]


def divided(cases: list[Case], fold: int | None) -> tuple[list[Case], list[Case]]:
    """Cases to train on, and cases to judge by: those of one fold, or none.

    Phantoms and scans that were annotated in part never judge.
    """
    judges = [case for case in cases if not (case.is_phantom or case.sparse) and fold_of(case.name) == fold]
    return [case for case in cases if case not in judges], judges


class Batch(NamedTuple):
    """Patches of one step.

    Attributes:
        levels: HU levels, float32 (B, 1, *patch).
        labels: int64 (B, *patch).
        known: bool (B, labels), which labels the annotators of each patch drew.
    """

    levels: Tensor
    labels: Tensor
    known: Tensor


class PatchSampler:
    """Draws augmented training batches; the same seed and step always give the same batch."""

    def __init__(self, cases: list[Case], settings: Settings) -> None:
        self.whole = [case for case in cases if not (case.is_phantom or case.sparse)]
        self.sparse = [case for case in cases if case.sparse]
        self.phantoms = [case for case in cases if case.is_phantom]
        self.settings = settings

    def _draw_case(self, random: np.random.Generator) -> Case:
        if self.phantoms and (not (self.whole or self.sparse) or random.random() < self.settings.phantom_share):
            pool = self.phantoms
        elif self.sparse and (not self.whole or random.random() < self.settings.sparse_share):
            pool = self.sparse
        else:
            pool = self.whole
        return pool[random.integers(len(pool))]

    def _draw(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.settings
        case = self._draw_case(random)
        centres = case.pancreas if random.random() < settings.pancreas_share and len(case.pancreas) else case.organs
        if not len(centres):  # a scan of another part of the body
            centres = np.array(case.hu.shape)[None] // 2
        jitter = random.uniform(-1, 1, 3) * np.array(settings.patch) * 0.2
        centre = centres[random.integers(len(centres))] + jitter
        narrow = bool(self.sparse) and not case.sparse and random.random() < settings.narrow_share
        patch = augmented_patch(
            case.hu, case.labels, centre, settings.patch, settings.spacing, random, case.sparse, narrow
        )
        return *patch, torch.tensor(case.known)

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        random = np.random.default_rng((self.settings.seed, step))
        levels, labels, known = zip(*(self._draw(random) for _ in range(self.settings.batch)), strict=True)
        return Batch(torch.stack(levels)[:, None], torch.stack(labels), torch.stack(known))
