"""Which images pass as CT in HU, and why others do not."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest
import SimpleITK as sitk

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.checks import check_ct
from TernarySegmentLib.imaging.files.reading import read_ct
from TernarySegmentLib.phantom import make_phantom

AIR, FAT, SOFT, LIVER, BONE = -1000, -110, 45, 110, 700


def body(spacing=(3.0, 3.0, 4.0), kind=sitk.sitkInt16) -> sitk.Image:
    """A crude abdomen in air, 300×300×200 mm with noise: fat around soft tissue, a liver and a spine."""
    size = [round(mm / s) for mm, s in zip((300, 300, 200), spacing, strict=True)]
    _, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    hu = np.full(x.shape, AIR, np.float64)
    for rx, ry, cx, cy, value in (
        (0.9, 0.7, 0, 0, FAT),
        (0.8, 0.6, 0, 0, SOFT),
        (0.3, 0.3, -0.4, 0, LIVER),
        (0.1, 0.1, 0, 0.4, BONE),
    ):
        hu[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = value
    hu += np.random.default_rng(0).normal(0, 12, hu.shape)
    image = sitk.Cast(sitk.GetImageFromArray(np.rint(hu)), kind)
    image.SetSpacing(spacing)
    return image


def middle(image: sitk.Image) -> sitk.Image:
    """The middle of a body, without air around."""
    return image[30:70, 30:70, 10:40]


def refusal(image: sitk.Image) -> str:
    with pytest.raises(InputError) as caught:
        check_ct(image)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(
    "ct",
    [
        pytest.param(body(), id="whole"),
        pytest.param(body(kind=sitk.sitkFloat32), id="float"),
        pytest.param(body(kind=sitk.sitkFloat64), id="double"),
        pytest.param(sitk.Clamp(body(), sitk.sitkInt16, -125, 275), id="clipped to -125...275"),
        pytest.param(sitk.Clamp(body(), sitk.sitkInt16, -1024, 3071), id="clipped to 12 bits"),
        pytest.param(middle(body()), id="cropped without air"),
        pytest.param((body() + 752) / 7 * 7 - 752, id="restored from 8 bits"),
        pytest.param(body() - 2000 * sitk.Cast(body() < -900, sitk.sitkInt16), id="padded outside the circle"),
        pytest.param(sitk.Flip(body(), (False, True, True)), id="flipped axes"),
    ],
)
def test_a_ct_in_hu_passes_without_a_warning_about_its_values(ct):
    summary = check_ct(ct)
    assert summary.size == ct.GetSize()
    assert summary.spacing == ct.GetSpacing()
    values = sitk.GetArrayViewFromImage(ct)
    assert (summary.hu_min, summary.hu_max) == (values.min(), values.max())
    assert not any("HU" in warning for warning in summary.warnings)


def test_the_sentence_gives_size_spacing_and_range():
    ct = sitk.Clamp(body(), sitk.sitkInt16, -125, 275)
    assert check_ct(ct).sentence == "100×100×50 voxels, 3.00×3.00×4.00 mm, HU −125…275"
    assert check_ct(ct).warnings == ()


def with_one(value: float) -> sitk.Image:
    image = body(kind=sitk.sitkFloat32)
    image[5, 5, 5] = value
    return image


def mr() -> sitk.Image:
    """Air dark, fat bright, soft tissue between, as in a T2-weighted image."""
    return sitk.Clamp(sitk.Cast(body(), sitk.sitkFloat32) * -4 + 700, sitk.sitkUInt16, 0, 1600) * sitk.Cast(
        body() > -500, sitk.sitkUInt16
    )


def stretched(image: sitk.Image, window: tuple[int, int], onto: tuple[int, int]) -> sitk.Image:
    """The values of a window spread over another range."""
    (low, high), (bottom, top) = window, onto
    values = np.clip(sitk.GetArrayFromImage(image).astype(float), low, high)
    result = sitk.GetImageFromArray(np.rint((values - low) / (high - low) * (top - bottom) + bottom).astype(np.int16))
    result.CopyInformation(image)
    return result


def scaled(image: sitk.Image, factor: float) -> sitk.Image:
    return stretched(image, (-1024, 3071), (round(-1024 * factor), round(3071 * factor)))


WINDOWS = [(-160, 240), (-1000, 1000), (-125, 275)]
STRETCHED = [(a, b) for a in WINDOWS for b in ((-1000, 1000), (-1024, 3071), (-2000, 2000), (-500, 500)) if a != b]


@pytest.mark.parametrize("factor", [0.5, 2, 3, 10])
def test_values_that_were_multiplied_are_refused(factor, real):
    for name, ct in real.items():
        assert "scaled or stretched" in refusal(scaled(ct, factor)), name
    assert "scaled or stretched" in refusal(scaled(body(), factor))


@pytest.mark.parametrize(("window", "onto"), STRETCHED, ids=str)
def test_a_window_stretched_to_another_range_is_refused(window, onto, real):
    for name, ct in real.items():
        # what looks shifted too is told first; once shifted back it is still stretched
        assert any(word in refusal(stretched(ct, window, onto)) for word in ("stretched", "shifted")), name


@pytest.mark.parametrize("factor", [0.1, 0.25, 0.5])
def test_clipped_values_that_were_divided_draw_a_note_at_least(factor, real):
    for ct in (*real.values(), body()):
        divided = stretched(ct, (-125, 275), (round(-125 * factor), round(275 * factor)))
        try:
            warnings = check_ct(divided).warnings
        except InputError:
            continue
        assert [w for w in warnings if "value of fat" in w]


@pytest.fixture(scope="module")
def real(request) -> dict[str, sitk.Image]:
    """Phantoms, and the real CTs where they are: an abdomen with and one without contrast agent."""
    found = {f"phantom {seed}": make_phantom(seed, spacing=(2.0, 2.0, 3.0)).ct for seed in (0, 101)}
    with contextlib.suppress(pytest.skip.Exception):
        folder = request.getfixturevalue("shared_data")
        found["with contrast agent"] = read_ct(folder / "nih_pancreas_0004" / "ct.nii.gz")[::3, ::3, ::3]
        found["without"] = read_ct(folder / "acrin_dicom")[::3, ::3]
    return found


def test_real_values_draw_no_note_clipped_or_not(real):
    for name, ct in real.items():
        for window in ((-3024, 3071), (-1024, 1500), (-125, 275), (-500, 500), (-160, 240)):
            assert check_ct(sitk.Clamp(ct, ct.GetPixelID(), *window)).warnings == (), (name, window)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        pytest.param(body() + 1024, "subtract 1024", id="shifted"),
        pytest.param(sitk.Cast(body() + 1024, sitk.sitkUInt16), "subtract 1024", id="shifted, unsigned"),
        pytest.param(sitk.Clamp(body() + 1024, sitk.sitkInt16, 0, 4095), "subtract 1024", id="shifted, 12 bits"),
        pytest.param(middle(body()) + 1024, "subtract 1024", id="shifted, without air"),
        pytest.param(
            body() + 1024 - 2024 * sitk.Cast(body() < -1010, sitk.sitkInt16), "subtract 1024", id="shifted, padded"
        ),
        pytest.param(sitk.Cast(sitk.RescaleIntensity(body(), 0, 255), sitk.sitkUInt8), "8-bit picture", id="8 bits"),
        pytest.param(sitk.RescaleIntensity(body(), 0, 255), "8-bit picture", id="8 bits in 16"),
        pytest.param(body(kind=sitk.sitkFloat32) / 1000, "after normalising", id="divided by 1000"),
        pytest.param(sitk.Normalize(body(kind=sitk.sitkFloat32)), "after normalising", id="mean 0, deviation 1"),
        pytest.param(sitk.RescaleIntensity(body(kind=sitk.sitkFloat32), 0, 1), "after normalising", id="0 to 1"),
        pytest.param(stretched(body(), (-1000, 1000), (-127, 127)), "8-bit picture", id="8 bits, signed"),
        pytest.param(mr(), "not a CT in HU", id="MR"),
        pytest.param(sitk.Abs(body(kind=sitk.sitkFloat32) + 1000) * 20, "not a CT in HU", id="PET"),
        pytest.param(body() * 0, "Every voxel of the image is 0", id="constant 0"),
        pytest.param(body() * 0 - 1000, "Every voxel of the image is -1000", id="constant air"),
        pytest.param(with_one(np.nan), "not numbers", id="NaN"),
        pytest.param(with_one(np.inf), "not numbers", id="infinite"),
        pytest.param(body()[:, :, 5], "2 dimensions", id="2D"),
        pytest.param(sitk.JoinSeries([body(), body()]), "4 dimensions", id="4D"),
        pytest.param(sitk.Compose([body(), body(), body()]), "one number per voxel", id="vector"),
        pytest.param(sitk.Cast(body(), sitk.sitkComplexFloat32), "one number per voxel", id="complex"),
        pytest.param(body()[:, :, :7], "too small", id="7 slices"),
        pytest.param(body()[:, :, :9], "too small", id="36 mm high"),
        pytest.param(body()[:13], "too small", id="39 mm wide"),
    ],
)
def test_what_is_no_usable_ct_is_refused_saying_why(image, reason):
    assert reason in refusal(image)


@pytest.mark.parametrize("spacing", [(0.003, 0.003, 0.004), (3000.0, 3000.0, 4000.0), (3.0, 3.0, 40.0)])
def test_a_spacing_in_metres_or_micrometres_is_refused_with_the_spacing(spacing):
    image = body()
    image.SetSpacing(spacing)
    text = refusal(image)
    assert "voxel size" in text
    assert f"{spacing[0]:.3g}" in text


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 19.9 * 3), (14.0, 3.0, 4.0), (3.0, 13.0, 4.0)])
def test_what_is_larger_than_a_body_is_refused_with_its_size(spacing):
    long = sitk.Expand(body(), (1, 1, 3), sitk.sitkNearestNeighbor)
    long.SetSpacing((spacing[0], spacing[1], spacing[2] / 3))
    text = refusal(long)
    assert "more than a body" in text
    assert f"{long.GetSize()[0] * spacing[0]:.0f}×" in text


@pytest.mark.parametrize("component", range(3))
def test_a_spacing_that_is_not_a_number_is_refused(component):
    image = body()
    spacing = [3.0, 3.0, 4.0]
    spacing[component] = float("nan")
    image.SetSpacing(spacing)
    assert "not a number" in refusal(image)


def test_thick_slices_are_warned_of_and_5_mm_are_not():
    thick, common = body(spacing=(3.0, 3.0, 8.0)), body(spacing=(3.0, 3.0, 5.0))
    assert [w for w in check_ct(thick).warnings if "8.0 mm apart" in w]
    assert check_ct(common).warnings == ()


def test_a_small_field_of_view_is_warned_of_along_the_patients_axes():
    small = body()[20:80]  # 180 mm across
    assert [w for w in check_ct(small).warnings if "field of view" in w]
    short = body()[:, :, :20]  # 80 mm high
    assert [w for w in check_ct(short).warnings if "80 mm long" in w]
    # the same voxels with the image's x axis along the patient
    turned = sitk.Image(small)
    turned.SetDirection((0, 0, 1, 0, 1, 0, -1, 0, 0))
    assert not [w for w in check_ct(turned).warnings if "long" in w]


def test_the_real_scans_pass_and_fail_when_shifted(shared_data):
    for scan in (read_ct(shared_data / "nih_pancreas_0004" / "ct.nii.gz"), read_ct(shared_data / "acrin_dicom")):
        seconds = []
        for _ in range(3):
            started = time.perf_counter()
            assert check_ct(scan).warnings == ()
            seconds.append(time.perf_counter() - started)
        assert min(seconds) < 0.5, "measured 0.01 s; 58 million voxels"
        assert check_ct(sitk.Clamp(scan, sitk.sitkInt16, -125, 275)).hu_min == -125
        assert "subtract 1024" in refusal(scan + 1024)
