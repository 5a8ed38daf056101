"""What only many runs show. Not part of ``make test``: run ``make soak``."""

from __future__ import annotations

import gc
import hashlib

import numpy as np
import pytest
import SimpleITK as sitk
from case_counts import CASES

from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import Options, run, segment

RUNS, WARM_UP = 500, 50
GROWTH_MB = 30
"""Of resident memory after the first runs; 64 kB a run that is never given back would be seen."""


def resident_mb() -> float:
    """Memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


@pytest.mark.soak
def test_500_runs_give_one_mask_and_hold_no_more_memory_than_50(record_property):
    try:
        resident_mb()
    except OSError:
        pytest.skip("this system does not say how much memory a process holds")
    record_property(CASES, RUNS)
    ct = make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct
    lower, upper = run(segment(ct)).region
    centre = (np.array(lower) + upper) / 2
    region = (tuple(centre - 25), tuple(centre + 25))  # small: what counts is how often
    masks, after_warm_up = set(), 0.0
    for number in range(RUNS):
        if number % 10 == 9:  # one in ten is cancelled halfway
            steps = segment(ct, Options(region=region))
            next(step for step in steps if step.fraction > 0.4)
            steps.close()
            continue
        mask = run(segment(ct, Options(region=region))).mask
        masks.add(hashlib.sha256(sitk.GetArrayViewFromImage(mask)).hexdigest())
        if number == WARM_UP:
            gc.collect()
            after_warm_up = resident_mb()
    gc.collect()
    grown = resident_mb() - after_warm_up
    print(f"{RUNS} runs, {len(masks)} different masks, memory {grown:+.1f} MB after the first {WARM_UP}")
    assert len(masks) == 1
    assert grown < GROWTH_MB
