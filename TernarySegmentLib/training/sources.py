"""Labelled scans as their publishers ship them: NIH Pancreas-CT, MSD Task07, BTCV, TotalSegmentator, or any pairs.

Every data set becomes a list of :class:`Scan` whose labels are indices into
:data:`TernarySegmentLib.training.settings.LABELS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.itk import reason
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.grids import flip_anterior_posterior
from TernarySegmentLib.training.settings import LABELS, PANCREAS, UNANNOTATED

CASE = "{case}"
"""Stands for a case's name in the pattern of a path."""
OWN_PATTERNS = ("{case}_ct.nii.gz", "{case}_labels.nii.gz")
EVERY_LABEL = frozenset(range(len(LABELS)))
PANCREAS_ONLY = {1: PANCREAS}
SAME_PLACE_MM = 1.0
"""Headers of a scan and its labels may differ by this much; some tools round origins."""
SOFT_TISSUE_HU = (-50, 250)
"""Where the median of a pancreas lies on any scan; elsewhere the labels are not where the organ is."""


@dataclass(frozen=True)
class Scan:
    """One labelled scan, read when asked for.

    Attributes:
        name: file name of the prepared case; scans of one patient named ``<patient>__<anything>`` share a fold.
        read: gives the CT and its label map (uint8, on the same grid, indices into :data:`LABELS`).
        known: labels that the annotators drew. Where another is missing, a voxel of label 0 may still belong to it.
    """

    name: str
    read: Callable[[], tuple[sitk.Image, sitk.Image]]
    known: frozenset[int] = EVERY_LABEL


def pairs(
    root: Path,
    patterns: tuple[str, str] = OWN_PATTERNS,
    values: Mapping[int, int] | None = None,
    mirrored: bool = False,
    prefix: str = "",
) -> list[Scan]:
    """Any folder of images and label maps.

    Args:
        root: the folder.
        patterns: paths of image and label map below it, with ``{case}`` once in each.
        values: the label map's values and the labels they stand for; the rest becomes background. None where the
            map already holds indices into :data:`LABELS`.
        mirrored: headers point front to back the wrong way, as in the BTCV scans rebuilt from pictures: read as they
            are, every patient is a mirror image.
        prefix: put before each case's name, so that data sets with equal numbers can share a folder.

    Raises:
        InputError: nothing there, or an image without labels.
    """
    known = EVERY_LABEL if values is None else frozenset(values.values()) | {0}
    scans = []
    for name in _cases(root, patterns[0]):
        image, labels = (root / pattern.replace(CASE, name) for pattern in patterns)
        if not labels.exists():
            raise InputError(f"“{image.name}” has no labels “{labels.name}”; add them or take the scan away.")
        scans.append(Scan(prefix + name, partial(_read_pair, image, labels, values, mirrored), known))
    return scans


def _cases(root: Path, pattern: str) -> list[str]:
    if pattern.count(CASE) != 1:
        raise InputError(f"The pattern “{pattern}” must hold {CASE} exactly once.")
    before, after = pattern.split(CASE)
    paths = [path.relative_to(root).as_posix() for path in root.glob(f"{before}*{after}")]
    names = [path[len(before) : len(path) - len(after)] for path in paths]
    # archives packed on a Mac hold a second, hidden file for each file
    names = sorted(name for name in names if not name.startswith("."))
    if not names:
        raise InputError(f"{root} holds no file named {pattern.replace(CASE, '<case>')}; check --source and --format.")
    return names


def _read_pair(
    image: Path, labels: Path, values: Mapping[int, int] | None, mirrored: bool
) -> tuple[sitk.Image, sitk.Image]:
    ct = read_ct(image)
    translated = translate(_on_grid_of(ct, _read_labels(labels), labels), values)
    return (flip_anterior_posterior(ct), flip_anterior_posterior(translated)) if mirrored else (ct, translated)


def _read_labels(path: Path) -> sitk.Image:
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(
            f"“{path}” cannot be read as a label map ({reason(error)}); copy or export it again."
        ) from error


def translate(labels: sitk.Image, values: Mapping[int, int] | None) -> sitk.Image:
    """A label map, uint8, with other values; None leaves them.

    Values that are not named become 0, but for :data:`UNANNOTATED`, which stays.
    """
    array = np.rint(sitk.GetArrayViewFromImage(labels)).astype(np.int64)
    if values is not None:
        table = np.zeros(int(max(array.max(), UNANNOTATED, *values)) + 1, np.uint8)
        table[UNANNOTATED] = UNANNOTATED
        table[list(values)] = list(values.values())
        array = table[array]
    else:
        foreign = np.setdiff1d(array, (*range(len(LABELS)), UNANNOTATED))
        if foreign.size:
            raise InputError(
                f"A label map holds the value {foreign[-1]}, but there are {len(LABELS)} labels; use --values."
            )
    translated = sitk.GetImageFromArray(array.astype(np.uint8))
    translated.CopyInformation(labels)
    return translated


def _on_grid_of(ct: sitk.Image, labels: sitk.Image, path: Path) -> sitk.Image:
    """The label map with exactly the scan's grid, where both headers agree but for rounding."""
    if labels.GetSize() != ct.GetSize():
        raise InputError(
            f"“{path.name}” has {labels.GetSize()} voxels, its scan {ct.GetSize()}; they do not belong together."
        )
    for corner in ((0, 0, 0), tuple(n - 1 for n in ct.GetSize())):
        places = [np.array(image.TransformIndexToPhysicalPoint(corner)) for image in (ct, labels)]
        if np.linalg.norm(places[0] - places[1]) > SAME_PLACE_MM:
            raise InputError(
                f"“{path.name}” does not lie on its scan: a corner is {places[1]} instead of {places[0]} mm."
            )
    labels.CopyInformation(ct)
    return labels


# --- data sets by name ------------------------------------------------------------------------------------------------

BTCV_VALUES = {
    value: LABELS.index(label)
    for value, label in {
        1: "spleen", 2: "right kidney", 3: "left kidney", 4: "gallbladder", 6: "liver", 7: "stomach", 8: "aorta",
        11: "pancreas",
    }.items()
}  # fmt: skip
"""Its oesophagus, veins and adrenal glands (5, 9, 10, 12, 13) are background here."""

TOTALSEGMENTATOR_FILES = {
    "spleen": "spleen", "kidney_right": "right kidney", "kidney_left": "left kidney", "gallbladder": "gallbladder",
    "liver": "liver", "stomach": "stomach", "aorta": "aorta", "pancreas": "pancreas",
}  # fmt: skip


def btcv(root: Path) -> list[Scan]:
    """BTCV abdomen (Synapse syn3193805): ``img/img0001.nii.gz`` and ``label/label0001.nii.gz``, 13 organs."""
    return pairs(_holding(root, "img"), ("img/img{case}.nii.gz", "label/label{case}.nii.gz"), BTCV_VALUES)


def msd(root: Path) -> list[Scan]:
    """Medical Segmentation Decathlon, Task07_Pancreas: pancreas (1) and tumour (2), which is part of it here."""
    values = {1: PANCREAS, 2: PANCREAS}
    return pairs(_holding(root, "imagesTr"), ("imagesTr/{case}.nii.gz", "labelsTr/{case}.nii.gz"), values)


def totalsegmentator(root: Path) -> list[Scan]:
    """TotalSegmentator's data set: ``s0001/ct.nii.gz`` and one mask for each organ in ``s0001/segmentations``."""
    names = _cases(root, "{case}/ct.nii.gz")
    return [Scan(name, partial(_read_masks, root / name)) for name in names]


def _read_masks(folder: Path) -> tuple[sitk.Image, sitk.Image]:
    ct = read_ct(folder / "ct.nii.gz")
    labels = sitk.Image(ct.GetSize(), sitk.sitkUInt8)
    labels.CopyInformation(ct)
    for file, label in TOTALSEGMENTATOR_FILES.items():
        path = folder / "segmentations" / f"{file}.nii.gz"
        if not path.exists():
            raise InputError(f"{folder} lacks segmentations/{path.name}; unpack the data set again.")
        mask = _on_grid_of(ct, _read_labels(path), path) != 0
        labels = sitk.Maximum(labels * sitk.Cast(mask == 0, sitk.sitkUInt8), mask * LABELS.index(label))
    return ct, labels


def nih_slices(root: Path) -> list[Scan]:
    """Partial volumes of NIH Pancreas-CT rebuilt from single slices: ``nih0001_ct.nii.gz``, ``nih0001_labels.nii.gz``.

    Pancreas only (8); what nobody annotated is :data:`UNANNOTATED`. Pictures do not say how large their voxels are:
    each patient gets those of ``nih_voxels.json``, the pixel and the distance between slices in mm that the headers of
    the data set's own label files give.
    """
    voxels = json.loads((Path(__file__).parent / "nih_voxels.json").read_text(encoding="utf-8"))
    scans = pairs(root, ("nih{case}_ct.nii.gz", "nih{case}_labels.nii.gz"), {PANCREAS: PANCREAS}, prefix="nih")
    return [
        replace(scan, read=partial(_with_voxels, scan.read, *voxels[case])) if case in voxels else scan
        for scan in scans
        for case in [scan.name.removeprefix("nih")]
    ]


def _with_voxels(
    read: Callable[[], tuple[sitk.Image, sitk.Image]], pixel: float, distance: float
) -> tuple[sitk.Image, sitk.Image]:
    ct, labels = read()
    for image in (ct, labels):
        image.SetSpacing((pixel, pixel, distance))
    return ct, labels


def nih(root: Path) -> list[Scan]:
    """NIH Pancreas-CT (The Cancer Imaging Archive): DICOM in ``PANCREAS_0001/**``, ``label0001.nii.gz`` beside it."""
    folders = sorted(path for path in root.rglob("PANCREAS_[0-9]*") if path.is_dir())
    if not folders:
        raise InputError(f"{root} holds no folder PANCREAS_0001; check --source and --format.")
    labels = {path.name: path for path in root.rglob("label*.nii.gz")}
    scans = []
    for folder in folders:
        file = f"label{folder.name.removeprefix('PANCREAS_')}.nii.gz"
        if file not in labels:
            raise InputError(f"{folder.name} has no {file} below {root}; download the labels from the same page.")
        scans.append(Scan(folder.name, partial(_read_nih, folder, labels[file]), frozenset({0, PANCREAS})))
    return scans


def _read_nih(folder: Path, path: Path) -> tuple[sitk.Image, sitk.Image]:
    """The label files' headers lie: against the DICOM series they are mirrored front to back.

    Their voxels, though, are in the series' own order: columns, rows, instance numbers. So the header is ignored and
    the slices are brought into the order of the positions, by which the CT is read.
    """
    ct = read_ct(folder)
    array = np.rint(sitk.GetArrayFromImage(_read_labels(path))).astype(np.uint8)
    if array.shape != ct.GetSize()[::-1]:
        raise InputError(
            f"“{path.name}” has {array.shape[::-1]} voxels, its series {ct.GetSize()}; they do not belong together."
        )
    labels = sitk.GetImageFromArray(array if _numbers_rise_with_position(folder, ct) else array[::-1])
    labels.CopyInformation(ct)
    inside = sitk.GetArrayViewFromImage(ct)[sitk.GetArrayViewFromImage(labels) != 0]
    median = float(np.median(inside)) if inside.size else 0.0
    if not SOFT_TISSUE_HU[0] < median < SOFT_TISSUE_HU[1]:
        raise InputError(
            f"“{path.name}” does not lie on soft tissue (median {median:.0f} HU); its slices are in another order."
        )
    return ct, translate(labels, PANCREAS_ONLY)


def _numbers_rise_with_position(folder: Path, ct: sitk.Image) -> bool:
    """Test if a series' instance numbers count along the slice axis of the CT that was read from it."""
    normal = np.array(ct.GetDirection()).reshape(3, 3)[:, 2]
    places: dict[float, int] = {}
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for file in sorted(folder.rglob("*.dcm")):
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
        position = np.array([float(v) for v in reader.GetMetaData("0020|0032").split("\\")])
        places[round(float(position @ normal), 2)] = int(reader.GetMetaData("0020|0013"))
        if len(places) == 2:
            break
    (first, one), (second, other) = places.items()
    return (second - first) * (other - one) > 0


def _holding(root: Path, folder: str) -> Path:
    """The folder itself or the one below it that holds ``folder``: archives unpack into folders of their own."""
    found = [root, *sorted(path.parent for path in root.rglob(folder) if path.is_dir())]
    return next((path for path in found if (path / folder).is_dir()), root)


FORMATS = {"nih": nih, "nih-slices": nih_slices, "msd": msd, "btcv": btcv, "totalsegmentator": totalsegmentator}
"""Data sets whose layout is known, by the name the command line calls them."""
