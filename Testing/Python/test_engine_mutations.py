"""Is the folding of thresholds really checked? The rule is broken on purpose; each break must be noticed, twice.

Once by ``fold`` itself, which compares its thresholds with the expression they replace, and once by the suite's own
tests with that comparison taken out.
"""

from __future__ import annotations

import inspect
import types

import numpy as np
import pytest
import test_engine_network as suite

from TernarySegmentLib.engine import thresholds

SOURCE = inspect.getsource(thresholds)
COMPARISON = "if not np.array_equal("

BREAKS = {
    "low one too high": ("values < below) - largest - 1", "values < below) - largest"),
    "low one too low": ("values < below) - largest - 1", "values < below) - largest - 2"),
    "high one too low": ("largest + 1 - np", "largest - np"),
    "high one too high": ("largest + 1 - np", "largest + 2 - np"),
    "low and high exchanged": ("return low.ravel(), high.ravel(), flip", "return high.ravel(), low.ravel(), flip"),
    "falling channels not turned": ("norm(-sums if flip[channel] else sums, channel)", "norm(sums, channel)"),
    "rising channels turned too": ("norm(-sums if flip[channel] else sums, channel)", "norm(-sums, channel)"),
    "sign of γ forgotten": ("norm.weight * norm.scale < 0", "np.zeros(channels, bool)"),
    "sign of γ the wrong way": ("norm.weight * norm.scale < 0", "norm.weight * norm.scale > 0"),
    "sign of α forgotten": ("norm.weight * norm.scale < 0", "norm.weight < 0"),
    "step at 0.4": ("STEP = 0.5", "STEP = 0.4"),
    "edge belongs to +1": ("np.count_nonzero(values > above)", "np.count_nonzero(values >= above)"),
    "edge belongs to -1": ("np.count_nonzero(values < below)", "np.count_nonzero(values <= below)"),
}
NOT_FOR_FOLD_ITSELF = {"low and high exchanged", "step at 0.4"}
"""Its comparison precedes the one and moves with the other; the suite must see them."""

ONLY_FOR_FOLD_ITSELF = {"falling channels not turned", "rising channels turned too"}
"""Without the comparison they change nothing: of sums from -n to n, turned or not, as many are beyond an edge."""


def broken(name: str, trusting: bool) -> types.ModuleType:
    """The module with one line changed; ``trusting`` takes out the comparison that ``fold`` makes itself."""
    before, after = BREAKS[name]
    assert SOURCE.count(before) == 1, (
        f"{before!r} stands {SOURCE.count(before)} times in thresholds.py; renew the break"
    )
    assert SOURCE.count(COMPARISON) == 1
    text = SOURCE.replace(before, after)
    if trusting:
        text = text.replace(COMPARISON, "if False and not np.array_equal(")
    module = types.ModuleType(thresholds.__name__)
    exec(compile(text, name, "exec"), vars(module))
    return module


def draws() -> list[np.ndarray]:
    """Channels as the suite draws them: rows scale, mean, variance, weight, bias; columns channels."""
    random = np.random.default_rng(0)
    return [random.uniform((-3, -50, 0.01, -4, -2), (3, 50, 400, 4, 2), (4, 5)).T for _ in range(40)]


def fold_all(fold) -> None:
    """Folds many channels, and four that have sums exactly on an edge of the step."""
    for channels in draws():
        fold(thresholds.BatchNorm(*channels, 1e-5), 60)
    one = np.ones(4)
    fold(thresholds.BatchNorm(0.5 * one, 0 * one, one, np.array([1, 1, -1, -1.0]), 0 * one, 0.0), 60)


def run_suite() -> None:
    """The suite's tests of the folding, on the same channels each time."""
    for channels in draws():
        suite.test_thresholds_equal_batch_norm_and_ternary_step_for_every_sum.hypothesis.inner_test(channels.T, 60, ())
    for bias, value in ((0.6, 1), (-0.6, -1), (0.0, 0), (0.5, 0), (-0.5, 0)):
        suite.test_a_channel_whose_gamma_is_zero_is_constant(bias, value)


@pytest.mark.parametrize("name", sorted(set(BREAKS) - NOT_FOR_FOLD_ITSELF))
def test_folding_refuses_thresholds_that_a_broken_rule_gives(name):
    with pytest.raises(ArithmeticError, match="no pair of thresholds"):
        fold_all(broken(name, trusting=False).fold)


@pytest.mark.parametrize("name", sorted(set(BREAKS) - ONLY_FOR_FOLD_ITSELF))
def test_the_suite_notices_a_broken_rule_that_does_not_check_itself(name, monkeypatch):
    monkeypatch.setattr(suite, "fold", broken(name, trusting=True).fold)
    with pytest.raises(AssertionError):
        run_suite()


def test_the_rule_as_it_is_passes_both_checks():
    fold_all(thresholds.fold)
    run_suite()
