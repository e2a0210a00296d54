"""The plan of gabp, read from its imports: ``python docs/architecture.py`` writes ``docs/architecture.svg``.

A *room* is a package or module directly under ``gabp/``; the first line of its docstring states its floor and its
subject. An arrow is an import; arrows that follow from others by transitivity are not drawn. The tests read the same
structure: no arrow points up, no circle, and the picture is current.
"""

import argparse
import ast
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "gabp"
PICTURE = Path(__file__).with_suffix(".svg")
FACADE = {"__init__", "__main__"}  # they wire everything together and stand above all floors

BOX, GAP, HEIGHT, STOREY, MARGIN = 178, 22, 58, 128, 40  # pixels
_PALETTE = ("#e8eef7", "#e6f3ee", "#f7f1e3", "#f6e9e9", "#efe9f5", "#e9f0f2", "#f3f3f3", "#eceff1")


@dataclass(frozen=True)
class Room:
    """A package or module directly under ``gabp/``.

    Attributes
    ----------
    floor : int
    subject : str
        What it is for, from its docstring.
    imports : frozenset of str
        The rooms that it imports.
    """

    floor: int
    subject: str
    imports: frozenset[str]


def module_paths(root: Path = SOURCES) -> dict[str, Path]:
    """Every module by its dotted name. ``kernels`` is a link in a checkout, which `Path.rglob` would not follow."""
    paths = [Path(folder, file) for folder, _, files in os.walk(root, followlinks=True) for file in files]
    return {_module_name(path, root): path for path in sorted(paths) if path.suffix == ".py"}


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(("gabp", *(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)))


def room_of(module: str) -> str:
    """The room of a dotted module name."""
    return module.split(".")[1]


def imported_modules(name: str, modules: Mapping[str, Path], root: Path = SOURCES) -> set[str]:
    """The modules of gabp that ``name`` imports, wherever in it the import stands."""
    package = modules[name].relative_to(root).parent.parts
    found = set()
    for target in _import_targets(ast.parse(modules[name].read_text(encoding="utf-8")), package):
        parts = target.split(".")
        if parts[0] != "gabp":
            continue
        while len(parts) > 1 and ".".join(parts) not in modules:
            parts.pop()
        found.add(".".join(parts) if len(parts) > 1 else "gabp.__init__")
    return found - {name}


def _import_targets(tree: ast.Module, package: tuple[str, ...]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ("gabp", *package)[: len(package) + 2 - node.level] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def read_rooms(root: Path = SOURCES) -> dict[str, Room]:
    """All rooms but the facade.

    Raises
    ------
    ValueError
        The docstring of a room does not state its floor.
    """
    modules = module_paths(root)
    imports: dict[str, set[str]] = {room_of(name): set() for name in modules if room_of(name) not in FACADE}
    for name in modules:
        if room_of(name) in imports:
            others = {room_of(other) for other in imported_modules(name, modules, root)}
            imports[room_of(name)] |= others - {room_of(name)} - FACADE
    return {room: _read_room(room, modules[f"gabp.{room}"], frozenset(found)) for room, found in imports.items()}


def _read_room(name: str, path: Path, imports: frozenset[str]) -> Room:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    stated = re.match(r"Floor (\d+): ([^\n]+)", docstring)
    if stated is None:
        raise ValueError(f"the docstring of {name} does not begin with its floor")
    return Room(int(stated[1]), stated[2].partition(". ")[0].rstrip("."), imports)


def direct_arrows(rooms: Mapping[str, Room]) -> list[tuple[str, str]]:
    """The imports between rooms that do not follow from others by transitivity."""
    reach: dict[str, set[str]] = {}
    for name in _bottom_up(rooms):
        reach[name] = set(rooms[name].imports).union(*(reach[other] for other in rooms[name].imports))
    return sorted(
        (name, other)
        for name, room in rooms.items()
        for other in room.imports
        if not any(other in reach[between] for between in room.imports if between != other)
    )


def _bottom_up(rooms: Mapping[str, Room]) -> list[str]:
    order: list[str] = []
    while len(order) < len(rooms):
        free = [name for name, room in rooms.items() if name not in order and room.imports <= set(order)]
        if not free:
            raise ValueError(f"a circle of imports among {sorted(set(rooms) - set(order))}")
        order += free
    return order


def draw(rooms: Mapping[str, Room]) -> str:
    """The rooms on their floors and the arrows between them, as SVG."""
    floors = sorted({room.floor for room in rooms.values()}, reverse=True)
    rows = {floor: sorted(name for name in rooms if rooms[name].floor == floor) for floor in floors}
    width = 2 * MARGIN + 40 + max(len(row) for row in rows.values()) * (BOX + GAP)
    height = 2 * MARGIN + (len(floors) - 1) * STOREY + HEIGHT
    centre = {}
    for storey, floor in enumerate(floors):
        left = (width - len(rows[floor]) * (BOX + GAP) + GAP) / 2 + 20
        for column, name in enumerate(rows[floor]):
            centre[name] = (left + column * (BOX + GAP) + BOX / 2, MARGIN + storey * STOREY + HEIGHT / 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#667"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    lines += [_floor_label(floor, MARGIN + storey * STOREY) for storey, floor in enumerate(floors)]
    lines += [_arrow(centre[name], centre[other]) for name, other in direct_arrows(rooms)]
    lines += [_box(name, rooms[name], *centre[name]) for name in sorted(rooms)]
    return "\n".join([*lines, "</svg>", ""])


def _floor_label(floor: int, top: float) -> str:
    return f'<text x="14" y="{top + HEIGHT / 2 + 4:.0f}" font-size="13" fill="#889">{floor}</text>'


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (u, v) = start, end
    dash = ""
    if y == v:  # on one floor: an arc above the boxes
        top = y - HEIGHT / 2
        way = f"M{x:.0f} {top:.0f} C{x:.0f} {top - 28:.0f} {u:.0f} {top - 28:.0f} {u:.0f} {top:.0f}"
    else:
        y, v = y + HEIGHT / 2, v - HEIGHT / 2
        bend = min(60.0, (v - y) / 2)
        way = f"M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}"
        if v - y > STOREY:  # it passes behind the rooms of other floors
            dash = ' stroke-dasharray="5 4"'
    return f'<path d="{way}" fill="none" stroke="#99a" stroke-width="1.3"{dash} marker-end="url(#tip)"/>'


def _box(name: str, room: Room, x: float, y: float) -> str:
    colour = _PALETTE[room.floor % len(_PALETTE)]
    place = f'x="{x - BOX / 2:.0f}" y="{y - HEIGHT / 2:.0f}" width="{BOX}" height="{HEIGHT}" rx="6"'
    rows = textwrap.wrap(room.subject, 30, max_lines=2, placeholder=" …")
    lines = [
        f'<rect {place} fill="{colour}" stroke="#778"/>',
        _text(x, y - 10, 15, "#000", name, ' font-weight="bold"'),
    ]
    return "\n".join(lines + [_text(x, y + 6 + 13 * line, 10.5, "#445", row) for line, row in enumerate(rows)])


def _text(x: float, y: float, size: float, colour: str, words: str, style: str = "") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="middle"{style}'
    return f"<text {place}>{escape(words)}</text>"


def main(argv: list[str] | None = None) -> int:
    """Write the picture, or with ``--check`` report whether it is current: 0 if so, else 1."""
    parser = argparse.ArgumentParser(description="Draw the plan of gabp from its imports.")
    parser.add_argument("--check", action="store_true", help="only compare with the committed picture")
    check = parser.parse_args(argv).check
    picture = draw(read_rooms())
    if not check:
        PICTURE.write_text(picture, encoding="utf-8")
        return 0
    if PICTURE.read_text(encoding="utf-8") == picture:
        return 0
    print(f"{PICTURE.name} is not current: run python docs/architecture.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
