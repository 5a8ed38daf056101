"""Thresholds that follow a scan: sums at places, moved thresholds, and the same bits on every back end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine_network import random_levels, random_stage

from TernarySegmentLib.engine import reference
from TernarySegmentLib.engine.adaptation import MOST_SPREAD, PLACES, lattice, moved, statistics
from TernarySegmentLib.engine.bitplanes import FeatureMap, Joined
from TernarySegmentLib.engine.graph import unet
from TernarySegmentLib.engine.modelcheck import LABELS
from TernarySegmentLib.engine.network import Network, drain, fold_levels, load_kernels
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights

BACKENDS = [reference]
if load_kernels().NAME == "numba":
    BACKENDS.append(load_kernels())


def weights_of(usual: list[tuple[float, float]], thresholds: list[tuple[int, int]]) -> ConvolutionWeights:
    """Weights of which only the thresholds count: for each channel the pairs of one trit after the other."""
    low, high = np.array(thresholds, np.int32).T
    codes = np.ones((len(usual), 32, 1, 1, 1), np.int8)
    return ConvolutionWeights.from_codes(codes, low, high, 1, np.array(usual, np.float32).T.copy())


CHANNEL = st.tuples(st.floats(-300, 300, width=32), st.floats(1, 200, width=32))
PAIR = st.tuples(st.integers(-500, 500), st.integers(1, 300)).map(lambda pair: (pair[0], sum(pair)))


@settings(deadline=None)
@given(CHANNEL, st.lists(PAIR, min_size=1, max_size=3), st.floats(0, 1))
def test_a_scan_like_those_trained_on_moves_no_threshold(usual, pairs, share):
    weights = weights_of([usual], pairs)
    mean, deviation = weights.usual.astype(np.float64)
    same = moved(weights, mean, deviation, share)
    # half-way between two sums a threshold is half a sum from changing
    np.testing.assert_allclose([same.low, same.high], [weights.low, weights.high], rtol=0, atol=0)


@settings(deadline=None)
@given(CHANNEL, PAIR, st.floats(0.55, 1.9), st.integers(-400, 400))
def test_where_all_sums_are_moved_and_spread_the_same_of_them_are_above_the_thresholds(usual, pair, factor, shift):
    weights = weights_of([usual], [pair])
    mean, deviation = weights.usual.astype(np.float64)
    other = moved(weights, mean * factor + shift, deviation * factor, 1.0)
    assert abs(other.high[0] - ((pair[1] - 0.5) * factor + shift)) <= 1
    assert abs(other.low[0] - ((pair[0] + 0.5) * factor + shift)) <= 1
    assert other.low[0] < other.high[0]


def test_half_of_the_statistics_moves_a_threshold_half_way_and_a_wild_scan_not_without_end():
    weights = weights_of([(0.0, 100.0)], [(-50, 50)])
    assert moved(weights, np.array([40.0]), np.array([100.0]), 0.5).high[0] == 70
    assert moved(weights, np.array([40.0]), np.array([100.0]), 1.0).high[0] == 90
    assert moved(weights, np.zeros(1), np.array([1e6]), 1.0).high[0] == MOST_SPREAD * 49.5 + 1
    extreme = weights_of([(0.0, 1.0)], [(-(2**31), 2**31 - 1)])
    still = moved(extreme, np.zeros(1), np.array([9.0]), 1.0)
    assert (still.low[0], still.high[0]) == (-(2**31), 2**31 - 1)


def test_other_thresholds_share_the_weights_and_leave_the_old_ones_alone():
    weights = weights_of([(0.0, 10.0)], [(-5, 5)])
    before = weights.bounds16
    other = weights.with_thresholds(weights.low - 1, weights.high + 2)
    assert other.nonzero is weights.nonzero
    assert other.bounds16[1][0] == 7
    assert weights.bounds16 is before
    assert weights.high[0] == 5


def dense_sums(ternary: np.ndarray, weights: ConvolutionWeights) -> np.ndarray:
    """Every sum by the definition, int64 (D, H, W, sums)."""
    kernel, stride = weights.kernel, weights.stride
    padded = np.pad(ternary.astype(np.int64), [(kernel // 2,) * 2] * 3 + [(0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel,) * 3, (0, 1, 2))[::stride, ::stride, ::stride]
    return np.einsum("zyxcijk,ijkcs->zyxs", windows, weights.dense().astype(np.int64))


@pytest.mark.parametrize("kernels", BACKENDS, ids=lambda kernels: kernels.NAME)
@pytest.mark.parametrize(("kernel", "stride", "trits"), [(3, 1, 1), (3, 2, 1), (1, 1, 1), (3, 1, 2), (3, 2, 2)])
def test_sums_at_places_are_those_of_the_whole_layer(kernels, kernel, stride, trits):
    random = np.random.default_rng(kernel + stride + trits)
    channels = 64 if trits == 2 else 40
    ternary = random.integers(-1, 2, (6, 10, 12, channels), dtype=np.int8)
    once = random.integers(-1, 2, (33, channels // trits, *[kernel] * 3), dtype=np.int8)
    codes = np.concatenate([once] * trits, axis=1)
    weights = ConvolutionWeights.from_codes(codes, np.full(66, -3, np.int32), np.full(66, 3, np.int32), stride)
    assert (weights.twins is not None) == (trits == 2)
    whole = FeatureMap.from_ternary(ternary)
    joined = Joined(*(FeatureMap.from_ternary(np.ascontiguousarray(part)) for part in np.split(ternary, 2, axis=3)))
    expected = dense_sums(ternary, weights)
    places = [np.array([0, 2]), np.array([1, 4]), np.array([0, 3, 5])]
    for source in (whole, joined):
        out = np.empty((2, 6, 33), np.int32)
        for index in range(2):
            kernels.sums_at(source, weights, places, out, index)
        np.testing.assert_array_equal(out.reshape(2, 2, 3, 33), expected[np.ix_(*places)])


@pytest.mark.parametrize("kernels", BACKENDS, ids=lambda kernels: kernels.NAME)
def test_sums_of_the_first_layer_at_places(kernels):
    random = np.random.default_rng(0)
    levels = random.integers(-127, 128, (8, 12, 16)).astype(np.int8)
    taps = random.integers(-127, 128, (3, 3, 3, 8, 5)).astype(np.float32)
    weights = FirstWeights(taps, np.zeros(5, np.int32), np.ones(5, np.int32))
    folded = fold_levels(levels)
    windows = np.lib.stride_tricks.sliding_window_view(folded.astype(np.int64), (3, 3, 3), (0, 1, 2))
    expected = np.einsum("zyxcijk,ijkcs->zyxs", windows, taps.astype(np.int64))
    places = lattice((4, 6, 8))
    out = np.empty((4, 48, 5), np.int32)
    for index in range(4):
        kernels.sums_at(folded, weights, places, out, index)
    np.testing.assert_array_equal(out.reshape(4, 6, 8, 5), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 200, 2), (96, 96, 96), (5, 5, 300)])
def test_places_are_inside_and_not_too_many(shape):
    places = lattice(shape)
    for each, size in zip(places, shape, strict=True):
        assert 0 <= each[0] <= each[-1] < size
    assert np.prod([len(each) for each in places]) <= 2 * PLACES


def test_statistics_are_exact_for_sums_as_large_as_the_first_layers():
    sums = np.array([[2**22, -(2**22)], [2**22 - 2, 2**22]], np.int32)
    mean, deviation = statistics(sums)
    assert mean.tolist() == [2**22 - 1, 0]
    assert deviation.tolist() == [1, 2**22]


def adapting(seed: int, widths: tuple[int, ...] = (32, 64)):
    """A stage with random weights that says, at random, what is usual for its sums."""
    random = np.random.default_rng(seed)
    stage = random_stage(seed, unet(widths, len(LABELS)).with_trits(2))
    weights = {
        name: replace(
            each, usual=np.stack([random.normal(0, 5, each.sums), random.uniform(5, 50, each.sums)]).astype(np.float32)
        )
        if name != "scores"
        else each
        for name, each in stage.weights.items()
    }
    return replace(stage, weights=weights, adaptation=0.5)


@pytest.mark.parametrize("widths", [(32, 64), (16, 40)], ids=["whole words", "parts of words"])
def test_every_back_end_and_every_cut_gives_the_same_bits_and_other_ones_than_without(widths):
    stage, levels = adapting(3, widths), random_levels(4)

    def run(adaptation: float = stage.adaptation, **options):
        return drain(Network(stage.graph, stage.weights, adaptation=adaptation, **options).run(levels)).margin

    expected = run(backend="numpy", threads=1)
    for kernels in BACKENDS:
        for threads, products in ((1, None), (3, 1)):
            margin = run(backend=kernels.NAME, threads=threads, band_products=products)
            np.testing.assert_array_equal(margin, expected)
    assert (run(adaptation=0.0) != expected).any()


def test_progress_rises_to_one_with_thresholds_that_follow():
    stage = adapting(5)
    network = Network(stage.graph, stage.weights, threads=2, band_products=1, adaptation=0.5)
    fractions = list(network.run(random_levels(6)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
