"""What must be there before the first pass: the model, and compiled kernels."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.engine.modelfile import Model
from TernarySegmentLib.pipeline.clock import Clock
from TernarySegmentLib.pipeline.options import DEFAULT_MODEL, Options, Progress


@lru_cache(maxsize=2)
def _read_model(path: Path, changed_ns: int) -> Model:
    return modelfile.load(path)


def load_model(path: Path = DEFAULT_MODEL) -> Model:
    """The model file, read and checked once per process and change of the file.

    Raises:
        ModelError: it is missing, damaged, foreign or from a newer version.

    Examples:
        >>> model = load_model()
        >>> model.stages["coarse"].spacing, len(model.labels), model.labels[model.target]
        (4.0, 9, 'pancreas')
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:  # reading it says why
        changed_ns = 0
    return _read_model(path, changed_ns)


def prepare_kernels(options: Options, clock: Clock) -> Generator[Progress, None, None]:
    """On a computer's first run let a child process compile: LLVM would hold up every thread of this one."""
    if options.backend == "numpy" or importlib.util.find_spec("numba") is None:
        return
    try:
        from TernarySegmentLib.engine import jit
    except Exception:  # installed, but broken or not for this NumPy: the kernels' loader takes what computes instead
        return
    if not jit.is_warm() and jit.cache_folder() is not None:
        try:
            starting = jit.warm_in_child(options.python)
        except OSError:  # no such interpreter, or no program may be started here: then this process compiles
            return
        with starting as child:
            try:
                while child.poll() is None:
                    yield clock.at("Preparing the accelerator (only this once)", 0.02)
                    time.sleep(0.05)
            finally:
                child.kill()
