"""The model file: one ``.npz`` without pickle, checked on loading.

It holds a JSON manifest (format, labels, preprocessing, layer graphs, provenance) and the arrays of every layer,
named ``<stage>/<layer>/<array>``. The manifest carries a SHA-256 over all of it, so a damaged file is refused instead
of giving a damaged mask.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
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
from TernarySegmentLib.engine.modelcheck import (
    LABELS,
    MOST_STAGES,
    SPACING_MM,
    TARGET,
    WINDOW_HU,
    Unfit,
    check_arrays,
    check_labels,
    mapping,
    number,
    read_graph,
    require,
    shown,
    weighted,
    whole,
)
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights, LayerWeights
from TernarySegmentLib.errors import ModelError

FORMAT = "TernarySegment model"
VERSION = 3
"""Since 2 a layer says how many trits it makes of each sum; in files of version 1 it is one. Since 3 a stage may say
how far its thresholds follow a scan; before, they do not."""
MANIFEST = "manifest"
FIELDS = {"format", "version", "labels", "target", "provenance", "calibration", "stages", "sha256"}
MOST_BYTES = 256 * 2**20
"""Of a model file, packed and unpacked; the shipped one has 3 MB."""


@dataclass(frozen=True)
class Stage:
    """One network and the grid it works on.

    Attributes:
        spacing: working grid, mm.
        graph: the layers.
        weights: parameters by layer name.
        window: HU window of the integer levels.
        adaptation: how far thresholds follow a scan, 0 to 1, see :mod:`TernarySegmentLib.engine.adaptation`.
    """

    spacing: float
    graph: Graph
    weights: Mapping[str, LayerWeights]
    window: tuple[float, float] = WINDOW
    adaptation: float = 0.0


@dataclass(frozen=True)
class Model:
    """Everything inference needs.

    Attributes:
        stages: ``coarse`` (localisation) and ``fine``; further ones named ``fine…`` vote with it, on their own grids.
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
        """Number of trained weights in a stage's convolutions and head; those that several trits share count once."""
        graph = self.stages[stage].graph.single()
        return sum(layer.sums * graph.input_channels(layer) * layer.kernel**3 for layer in weighted(graph))


def _arrays(weights: LayerWeights) -> dict[str, np.ndarray]:
    """The arrays of a layer as they are stored: small integers and bit planes."""
    if isinstance(weights, HeadWeights):
        return {"matrix": weights.matrix.astype(np.int8), "bias": weights.bias, "step": np.array(weights.step)}
    thresholds = {"low": weights.low, "high": weights.high}
    if weights.usual is not None:
        thresholds["usual"] = weights.usual
    if isinstance(weights, FirstWeights):
        return {"taps": weights.taps.astype(np.int8), **thresholds}
    # stored channel by channel, so that unused bits of half-filled words can be left out
    nonzero, negative = (
        np.packbits(_bits(plane, weights.inputs), axis=None, bitorder="little") for plane in weights.whole_planes
    )
    return {"nonzero": nonzero, "negative": negative, **thresholds}


def _bits(plane: np.ndarray, inputs: int) -> np.ndarray:
    """Weight plane uint32 (k³·words, channels) to its used bits, uint8 (k³, channels, inputs)."""

    by_word = plane.reshape(-1, words(inputs), plane.shape[1]).swapaxes(1, 2)
    return unpack_bits(by_word, inputs)


def _plane(stored: np.ndarray, layer: Layer, inputs: int) -> np.ndarray:
    """The inverse of storing a weight plane."""

    count = layer.kernel**3 * layer.sums * inputs
    bits = np.unpackbits(stored, count=count, bitorder="little").reshape(-1, layer.sums, inputs)
    return np.ascontiguousarray(pack_bits(bits.astype(bool)).swapaxes(1, 2).reshape(-1, layer.sums))


def _weights(layer: Layer, inputs: int, arrays: Mapping[str, np.ndarray]) -> LayerWeights:
    if layer.kind == "first":
        return FirstWeights(arrays["taps"].astype(np.float32), arrays["low"], arrays["high"], arrays.get("usual"))
    if layer.kind == "head":
        return HeadWeights(
            arrays["matrix"].astype(np.float32), arrays["bias"], len(LABELS), TARGET, float(arrays["step"])
        )
    nonzero, negative = (_plane(arrays[name], layer, inputs) for name in ("nonzero", "negative"))
    return ConvolutionWeights.from_planes(
        nonzero, negative, arrays["low"], arrays["high"], inputs, layer.kernel, layer.stride, arrays.get("usual")
    )


def digest(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over everything in a model file but the digest itself."""
    whole = hashlib.sha256(json.dumps({**manifest, "sha256": ""}, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype.str} {array.shape}".encode())
        whole.update(array.tobytes())
    return whole.hexdigest()


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
            name: {
                "spacing": stage.spacing,
                "window": list(stage.window),
                "adaptation": stage.adaptation,
                "layers": stage.graph.to_list(),
            }
            for name, stage in model.stages.items()
        },
    }
    arrays = {
        f"{stage_name}/{layer_name}/{name}": array
        for stage_name, stage in model.stages.items()
        for layer_name, weights in stage.weights.items()
        for name, array in _arrays(weights).items()
    }
    return write_archive(manifest, arrays, path)


def write_archive(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: str | Path) -> str:
    """Write a manifest and arrays, whole or not at all, with their SHA-256, which is returned."""
    sha256 = digest(manifest, arrays)
    text = np.frombuffer(json.dumps({**manifest, "sha256": sha256}).encode(), np.uint8)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez_compressed(file, **{MANIFEST: text}, **arrays)  # type: ignore[arg-type]
    os.replace(temporary, path)
    return sha256


def read_archive(path: str | Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The manifest and the arrays of a model file, before anything but the format is checked.

    Raises:
        ModelError: there is no such file, it is damaged, or it is no model file.
    """
    path = Path(path)
    foreign = f"{path} is not a TernarySegment model; choose a .npz file that the export command wrote."
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MOST_BYTES:  # a pipe would never end
            raise ModelError(foreign)
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The model file {path} cannot be read ({error.strerror}); check the path, "
            "or name none to use the one that came along."
        ) from error
    try:
        arrays = _unpacked(content)
        text = arrays.pop(MANIFEST).tobytes()
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError) as error:
        if content[:2] == b"PK":
            raise ModelError(f"The model file {path} is damaged; export or copy it again.") from error
        raise ModelError(foreign) from error
    except KeyError as error:  # an archive of other arrays
        raise ModelError(foreign) from error
    try:
        manifest = json.loads(text)
        json.dumps(manifest)  # nested too deeply to be summed up is damaged as well
    except (ValueError, RecursionError) as error:
        raise ModelError(f"The model file {path} is damaged; export or copy it again.") from error
    return manifest, arrays


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive, none larger than the bytes that are there.

    Raises:
        ValueError: it holds something else.
    """
    arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MOST_BYTES:
            raise ValueError("more than a model can be")
        for member in members:
            name, ending = member.filename[:-4], member.filename[-4:]
            if ending != ".npy" or name in arrays or member.flag_bits & 1:  # the last: encrypted
                raise ValueError(f"{member.filename} is no array, or there twice")
            arrays[name] = _array(archive.read(member))
    return arrays


def _array(stored: bytes) -> np.ndarray:
    """One ``.npy``; NumPy's own reader makes room for whatever shape the header names before it looks for the data."""
    file = io.BytesIO(stored)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not what the export command writes")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    count = math.prod(shape)
    if fortran or kind.hasobject or min(shape, default=0) < 0 or count * kind.itemsize != len(stored) - file.tell():
        raise ValueError("header and data differ")
    # a copy: the kernels want arrays that can be written to
    return np.frombuffer(stored, kind, count, file.tell()).reshape(shape).copy()


def load(path: str | Path) -> Model:
    """Read and check a model file.

    Raises:
        ModelError: there is no such file, it is damaged, it is not one of ours, it is from a newer version, or it
            describes no network that the engine runs; said in one sentence.
    """
    return checked(*read_archive(path), path)


def checked(manifest: Any, arrays: Mapping[str, np.ndarray], path: str | Path) -> Model:
    """The model that a file's contents describe.

    Args:
        manifest: what the JSON text says.
        arrays: by name.
        path: of the file, for sentences about it.

    Raises:
        ModelError: see :func:`load`.
    """
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelError(f"{path} is not a TernarySegment model; choose a .npz file that the export command wrote.")
    version = manifest.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ModelError(
            f"The model file {path} has format version {version}, this program reads up to {VERSION}; "
            "update TernarySegment."
        )
    if digest(manifest, arrays) != manifest.get("sha256"):
        raise ModelError(f"The model file {path} is damaged (SHA-256 differs); export or copy it again.")
    try:
        return _model(manifest, arrays)
    except Unfit as error:
        raise ModelError(f"The model file {path} cannot be used: {error}; export it again.") from error


def _model(manifest: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Model:
    require(set(manifest) <= FIELDS, f"it holds the unknown fields {shown(sorted(set(manifest) - FIELDS))}")
    whole(manifest.get("version"), "its version", range(1, VERSION + 1))
    check_labels(manifest.get("labels"), manifest.get("target"))
    described = mapping(manifest.get("stages"), "its list of stages")
    others = [name for name in described if name != "coarse" and not name.startswith("fine")]
    complete = len(described) >= 2 and "coarse" in described and not others
    require(complete and len(described) <= MOST_STAGES, f"its stages are {shown(list(described))}, not coarse and fine")
    stages = {name: _stage(name, stage, arrays) for name, stage in described.items()}
    known = {f"{name}/{layer.name}" for name, stage in stages.items() for layer in weighted(stage.graph)}
    strays = [name for name in arrays if name.rpartition("/")[0] not in known]
    require(not strays, f"it holds arrays of no layer, {shown(strays)}")
    provenance = mapping(manifest.get("provenance"), "its provenance")
    text = all(isinstance(value, str) for value in provenance.values())
    require(text, "its provenance holds something other than text")
    calibration = mapping(manifest.get("calibration", {}), "its calibration")  # none in files from before it
    model = Model(
        stages, LABELS, TARGET, provenance, manifest["sha256"],
        number(calibration.get("temperature", 1.0), "its temperature", 0.01, 100),
        number(calibration.get("bias", 0.0), "its bias", -100, 100),
    )  # fmt: skip
    windows = {stage.window for stage in model.fine}
    require(len(windows) == 1, f"its fine stages look through different windows, {shown(windows)}")
    return model


def _stage(name: str, described: Any, arrays: Mapping[str, np.ndarray]) -> Stage:
    stage = {"adaptation": 0.0, **mapping(described, f"stage {name}")}  # left out before version 3
    require(
        set(stage) == {"spacing", "window", "adaptation", "layers"}, f"stage {name} has fields {shown(sorted(stage))}"
    )
    spacing = number(stage["spacing"], f"the spacing of stage {name}", *SPACING_MM)
    window = stage["window"]
    require(isinstance(window, list) and len(window) == 2, f"the window of stage {name} is {shown(window)}")
    low, high = (number(edge, f"the window of stage {name}", *WINDOW_HU) for edge in window)
    require(low < high, f"the window of stage {name} runs from {low:g} to {high:g}")
    adaptation = number(stage["adaptation"], f"the adaptation of stage {name}", 0, 1)
    graph = read_graph(stage["layers"], name)
    weights = {}
    for layer in weighted(graph):
        prefix, inputs = f"{name}/{layer.name}/", graph.input_channels(layer)
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        check_arrays(layer, inputs, own, name, adaptation > 0)
        weights[layer.name] = _weights(layer, inputs, own)
    return Stage(spacing, graph, weights, (low, high), adaptation)
