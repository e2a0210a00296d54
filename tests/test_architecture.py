"""The house keeps its promise: imports point down, no room is in a circle, nothing is imported inside a function."""

import ast
import os
from pathlib import Path

import pytest

import gabp

ROOT = Path(gabp.__file__).parent

# A room may lean on rooms of lower floors, and on its neighbours as long as no circle forms.
FLOOR = {
    "kernels": 0,
    "system": 1,
    "krylov": 1,
    "messages": 2,
    "conditions": 2,
    "solvers": 3,
    "marginals": 3,
    "autograd": 4,
    "backprop": 4,
    "discrete": 4,
    "gaussian": 4,
    "api": 6,
    "__init__": 6,
    "files": 7,
    "compare": 7,
    "demos": 7,
    "cli": 7,
    "__main__": 7,
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("gabp", *(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)))


# `kernels` is a link in a checkout, which `Path.rglob` would not follow
PATHS = [Path(folder, file) for folder, _, files in os.walk(ROOT, followlinks=True) for file in files]
MODULES = {module_name(path): path for path in sorted(PATHS) if path.suffix == ".py"}
every_module = pytest.mark.parametrize("name", MODULES)


def room(module: str) -> str:
    return module.split(".")[1]


def syntax(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    """The modules of gabp that ``module`` imports, wherever in it the import stands."""
    package = MODULES[module].relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(syntax(module)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ("gabp", *package)[: len(package) + 2 - node.level] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "gabp":
                continue
            while len(parts) > 1 and ".".join(parts) not in MODULES:
                parts.pop()
            found.add(".".join(parts) if len(parts) > 1 else "gabp.__init__")
    return found - {module}


def test_there_is_something_to_judge():
    assert {"gabp.__init__", "gabp.api", "gabp.kernels", "gabp.system"} <= MODULES.keys()
    assert "gabp.system" in imported("gabp.solvers.solver")
    assert "gabp.kernels.dispatch" in imported("gabp.messages.precision")


@every_module
def test_every_room_has_a_floor(name):
    assert room(name) in FLOOR


@every_module
def test_imports_point_down(name):
    upward = {other for other in imported(name) if FLOOR[room(other)] > FLOOR[room(name)]}
    assert not upward


def test_no_circle_among_rooms_or_modules():
    modules = {name: imported(name) for name in MODULES}
    rooms: dict[str, set[str]] = {}
    for name, others in modules.items():
        rooms.setdefault(room(name), set()).update(room(other) for other in others)
    for graph in (modules, {name: others - {name} for name, others in rooms.items()}):
        left = dict(graph)
        while free := [name for name, others in left.items() if not others & left.keys()]:
            for name in free:
                del left[name]
        assert not left


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "kernels"])
def test_kernels_know_nothing_of_gabp(name):
    assert {other for other in imported(name) if room(other) != "kernels"} == set()


@every_module
def test_no_import_hides_in_a_function(name):
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    hidden = [
        inner.lineno
        for outer in ast.walk(syntax(name))
        if isinstance(outer, functions)
        for inner in ast.walk(outer)
        if isinstance(inner, (ast.Import, ast.ImportFrom))
    ]
    assert not hidden


@every_module
def test_every_module_says_what_it_is_for(name):
    assert ast.get_docstring(syntax(name))


@every_module
def test_the_library_neither_prints_nor_changes_warning_filters(name):
    if room(name) == "cli":
        return
    calls = [node.func for node in ast.walk(syntax(name)) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c, ast.Name) and c.id == "print"]
