"""Data sets in their publishers' layout, made on the fly; folds that no patient crosses; labels that nobody drew."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch", reason="torch is not installed; training cannot be tested")

from test_imaging_reading import write_dicom  # noqa: E402
from training_toys import TINY, toy_case  # noqa: E402

from TernarySegmentLib.errors import InputError, OutputError  # noqa: E402
from TernarySegmentLib.imaging.grids import flip_anterior_posterior  # noqa: E402
from TernarySegmentLib.imaging.measure import same_grid  # noqa: E402
from TernarySegmentLib.phantom import make_phantom  # noqa: E402
from TernarySegmentLib.pipeline.decide import FINEST  # noqa: E402
from TernarySegmentLib.training import __main__ as command_line  # noqa: E402
from TernarySegmentLib.training.augment import NARROW_DARK_HU, NARROW_HU, narrow_window  # noqa: E402
from TernarySegmentLib.training.data import PatchSampler, divided, load, load_cases, prepare, prepare_case  # noqa: E402
from TernarySegmentLib.training.folds import FOLDS, fold_of, patient_of, split, table  # noqa: E402
from TernarySegmentLib.training.losses import label_weights, segmentation_loss  # noqa: E402
from TernarySegmentLib.training.settings import LABELS, PANCREAS, UNANNOTATED  # noqa: E402
from TernarySegmentLib.training.sources import BTCV_VALUES, FORMATS, TOTALSEGMENTATOR_FILES, Scan, pairs  # noqa: E402
from TernarySegmentLib.training.train import Trainer  # noqa: E402

SHAPE = (24, 30, 40)


def truth() -> np.ndarray:
    """A block of every label, none of them symmetrical about any axis of the volume."""
    labels = np.zeros(SHAPE, np.uint8)
    for label in range(1, len(LABELS)):
        z, y, x = 2 + label, 3 * label - 1, 4 * label - 2
        labels[z : z + 5, y : y + 3, x : x + 4] = label
    return labels


def image(array: np.ndarray) -> sitk.Image:
    """On a grid as scanners give: in LPS, slices from the feet up."""
    made = sitk.GetImageFromArray(array)
    made.SetSpacing((2.0, 2.0, 3.0))
    made.SetOrigin((-40.0, -180.0, -300.0))
    return made


def scan() -> sitk.Image:
    """Organs of 60 HU in fat, with noise that tells every voxel from its neighbours."""
    noise = np.random.default_rng(0).integers(-30, 30, SHAPE)
    return image((np.where(truth() > 0, 60, -110) + noise).astype(np.int16))


def write(made: sitk.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(made, str(path))


def foreign(values: dict[int, int]) -> np.ndarray:
    """The truth in another data set's values."""
    made = np.zeros(SHAPE, np.uint8)
    for value, label in values.items():
        made[truth() == label] = value
    return made


def write_btcv(root: Path) -> None:
    labels = foreign(BTCV_VALUES)
    labels[0, :3, :3], labels[0, 5, 5] = 5, 13  # oesophagus, left adrenal gland
    for case in ("0001", "0002"):
        write(scan(), root / "RawData" / "Training" / "img" / f"img{case}.nii.gz")
        write(image(labels), root / "RawData" / "Training" / "label" / f"label{case}.nii.gz")


def write_msd(root: Path) -> None:
    labels = foreign({1: PANCREAS})
    inside = np.argwhere(labels)
    labels[tuple(inside[:10].T)] = 2  # tumour
    for case in ("pancreas_001", "pancreas_004"):
        write(scan(), root / "Task07_Pancreas" / "imagesTr" / f"{case}.nii.gz")
        write(image(labels), root / "Task07_Pancreas" / "labelsTr" / f"{case}.nii.gz")
        for folder in ("imagesTr", "labelsTr"):  # as a Mac packs archives
            (root / "Task07_Pancreas" / folder / f"._{case}.nii.gz").write_bytes(b"\0")
    write(scan(), root / "Task07_Pancreas" / "imagesTs" / "pancreas_002.nii.gz")
    (root / "Task07_Pancreas" / "dataset.json").write_text("{}")


def write_totalsegmentator(root: Path) -> None:
    for case in ("s0000", "s0003"):
        write(scan(), root / case / "ct.nii.gz")
        for file, label in TOTALSEGMENTATOR_FILES.items():
            write(
                image((truth() == LABELS.index(label)).astype(np.uint8)),
                root / case / "segmentations" / f"{file}.nii.gz",
            )
        write(image(np.ones(SHAPE, np.uint8)), root / case / "segmentations" / "vertebrae_L1.nii.gz")
    (root / "meta.csv").write_text("image_id;age\n")


def write_nih(root: Path, rising: bool) -> None:
    pydicom = pytest.importorskip("pydicom", reason="needs pydicom to write DICOM: pip install -e .[test]")
    labels = foreign({1: PANCREAS})
    # the file's header says RAS where the voxels are stored as in the DICOM series
    stored = flip_anterior_posterior(image(labels if rising else labels[::-1]))
    for number, case in enumerate(("0001", "0003")):
        series = root / "Pancreas-CT" / f"PANCREAS_{case}" / "11-24-2015-Pancreas-18957" / "Pancreas-99667"
        write_dicom(series, scan(), series=number + 1, names="1-{:03d}.dcm")
        for file in series.iterdir():
            ds = pydicom.dcmread(file)
            z = int(str(ds.SOPInstanceUID).rsplit(".", 1)[1])
            ds.InstanceNumber = z if rising else SHAPE[0] + 1 - z
            ds.save_as(file)
        write(stored, root / "TCIA_pancreas_labels-02-05-2017" / f"label{case}.nii.gz")
    write(stored, root / "TCIA_pancreas_labels-02-05-2017" / "label0025.nii.gz")  # its scan was withdrawn


LAYOUTS = {
    "btcv": (write_btcv, ["0001", "0002"]),
    "msd": (write_msd, ["pancreas_001", "pancreas_004"]),
    "totalsegmentator": (write_totalsegmentator, ["s0000", "s0003"]),
    "nih": (lambda root: write_nih(root, True), ["PANCREAS_0001", "PANCREAS_0003"]),
    "nih, numbered from the head": (lambda root: write_nih(root, False), ["PANCREAS_0001", "PANCREAS_0003"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_data_set_reads_as_it_is_downloaded(tmp_path, layout):
    make, names = LAYOUTS[layout]
    make(tmp_path)
    partial = layout.startswith(("msd", "nih"))
    scans = FORMATS[layout.split(",")[0]](tmp_path)
    assert [one.name for one in scans] == names
    for one in scans:
        ct, labels = one.read()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(ct), sitk.GetArrayFromImage(scan()))
        expected = np.where(truth() == PANCREAS, PANCREAS, 0) if partial else truth()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), expected)
        assert same_grid(ct, labels)
        assert one.known == (frozenset({0, PANCREAS}) if partial else frozenset(range(len(LABELS))))


def test_any_pairs_are_read_by_pattern_and_values(tmp_path):
    write(scan(), tmp_path / "volumes" / "anna.nrrd")
    write(image(foreign({7: PANCREAS, 40: 5})), tmp_path / "masks" / "anna_seg.nrrd")
    (one,) = pairs(tmp_path, ("volumes/{case}.nrrd", "masks/{case}_seg.nrrd"), {7: PANCREAS, 40: 5})
    _, labels = one.read()
    assert set(np.unique(sitk.GetArrayFromImage(labels))) == {0, 5, PANCREAS}
    assert one.known == {0, 5, PANCREAS}


def test_a_mirrored_header_is_mended_for_scan_and_labels_alike(tmp_path):
    write(flip_anterior_posterior(scan()), tmp_path / "a_ct.nii.gz")
    write(flip_anterior_posterior(image(truth())), tmp_path / "a_labels.nii.gz")
    ct, labels = pairs(tmp_path, mirrored=True)[0].read()
    assert same_grid(ct, scan())
    assert same_grid(labels, scan())


def refusal(action) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_folder_is_refused(tmp_path, name):
    assert "--source" in refusal(lambda: FORMATS[name](tmp_path))


def test_labels_that_do_not_belong_to_their_scan_are_refused(tmp_path):
    write(scan(), tmp_path / "a_ct.nii.gz")
    assert "no labels" in refusal(lambda: pairs(tmp_path))
    path = tmp_path / "a_labels.nii.gz"
    read = lambda: pairs(tmp_path)[0].read()  # noqa: E731
    write(image(truth()[1:]), path)
    assert "do not belong together" in refusal(read)
    write(flip_anterior_posterior(image(truth())), path)
    assert "does not lie on its scan" in refusal(read)
    write(image(truth() * 3), path)
    assert "--values" in refusal(read)


def test_nih_labels_in_another_order_of_slices_are_refused(tmp_path):
    write_nih(tmp_path, rising=True)
    for path in tmp_path.rglob("label*.nii.gz"):
        labels = sitk.ReadImage(str(path))
        write(sitk.Flip(labels, [False, True, False]), path)
    assert "soft tissue" in refusal(FORMATS["nih"](tmp_path)[0].read)


# --- labels that nobody drew ------------------------------------------------------------------------------------------

WEIGHTS = label_weights(3.0)
PANCREAS_KNOWN = torch.tensor([[label in (0, PANCREAS) for label in range(len(LABELS))]])


def test_when_all_labels_are_known_the_marginal_loss_is_the_ordinary_one():
    scores, labels = torch.randn(2, len(LABELS), 200), torch.randint(0, len(LABELS), (2, 200))
    known = torch.ones(2, len(LABELS), dtype=torch.bool)
    ordinary = segmentation_loss(scores, labels, WEIGHTS)
    torch.testing.assert_close(segmentation_loss(scores, labels, WEIGHTS, known), ordinary)


def test_finding_an_organ_that_nobody_drew_costs_nothing():
    truth = torch.randint(0, len(LABELS), (1, 300))
    right = torch.nn.functional.one_hot(truth, len(LABELS)).movedim(-1, 1).float() * 20
    drawn = torch.where(truth == PANCREAS, PANCREAS, 0)
    assert segmentation_loss(right, drawn, WEIGHTS, PANCREAS_KNOWN) < 0.01
    assert segmentation_loss(right, drawn, WEIGHTS) > 1, "taken for background, the organs would be punished"


def test_probability_may_move_between_background_and_unknown_organs_but_not_to_the_pancreas():
    scores = torch.randn(1, len(LABELS), 50, requires_grad=True)
    labels = torch.zeros(1, 50, dtype=torch.long)
    loss = segmentation_loss(scores, labels, WEIGHTS, PANCREAS_KNOWN)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert (gradient[:, PANCREAS] > 0).all(), "a pancreas where there is none is pushed down"
    assert (gradient[:, :PANCREAS] < 0).all(), "everything it may be instead is pushed up"
    with torch.no_grad():
        swapped = scores.clone()
        swapped[:, [0, 5]] = scores[:, [5, 0]]
    torch.testing.assert_close(segmentation_loss(swapped, labels, WEIGHTS, PANCREAS_KNOWN), loss)


def test_partial_and_complete_scans_train_together(tmp_path, monkeypatch):
    write_msd(tmp_path)
    arguments = ["prepare", "--format", "msd", "--source", str(tmp_path), "--target", str(tmp_path / "grid")]
    monkeypatch.setattr(sys, "argv", ["training", *arguments, "--spacing", "2", "--phantoms", "0"])
    assert command_line.main() == 0
    cases = load_cases(tmp_path / "grid")
    assert [case.known for case in cases] == [tuple(PANCREAS_KNOWN[0].tolist())] * 2
    assert all((case.labels[case.labels > 0] == PANCREAS).all() for case in cases)

    with pytest.raises(InputError, match=r"grid of 2 mm, but the settings say 1\.5 mm; prepare it with --spacing 1\.5"):
        Trainer(tmp_path / "run", TINY.changed(spacing=1.5), cases, [])
    settings = TINY.changed(batch=4, steps=2)
    mixed = [*cases, toy_case(1)]
    known = PatchSampler(mixed, settings).batch(0).known
    assert {tuple(row) for row in known.tolist()} == {cases[0].known, toy_case(1).known}
    trainer = Trainer(tmp_path / "run", settings, mixed, [])
    assert trainer.partial
    list(trainer.run(compiled=False))
    assert trainer.step == 2


def test_a_scan_of_another_part_of_the_body_can_be_sampled(tmp_path):
    empty = toy_case(1)
    np.savez(tmp_path / "legs.npz", hu=empty.hu.numpy(), labels=np.zeros_like(empty.labels.numpy()))
    batch = PatchSampler([load(tmp_path / "legs.npz")], TINY).batch(0)
    assert not batch.labels.any()
    assert batch.known.all(), "files from before know all labels"


# --- scans that were annotated on some slices -------------------------------------------------------------------------


@pytest.fixture
def sparse_grid(tmp_path, said_by) -> Path:
    """A whole scan and one whose upper third nobody annotated, prepared into one folder."""
    labels = np.where(truth() == PANCREAS, PANCREAS, 0).astype(np.uint8)
    labels[16:] = UNANNOTATED
    write(scan(), tmp_path / "slices" / "nih0090_ct.nii.gz")
    write(image(labels), tmp_path / "slices" / "nih0090_labels.nii.gz")
    write(scan(), tmp_path / "whole" / "0006_ct.nii.gz")
    write(image(truth()), tmp_path / "whole" / "0006_labels.nii.gz")
    target = tmp_path / "grid"
    for source in (["--format", "nih-slices", "--source", tmp_path / "slices"], ["--source", tmp_path / "whole"]):
        said_by("prepare", *source, "--target", target, "--spacing", 2, "--phantoms", 0)
    return target


@pytest.fixture
def said_by(monkeypatch, capsys):
    """Run a command of the training program and give what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["training", *map(str, arguments)])
        assert command_line.main() == 0
        return capsys.readouterr().out

    return run


def test_small_patients_are_prepared_as_the_fine_networks_see_them(tmp_path):
    small = make_phantom(0, spacing=(4.0, 4.0, 4.0))
    usual, finer = (
        np.array(prepare_case(small.ct, small.labels, 4.0, tmp_path / f"{sized}.npz", sized=sized))
        for sized in (False, True)
    )
    np.testing.assert_allclose(finer / usual, 1 / FINEST, rtol=0.03)
    assert load(tmp_path / "True.npz").spacing == 4.0, "fits a run on 4 mm"


def test_a_folder_holds_scans_prepared_in_one_way(tmp_path):
    def prepared(spacing: float, sized: bool) -> list[str]:
        return list(prepare([Scan("a", lambda: (scan(), image(truth())))], tmp_path, spacing, 0, sized))

    assert len(prepared(4.0, False)) == 1
    assert prepared(4.0, False) == [], "done already"
    for spacing, sized in ((2.0, False), (4.0, True)):
        with pytest.raises(InputError, match="another --spacing or --sized"):
            prepared(spacing, sized)


def test_a_case_is_prepared_whole_or_not_at_all(tmp_path, monkeypatch):
    def full(file, **arrays):
        Path(file).write_bytes(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare_case(scan(), image(truth()), 4.0, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_label_map_that_cannot_be_read_is_named(tmp_path):
    write(scan(), tmp_path / "a_ct.nii.gz")
    (tmp_path / "a_labels.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a_labels\.nii\.gz” cannot be read as a label map"):
        pairs(tmp_path)[0].read()


@pytest.mark.parametrize(
    ("patient", "spacing"),
    [("0003", (0.6641, 0.6641, 1.0)), ("0044", (0.9473, 0.9473, 0.5)), ("0090", (2.0, 2.0, 3.0))],  # as its file says
)
def test_pictures_get_the_voxels_of_their_patient(tmp_path, patient, spacing):
    write(scan(), tmp_path / f"nih{patient}_ct.nii.gz")
    write(image(np.where(truth() == PANCREAS, PANCREAS, 0).astype(np.uint8)), tmp_path / f"nih{patient}_labels.nii.gz")
    (found,) = FORMATS["nih-slices"](tmp_path)
    ct, labels = found.read()
    assert ct.GetSpacing() == pytest.approx(spacing)
    assert same_grid(ct, labels)
    assert (sitk.GetArrayViewFromImage(labels) == PANCREAS).sum() == (truth() == PANCREAS).sum()


def test_what_nobody_annotated_stays_apart_on_the_working_grid(sparse_grid):
    whole, sparse = load_cases(sparse_grid)
    assert (whole.name, whole.sparse, sparse.name, sparse.sparse) == ("0006", False, "nih0090", True)
    assert set(np.unique(sparse.labels)) == {0, PANCREAS, UNANNOTATED}
    assert sparse.known == tuple(PANCREAS_KNOWN[0].tolist())
    border = 16 * 3 / 2  # annotated slices of 3 mm on a grid of 2 mm
    unannotated = (sparse.labels == UNANNOTATED).all(2).all(1).numpy()
    assert np.flatnonzero(unannotated)[0] == pytest.approx(border, abs=1)
    for positions in (sparse.pancreas, sparse.organs):
        assert len(positions)
        assert (sparse.labels[tuple(positions.T)] != UNANNOTATED).all(), "no patch is centred where nothing is known"


def test_no_patch_counts_what_lies_beyond_a_sparse_scan(sparse_grid):
    settings = TINY.changed(patch=(80, 16, 16), batch=8, sparse_share=1.0)
    batch = PatchSampler(load_cases(sparse_grid), settings).batch(0)
    assert (batch.labels[:, 0] == UNANNOTATED).all(), "below the first slice"
    assert (batch.labels[:, -1] == UNANNOTATED).all(), "above the last"
    assert (batch.labels == 0).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_sparse_share_says_how_many_patches_are_of_sparse_scans(sparse_grid, share):
    sampler = PatchSampler(load_cases(sparse_grid), TINY.changed(batch=12, sparse_share=share))
    complete = sampler.batch(0).known.all(1)
    assert complete.float().mean() == 1 - share


def test_unannotated_voxels_change_neither_loss_nor_gradient():
    scores = torch.randn(2, len(LABELS), 200, requires_grad=True)
    labels = torch.randint(0, len(LABELS), (2, 200))
    known = torch.ones(2, len(LABELS), dtype=torch.bool)
    seen, hidden = scores[:, :, :150], torch.where(torch.arange(200) < 150, labels, UNANNOTATED)
    expected = segmentation_loss(seen, labels[:, :150], WEIGHTS, known)
    loss = segmentation_loss(scores, hidden, WEIGHTS, known)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert not gradient[:, :, 150:].any()
    assert gradient[:, :, :150].any()


def test_a_batch_that_nobody_annotated_costs_nothing():
    scores = torch.randn(1, len(LABELS), 50, requires_grad=True)
    labels = torch.full((1, 50), UNANNOTATED)
    loss = segmentation_loss(scores, labels, WEIGHTS, torch.ones(1, len(LABELS), dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(loss)
    assert not gradient.any()


def test_the_narrow_window_keeps_soft_tissue_and_tells_nothing_else_apart():
    inside = torch.linspace(NARROW_HU[0] + 8, NARROW_HU[1], 50)
    torch.testing.assert_close(narrow_window(inside), inside)
    assert (narrow_window(torch.tensor([-1000.0, -100.0, 0.0, NARROW_HU[0]])) == NARROW_DARK_HU).all()
    assert (narrow_window(torch.tensor([NARROW_HU[1], 400.0, 3000.0])) == NARROW_HU[1]).all()
    ramp = narrow_window(torch.linspace(-50, 300, 500))
    assert (ramp.diff() >= 0).all()


def test_a_sparse_scan_always_trains(sparse_grid):
    cases = load_cases(sparse_grid)
    for fold in range(FOLDS):
        training, judges = divided(cases, fold)
        assert "nih0090" in {case.name for case in training}
        assert {case.name for case in judges} <= {"0006"}


def test_label_values_that_mean_nothing_are_refused(tmp_path):
    write(scan(), tmp_path / "a_ct.nii.gz")
    labels = truth()
    labels[0, 0, 0] = 77
    write(image(labels), tmp_path / "a_labels.nii.gz")
    with pytest.raises(InputError, match="holds the value 77"):
        pairs(tmp_path)[0].read()


# --- folds ------------------------------------------------------------------------------------------------------------

PUBLISHED = (
    [f"{n:04d}" for n in (*range(1, 11), *range(21, 41))]
    + [f"PANCREAS_{n:04d}" for n in range(1, 83)]
    + [f"pancreas_{n:03d}" for n in range(1, 422)]
    + [f"s{n:04d}" for n in range(1429)]
)


def test_every_published_case_lies_in_one_fold_of_the_file_and_folds_are_even():
    assert sorted(table()) == sorted(PUBLISHED)
    for prefix in ("0", "PANCREAS", "pancreas", "s"):
        sizes = Counter(fold for name, fold in table().items() if name.startswith(prefix))
        assert len(sizes) == FOLDS
        assert max(sizes.values()) - min(sizes.values()) <= max(4, 0.01 * len(PUBLISHED))


def test_the_validation_scans_of_the_shipped_weights_are_fold_0():
    assert [fold_of(name) for name in ("0007", "0024", "0034")] == [0, 0, 0]
    trained = ("0006", "0009", "0021", "0023", "0027", "0028", "0030", "0033", "0037", "0040")
    assert all(fold_of(name) != 0 for name in trained)


def test_patients_never_cross_folds():
    assert len({fold_of(f"PANCREAS_{n}") for n in ("0002", "0025", "0070")}) == 1
    own = [f"patient{n}__{visit}" for n in range(50) for visit in ("2019", "2021", "late")]
    for fold in range(FOLDS):
        training, judges = split(own, fold)
        assert sorted(training + judges) == sorted(own)
        assert not {patient_of(name) for name in training} & {patient_of(name) for name in judges}
        assert judges
    assert split(own, 1) == split(list(own), 1)


def test_a_fold_or_none_is_kept_back_and_phantoms_always_train():
    cases = [toy_case(seed) for seed in range(20)]
    phantom = toy_case(1)
    object.__setattr__(phantom, "name", "phantom001")
    for fold in range(FOLDS):
        training, judges = divided([*cases, phantom], fold)
        assert {case.name for case in judges} == {case.name for case in cases if fold_of(case.name) == fold}
        assert phantom in training
        assert len(training) + len(judges) == 21
    assert divided(cases, None) == (cases, [])
