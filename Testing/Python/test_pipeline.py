"""The whole job, on a synthetic abdomen and on a real CT: grids, progress, cancel, nothing found, the command line."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from quick_model import quick_options

from TernarySegmentLib import cli
from TernarySegmentLib.engine.levels import hu_to_levels
from TernarySegmentLib.engine.modelcheck import LABELS
from TernarySegmentLib.engine.modelfile import Stage
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.errors import InputError, ModelError
from TernarySegmentLib.imaging.body import body_size_in
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.imaging.grids import bounds, flip, flip_box, to_grid
from TernarySegmentLib.imaging.measure import mask_box, same_grid
from TernarySegmentLib.imaging.orientation import DOUBT, LEAD, ORGANS, believed, departure
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, load_model, run, segment
from TernarySegmentLib.pipeline.clock import Clock
from TernarySegmentLib.pipeline.decide import Decision, Steps, decide, grid_scale
from TernarySegmentLib.pipeline.job import fine_pass
from TernarySegmentLib.pipeline.localise import Localised, localise
from TernarySegmentLib.pipeline.plausibility import edge_notes, volume_notes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def phantom():
    """The demo's abdomen: its seed is none of those trained on."""
    return make_phantom(0)


@pytest.fixture(scope="module")
def result(phantom):
    """What the pipeline makes of it."""
    return run(segment(phantom.ct))


def overlap(first: sitk.Image, second: sitk.Image) -> float:
    a, b = (sitk.GetArrayViewFromImage(image) != 0 for image in (first, second))
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def centroid(mask: sitk.Image) -> np.ndarray:
    """Mean position of a mask's voxels, LPS, mm."""
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.Execute(mask)
    return np.array(statistics.GetCentroid(1))


def test_a_pancreas_is_found_in_the_synthetic_abdomen(phantom, result):
    assert result.found
    # no accuracy claim: it must only be the pancreas and not some other organ
    assert overlap(result.mask, phantom.labels == 8) > 0.4
    assert 20 < result.measures.volume_ml < 200
    assert 0.5 < result.confidence <= 1
    assert result.model["sha256"]


def test_the_mask_lies_on_exactly_the_input_grid(phantom):
    # another direction, a flipped and an oblique axis, and another order of the axes
    turned = sitk.PermuteAxes(sitk.Flip(phantom.ct, [True, False, True]), [2, 0, 1])
    rotation = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.05, 0.15).GetMatrix()
    direction = np.array(rotation).reshape(3, 3) @ np.array(turned.GetDirection()).reshape(3, 3)
    turned.SetDirection(direction.ravel())
    found = run(segment(turned))
    assert found.found
    assert same_grid(found.mask, turned)
    assert found.mask.GetDirection() == turned.GetDirection()
    voxel = float(np.prod(turned.GetSpacing())) / 1000
    assert np.count_nonzero(sitk.GetArrayViewFromImage(found.mask)) * voxel == pytest.approx(found.measures.volume_ml)


def test_flipping_how_a_scan_is_stored_does_not_move_the_mask(phantom, result):
    flipped = sitk.Flip(phantom.ct, [True, True, True])
    found = run(segment(flipped))
    # bins of voxels begin at the other end, so that the network sees slightly other values: not the same bits
    assert overlap(sitk.Flip(found.mask, [True, True, True]), result.mask) > 0.8
    np.testing.assert_allclose(centroid(found.mask), centroid(result.mask), atol=2.0)


ALL_WAYS = list(product((False, True), repeat=3))


def found_by_localising(ct: sitk.Image) -> Localised:
    return drain(localise(ct, load_model(), Options(), Clock()))


@pytest.fixture(scope="module")
def coarse_phantom() -> sitk.Image:
    """The same abdomen at the coarse network's resolution."""
    return make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct


@pytest.mark.parametrize("ways", ALL_WAYS, ids=str)
def test_whichever_way_a_file_reads_a_patient_is_noticed(coarse_phantom, ways):
    found = found_by_localising(flip(coarse_phantom, ways))
    assert found.flipped == ways
    np.testing.assert_allclose(found.box, found_by_localising(coarse_phantom).box, atol=1e-3)
    notes = [note for note in found.notes if "exchanged" in note]
    assert len(notes) == any(ways)
    for note in notes:
        assert [name for name in ("left and right", "front and back", "head and foot") if name in note] == [
            name for name, way in zip(("left and right", "front and back", "head and foot"), ways, strict=True) if way
        ]
        assert ("mirror image" in note) == (sum(ways) != 2)


def test_the_mask_of_a_mirrored_patient_is_that_of_the_patient(phantom, result):
    ways = (True, False, False)
    turned = flip(phantom.ct, ways)
    found = run(segment(turned))
    assert found.flipped == ways
    assert same_grid(found.mask, turned)
    np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.mask) for r in (found, result)))
    np.testing.assert_allclose(flip_box(found.region, ways), result.region, atol=1e-3)
    assert result.warnings == ()


@pytest.mark.parametrize("part", [(0.0, 0.4), (0.0, 0.6), (0.3, 0.7), (0.4, 1.0), (0.6, 1.0)])
def test_a_part_of_a_patient_is_never_turned(coarse_phantom, part):
    height = coarse_phantom.GetSize()[2]
    assert not any(found_by_localising(coarse_phantom[:, :, int(part[0] * height) : int(part[1] * height)]).flipped)


@pytest.mark.parametrize("scan", ["nih_pancreas_0004/ct.nii.gz", "acrin_dicom"])
def test_real_patients_are_put_right_and_those_who_lie_right_are_left_so(shared_data, scan):
    ct = read_ct(shared_data / scan)
    for ways in (ALL_WAYS[0], (True, False, False), (True, True, False)):
        assert found_by_localising(flip(ct, ways)).flipped == ways


def _axes(order: list[int], flipped: list[bool]) -> Callable[[sitk.Image], sitk.Image]:
    return lambda ct: sitk.Flip(sitk.PermuteAxes(ct, order), flipped)


STORED_OTHERWISE = {
    "other axis order": _axes([2, 0, 1], [False, True, True]),
    "turned": _axes([0, 1, 2], [True, True, False]),
    "three slices less below": lambda ct: ct[:, :, 3:],
    "three slices less all around": lambda ct: ct[3:-3, 3:-3, 3:-3],
    "air all around": lambda ct: sitk.ConstantPad(ct, [8] * 3, [8] * 3, -1024),
    "1 HU more": lambda ct: ct + 1,
}


@pytest.fixture(scope="module", params=["phantom", "nih_pancreas_0004"])
def steady(request) -> tuple[sitk.Image, sitk.Image]:
    """A scan on a grid of 1.8 mm and its mask."""
    if request.param == "phantom":
        ct = make_phantom(0, spacing=(1.8, 1.8, 1.8)).ct
    else:
        whole = read_ct(request.getfixturevalue("shared_data") / request.param / "ct.nii.gz")
        size = [round(n * s / 1.8) for n, s in zip(whole.GetSize(), whole.GetSpacing(), strict=True)]
        ct = sitk.Resample(
            whole, size, sitk.Transform(), sitk.sitkLinear, whole.GetOrigin(), [1.8] * 3, whole.GetDirection(), -1024.0
        )
    return ct, run(segment(ct)).mask


@pytest.mark.parametrize("variant", STORED_OTHERWISE)
def test_the_mask_hardly_changes_with_what_says_nothing_about_the_pancreas(steady, variant):
    ct, expected = steady
    mask = run(segment(STORED_OTHERWISE[variant](ct))).mask
    same = sitk.Resample(mask, ct, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert overlap(same, expected) >= 0.97  # measured, real CT: air 0.972, 1 HU 0.975, cropped 0.982


def test_a_negative_voxel_size_in_a_nifti_file_is_noticed(coarse_phantom, tmp_path):
    path = tmp_path / "ct.nii"
    sitk.WriteImage(coarse_phantom, str(path))
    content = bytearray(path.read_bytes())
    content[80:84] = struct.pack("<f", -struct.unpack("<f", content[80:84])[0])  # pixdim[1]
    content[252:256] = bytes(4)  # neither qform nor sform: the voxel sizes alone tell the way
    path.write_bytes(content)
    try:
        ct = read_ct(path)
    except InputError:
        return
    assert [note for note in found_by_localising(ct).notes if "exchanged" in note]


def test_a_scan_without_contrast_agent_draws_a_note_and_one_with_it_none(coarse_phantom, shared_data):
    plain = found_by_localising(read_ct(shared_data / "acrin_dicom"))
    assert [note for note in plain.notes if "no contrast agent" in note]
    assert found_by_localising(coarse_phantom).notes == ()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("side", ["left", "right", "upper", "lower", "front", "back"])
def test_a_mask_at_the_edge_of_the_scan_draws_a_note_that_names_the_side(phantom, result, side, padded):
    axis, far = {"right": (0, 0), "left": (0, 1), "front": (1, 0), "back": (1, 1), "lower": (2, 0), "upper": (2, 1)}[
        side
    ]
    start, size = mask_box(result.mask)
    cut = start[axis] + size[axis] // 2
    region = [slice(None)] * 3
    region[axis] = slice(0, cut) if far else slice(cut, None)
    ct, mask = phantom.ct[tuple(region)], result.mask[tuple(region)]
    if padded:
        ct, mask = (sitk.ConstantPad(image, [9] * 3, [9] * 3, value) for image, value in ((ct, -1024), (mask, 0)))
    (note,) = edge_notes(ct, mask)
    assert f"the scan's {side} edge" in note
    assert edge_notes(phantom.ct, result.mask) == ()


@pytest.mark.parametrize(
    ("volume", "said"), [(6.0, "smaller than 25"), (24.0, "smaller"), (78.0, ""), (151.0, "larger")]
)
def test_a_volume_that_no_pancreas_has_draws_a_note(result, volume, said):
    notes = volume_notes(replace(result.measures, volume_ml=volume))
    assert bool(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize(
    ("departs", "as_it_is", "so"),
    [(9, 12, False), (9, 13.5, True), (15, 30, True), (19.5, 27.7, False), (19.5, 39.1, True), (21.1, 32.8, False)],
)  # the last three: a patient with a large spleen, left and right exchanged, head and foot exchanged, and a part
def test_another_way_is_believed_when_it_leads(departs, as_it_is, so):
    assert believed(departs, as_it_is) == so


def test_the_places_of_organs_tell_the_way_from_a_table_of_labels():
    labels = np.zeros((80, 80, 100), np.uint8)
    for name, ((x, y, z), _) in ORGANS.items():
        centre = np.array([z, y, x]) / 4 + np.array(labels.shape) / 2
        inside = sum((grid - c) ** 2 for grid, c in zip(np.ogrid[:80, :80, :100], centre, strict=True)) < 9**2
        labels[inside] = LABELS.index(name)
    assert departure(labels, 4.0) < DOUBT
    for ways in ALL_WAYS[1:]:
        assert departure(np.flip(labels, [2 - axis for axis in range(3) if ways[axis]]), 4.0) > DOUBT + LEAD
    assert departure(np.zeros_like(labels), 4.0) > 90


def test_numpy_path_gives_the_same_mask_voxel_for_voxel(phantom, result):
    pytest.importorskip("numba", reason="numba is not installed; there is only the NumPy path to run")
    assert result.backend == "numba"
    plain = run(segment(phantom.ct, Options(backend="numpy")))
    assert plain.backend == "numpy"
    np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.mask) for r in (plain, result)))


def test_networks_of_other_grids_vote_on_the_first_ones(phantom, result):
    first = load_model().stages["fine"]
    other = replace(first, spacing=1.75)
    box = result.region

    def decided(*stages: Stage) -> Decision:
        return drain(decide(phantom.ct, stages, box, Options(), Clock(), "Segmenting", (0.0, 1.0), calm=True))

    alone, coarser, both = decided(first), decided(other), decided(first, other)
    assert both.grid == alone.grid != coarser.grid
    np.testing.assert_array_equal(both.levels, alone.levels)
    moved = to_grid(coarser.grid.image(coarser.margin), alone.grid)
    np.testing.assert_allclose(both.margin, (alone.margin + moved) / 2, atol=1e-5)
    assert (both.margin > 0).any()
    # each is right where it is: masks on two grids share most of the organ
    inside = [margin > 0 for margin in (alone.margin, moved)]
    assert np.logical_and(*inside).sum() > 0.5 * np.logical_or(*inside).sum()


@pytest.mark.parametrize(("times", "spacing"), [(1.0, 1.2), (1.3, 1.35), (1.5, 1.5)])
def test_a_small_patient_gets_a_finer_grid(coarse_phantom, times, spacing):
    ct = sitk.Image(coarse_phantom)
    ct.SetSpacing([times * each for each in ct.GetSpacing()])
    ct.SetOrigin([times * each for each in ct.GetOrigin()])
    assert grid_scale(found_by_localising(ct).body) * 1.5 == pytest.approx(spacing)
    middle = np.mean(bounds(ct), axis=0)
    box = tuple(middle - 10), tuple(middle + 10)
    assert drain(fine_pass(ct, box)).grid.spacing == pytest.approx(spacing)


def test_less_contrast_agent_is_shown_to_the_fine_networks_and_all_of_it_to_the_coarse_one(coarse_phantom, monkeypatch):
    shown = {}

    def watched(ct: sitk.Image, stages: tuple[Stage, ...], *rest: object, **calm: bool) -> Steps:
        decision = yield from decide(ct, stages, *rest, **calm)
        shown[stages[0].spacing] = decision, to_grid(ct, decision.grid)
        return decision

    for module in ("job", "localise"):
        monkeypatch.setattr(f"TernarySegmentLib.pipeline.{module}.decide", watched)
    run(segment(coarse_phantom))
    (coarse, as_it_is), (fine, enhanced) = shown[4.0], shown[1.5]
    np.testing.assert_array_equal(coarse.levels, hu_to_levels(as_it_is))
    np.testing.assert_array_equal(
        fine.levels, hu_to_levels(np.where(enhanced > 40, 40 + 0.7 * (enhanced - 40), enhanced))
    )


def test_progress_never_falls_and_ends_at_one(phantom):
    steps = list(segment(phantom.ct))
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert len({step.stage for step in steps}) >= 5
    assert len(steps) >= 20


@pytest.mark.parametrize("reached", [0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85])
def test_closing_the_generator_cancels_at_any_moment(phantom, reached):
    steps = segment(phantom.ct, quick_options())
    # how many steps a run takes depends on the threads, how far it gets does not
    step = next(step for step in steps if step.fraction >= reached)
    assert step.fraction < 1
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_a_scan_without_abdomen_has_no_pancreas(phantom):
    size = phantom.ct.GetSize()
    chest = phantom.ct[:, :, int(0.72 * size[2]) :]
    found = run(segment(chest))
    assert not found.found
    assert found.measures is None
    assert not sitk.GetArrayViewFromImage(found.mask).any()
    assert same_grid(found.mask, chest)


def test_a_given_region_limits_the_search(phantom, result):
    lower, upper = (np.array(corner) for corner in result.region)
    found = run(segment(phantom.ct, Options(region=(tuple(lower), tuple(upper)))))
    assert overlap(found.mask, result.mask) > 0.9
    away = (tuple(np.add(lower, [0, 0, 1000])), tuple(np.add(upper, [0, 0, 1000])))
    with pytest.raises(InputError, match="outside the scan"):
        run(segment(phantom.ct, Options(region=away)))


@pytest.mark.parametrize("side", [0, 5])
def test_a_pancreas_that_the_box_cuts_is_followed_beyond_it(phantom, result, side, monkeypatch):
    axis, upper = side % 3, side // 3
    start, size = mask_box(result.mask)
    corners = [start, [first + length for first, length in zip(start, size, strict=True)]]
    ends = [result.mask.TransformIndexToPhysicalPoint(corner) for corner in corners]
    cut = [list(corner) for corner in result.region]
    stage = load_model().stages["fine"]
    body = body_size_in(phantom.ct, result.region)
    # a view ends between blocks: 6 mm of the organ are cut, or up to a block more
    block = stage.spacing * grid_scale(body) * stage.graph.multiple
    away = 1 if upper else -1
    cut[upper][axis] = away * block * np.floor((away * ends[upper][axis] - 6) / block)
    box = tuple(map(tuple, cut))

    def seeing(*_: object) -> Generator[None, None, Localised]:
        yield from ()
        return Localised(box, body)

    monkeypatch.setattr("TernarySegmentLib.pipeline.job.localise", seeing)
    followed = run(segment(phantom.ct))
    limited = run(segment(phantom.ct, Options(region=box)))
    assert "Looking farther" in followed.seconds
    assert overlap(limited.mask, result.mask) < overlap(followed.mask, result.mask)
    assert overlap(followed.mask, result.mask) > 0.97


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="too small"):
        run(segment(sitk.Image(8, 8, 4, sitk.sitkInt16)))


def test_the_shipped_model_is_small_and_whole():
    assert DEFAULT_MODEL.stat().st_size < 10e6
    with pytest.raises(ModelError):
        run(segment(make_phantom(0, spacing=(3.0, 3.0, 5.0)).ct, Options(model=Path("missing.npz"))))


def test_command_line_writes_mask_report_and_preview(phantom, tmp_path, capsys):
    source = tmp_path / "Zwölf Scans" / "ct.nii.gz"
    source.parent.mkdir()
    sitk.WriteImage(phantom.ct, str(source), True)
    outputs = [tmp_path / name for name in ("p.seg.nrrd", "r.json", "p.png", "c.nii.gz")]
    code = cli.main(
        ["segment", str(source), "-o", str(outputs[0]), "--report", str(outputs[1]), "--preview", str(outputs[2]),
         "--confidence", str(outputs[3])]
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr()
    assert "mL" in said.out
    assert str(outputs[0]) in said.out
    assert "Looking for the pancreas" in said.err, "plain lines where there is no terminal"
    report = json.loads(outputs[1].read_text())
    assert report["found"]
    assert report["measures"]["volume_ml"] > 20
    assert f"{100 * report['confidence']:.0f} %" in report["confidence_text"]
    assert 3 <= len(report["suspicious_regions"]) <= 12
    assert {"position", "kind", "reason", "doubt"} <= set(report["suspicious_regions"][0])
    confidence = sitk.ReadImage(str(outputs[3]))
    assert same_grid(confidence, phantom.ct)
    inside = sitk.GetArrayFromImage(sitk.ReadImage(str(outputs[0]))) > 0
    assert sitk.GetArrayFromImage(confidence)[inside].min() >= 50
    mask = sitk.ReadImage(str(outputs[0]))
    assert same_grid(mask, phantom.ct)
    assert outputs[2].stat().st_size > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["Zwölf Scans", *(p.name for p in outputs)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["segment", "missing.nii.gz", "-o", "x.nii.gz"], "no file or folder"),
        (["segment", "missing.nii.gz", "-o", "x.stl"], "choose one of these endings"),
        (["segment", "missing.nii.gz", "-o", "x.nii.gz", "--confidence", "c.seg.nrrd"], "choose one of these endings"),
        (["segment", "missing.nii.gz", "-o", "x.nii.gz", "--preview", "p.bmp"], "choose one of these endings"),
        (["model", "info", "missing.npz"], "cannot be read"),
    ],
)
def test_command_line_errors_are_one_sentence_and_leave_nothing(arguments, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_told_in_a_sentence(monkeypatch, capsys):
    def greedy(options):
        raise MemoryError

    monkeypatch.setattr(cli, "_model_info", greedy)
    assert cli.main(["model", "info"]) == 1
    assert capsys.readouterr().err.startswith("error: There is not enough free memory for this scan; close")


def test_model_info_tells_size_and_origin(capsys):
    assert cli.main(["model", "info"]) == 0
    said = capsys.readouterr().out
    assert "SHA-256" in said
    assert float(said.rsplit("MB, ", 1)[1].split(" times")[0]) > 10


def test_importing_the_library_loads_nothing_heavy():
    code = "import TernarySegmentLib, sys; print([m for m in ('numba', 'torch', 'SimpleITK') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_a_read_only_home_costs_only_the_kernel_cache(tmp_path):
    pytest.importorskip("numba", reason="numba is not installed; there is no kernel cache")
    blocked = tmp_path / "file"
    blocked.write_text("in the way of the cache folder")
    names = ("TERNARYSEGMENT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA", "HOME")
    environment = {**os.environ, **dict.fromkeys(names, str(blocked))}
    code = "from TernarySegmentLib.engine import jit, kernels; print(jit.cache_folder(), kernels.NAME)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "None numba", done.stderr


@pytest.fixture
def cold_cache(tmp_path, monkeypatch):
    """No kernel has been compiled on this computer yet."""
    pytest.importorskip("numba", reason="numba is not installed; nothing is compiled")
    from TernarySegmentLib.engine import jit

    monkeypatch.setenv("TERNARYSEGMENT_CACHE", str(tmp_path))
    jit.cache_folder.cache_clear()
    assert not jit.is_warm()
    yield jit
    jit.cache_folder.cache_clear()


def test_on_a_first_run_a_child_compiles_and_the_progress_says_so(cold_cache):
    stages = {progress.stage for progress in segment(make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct)}
    assert "Preparing the accelerator (only this once)" in stages
    assert cold_cache.is_warm()


def test_where_no_other_program_may_be_started_this_one_compiles(cold_cache):
    # the kernels are imported already, so there is nothing to wait for
    assert run(segment(make_phantom(0, spacing=(4.0, 4.0, 4.0)).ct, Options("numba", python="no such program"))).found


def test_real_ct_gives_a_plausible_mask_on_its_flipped_grid(shared_data):
    ct = sitk.ReadImage(str(shared_data / "nih_pancreas_0004" / "ct.nii.gz"))
    found = run(segment(ct))
    assert same_grid(found.mask, ct)
    assert found.mask.GetSize() == (512, 512, 221)
    assert 20 < found.measures.volume_ml < 200


def test_dicom_folder_runs_from_the_command_line(shared_data, tmp_path):
    mask = tmp_path / "a.nii.gz"
    code = cli.main(["segment", str(shared_data / "acrin_dicom"), "-o", str(mask)])
    assert code in (0, cli.EXIT_NOTHING_FOUND)
    assert sitk.ReadImage(str(mask)).GetSize() == (512, 512, 99)


def test_without_numba_the_numpy_path_computes(tmp_path):
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from TernarySegmentLib.engine.network import load_kernels\n"
        "print(load_kernels('auto').NAME)\n"
        "from TernarySegmentLib.cli import main\n"
        "sys.exit(main(['segment', sys.argv[1], '-o', sys.argv[2], '--backend', 'numba', '-q']))"
    )
    source = tmp_path / "ct.nrrd"
    sitk.WriteImage(make_phantom(0, spacing=(3.0, 3.0, 5.0)).ct, str(source))
    arguments = [sys.executable, "-c", code, str(source), str(tmp_path / "mask.nrrd")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "numpy"
    assert done.returncode == 1
    assert done.stderr.strip() == "error: numba is not installed; run: pip install numba"
    assert not (tmp_path / "mask.nrrd").exists()
