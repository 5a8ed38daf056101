"""The background thread of the panel, without Slicer."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Generator

import pytest

pytest.importorskip("SimpleITK")
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.pipeline import Progress
from TernarySegmentLib.slicer_ui.runner import Runner


def test_progress_and_result_arrive_in_order() -> None:
    def steps() -> Generator[Progress, None, str]:
        for fraction in (0.0, 0.5, 1.0):
            yield Progress("Segmenting", fraction, 0.0, None)
        return "result"

    runner = Runner(steps)  # type: ignore[arg-type]
    runner.start()
    assert runner.join(5)
    assert [p.fraction for p in runner.progress()] == [0.0, 0.5, 1.0]
    assert runner.result == "result"
    assert runner.error is None


def test_cancel_closes_the_generator_and_leaves_no_result() -> None:
    begun, closed = threading.Event(), threading.Event()

    def steps() -> Generator[Progress, None, str]:
        try:
            while True:
                begun.set()
                yield Progress("Segmenting", 0.5, 0.0, None)
        finally:
            closed.set()

    runner = Runner(steps)  # type: ignore[arg-type]
    runner.start()
    assert begun.wait(5)
    runner.cancel()
    assert runner.join(5)
    assert closed.is_set()
    assert runner.result is None


def test_an_error_is_handed_over_instead_of_lost() -> None:
    def steps() -> Generator[Progress, None, str]:
        yield Progress("Checking the scan", 0.0, 0.0, None)
        raise InputError("The image is too small.")

    runner = Runner(steps)  # type: ignore[arg-type]
    runner.start()
    assert runner.join(5)
    assert isinstance(runner.error, InputError)


@pytest.mark.skipif(sys.platform != "linux", reason="Slicer lowers its priority on Linux only")
def test_worker_of_a_lowered_main_thread_runs_at_normal_priority_where_the_system_lets_it() -> None:
    import resource

    code = (
        "import os, sys, threading\n"
        "os.nice(19)\n"
        "from TernarySegmentLib.slicer_ui.runner import Runner\n"
        "def nice(): return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())\n"
        "def steps():\n"
        "    yield None\n"
        "    helper = []\n"
        "    thread = threading.Thread(target=lambda: helper.append(nice()))\n"
        "    thread.start(); thread.join()\n"
        "    return nice(), helper[0]\n"
        "runner = Runner(steps); runner.start(); runner.join(20)\n"
        "print(nice(), *runner.result)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    main, worker, helper = map(int, done.stdout.split())
    assert main == 19, "the panel's own thread stays as Slicer wants it"
    allowed = 20 - resource.getrlimit(resource.RLIMIT_NICE)[0] <= 0 or os.geteuid() == 0
    assert worker == helper == (0 if allowed else 19)


def test_what_ends_a_thread_in_any_way_is_an_error_and_no_result() -> None:
    def steps() -> Generator[Progress, None, str]:
        yield Progress("Segmenting", 0.0, 0.0, None)
        raise SystemExit(3)

    runner = Runner(steps)  # type: ignore[arg-type]
    runner.start()
    assert runner.join(5)
    assert isinstance(runner.error, SystemExit)


def test_a_thread_that_cannot_be_had_is_the_works_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runner = Runner(lambda: iter(()))  # type: ignore[arg-type, return-value]
    runner.start()
    assert isinstance(runner.error, MemoryError)
    assert not runner.running
    assert runner.join(1)
