"""Running the sections, each in child processes, and keeping what they found."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from TernarySegmentLib.bench import machine
from TernarySegmentLib.errors import TernarySegmentError

RESULTS = "performance.json"
MARK = "result: "
"""Begins the line on which a child process reports its result."""
SLICES = (110, 221, 450, 900)


class BenchmarkError(TernarySegmentError):
    """A section failed."""


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        ct: the scan for whole runs; None takes a synthetic one.
        rounds: turns of each contestant.
        budget_s: time for each contestant in each table.
        quick: a smoke test: tiny shapes, one turn, no figure worth quoting.
        limit: the one instruction set to measure; None measures all that this processor offers.
        model: the model file; None takes the one that ships.
    """

    ct: Path | None = None
    rounds: int = 9
    budget_s: float = 6.0
    quick: bool = False
    limit: str | None = None
    model: Path | None = None

    @property
    def measured(self) -> dict[str, str | None]:
        """The argument of the sections that load a model."""
        return {"model": str(self.model) if self.model else None}


def child(section: str, arguments: dict[str, Any], threads: int, environment: dict[str, str] | None = None) -> Any:
    """Run a section in a fresh process.

    Args:
        section: a function of ``sections``.
        arguments: its arguments.
        threads: what BLAS and OpenMP are limited to.
        environment: further variables, such as the switches of an instruction set.

    Raises:
        BenchmarkError: it failed; the message holds the end of what it wrote.
    """
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    # contestants share the cores: a waiting OpenMP thread must not spin while the next one runs
    limits["OMP_WAIT_POLICY"] = "PASSIVE"
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "TernarySegmentLib.bench", section, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path, **limits, **(environment or {})}, capture_output=True, text=True,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))
    raise BenchmarkError(f"section {section} failed: {' '.join(done.stderr.splitlines()[-3:])}")


def thread_counts() -> list[int]:
    """One, two where there are as many, and all."""
    return sorted({1, min(2, machine.cores()), machine.cores()})


def run_networks(plan: Plan) -> Any:
    """Every network, engine, instruction set and number of threads."""
    arguments = {
        **plan.measured,
        "rounds": 1 if plan.quick else plan.rounds,
        "budget_s": plan.budget_s,
        "shrink": 8 if plan.quick else 1,
    }
    result: dict[str, Any] = {}
    limits = [each for each in machine.available() if plan.limit in (None, each.name)]
    if not limits:
        names = ", ".join(each.name for each in machine.available())
        raise BenchmarkError(f"this processor cannot be limited to {plan.limit}; it offers {names}")
    stages = child("stages", plan.measured, 1)
    for limit in limits[: 1 if plan.quick else None]:
        for threads in thread_counts()[: 1 if plan.quick else None]:
            for stage in stages:
                full = {**arguments, "stage": stage, "threads": threads, "capped": bool(limit.environment)}
                found = child("networks", full, threads, limit.environment)
                result.setdefault(limit.name, {}).setdefault(str(threads), {})[stage] = found
                _say(f"{stage} network, {threads} threads, {limit.name}")
    return result


def run_memory(plan: Plan) -> Any:
    """Bytes of weights and activations."""
    return child("footprint", plan.measured, 1)


def run_pipeline(plan: Plan) -> Any:
    """``segment`` on the sample scan, repeated, with one and with all threads; and the warm start."""
    with tempfile.TemporaryDirectory() as folder:
        ct = str(plan.ct or Path(folder) / "synthetic.nii.gz")
        if plan.ct is None:
            child("synthetic_scan", {"path": ct, "slices": 40 if plan.quick else 221}, 1)
        repeats = 1 if plan.quick else 5
        runs = {
            str(threads): [
                child("whole_run", {**plan.measured, "ct": ct, "threads": threads}, threads) for _ in range(repeats)
            ]
            for threads in {1, machine.cores()}
        }
    starts = {
        name: [child("start_up", {"alone": alone}, 1) for _ in range(repeats)]
        for name, alone in (("starts", False), ("starts alone", True))
    }
    return {"scan": "given" if plan.ct else "synthetic", "runs": runs, **starts}


def run_sizes(plan: Plan) -> Any:
    """``segment`` on synthetic scans of growing length: seconds and peak memory."""
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        for slices in (45, 60) if plan.quick else SLICES:
            path = str(Path(folder) / f"{slices}.nii.gz")
            child("synthetic_scan", {"path": path, "slices": slices}, 1)
            result[str(slices)] = child("whole_run", {**plan.measured, "ct": path, "threads": 0}, machine.cores())
            Path(path).unlink()
            _say(f"scan of {slices} slices")
    return result


def run_standin(plan: Plan) -> Any:
    """A float32 network of whole-body tools' size, timing only."""
    arguments = {"threads": machine.cores(), "edge": 64}
    return child("stand_in", arguments, machine.cores())


SECTIONS: dict[str, Callable[[Plan], Any]] = {
    "networks": run_networks,
    "memory": run_memory,
    "pipeline": run_pipeline,
    "sizes": run_sizes,
    "standin": run_standin,
}


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def arguments_of(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all of them"
    )
    parser.add_argument("--ct", type=Path, help="scan for the whole run; default: a synthetic one")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help=f"turns of each engine (default {Plan.rounds})")
    parser.add_argument("--limit", metavar="SET", help="one instruction set, e.g. 'AVX2'; default: all there are")
    parser.add_argument("--model", type=Path, help="model file to measure; default: the one that ships")
    parser.add_argument("--quick", action="store_true", help="smoke test with tiny shapes; its figures mean nothing")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("docs"), metavar="FOLDER",
        help="where performance.json, .md and .png go; sections not run keep their figures (default: docs)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Measure, then write JSON, Markdown and chart.

    Raises:
        BenchmarkError: an unknown section was asked for, or one failed.
    """
    from TernarySegmentLib.bench import report

    chosen = options.sections or list(SECTIONS)
    unknown = [name for name in chosen if name not in SECTIONS]
    if unknown:
        raise BenchmarkError(f"there is no section {unknown[0]}; choose of {', '.join(SECTIONS)}")
    plan = Plan(options.ct, options.rounds, quick=options.quick, limit=options.limit, model=options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / RESULTS
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results["machine"] = machine.describe()
    results["quick"] = plan.quick
    for name in chosen:
        print(name, file=sys.stderr, flush=True)
        found = SECTIONS[name](plan)
        # instruction sets measured one by one add up
        keep = name == "networks" and plan.limit and results["networks"] if name in results else {}
        results[name] = {**(keep or {}), **found}
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(report.write(results, options.output))
    return 0
