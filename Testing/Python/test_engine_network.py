"""Whole integer networks: thresholds fold exactly, tiling never shows, both back ends agree, the file round-trips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TernarySegmentLib.engine import modelcheck, modelfile
from TernarySegmentLib.engine.graph import Graph, Layer, unet
from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.network import Network, drain, fold_levels, relay
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights
from TernarySegmentLib.engine.thresholds import BatchNorm, fold
from TernarySegmentLib.errors import ModelError

LABELS = len(modelcheck.LABELS)


def random_stage(seed: int, graph: Graph | None = None) -> modelfile.Stage:
    """A small U-Net with random weights and thresholds that keep about a third of the values at zero."""
    random = np.random.default_rng(seed)
    graph = graph or unet((5, 70, 9), LABELS)
    weights: dict = {}
    for layer in graph.layers:
        inputs = graph.input_channels(layer)
        spread = np.sqrt(inputs * layer.kernel**3) * (40 * 127 if layer.kind == "first" else 0.5)
        high = (random.uniform(0.1, 1, layer.channels) * spread).astype(np.int32) + 1
        if layer.kind == "first":
            taps = random.integers(-127, 128, (3, 3, 3, inputs, layer.sums)).astype(np.float32)
            weights[layer.name] = FirstWeights(taps, -high, high)
        elif layer.kind == "conv":
            codes = random.integers(-1, 2, (layer.sums, inputs, *[layer.kernel] * 3), dtype=np.int8)
            weights[layer.name] = ConvolutionWeights.from_codes(codes, -high, high, layer.stride)
        elif layer.kind == "head":
            matrix = random.integers(-127, 128, (inputs, layer.channels)).astype(np.float32)
            bias = random.integers(-300, 300, layer.channels).astype(np.int32)
            weights[layer.name] = HeadWeights(matrix, bias, LABELS, LABELS - 1, 0.01)
    return modelfile.Stage(2.0, graph, weights)


def random_levels(seed: int, shape=(16, 24, 32)) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def scores(stage: modelfile.Stage, levels: np.ndarray, **options):
    return drain(Network(stage.graph, stage.weights, **options).run(levels))


def test_tiling_and_threads_never_show_in_the_result():
    stage, levels = random_stage(1), random_levels(2)
    whole = scores(stage, levels, threads=1, band_products=1e18)
    assert len(np.unique(whole.label)) > 1, "a constant result would prove nothing"
    for threads, products in ((1, 1), (2, 1), (3, 1e5), (2, 1e6)):
        cut = scores(stage, levels, threads=threads, band_products=products)
        np.testing.assert_array_equal(cut.margin, whole.margin)
        np.testing.assert_array_equal(cut.label, whole.label)


@pytest.mark.parametrize("seed", range(4))
def test_numpy_path_gives_the_same_bits_as_popcount_kernels(seed):
    pytest.importorskip("numba", reason="numba is not installed; there is only the NumPy path to run")
    graph = unet((32, 64), LABELS).with_trits(2) if seed == 3 else None
    stage, levels = random_stage(seed, graph), random_levels(seed + 100, (8, 16, 24))
    popcount, blas = (scores(stage, levels, backend=backend) for backend in ("numba", "numpy"))
    np.testing.assert_array_equal(popcount.margin, blas.margin)
    np.testing.assert_array_equal(popcount.label, blas.label)


def test_graphs_may_pool_instead_of_striding():
    graph = Graph(
        (
            Layer("first", "first", ("input",), 6),
            Layer("pool", "pool", ("first",), 6),
            Layer("deep", "conv", ("pool",), 7, kernel=1),
            Layer("up", "upsample", ("deep",), 7),
            Layer("joined", "concat", ("up", "first"), 13),
            Layer("scores", "head", ("joined",), LABELS * 8, kernel=1),
        )
    )
    result = scores(random_stage(3, graph), random_levels(4, (8, 8, 12)))
    assert graph.multiple == 4
    assert result.margin.shape == (8, 8, 12)


def test_progress_rises_to_one_and_closing_stops_the_work():
    stage = random_stage(5)
    network = Network(stage.graph, stage.weights, threads=2, band_products=1)
    fractions = list(network.run(random_levels(6)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    assert len(fractions) > 20
    steps = network.run(random_levels(6))
    next(steps)
    steps.close()  # must return, with no thread left writing


def test_sides_that_do_not_divide_are_refused():
    stage = random_stage(7)
    with pytest.raises(ValueError, match="multiples of 8"):
        scores(stage, random_levels(8, (16, 20, 32)))


CHANNEL = st.tuples(
    st.floats(-3, 3), st.floats(-50, 50), st.floats(0.01, 400), st.floats(-4, 4), st.floats(-2, 2)
)  # scale, mean, variance, weight, bias
EDGES = ((-0.5, 0.5), (0.25, 1.25), (0.75, 1.75))


@settings(max_examples=200, deadline=None)
@given(st.lists(CHANNEL, min_size=1, max_size=4), st.integers(1, 300), st.sampled_from([(), EDGES]))
def test_thresholds_equal_batch_norm_and_ternary_step_for_every_sum(channels, largest, edges):
    scale, mean, variance, weight, bias = (np.array(values) for values in zip(*channels, strict=True))
    norm = BatchNorm(scale, mean, variance, weight, bias, 1e-5)
    low, high, flip = fold(norm, largest, edges) if edges else fold(norm, largest)
    edges = edges or [(-0.5, 0.5)]
    sums = np.arange(-largest, largest + 1)
    for out in range(len(edges) * len(channels)):
        (below, above), channel = edges[out // len(channels)], out % len(channels)
        y = norm(sums.astype(float), channel)
        wanted = np.where(y > above, 1, np.where(y < below, -1, 0))
        delivered = -sums if flip[channel] else sums  # negated weights deliver the negated sum
        got = (delivered >= high[out]).astype(int) - (delivered <= low[out])
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("bias", "value"), [(0.6, 1), (-0.6, -1), (0.0, 0), (0.5, 0), (-0.5, 0)])
def test_a_channel_whose_gamma_is_zero_is_constant(bias, value):
    one = np.ones(1)
    low, high, flip = fold(BatchNorm(one, one, one, 0 * one, bias * one, 1e-5), 50)
    sums = np.arange(-50, 51)
    assert not flip[0]
    assert ((sums >= high[0]).astype(int) - (sums <= low[0]) == value).all()


def test_levels_clip_and_round_the_window():
    hu = np.array([-1024, -125, 75, 275, 3000, 75 + 200 / 127])
    np.testing.assert_array_equal(hu_to_levels(hu), [-127, -127, 0, 127, 127, 1])


@pytest.fixture
def saved(tmp_path):
    """A model file with two stages, and what was saved."""
    stages = {"coarse": random_stage(10), "fine": random_stage(11)}
    model = modelfile.Model(stages, modelcheck.LABELS, modelcheck.TARGET, {"name": "test"})
    path = tmp_path / "model.npz"
    modelfile.save(model, path)
    return path, model


def test_a_model_file_gives_back_the_same_network(saved):
    path, model = saved
    loaded = modelfile.load(path)
    assert loaded.labels == model.labels
    assert loaded.provenance == {"name": "test"}
    levels = random_levels(12, (8, 16, 24))
    for name, stage in model.stages.items():
        assert loaded.stages[name].graph == stage.graph
        np.testing.assert_array_equal(scores(loaded.stages[name], levels).margin, scores(stage, levels).margin)


def test_a_model_file_damaged_anywhere_is_refused_or_unchanged(saved):
    path, model = saved
    content = path.read_bytes()
    refused = 0
    for position in np.linspace(0, len(content) - 1, 60).astype(int):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loaded = modelfile.load(path)
        except ModelError:
            refused += 1
        else:  # a byte that ZIP does not read, such as a time stamp: what was read must be what was saved
            levels = random_levels(13, (8, 8, 8))
            for name, stage in model.stages.items():
                assert (scores(loaded.stages[name], levels).margin == scores(stage, levels).margin).all()
    assert refused > 50


def test_a_truncated_model_file_is_refused(saved):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match="damaged"):
        modelfile.load(path)


def test_foreign_and_missing_files_are_refused(tmp_path):
    text, archive = tmp_path / "text.npz", tmp_path / "other.npz"
    text.write_text("no archive")
    np.savez(archive, x=np.arange(3))
    for path in (text, archive):
        with pytest.raises(ModelError, match="not a TernarySegment model"):
            modelfile.load(path)
    with pytest.raises(ModelError, match="cannot be read"):
        modelfile.load(tmp_path / "missing.npz")


def test_a_newer_model_file_is_refused(saved, monkeypatch):
    path, model = saved
    monkeypatch.setattr(modelfile, "VERSION", 2)
    modelfile.save(model, path)
    monkeypatch.setattr(modelfile, "VERSION", 1)
    with pytest.raises(ModelError, match="update TernarySegment"):
        modelfile.load(path)


def test_a_block_of_eight_voxels_becomes_eight_channels_in_the_order_that_the_graph_tells():
    levels = random_levels(3)
    folded = fold_levels(levels)
    for channel, (dz, dy, dx) in enumerate(np.ndindex(2, 2, 2)):
        assert channel == 4 * dz + 2 * dy + dx
        np.testing.assert_array_equal(folded[1:-1, 1:-1, 1:-1, channel], levels[dz::2, dy::2, dx::2])
    border = np.ones(folded.shape[:3], bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert not folded[border].any()


def test_a_relayed_computation_gives_its_outcome_and_is_closed_with_the_one_around_it():
    closed = []

    def inner():
        try:
            yield 1
            yield 2
            return "outcome"
        finally:
            closed.append(True)

    def outer():
        return (yield from relay(inner(), lambda step: 10 * step))

    watched: list[int] = []
    assert drain(outer(), watched.append) == "outcome"
    assert watched == [10, 20]
    assert len(closed) == 1
    steps = outer()
    next(steps)
    steps.close()
    assert len(closed) == 2
    with pytest.raises(ZeroDivisionError):
        drain(outer(), lambda step: step / 0)
    assert len(closed) == 3
