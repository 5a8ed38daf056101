"""The packed layers equal torch's convolution, integer for integer, on both back ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from TernarySegmentLib.engine import bitplanes, reference
from TernarySegmentLib.engine.bitplanes import WORD, FeatureMap
from TernarySegmentLib.engine.network import bands, fold_levels
from TernarySegmentLib.engine.parameters import ConvolutionWeights, FirstWeights, HeadWeights
from TernarySegmentLib.engine.scores import Scores

torch = pytest.importorskip("torch", reason="torch, the independent judge of the convolutions, is not installed")
F = torch.nn.functional

BACKENDS = [pytest.param(reference, id="numpy")]
CONVOLUTIONS = [pytest.param(reference.convolve, id="numpy")]
try:
    from TernarySegmentLib.engine import kernels

    BACKENDS.append(pytest.param(kernels, id="numba"))
    CONVOLUTIONS += [pytest.param(kernels.convolve, id="numba"), pytest.param(kernels.convolve_popcount, id="popcount")]
    if kernels.vectors.AVX2:
        CONVOLUTIONS.append(pytest.param(kernels.convolve_lookup, id="lookup"))
except ImportError:
    pass

SHAPES = st.tuples(*[st.integers(1, 7)] * 3)
CHANNELS = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 96, 127, 128, 130]))


def random_ternary(random, *shape):
    return random.integers(-1, 2, shape, dtype=np.int8)


def shared(codes, parts, trits):
    """Weights (channels, inputs, ...) for trits packed part by part: each part's again for every trit."""
    pieces = np.split(codes, np.cumsum(parts)[:-1], axis=1)
    return np.concatenate([piece for piece in pieces for _ in range(trits)], axis=1)


def step(sums, low, high):
    return (sums >= high).astype(np.int8) - (sums <= low).astype(np.int8)


@pytest.mark.parametrize("convolve", CONVOLUTIONS)
@settings(max_examples=150, deadline=None)
@given(
    SHAPES,
    CHANNELS,
    CHANNELS,
    st.sampled_from([1, 3]),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 1, 2, 3]),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_ternary_convolution_equals_torch_convolution(
    convolve, shape, inputs, channels, kernel, stride, trits, cuts, seed
):
    random = np.random.default_rng(seed)
    x, codes = random_ternary(random, *shape, inputs), random_ternary(random, channels, inputs, *[kernel] * 3)
    low = random.integers(-6, 2, channels * trits).astype(np.int32)
    high = (low + random.integers(1, 6, channels * trits)).astype(np.int32)
    sums = F.conv3d(
        torch.from_numpy(np.moveaxis(x, -1, 0).astype(np.float64))[None],
        torch.from_numpy(codes.astype(np.float64)), stride=stride, padding=kernel // 2,
    )[0].numpy()  # fmt: skip
    wanted = step(np.tile(np.moveaxis(sums, 0, -1), trits), low, high)

    out = FeatureMap.zeros(wanted.shape[:3], channels * trits)
    weights = ConvolutionWeights.from_codes(codes, low, high, stride)
    for band in bands(wanted.shape[0], cuts):
        convolve(FeatureMap.from_ternary(x), weights, out, band)

    np.testing.assert_array_equal(out.to_ternary(), wanted)
    border = np.ones(out.nonzero.shape[:3], bool)
    border[1:-1, 1:-1, 1:-1] = False
    assert not out.nonzero[border].any(), "the zero border must stay zero: it is the padding of the next layer"


@pytest.mark.parametrize("convolve", CONVOLUTIONS)
@settings(max_examples=80, deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 20)),
    st.lists(st.sampled_from([32, 64, 96]), min_size=1, max_size=3),
    st.sampled_from([7, 32, 64, 96]),
    st.sampled_from([1, 3]),
    st.sampled_from([1, 2]),
    st.sampled_from([2, 3]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_trits_of_one_sum_are_multiplied_by_its_weights(
    convolve, shape, parts, channels, kernel, stride, trits, extreme, seed
):
    random = np.random.default_rng(seed)
    once = random_ternary(random, channels, sum(parts), *[kernel] * 3)
    x = random_ternary(random, *shape, sum(parts) * trits)
    if extreme:  # the largest sums, which must not leave the 8 bits in which a few words are summed
        once, x = np.ones_like(once), np.full_like(x, random.choice([-1, 1]))
    codes = shared(once, parts, trits)
    sums = F.conv3d(
        torch.from_numpy(np.moveaxis(x, -1, 0).astype(np.float64))[None],
        torch.from_numpy(codes.astype(np.float64)), stride=stride, padding=kernel // 2,
    )[0].numpy()  # fmt: skip
    low = (random.choice(sums.ravel(), channels) - random.integers(0, 4, channels)).astype(np.int32)
    high = (low + random.integers(1, 6, channels)).astype(np.int32)
    wanted = step(np.moveaxis(sums, 0, -1), low, high)

    out = FeatureMap.zeros(wanted.shape[:3], channels)
    weights = ConvolutionWeights.from_codes(codes, low, high, stride)
    if trits == 2:
        assert 32 * len(weights.nonzero) == kernel**3 * sum(parts), "the weights of twins are kept once"
    np.testing.assert_array_equal(weights.dense(), codes.transpose(2, 3, 4, 1, 0))
    for band in bands(wanted.shape[0], 2):
        convolve(FeatureMap.from_ternary(x), weights, out, band)
    np.testing.assert_array_equal(out.to_ternary(), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(SHAPES, CHANNELS, st.sampled_from([1, 1, 2]), st.integers(0, 2**32))
def test_first_layer_equals_torch_convolution_of_integer_levels(backend, shape, channels, trits, seed):
    random = np.random.default_rng(seed)
    levels = random.integers(-127, 128, tuple(2 * n for n in shape)).astype(np.int8)
    folded = fold_levels(levels)
    codes = random.integers(-127, 128, (channels, 8, 3, 3, 3)).astype(np.float64)
    inner = np.moveaxis(folded[1:-1, 1:-1, 1:-1], -1, 0).astype(np.float64)
    sums = F.conv3d(torch.from_numpy(inner)[None], torch.from_numpy(codes), padding=1)[0].numpy()
    low = random.integers(-90000, 0, channels * trits).astype(np.int32)
    high = random.integers(1, 90000, channels * trits).astype(np.int32)
    taps = np.ascontiguousarray(codes.transpose(2, 3, 4, 1, 0), np.float32)
    out = FeatureMap.zeros(shape, channels * trits)
    backend.first(folded, FirstWeights(taps, low, high), out, slice(0, shape[0]))
    np.testing.assert_array_equal(out.to_ternary(), step(np.tile(np.moveaxis(sums, 0, -1), trits), low, high))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60, deadline=None)
@given(SHAPES, CHANNELS, st.integers(2, 9), st.data())
def test_head_equals_integer_matrix_product_and_argmax(backend, shape, inputs, labels, data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    target = data.draw(st.integers(0, labels - 1))
    trits = data.draw(st.sampled_from([1, 2]))
    inputs = inputs if trits == 1 else -(-inputs // WORD) * WORD  # several trits come in whole words
    x = random_ternary(random, *shape, inputs * trits)
    matrix = np.tile(random.integers(-127, 128, (inputs, labels * 8)), (trits, 1))
    bias = random.integers(-500, 500, labels * 8).astype(np.int32)
    scores = (x.astype(np.int64) @ matrix + bias).reshape(*shape, labels, 2, 2, 2)
    unfolded = np.einsum("zyxlabc->lzaybxc", scores).reshape(labels, *(2 * n for n in shape))

    out = Scores.empty(shape)
    weights = HeadWeights(matrix.astype(np.float32), bias, labels, target, 1.0)
    for band in bands(shape[0], 2):
        backend.head(FeatureMap.from_ternary(x), weights, out, band)

    np.testing.assert_array_equal(out.label, unfolded.argmax(0))
    np.testing.assert_array_equal(out.margin, unfolded[target] - np.delete(unfolded, target, 0).max(0))


@settings(max_examples=100, deadline=None)
@given(SHAPES, CHANNELS, st.integers(0, 2**32))
def test_packing_is_lossless(shape, channels, seed):
    x = random_ternary(np.random.default_rng(seed), *shape, channels)
    np.testing.assert_array_equal(FeatureMap.from_ternary(x).to_ternary(), x)


@settings(max_examples=60, deadline=None)
@given(SHAPES, CHANNELS, CHANNELS, st.integers(0, 2**32))
def test_concatenation_equals_numpy_on_unpacked_values(shape, first, second, seed):
    random = np.random.default_rng(seed)
    a, b = random_ternary(random, *shape, first), random_ternary(random, *shape, second)
    joined = bitplanes.Joined(FeatureMap.from_ternary(a), FeatureMap.from_ternary(b))
    wanted = np.concatenate([a, b], -1)
    np.testing.assert_array_equal(joined.whole().to_ternary(), wanted)
    nested = bitplanes.Joined(joined, FeatureMap.from_ternary(a))
    for z in range(shape[0]):
        part = nested.slices(z + 1, z + 2)
        values = bitplanes.unpack(part.nonzero[0, 1:-1, 1:-1], part.negative[0, 1:-1, 1:-1], nested.channels)
        np.testing.assert_array_equal(values, np.concatenate([wanted, a], -1)[z])


@settings(max_examples=40, deadline=None)
@given(SHAPES, CHANNELS, st.integers(0, 2**32))
def test_upsampling_and_pooling_equal_torch(shape, channels, seed):
    x = random_ternary(np.random.default_rng(seed), *(2 * n for n in shape), channels)
    as_torch = torch.from_numpy(np.moveaxis(x, -1, 0).astype(np.float32))[None]
    for ours, theirs in (
        (bitplanes.upsample, F.interpolate(as_torch, scale_factor=2, mode="nearest")),
        (bitplanes.maximum_pool, F.max_pool3d(as_torch, 2)),
    ):
        np.testing.assert_array_equal(
            ours(FeatureMap.from_ternary(x)).to_ternary(), np.moveaxis(theirs[0].numpy(), 0, -1)
        )
