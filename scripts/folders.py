"""Picture of the folders and who imports whom, drawn from the source, and a table of its figures.

`python scripts/folders.py` writes the pictures below docs/folders and prints the table of CONTRIBUTING.md.
A folder stands on the floor above everything it imports, so that every arrow goes down; an arrow that could
only go up would be part of a circle, and circles are listed. Standard library only.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "instance_composer"
PICTURES = REPOSITORY / "docs" / "folders"

# Packages whose inside has a picture of its own.
INSIDES = ("hosts/comfyui", "models", "training", "evaluation", "layout")
# Packages that the picture of the whole shows folder by folder.
OPENED = ("hosts",)
MOST_FILES = 20

Arrows = Mapping[str, frozenset[str]]


def packages(root: Path = REPOSITORY) -> list[Path]:
    """The top packages of the pack, which is what pyproject installs but for the root itself."""
    return sorted(file.parent for file in root.glob("*/__init__.py") if file.parent.name != "tests")


def source_files(root: Path = REPOSITORY) -> list[Path]:
    """Every module of the pack."""
    return sorted(file for package in packages(root) for file in package.rglob("*.py"))


def imported_modules(file: Path, root: Path = REPOSITORY) -> Iterator[str]:
    """Dotted modules of the pack, below the root, that a file names: in imports and in strings.

    A name after `import` may be a module or something in one; `module_file` tells.
    """
    place = file.relative_to(root).with_suffix("").parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            target = [*place[: -node.level], *(node.module.split(".") if node.module else [])]
            yield from (".".join([*target, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Processes and routes are started by name.
            name = node.value
            if name.startswith(f"{PACKAGE}."):
                yield name.removeprefix(f"{PACKAGE}.")
            elif name.startswith("..") and name.strip(".").replace(".", "").isidentifier():
                up = len(name) - len(name.lstrip("."))
                yield ".".join([*place[:-up], name.lstrip(".")])


def module_file(name: str, root: Path = REPOSITORY) -> Path | None:
    """The file of the module that a dotted name begins with, the longest there is; None for no module."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        stem = root.joinpath(*parts[:end])
        for file in (stem.with_suffix(".py"), stem / "__init__.py"):
            if file.is_file():
                return file
    return None


@cache
def file_arrows(root: Path) -> Mapping[Path, Set[Path]]:
    """Every module with the modules of the pack that it imports; read once, and every picture asks for it."""
    return {
        file: {
            target
            for name in imported_modules(file, root)
            if (target := module_file(name, root)) is not None and target != file
        }
        for file in source_files(root)
    }


def room(file: Path, inside: str | None = None, root: Path = REPOSITORY) -> str | None:
    """The folder that a picture shows a file in; None for a file outside the picture, or its own `__init__`.

    `inside` is the package the picture opens, None for the whole.
    """
    parts = file.relative_to(root).parts
    if inside is None:
        return "/".join(parts[:2]) if parts[0] in OPENED and parts[1] != "__init__.py" else parts[0]
    depth = len(Path(inside).parts)
    if "/".join(parts[:depth]) != inside or parts[depth] == "__init__.py":
        return None
    return parts[depth]


def room_arrows(inside: str | None = None, root: Path = REPOSITORY) -> dict[str, frozenset[str]]:
    """Every room of a picture with the rooms it imports."""
    arrows: dict[str, set[str]] = {}
    for file, targets in file_arrows(root).items():
        start = room(file, inside, root)
        if start is None or start in OPENED:
            continue
        ends = {room(target, inside, root) for target in targets} - {None, start, *OPENED}
        arrows.setdefault(start, set()).update(end for end in ends if end is not None)
    for end in {end for ends in arrows.values() for end in ends}:
        arrows.setdefault(end, set())
    return {start: frozenset(arrows[start]) for start in sorted(arrows)}


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of two or more that import each other in a ring."""
    reached = {start: _reachable(start, arrows) for start in arrows}
    groups = {
        tuple(sorted(end for end in reached[start] if start in reached[end]))
        for start in arrows
        if start in reached[start]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(start: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting.extend(arrows[one])
    return found


def floors(arrows: Arrows) -> list[list[str]]:
    """Rooms by floor, the lowest first: each one above everything it imports. There must be no circle."""
    height: dict[str, int] = {}

    def climb(start: str) -> int:
        if start not in height:
            height[start] = 1 + max((climb(end) for end in arrows[start]), default=-1)
        return height[start]

    for start in arrows:
        climb(start)
    return [[one for one in arrows if height[one] == floor] for floor in range(max(height.values()) + 1)]


def needed_arrows(arrows: Arrows) -> set[tuple[str, str]]:
    """The arrows that no longer way implies: the rest only repeats what they say."""
    return {
        (start, end)
        for start, ends in arrows.items()
        for end in ends
        if not any(end in _reachable(other, arrows) for other in ends if other != end)
    }


def crowded(root: Path = REPOSITORY) -> list[str]:
    """Folders with more modules than a reader takes in at a glance."""
    counts: dict[Path, int] = {}
    for file in source_files(root):
        counts[file.parent] = counts.get(file.parent, 0) + 1
    return sorted(f"{folder.relative_to(root)} ({n} files)" for folder, n in counts.items() if n > MOST_FILES)


def table(root: Path = REPOSITORY) -> str:
    """Figures of every picture, as CONTRIBUTING.md has them."""
    rows = ["| | rooms | floors | arrows | circles |", "|---|---|---|---|---|"]
    for inside in (None, *INSIDES):
        arrows = room_arrows(inside, root)
        ring = circles(arrows)
        height = "none" if ring else len(floors(arrows))
        count = sum(map(len, arrows.values()))
        name = "the whole" if inside is None else f"`{inside}`"
        rows.append(f"| {name} | {len(arrows)} | {height} | {count} | {len(ring)} |")
    return "\n".join(rows)


WIDTH, HEIGHT, GAP, FLOOR, MARGIN = 176, 34, 26, 92, 20
# An arrow that passes a floor gets a narrow place of its own there, so that it runs beside boxes.
LANE = 12
SWEEPS = 8

Item = str | tuple[str, str]


def picture(arrows: Arrows, title: str) -> str:
    """SVG of rooms on their floors with the arrows that no longer way implies."""
    drawn = sorted(needed_arrows(arrows))
    rows = _ordered(floors(arrows), drawn)
    height = 2 * MARGIN + (len(rows) - 1) * FLOOR + HEIGHT
    width = 2 * MARGIN + max(map(_row_width, rows))
    places: dict[Item, dict[int, tuple[float, float]]] = {}
    for floor, row in enumerate(rows):
        x = (width - _row_width(row)) / 2
        for item in row:
            middle = x + _item_width(item) / 2
            places.setdefault(item, {})[floor] = (middle, height - MARGIN - HEIGHT - floor * FLOOR)
            x += _item_width(item) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}"'
        ' font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#4a6fa5"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
    ]
    lines += [_line(start, end, places) for start, end in drawn]
    lines += [_box(name, *next(iter(places[name].values()))) for name in arrows]
    return "\n".join([*lines, "</svg>", ""])


def _item_width(item: Item) -> int:
    return WIDTH if isinstance(item, str) else LANE


def _row_width(row: list[Item]) -> int:
    return sum(map(_item_width, row)) + GAP * (len(row) - 1)


def _ordered(rooms: list[list[str]], drawn: list[tuple[str, str]]) -> list[list[Item]]:
    """Rooms and passing arrows of every floor, each near the middle of its ties on the next floors."""
    floor_of = {name: floor for floor, row in enumerate(rooms) for name in row}
    rows: list[list[Item]] = [list(row) for row in rooms]
    ties: list[dict[Item, list[Item]]] = [{} for _ in rows]  # of items to items of the floor below
    for start, end in drawn:
        above: Item = start
        for floor in range(floor_of[start] - 1, floor_of[end] - 1, -1):
            below: Item = end if floor == floor_of[end] else (start, end)
            if below not in rows[floor]:
                rows[floor].append(below)
            ties[floor + 1].setdefault(above, []).append(below)
            above = below
    for sweep in range(SWEEPS):
        upwards = sweep % 2 == 0
        for floor in range(1, len(rows)) if upwards else range(len(rows) - 2, -1, -1):
            _sort(rows, floor, ties, upwards)
    return rows


def _sort(rows: list[list[Item]], floor: int, ties: list[dict[Item, list[Item]]], upwards: bool) -> None:
    """Order one floor by the places of its neighbours on the floor below, or above."""
    fixed = rows[floor - 1 if upwards else floor + 1]
    place = {item: (number + 0.5) / len(fixed) for number, item in enumerate(fixed)}
    row = rows[floor]

    def middle(number: int) -> float:
        item = row[number]
        if upwards:
            tied = ties[floor].get(item, [])
        else:
            tied = [one for one, ends in ties[floor + 1].items() if item in ends]
        return sum(place[one] for one in tied) / len(tied) if tied else (number + 0.5) / len(row)

    rows[floor] = [row[number] for number in sorted(range(len(row)), key=lambda n: (middle(n), n))]


def _line(start: str, end: str, places: Mapping[Item, Mapping[int, tuple[float, float]]]) -> str:
    (floor, (x, y)), (last, (end_x, end_y)) = *places[start].items(), *places[end].items()
    y += HEIGHT
    path = f"M{x:.0f} {y:.0f}"
    for passed in range(floor - 1, last, -1):
        lane_x, lane_y = places[start, end][passed]
        path += _bend(x, y, lane_x, lane_y) + f"V{lane_y + HEIGHT:.0f}"
        x, y = lane_x, lane_y + HEIGHT
    path += _bend(x, y, end_x, end_y - 1)
    return f'<path d="{path}" fill="none" stroke="#4a6fa5" stroke-width="1.5" marker-end="url(#tip)"/>'


def _bend(x: float, y: float, to_x: float, to_y: float) -> str:
    half = (to_y - y) / 2
    return f"C{x:.0f} {y + half:.0f} {to_x:.0f} {to_y - half:.0f} {to_x:.0f} {to_y:.0f}"


def _box(name: str, middle: float, y: float) -> str:
    place = f'x="{middle - WIDTH / 2:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}"'
    text = f'<text x="{middle:.0f}" y="{y + HEIGHT / 2 + 4.5:.1f}" text-anchor="middle">{escape(name)}</text>'
    return f'<rect {place} rx="5" fill="#f4f7fb" stroke="#4a6fa5"/>{text}'


def pictures(root: Path = REPOSITORY) -> dict[str, str]:
    """File name -> SVG, of the whole and of every package with an inside."""
    drawn: dict[str, str] = {}
    for inside in (None, *INSIDES):
        name = "whole" if inside is None else inside.replace("/", "-")
        title = "Folders and their imports" if inside is None else f"Inside {inside}: rooms and their imports"
        drawn[f"{name}.svg"] = picture(room_arrows(inside, root), title)
    return drawn


def main() -> int:
    """Write the pictures, print the table; 1 if there is a circle or a crowded folder."""
    faults = [f"a folder of more than {MOST_FILES} files: {one}" for one in crowded()]
    files = {
        str(f.relative_to(REPOSITORY)): {str(t.relative_to(REPOSITORY)) for t in ends}
        for f, ends in file_arrows(REPOSITORY).items()
    }
    for arrows in (files, *(room_arrows(inside) for inside in (None, *INSIDES))):
        faults += [f"a circle: {' <-> '.join(ring)}" for ring in circles(arrows)]
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        PICTURES.mkdir(parents=True, exist_ok=True)
        for name, svg in pictures().items():
            (PICTURES / name).write_text(svg, encoding="utf-8")
    print(table())
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
