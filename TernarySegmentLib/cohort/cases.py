"""Which scans a batch works on: found from files, folders, patterns and lists."""

from __future__ import annotations

import csv
import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from hashlib import sha256
from pathlib import Path, PurePosixPath

from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.reading import VOLUME_SUFFIXES
from TernarySegmentLib.imaging.files.series import find_ct_series
from TernarySegmentLib.imaging.files.stored import files_of
from TernarySegmentLib.imaging.files.writing import SUFFIXES
from TernarySegmentLib.imaging.grids import Box, box_of_corners

MASK_SUFFIX = SUFFIXES[0]
LIST_SUFFIX = ".csv"
NO_IMAGE = (".csv", ".gz", ".html", ".jpeg", ".jpg", ".json", ".md", ".parquet", ".pdf", ".png", ".py", ".txt", ".xml",
            ".zip", ".obj", ".stl")  # fmt: skip
"""Endings of files beside scans that are not opened in search of DICOM."""
FEWEST_SLICES = 10
"""A series with fewer is a scout or a single picture."""


@dataclass(frozen=True)
class Case:
    """One scan of a batch.

    Attributes:
        name: unique in the batch; the path of its outputs in the output folder, without ending, with ``/``.
        source: the file, or the folder of the DICOM series.
        files: all that is read.
        series: SeriesInstanceUID; empty for a volume in one file.
        region: search only in this box (LPS, mm).
        refusal: why it cannot be segmented, known before it is read; empty otherwise.
    """

    name: str
    source: Path
    files: tuple[Path, ...]
    series: str = ""
    region: Box | None = None
    refusal: str = ""

    def __str__(self) -> str:
        slices = f" ({len(self.files)} slices)" if self.series else ""
        return f"{self.name}: {self.source}{slices}{': ' if self.refusal else ''}{self.refusal}"


@dataclass(frozen=True)
class Found:
    """The scans of a batch, in the order of their names, and sentences on what was passed over."""

    cases: tuple[Case, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A file to look at; ``listed`` when it was named itself and not found in a folder. A folder only to be refused.

    Of a slice, ``series`` is the only SeriesInstanceUID wanted; empty for any. ``line`` is that of a list, else 0.
    """

    path: Path
    listed: bool = False
    name: str = ""
    series: str = ""
    region: Box | None = None
    refusal: str = ""
    line: int = 0


def find_cases(
    inputs: Sequence[str | Path], output: Path, looked_at: Callable[[int], None] = lambda count: None
) -> Found:
    """Find the scans in files, folders, patterns and lists.

    - A folder is searched with its subfolders for NIfTI, NRRD and MetaImage files and for CT series in DICOM, which are
      told apart by their headers wherever their files lie. Hidden files, ``.seg.nrrd`` and the output folder are
      passed over.
    - A file is a volume, or a slice whose CT series is taken from the files beside it.
    - A pattern such as ``scans/*/ct.nii.gz`` or ``scans/**/*.nrrd``, where the shell has not resolved it already.
    - A list is a ``.csv`` with a column ``input`` (a path; relative ones count from the list's folder) and, where
      wanted, ``name``, ``series`` (SeriesInstanceUID, where a folder holds several) and ``region`` (six numbers in LPS,
      mm: two opposite corners). A results table is such a list. A row without a scan is a scan that fails.

    The names are the paths below the deepest folder that holds all inputs.

    Args:
        inputs: at least one.
        output: folder of the batch.
        looked_at: is called now and then with the number of DICOM headers read.

    Raises:
        InputError: an input does not exist, a list is not understood, or no scan was found.
    """
    entries: dict[tuple[Path, str], _Entry] = {}
    named: list[tuple[_Entry, set[Path]]] = []
    for path in [path for each in inputs for path in _resolved(Path(each), output.resolve())]:
        for row in _rows(path):
            found = list(_files(row, output.resolve()))
            named.append((row, {entry.path.resolve() for entry in found}))
            for entry in found:
                key = entry.path.resolve(), entry.series
                entries[key] = _more_detailed(entries.get(key, entry), entry)
    base = _base([Path(each) for each in inputs], list(entries.values()))
    refused = [entry for entry in entries.values() if entry.refusal]
    files = [entry for entry in entries.values() if not entry.refusal]
    volumes = [entry for entry in files if entry.path.name.lower().endswith(VOLUME_SUFFIXES)]
    cases = [Case(_relative(entry.path.resolve(), base), entry.path, (), refusal=entry.refusal) for entry in refused]
    for entry in volumes:
        path, name = entry.path.resolve(), entry.name or _relative(_stem(_place(entry.path)), base)
        cases.append(Case(name, path, files_of(path), region=entry.region))
    others = [entry for entry in files if not entry.path.name.lower().endswith(VOLUME_SUFFIXES)]
    dicom, notes = _dicom_cases(others, base, looked_at)
    cases += dicom
    if not cases:
        given = ", ".join(f"“{each}”" for each in inputs)
        raise InputError(
            f"There is no CT in {given}; give files ending in {', '.join(VOLUME_SUFFIXES)}, or folders with DICOM "
            "series of CT."
        )
    for row in _without_scan(named, cases):
        series = f" with the SeriesInstanceUID {row.series}" if row.series else ""
        sentence = f"There is no CT volume{series} in “{row.path}”"
        if row.line:  # a list says what scans there are
            name = row.name or _relative(_place(row.path), base)
            cases.append(Case(name, row.path, (), refusal=f"{sentence}; check line {row.line} of the list."))
        elif not row.path.name.lower().endswith(NO_IMAGE):
            notes.append(f"{sentence}; it is passed over.")
    cases = _unique([_in_unicode(case) for case in cases])
    return Found(tuple(sorted(cases, key=lambda case: case.name)), tuple(notes))


def _without_scan(named: Iterable[tuple[_Entry, set[Path]]], cases: Iterable[Case]) -> Iterator[_Entry]:
    """What the user named, with the files found in it, and no scan came of."""
    series: dict[Path, set[str]] = {}
    for case in cases:
        for file in (*case.files, case.source.resolve()):
            series.setdefault(file, set()).add(case.series)
    for row, files in named:
        if not any(row.series in ("", *series[file]) for file in files & series.keys()):
            yield row


# --- files ------------------------------------------------------------------------------------------------------------


def _resolved(given: Path, output: Path) -> Iterator[Path]:
    """The files and folders that one input stands for: itself, or what matches it."""
    if given.is_dir() or given.is_file():
        yield given
        return
    matches = [Path(match) for match in sorted(glob.glob(str(given), recursive=True))]
    if not matches:
        raise InputError(f"There is no file or folder “{given}”; check the path.")
    for match in matches:
        if output not in (match.resolve(), *match.resolve().parents):  # results of an earlier run are no scans
            yield match


def _rows(path: Path) -> Iterator[_Entry]:
    """What a list names; any other file, and a folder, names itself."""
    if path.suffix.lower() == LIST_SUFFIX and path.is_file():
        yield from _listed(path)
    else:
        yield _Entry(path, listed=True)


def _files(row: _Entry, output: Path) -> Iterator[_Entry]:
    """The files to look at of what was named."""
    if not row.path.is_dir():
        yield row
        return
    for each in _walk(row.path, output):
        if not (row.series and each.path.name.lower().endswith(VOLUME_SUFFIXES)):
            yield replace(each, name=row.name, series=row.series, region=row.region)


def _more_detailed(one: _Entry, other: _Entry) -> _Entry:
    """Of two entries for one file, that which a list gives a name or a region.

    Raises:
        InputError: they are given different ones.
    """
    detailed = [entry for entry in (one, other) if entry.name or entry.region]
    if len(detailed) == 2 and (one.name, one.region) != (other.name, other.region):
        raise InputError(f"“{one.path}” is listed twice with different names or regions; leave one of them out.")
    return detailed[0] if detailed else other


def _walk(folder: Path, output: Path) -> Iterator[_Entry]:
    closed: list[OSError] = []
    seen = set()
    for where, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        here = Path(where)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder further up
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and (here / f).resolve() != output)
        for name in sorted(names):
            lower = name.lower()
            if name.startswith(".") or lower.endswith(MASK_SUFFIX):
                continue
            if lower.endswith(VOLUME_SUFFIXES) or not lower.endswith(NO_IMAGE):
                yield _Entry(here / name)
    for error in closed:  # a scan that fails, so that nobody takes the rest for the whole
        reason = f"The folder “{error.filename}” cannot be read ({error.strerror}); ask for the right to read it."
        yield _Entry(Path(error.filename), refusal=reason)


def _in_unicode(case: Case) -> Case:
    """A case whose names tables and pages can hold; one with other names is refused under a spelt-out name."""
    named = (case.name, str(case.source), *map(str, case.files))
    if all(_plain(each) == each for each in named):
        return case
    bad = next(each for each in named if _plain(each) != each)
    reason = f"The name “{_plain(Path(bad).name)}” is no valid Unicode text; rename the file or folder."
    return Case(_plain(case.name), Path(_plain(str(case.source))), (), refusal=reason)


def _plain(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _listed(path: Path) -> Iterator[_Entry]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            head = stream.readline()
            # spreadsheets write semicolons where a comma parts decimals
            delimiter = max(",;\t", key=head.count)
            columns = [name.strip().lower() for name in next(csv.reader([head], delimiter=delimiter), [])]
            reader = csv.DictReader(stream, columns, delimiter=delimiter)
            rows = [(reader.line_num + 1, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The list “{path}” cannot be read ({error}); save it as CSV in UTF-8.") from error
    if rows and "input" not in columns:
        raise InputError(
            f"The list “{path}” has the columns {', '.join(columns)} and none called input; name the column "
            "of paths input."
        )
    lines: dict[tuple[Path, str], int] = {}
    for number, row in rows:
        given, series = ((row.get(name) or "").strip() for name in ("input", "series"))
        if not given:
            continue
        source = path.parent / given
        if not source.exists():
            raise InputError(f"Line {number} of “{path}” names “{given}”, which does not exist; check the path.")
        before = lines.setdefault((source.resolve(), series), number)
        if before != number:
            raise InputError(
                f"Line {number} of “{path}” names “{given}” once more after line {before}; leave one of the lines out."
            )
        name, region = _name(row.get("name"), path, number), _region(row.get("region"), path, number)
        yield _Entry(source, True, name, series, region, line=number)


def _name(text: str | None, path: Path, number: int) -> str:
    name = PurePosixPath((text or "").strip().replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in str(name):
        raise InputError(f"Line {number} of “{path}” has the name “{name}”; it must lie inside the output folder.")
    return "" if name == PurePosixPath(".") else str(name)


def _region(text: str | None, path: Path, number: int) -> Box | None:
    if not (text or "").strip():
        return None
    try:
        return box_of_corners([float(word) for word in str(text).replace(",", " ").split()])
    except ValueError as error:
        raise InputError(
            f"Line {number} of “{path}” has the region “{text}”; give two opposite corners as six numbers in LPS, mm."
        ) from error


def _base(inputs: list[Path], entries: list[_Entry]) -> Path | None:
    """The deepest folder that holds all inputs; None when there is none, as on two drives."""
    tops = {each.resolve() for each in inputs if each.is_dir()}
    folders = {entry.path.parent.resolve() for entry in entries}  # of a link, not of what it points to
    tops |= {folder for folder in folders if not any(top in (folder, *folder.parents) for top in tops)}
    try:
        return Path(os.path.commonpath(tops)) if tops else None
    except ValueError:
        return None


def _place(path: Path) -> Path:
    """Where a file lies: of a link, not of what it points to."""
    return path.parent.resolve() / path.name


def _relative(path: Path, base: Path | None) -> str:
    """A resolved path below the base, with ``/``; that of the base itself is its name."""
    inside = path.relative_to(base) if base is not None else path.relative_to(path.anchor)
    return inside.as_posix() if inside.parts else path.name or "scan"


def _stem(path: Path) -> Path:
    ending = max((s for s in VOLUME_SUFFIXES if path.name.lower().endswith(s)), key=len)
    return path.with_name(path.name[: -len(ending)] or path.name)


# --- DICOM ------------------------------------------------------------------------------------------------------------


def _dicom_cases(
    entries: list[_Entry], base: Path | None, looked_at: Callable[[int], None]
) -> tuple[list[Case], list[str]]:
    wanted: dict[Path, list[_Entry]] = {}
    for each in entries:
        wanted.setdefault(each.path.resolve(), []).append(each)
    # the series of a slice that was named alone comes from the files beside it
    beside = {path for entry in entries if entry.listed for path in entry.path.resolve().parent.iterdir()}
    files = sorted(wanted.keys() | {p for p in beside if p.is_file() and not p.name.startswith(".")})
    if not files:
        return [], []
    found = find_ct_series(files, looked_at)
    notes: list[str] = []
    cases: list[Case] = []
    for series in found.series:
        asked = [entry for file in series.files for entry in wanted.get(file, ()) if entry.series in ("", series.uid)]
        if not asked:
            continue
        named = [entry for entry in asked if entry.series]  # says more than any series of a folder
        entry, folder = reduce(_more_detailed, named or asked), _folder(series.files)
        if len(series.files) < FEWEST_SLICES:
            notes.append(f"{folder}: a CT series of {len(series.files)} slices is passed over; it is no volume.")
            continue
        name = entry.name or _relative(_folder([_place(each.path) for each in asked]), base)
        cases.append(Case(name, folder, series.files, series.uid, entry.region, series.fault))
    alone = dict(found.multi_frame)
    for file, sentence in found.damaged.items():
        # the damaged slice belongs to the series beside it, which is then no whole volume
        of = [case for case in cases if file.parent in {each.parent for each in case.files}]
        if of:
            cases = [replace(case, refusal=sentence) if case in of else case for case in cases]
        else:
            alone[file] = sentence
    for file, sentence in alone.items():
        if file in wanted:
            cases.append(Case(_relative(_place(wanted[file][0].path), base), file, (file,), refusal=sentence))
    shared = Counter(case.name for case in cases)
    return [
        replace(case, name=f"{case.name}/{case.series}") if shared[case.name] > 1 and case.series else case
        for case in cases
    ], notes


def _folder(files: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([file.parent for file in files]))


def _unique(cases: list[Case]) -> list[Case]:
    """Names that no two scans share, also where case is ignored: the whole file name, or with a piece of a hash."""
    counts = Counter(case.name.casefold() for case in cases)
    longer = [
        case if counts[case.name.casefold()] == 1 or case.series
        else replace(case, name=str(PurePosixPath(case.name).with_name(case.source.name)))
        for case in cases
    ]  # fmt: skip
    counts = Counter(case.name.casefold() for case in longer)
    return [
        case if counts[case.name.casefold()] == 1
        else replace(case, name=f"{case.name}-{_hash(case)}")
        for case in longer
    ]  # fmt: skip


def _hash(case: Case) -> str:
    """Tells scans of one name apart; two volumes of one series have their slices alone to be told by."""
    known_by = f"{case.source} {case.series} {case.files[0] if case.series else ''}"
    return sha256(known_by.encode()).hexdigest()[:8]
