"""The engine believes nothing that a model file says: any change with a right check sum is refused or harmless."""

from __future__ import annotations

import copy
import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.engine.modelcheck import LABELS, MOST_CHANNELS
from TernarySegmentLib.engine.network import Network, drain
from TernarySegmentLib.errors import ModelError

SHIPPED = Path(__file__).resolve().parents[2] / "Resources" / "Models" / "pancreas.npz"
PREDECESSOR = Path(__file__).resolve().parents[1] / "Data" / "predecessor.npz"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Manifest and arrays of the shipped model, written by this version."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    modelfile.save(modelfile.load(SHIPPED), path)
    return modelfile.read_archive(path)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Every place in a JSON value, containers too."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from leaves(each, (*path, key))


def changed(value: Any, path: tuple, new: Any) -> Any:
    """A JSON value with another one at a place; ``...`` removes the place."""
    if not path:
        return new
    result = copy.copy(value)
    if len(path) == 1 and new is ...:
        del result[path[0]]
    else:
        result[path[0]] = changed(value[path[0]], path[1:], new)
    return result


def outcome(manifest: Any, arrays: dict[str, np.ndarray]) -> modelfile.Model | str:
    """The model that contents with a right check sum give, or why they are refused."""
    read = json.loads(json.dumps({**manifest, "sha256": modelfile.digest(manifest, arrays)}))
    try:
        return modelfile.checked(read, arrays, "changed.npz")
    except ModelError as error:
        told = str(error)
    assert "changed.npz" in told
    assert "\n" not in told
    return told


def runs(model: modelfile.Model) -> None:
    """Every stage computes, on every back end that there is, and says the same."""
    for stage in model.stages.values():
        side = 2 * stage.graph.multiple
        levels = np.random.default_rng(0).integers(-127, 128, (side, side, side)).astype(np.int8)
        given_by = [
            drain(Network(stage.graph, stage.weights, each, adaptation=stage.adaptation).run(levels))
            for each in ("auto", "numpy")
        ]
        np.testing.assert_array_equal(*(scores.margin for scores in given_by))
        assert given_by[0].margin.shape == levels.shape
        assert given_by[0].label.max() < len(LABELS)


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.sampled_from([0.5, -1.5, 1e300, float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(["", "input", "first", "conv", "enc0", "skip0", "coarse/first", "pancreas", "x" * 10_000]),
    st.sampled_from([[], {}, [[]], [None], ["input"], ["first", "first"], ["scores"], [1e9, -1e9], {"a": 1}]),
    st.just(...),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_manifest_changed_anywhere_is_refused_or_still_names_a_network_for_the_pancreas(shipped, data):
    manifest, arrays = shipped
    # one stage of each kind says as much as four
    manifest = {**manifest, "stages": {name: manifest["stages"][name] for name in ("coarse", "fine")}}
    arrays = {name: array for name, array in arrays.items() if name.split("/")[0] in manifest["stages"]}
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from([path for path in leaves(manifest) if path]))
        manifest = changed(manifest, where, data.draw(JSON_VALUES))
    model = outcome(manifest, arrays)
    if isinstance(model, modelfile.Model):
        assert model.labels[model.target] == "pancreas"
        assert model.labels == LABELS
        assert {name: stage.graph.to_list() for name, stage in model.stages.items()} == {
            name: [{"trits": 1, **layer, "inputs": tuple(layer["inputs"])} for layer in stage["layers"]]
            for name, stage in manifest["stages"].items()
        }
        # what still fits every stored weight has the same shapes as before
        assert model.parameters("fine") == 3_193_344


DTYPES = ["int8", "uint8", "int32", "int64", "float32", "float64", "<U4", "complex64", "bool", ">i4"]


def other_array(array: np.ndarray, data: Any) -> np.ndarray | None:
    """An array of another length, shape, type or content; None leaves it out."""
    how = data.draw(st.sampled_from(["missing", "shorter", "longer", "shape", "type", "extreme", "noise", "empty"]))
    flat = np.atleast_1d(array).ravel()
    if how == "missing":
        return None
    if how == "shorter":
        return flat[: data.draw(st.integers(0, flat.size - 1))]
    if how == "longer":
        return np.concatenate([flat, flat[: data.draw(st.integers(1, flat.size))]])
    if how == "shape":
        return data.draw(st.sampled_from([flat, array[None], np.atleast_1d(array).T, flat.reshape(-1, 1)]))
    if how == "type":
        return array.astype(data.draw(st.sampled_from(DTYPES)))
    if how == "empty":
        return array[..., None][..., :0]
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    if array.dtype.kind == "f":
        return np.array(data.draw(st.sampled_from([np.nan, np.inf, -1.0, 0.0, 1e300])), array.dtype)
    limits = np.iinfo(array.dtype)
    if how == "extreme":
        return np.full_like(array, data.draw(st.sampled_from([limits.min, limits.max])))
    return random.integers(limits.min, limits.max, array.shape, array.dtype, endpoint=True)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_an_array_changed_anyhow_is_refused_or_runs_alike_on_every_back_end(shipped, data):
    manifest, arrays = shipped
    manifest = {**manifest, "stages": {"coarse": manifest["stages"]["coarse"], "fine": manifest["stages"]["coarse"]}}
    arrays = {name: array for name, array in arrays.items() if name.startswith("coarse/")}
    arrays |= {name.replace("coarse", "fine"): array for name, array in arrays.items()}
    name = data.draw(st.sampled_from(sorted(name for name in arrays if name.startswith("coarse/"))))
    new = other_array(arrays[name], data)
    arrays = {key: array for key, array in {**arrays, name: new}.items() if array is not None}
    model = outcome(manifest, arrays)
    if isinstance(model, modelfile.Model):
        assert new is not None
        assert (new.dtype, new.shape) == (modelfile.read_archive(SHIPPED)[1][name].dtype, shipped[1][name].shape)
        runs(model)


def edited(manifest: dict[str, Any], stage: str, layer: str, **fields: Any) -> dict[str, Any]:
    """The manifest with fields of one layer changed."""
    layers = [{**each, **fields} if each["name"] == layer else each for each in manifest["stages"][stage]["layers"]]
    return changed(manifest, ("stages", stage, "layers"), layers)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda m: {**m, "target": 5}, "the target, pancreas, is 5", id="another organ"),
        pytest.param(
            lambda m: {**m, "labels": [*m["labels"][:5], "pancreas", *m["labels"][6:8], "liver"]}, "its labels are",
            id="labels exchanged",
        ),
        pytest.param(lambda m: edited(m, "fine", "enc1", inputs=["dec1"]), "which no layer before it", id="circle"),
        pytest.param(lambda m: edited(m, "fine", "enc1", inputs=["enc1"]), "which no layer before it", id="itself"),
        pytest.param(lambda m: edited(m, "fine", "skip0", inputs=["up0", "up0"]), "reads", id="same tensor twice"),
        pytest.param(lambda m: edited(m, "fine", "skip0", inputs=["up0", "enc1"]), "different sizes", id="sizes"),
        pytest.param(lambda m: edited(m, "fine", "enc1", channels=MOST_CHANNELS + 1), "channels", id="too wide"),
        pytest.param(lambda m: edited(m, "fine", "enc1", channels=64), "channels and reads", id="widths differ"),
        pytest.param(lambda m: edited(m, "fine", "enc1", channels=64.0), "is 64.0", id="not a whole number"),
        pytest.param(lambda m: edited(m, "fine", "enc1", trits=5), "the trits of layer enc1", id="many trits"),
        pytest.param(lambda m: edited(m, "fine", "enc1", trits=3), "not 3 of each", id="trits and words"),
        pytest.param(lambda m: edited(m, "fine", "skip0", trits=2), "makes 2 trits of a sum", id="trits of no sum"),
        pytest.param(lambda m: edited(m, "fine", "down1", stride=1), "finer than the grid's blocks", id="no stride"),
        pytest.param(lambda m: edited(m, "fine", "enc0", inputs=["input"]), "which no layer before it", id="input"),
        pytest.param(lambda m: edited(m, "fine", "scores", kind="conv"), "does not end with its head", id="no head"),
        pytest.param(lambda m: changed(m, ("stages", "fine", "spacing"), 0.001), "spacing", id="tiny voxels"),
        pytest.param(
            lambda m: changed(m, ("stages", "fine2", "window"), [-100.0, 200.0]), "different windows", id="windows"
        ),
        pytest.param(lambda m: changed(m, ("stages", "fine", "window"), [275, -125]), "window", id="window turned"),
        pytest.param(lambda m: changed(m, ("stages", "coarse"), ...), "not coarse and fine", id="no coarse stage"),
        pytest.param(lambda m: changed(m, ("stages", "fine2"), ...), "arrays of no layer", id="arrays left over"),
        pytest.param(lambda m: {**m, "calibration": {"temperature": 0}}, "its temperature", id="no temperature"),
        pytest.param(
            lambda m: changed(m, ("stages", "fine", "adaptation"), 1.5), "the adaptation of stage fine is 1.5",
            id="adapts too far",
        ),
        pytest.param(
            lambda m: changed(m, ("stages", "coarse", "adaptation"), 0.5), "layer first of stage coarse has arrays",
            id="adapts to what is not usual",
        ),
    ],
)  # fmt: skip
def test_what_the_engine_cannot_run_is_refused_saying_why(shipped, change, reason):
    manifest, arrays = shipped
    told = outcome(change(manifest), arrays)
    assert isinstance(told, str)
    assert "cannot be used" in told
    assert reason in told


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        pytest.param("fine/enc0/low", lambda a: a[:-1], "low of layer enc0 of stage fine is int32 (63,)", id="short"),
        pytest.param("fine/enc0/high", lambda a: np.full_like(a, -(2**31)), "cross", id="thresholds cross"),
        pytest.param("fine/enc0/negative", lambda a: np.full_like(a, 255), "negative and zero", id="planes disagree"),
        pytest.param("fine/first/taps", lambda a: np.full_like(a, -128), "holds -128", id="weight out of range"),
        pytest.param("fine/enc0/usual", lambda a: a * np.float32(np.nan), "what is usual in", id="not a number"),
        pytest.param("fine/enc0/usual", lambda a: a * 0, "what is usual in layer enc0", id="no deviation"),
        pytest.param("fine/enc0/usual", lambda a: a[:1], "usual of layer enc0 of stage fine is float32 (1,", id="half"),
        pytest.param("fine/scores/bias", lambda a: np.full_like(a, -(2**31)), "has a bias of", id="bias"),
        pytest.param("fine/scores/step", lambda a: np.array(np.nan), "the step of layer scores", id="step"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_the_graph_are_refused_saying_why(shipped, name, change, reason):
    manifest, arrays = shipped
    told = outcome(manifest, {**arrays, name: change(arrays[name])})
    assert isinstance(told, str)
    assert reason in told


def archive(members: dict[str, bytes], path: Path, **options: Any) -> Path:
    """A ZIP file of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def npy(kind: str, shape: str, data: bytes = b"") -> bytes:
    """An ``.npy`` with a header of one's own."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"a.npy": npy("|u1", "(10**15,)")}, id="a sum as shape"),
        pytest.param({"a.npy": npy("|u1", "(-1,)", b"1")}, id="negative"),
        pytest.param({"a.npy": npy("|u1", "(10000000000,)")}, id="huge"),
        pytest.param({"a.npy": npy("|O", "(1,)", b"x" * 8)}, id="object"),
        pytest.param({"a.npy": npy("|u1", "__import__('os').abort()")}, id="code"),
        pytest.param({"a.npy": b"\0" * 300 * 2**20}, id="bomb"),
        pytest.param({"a.txt": b"text"}, id="no array"),
    ],
)  # fmt: skip
def test_an_archive_that_claims_more_than_it_holds_is_refused_without_making_room(members, tmp_path):
    with pytest.raises(ModelError, match="damaged"):
        modelfile.load(archive(members, tmp_path / "model.npz"))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 10_000, "null", "[]", '"x"', "{}", "\0\xff"])
def test_a_manifest_that_is_none_is_refused(text, tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(text.encode("latin-1"), np.uint8))
    with pytest.raises(ModelError):
        modelfile.load(archive({"manifest.npy": buffer.getvalue()}, tmp_path / "model.npz"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_folder_is_no_model_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name in ("pipe.npz", "folder.npz"):
        with pytest.raises(ModelError):
            modelfile.load(tmp_path / name)


def test_a_file_of_several_trits_runs_alike_on_every_back_end_and_counts_shared_weights_once():
    model = modelfile.load(SHIPPED)
    assert [stage.graph.trits for stage in model.fine] == [2, 2, 2, 2, 1, 1]
    assert model.parameters("fine") == model.parameters("fine5")
    two, one = (model.stages[name].weights["enc0"] for name in ("fine", "fine5"))
    assert two.inputs == 2 * one.inputs
    assert two.nonzero.shape == one.nonzero.shape, "kept in memory once as well"
    runs(model)


def test_files_from_before_several_trits_are_read():
    model = modelfile.load(PREDECESSOR)
    assert "trits" not in modelfile.read_archive(PREDECESSOR)[0]["stages"]["fine"]["layers"][0]
    assert {layer.trits for layer in model.stages["fine"].graph.layers} == {1}


def test_files_from_before_calibration_are_read(shipped):
    manifest, arrays = shipped
    model = outcome(changed(manifest, ("calibration",), ...), arrays)
    assert isinstance(model, modelfile.Model)
    assert (model.temperature, model.bias) == (1.0, 0.0)
    assert json.loads(json.dumps(model.provenance)) == manifest["provenance"]
