"""Let the thresholds of a network follow the scan that were fixed when it was exported.

What is usual for its sums is measured on patches like those that it was trained on; weights and thresholds stay.
"""

from __future__ import annotations

from dataclasses import replace

from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.parameters import HeadWeights
from TernarySegmentLib.training.batchnorm import NORM_BATCHES
from TernarySegmentLib.training.data import Case, PatchSampler, divided
from TernarySegmentLib.training.export import export_stage
from TernarySegmentLib.training.initialise import start_from
from TernarySegmentLib.training.network import TernaryNetwork
from TernarySegmentLib.training.runs import build
from TernarySegmentLib.training.settings import Settings


def following(stage: Stage, cases: list[Case], settings: Settings) -> Stage:
    """The same network, with what is usual for its sums.

    Args:
        stage: whose thresholds do not follow a scan yet.
        cases: all prepared cases.
        settings: that it was trained with; its fold is left out, its ``adaptation`` says how far thresholds follow.

    Raises:
        InputError: the network has other layers than the settings say.
    """
    trits = max(layer.trits for layer in stage.graph.layers)
    settings = settings.changed(trits=trits)
    network = build(settings)
    assert isinstance(network, TernaryNetwork)
    start_from(network, stage, PatchSampler(divided(cases, settings.fold)[0], settings), NORM_BATCHES)
    measured = export_stage(network, stage.spacing).weights
    weights = {}
    for name, own in stage.weights.items():
        like = measured[name]
        if not (isinstance(own, HeadWeights) or isinstance(like, HeadWeights)):
            own = replace(own, usual=like.usual)
        weights[name] = own
    return replace(stage, weights=weights, adaptation=settings.adaptation)
