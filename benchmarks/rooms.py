"""Draws the rooms of the library and what imports what into docs/pictures/rooms.svg, and prints them as a table.

`python -m benchmarks.rooms`

The rooms are in the order that the import contract in pyproject.toml keeps, so every arrow points down. An arrow
that follows from two others is left out of the picture.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "platform" / "scenelift"
PICTURE = ROOT / "docs" / "pictures" / "rooms.svg"
ROW, MARGIN, BOX, WIDTH, TEXT = 44, 170, 110, 1010, 112

Arrows = dict[str, set[str]]


def rooms() -> list[str]:
    """The rooms in the order of the contract, highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(each["layers"] for each in contracts if each.get("containers") == ["scenelift"])


def arrows() -> Arrows:
    """Which rooms each room imports, directly."""
    graph = grimp.build_graph("scenelift", cache_dir=None)
    found: Arrows = {room: set() for room in rooms()}
    for room in found:
        graph.squash_module(f"scenelift.{room}")
    for room in found:
        imported = graph.find_modules_directly_imported_by(f"scenelift.{room}")
        found[room] = {name.removeprefix("scenelift.") for name in imported} & set(found)
    return found


def reduced(found: Arrows) -> Arrows:
    """Without the arrows that follow from others."""

    def below(room: str) -> set[str]:
        return found[room].union(*map(below, found[room]))

    return {room: to - set().union(*map(below, to)) for room, to in found.items()}


def purpose(room: str) -> str:
    """The first sentence of a room's docstring."""
    files = (LIBRARY / room / "__init__.py", LIBRARY / f"{room}.py")
    text = next(file for file in files if file.exists()).read_text()
    words = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    return words.partition(". ")[0].rstrip(".")


def svg(found: Arrows) -> str:
    """The picture: one row a room, arrows as arcs at the left."""
    order = list(found)
    height = ROW * len(order) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z" fill="#456"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    middle = {room: 10 + ROW * row + ROW // 2 for row, room in enumerate(order)}
    for row, (room, to) in enumerate(reduced(found).items()):
        for end in sorted(to, key=order.index):
            bulge = MARGIN - min(12 + 12 * (order.index(end) - row), MARGIN - 10)
            start, stop = middle[room] + 8, middle[end] - 8
            path = f"M{MARGIN} {start}C{bulge} {start} {bulge} {stop} {MARGIN} {stop}"
            parts.append(f'<path d="{path}" fill="none" stroke="#456" marker-end="url(#tip)"/>')
    for room in order:
        y, text = middle[room], MARGIN + BOX + 14
        parts.append(
            f'<rect x="{MARGIN}" y="{y - 15}" width="{BOX}" height="30" rx="5" fill="#e8eef5" stroke="#456"/>'
            f'<text x="{MARGIN + BOX // 2}" y="{y + 5}" text-anchor="middle" font-size="15">{room}</text>'
        )
        lines = textwrap.wrap(purpose(room), TEXT)
        for line, words in enumerate(lines):
            at = y + 4 - 7 * (len(lines) - 1) + 14 * line
            parts.append(f'<text x="{text}" y="{at}" font-size="12" fill="#333">{escape(words)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def table(found: Arrows) -> str:
    """Modules, lines and imports of each room, in Markdown."""
    rows = ["| room | modules | lines | imports |", "|---|---:|---:|---|"]
    total = [0, 0]
    for room, to in found.items():
        files = sorted((LIBRARY / room).glob("*.py")) or [LIBRARY / f"{room}.py"]
        lines = sum(len(file.read_text().splitlines()) for file in files)
        modules = sum(file.name != "__init__.py" for file in files)
        total = [total[0] + modules, total[1] + lines]
        rows.append(f"| {room} | {modules} | {lines} | {', '.join(sorted(to, key=list(found).index))} |")
    return "\n".join([*rows, f"| **all** | {total[0]} | {total[1]} | |"])


if __name__ == "__main__":
    all_arrows = arrows()
    PICTURE.write_text(svg(all_arrows))
    print(table(all_arrows))
    print(f"\nPicture: {PICTURE.relative_to(ROOT)}")
