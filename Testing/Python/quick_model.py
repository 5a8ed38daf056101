"""The shipped weights with one voter of six: a quarter of the time, for tests of all but how well it segments."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, load_model
from TernarySegmentLib.training.voters import with_voters


@functools.cache
def quick_model() -> Path:
    """The model file, written once in each process and gone with it."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shipped = load_model()
    modelfile.save(with_voters(shipped, DEFAULT_MODEL, shipped.fine_names[-1:]), folder / "quick.npz")
    return folder / "quick.npz"


def quick_options(**values: Any) -> Options:
    """Options of the pipeline with it."""
    return Options(model=quick_model(), **values)
