"""The exported ONNX models: the ternary form is the integer engine, the others have its layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from TernarySegmentLib.engine.network import Network, drain, fold_levels
from TernarySegmentLib.pipeline import DEFAULT_MODEL, load_model

pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime, the judge of the export, is not installed")

from TernarySegmentLib.bench.onnx_export import export_onnx, single, to_onnx  # noqa: E402

SHAPE = (16, 32, 48)
ONE_TRIT = Path(__file__).parents[1] / "Data" / "generation-5.npz"


def test_the_full_precision_sibling_of_several_trits_has_one_channel_for_each_sum():
    stage = load_model().stages["fine"]
    alone = single(stage)
    assert alone.graph == load_model(ONE_TRIT).stages["fine"].graph
    session = onnxruntime.InferenceSession(
        to_onnx(stage, SHAPE, "float").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"input": network_input() / 127})[0].shape[1] == alone.graph["scores"].channels


def levels() -> np.ndarray:
    return np.random.default_rng(0).integers(-127, 128, SHAPE).astype(np.int8)


def network_input() -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(fold_levels(levels())[1:-1, 1:-1, 1:-1], -1, 0)[None], np.float32)


@pytest.mark.parametrize(
    ("model", "name"), [(DEFAULT_MODEL, "coarse"), (DEFAULT_MODEL, "fine"), (ONE_TRIT, "fine")], ids=str
)
def test_the_ternary_form_gives_the_engines_scores_integer_for_integer(model, name, tmp_path):
    stage = load_model(model).stages[name]
    path = tmp_path / "network.onnx"
    export_onnx(stage, SHAPE, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (folded,) = session.run(None, {"input": network_input()})
    labels = folded.shape[1] // 8
    blocks = folded.reshape(labels, 2, 2, 2, *(n // 2 for n in SHAPE))
    scores = np.einsum("labczyx->lzaybxc", blocks).reshape(labels, *SHAPE)
    ours = drain(Network(stage.graph, stage.weights).run(levels()))
    target = labels - 1
    np.testing.assert_array_equal(ours.label, scores.argmax(0))
    np.testing.assert_array_equal(ours.margin, scores[target] - np.delete(scores, target, 0).max(0))


def test_the_8_bit_form_stays_near_the_full_precision_sibling():
    stage = load_model(ONE_TRIT).stages["fine"]
    outputs = []
    for form in ("float", "int8"):
        model = to_onnx(stage, SHAPE, form).SerializeToString()
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        outputs.append(session.run(None, {"input": network_input() / 127})[0])
    assert (
        np.corrcoef(outputs[0].ravel(), outputs[1].ravel())[0, 1] > 0.97
    )  # 0.978 without VNNI, where pairs of products saturate at 16 bits
