"""Dot products of ternary vectors equal integer products on every back end, and inner tensors are what a run makes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engine_network import random_levels, random_stage

from TernarySegmentLib.engine.bitplanes import PackedVectors, pack
from TernarySegmentLib.engine.network import Network, drain
from TernarySegmentLib.engine.search import dot_products, largest


@pytest.fixture(params=["numba", "numpy"], scope="module")
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba", reason="numba is not installed; there is only the NumPy path to run")
    return request.param


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 150), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_ternary_dot_products_equal_integer_products(backend, channels, count, queries, threads, seed):
    random = np.random.default_rng(seed)
    archive, query = (random.integers(-1, 2, (rows, channels), dtype=np.int8) for rows in (count, queries))
    vectors = PackedVectors.from_planes(*pack(archive), channels)
    found = dot_products(*pack(query), vectors, backend, threads)
    np.testing.assert_array_equal(found, query.astype(int) @ archive.T.astype(int))


def test_many_bands_give_the_same_as_one_product(backend):
    random = np.random.default_rng(1)
    archive = random.integers(-1, 2, (150_001, 70), dtype=np.int8)
    vectors = PackedVectors.from_planes(*pack(archive), 70)
    found = dot_products(*pack(archive[-3:]), vectors, backend, threads=2)
    np.testing.assert_array_equal(found, archive[-3:].astype(np.int32) @ archive.T.astype(np.int32))


def test_an_empty_archive_has_no_products_and_another_length_is_refused(backend):
    nothing = PackedVectors.from_planes(*pack(np.zeros((0, 64), np.int8)), 64)
    assert dot_products(*pack(np.ones((1, 64))), nothing, backend).shape == (1, 0)
    with pytest.raises(ValueError, match="3 words cannot meet vectors of 2"):
        dot_products(*pack(np.ones((1, 96))), nothing, backend)


@given(st.lists(st.integers(-5, 5), max_size=30), st.integers(0, 40))
def test_the_largest_scores_come_first_and_of_equals_the_first(scores, count):
    wanted = sorted(range(len(scores)), key=lambda index: -scores[index])[:count]
    assert largest(np.array(scores, np.int32), count).tolist() == wanted


class _Recording(Network):
    """Keeps every tensor of a run."""

    def _layer(self, pool, layer, tensors, *rest):
        yield from super()._layer(pool, layer, tensors, *rest)
        self.kept = {**getattr(self, "kept", {}), layer.name: tensors[layer.name]}


@pytest.mark.parametrize("name", ["first", "enc1", "enc2", "skip0", "dec0"])
def test_an_observed_tensor_is_the_one_that_a_whole_run_makes(backend, name):
    stage, levels = random_stage(1), random_levels(2)
    whole = _Recording(stage.graph, stage.weights, backend="numpy")
    drain(whole.run(levels))
    observed = drain(Network(stage.graph, stage.weights, backend).observe(levels, name))
    np.testing.assert_array_equal(observed.to_ternary(), whole.kept[name].whole().to_ternary())
    assert len(np.unique(observed.to_ternary())) == 3, "a constant tensor would prove nothing"


def test_observing_computes_no_layer_that_is_not_needed_and_ends_at_one():
    stage = random_stage(1)
    network = _Recording(stage.graph, stage.weights)
    fractions = list(network.observe(random_levels(2), stage.graph.bottleneck))
    assert list(network.kept) == ["first", "enc0", "down1", "enc1", "down2", "enc2", "narrow1"]
    assert fractions[-1] == pytest.approx(1)


def test_the_head_and_unknown_names_are_refused():
    stage = random_stage(1)
    network = Network(stage.graph, stage.weights)
    with pytest.raises(ValueError, match="'scores' is the head"):
        next(network.observe(random_levels(2), "scores"))
    with pytest.raises(KeyError, match="enc9"):
        next(network.observe(random_levels(2), "enc9"))
