"""The synthetic abdomen: the same for a seed, arranged like a patient, and labelled where the tissue is."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.phantom import DEFAULT_FIELD_MM, Label, make_phantom

# coarse, so that several patients are made in a few seconds
SPACING = (2.0, 2.0, 3.0)
SEEDS = (0, 5, 9)
HU_RANGES = {
    Label.SPLEEN: (95, 135),
    Label.RIGHT_KIDNEY: (140, 215),
    Label.LEFT_KIDNEY: (140, 215),
    Label.GALLBLADDER: (0, 25),
    Label.LIVER: (60, 125),
    Label.STOMACH: (-200, 160),  # from mostly gas to full of oral contrast
    Label.AORTA: (130, 285),
    Label.PANCREAS: (70, 125),
}


class Patient:
    """A phantom's arrays (z, y, x) and the LPS position of every voxel of a label."""

    def __init__(self, seed: int) -> None:
        self.phantom = make_phantom(seed, SPACING)
        self.hu = sitk.GetArrayFromImage(self.phantom.ct)
        self.labels = sitk.GetArrayFromImage(self.phantom.labels)

    def positions(self, mask: np.ndarray) -> np.ndarray:
        """(n, 3): x to the left, y to the back, z to the head, mm."""
        return np.argwhere(mask)[:, ::-1] * self.phantom.ct.GetSpacing() + self.phantom.ct.GetOrigin()

    def centre(self, label: Label) -> np.ndarray:
        return self.positions(self.labels == label).mean(0)

    def around(self, x: float, y: float, z: float) -> tuple[slice, slice, slice]:
        """The 5 x 5 x 3 voxels about a point."""
        i, j, k = self.phantom.ct.TransformPhysicalPointToIndex((x, y, z))
        return slice(k - 1, k + 2), slice(j - 2, j + 3), slice(i - 2, i + 3)


@pytest.fixture(scope="module", params=SEEDS)
def patient(request):
    return Patient(request.param)


def test_a_seed_gives_the_same_voxels_every_time_and_another_seed_does_not():
    spacing = (5.0, 5.0, 6.0)
    first, again, other = (make_phantom(seed, spacing) for seed in (3, 3, 4))
    for name in ("ct", "labels"):
        a, b, c = (sitk.GetArrayViewFromImage(getattr(phantom, name)) for phantom in (first, again, other))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_ct_and_labels_lie_on_one_lps_grid_of_the_asked_spacing(patient):
    ct, labels = patient.phantom.ct, patient.phantom.labels
    assert (ct.GetPixelID(), labels.GetPixelID()) == (sitk.sitkInt16, sitk.sitkUInt8)
    assert ct.GetSpacing() == labels.GetSpacing() == SPACING
    assert ct.GetOrigin() == labels.GetOrigin()
    assert ct.GetDirection() == labels.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    extent = np.multiply(ct.GetSize(), SPACING)
    assert np.abs(extent - DEFAULT_FIELD_MM).max() <= max(SPACING)


def test_a_seed_means_one_patient_whatever_the_grid():
    fine, coarse = (
        make_phantom(1, spacing, noise=False).labels == int(Label.LIVER) for spacing in (SPACING, (4, 4, 5))
    )
    found = []
    for mask in (fine, coarse):
        statistics = sitk.LabelShapeStatisticsImageFilter()
        statistics.Execute(mask)
        found.append((statistics.GetCentroid(1), statistics.GetPhysicalSize(1)))
    assert np.abs(np.subtract(found[0][0], found[1][0])).max() < 2
    assert found[1][1] == pytest.approx(found[0][1], rel=0.05)


def test_every_label_is_present_and_no_other(patient):
    assert set(np.unique(patient.labels)) == {0, *Label}


def test_the_organs_are_on_their_own_sides(patient):
    assert patient.centre(Label.LIVER)[0] < -20
    assert patient.centre(Label.GALLBLADDER)[0] < -20
    assert patient.centre(Label.RIGHT_KIDNEY)[0] < -20
    assert patient.centre(Label.SPLEEN)[0] > 20
    assert patient.centre(Label.STOMACH)[0] > 20
    assert patient.centre(Label.LEFT_KIDNEY)[0] > 20
    assert patient.centre(Label.RIGHT_KIDNEY)[2] < patient.centre(Label.LEFT_KIDNEY)[2] + 15


def test_the_aorta_lies_left_of_the_cava_and_both_before_the_spine(patient):
    x, y, _ = patient.centre(Label.AORTA)
    assert 0 < x < 40
    cava = patient.around(-23, 14, 150)
    assert not patient.labels[cava].any()
    # 98-165 HU over all phases and contrast doses; noise and texture move a mean of 75 voxels by some HU
    assert 90 < patient.hu[cava].mean() < 175
    bone = patient.positions(patient.hu > 250)
    spine = bone[np.abs(bone[:, 0]) < 12]
    assert spine[:, 1].mean() > y + 10


def test_the_pancreas_runs_from_a_low_right_head_over_the_aorta_to_a_high_left_tail_at_the_back(patient):
    organ = patient.positions(patient.labels == Label.PANCREAS)
    low, high = np.quantile(organ[:, 0], (0.15, 0.85))
    head, tail = organ[organ[:, 0] < low].mean(0), organ[organ[:, 0] > high].mean(0)
    body = organ[np.abs(organ[:, 0] - patient.centre(Label.AORTA)[0]) < 8].mean(0)
    assert head[0] < -15
    assert tail[0] > 30
    assert tail[2] > head[2] + 20
    assert body[1] < patient.centre(Label.AORTA)[1] - 15
    assert tail[1] > body[1] + 10


def test_the_pancreas_measures_50_to_120_ml(patient):
    volume = np.count_nonzero(patient.labels == Label.PANCREAS) * np.prod(SPACING) / 1000
    assert 50 < volume < 120


@pytest.mark.parametrize("label", Label, ids=lambda label: label.name.lower())
def test_an_organ_has_the_hounsfield_numbers_of_its_tissue(patient, label):
    low, high = HU_RANGES[label]
    assert low < patient.hu[patient.labels == label].mean() < high


@pytest.mark.parametrize("label", [label for label in Label if label != Label.STOMACH], ids=lambda x: x.name.lower())
def test_no_solid_organ_is_labelled_in_fat(patient, label):
    values = patient.hu[patient.labels == label]
    assert np.mean(values < -40) < 0.03


def test_air_surrounds_the_body_and_lung_lies_at_the_top(patient):
    assert patient.hu[:, :3].max() < -900
    assert np.mean((patient.hu[-5] > -920) & (patient.hu[-5] < -760)) > 0.1


@pytest.mark.parametrize(("spacing", "field"), [((0, 1, 1), DEFAULT_FIELD_MM), ((1, 1, 1), (100, -1, 100))])
def test_a_grid_without_extent_is_refused(spacing, field):
    with pytest.raises(InputError, match="positive millimetres"):
        make_phantom(0, spacing, field)
