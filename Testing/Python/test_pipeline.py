"""The whole job, on a synthetic abdomen and on a real CT: grids, progress, cancel, nothing found, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib import cli
from TernarySegmentLib.errors import InputError, ModelError
from TernarySegmentLib.imaging.grids import flip_anterior_posterior
from TernarySegmentLib.imaging.measure import same_grid
from TernarySegmentLib.phantom import make_phantom
from TernarySegmentLib.pipeline import DEFAULT_MODEL, Options, run, segment

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


def test_a_mirrored_header_is_noticed_and_the_mask_fits_the_voxels(phantom, result):
    mirrored = flip_anterior_posterior(phantom.ct)
    found = run(segment(mirrored))
    assert any("mirror" in warning for warning in found.warnings)
    assert not any("mirror" in warning for warning in result.warnings)
    assert same_grid(found.mask, mirrored)
    np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.mask) for r in (found, result)))


def test_numpy_path_gives_the_same_mask_voxel_for_voxel(phantom, result):
    pytest.importorskip("numba", reason="numba is not installed; there is only the NumPy path to run")
    assert result.backend == "numba"
    plain = run(segment(phantom.ct, Options(backend="numpy")))
    assert plain.backend == "numpy"
    np.testing.assert_array_equal(*(sitk.GetArrayViewFromImage(r.mask) for r in (plain, result)))


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
    steps = segment(phantom.ct)
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


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(InputError, match="too small"):
        run(segment(sitk.Image(8, 8, 4, sitk.sitkInt16)))


def test_the_shipped_model_is_small_and_whole():
    assert DEFAULT_MODEL.stat().st_size < 3e6
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
