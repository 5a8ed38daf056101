"""Refuse, before anything is computed, outputs that would overwrite each other or an input, or have no place."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from TernarySegmentLib.errors import InputError, OutputError
from TernarySegmentLib.imaging.files.atomic import refuse_special


def check_outputs(outputs: Mapping[str, Path | None], inputs: Sequence[Path] = ()) -> None:
    """Check where files are to be written.

    Args:
        outputs: by what they are called in messages, e.g. ``--report``; None where not asked for.
        inputs: files and folders that must survive. Of a DICOM folder every object counts but segmentations, so that
            a result written into the folder may be renewed.

    Raises:
        OutputError: two outputs are one file, one is an input or a part of it, or its place cannot be written.
    """
    wanted = {name: path for name, path in outputs.items() if path is not None}
    taken: dict[object, str] = {}
    for name, path in wanted.items():
        key = _identity(path)
        if key in taken:
            raise OutputError(f"{taken[key]} and {name} are both “{path}”; give each its own name.")
        taken[key] = name
    for name, path in wanted.items():
        _refuse_inside_another(name, path, wanted)
        for source in inputs:
            if _overwrites(path, source):
                raise OutputError(
                    f"{name} “{path}” would overwrite the input “{source}” or a part of it; choose another name."
                )
        _refuse_no_place(path)


def _identity(path: Path) -> object:
    """Equal for two names of one file, through links too, whether it exists yet or not."""
    try:
        there = path.stat()
        return there.st_dev, there.st_ino
    except (OSError, ValueError):
        text = os.path.normcase(os.path.realpath(path))
        return text.casefold() if sys.platform == "darwin" else text


def _refuse_inside_another(name: str, path: Path, wanted: Mapping[str, Path]) -> None:
    parents = {_identity(parent) for parent in Path(os.path.realpath(path)).parents}
    for other, file in wanted.items():
        if _identity(file) in parents:
            raise OutputError(f"{name} “{path}” lies in a folder named as the file of {other}; rename one of them.")


def _refuse_no_place(path: Path) -> None:
    target = Path(os.path.realpath(path))
    try:
        refuse_special(target)
        folder = next(parent for parent in target.parents if parent.exists())
    except (OSError, ValueError) as error:
        raise OutputError(f"“{path}” cannot be written ({error}); choose another name.") from error
    if not folder.is_dir():
        raise OutputError(f"“{path}” cannot be written (“{folder}” is a file); choose another folder.")
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OutputError(f"“{path}” cannot be written (no right to write in “{folder}”); choose another folder.")


def _overwrites(path: Path, source: Path) -> bool:
    if not (path.exists() and source.exists()):
        return False
    same = {_identity(file) for file in _parts(source)}
    if _identity(path) not in same:
        return False
    return not (source.is_dir() or _is_dicom(source)) or _is_scan(path)


def _parts(source: Path) -> list[Path]:
    """The files that an input consists of."""
    from TernarySegmentLib.imaging.files.dicom_headers import files_in
    from TernarySegmentLib.imaging.files.stored import data_files

    if source.is_dir():
        return files_in(source)
    if not source.is_file():
        return [source]
    if _is_dicom(source):  # stands for its series, whose slices lie beside it
        return [file for file in source.parent.iterdir() if file.is_file()]
    return [source, *data_files(source)]


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or start[:2] == b"\x08\x00"


def _is_scan(path: Path) -> bool:
    """False for what is no part of a DICOM series: other files, and segmentations."""
    from TernarySegmentLib.imaging.files.dicom_headers import scan

    if not _is_dicom(path):
        return False
    try:
        return "SEG" not in scan([path]).modalities
    except InputError:  # damaged, and perhaps all there is
        return True
