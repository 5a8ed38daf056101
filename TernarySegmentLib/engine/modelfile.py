"""The model file: one ``.npz`` without pickle, checked on loading.

It holds a JSON manifest (format, labels, preprocessing, layer graphs, provenance) and the arrays of every layer,
named ``<stage>/<layer>/<array>``. The manifest carries a SHA-256 over all of it, so a damaged file is refused instead
of giving a damaged mask.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from TernarySegmentLib.engine.bitplanes import pack_bits, unpack_bits, words
from TernarySegmentLib.engine.graph import Graph, Layer
from TernarySegmentLib.engine.levels import WINDOW
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, LayerWeights
from TernarySegmentLib.errors import ModelError

FORMAT = "TernarySegment model"
VERSION = 1
MANIFEST = "manifest"


@dataclass(frozen=True)
class Stage:
    """One network and the grid it works on.

    Attributes:
        spacing: working grid, mm.
        graph: the layers.
        weights: parameters by layer name.
        window: HU window of the integer levels.
    """

    spacing: float
    graph: Graph
    weights: Mapping[str, LayerWeights]
    window: tuple[float, float] = WINDOW


@dataclass(frozen=True)
class Model:
    """Everything inference needs.

    Attributes:
        stages: ``coarse`` (localisation) and ``fine``; further ones named ``fine…`` on the same grid vote with it.
        labels: names of the output labels; the first is background.
        target: index of the label to segment.
        provenance: where the weights come from: name, version, data, settings, commands.
        sha256: digest of the file's contents; empty before it is saved.
        temperature, bias: calibration of the fine stage: (margin - bias) / temperature are log-odds, so that a voxel
            is as likely pancreas as not where the margin is ``bias``; 1 and 0 read the margins as they are.
    """

    stages: Mapping[str, Stage]
    labels: tuple[str, ...]
    target: int
    provenance: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    temperature: float = 1.0
    bias: float = 0.0

    @property
    def fine(self) -> tuple[Stage, ...]:
        """The networks whose margins are averaged in the fine pass."""
        return tuple(self.stages[name] for name in self.fine_names)

    @property
    def fine_names(self) -> tuple[str, ...]:
        """Names of these networks."""
        return tuple(name for name in sorted(self.stages) if name.startswith("fine"))

    def parameters(self, stage: str) -> int:
        """Number of trained weights in a stage's convolutions and head."""
        graph = self.stages[stage].graph
        return sum(
            layer.channels * graph.input_channels(layer) * layer.kernel**3
            for layer in graph.layers
            if layer.kind in ("first", "conv", "head")
        )


def _arrays(weights: LayerWeights) -> dict[str, np.ndarray]:
    """The arrays of a layer as they are stored: small integers and bit planes."""
    if isinstance(weights, FirstWeights):
        return {"taps": weights.taps.astype(np.int8), "low": weights.low, "high": weights.high}
    if isinstance(weights, HeadWeights):
        return {"matrix": weights.matrix.astype(np.int8), "bias": weights.bias, "step": np.array(weights.step)}
    # stored channel by channel, so that unused bits of half-filled words can be left out
    nonzero, negative = (
        np.packbits(_bits(plane, weights.inputs), axis=None, bitorder="little")
        for plane in (weights.nonzero, weights.negative)
    )
    return {"nonzero": nonzero, "negative": negative, "low": weights.low, "high": weights.high}


def _bits(plane: np.ndarray, inputs: int) -> np.ndarray:
    """Weight plane uint32 (k³·words, channels) to its used bits, uint8 (k³, channels, inputs)."""

    by_word = plane.reshape(-1, words(inputs), plane.shape[1]).swapaxes(1, 2)
    return unpack_bits(by_word, inputs)


def _plane(stored: np.ndarray, layer: Layer, inputs: int) -> np.ndarray:
    """The inverse of storing a weight plane."""

    count = layer.kernel**3 * layer.channels * inputs
    bits = np.unpackbits(stored, count=count, bitorder="little").reshape(-1, layer.channels, inputs)
    return np.ascontiguousarray(pack_bits(bits.astype(bool)).swapaxes(1, 2).reshape(-1, layer.channels))


def _weights(layer: Layer, inputs: int, arrays: Mapping[str, np.ndarray], model: Mapping[str, Any]) -> LayerWeights:
    if layer.kind == "first":
        return FirstWeights(arrays["taps"].astype(np.float32), arrays["low"], arrays["high"])
    if layer.kind == "head":
        matrix = arrays["matrix"].astype(np.float32)
        return HeadWeights(matrix, arrays["bias"], len(model["labels"]), model["target"], float(arrays["step"]))
    nonzero, negative = (_plane(arrays[name], layer, inputs) for name in ("nonzero", "negative"))
    return ConvolutionWeights(nonzero, negative, arrays["low"], arrays["high"], inputs, layer.kernel, layer.stride)


def _digest(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps({**manifest, "sha256": ""}, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(model: Model, path: str | Path) -> str:
    """Write a model file, whole or not at all; returns its SHA-256."""
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "labels": list(model.labels),
        "target": model.target,
        "provenance": dict(model.provenance),
        "calibration": {"temperature": model.temperature, "bias": model.bias},
        "stages": {
            name: {"spacing": stage.spacing, "window": list(stage.window), "layers": stage.graph.to_list()}
            for name, stage in model.stages.items()
        },
    }
    arrays = {
        f"{stage_name}/{layer_name}/{name}": array
        for stage_name, stage in model.stages.items()
        for layer_name, weights in stage.weights.items()
        for name, array in _arrays(weights).items()
    }
    manifest["sha256"] = _digest(manifest, arrays)
    text = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **{MANIFEST: text}, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)
    return str(manifest["sha256"])


def load(path: str | Path) -> Model:
    """Read and check a model file.

    Raises:
        ModelError: there is no such file, it is damaged, it is not one of ours, or it is from a newer version.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read ({error.strerror}); check the path, "
            "or name none to use the one that came along."
        ) from error
    foreign = f"{path} is not a TernarySegment model; choose a .npz file that the export command wrote."
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, NotImplementedError) as error:
        if content[:2] == b"PK":
            raise ModelError(f"The model file {path} is damaged; export or copy it again.") from error
        raise ModelError(foreign) from error
    if MANIFEST not in arrays:
        raise ModelError(foreign)
    try:
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
    except ValueError as error:
        raise ModelError(f"The model file {path} is damaged; export or copy it again.") from error
    return _checked(manifest, arrays, path, foreign)


def _checked(manifest: Any, arrays: dict[str, np.ndarray], path: Path, foreign: str) -> Model:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(foreign)
    if manifest["version"] > VERSION:
        raise ModelError(
            f"The model file {path} has format version {manifest['version']}, this program reads up to {VERSION}; "
            "update TernarySegment."
        )
    if _digest(manifest, arrays) != manifest["sha256"]:
        raise ModelError(f"The model file {path} is damaged (SHA-256 differs); export or copy it again.")
    stages = {}
    for stage_name, stage in manifest["stages"].items():
        graph = Graph.from_list(stage["layers"])
        weights = {}
        for layer in graph.layers:
            prefix = f"{stage_name}/{layer.name}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            if own:
                weights[layer.name] = _weights(layer, graph.input_channels(layer), own, manifest)
        stages[stage_name] = Stage(stage["spacing"], graph, weights, tuple(stage["window"]))
    return Model(
        stages, tuple(manifest["labels"]), manifest["target"], manifest["provenance"], manifest["sha256"],
        **manifest.get("calibration", {}),  # files from before calibration have none
    )  # fmt: skip
