"""What the Extensions Index reads of the root CMakeLists.txt."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_the_project_is_named_as_the_extension_and_its_addresses_stand_on_one_line():
    assert re.search(r"^project\(TernarySegment\)$", CMAKE, re.MULTILINE)
    for variable in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        assert re.search(rf'^set\({variable} "https://[^"\n]+"\)$', CMAKE, re.MULTILINE)
