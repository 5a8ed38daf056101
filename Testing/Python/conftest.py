"""Where real CTs for tests are found; without them those tests skip and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real CTs: TERNARYSEGMENT_DATA, or ../shared/data beside the checkout."""
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("TERNARYSEGMENT_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real CTs in {folder}; set TERNARYSEGMENT_DATA to the folder that holds them")
    return folder
