"""The benchmark measures what it says, and says what it could not measure."""

from __future__ import annotations

import json
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.bench import command, contestants, machine, report, sample, sections, standin
from TernarySegmentLib.bench.measure import Timing, take_turns
from TernarySegmentLib.cli import main
from TernarySegmentLib.engine import modelfile
from TernarySegmentLib.engine.bitplanes import FeatureMap
from TernarySegmentLib.engine.graph import INPUT
from TernarySegmentLib.engine.network import Network, drain
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import DEFAULT_MODEL

DATA = Path(__file__).parents[1] / "Data"
MODELS = (DEFAULT_MODEL, DATA / "predecessor.npz", DATA / "generation-5.npz")


def test_contestants_take_turns_and_a_slow_one_sits_out():
    order = []
    tasks = {
        "quick": lambda: order.append("quick"),
        "slow": lambda: (order.append("slow"), time.sleep(0.2)),
    }
    seconds = take_turns(tasks, rounds=5, budget_s=0.5)
    assert order[:4] == ["quick", "slow"] * 2, "one untimed turn each, then in turn"
    assert len(seconds["quick"]) == 5
    assert 1 <= len(seconds["slow"]) <= 2
    assert min(seconds["slow"]) >= 0.2


def test_a_timing_is_the_median_with_its_quartiles():
    timing = Timing.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (timing.median, timing.fastest, timing.quartiles, timing.runs) == (3.0, 1.0, (2.0, 4.0), 5)


def test_the_networks_are_measured_in_every_engine_that_is_installed(monkeypatch):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    monkeypatch.setitem(contestants.NEEDS, contestants.OPENVINO, ("no_such_library",))
    monkeypatch.setattr(contestants, "NAMES", (contestants.OURS_NUMPY, contestants.ORT, contestants.OPENVINO))
    found = sections.networks("fine", threads=1, rounds=1, budget_s=1, capped=False, shrink=8)
    assert found["remarks"] == {contestants.OPENVINO: "not installed"}
    assert set(found["seconds"]) == {contestants.OURS_NUMPY, contestants.ORT}
    for layers in found["layers"].values():
        timed = {name for name, seconds in layers.items() if seconds > 0}
        assert {name for name, count in found["products"].items() if count} <= timed, "a layer was not found"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_network_of_a_model_is_measured_or_like_one_that_is(path):
    model = modelfile.load(path)
    groups = sample.alike(model)
    assert sorted(name for names in groups.values() for name in names) == sorted(model.stages)
    for measured, names in groups.items():
        for name in names:
            assert model.stages[name].graph == model.stages[measured].graph
            assert model.stages[name].spacing == model.stages[measured].spacing


def test_networks_that_differ_in_more_than_their_weights_are_measured_apart():
    model = modelfile.load(DEFAULT_MODEL)
    fine = model.stages["fine"]
    others = {
        "fine2": fine,
        "fine3": replace(fine, spacing=3.0),
        "fine4": replace(fine, graph=model.stages["coarse"].graph),
    }
    stages = {"coarse": model.stages["coarse"], "fine": fine, **others}
    groups = sample.alike(replace(model, stages=stages))
    assert groups == {"fine": ["fine", "fine2"], "fine3": ["fine3"], "fine4": ["fine4"], "coarse": ["coarse"]}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_network_is_measured_on_a_grid_that_covers_its_part_of_the_scan_and_that_it_accepts(path):
    for name, stage in modelfile.load(path).stages.items():
        shape = sample.working_shape(name, stage)
        extent = sample.REGION_MM if name.startswith("fine") else sample.SCAN_MM
        step = stage.spacing * stage.graph.multiple
        for size, side in zip(reversed(shape), extent, strict=True):
            assert size % stage.graph.multiple == 0
            assert side <= size * stage.spacing < side + step


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_packed_tensors_and_weights_are_counted_with_what_is_really_allocated(path):
    found = sections.footprint(str(path))
    assert set(found) == set(sample.alike(modelfile.load(path)))
    for name, stage in found.items():
        trits = modelfile.load(path).stages[name].graph.trits
        assert stage["activations"]["packed"] < stage["activations"]["float32"] / 8
        assert stage["weights"]["packed"] < stage["weights"]["float32"] * trits / 10


def test_no_more_packed_tensors_are_alive_than_the_bench_counts(monkeypatch):
    stage = modelfile.load(DEFAULT_MODEL).stages["coarse"]
    alive, most = [0], [0]
    zeros = FeatureMap.zeros

    def release(size):
        alive[0] -= size

    def watched(shape, channels):
        made = zeros(shape, channels)
        weakref.finalize(made, release, made.nbytes)
        alive[0] += made.nbytes
        most[0] = max(most[0], alive[0])
        return made

    monkeypatch.setattr(FeatureMap, "zeros", staticmethod(watched))
    drain(Network(stage.graph, stage.weights, "numpy", threads=1).run(np.zeros((16, 16, 16), np.int8)))
    monkeypatch.undo()
    sizes = {INPUT: 0}
    for layer in stage.graph.layers:
        edge = 16 // stage.graph.scale(layer.name)
        sizes[layer.name] = 0 if layer.kind == "head" else FeatureMap.zeros((edge,) * 3, layer.channels).nbytes
    assert 0 < most[0] <= sections.alive_at_once(stage.graph, sizes, copies=False)


def test_the_whole_run_counts_every_network_that_votes(tmp_path, monkeypatch):
    path = str(tmp_path / "ct.nii.gz")
    sitk.WriteImage(make_phantom(0, spacing=(3.0, 3.0, 3.0)).ct, path)
    spent = []
    run = Network.run

    def timed(network, levels):
        started = time.perf_counter()
        result = yield from run(network, levels)
        spent.append(time.perf_counter() - started)
        return result

    monkeypatch.setattr(Network, "run", timed)
    found = sections.whole_run(path, threads=1, model=str(MODELS[1]))
    assert found["found"]
    assert len(spent) >= 3, "one coarse pass and two fine networks"
    assert sum(spent) <= found["parts"]["networks"] < found["total"]


def test_windows_cover_a_scan_with_half_overlap():
    assert standin.windows((384.0, 384.0, 384.0), 3.0) == 1
    assert standin.windows((385.0, 384.0, 384.0), 3.0) == 2
    assert standin.windows((768.0, 384.0, 384.0), 3.0) == 3


def test_limits_that_the_processor_lacks_are_left_out(monkeypatch):
    monkeypatch.setattr(machine, "flags", lambda: frozenset({"avx2", "fma"}))
    assert [each.name for each in machine.available()] == ["as is"]
    monkeypatch.setattr(machine, "flags", lambda: frozenset(["avx2", "avx512f", "avx512bw", "avx512_vnni", "amx_int8"]))
    assert [each.name for each in machine.available()] == ["as is", "AVX2", "AVX-512", "AVX-512 VNNI"]


def test_the_command_writes_figures_tables_and_keeps_the_prose(tmp_path):
    page = tmp_path / report.PAGE
    page.write_text(f"# Speed\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n", encoding="utf-8")
    assert main(["bench", "memory", "--quick", "-o", str(tmp_path)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "Before." in text
    assert "After." in text
    assert "old" not in text
    assert "Memory of the networks" in text
    assert "figures mean nothing" in text
    assert "fine" in json.loads((tmp_path / command.RESULTS).read_text(encoding="utf-8"))["memory"]


def test_an_unknown_section_is_told_in_one_sentence(capsys):
    assert main(["bench", "moon"]) == 1
    assert "there is no section moon" in capsys.readouterr().err
