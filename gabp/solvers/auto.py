"""Which method for which system, and which to try after it."""

from dataclasses import dataclass, replace

import torch

from gabp.conditions import Verdict
from gabp.kernels import dispatch
from gabp.messages import factor_cost
from gabp.solvers.methods import METHODS, require_applicable
from gabp.system import WEAK_DOMINANCE, System
from gabp.system.blocks import MOST_BLOCKS, BlockPartition, BlockSystem, find_blocks

# What decides between a factor and an iteration, measured on two cores of an x86-64 server. Only the order of magnitude
# matters.
_SECONDS_PER_NONZERO = 1.5e-7  # of A: set-up of the hierarchy and some 13 iterations
_SECONDS_PER_NONZERO_AND_ITERATION = 8e-9  # of A: each further iteration
_SECONDS_PER_BLOCK_NONZERO = 8e-8  # set-up of the block hierarchy and some 30 iterations
_SECONDS_PER_BLOCK_NONZERO_AND_ITERATION = 2e-9  # each further iteration of it
_SECONDS_TO_ORDER = 1.2e-7  # per node and directed edge
_HARD_TO_ITERATE = 7  # how many times longer iterations take where A is sparse as a chain or not diagonally dominant
_SMALL = 20_000  # nodes up to which elimination with pivoting takes a fraction of a second
_GENERAL_FACTOR_SECONDS = 5.0  # worth spending, ten times as many with pivoting, where Krylov methods may fail
_INSTANT = 0.005  # seconds below which a factor is always taken
_CHAIN_LIKE = 3.3  # neighbours of a node, on average: hard to aggregate, quick to eliminate
_CHAIN_LIKE_NODES = 5  # the same of vector-valued nodes: meshes have 6 to 26, pose graphs 2 to 4
_LARGE_MESH = 300_000  # nonzeros
_EVEN = 4  # times the mean of directed edges per unknown that a mesh has at most
_VECTOR_VALUED = 10  # directed edges per unknown from which its nodes are looked for ...
_FEW = 3_000  # ... where there are more unknowns than these, which a factor takes milliseconds for
# nodes and directed edges up to which even an unused symbolic analysis is a small share of the solve
_WORTH_ANALYSING_DOMINANT = 200_000
_WORTH_ANALYSING_HARD = 5_000_000  # not diagonally dominant
_WORTH_ANALYSING_CHAIN_LIKE = 20_000_000
_WORTH_ANALYSING_FROM_DEVICE = 20_000  # for a system on a GPU
_REVIEW_AFTER = 20  # iterations of conjugate gradients; a hierarchy takes 10 to 30 where it does well
_WORTH_ROUNDING = 1_000_000  # directed edges from which float64 messages no longer fit into a cache
_ROUNDABLE = 2.0**40  # largest entry, and inverse of the smallest on the diagonal, for messages well inside float32

_SINGULAR_FACTOR = "A is singular; a consistent b may still be solved"
_FACTOR = "a sparse factor, which needs no convergence"


@dataclass(frozen=True)
class Choice:
    """A method, and why and how it is used.

    Attributes
    ----------
    method, reason : str
    review_after : int
        Iterations after which `elimination_is_faster` is evaluated for the first time; 0 for never.
    dtype : torch.dtype, optional
        Of the messages, where it is not their default.
    blocks : BlockSystem, optional
        The vector-valued nodes that it iterates on, where "auto" chose so: given by the caller or found in A.
    """

    method: str
    reason: str
    review_after: int = 0
    dtype: torch.dtype | None = None
    blocks: BlockSystem | None = None


def choose(system: System, method: str, blocks: BlockSystem | None = None, may_round: bool = False) -> list[Choice]:
    """The methods to try, best first; only the one named, unless that is "auto".

    Parameters
    ----------
    system : System
    method : str
    blocks : BlockSystem, optional
        The same system with vector-valued nodes.
    may_round : bool
        Whether float32 messages may be refined in float64 where that is faster.

    Raises
    ------
    InvalidSystemError
        There is no such method, or it does not apply to such a system.
    """
    if method == "auto":
        return _choices(system) if blocks is None else _block_choices(system, blocks)
    require_applicable(method, system.symmetric, blocks is not None)
    if blocks is not None:
        nodes = "; blocks make no difference to it" if METHODS[method].ignores_blocks else f", with {_nodes(blocks)}"
        return [Choice(method, f"chosen by the caller{nodes}")]
    exact = Choice(method, "chosen by the caller")
    if may_round and method == "flooding" and _rounding_pays(system):
        rounded = replace(
            exact, reason="chosen by the caller; float32 messages, refined in float64", dtype=torch.float32
        )
        return [rounded, replace(exact, reason="float64 messages")]
    return [exact]


def recommended_method(system: System, positive_definite: Verdict) -> str:
    """The method that "auto" tries first, or the first that may succeed where A is known to be indefinite."""
    names = [choice.method for choice in _choices(system)]
    if positive_definite is Verdict.NO:  # methods for symmetric systems only need a positive definite one
        names = [name for name in names if not METHODS[name].scalar.symmetric_only]
    return names[0]


def elimination_is_faster(system: System, on_nodes: bool, iterations: float) -> bool:
    """Whether a factor is predicted to take less time than so many further ``iterations`` of conjugate gradients.

    ``on_nodes`` is for iterations on vector-valued nodes.
    """
    size = system.n + system.graph.edges
    each = _SECONDS_PER_BLOCK_NONZERO_AND_ITERATION if on_nodes else _SECONDS_PER_NONZERO_AND_ITERATION
    seconds = size * (iterations * each - _SECONDS_TO_ORDER)
    # the analysis then takes less time than the iterations would, should it predict too much fill
    return seconds > size * _SECONDS_TO_ORDER and _factor_is_faster(system, seconds)


def can_eliminate(system: System) -> bool:
    """Whether a factor fits in memory and takes minutes at most; not predicted for general systems."""
    return not system.symmetric or factor_cost.is_affordable(system.graph, factor_cost.MOST_FLOPS)


def _rounding_pays(system: System) -> bool:
    """Whether float32 messages reach the same residual in less time: measured in bench/README.md."""
    if not (system.symmetric and system.dtype == torch.float64 and system.graph.edges >= _WORTH_ROUNDING):
        return False
    return system.smallest_diagonal >= 1 / _ROUNDABLE and system.norm <= _ROUNDABLE


def _choices(system: System) -> list[Choice]:
    if system.graph.is_forest:
        return [
            Choice("tree", "the graph is a forest, where two passes are exact"),
            Choice("elimination", "with pivoting"),
        ]
    if not system.symmetric:
        return _general_choices(system)
    if not system.smallest_diagonal > 0:
        return [Choice("elimination", "A has a nonpositive diagonal, so it is no precision matrix")]
    return _positive_diagonal_choices(system)


def _positive_diagonal_choices(system: System) -> list[Choice]:
    """Elimination where it is predicted to be faster than conjugate gradients, which come next; or the reverse."""
    dominant = system.is_dominant(WEAK_DOMINANCE)
    size = system.n + system.graph.edges
    chain_like = system.graph.edges <= _CHAIN_LIKE * system.n
    worth = _WORTH_ANALYSING_DOMINANT if dominant else _WORTH_ANALYSING_HARD
    if chain_like:
        worth = _WORTH_ANALYSING_CHAIN_LIKE
    if system.device.type != "cpu":  # where most factors are not
        worth = min(worth, _WORTH_ANALYSING_FROM_DEVICE)
    blocks = None if dominant or chain_like else _vector_valued_nodes(system)
    if size > worth or (blocks is not None and _is_even_mesh(system, blocks)):
        why = "A is too large to predict the fill of a factor"
    else:
        if _factor_is_faster(system, size * _seconds_to_iterate(system, blocks, dominant and not chain_like)):
            return _eliminate(system)
        why = "much fill in a factor"
    if blocks is not None:
        return _iterate_on_blocks(blocks, " found")
    iterate = Choice("hierarchy", f"{why}: preconditioned conjugate gradients", review_after=_REVIEW_AFTER)
    return [iterate, Choice("elimination", _FACTOR)]


def _general_choices(system: System) -> list[Choice]:
    """Elimination where it is fast, else the Krylov method; each with the other to come after it."""
    if bool((system.diagonal == 0).any()):
        return [Choice("elimination", "A is nonsymmetric, with zeros on its diagonal")]
    if system.n <= _SMALL:
        why = f"{system.n} nodes are few enough for elimination"
    elif not _is_dominant_either_way(system) and _factor_is_faster(system, _GENERAL_FACTOR_SECONDS):
        why = f"not diagonally dominant; {_little_fill(system)}"
    else:
        return [
            Choice("krylov", "A is large and nonsymmetric: elimination sweeps inside a Krylov method"),
            Choice("elimination", _FACTOR),
        ]
    return [Choice("elimination", f"A is nonsymmetric; {why}"), Choice("krylov", _SINGULAR_FACTOR)]


def _block_choices(system: System, blocks: BlockSystem) -> list[Choice]:
    if not blocks.symmetric:
        return _general_choices(system)
    if _is_forest(system, blocks):
        why = f"{_nodes(blocks)} on a forest, where two passes are exact"
        return [Choice("tree", why), Choice("elimination", _FACTOR)]
    if _factor_is_faster(system, (system.n + system.graph.edges) * _seconds_to_iterate(system, blocks, False)):
        return _eliminate(system)
    return _iterate_on_blocks(blocks)


def _is_even_mesh(system: System, blocks: BlockSystem) -> bool:
    """Whether the nodes are those of a large mesh, on which predicting a factor takes as long as iterations do."""
    graph, nodes = system.graph, blocks.partition
    if system.n + graph.edges <= _LARGE_MESH or nodes.count * nodes.size != system.n:
        return False
    return _is_mesh(system, blocks) and int(graph.start.diff().max()) <= _EVEN * graph.edges / system.n


def _is_mesh(system: System, blocks: BlockSystem) -> bool:
    """Whether the nodes have as many neighbours as those of a mesh."""
    return system.graph.edges > _CHAIN_LIKE_NODES * system.n * blocks.partition.size


def _seconds_to_iterate(system: System, blocks: BlockSystem | None, easy: bool) -> float:
    """Predicted time of iterations, per nonzero of A."""
    if blocks is not None and _is_mesh(system, blocks):
        return _SECONDS_PER_BLOCK_NONZERO
    return _SECONDS_PER_NONZERO * (1 if easy else _HARD_TO_ITERATE)


def _vector_valued_nodes(system: System) -> BlockSystem | None:
    """Nodes of several unknowns each, where A has them and their hierarchy is compiled."""
    if system.device.type != "cpu" or dispatch.backend("cpu").hierarchy is None:
        return None
    if system.n <= _FEW or system.graph.edges < _VECTOR_VALUED * system.n:
        return None
    labels = find_blocks(system.graph)
    if labels.max() + 1 > MOST_BLOCKS * system.n:
        return None
    return BlockSystem.of(system, BlockPartition.of(labels))


def _eliminate(system: System) -> list[Choice]:
    return [Choice("elimination", _little_fill(system)), Choice("hierarchy", _SINGULAR_FACTOR)]


def _iterate_on_blocks(blocks: BlockSystem, origin: str = "") -> list[Choice]:
    why = f"{_nodes(blocks)}{origin}: conjugate gradients on a hierarchy of block models"
    return [Choice("hierarchy", why, review_after=_REVIEW_AFTER, blocks=blocks), Choice("elimination", _FACTOR)]


def _is_forest(system: System, blocks: BlockSystem) -> bool:
    """Whether the nodes form a forest; most that do not have too many edges, which is seen without their graph."""
    nodes, size = blocks.partition.count, blocks.partition.size
    most = nodes * size * (size - 1) + 2 * (nodes - 1) * size**2
    return system.graph.edges <= most and blocks.graph.is_forest


def _factor_is_faster(system: System, than: float) -> bool:
    return factor_cost.is_faster(system.graph, max(than, _INSTANT))


def _little_fill(system: System) -> str:
    return f"little fill: {system.graph.symbolic.entries:.3g} nonzeros in the factor"


def _nodes(blocks: BlockSystem) -> str:
    return f"{blocks.partition.count} nodes of up to {blocks.partition.size} unknowns"


def _is_dominant_either_way(system: System) -> bool:
    """Whether A or its transpose is diagonally dominant."""
    transposed = replace(system, weight=system.weight[system.graph.reverse])
    return system.is_dominant(WEAK_DOMINANCE) or transposed.is_dominant(WEAK_DOMINANCE)
