"""The training loop: resumable, seeded, evaluated as it goes."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.agreement import overlap
from TernarySegmentLib.training.augment import to_levels
from TernarySegmentLib.training.batchnorm import batch_norms, reestimate_batch_norms
from TernarySegmentLib.training.data import Batch, Case, PatchSampler
from TernarySegmentLib.training.distil import distillation_loss, load_teacher
from TernarySegmentLib.training.initialise import start_from, start_from_run
from TernarySegmentLib.training.losses import label_weights, total_loss
from TernarySegmentLib.training.network import SegmentationNetwork, TernaryNetwork
from TernarySegmentLib.training.runs import CHECKPOINT, LOG, build, read_checkpoint, settings_of, write_checkpoint
from TernarySegmentLib.training.settings import LABELS, PANCREAS, SETTINGS_FILE, Settings

LEAST_MIXED = 3
"""Voxels along a side of the deepest tensor from which bfloat16 can be trusted: of tensors two voxels long, oneDNN's
weight gradients are what happened to lie in memory, up to 1e34 (torch 2.13, AVX-512 without AMX)."""


def has_bfloat16(device: torch.device) -> bool:
    """Test if the hardware multiplies bfloat16 itself.

    Where it does not, torch emulates: on a CPU with AVX2 only, a training step took 2.16 s instead of 0.14 s.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate: a linear rise, a plateau, a linear fall to zero."""
    rise = min(1.0, (step + 1) / max(1.0, settings.warmup * settings.steps))
    fall = min(1.0, (settings.steps - step) / max(1.0, settings.decay * settings.steps))
    return settings.rate * min(rise, fall)


def beta_at(step: int, settings: Settings) -> float | None:
    """The continuation's β: rising geometrically, then None, the hard step."""
    length = settings.continuation_share * settings.steps
    if settings.schedule == "step" or settings.activations == "relu" or step >= length:
        return None
    return settings.beta_start * (settings.beta_end / settings.beta_start) ** (step / length)


def around_pancreas(case: Case, multiple: int, margin: int = 16) -> tuple[slice, ...]:
    """The box of the true pancreas plus a margin in voxels, its sides a multiple of the network's stride."""
    low, high = case.pancreas.min(0) - margin, case.pancreas.max(0) + 1 + margin
    box = []
    for lower, upper, size in zip(low, high, case.hu.shape, strict=True):
        lower = max(int(lower), 0)
        length = min(math.ceil((min(int(upper), size) - lower) / multiple), size // multiple) * multiple
        lower = min(lower, size - length)
        box.append(slice(lower, lower + length))
    return tuple(box)


@torch.no_grad()
def quick_dice(network: SegmentationNetwork, case: Case) -> float:
    """Dice around the true pancreas on the working grid: a cheap learning curve, no result."""
    box = around_pancreas(case, network.multiple)
    levels = to_levels(case.hu[box].float())[None, None].to(network.beta.device)
    # beyond the box the last slice stands for its neighbours
    levels = F.pad(levels, (0, 0, 0, 0, network.context, network.context), mode="replicate")
    scores = network.to_scores(network(network.to_input(levels))[0])
    found, truth = scores[0].argmax(0).cpu() == PANCREAS, case.labels[box] == PANCREAS
    return overlap(found.numpy(), truth.numpy())


def refuse_other_fold(run: Path, settings: Settings) -> None:
    """Refuse to go on from a run that was trained on the scans which now are to judge.

    Raises:
        InputError: the run kept back another fold, or none.
    """
    before = settings_of(run).fold
    if settings.fold not in (None, before):
        kept = "no fold" if before is None else f"fold {before}"
        raise InputError(
            f"{run} kept back {kept} and was trained on fold {settings.fold}; train on with --fold "
            f"{'none' if before is None else before}, or begin anew in another folder."
        )


class Trainer:
    """One run in a folder: settings, checkpoint, log.

    Args:
        folder: where the run lives; a checkpoint found there is resumed.
        settings: ignored for the weights' shapes when resuming.
        cases: training cases.
        validation: cases for the learning curve, never trained on.

    Raises:
        InputError: the cases lie on another grid, what the settings start from or learn from does not fit, or a fold
            would judge that was trained on before.
    """

    def __init__(self, folder: Path, settings: Settings, cases: list[Case], validation: list[Case]) -> None:
        for case in cases:
            if case.spacing not in (None, settings.spacing):
                raise InputError(
                    f"{case.name} was prepared on a grid of {case.spacing:g} mm, but the settings say "
                    f"{settings.spacing:g} mm; prepare it with --spacing {settings.spacing:g}."
                )
        for run in (folder, Path(settings.start)) if settings.start else (folder,):
            if (run / CHECKPOINT).exists():
                refuse_other_fold(run, settings)
        torch.manual_seed(settings.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.settings, self.validation = folder, settings, validation
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.partial = any(case.sparse or not all(case.known) for case in cases)
        self.sampler = PatchSampler(cases, settings)
        self.network = build(settings).to(self.device)
        deepest = min(settings.patch) // self.network.multiple
        self.mixed = has_bfloat16(self.device) and deepest >= LEAST_MIXED
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # as convolutions read it
        if settings.start and not (folder / CHECKPOINT).exists():
            self._start_from(Path(settings.start))
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), settings.rate, weight_decay=settings.weight_decay)
        self.weights = label_weights(settings.pancreas_weight).to(self.device)
        self.teacher = load_teacher(settings, cases, self.device) if settings.teacher else None
        self.step = 0
        self.frozen = False
        if (folder / CHECKPOINT).exists():
            self._restore(read_checkpoint(folder, self.device))
        settings.save(folder / SETTINGS_FILE)  # last: what could not start leaves nothing that a next try would obey

    def _start_from(self, start: Path) -> None:
        if start.is_dir():
            start_from_run(self.network, start)
            return
        if not isinstance(self.network, TernaryNetwork):
            raise InputError(
                "Only the 3D network can start from a model file; leave start empty, or name a run folder."
            )
        stages, stage = modelfile.load(start).stages, self.settings.stage
        if stage not in stages:
            raise InputError(f"{start} has no network {stage}; it has {', '.join(stages)}.")
        start_from(self.network, stages[stage], self.sampler)

    def _restore(self, state: dict[str, Any]) -> None:
        if "optimiser" not in state:
            raise InputError(
                f"{self.folder} is an average of runs; train in another folder with --start {self.folder}."
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.frozen = state["step"], state.get("frozen", False)

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        write_checkpoint(
            {
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "frozen": self.frozen,
            },
            self.folder,
        )

    def _loss(self, batch: Batch) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed):
            folded = self.network.to_input(batch.levels)
            scores, extra = self.network(folded)
            targets = self.network.to_targets(batch.labels)
            loss = total_loss(scores, extra, targets, self.weights, batch.known if self.partial else None)
            if self.teacher is not None:
                with torch.no_grad():
                    wanted, _ = self.teacher(folded)
                loss = loss + self.settings.distillation * distillation_loss(scores, wanted, len(LABELS))
            return loss

    def _update_average(self) -> None:
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for average, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                average.lerp_(value, 1 - decay)

    def _freeze_norms(self) -> None:
        """From here on train exactly the function that inference computes."""
        reestimate_batch_norms(self.network, self.sampler)
        self.frozen = True
        self._start_training()

    def _start_training(self) -> None:
        self.network.train()
        if self.frozen:
            for norm in batch_norms(self.network):
                norm.eval()

    def _log(self, writer: SummaryWriter, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, self.step)
        with (self.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": self.step, **values}) + "\n")

    def averaged(self) -> SegmentationNetwork:
        """The averaged network with re-estimated batch-norm statistics, ready to evaluate or export."""
        network = copy.deepcopy(self.average)
        reestimate_batch_norms(network, self.sampler)
        return network

    def _evaluate(self) -> dict[str, float]:
        network = self.averaged()
        values = {f"dice/{case.name}": quick_dice(network, case) for case in self.validation if len(case.pancreas)}
        return {**values, "dice/mean": sum(values.values()) / max(1, len(values))}

    def run(self, until: Callable[[], bool] = lambda: False, compiled: bool = True, every: int = 500) -> Iterator[str]:
        """Train to the end of the schedule, or until told to stop; yields lines worth printing.

        Args:
            until: asked after every step; True saves and stops, to be resumed later.
            compiled: use torch.compile (twice as fast a step on a CPU, a minute to start).
            every: steps between evaluations.
        """
        loss_of = torch.compile(self._loss) if compiled else self._loss
        writer = SummaryWriter(str(self.folder))
        bar = tqdm(total=self.settings.steps, initial=self.step, unit="step", disable=None)
        self._start_training()
        mean_loss, started, first = 0.0, time.monotonic(), self.step
        while self.step < self.settings.steps and not until():
            if not self.frozen and self.step >= (1 - self.settings.frozen_norm) * self.settings.steps:
                self._freeze_norms()
            self.network.set_beta(beta_at(self.step, self.settings))
            for group in self.optimiser.param_groups:
                group["lr"] = rate_at(self.step, self.settings)
            if self.settings.dropout:  # what a step leaves out does not depend on where the run was resumed
                torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
            loss = loss_of(Batch(*(tensor.to(self.device) for tensor in self.sampler.batch(self.step))))
            self.optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
            self.optimiser.step()
            self._update_average()
            self.step += 1
            mean_loss += (loss.item() - mean_loss) / min(self.step - first, 100)
            bar.update()
            if self.step % 200 == 0:
                self.save()
            if self.step % 100 == 0:
                seconds = (time.monotonic() - started) / (self.step - first)
                self._log(writer, {"loss": mean_loss, "seconds_per_step": seconds})
            if self.step % every == 0 or self.step == self.settings.steps:
                values = self._evaluate()
                self._log(writer, values)
                scores = " ".join(f"{name.removeprefix('dice/')} {value:.3f}" for name, value in values.items())
                yield f"step {self.step}: loss {mean_loss:.3f}, {seconds_text(started)}, Dice {scores}"
        if self.step > first:  # a finished run stays as it is, and what was exported from it up to date
            self.save()
        bar.close()
        writer.close()


def seconds_text(started: float) -> str:
    """Minutes since a moment of the monotonic clock."""
    return f"{(time.monotonic() - started) / 60:.1f} min"
