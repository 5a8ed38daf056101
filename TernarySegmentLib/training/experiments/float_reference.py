"""A trained torch network in the place of the fine integer network: what does quantisation cost?

Everything else is the pipeline's own: the box that the shipped coarse network finds, the patient's grid, resampling,
the choice of pieces, the way back to the scan's grid. Only the box does not follow a mask that it seems to cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional as F

from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.checks import check_ct
from TernarySegmentLib.imaging.grids import blank, grid_over, to_grid
from TernarySegmentLib.pipeline import CLIP_LOGITS, Options, calmed, load_model, plausible, put_right, restored
from TernarySegmentLib.pipeline.clock import Clock
from TernarySegmentLib.pipeline.decide import grid_scale
from TernarySegmentLib.pipeline.localise import localise
from TernarySegmentLib.training.data import divided, load_cases
from TernarySegmentLib.training.evaluate import Compared, Score, judge
from TernarySegmentLib.training.network import SegmentationNetwork
from TernarySegmentLib.training.runs import load_averaged, settings_of
from TernarySegmentLib.training.settings import PANCREAS
from TernarySegmentLib.training.sources import Scan


@dataclass(frozen=True)
class FloatReference:
    """A network on a working grid of ``spacing`` mm."""

    network: SegmentationNetwork
    spacing: float

    @staticmethod
    def load(run_folder: Path, data: Path) -> FloatReference:
        """The averaged network of a run; ``data`` is the folder of prepared cases that it was trained on."""
        training, _ = divided(load_cases(data), settings_of(run_folder).fold)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network, settings, _ = load_averaged(run_folder, training, device)
        return FloatReference(network, settings.spacing)

    def segment(self, ct: sitk.Image, options: Options) -> sitk.Image:
        """The mask, uint8, on the scan's grid; empty where the coarse network sees no pancreas.

        Raises:
            InputError: the image is not a usable CT.
        """
        check_ct(ct)
        found = drain(localise(ct, load_model(options.model), options, Clock()))
        if found.box is None:
            return blank(ct)
        scan = put_right(ct, found.flipped)
        grid = grid_over(found.box, self.spacing * grid_scale(found.body), self.network.multiple)
        margin = self.margin(hu_to_levels(calmed(to_grid(scan, grid))))
        return restored(margin, plausible(margin, grid), grid, scan, ct)

    @torch.no_grad()
    def margin(self, levels: np.ndarray) -> np.ndarray:
        """The pancreas' lead over the best other label, clipped as in the pipeline; float32 (z, y, x).

        Args:
            levels: int8 (z, y, x), sides multiples of the network's stride.
        """
        device, context = self.network.beta.device, self.network.context
        volume = torch.from_numpy(levels.astype(np.float32))[None, None].to(device)
        volume = F.pad(volume, (0, 0, 0, 0, context, context), mode="replicate")
        scores = self.network.to_scores(self.network(self.network.to_input(volume))[0])[0]
        lead = scores[PANCREAS].clone()
        scores[PANCREAS] = -torch.inf
        return (lead - scores.amax(0)).clamp(-CLIP_LOGITS, CLIP_LOGITS).cpu().numpy()


def evaluate_float_reference(scans: list[Scan], reference: FloatReference, options: Options) -> Iterator[Compared]:
    """Score the same scans as a torch network in the place of the fine one sees them."""
    for scan in scans:
        ct, labels = scan.read()
        name, expert, started = f"{scan.name} by the float reference", labels == PANCREAS, time.monotonic()
        try:
            mask = reference.segment(ct, options)
        except InputError as error:
            yield Compared(Score(name, None, 0.0, str(error)), ct, expert, None)
        else:
            yield judge(name, ct, expert, mask, time.monotonic() - started)
