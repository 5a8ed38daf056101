"""What is kept about each scan of a batch: one JSON file, written last, by which a later run knows what is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from TernarySegmentLib.imaging.files.writing import atomic_path

Status = Literal["segmented", "nothing found", "failed"]

SUFFIX = ".json"
"""Of a record; it lies beside the scan's mask."""

NOT_IN_TABLE = ("report", "thumbnail", "outputs", "left", "digests", "stamp", "settings")
"""Fields too long for a table, or of use to the next run only."""


@dataclass(frozen=True)
class Record:
    """The outcome of one scan.

    Attributes:
        name: of the scan, its path in the output folder without ending, with ``/``.
        status: ``failed`` is tried again by the next run, the others are final.
        volume_ml, mean_hu, sd_hu, extent_rl_mm, extent_ap_mm, extent_si_mm: of the mask; None without one.
        confidence: 0 to 1, see :attr:`TernarySegmentLib.pipeline.Result.confidence`; None without a mask.
        doubt: 0 to 1, how much the scan is worth a look, see
            :func:`TernarySegmentLib.review.suspicious_regions.scan_doubt`; None when it failed.
        failure: one sentence; empty unless the scan failed.
        warnings: sentences about the scan.
        seconds: from reading to the last output.
        memory_mib: the most that the process held up to the end of this scan; None where the system does not say.
        mask: path in the output folder; empty when none was written.
        input: the file, or the folder of the DICOM series.
        series: SeriesInstanceUID of a DICOM series.
        content: SHA-256 of the input's bytes.
        stamp: sizes and times of the input's files, as a digest; while it is unchanged the bytes are not read again.
        model: SHA-256 of the model.
        settings: digest of the options that change an output.
        outputs: path of each output by its kind, in the output folder.
        left: paths that earlier runs wrote, this one did not write anew, and nobody removed.
        digests: SHA-256 of what was written, by path: a mask that a person has corrected since is not overwritten.
        finished: UTC, ISO 8601.
        report: what ``segment --report`` writes.
        thumbnail: a PNG as a data URI.
    """

    name: str
    status: Status
    volume_ml: float | None = None
    mean_hu: float | None = None
    sd_hu: float | None = None
    extent_rl_mm: float | None = None
    extent_ap_mm: float | None = None
    extent_si_mm: float | None = None
    confidence: float | None = None
    doubt: float | None = None
    failure: str = ""
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    memory_mib: float | None = None
    mask: str = ""
    input: str = ""
    series: str = ""
    backend: str = ""
    version: str = ""
    model: str = ""
    content: str = ""
    finished: str = ""
    stamp: str = ""
    settings: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    thumbnail: str = ""

    @property
    def owned(self) -> set[str]:
        """Paths of what this program has written of the scan, in this run or before."""
        return {*self.outputs.values(), *self.left}

    @property
    def done(self) -> bool:
        """False for a scan that the next run tries again."""
        return self.status != "failed"

    def row(self) -> dict[str, Any]:
        """The columns of a table; warnings joined to one text."""
        return {name: " ".join(self.warnings) if name == "warnings" else getattr(self, name) for name in COLUMNS}

    def write(self, folder: Path) -> None:
        """Write the record into an output folder, whole or not at all.

        Raises:
            OutputError: the folder cannot be written.
        """
        with atomic_path(record_path(folder, self.name)) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


COLUMNS = tuple(each.name for each in fields(Record) if each.name not in NOT_IN_TABLE)


def record_path(folder: Path, name: str) -> Path:
    """Where the record of a scan lies."""
    return folder / f"{name}{SUFFIX}"


def read_record(folder: Path, name: str) -> Record | None:
    """The record of a scan; None when there is none, or none that this version can read."""
    try:
        values = json.loads(record_path(folder, name).read_text(encoding="utf-8"))
        tuples = {name: tuple(values.get(name, ())) for name in ("warnings", "left")}
        record = Record(**{**values, **tuples})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return record if record.name == name else None


def is_foreign(path: Path) -> bool:
    """True for a JSON file that is no record, such as a header beside a scan; one that is damaged may be."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not (isinstance(values, dict) and {"name", "status", "content"} <= values.keys())


def content_hash(files: Iterable[Path]) -> str:
    """SHA-256 of files' bytes, in the order of their names.

    Raises:
        OSError: a file cannot be read.
    """
    digests = []
    for path in sorted(files):
        with open(path, "rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").digest())
    return hashlib.sha256(b"".join(digests)).hexdigest()


def stamp_of(files: Iterable[Path]) -> str:
    """A digest of sizes, times of change and identities of files, as git keeps them to know an unchanged file.

    Raises:
        OSError: a file cannot be looked at.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        status = os.stat(path)
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}\n".encode())
    return digest.hexdigest()
