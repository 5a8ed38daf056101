"""Growing an index: describe the scans of an archive that it does not hold yet, saving on the way."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from TernarySegmentLib.cohort.codes import Description, describe
from TernarySegmentLib.cohort.index import Entry, Index, write_index
from TernarySegmentLib.engine.network import drain
from TernarySegmentLib.errors import InputError, TernarySegmentError
from TernarySegmentLib.imaging.files.reading import VOLUME_SUFFIXES, read_ct
from TernarySegmentLib.imaging.files.series import read_slices
from TernarySegmentLib.imaging.files.stored import files_of
from TernarySegmentLib.pipeline import Options, Progress

log = logging.getLogger(__name__)

SAVE_EVERY_S = 60.0
"""What a killed run loses, at most, besides the scan that it was at."""


@dataclass(frozen=True)
class ArchivedScan:
    """A scan of an archive.

    Attributes:
        name: its path in the archive, with ``/``.
        source: the file, or the folder of the DICOM series.
        files: all that is read.
    """

    name: str
    source: Path
    files: tuple[Path, ...]


@dataclass(frozen=True)
class IndexStep:
    """A scan has been looked at.

    Attributes:
        scan: the scan.
        added: True when it came into the index now, False when it was there.
        reason: why it has no code, in a sentence; empty otherwise.
        done, total: scans.
    """

    scan: ArchivedScan
    added: bool
    reason: str
    done: int
    total: int


def find_scans(folder: Path) -> list[ArchivedScan]:
    """The volumes and DICOM folders below a folder, in the order of their names.

    Hidden files and segmentations (``.seg.nrrd``) are passed over. Of a folder with DICOM files the largest CT series
    is meant.

    Raises:
        InputError: there is no such folder, nothing in it, or a part of it cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder “{folder}”; check the path.")
    found = []

    def refuse(error: OSError) -> None:
        raise InputError(
            f"The folder “{error.filename}” cannot be read ({error.strerror}); ask for the right to read it."
        ) from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here, dicom = Path(where), []
        for name in sorted(name for name in names if not name.startswith(".")):
            path = here / name
            if name.lower().endswith(VOLUME_SUFFIXES):
                if not name.lower().endswith(".seg.nrrd"):
                    found.append(ArchivedScan(path.relative_to(folder).as_posix(), path, files_of(path)))
            elif _is_dicom(path):
                dicom.append(path)
        if dicom:
            found.append(ArchivedScan(here.relative_to(folder).as_posix(), here, tuple(dicom)))
    if not found:
        raise InputError(
            f"There is no CT in “{folder}”; choose a folder with files ending in {', '.join(VOLUME_SUFFIXES)}, or with "
            "DICOM series."
        )
    return sorted(found, key=lambda scan: scan.name)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def grow_index(
    index: Index,
    scans: Sequence[ArchivedScan],
    path: Path,
    options: Options,
    watch: Callable[[ArchivedScan, Progress], None] = lambda scan, progress: None,
    thumbnails: bool = False,
) -> Generator[IndexStep, None, Index]:
    """Add the scans that an index lacks; yields after each scan and returns the index, which is also written.

    A scan is known by its name and its bytes: one that has changed is described anew, one in which nothing was found is
    not looked at again, one that could not be read is. When the generator is closed,
    the index file holds all that was described; when the process is killed, all up to the last save.

    Args:
        index: what is there already, or :meth:`Index.empty`.
        scans: see :func:`find_scans`.
        path: of the index file.
        options: of the pipeline, with the index's model.
        watch: is called with each progress.
        thumbnails: keep a small picture of each scan that is described now.

    Raises:
        OutputError: the index cannot be written.
    """
    known, without = {entry.name: entry for entry in index.entries}, dict(index.without)
    fresh: list[tuple[Entry, Description]] = []
    saved_at = time.monotonic()
    write_index(index, path)  # refuses a place that cannot be written before hours are spent
    try:
        for done, scan in enumerate(scans, 1):
            added, reason, entry = False, "", None
            try:
                entry = _entry_of(scan, known.get(scan.name))
                reason = without.get(entry.content, "")
                if not reason and entry is not known.get(scan.name):
                    described = _described(scan, options, watch)
                    fresh.append((entry, described if thumbnails else replace(described, thumbnail="")))
                    known[scan.name], added = entry, True
            except TernarySegmentError as error:
                reason = str(error)
                if entry is not None and not isinstance(error.__cause__, OSError):  # a disk may do better next time
                    without[entry.content] = reason
            except (OSError, MemoryError) as error:
                reason = f"“{scan.source}” cannot be read ({error}); make sure of the file and index again."
            except Exception as error:  # one scan must not stop the others; the traceback goes to the log
                log.exception("%s has no code", scan.name)
                reason = f"An unexpected error, please report it: {type(error).__name__}: {error}"
            if reason and entry is not None and entry is not known.get(scan.name, entry):
                index = index.lacking({scan.name})  # what the name stood for before is not this scan
            if fresh and time.monotonic() - saved_at > SAVE_EVERY_S:
                index, saved_at = _save(index, fresh, without, path), time.monotonic()
            yield IndexStep(scan, added, reason, done, len(scans))
    finally:
        index = _save(index, fresh, without, path)
    return index


def _entry_of(scan: ArchivedScan, known: Entry | None) -> Entry:
    """The scan as an index knows it; its bytes are read only where times or sizes of its files differ."""
    status = [path.stat() for path in scan.files]
    stamp = hashlib.sha256(repr([(each.st_size, each.st_mtime_ns) for each in status]).encode()).hexdigest()
    if known is not None and known.stamp == stamp:
        return known
    content = hashlib.sha256()
    for path in scan.files:
        with path.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    if known is not None and known.content == content.hexdigest():
        return known
    return Entry(scan.name, content.hexdigest(), stamp)


def _described(
    scan: ArchivedScan, options: Options, watch: Callable[[ArchivedScan, Progress], None]
) -> Description:  # fmt: skip
    # of a folder its own slices alone: those of folders below are scans of their own, perhaps another patient's
    ct = read_slices(scan.files) if scan.source.is_dir() else read_ct(scan.source)
    return drain(describe(ct, options), lambda step: watch(scan, step))


def _save(index: Index, fresh: list[tuple[Entry, Description]], without: dict[str, str], path: Path) -> Index:
    index = replace(index.with_scans(fresh), without=without)
    fresh.clear()
    write_index(index, path)
    return index
