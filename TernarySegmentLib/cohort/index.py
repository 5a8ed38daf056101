"""The index of similar cases: a code and a few measures for each scan of an archive, in one file that can grow.

It is an ``.npz`` without pickle. The mean trits are kept beside the codes, so that the thresholds can be taken anew
from a larger archive without segmenting anything again.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from TernarySegmentLib.cohort.codes import Description, Thresholds
from TernarySegmentLib.engine.bitplanes import PackedVectors
from TernarySegmentLib.engine.network import Backend
from TernarySegmentLib.engine.search import dot_products, largest
from TernarySegmentLib.errors import InputError
from TernarySegmentLib.imaging.files.writing import atomic_path

SUFFIX = ".npz"
FORMAT, VERSION = "TernarySegment index", 1
MANIFEST = "manifest"
STEP = 1 / 127
"""What one unit of a stored mean is worth: mean trits are kept in 8 bits."""
ENOUGH_TO_FIT = 50
"""Scans from which on the thresholds stay as they are; of fewer, terciles would rest on a dozen scans each."""


@dataclass(frozen=True)
class Entry:
    """A scan of an index.

    Attributes:
        name: of the scan in its archive: a path with ``/``.
        content: SHA-256 of its files; by this the scan is known again.
        stamp: sizes and times of its files, as a digest; while it is unchanged the bytes are not read again.
        volume_ml, mean_hu, fat_fraction: of the mask.
        thumbnail: a PNG of the scan as a data URI; empty where no pictures were asked for.
    """

    name: str
    content: str
    stamp: str = ""
    volume_ml: float = 0.0
    mean_hu: float = 0.0
    fat_fraction: float = 0.0
    thumbnail: str = ""


@dataclass(frozen=True)
class Neighbour:
    """A scan that a search found.

    Attributes:
        entry: the scan.
        score: ternary dot product of both codes.
        similarity: the score over the root of the product of both codes' non-zero trits: 1 for equal codes.
    """

    entry: Entry
    score: int
    similarity: float


@dataclass(frozen=True)
class Index:
    """An archive's codes.

    Attributes:
        model: SHA-256 of the model that computed them.
        entries: the scans.
        levels: int8 (scans, channels), mean trits in units of :data:`STEP`.
        thresholds: of the codes.
        fixed: True when the thresholds no longer follow the archive.
        without: why a scan has no code, by its content.
    """

    model: str
    channels: int
    entries: tuple[Entry, ...]
    levels: np.ndarray
    thresholds: Thresholds
    fixed: bool = False
    without: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def empty(model: str, channels: int, thresholds: Thresholds | None = None) -> Index:
        """An index without scans; given thresholds are fixed, as codes that two archives share need."""
        none = np.zeros((0, channels), np.int8)
        zero = np.zeros(channels, np.float32)
        return Index(model, channels, (), none, thresholds or Thresholds(zero, zero), thresholds is not None)

    def with_scans(self, scans: Iterable[tuple[Entry, Description]]) -> Index:
        """This index and further scans; one of the same name takes the earlier one's place.

        The thresholds are those of all scans together until :data:`ENOUGH_TO_FIT` were in; from then on they stay.
        """
        added = list(scans)
        others = self.lacking({entry.name for entry, _ in added})
        entries = list(others.entries)
        for entry, facts in added:
            entries.append(
                replace(
                    entry,
                    volume_ml=facts.volume_ml,
                    mean_hu=facts.mean_hu,
                    fat_fraction=facts.fat_fraction,
                    thumbnail=facts.thumbnail,
                )
            )
        levels = [np.rint(facts.means / STEP).astype(np.int8) for _, facts in added]
        grown = replace(
            self, entries=tuple(entries), levels=np.concatenate([others.levels, *(level[None] for level in levels)])
        )
        return grown if self.fixed else grown.refitted()

    def lacking(self, names: Collection[str]) -> Index:
        """This index without the scans of those names, coded as it is."""
        kept = np.array([entry.name not in names for entry in self.entries], bool)
        entries = tuple(entry for entry in self.entries if entry.name not in names)
        return replace(self, entries=entries, levels=self.levels[kept])

    def refitted(self) -> Index:
        """The same scans, coded with the terciles of their own means."""
        if not self.entries:
            return self
        return replace(
            self, thresholds=Thresholds.of(self.levels * np.float32(STEP)), fixed=len(self.entries) >= ENOUGH_TO_FIT
        )

    @cached_property
    def planes(self) -> tuple[np.ndarray, np.ndarray]:
        """The codes, (nonzero, negative), uint32 (scans, words)."""
        return self.thresholds.planes(self.levels * np.float32(STEP))

    @cached_property
    def vectors(self) -> PackedVectors:
        """The codes as the kernels want them."""
        return PackedVectors.from_planes(*self.planes, self.channels)

    def search(
        self, means: np.ndarray, count: int = 10, backend: Backend = "auto", threads: int = 0
    ) -> list[Neighbour]:
        """The scans whose codes have the largest dot products with that of a query.

        Args:
            means: mean trits of the query, (channels,).
            count: how many to return, at most.
            backend: which kernels compute; the result does not depend on it.
            threads: 0 means all cores.

        Returns:
            The nearest scan first; of equal ones, that which came into the index first.

        Raises:
            InputError: the query has another length.
        """
        if means.shape != (self.channels,):
            raise InputError(
                f"The scan's code has {means.size} channels and the index's {self.channels}; index the archive again."
            )
        nonzero, negative = self.thresholds.planes(np.rint(means[None] / STEP).astype(np.int8) * np.float32(STEP))
        scores = dot_products(nonzero, negative, self.vectors, backend, threads)[0]
        found = largest(scores, count)
        speaking = int(np.bitwise_count(nonzero).sum()) * np.bitwise_count(self.planes[0][found]).sum(1)
        return [
            Neighbour(self.entries[row], int(scores[row]), float(scores[row] / np.sqrt(max(int(product), 1))))
            for row, product in zip(found, speaking, strict=True)
        ]

    def check_model(self, sha256: str) -> None:
        """Refuse to compare codes of two models.

        Raises:
            InputError: the index was made with another model.
        """
        if self.model != sha256:
            raise InputError(
                f"The index was made with the model {self.model[:12]}… and this is {sha256[:12]}…, whose codes mean "
                "something else; use --model with the index's own model, or index the archive again."
            )


def write_index(index: Index, path: str | Path) -> None:
    """Write an index, whole or not at all.

    Raises:
        OutputError: the place cannot be written.
    """
    entries = index.entries
    manifest = {
        "format": FORMAT, "version": VERSION, "model": index.model, "channels": index.channels, "fixed": index.fixed,
        "without": index.without, "names": [entry.name for entry in entries],
        "contents": [entry.content for entry in entries], "stamps": [entry.stamp for entry in entries],
    }  # fmt: skip
    measures = [(entry.volume_ml, entry.mean_hu, entry.fat_fraction) for entry in entries]
    arrays = {
        MANIFEST: np.frombuffer(json.dumps(manifest).encode(), np.uint8), "levels": index.levels,
        "measures": np.array(measures, np.float32).reshape(-1, 3), "low": index.thresholds.low,
        "high": index.thresholds.high,
    }  # fmt: skip
    if any(entry.thumbnail for entry in entries):
        pictures = [np.frombuffer(entry.thumbnail.encode(), np.uint8) for entry in entries]
        arrays["thumbnails"] = np.concatenate(pictures)
        arrays["thumbnail_ends"] = np.cumsum([picture.size for picture in pictures], dtype=np.int64)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_index(path: str | Path) -> Index:
    """Read an index.

    Raises:
        InputError: there is no such file, it is damaged, it is no index, it contradicts itself, or it is from a newer
            version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no index “{path}”; check the path, or make one with: ternarysegment index")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        manifest = json.loads(arrays.pop(MANIFEST).tobytes())
        if manifest["format"] != FORMAT:
            raise KeyError(FORMAT)
        newer = manifest["version"] > VERSION
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(f"The index “{path}” is damaged; copy it again, or index the archive again.") from error
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise InputError(f"“{path}” is no index; choose a file that ternarysegment index wrote.") from error
    if newer:
        raise InputError(f"The index “{path}” was written by a newer TernarySegment; install the newest version.")
    try:
        _check(manifest, arrays)
        return _index(manifest, arrays)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The index “{path}” contradicts itself ({error}); copy it again, or index the archive again."
        ) from error


def _check(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Refuse what :func:`write_index` never writes: a code of another length would be searched beside its end.

    Raises:
        ValueError, KeyError, TypeError: what is wrong.
    """
    channels, scans = manifest["channels"], len(manifest["names"])
    if type(channels) is not int or channels < 1:
        raise ValueError(f"{channels} channels")
    wanted = {
        "levels": ((scans, channels), np.int8), "measures": ((scans, 3), np.float32),
        "low": ((channels,), np.float32), "high": ((channels,), np.float32),
    }  # fmt: skip
    for name, (shape, kind) in wanted.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != kind:
            raise ValueError(f"{name} of {found.shape} {found.dtype} instead of {shape} {np.dtype(kind)}")
    if "thumbnails" in arrays:
        ends, pixels = arrays["thumbnail_ends"], arrays["thumbnails"]
        sound = ends.shape == (scans,) and ends.dtype == np.int64 and pixels.dtype == np.uint8 and pixels.ndim == 1
        if not sound or (np.diff(ends, prepend=0, append=pixels.size) < 0).any():
            raise ValueError("thumbnails that do not fit the scans")
    if not (np.isfinite(arrays["low"]).all() and np.isfinite(arrays["high"]).all()):
        raise ValueError("thresholds that are no numbers")
    texts = [manifest["model"], *manifest["names"], *manifest["contents"], *manifest["stamps"]]
    texts += [*manifest["without"].keys(), *manifest["without"].values()]
    if not all(isinstance(text, str) for text in texts) or type(manifest["fixed"]) is not bool:
        raise TypeError("names that are no text")


def _index(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> Index:
    columns = (
        manifest["names"], manifest["contents"], manifest["stamps"], arrays["measures"].tolist(),
        _thumbnails(arrays, len(manifest["names"])),
    )  # fmt: skip
    entries = tuple(
        Entry(name, content, stamp, volume_ml, mean_hu, fat_fraction, thumbnail)
        for name, content, stamp, (volume_ml, mean_hu, fat_fraction), thumbnail in zip(*columns, strict=True)
    )
    return Index(
        manifest["model"], manifest["channels"], entries, arrays["levels"], Thresholds(arrays["low"], arrays["high"]),
        manifest["fixed"], manifest["without"],
    )  # fmt: skip


def _thumbnails(arrays: dict[str, np.ndarray], scans: int) -> list[str]:
    if "thumbnails" not in arrays:
        return [""] * scans
    pixels, ends = arrays["thumbnails"].tobytes(), arrays["thumbnail_ends"].tolist()
    return [pixels[start:end].decode("ascii") for start, end in zip([0, *ends], ends, strict=False)]
