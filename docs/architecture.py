"""Draw the library's folders and who imports whom, from the code: python docs/architecture.py [-o FILE]

An arrow that a chain of others implies is left out. A test draws the picture again and compares.
"""

from __future__ import annotations

import argparse
import ast
import html
import sys
from itertools import pairwise
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "TernarySegmentLib"
PICTURE = ROOT / "docs" / "figures" / "architecture.svg"
WITHOUT_ARROWS = {"phantom"}
"""Used here and there; its arrows would cross everything."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 210, 58, 14, 36, 12
COLOURS = {"slicer_ui": "#fde3cd", "training": "#dff0d8", "bench": "#dff0d8"}
"""Seen in Slicer only; not installed into Slicer. All else is blue."""

Edges = dict[str, set[str]]


def folders() -> list[str]:
    """The library's packages as "a.b", and the command line; those inside others first."""
    packages = [path.parent.relative_to(ROOT / PACKAGE) for path in (ROOT / PACKAGE).rglob("__init__.py")]
    names = {".".join(path.parts) for path in packages} - {"", "imaging.files", "imaging.report"}
    return sorted({*names, "cli"}, key=lambda name: (-name.count("."), name))


def imports() -> Edges:
    """For each folder the other folders that it imports from."""
    names, graph = folders(), grimp.build_graph(PACKAGE, cache_dir=None)

    def folder_of(module: str) -> str | None:
        inner = module.removeprefix(PACKAGE).removeprefix(".")
        return next((name for name in names if inner == name or inner.startswith(f"{name}.")), None)

    edges: Edges = {name: set() for name in names}
    for module in graph.modules:
        source = folder_of(module)
        targets = {folder_of(each) for each in graph.find_modules_directly_imported_by(module)}
        if source is not None:
            edges[source] |= {target for target in targets if target not in (None, source)}
    for name in names:  # a folder may import what lies in it; the arrow says who begins
        outer = name.rpartition(".")[0]
        if outer in edges and name in edges[outer]:
            edges[name].discard(outer)
    return edges


def levels(edges: Edges) -> dict[str, int]:
    """How many arrows lead from a folder down to one that imports nothing, at the most.

    Raises:
        ValueError: folders import each other in a circle.
    """
    found: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...] = ()) -> int:
        if name in above:
            raise ValueError(f"These import each other: {', '.join(above)}.")
        if name not in found:
            found[name] = max((level(each, (*above, name)) + 1 for each in edges[name]), default=0)
        return found[name]

    for name in edges:
        level(name)
    return found


def without_shortcuts(edges: Edges) -> Edges:
    """The arrows that no chain of others implies."""

    def below(name: str) -> set[str]:
        return edges[name].union(*(below(each) for each in edges[name]))

    return {name: {t for t in to if not any(t in below(other) for other in to - {t})} for name, to in edges.items()}


def role(name: str) -> str:
    """The first sentence of a folder's or file's docstring."""
    path = ROOT / PACKAGE / name.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].split(". ")[0].replace("\n", " ").replace("``", "").rstrip(".")


def draw() -> str:
    """The picture as SVG."""
    edges = imports()
    level = levels(edges)
    top = max(level.values())
    rows = [sorted(name for name in edges if level[name] == each) for each in range(top, -1, -1)]
    across = max(map(len, rows))
    place = {}
    for row, names in enumerate(rows):
        indent = (across - len(names)) * (WIDTH + GAP_X) / 2
        for column, name in enumerate(names):
            place[name] = MARGIN + indent + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)
    width, height = 2 * MARGIN + across * (WIDTH + GAP_X) - GAP_X, 2 * MARGIN + len(rows) * (HEIGHT + GAP_Y) - GAP_Y
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#555"/></marker>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for source, targets in without_shortcuts(edges).items():
        for target in sorted(targets - WITHOUT_ARROWS):
            (x, y), (to_x, to_y) = place[source], place[target]
            ends = f'x1="{x + WIDTH / 2:g}" y1="{y + HEIGHT:g}" x2="{to_x + WIDTH / 2:g}" y2="{to_y:g}"'
            parts.append(f'<line {ends} stroke="#555" marker-end="url(#tip)"/>')
    for name, (x, y) in place.items():
        colour = COLOURS.get(name.split(".")[0], "#dceaf7")
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{colour}" stroke="#777"/>'
        )
        parts.append(_text(x, y + 17, name, 13, "bold"))
        parts += [_text(x, y + 32 + 12 * i, line, 9.5) for i, line in enumerate(_lines(role(name)))]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, size: float, weight: str = "normal") -> str:
    style = f'font-size="{size:g}" font-weight="{weight}" text-anchor="middle"'
    return f'<text x="{x + WIDTH / 2:g}" y="{y:g}" {style}>{html.escape(text)}</text>'


def _lines(text: str, most: int = 36) -> list[str]:
    """Two lines; what does not fit is cut at a word."""
    words, ends = text.split(), [0]
    for count in range(1, len(words) + 1):
        if len(" ".join(words[ends[-1] : count])) > most:
            ends.append(count - 1)
    ends.append(len(words))
    lines = [" ".join(words[a:b]) for a, b in pairwise(ends)]
    return [*lines[:1], lines[1] + " …"] if len(lines) > 2 else lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    path = parser.parse_args().output
    path.write_text(draw(), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    sys.exit(main())
