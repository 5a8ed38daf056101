"""The overview: most doubtful first, safe against names, and sorted and filtered by a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from TernarySegmentLib.cohort.overview import MOST, overview_html, write_overview
from TernarySegmentLib.cohort.record import Record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Er"
    "kJggg=="
)

RECORDS = [
    Record(
        "scan10", "segmented", 80.5, confidence=0.7, doubt=0.3, outputs={"mask": "scan10.seg.nrrd"}, thumbnail=PIXEL
    ),
    Record("scan2", "segmented", 9.5, mean_hu=-12.0, confidence=0.8, doubt=0.1, warnings=("The slices are thick.",)),
    Record("<b>&{{rows}}", "nothing found", doubt=1.0),
    Record("broken/ü #1", "failed", failure="“ct.nii” cannot be read; copy it again."),
    Record("scan3", "segmented", 110.0, confidence=0.6, doubt=0.25, outputs={"mask": "a b/ü#1.nii.gz"}),
]


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row">(.*?)</th>', page)


def test_failed_scans_come_first_then_by_falling_doubt():
    assert names(overview_html(RECORDS)) == [
        "broken/ü #1", "&lt;b&gt;&amp;{{rows}}", "scan10", "scan3", "scan2",
    ]  # fmt: skip


def test_the_page_loads_nothing_from_elsewhere_and_links_to_files_of_any_name():
    page = overview_html(RECORDS)
    assert not re.search(r'(src|href)="(?!data:)(https?:)?//', page)
    assert "default-src 'none'" in page
    assert 'href="a%20b/%C3%BC%231.nii.gz"' in page


def test_a_long_page_keeps_the_most_doubtful_and_says_so():
    many = [Record(f"{n}", "segmented", 80.0, doubt=n / 10_000) for n in range(MOST + 50)]
    page = overview_html(many)
    assert names(page)[0] == str(MOST + 49)
    assert len(names(page)) == MOST
    assert "all are in results.csv" in page


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> dict[str, object]:
    """What the rows are after sorting and filtering in a browser without a window."""
    if BROWSER is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    folder = tmp_path_factory.mktemp("overview")
    write_overview(RECORDS, folder / "overview.html")
    script = """<script>
    const shown = () => [...document.querySelectorAll("tbody tr")].filter(row => row.checkVisibility())
      .map(row => row.cells[1].textContent);
    const click = name => [...document.querySelectorAll("thead button")].find(b => b.textContent === name).click();
    const type = (id, value) => {
      document.getElementById(id).value = value;
      document.getElementById(id).dispatchEvent(new Event("input"));
      const rows = shown(), count = document.getElementById("count").textContent;
      document.getElementById(id).value = "";
      return {rows, count};
    };
    const seen = {start: shown()};
    click("Volume, mL"); seen.largest = shown();
    click("Volume, mL"); seen.smallest = shown();
    seen.direction = [...document.querySelectorAll("th")].find(h => h.textContent === "Volume, mL").ariaSort;
    click("Name"); seen.name = shown();
    seen.text = type("text", "SCAN"); seen.note = type("text", "thick");
    seen.status = type("status", "failed"); seen.doubt = type("doubt", "0.25");
    seen.pictures = [...document.images].map(image => image.naturalWidth);
    document.title = JSON.stringify(seen);
    </script></body>"""
    page = folder / "used.html"
    page.write_text((folder / "overview.html").read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    dumped = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    from html import unescape

    return json.loads(unescape(re.search(r"<title>(.*?)</title>", dumped, re.DOTALL)[1]))


def test_a_browser_shows_every_scan_and_its_picture(used):
    assert len(used["start"]) == len(RECORDS)
    assert used["pictures"] == [1]


def test_a_click_on_a_heading_sorts_and_a_second_turns_round_with_empty_values_last(used):
    valued = ["scan3", "scan10", "scan2"]
    assert used["largest"][:3] == valued
    assert used["smallest"][:3] == valued[::-1]
    assert used["direction"] == "ascending"


def test_names_sort_by_the_numbers_in_them(used):
    assert [name for name in used["name"] if name.startswith("scan")] == ["scan2", "scan3", "scan10"]


def test_filters_keep_what_they_say_and_count_it(used):
    assert set(used["text"]["rows"]) == {"scan2", "scan3", "scan10"}
    assert used["text"]["count"] == "3 of 5 shown"
    assert used["note"]["rows"] == ["scan2"]
    assert used["status"]["rows"] == ["broken/ü #1"]
    # a failed scan has no doubt, and is not hidden by a limit
    assert set(used["doubt"]["rows"]) == {"scan3", "scan10", "<b>&{{rows}}", "broken/ü #1"}
