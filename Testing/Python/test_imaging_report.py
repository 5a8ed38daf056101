"""The page to go with a record: what it says, what it keeps to itself, how it looks, and that others can read it."""

from __future__ import annotations

import functools
import importlib.util
from datetime import datetime

import numpy as np
import pytest
import SimpleITK as sitk
from quick_model import quick_model

from TernarySegmentLib import cli
from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.measure import measure
from TernarySegmentLib.imaging.report import page
from TernarySegmentLib.imaging.report.one_page_report import FOOT, WARNING, Facts, draw_report, write_report
from TernarySegmentLib.imaging.report.preview import AXIAL, CORONAL, SAGITTAL
from TernarySegmentLib.imaging.report.rendering import BACKGROUND, draw_body
from TernarySegmentLib.phantom import Label, make_phantom

pytest.importorskip("fpdf", reason="needs fpdf2 and pypdfium2: pip install -e .[report]")
pdfium = pytest.importorskip("pypdfium2", reason="needs fpdf2 and pypdfium2: pip install -e .[report]")
from PIL import Image  # noqa: E402

FACTS = Facts("The network is sure.", "0123456789abcdef", datetime(2026, 3, 4, 5, 6), 2.34, notes=("A note.",))


@pytest.fixture(scope="module")
def scan() -> tuple[sitk.Image, sitk.Image]:
    """A synthetic abdomen and its pancreas."""
    phantom = make_phantom(0, spacing=(2.0, 2.0, 4.0))
    return phantom.ct, sitk.Cast(phantom.labels == Label.PANCREAS, sitk.sitkUInt8)


@pytest.fixture(scope="module")
def drawn(scan):
    """The items of a page by its facts, each drawn once."""
    return functools.cache(lambda facts: draw_report(*scan, facts))


def words(items: list[page.Item]) -> str:
    return "\n".join(item.text for item in items if isinstance(item, page.Text))


def words_in(content: bytes) -> list[str]:
    """The lines of a PDF document's page."""
    return pdfium.PdfDocument(content)[0].get_textpage().get_text_bounded().splitlines()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_tells_the_numbers_their_origin_and_the_warning(scan, drawn):
    measures = measure(*scan)
    text = words(drawn(FACTS))
    assert f"{measures.volume_ml:.1f} mL" in text
    assert f"{measures.mean_hu:.0f} ± {measures.sd_hu:.0f} HU".replace("-", "−") in text
    assert " × ".join(f"{mm:.0f}" for mm in measures.extent_mm) in text
    for part in ("The network is sure.", "0123456789ab", "2026-03-04 05:06 in 2.3 s", "A note.", "not corrected"):
        assert part in text
    assert text.count(WARNING) == 2
    assert "0123456789abc" not in text


def test_a_corrected_mask_is_said_to_be_so_and_its_confidence_to_be_older(drawn):
    text = words(drawn(Facts("The network is sure.", corrected=True)))
    assert "corrected by hand" in text
    assert "not corrected" not in text
    assert "Before correction." in " ".join(text.split())


def test_what_is_not_known_is_left_out(drawn):
    text = words(drawn(Facts()))
    for name in ("Confidence", "Model", "Segmented", "Note"):
        assert name not in text.splitlines()


def test_nobody_is_named_unless_asked_for(scan, drawn):
    ct = sitk.Image(scan[0])
    ct.SetMetaData("0010|0010", "Meier^Hans")  # as images read from DICOM may carry it
    assert "Meier" not in words(draw_report(ct, scan[1], FACTS))
    assert "Meier, Hans" in words(drawn(Facts(case="Meier, Hans")))


@pytest.mark.parametrize("number", [2, 8])
def test_nothing_leaves_the_page_even_with_the_longest_words(drawn, number):
    sentence = "A sentence about the scan that is long enough to need several lines of the table."
    notes = tuple(sentence for _ in range(number))
    confidence = "The network is unsure of a good part of this mask. " * 2
    items = drawn(Facts(confidence, "0" * 64, datetime(2026, 1, 1), 999.9, True, "Case 1", notes))
    for item in items:
        if not isinstance(item, page.Text):
            assert item.x >= 14
            assert item.x + item.width <= page.WIDTH_MM - 14, item
            assert item.y + item.height <= page.HEIGHT_MM - 10, item
    text = pdfium.PdfDocument(page.pdf(items, "x"))[0].get_textpage()
    places = np.array([text.get_rect(n) for n in range(text.count_rects())]) * page.POINT_MM
    assert places[:, 0].min() >= 14
    assert places[:, 2].max() <= page.WIDTH_MM - 14
    assert places[:, 1].min() >= 8
    table = [item for item in items if isinstance(item, page.Text) and item.x > page.WIDTH_MM / 2]
    assert max(item.y for item in table) < FOOT
    assert " ".join(item.text for item in table).count("A sentence about the scan") == number


@pytest.mark.parametrize("high", [40, 400])
def test_tall_and_flat_scans_fit_the_page(high):
    ct = sitk.Image([60, 60, high], sitk.sitkInt16)
    ct.SetSpacing((6.0, 6.0, 5.0))
    inside = np.zeros((high, 60, 60), np.uint8)
    inside[10:20, 20:30, 20:50] = 1
    mask = sitk.GetImageFromArray(inside)
    mask.CopyInformation(ct)
    items = draw_report(ct, mask, FACTS)
    bottom = max(item.y + item.height for item in items if isinstance(item, page.Picture))
    assert bottom < 281


# --- the files --------------------------------------------------------------------------------------------------------


def test_the_pdf_opens_with_one_page_of_a4_and_text_that_can_be_searched(scan, tmp_path):
    write_report(*scan, Facts(case="Müller (Übung) \\ 1"), tmp_path / "neu" / "p.pdf")
    assert [path.name for path in (tmp_path / "neu").iterdir()] == ["p.pdf"]
    document = pdfium.PdfDocument(tmp_path / "neu" / "p.pdf")
    assert len(document) == 1
    assert document[0].get_size() == pytest.approx((595.28, 841.89), abs=0.1)
    text = document[0].get_textpage().get_text_bounded()
    for part in ("Müller (Übung) \\ 1", "mL", "Not a medical device", "R–L × A–P × S–I", "±"):
        assert part in text, part


def test_the_png_shows_the_pictures_where_they_stand(drawn, tmp_path):
    items = drawn(FACTS)
    page.write_page(items, tmp_path / "p.png", "x")
    png = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "p.png"))).astype(float)
    assert png.shape[:2] == (round(page.HEIGHT_MM * page.DPI / 25.4), round(page.WIDTH_MM * page.DPI / 25.4))
    pictures = [item for item in items if isinstance(item, page.Picture)]
    assert len(pictures) == 3
    for picture in pictures:
        top, left, height, width = (
            round(mm * page.DPI / 25.4) for mm in (picture.y, picture.x, picture.height, picture.width)
        )
        shown = Image.fromarray(picture.pixels).resize((width, height), Image.Resampling.LANCZOS)
        inner = np.s_[3 : height - 3, 3 : width - 3]
        one, other = png[top : top + height, left : left + width][inner], np.asarray(shown, float)[inner]
        assert one.std() > 5
        assert np.abs(one - other).mean() < 5


def test_pictures_survive_the_packing_bit_for_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), np.uint8)
    [found] = pdfium.PdfDocument(page.pdf([page.Picture(10, 10, 20, 20, pixels)], "x"))[0].get_objects()
    assert np.array_equal(found.get_bitmap().to_numpy()[..., ::-1], pixels)  # blue, green, red


@pytest.mark.parametrize("name", ["Иванов Пётр", "Παπαδόπουλος", "Dvořák Šárka", "Иванов – Müller"])
def test_letters_that_helvetica_lacks_come_from_a_font_of_the_computer(tmp_path, name):
    if not page._installed():
        pytest.skip("needs a font with Greek and Cyrillic letters (apt-get install fonts-dejavu-core)")
    page.check_page(tmp_path / "p.png", name)
    [text] = words_in(page.pdf([page.Text(20, 20, name)], "x"))
    assert text == name


def test_fonts_of_the_computer_complete_each_other(monkeypatch, tmp_path):
    monkeypatch.setattr(page, "_installed", lambda: [("greek", set("αβ ")), ("cyrillic", set("αбв "))])
    assert page._fonts("αб β") == (["greek", "cyrillic"], "")
    assert page._fonts("αβ") == (["greek"], "")
    assert page._fonts("Müller − ×") == ([], "")
    with pytest.raises(InputError, match=r"“李”.*Latin letters"):
        page.check_page(tmp_path / "p.pdf", "αб李")


def test_a_text_that_would_reach_into_the_margin_is_written_smaller():
    boxes = []
    for text in ("W" * 150, "W" * 9):
        found = pdfium.PdfDocument(page.pdf([page.Text(20, 20, text)], "x"))[0].get_textpage()
        assert found.count_rects() == 1
        boxes.append(np.array(found.get_rect(0)) * page.POINT_MM)
    wide, narrow = boxes
    assert wide[2] == pytest.approx(page.WIDTH_MM - page.MARGIN_MM, abs=0.5)
    assert narrow[3] - narrow[1] > 2 * (wide[3] - wide[1])


def test_the_file_names_title_and_program_and_nobody(scan):
    document = pdfium.PdfDocument(page.pdf(draw_report(*scan, Facts(case="Meier, Hans")), "Pancreas segmentation"))
    said = {name: value for name, value in document.get_metadata_dict().items() if value and name != "CreationDate"}
    assert said == {"Title": "Pancreas segmentation", "Producer": "TernarySegment"}


@pytest.mark.parametrize(("package", "suffix"), [("fpdf", ".pdf"), ("pypdfium2", ".png")])
def test_without_its_packages_a_report_is_refused_before_anything_is_computed(monkeypatch, package, suffix):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(OutputError, match=rf"{package}; run: pip install 'ternarysegment\[report\]'"):
        page.check_page(f"p{suffix}")


def test_what_cannot_be_written_is_told_in_a_sentence(scan, tmp_path):
    with pytest.raises(OutputError, match=r"none of \.pdf, \.png"):
        write_report(*scan, FACTS, tmp_path / "p.html")
    with pytest.raises(InputError, match=r"holds “𐎠”.* Latin letters"):
        write_report(*scan, Facts(case="Old Persian 𐎠"), tmp_path / "p.pdf")
    with pytest.raises(InputError, match="is empty"):
        write_report(scan[0], scan[1] * 0, FACTS, tmp_path / "p.pdf")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(*scan, FACTS, tmp_path / "file" / "p.pdf")


# --- the body ---------------------------------------------------------------------------------------------------------


def lump(*boxes: tuple[slice, slice, slice]) -> sitk.Image:
    inside = np.zeros((60, 60, 60), np.uint8)
    for box in boxes:
        inside[box] = 1
    return sitk.GetImageFromArray(inside)


@pytest.mark.parametrize("view", [CORONAL, AXIAL, SAGITTAL], ids=["front", "feet", "left"])
def test_a_body_stands_as_in_the_planes(view):
    # three bars from the lowest corner (patient's right, front, foot) and a knob at the opposite one
    mask = lump(np.s_[5:10, 5:10, 5:55], np.s_[5:10, 5:55, 5:10], np.s_[5:55, 5:10, 5:10], np.s_[40:55, 40:55, 40:55])
    picture, scale = draw_body(mask, view, (150, 150))
    shown = picture.mean(-1) < BACKGROUND - 5
    rows, columns = np.nonzero(shown)
    assert (np.ptp(columns) + 1) * scale == pytest.approx(50, abs=2)
    assert (np.ptp(rows) + 1) * scale == pytest.approx(50, abs=2)

    def seen(*lps: float) -> bool:
        from_middle = np.array(lps) - 29.5
        return bool(shown[round(75 + from_middle @ view.down / scale), round(75 + from_middle @ view.right / scale)])

    assert seen(47, 47, 47), "the knob"
    assert seen(7, 7, 7), "where the bars meet"
    assert not seen(47, 25, 25)


def test_what_is_nearer_hides_what_is_behind():
    plate_in_front = lump(np.s_[20:40, 5:10, 5:55], np.s_[5:55, 45:50, 25:35])  # front is at low y in LPS
    bar_in_front = lump(np.s_[20:40, 50:55, 5:55], np.s_[5:55, 10:15, 25:35])
    spread = []
    for mask in (plate_in_front, bar_in_front):
        picture, _ = draw_body(mask, CORONAL, (150, 150))
        spread.append(picture[65:85, 30:120].mean(-1).std())  # on the plate, away from its edges
    assert spread[0] < 1
    assert spread[1] > 5


def test_a_left_handed_grid_shows_the_same_body(scan):
    mask = scan[1]
    other = sitk.Flip(mask, [False, True, False])
    straight, turned = draw_body(mask, CORONAL, (90, 130)), draw_body(other, CORONAL, (90, 130))
    assert np.abs(straight[0].astype(int) - turned[0]).mean() < 0.5


# --- command line -----------------------------------------------------------------------------------------------------


def test_command_line_writes_page_and_surface(scan, tmp_path, capsys):
    source = tmp_path / "ct.nii.gz"
    sitk.WriteImage(scan[0], str(source))
    outputs = [str(tmp_path / name) for name in ("p.nrrd", "p.pdf", "p.stl")]
    arguments = ["segment", str(source), "-o", outputs[0], "--page", outputs[1], "--surface", outputs[2], "-q"]
    arguments += ["--model", str(quick_model())]
    assert cli.main([*arguments, "--case", "Иванов" if page._installed() else "Case 7"]) == 0
    said = capsys.readouterr()
    assert all(output in said.out for output in outputs)
    assert "subset" not in said.err, "what fontTools does with a font concerns nobody"
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF-")
    voxels = np.count_nonzero(sitk.GetArrayFromImage(sitk.ReadImage(outputs[0])))
    triangles = int.from_bytes((tmp_path / "p.stl").read_bytes()[80:84], "little")
    assert triangles > 100
    assert voxels > 100


@pytest.mark.parametrize(("option", "name"), [("--page", "p.html"), ("--surface", "p.ply")])
def test_command_line_refuses_other_endings_before_it_reads_the_scan(tmp_path, capsys, option, name):
    output = str(tmp_path / "p.nrrd")
    assert cli.main(["segment", str(tmp_path / "missing.nii.gz"), "-o", output, option, str(tmp_path / name)]) == 1
    assert "choose one of these endings" in capsys.readouterr().err
