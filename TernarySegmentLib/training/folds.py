"""Which scans judge and which train, fixed by a file, so that figures of different days can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

FOLDS = 5
FILE = Path(__file__).with_name("folds.json")
"""A list of patients for each fold: all case numbers of the published data sets. Fold 0 of the BTCV scans is the
validation set on which everything that ships was chosen; NIH Pancreas-CT is divided in the order of TernaryNet's
published script, its two withdrawn copies (0025, 0070) together with the patient they show (0002)."""


@lru_cache(maxsize=1)
def table() -> dict[str, int]:
    """Fold of each patient in the file."""
    folds: list[list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return {patient: fold for fold, patients in enumerate(folds) for patient in patients}


def patient_of(name: str) -> str:
    """Several scans of one patient are named ``<patient>__<anything>``."""
    return name.split("__")[0]


def fold_of(name: str) -> int:
    """The fold of a scan, the same for all scans of a patient; patients not in the file are spread by a hash."""
    patient = patient_of(name)
    return table().get(patient, int(hashlib.sha256(patient.encode()).hexdigest(), 16) % FOLDS)


def split(names: Iterable[str], fold: int) -> tuple[list[str], list[str]]:
    """Names to train on, and names to judge by: those of ``fold``."""
    names = list(names)
    return [name for name in names if fold_of(name) != fold], [name for name in names if fold_of(name) == fold]
