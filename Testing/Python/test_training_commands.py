"""``python -m TernarySegmentLib.training evaluate`` and ``export``, option by option, as they are typed."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")
pytest.importorskip("surface_distance", reason="surface-distance is not installed; masks cannot be compared")

from quick_model import quick_model  # noqa: E402
from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.engine import modelfile  # noqa: E402
from TernarySegmentLib.imaging.grids import flip_anterior_posterior  # noqa: E402
from TernarySegmentLib.imaging.measure import same_grid  # noqa: E402
from TernarySegmentLib.phantom import make_phantom  # noqa: E402
from TernarySegmentLib.pipeline import DEFAULT_MODEL  # noqa: E402
from TernarySegmentLib.training import __main__ as command_line  # noqa: E402
from TernarySegmentLib.training.crossvalidate import FOLD_MODEL, fold_folder  # noqa: E402
from TernarySegmentLib.training.folds import fold_of  # noqa: E402
from TernarySegmentLib.training.settings import PANCREAS, SETTINGS_FILE  # noqa: E402
from TernarySegmentLib.training.train import Trainer  # noqa: E402
from TernarySegmentLib.training.voters import KEPT_BACK, kept_back, saying_kept_back  # noqa: E402

JUDGE, TRAINED = "0007", "0006"
"""Names of scans in fold 0 and in another one."""


@pytest.fixture
def said(monkeypatch, capsys):
    """Run a command line and give the lines it prints."""

    def run(*arguments: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        assert command_line.main() == 0
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture(scope="module")
def abdomen():
    return make_phantom(0, spacing=(1.5, 1.5, 3.0))


@pytest.fixture(scope="module")
def scans(tmp_path_factory, abdomen) -> Path:
    """One scan of the validation set and one of the training set, with names and values of their own."""
    folder = tmp_path_factory.mktemp("scans")
    mask = sitk.Cast(abdomen.labels == PANCREAS, sitk.sitkUInt8) * 7
    for case in (JUDGE, TRAINED):
        for kind, image in (("images", abdomen.ct), ("masks", mask)):
            (folder / kind).mkdir(exist_ok=True)
            sitk.WriteImage(image, str(folder / kind / f"{case}.nii.gz"), True, 1)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, Path]:
    """A run of a few steps, and the folder of its data."""
    root = tmp_path_factory.mktemp("training")
    cases = [toy_case(1), toy_case(2)]
    for case in cases:
        (root / "data").mkdir(exist_ok=True)
        np.savez(root / "data" / f"{case.name}.npz", hu=case.hu.numpy(), labels=case.labels.numpy())
    list(Trainer(root / "run", TINY.changed(fold=None), cases, []).run(compiled=False))
    return root / "run", root / "data"


def source(scans: Path) -> list[object]:
    return ["--source", scans, "--pattern", "images/{case}.nii.gz", "masks/{case}.nii.gz", "--values", "7=pancreas"]


def dice_of(line: str, name: str) -> float:
    assert line.startswith(f"{name}: Dice ")
    return float(line.split("Dice ")[1].split(",")[0])


def test_evaluate_judges_scans_a_sparse_one_and_a_twin_and_writes_a_report(tmp_path, abdomen, scans, run, said):
    outlined = sitk.GetArrayFromImage(abdomen.labels == PANCREAS)
    outlined[np.arange(len(outlined)) % 5 > 0] = 0
    sparse = sitk.GetImageFromArray(outlined)
    sparse.CopyInformation(abdomen.ct)
    sitk.WriteImage(sparse, str(tmp_path / "outlined.nii.gz"))

    lines = said(
        "evaluate", *source(scans), "--report", tmp_path / "report", "--float-reference", *run,
        "--model", quick_model(), "--sparse", scans / "images" / f"{JUDGE}.nii.gz", tmp_path / "outlined.nii.gz",
    )  # fmt: skip
    on_slices = dice_of(lines[0], "images (annotated slices only)")
    whole = dice_of(next(line for line in lines if line.startswith(f"{JUDGE}:")), JUDGE)
    assert 0.4 < on_slices != whole > 0.4
    assert not any(line.startswith(TRAINED) for line in lines), "the training set is not judged unless asked for"
    reference = next(line for line in lines if line.startswith(f"{JUDGE} by the float reference:"))
    assert dice_of(reference, f"{JUDGE} by the float reference") < whole, (
        "a few steps on noise cannot reach the shipped network"
    )

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [(case["name"], case["sparse"]) for case in report["cases"]] == [("images", True), (JUDGE, False)]
    assert report["cases"][1]["agreement"]["dice"] == pytest.approx(whole, abs=5e-4)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.json", "report.md", f"{JUDGE}.png", "images.png",
    }  # fmt: skip


def test_crossvalidation_judges_every_scan_by_a_network_that_never_saw_it_and_goes_on_where_it_was(
    tmp_path, scans, said, capsys
):
    said("prepare", *source(scans), "--target", tmp_path / "data", "--spacing", TINY.spacing, "--phantoms", 0)
    runs = tmp_path / "runs"
    runs.mkdir()
    TINY.save(runs / SETTINGS_FILE)
    folds = sorted({fold_of(JUDGE), fold_of(TRAINED)})
    command = ["crossvalidate", "--data", tmp_path / "data", *source(scans), "--run", runs, "--coarse", quick_model()]
    lines = said(*command, "--folds", *folds, "--eager", "--every", TINY.steps)
    for fold, judged in ((fold_of(JUDGE), JUDGE), (fold_of(TRAINED), TRAINED)):
        (trained,) = [line for line in lines if line.startswith(f"fold {fold}, step {TINY.steps}:")]
        assert f"Dice {judged} " in trained, "the curve is of the scan kept back"
        assert sum(line.startswith(f"{judged}: Dice") for line in lines) == 1
    assert any(line.startswith("mean Dice of 2 cases:") for line in lines)
    again = said(*command, "--eager")
    assert not any(line.startswith("fold") for line in again), "nothing is trained twice"
    with pytest.raises(AssertionError, match="1 == 0"):
        said(*command[:-1], runs)
    assert "--coarse-data" in capsys.readouterr().err
    said(*command[:-1], runs, "--coarse-data", tmp_path / "data")  # each fold's own network localises for it
    for fold in folds:
        own = modelfile.load(fold_folder(runs, fold) / FOLD_MODEL)
        for layer, weights in own.stages["coarse"].weights.items():
            for localises, segments in zip(arrays(weights), arrays(own.fine[0].weights[layer]), strict=True):
                np.testing.assert_array_equal(localises, segments)


def test_crossvalidation_judges_networks_in_full_precision_in_torch(tmp_path, scans, said, capsys):
    said("prepare", *source(scans), "--target", tmp_path / "data", "--spacing", TINY.spacing, "--phantoms", 0)
    runs, fold = tmp_path / "runs", fold_of(JUDGE)
    runs.mkdir()
    TINY.changed(weights="full", activations="relu").save(runs / SETTINGS_FILE)
    command = ["crossvalidate", "--data", tmp_path / "data", *source(scans), "--run", runs, "--folds", fold, "--eager"]
    lines = said(*command, "--coarse", quick_model())
    assert sum(line.startswith(f"{JUDGE} by the float reference: Dice") for line in lines) == 1
    with pytest.raises(AssertionError, match="1 == 0"):
        said(*command, "--coarse", runs)
    assert "a model file" in capsys.readouterr().err


def remembering(path: Path, folds: str) -> Path:
    """A copy of the shipped model that says which fold each of its networks was trained without."""
    shipped = modelfile.load(DEFAULT_MODEL)
    modelfile.save(replace(shipped, provenance={**shipped.provenance, KEPT_BACK: folds}), path)
    return path


def provenances(models: list[Path]) -> list[set[str]]:
    """What the networks that vote in each file say of themselves."""
    return [{model.provenance[name] for name in model.fine_names} for model in map(modelfile.load, models)]


def test_calibration_takes_each_scan_from_networks_that_never_saw_it(tmp_path, scans, said, monkeypatch, capsys):
    judged, other = fold_of(JUDGE), fold_of(TRAINED)
    model = remembering(tmp_path / "own.npz", f"fine {judged}, fine2 {other}, fine3 {judged}")
    made = modelfile.load(model).provenance
    seen = {}
    monkeypatch.setattr(
        "TernarySegmentLib.training.calibrate.voxels_of",
        lambda scan, options: seen.update({scan.name: provenances([options.model])[0]}),
    )
    with pytest.raises(AssertionError, match="1 == 0"):
        said("calibrate", *source(scans), "--unseen", "--model", model)
    assert "No pancreas was found" in capsys.readouterr().err
    assert seen == {JUDGE: {made["fine"], made["fine3"]}, TRAINED: {made["fine2"]}}


def test_evaluate_judges_every_scan_by_networks_that_never_saw_it(tmp_path, scans, said, monkeypatch, capsys):
    model = remembering(tmp_path / "own.npz", f"fine {fold_of(JUDGE)}, fine2 {fold_of(TRAINED)}")
    made = modelfile.load(model).provenance
    seen = {}
    monkeypatch.setattr(
        "TernarySegmentLib.training.evaluate.evaluate",
        lambda judged, options: iter(seen.update({judged[0].name: provenances([options.model])[0]}) or ()),
    )
    said("evaluate", *source(scans), "--unseen", "--model", model)
    assert seen == {JUDGE: {made["fine"]}, TRAINED: {made["fine2"]}}
    seen.clear()
    said("evaluate", *source(scans), "--unseen", "--fold", fold_of(TRAINED), "--model", model)
    assert seen == {TRAINED: {made["fine2"]}}
    with pytest.raises(AssertionError, match="1 == 0"):
        said("evaluate", *source(scans), "--unseen", "--model", remembering(tmp_path / "all.npz", "fine 4"))
    assert "without fold" in capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch):
    """Scans and options that the command hands to the evaluation, which is left out."""
    seen = []
    monkeypatch.setattr(
        "TernarySegmentLib.training.evaluate.evaluate", lambda scans, options: iter(seen.append((scans, options)) or ())
    )
    return seen


@pytest.mark.parametrize(
    ("options", "judged"),
    [
        (["--split", "training"], [TRAINED]),
        (["--split", "validation"], [JUDGE]),
        (["--fold", fold_of(TRAINED)], [TRAINED]),
        (["--fold", fold_of(TRAINED), "--split", "training"], [JUDGE]),
    ],
)
def test_evaluate_judges_the_split_and_the_fold_asked_for(scans, said, asked, options, judged):
    said("evaluate", *source(scans), *options)
    assert [scan.name for scan in asked[0][0]] == judged


def test_evaluate_turns_headers_and_chooses_kernels_when_told(tmp_path, abdomen, said, asked):
    for name, image in (("ct", abdomen.ct), ("labels", abdomen.labels)):
        sitk.WriteImage(flip_anterior_posterior(image), str(tmp_path / f"{JUDGE}_{name}.nii.gz"), True, 1)
    said("evaluate", "--source", tmp_path)
    said("evaluate", "--source", tmp_path, "--mirrored", "--backend", "numpy")
    ((as_it_is,), first), ((turned,), second) = asked
    assert same_grid(as_it_is.read()[0], flip_anterior_posterior(abdomen.ct))
    assert same_grid(turned.read()[0], abdomen.ct)
    assert (first.backend, second.backend) == ("auto", "numpy")


def test_a_model_file_of_some_voters_holds_them_and_no_others(tmp_path, said, capsys):
    shipped = modelfile.load(DEFAULT_MODEL)
    kept = [shipped.fine_names[0], shipped.fine_names[-1]]
    command = ["voters", DEFAULT_MODEL, *kept, "-o", tmp_path / "some.npz"]
    said(*command)
    some = modelfile.load(tmp_path / "some.npz")
    assert some.fine_names == ("fine", "fine2")
    wanted = {
        name: said for name, said in shipped.provenance.items() if not name.startswith(("fine", "voters", KEPT_BACK))
    }
    wanted |= {"fine": shipped.provenance[kept[0]], "fine2": shipped.provenance[kept[1]]}
    wanted |= {KEPT_BACK: f"fine {kept_back(shipped)['fine']}"}  # what the last network was trained without is not said
    assert {name: said for name, said in some.provenance.items() if name != "voters of"} == wanted
    for name, stage in zip(kept, some.fine, strict=True):
        for layer, weights in stage.weights.items():
            for own, given in zip(arrays(weights), arrays(shipped.stages[name].weights[layer]), strict=True):
                np.testing.assert_array_equal(own, given)
    with pytest.raises(AssertionError, match="1 == 0"):
        said("voters", DEFAULT_MODEL, "fine9", "-o", tmp_path / "none.npz")
    assert "has no fine9" in capsys.readouterr().err


def arrays(weights: object) -> list[np.ndarray]:
    return [np.asarray(getattr(weights, each.name)) for each in fields(weights)]


def test_an_exported_model_votes_with_an_older_one_and_is_judged_when_named(tmp_path, scans, run, said):
    quick, folds = modelfile.load(quick_model()), {"fine": fold_of(TRAINED)}
    modelfile.save(replace(quick, provenance=saying_kept_back(quick.provenance, folds)), tmp_path / "older.npz")
    older = modelfile.load(tmp_path / "older.npz")
    folder, data = run
    lines = said(
        "export", "--coarse", folder, "--coarse-data", data, "--fine", folder, "--fine-data", data,
        "--vote", tmp_path / "older.npz", "--origin", "balls in noise", "-o", tmp_path / "own.npz",
    )  # fmt: skip
    model = modelfile.load(tmp_path / "own.npz")
    assert model.sha256 in lines[-1]
    voters = {f"fine{number}": stage for number, stage in enumerate(older.fine, 2)}
    assert set(model.stages) == {"coarse", "fine", *voters}
    assert [stage.spacing for stage in model.fine] == [TINY.spacing, *(stage.spacing for stage in older.fine)]
    for name, stage in voters.items():
        voter = model.stages[name]
        assert voter.graph == stage.graph
        for layer, weights in stage.weights.items():
            for kept, given in zip(arrays(voter.weights[layer]), arrays(weights), strict=True):
                np.testing.assert_array_equal(kept, given)
        assert older.sha256 in model.provenance[name]
    assert model.provenance["training data"] == "balls in noise"
    assert kept_back(model) == {"fine2": fold_of(TRAINED)}, "the run saw all scans"

    said("evaluate", *source(scans), "--model", tmp_path / "own.npz", "--report", tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text())["model"]["sha256"] == model.sha256


def test_runs_of_different_grids_are_exported_apart(tmp_path, run, monkeypatch, capsys):
    folder, data = run
    other = shutil.copytree(folder, tmp_path / "other")
    TINY.changed(fold=None, spacing=3.0).save(other / SETTINGS_FILE)
    command = ["training", "export", "--coarse", DEFAULT_MODEL, "--fine", folder, other, "--fine-data", data]
    monkeypatch.setattr(sys, "argv", [*map(str, command), "-o", str(tmp_path / "own.npz")])
    assert command_line.main() != 0
    assert "several grids" in capsys.readouterr().err
    assert not (tmp_path / "own.npz").exists()
