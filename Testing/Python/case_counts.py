"""Say at the end of a run of tests how many cases of each family were tried, and how many went wrong.

A test is one case; one that hypothesis draws for has as many as were drawn, and one that goes through many by itself
says how many by ``record_property(CASES, …)``.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

CASES = "cases"

FAMILIES = {
    "engine": ("test_engine_assembly", "test_engine_layers", "test_engine_network", "test_engine_mutations"),
    "geometry": ("test_imaging_grids", "test_imaging_measure", "test_imaging_postprocess"),
    "hostile inputs": ("test_engine_modelfile", "test_files_dicom", "test_files_volumes", "test_imaging_checks",
                       "test_imaging_reading"),
    "faults": ("test_engine_start", "test_files_faults", "test_imaging_writing", "test_module_tasks"),
    "soak": ("test_soak",),
}  # fmt: skip
"""Beginnings of the names of the files of tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        handle = getattr(getattr(item, "function", None), "hypothesis", None)
        if handle is not None and not hasattr(handle.inner_test, "tried"):
            handle.inner_test = _counted(handle.inner_test)


def _counted(test: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(test)
    def counted(*arguments: Any, **named: Any) -> None:
        counted.tried += 1  # type: ignore[attr-defined]
        test(*arguments, **named)

    counted.tried = 0  # type: ignore[attr-defined]
    return counted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    inner = getattr(getattr(getattr(item, "function", None), "hypothesis", None), "inner_test", None)
    if call.when == "call" and inner is not None:
        report.user_properties.append((CASES, inner.tried))
        inner.tried = 0
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    tried: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.getreports(outcome):
            family = _family(report.nodeid)
            wrong[family] += outcome != "passed"
            if report.when == "call":
                tried[family] += dict(report.user_properties).get(CASES, 1)
    said = [f"{family} {tried[family]:,}" for family in FAMILIES if tried[family]]
    if said:
        terminalreporter.write_line(
            f"cases tried: {', '.join(said)}; tests of theirs that failed: {sum(wrong[family] for family in FAMILIES)}"
        )


def _family(nodeid: str) -> str:
    name = nodeid.partition("::")[0].rpartition("/")[2]
    return next((family for family, beginnings in FAMILIES.items() if name.startswith(beginnings)), "other")
