"""Declaration of a Triton kernel, for launch, tests and cost model: its variants and the role of each argument.

The arguments of a kernel are declared by the role they play, in the order of its parameters::

    @kernel({"column": slot("i32"), "message": slot("T", columns=True, moves=2)}, variants=({"K": 1},), warps=...)
    def sweep(column, message, ..., K: tl.constexpr): ...

``T`` is the kernel's number type, float32 or float64, ``I`` the type of a column index, of 32 or 16 bits. The remaining
parameters are compile-time constants; every combination of them that is in use is a variant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton

_BYTES = {"i16": 2, "i32": 4, "i64": 8, "fp32": 4, "fp64": 8}
Constants = Mapping[str, Any]


class Types(NamedTuple):
    """The types of a variant: the number type ``T`` and the type ``I`` of a column index."""

    number: str
    column: str = "i32"

    def name(self, declared: str) -> str:
        """Triton's name of a declared type."""
        return {"T": self.number, "I": self.column}.get(declared, declared)


@dataclass(frozen=True)
class Argument:
    """One run-time argument of a kernel.

    Attributes
    ----------
    type : str
        Triton's name of its element type, or ``T`` or ``I``.
    per : str
        What it has an element for: ``"slot"`` (a nonzero or directed edge, padding included), ``"row"`` (a node, in the
        order of the rows), ``"node"`` (a node, in another order), ``"source"`` (a node, gathered for every slot),
        ``"tile"`` (a few for each program) or ``"scalar"`` (passed by value).
    columns : bool
        Whether it is one number per right-hand side.
    moves : int
        How often a launch moves each number: 2 where it is read and written.
    """

    type: str
    per: str
    columns: bool = False
    moves: int = 1

    def bytes_moved(self, types: Types, columns: int) -> int:
        """Bytes for each slot, row or node, in a launch for so many right-hand sides."""
        size = _BYTES[types.name(self.type)]
        return size * self.moves * (columns if self.columns else 1)


def slot(type: str, columns: bool = False, moves: int = 1) -> Argument:
    """An edge-sized array: read and written in its own order, never by an index."""
    return Argument(type, "slot", columns, moves)


def row(type: str, columns: bool = False, moves: int = 1) -> Argument:
    """A node vector that each row reads or writes at its own place."""
    return Argument(type, "row", columns, moves)


def node_vector(type: str, columns: bool = False, moves: int = 1) -> Argument:
    """A node vector that each row reads or writes at the place of its node."""
    return Argument(type, "node", columns, moves)


def source_vector(type: str, columns: bool = False) -> Argument:
    """A node vector that is gathered: each slot reads it at its source, and each row at its own place."""
    return Argument(type, "source", columns)


def tile(type: str) -> Argument:
    """An array of which a program touches a few numbers."""
    return Argument(type, "tile")


def scalar(type: str) -> Argument:
    """A number passed by value."""
    return Argument(type, "scalar")


@dataclass(frozen=True, eq=False)
class Kernel:
    """A Triton function that can be launched, compiled ahead of time and accounted for.

    Attributes
    ----------
    function : JITFunction
    arguments : mapping of str to Argument
        The run-time arguments, in order.
    variants : tuple of mappings
        The compile-time constants, in order, of every combination in use.
    warps : callable
        The warps of a program, from its constants.
    registers : callable
        The most a thread may need, from the constants: 64 leaves half of the threads of an SM resident.
    capped : callable
        Whether the compiler gets this limit, from the constants; without, it often takes fewer, but may spill.
    """

    function: Any
    arguments: Mapping[str, Argument]
    variants: tuple[Constants, ...]
    warps: Callable[[Constants], int]
    registers: Callable[[Constants], int]
    capped: Callable[[Constants], bool]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def types(self) -> tuple[Types, ...]:
        """The types that it is compiled for: all combinations of those that its arguments have."""
        declared = {argument.type for argument in self.arguments.values()}
        numbers = ("fp64", "fp32") if "T" in declared else ("fp64",)
        columns = ("i32", "i16") if "I" in declared else ("i32",)
        return tuple(Types(number, column) for number in numbers for column in columns)

    def __call__(self, programs: int, *arguments: Any, **constants: Any) -> None:
        """Run ``programs`` programs on the device of the first tensor, in torch's current stream there."""
        if programs == 0:
            return
        tensor = next(argument for argument in arguments if isinstance(argument, torch.Tensor))
        with torch.cuda.device_of(tensor):
            self.function[(programs,)](*arguments, **constants, **self.options(constants))

    def options(self, constants: Constants) -> dict[str, int]:
        """Options of the compiler."""
        limit = {"maxnreg": self.registers(constants)} if self.capped(constants) else {}
        return {"num_warps": self.warps(constants), **limit}

    def signature(self, types: Types, constants: Constants) -> dict[str, str]:
        """Triton's type of each parameter."""
        signature = {}
        for name, argument in self.arguments.items():
            element = types.name(argument.type)
            signature[name] = element if argument.per == "scalar" else f"*{element}"
        return signature | dict.fromkeys(constants, "constexpr")

    def bytes_per_slot(self, types: Types, columns: int = 1) -> int:
        """Bytes that a launch streams for each slot."""
        return self._bytes(("slot",), types, columns)

    def bytes_per_node(self, types: Types, columns: int = 1) -> int:
        """Bytes that a launch moves for each node, counting every vector once."""
        return self._bytes(("row", "node", "source"), types, columns)

    def bytes_gathered(self, types: Types, columns: int = 1) -> int:
        """Bytes that each slot fetches from node vectors, most of them from a cache."""
        return self._bytes(("source",), types, columns)

    def _bytes(self, per: tuple[str, ...], types: Types, columns: int) -> int:
        return sum(a.bytes_moved(types, columns) for a in self.arguments.values() if a.per in per)


def kernel(
    arguments: Mapping[str, Argument],
    *,
    variants: tuple[Constants, ...],
    warps: Callable[[Constants], int],
    registers: Callable[[Constants], int] = lambda constants: 64,
    capped: Callable[[Constants], bool] = lambda constants: False,
) -> Callable[[Callable[..., None]], Kernel]:
    """Declare a Triton function; see the module.

    Numbers passed by value are not specialised on: they differ from launch to launch.
    """

    def declare(function: Callable[..., None]) -> Kernel:
        code = function.__code__
        taken, declared = list(code.co_varnames[: code.co_argcount]), [*arguments, *variants[0]]
        if taken != declared:
            raise TypeError(f"{function.__name__} takes {taken}, but {declared} are declared")
        scalars = [name for name, argument in arguments.items() if argument.per == "scalar"]
        return Kernel(triton.jit(function, do_not_specialize=scalars), arguments, variants, warps, registers, capped)

    return declare
