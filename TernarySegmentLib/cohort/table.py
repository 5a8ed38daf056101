"""The records of a batch as a table: CSV always, Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from TernarySegmentLib.cohort.record import COLUMNS, Record
from TernarySegmentLib.imaging.files.writing import atomic_path

CSV_NAME, PARQUET_NAME = "results.csv", "results.parquet"

TEXT = {"name", "status", "failure", "warnings", "mask", "input", "series", "backend", "version", "model", "content",
        "finished"}  # fmt: skip
"""Columns of text; the others are numbers, empty where they have no value."""


def write_csv(records: Sequence[Record], path: Path) -> None:
    """Write a table with one line for each scan, UTF-8, numbers with a point; None is empty.

    Raises:
        OutputError: the place cannot be written.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(record.row() for record in records)


def parquet_available() -> bool:
    """Test if Parquet can be written here."""
    return importlib.util.find_spec("pyarrow") is not None


def write_parquet(records: Sequence[Record], path: Path) -> None:
    """Write the same table with typed columns.

    Raises:
        ImportError: pyarrow is not installed.
        OutputError: the place cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema([(column, text if column in TEXT else number) for column in COLUMNS])
    table = pyarrow.Table.from_pylist([record.row() for record in records], schema)
    with atomic_path(path) as temporary:
        parquet.write_table(table, temporary)
