"""What the panel's callbacks raise ends their task and nothing else: the panel can be used again."""

from __future__ import annotations

import threading

import pytest
from panel_support import slicer  # noqa: F401  sets up the host's slicer

from TernarySegmentLib.pipeline import Progress


class Ui:
    """Stands for the two widgets that a long job has."""

    class _Button:
        enabled = False

        def connect(self, signal, action):
            self.action = action

    class _Bar:
        value = 0

    def __init__(self):
        self.cancelButton, self.progressBar = self._Button(), self._Bar()


class Said(list):
    """Stands for the line of status: keeps what was said."""

    def say(self, text):
        self.append(text)

    show = say

    def fail(self, error):
        self.append(error)


@pytest.fixture
def job(host):
    from TernarySegmentLib.slicer_ui.tasks import Background, LongJob

    background, said, changes = Background(), Said(), []
    yield LongJob(Ui(), background, said, lambda: changes.append(1)), background, said, changes
    background.close()


def wait(host, job) -> None:
    assert host.process_events(until=lambda: not job.running, timeout=20)


def steps():
    yield Progress("Working", 0.5, 0.0, None)
    return 7


def failing(*arguments):
    raise RuntimeError("the scene is gone")


def test_a_result_that_cannot_be_taken_is_told_and_the_job_is_over(host, job):
    job, _, said, changes = job
    job.start(steps, failing, "Working …")
    wait(host, job)
    assert str(said[-1]) == "the scene is gone"
    assert job._ui.progressBar.value == 0
    assert len(changes) >= 2


@pytest.mark.parametrize("outcome", ["progress", "failed", "cancelled"])
def test_a_callback_that_raises_leaves_no_task_behind(host, job, outcome):
    _, background, _, _ = job
    begun, ended = threading.Event(), []

    def work():
        yield Progress("Working", 0.5, 0.0, None)
        if outcome == "failed":
            raise ValueError("no")
        while outcome == "cancelled":
            begun.set()
            yield Progress("Working", 0.5, 0.0, None)
        return 7

    callbacks = {name: failing if name == outcome else ended.append for name in ("progress", "failed")}
    callbacks["cancelled"] = failing if outcome == "cancelled" else lambda: ended.append("cancelled")
    background.run("one", work, ended.append, **callbacks)
    if outcome == "cancelled":
        assert begun.wait(5)
        background.cancel("one")
    host.process_events(until=lambda: not background.busy("one"), timeout=20)
    assert not background.busy("one")
    background.run("two", steps, ended.append, ended.append)
    assert host.process_events(until=lambda: 7 in ended, timeout=20)
    host.errors.clear()


def test_a_job_for_which_no_thread_can_be_had_fails_and_the_next_one_runs(host, job, monkeypatch):
    job, _, said, _ = job
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", failing)
        job.start(steps, said.append, "Working …")
    wait(host, job)
    assert isinstance(said[-1], MemoryError)
    job.start(steps, said.append, "Working …")
    wait(host, job)
    assert said[-1] == 7
