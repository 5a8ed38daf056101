"""Scans for the tests of batches, and the command line as a process that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk
from quick_model import quick_model

from TernarySegmentLib import cli
from TernarySegmentLib.cohort.scan import STOPPED
from TernarySegmentLib.phantom import make_phantom

ROOT = Path(__file__).resolve().parents[2]
SPACING = (3.0, 3.0, 5.0)
"""Coarse, so that a scan takes a second."""


def write_phantoms(folder: Path, count: int) -> Path:
    """Different patients in folders of their own, one name with a blank and an umlaut."""
    for seed in range(count):
        path = folder / (f"p{seed}" if seed else "Müller 0") / "ct.nii.gz"
        path.parent.mkdir(parents=True)
        sitk.WriteImage(make_phantom(seed, SPACING).ct, str(path))
    return folder


def batch(*arguments: object) -> int:
    """Run ``batch`` in this process, without Dask and with the quick model unless another is given."""
    return cli.main(["batch", "--model", str(quick_model()), *map(str, arguments), "--quiet", "--workers", "1"])


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start a program of this environment in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def start_batch(*arguments: object) -> subprocess.Popen[str]:
    """Start ``batch`` as a process, with the quick model unless another is given."""
    return start("TernarySegmentLib", "batch", "--model", quick_model(), *arguments)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Wait while a process runs until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "too slow"
        time.sleep(0.05)


def records_in(folder: Path) -> list[Path]:
    """The records of scans that were done to the end."""
    whole = [path for path in folder.rglob("*.json") if not path.name.startswith(".")]
    return [path for path in whole if STOPPED not in path.read_text(encoding="utf-8")]
