"""For MkDocs: takes in what lies outside docs/ and is linked from there, so that each file exists once.

On the forge the pages link ``../Resources/…`` and ``../CHANGELOG.md``; in the site those files lie beside the pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
TAKEN_IN = ("CHANGELOG.md", "LICENSE", "Resources/Models/MODEL_CARD.md", *(
    path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "Resources" / "Screenshots").glob("*.png"))
))  # fmt: skip


def on_files(files: Any, config: Any) -> Any:
    """Add the outside files to the site."""
    for path in TAKEN_IN:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_kwargs: Any) -> str:
    """Links that leave docs/ or enter it point to where the files lie in the site."""
    if page.file.src_uri in TAKEN_IN:
        return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    return re.sub(r"\]\(\.\./(?=Resources/|CHANGELOG|LICENSE)", "](", markdown)
