"""The plan of the package: imports point down, no room is in a circle, and the picture of it is current."""

import ast
import importlib.util
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import gabp

ROOT = Path(gabp.__file__).parent
SCRIPT = Path(__file__).parents[1] / "docs" / "architecture.py"  # which reads the plan and draws it


def load_script():
    spec = importlib.util.spec_from_file_location("architecture", SCRIPT)
    module = sys.modules["architecture"] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


architecture = load_script()
MODULES = architecture.module_paths(ROOT)
ROOMS = architecture.read_rooms(ROOT)
KERNELS = [name for name in MODULES if architecture.room_of(name) == "kernels"]
LIBRARY = [name for name in MODULES if architecture.room_of(name) not in {"cli", "__main__"}]


def syntax(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(module: str) -> set[str]:
    return architecture.imported_modules(module, MODULES, ROOT)


def offences(offences_of: Callable[[str], Collection], modules: Collection[str] = MODULES) -> dict[str, Collection]:
    """What ``offences_of`` finds in each module, without the modules in which it finds nothing."""
    return {name: found for name in modules if (found := offences_of(name))}


def test_the_rules_see_the_modules_and_their_imports():
    assert {"gabp.__init__", "gabp.api", "gabp.kernels", "gabp.system"} <= MODULES.keys()
    assert "gabp.system" in imported("gabp.solvers.solver")
    assert "gabp.kernels.dispatch" in imported("gabp.messages.precision")


def test_every_room_has_a_floor():
    """`read_rooms` refuses a room whose docstring states none; kernels are the ground."""
    assert {architecture.room_of(name) for name in MODULES} - architecture.FACADE == ROOMS.keys()
    assert [name for name, room in ROOMS.items() if room.floor == 0] == ["kernels"]


def test_imports_point_down():
    def upward(name: str) -> list[str]:
        return [other for other in ROOMS[name].imports if ROOMS[other].floor > ROOMS[name].floor]

    assert offences(upward, ROOMS) == {}


def test_only_rooms_above_the_public_functions_import_gabp_itself():
    """The facade re-exports what is on the floor of `gabp.api` and below."""
    rooms = {name for name, room in ROOMS.items() if room.floor <= ROOMS["api"].floor}
    below = [name for name in MODULES if architecture.room_of(name) in rooms]

    def facade(name: str) -> set[str]:
        return {architecture.room_of(other) for other in imported(name)} & architecture.FACADE

    assert offences(facade, below) == {}


def test_there_is_no_circle_among_rooms_or_modules():
    modules = {name: imported(name) for name in MODULES}
    rooms = {name: set(room.imports) for name, room in ROOMS.items()}
    for graph in (modules, rooms):
        left = dict(graph)
        while free := [name for name, others in left.items() if not others & left.keys()]:
            for name in free:
                del left[name]
        assert not left


def test_kernels_import_nothing_else_of_gabp():
    def foreign(name: str) -> list[str]:
        return [other for other in imported(name) if architecture.room_of(other) != "kernels"]

    assert offences(foreign, KERNELS) == {}


def test_no_function_imports():
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

    def hidden(name: str) -> list[int]:
        return [
            inner.lineno
            for outer in ast.walk(syntax(name))
            if isinstance(outer, functions)
            for inner in ast.walk(outer)
            if isinstance(inner, (ast.Import, ast.ImportFrom))
        ]

    assert offences(hidden) == {}


def test_every_module_has_a_docstring():
    assert [name for name in MODULES if not ast.get_docstring(syntax(name))] == []


def test_the_library_does_not_print():
    def prints(name: str) -> list[int]:
        calls = [node for node in ast.walk(syntax(name)) if isinstance(node, ast.Call)]
        return [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]

    assert offences(prints, LIBRARY) == {}


def test_warning_filters_change_only_inside_catch_warnings():
    filters = {"filterwarnings", "simplefilter", "resetwarnings"}

    def changes(tree: ast.AST) -> set[int]:
        attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        return {node.lineno for node in attributes if node.attr in filters}

    def lasting(name: str) -> set[int]:
        tree = syntax(name)
        blocks = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
        guarded = [b for b in blocks if any("catch_warnings" in ast.unparse(item.context_expr) for item in b.items)]
        return changes(tree).difference(*map(changes, guarded))

    assert offences(lasting, LIBRARY) == {}


def test_the_picture_is_current():
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.draw(ROOMS), "run docs/architecture.py"
