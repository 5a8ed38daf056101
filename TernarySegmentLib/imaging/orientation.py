"""How does the patient lie? Compare where the organs are seen with where a person has them.

A file's header may exchange left and right, front and back, head and foot, one or several of them: reflections and
half turns. The network then still finds organs, but broken ones and in the wrong places: half of a liver on the left is
called a spleen, kidneys vanish. How far the picture departs from a body distinguishes the eight ways.

Set on the coarse network's labels of 15 real CTs and 3 phantoms, each read in all eight ways: as they should be, 17
score 1 to 10 and one 20 (a patient whose spleen is larger than the liver); the wrong way 13 or more, and always at
least 8 more than the right way. Of 96 parts of these scans and of 47 scans of a few slices no wrong way scores less
than 21 where the right one does not score less than 10.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import SimpleITK as sitk

from TernarySegmentLib.engine.modelcheck import LABELS
from TernarySegmentLib.imaging.grids import Flips

UNFLIPPED: Flips = (False, False, False)
OTHER_WAYS: tuple[Flips, ...] = tuple(
    sorted(((x, y, z) for x, y, z in product((False, True), repeat=3) if x or y or z), key=sum)
)
"""Reflections along one axis first, as converters lose one direction more often than two."""

# Centre of each organ's largest piece in LPS, mm, relative to the middle of all of them, and the volume in mL from
# which it counts as whole: medians of those 18 scans. The gallbladder is often missing, spleens differ most in size.
ORGANS: dict[str, tuple[tuple[int, int, int], int]] = {
    "spleen": ((83, 23, 24), 0),
    "right kidney": ((-85, 28, -49), 120),
    "left kidney": ((52, 29, -40), 120),
    "liver": ((-76, -29, 27), 0),
    "stomach": ((31, -46, 22), 200),
    "aorta": ((-3, 10, 30), 80),
    "pancreas": ((0, -25, -16), 60),
}
SPREAD_MM = 15.0
"""Standard deviation of the places: 4 to 17 along the axes."""
LARGEST_DEVIATION = 3.0
"""Standard deviations from which a place is merely wrong; a missing organ counts as much."""
SMALLEST_ML = 5.0
"""Smaller pieces are no organ."""
LIVER_TO_SPLEEN, SPLEEN_WEIGHT = 5.0, 2.0
"""The liver is at least this many times larger, but for large spleens; mirrored, half of it is called spleen."""

DOUBT, SURE, LEAD, ALIKE = 11.0, 16.0, 4.0, 30.0
"""A scan that departs more than the first is compared with the other ways to read it, until one departs less. Else the
best of them is believed when it departs less than the second, and that much less than the scan as it is; one that leads
but departs more, up to the last, only draws a note."""
UNUSUAL, FAR_LEAD = 24.0, 18.0
"""An unusual body departs more; it is believed when it leads by far. That patient with the large spleen leads by 19 to
47, but for left and right alone by 8; in parts of scans no wrong way below the first leads by more than 12."""


def believed(departs: float, as_it_is: float) -> bool:
    """True when another way to read a scan is so much better that it must be the right one."""
    lead = as_it_is - departs
    return (departs <= SURE and lead >= LEAD) or (departs <= UNUSUAL and lead >= FAR_LEAD)


def _largest_pieces(labels: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre (organs, 3), LPS, mm, NaN where missing, and volume (organs,), mL, of each organ's largest piece."""
    connected = sitk.GetArrayFromImage(sitk.ScalarConnectedComponent(sitk.GetImageFromArray(labels), 0)).ravel()
    flat = labels.ravel()
    place = np.flatnonzero(flat)
    sizes = np.bincount(connected[place], minlength=1)
    centres, volumes = np.full((len(ORGANS), 3), np.nan), np.zeros(len(ORGANS))
    for row, name in enumerate(ORGANS):
        own = place[flat[place] == LABELS.index(name)]
        if own.size == 0:
            continue
        pieces = connected[own]
        largest = own[pieces == pieces[sizes[pieces].argmax()]]
        volumes[row] = largest.size * spacing**3 / 1000
        if volumes[row] >= SMALLEST_ML:
            centres[row] = [axis.mean() * spacing for axis in np.unravel_index(largest, labels.shape)[::-1]]
    return centres, volumes


def departure(labels: np.ndarray, spacing: float) -> float:
    """How far organs depart from a person's: 0 is the average body, above 11 it is in doubt, 100 shows none.

    Args:
        labels: uint8 (z, y, x) on an axis-aligned LPS grid, the network's label of each voxel.
        spacing: of the grid, mm.
    """
    centres, volumes = _largest_pieces(labels, spacing)
    expected = np.array([centre for centre, _ in ORGANS.values()], float)
    deviations = np.full_like(centres, LARGEST_DEVIATION)
    seen = ~np.isnan(centres[:, 0])
    if seen.any():
        offsets = centres[seen] - expected[seen]
        # the median: an organ in the wrong place does not shift the others
        distance = np.abs(offsets - np.median(offsets, axis=0)) / SPREAD_MM
        deviations[seen] = distance.clip(max=LARGEST_DEVIATION)
    wanted = np.array([volume for _, volume in ORGANS.values()], float).clip(SMALLEST_ML)
    missing = np.log(wanted / volumes.clip(SMALLEST_ML, wanted))
    of = dict(zip(ORGANS, volumes + 50, strict=True))  # 50 mL: the ratio of two small pieces says nothing
    spleen = SPLEEN_WEIGHT * max(0.0, float(np.log(LIVER_TO_SPLEEN * of["spleen"] / of["liver"])))
    return float(np.square(deviations).sum() / 2 + missing.sum() + spleen)


def flip_note(flips: Flips) -> str:
    """What to tell of a scan that had to be read with these axes exchanged."""
    pairs = [
        pair for pair, flip in zip(("left and right", "front and back", "head and foot"), flips, strict=True) if flip
    ]
    kind = "turned by half" if sum(flips) == 2 else "a mirror image"
    situs = " (or the patient has situs inversus)" if flips == (True, False, False) else ""
    return (
        f"By the places of its organs the file shows the patient as {kind}, {', '.join(pairs)} exchanged{situs}; the "
        "mask fits the voxels, but correct the direction in the file's header before using positions."
    )


UNSURE = (
    "The organs do not lie where a person has them, rather as if the file had its sides exchanged; check left and "
    "right, front and back in the views before using the mask."
)
