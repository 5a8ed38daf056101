"""The whole job as one generator: options, localise, decide, restore, measure. Knows no files and no Slicer."""

from TernarySegmentLib.pipeline.decide import CLIP_LOGITS, MINIMUM_ML, calmed, plausible
from TernarySegmentLib.pipeline.job import FineOutput, fine_pass, put_right, restored, run, segment
from TernarySegmentLib.pipeline.loading import load_model
from TernarySegmentLib.pipeline.options import DEFAULT_MODEL, Options, Progress, Result

__all__ = [
    "CLIP_LOGITS",
    "DEFAULT_MODEL",
    "MINIMUM_ML",
    "FineOutput",
    "Options",
    "Progress",
    "Result",
    "calmed",
    "fine_pass",
    "load_model",
    "plausible",
    "put_right",
    "restored",
    "run",
    "segment",
]
