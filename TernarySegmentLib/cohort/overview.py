"""A page with all scans of a batch, most doubtful first: one file, no network, opened in any browser."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path, PurePosixPath

from TernarySegmentLib import __version__
from TernarySegmentLib.cohort.record import Record
from TernarySegmentLib.imaging.files.writing import atomic_path

OVERVIEW_NAME = "overview.html"
MOST = 2000
"""Scans on the page, failed and most doubtful ones first; 2,000 thumbnails take about 30 MB."""

NUMBERS = (
    ("volume_ml", "Volume, mL", 1), ("mean_hu", "Mean, HU", 0), ("sd_hu", "SD, HU", 0), ("confidence", "Confidence", 2),
    ("doubt", "Doubt", 2), ("seconds", "Seconds", 1),
)  # fmt: skip
"""Columns of numbers: field, heading, digits."""


def write_overview(records: Sequence[Record], path: Path) -> None:
    """Write the page; links lead to the outputs beside it.

    Args:
        records: of the batch, any order.
        path: in the output folder; an existing file is replaced.

    Raises:
        OutputError: the place cannot be written.
    """
    page = overview_html(records)
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def overview_html(records: Sequence[Record]) -> str:
    """The page as text."""
    # a failed scan has no doubt: somebody has to look at it first
    ranked = sorted(records, key=lambda r: (r.doubt is not None, -(r.doubt or 0), r.name))
    shown = ranked[:MOST]
    values = {
        "summary": escape(summary(records)),
        "left_out": f"The {len(shown)} most doubtful are shown; all are in results.csv." if len(ranked) > MOST else "",
        "head": "".join(_heading(title, number=True) for _, title, _ in NUMBERS),
        "rows": "\n".join(_row(record) for record in shown),
        "version": escape(__version__),
    }
    template = resources.files(__package__).joinpath("overview.template.html").read_text(encoding="utf-8")
    # one pass, so that braces in a value are not taken for a field
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


def summary(records: Sequence[Record]) -> str:
    """One sentence on a batch."""
    counts = {status: sum(r.status == status for r in records) for status in ("segmented", "nothing found", "failed")}
    scans = f"{len(records)} scan{'' if len(records) == 1 else 's'}"
    return (
        f"{scans}: {counts['segmented']} segmented, {counts['nothing found']} without a pancreas found, "
        f"{counts['failed']} failed."
    )


def _heading(title: str, number: bool) -> str:
    kind = "number" if number else "text"
    return f'<th scope="col" class="{kind}"><button type="button">{escape(title)}</button></th>'


def _row(record: Record) -> str:
    cells = "".join(_number(getattr(record, field), digits) for field, _, digits in NUMBERS)
    picture = f'<img src="{escape(record.thumbnail)}" alt="" width="160" height="120">' if record.thumbnail else ""
    links = " ".join(
        f'<a href="{escape(_link(path))}">{escape(kind)}</a>' for kind, path in sorted(record.outputs.items())
    )
    notes = " ".join(filter(None, (record.failure, *record.warnings)))
    status = escape(record.status)
    return (
        f'<tr data-status="{status}"><td>{picture}</td><th scope="row">{escape(record.name)}</th>'
        f'<td><span class="status">{status}</span></td>{cells}<td>{links}</td>'
        f'<td class="notes">{escape(notes)}</td></tr>'
    )


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return '<td class="number" data-value=""></td>'
    shown = f"{value:.{digits}f}".replace("-", "−")
    return f'<td class="number" data-value="{value!r}">{shown}</td>'


def _link(path: str) -> str:
    """A relative path as a link, blanks and other letters escaped."""
    return PurePosixPath("/", path).as_uri().removeprefix("file:///")
