"""The registry of methods: a new one is a class and a row here."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from gabp.solvers.blocks import BlockFlooding, BlockKrylov, BlockSequential, BlockTree
from gabp.solvers.double_loop import DoubleLoop
from gabp.solvers.elimination import Elimination
from gabp.solvers.hierarchy import BlockHierarchy, CompiledHierarchy, block_hierarchy_class, hierarchy_class
from gabp.solvers.nonsymmetric import Krylov
from gabp.solvers.schedules import Flooding, Sequential, Tree
from gabp.system import InvalidSystemError, System
from gabp.system.blocks import BlockSystem


@dataclass(frozen=True)
class Method:
    """The classes of one method, each a `gabp.solvers.protocol.MethodSetup` that declares what it needs.

    Attributes
    ----------
    scalar : type
        A dataclass of ``system`` and the method's options.
    blocks : type, optional
        For vector-valued nodes: a dataclass of ``system``, ``blocks`` and the method's options.
    ignores_blocks : bool
        ``scalar`` serves vector-valued nodes too, as it solves the same system exactly.
    choose, choose_blocks : callable, optional
        From a `System`, or from a `BlockSystem`, to the class that serves it, where that is not always the same.
    """

    scalar: Any
    blocks: Any = None
    ignores_blocks: bool = False
    choose: Callable[[System], Any] | None = None
    choose_blocks: Callable[[BlockSystem], Any] | None = None

    def class_for(self, system: System, blocks: BlockSystem | None = None) -> Any:
        """The class to set up for a system, with blocks where both have them."""
        if blocks is not None and self.blocks is not None:
            return self.blocks if self.choose_blocks is None else self.choose_blocks(blocks)
        return self.scalar if self.choose is None else self.choose(system)

    def applies(self, symmetric: bool, with_blocks: bool) -> bool:
        """Whether it solves such systems."""
        if with_blocks and self.blocks is None and not self.ignores_blocks:
            return False
        return symmetric or not (self.blocks if with_blocks and self.blocks else self.scalar).symmetric_only


METHODS: dict[str, Method] = {
    "tree": Method(Tree, BlockTree),
    "flooding": Method(Flooding, BlockFlooding),
    "sequential": Method(Sequential, BlockSequential),
    "double-loop": Method(DoubleLoop),
    "hierarchy": Method(CompiledHierarchy, BlockHierarchy, choose=hierarchy_class, choose_blocks=block_hierarchy_class),
    "krylov": Method(Krylov, BlockKrylov),
    "elimination": Method(Elimination, ignores_blocks=True),
}


def require_applicable(name: str, symmetric: bool, with_blocks: bool) -> None:
    """Refuse a method that does not exist, or not for such systems.

    Raises
    ------
    InvalidSystemError
        The methods that do apply are named.
    """
    if name not in METHODS:
        raise InvalidSystemError(f"there is no method {name!r}; choose 'auto' or one of {sorted(METHODS)}")
    if METHODS[name].applies(symmetric, with_blocks):
        return
    available = sorted(other for other in METHODS if METHODS[other].applies(symmetric, with_blocks))
    if not METHODS[name].applies(True, with_blocks):
        raise InvalidSystemError(f"blocks go with 'auto' or one of {available}, not with {name!r}")
    raise InvalidSystemError(
        f"method {name!r}{' with blocks' if with_blocks else ''} needs symmetric=True; "
        f"for general systems choose 'auto' or one of {available}"
    )


def require_options(name: str, method: Any, options: dict[str, Any]) -> None:
    """Refuse options that a method's class does not have."""
    known = [field.name for field in fields(method) if field.init and field.name not in ("system", "blocks")]
    for option in options:
        if option not in known:
            raise TypeError(f"method {name!r} has no option {option!r}; it has {', '.join(known) or 'none'}")
