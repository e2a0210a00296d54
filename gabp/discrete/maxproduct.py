"""Belief propagation on discrete pairwise models: maximum a posteriori assignments and marginals."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gabp.discrete.slt import slt_optimal
from gabp.kernels.torch.offsets import offsets, row_offsets
from gabp.system import EdgeGraph, Forest, InvalidSystemError, require_damping, require_nonnegative

Mode = Literal["max", "sum"]
Schedule = Literal["flooding", "sequential"]
_STILL = 8.0  # roundings of the largest log-message within which none has changed
_TIE = 64.0  # roundings of the largest log-belief within which two values of a belief are equal,
_TIE_OF_TOLERANCE = 100.0  # or this many times the tolerance to which the messages have converged


@dataclass(frozen=True, eq=False)
class DiscreteModel:
    """``log p(x) = Σ_i unary[i, x_i] + Σ_edges table[e, x_source, x_destination]`` up to a constant.

    Attributes
    ----------
    graph : EdgeGraph
    unary : Tensor, shape (n, K)
    table : Tensor, shape (m, K, K)
        Log-potential of each directed edge: rows the sender's value, columns the receiver's; each edge has two slots.
    """

    graph: EdgeGraph
    unary: Tensor
    table: Tensor

    def scores(self, assignments: Tensor) -> Tensor:
        """Log-probabilities up to the constant, shape (r,), of ``assignments`` of shape (r, n)."""
        n = self.graph.n
        source, destination = self.graph.source.long(), self.graph.destination
        total = self.unary[torch.arange(n, device=self.unary.device), assignments].sum(1)
        once = torch.nonzero(source < destination)[:, 0]
        pairs = self.table[once, assignments[:, source[once]], assignments[:, destination[once]]]
        return total + pairs.sum(1)


@dataclass(frozen=True, eq=False, repr=False)
class MaxProductResult:
    """The outcome of `maxproduct`.

    Attributes
    ----------
    assignment : array, shape (n,), int64
        Mode "max": the most probable values, exactly so on a forest. Mode "sum": the likeliest value of each node
        by itself.
    beliefs : array, shape (n, K)
        Mode "max": max-marginals, the largest of each node 1. Mode "sum": marginals, each node's sum 1.
    score : float
        Log-probability of the assignment, up to the model's constant.
    converged : bool
    iterations : int
    tied : array, shape (n,), bool
        Where two values of a belief are equally good. A fixed point with ties on a graph with cycles, which
        max-product is often drawn to, is no maximum of any kind; the assignment is then only a guess.
    mode : str
    model : DiscreteModel
    """

    assignment: Any
    beliefs: Any
    score: float
    converged: bool
    iterations: int
    tied: Any
    mode: Mode
    model: DiscreteModel = field(repr=False)

    def slt_optimal(self) -> bool:
        """Whether no change of the assignment within its single-loops-and-trees neighbourhood is more probable.

        The neighbourhood has all changes of nodes whose induced graph is made of disconnected trees and single loops.
        Weiss and Freeman (2001) prove that a max-product fixed point passes if none of its nodes is tied.
        Exhaustive, hence for small models.

        Raises
        ------
        InvalidSystemError
            The model has more than four million assignments.

        References
        ----------
        Y. Weiss and W. T. Freeman, "On the optimality of solutions of the max-product belief propagation algorithm in
        arbitrary graphs", IEEE Transactions on Information Theory 47 (2001).
        """
        device = self.model.unary.device
        return slt_optimal(
            self.model.graph,
            self.model.scores,
            torch.as_tensor(self.assignment, device=device),
            self.model.unary.shape[1],
        )

    def __repr__(self) -> str:
        n, values = self.model.unary.shape
        end = "converged" if self.converged else "not converged"
        return (
            f"MaxProductResult: {n} nodes of {values} values, {self.model.graph.edges // 2} edges, mode {self.mode!r}\n"
            f"  {end} after {self.iterations} iterations\n"
            f"  score  {self.score:.6g}, {int(self.tied.sum())} tied nodes"
        )


def maxproduct(
    unary: Any,
    edges: Any,
    pairwise: Any,
    *,
    mode: Mode = "max",
    schedule: Schedule = "flooding",
    damping: float = 0.0,
    maxiter: int = 1000,
    tol: float = 1e-9,
) -> MaxProductResult:
    """Max-product or sum-product belief propagation on a discrete pairwise model.

    On a forest two passes are exact, whatever the schedule. With cycles, a fixed point of max-product is optimal
    in a large neighbourhood (`MaxProductResult.slt_optimal`), and sum-product gives Bethe marginals.

    Parameters
    ----------
    unary : array or tensor, shape (n, K)
        Log-potentials; ``-inf`` forbids a value. On any device; the result is of the same kind.
    edges : array or tensor of integers, shape (E, 2)
        Pairs of different nodes; the log-potentials of a repeated pair add up.
    pairwise : array or tensor, shape (E, K, K)
        Log-potentials: ``pairwise[e, a, b]`` of ``x_i = a`` and ``x_j = b`` for ``edges[e] = (i, j)``.
    mode : {"max", "sum"}
    schedule : {"flooding", "sequential"}
        All messages at once, or node by node in row order from the newest messages.
    damping : float in [0, 1)
        Share of the old log-message that is kept.
    maxiter : int
    tol : float
        Largest change of a normalised log-message at which the iteration has converged, or a few roundings of the
        largest one where these are more.

    Raises
    ------
    TypeError, InvalidSystemError
        Arguments of the wrong kind, shape or content; the place is named. Forbidden values that leave a node none.

    Examples
    --------
    >>> import numpy as np, gabp
    >>> unary = np.log([[0.9, 0.1], [0.5, 0.5], [0.4, 0.6]])
    >>> agree = np.log([[0.8, 0.2], [0.2, 0.8]])
    >>> result = gabp.maxproduct(unary, np.array([[0, 1], [1, 2]]), np.stack([agree, agree]))
    >>> result.assignment
    array([0, 0, 0])
    """
    if mode not in ("max", "sum"):
        raise InvalidSystemError(f"mode must be 'max' or 'sum', not {mode!r}")
    if schedule not in ("flooding", "sequential"):
        raise InvalidSystemError(f"schedule must be 'flooding' or 'sequential', not {schedule!r}")
    require_damping(damping)
    require_nonnegative(maxiter, "maxiter", integer=True)
    require_nonnegative(tol, "tol")
    model = _read_model(unary, edges, pairwise)
    messages = _Messages(model, mode)
    if model.graph.is_forest:
        converged, iterations = messages.two_passes()
    else:
        converged, iterations = messages.iterate(schedule, damping, maxiter, tol)
    beliefs = messages.beliefs()
    _require_possible(beliefs)
    tied = _tied(beliefs, 0.0 if model.graph.is_forest else _TIE_OF_TOLERANCE * tol)
    assignment = _decode(messages, beliefs, tied) if mode == "max" else beliefs.argmax(1)
    score = float(model.scores(assignment[None])[0])
    normaliser = beliefs.amax(1, keepdim=True) if mode == "max" else beliefs.logsumexp(1, keepdim=True)
    shown = (beliefs - torch.where(torch.isfinite(normaliser), normaliser, 0.0)).exp()

    def restore(tensor: Tensor) -> Any:
        return tensor if isinstance(unary, Tensor) else tensor.cpu().numpy()

    return MaxProductResult(
        assignment=restore(assignment),
        beliefs=restore(shown),
        score=score,
        converged=converged,
        iterations=iterations,
        tied=restore(tied),
        mode=mode,
        model=model,
    )


@dataclass(frozen=True, eq=False)
class _Group:
    """Nodes that send at once, and the slots of what they hear: ``heard[e]`` by ``node[place[e]]``."""

    node: Tensor
    heard: Tensor
    place: Tensor


class _Messages:
    """Normalised log-messages, one of shape (K,) per slot."""

    def __init__(self, model: DiscreteModel, mode: Mode) -> None:
        self.model, self.graph, self.mode = model, model.graph, mode
        self.source, self.destination, self.reverse = (
            model.graph.source.long(),
            model.graph.destination,
            model.graph.reverse,
        )
        self.message = model.unary.new_zeros((model.graph.edges, model.unary.shape[1]))
        device = self.message.device
        every = torch.arange(model.graph.edges, device=device)
        self.everyone = _Group(torch.arange(model.graph.n, device=device), every, self.destination)

    def beliefs(self) -> Tensor:
        """Log-beliefs, shape (n, K)."""
        return self._sum(*self._collect(self.everyone))

    def iterate(self, schedule: Schedule, damping: float, maxiter: int, tol: float) -> tuple[bool, int]:
        groups = [self.everyone] if schedule == "flooding" else self._in_order()
        rounding = _STILL * torch.finfo(self.message.dtype).eps
        for iteration in range(1, maxiter + 1):
            change = max(self._renew(group, damping) for group in groups)
            if change <= max(tol, rounding * float(torch.nan_to_num(self.message, neginf=0.0).abs().max())):
                return True, iteration
        return False, maxiter

    def two_passes(self) -> tuple[bool, int]:
        """Leaves to roots and back, one level of the forest at a time."""
        forest = Forest.of(self.graph)
        parent = forest.parent.long()
        depth = torch.zeros(self.graph.n, dtype=torch.int64)
        for position, above in enumerate(parent.tolist()):
            if above >= 0:
                depth[position] = depth[above] + 1
        linked = torch.nonzero(parent >= 0)[:, 0]
        down = forest.slot[linked]  # what a child hears of its parent
        by_depth = torch.argsort(depth[linked], stable=True)
        sizes = torch.bincount(depth[linked], minlength=1)[1:].tolist()
        levels = down[by_depth].to(self.message.device).split(sizes) if sizes else ()
        finite, blocked = self._collect(self.everyone)
        for level in reversed(levels):
            up = self.reverse[level]
            self._send(up, finite, blocked)
        for level in levels:
            self._send(level, finite, blocked)
        return True, 2

    def cavity(self, slots: Tensor, sender: Tensor, finite: Tensor, blocked: Tensor) -> Tensor:
        """The sender's log-belief without what it heard from the receiver, shape (s, K); its row is ``sender``."""
        heard = self.message[self.reverse[slots]]
        silent = torch.isneginf(heard)
        return self._sum(finite[sender] - torch.where(silent, 0.0, heard), blocked[sender] - silent.to(blocked.dtype))

    def _send(self, slots: Tensor, finite: Tensor, blocked: Tensor) -> None:
        """First messages along ``slots``; the sums of the receivers are kept up to date."""
        new = self._new(self.cavity(slots, self.source[slots], finite, blocked), slots)
        self.message[slots] = new
        silent = torch.isneginf(new)
        finite.index_add_(0, self.destination[slots], torch.where(silent, 0.0, new))
        blocked.index_add_(0, self.destination[slots], silent.to(blocked.dtype))

    def _renew(self, group: "_Group", damping: float) -> float:
        """All nodes of a group send to all their neighbours; the largest change of a message."""
        slots = self.reverse[group.heard]
        old = self.message[slots]
        new = self._new(self.cavity(slots, group.place, *self._collect(group)), slots)
        self.message[slots] = _damped(new, old, damping)
        return _largest_change(new, old)

    def _in_order(self) -> "list[_Group]":
        """Groups that renewed one after another do what the nodes do one by one in row order.

        A node waits for its earlier neighbours only, so that nodes of the same longest way down do not meet.
        """
        start, source = self.graph.start.tolist(), self.graph.source.tolist()
        level = [0] * self.graph.n
        for i in range(self.graph.n):
            level[i] = 1 + max((level[k] for k in source[start[i] : start[i + 1]] if k < i), default=-1)
        of_node = torch.tensor(level, device=self.message.device)
        of_slot = of_node[self.destination]
        node, slot = torch.argsort(of_node, stable=True), torch.argsort(of_slot, stable=True)
        sizes = torch.bincount(of_node)
        place = torch.empty_like(node)
        place[node] = torch.arange(len(node), device=node.device) - offsets(sizes)[of_node[node]]
        nodes = node.split(sizes.tolist())
        heard = slot.split(torch.bincount(of_slot, minlength=len(sizes)).tolist())
        pairs = zip(nodes, heard, strict=True)
        return [_Group(some, slots, place[self.destination[slots]]) for some, slots in pairs if len(slots)]

    def _new(self, cavity: Tensor, slots: Tensor) -> Tensor:
        joint = cavity[:, :, None] + self.model.table[slots]
        message = joint.amax(1) if self.mode == "max" else joint.logsumexp(1)
        normaliser = message.amax(1, keepdim=True) if self.mode == "max" else message.logsumexp(1, keepdim=True)
        return message - torch.where(torch.isfinite(normaliser), normaliser, 0.0)

    def _collect(self, group: "_Group") -> tuple[Tensor, Tensor]:
        """For each node of a group and value, the sum of what is finite in its log-belief, and how much is -inf."""
        # apart, because -inf - (-inf), which a cavity would need, is not a number
        unary, heard = self.model.unary[group.node], self.message[group.heard]
        own, silent = torch.isneginf(unary), torch.isneginf(heard)
        finite = torch.where(own, 0.0, unary).index_add(0, group.place, torch.where(silent, 0.0, heard))
        return finite, own.int().index_add(0, group.place, silent.int())

    @staticmethod
    def _sum(finite: Tensor, blocked: Tensor) -> Tensor:
        return torch.where(blocked > 0, -torch.inf, finite)


def _require_possible(beliefs: Tensor) -> None:
    impossible = torch.isneginf(beliefs).all(1)
    if bool(impossible.any()):
        i = int(impossible.nonzero()[0])
        raise InvalidSystemError(f"the model allows no assignment: its -inf leave node {i} without any value")


def _tied(beliefs: Tensor, tolerance: float) -> Tensor:
    best = beliefs.amax(1, keepdim=True)
    size = torch.nan_to_num(beliefs, neginf=0.0).abs().max().clamp_min(1.0)
    rounding = _TIE * torch.finfo(beliefs.dtype).eps * size
    return (beliefs >= best - rounding.clamp_min(tolerance)).sum(1) > 1


def _decode(messages: _Messages, beliefs: Tensor, tied: Tensor) -> Tensor:
    """The maximising values; where a belief ties, those that fit the neighbours decided before.

    A node without a tie takes its best value. Tied nodes follow one another through the graph: each maximises what
    it hears, with the message of a neighbour that is decided replaced by the potential of that neighbour's value.
    """
    model, graph = messages.model, messages.graph
    assignment = beliefs.argmax(1)
    waiting = set(torch.nonzero(tied)[:, 0].tolist())
    start, source = graph.start.tolist(), graph.source.tolist()

    def decide(i: int) -> None:
        total = model.unary[i].clone()
        for e in range(start[i], start[i + 1]):
            k = source[e]
            total = total + (messages.message[e] if k in waiting else model.table[e, assignment[k]])
        assignment[i] = total.argmax()
        waiting.remove(i)

    for first in sorted(waiting):
        queue = [first] if first in waiting else []
        while queue:
            i = queue.pop(0)
            if i in waiting:
                decide(i)
                queue += [k for k in source[start[i] : start[i + 1]] if k in waiting]
    return assignment


def _damped(new: Tensor, old: Tensor, damping: float) -> Tensor:
    if not damping:
        return new
    return torch.where(torch.isneginf(new) | torch.isneginf(old), new, torch.lerp(new, old, damping))


def _largest_change(new: Tensor, old: Tensor) -> float:
    change = torch.where(new == old, 0.0, (new - old).abs())
    return float(change.max()) if change.numel() else 0.0


def _read_model(unary: Any, edges: Any, pairwise: Any) -> DiscreteModel:
    potentials = _as_tensor(unary, "unary")
    if potentials.ndim != 2 or 0 in potentials.shape:
        raise InvalidSystemError(f"unary has shape {tuple(potentials.shape)}; expected (n, K)")
    n, values = potentials.shape
    try:
        pairs = torch.as_tensor(edges, device=potentials.device)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError("edges must be an array of pairs of integers, shape (E, 2)") from None
    if pairs.numel() == 0:
        pairs = pairs.reshape(0, 2).long()
    if pairs.is_floating_point() or pairs.is_complex() or pairs.dtype == torch.bool:
        raise TypeError(f"edges must be integers, not {pairs.dtype}")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InvalidSystemError(f"edges has shape {tuple(pairs.shape)}; expected (E, 2)")
    tables = _as_tensor(pairwise, "pairwise").to(potentials)
    if tables.numel() == 0:
        tables = tables.reshape(0, values, values)
    if tuple(tables.shape) != (len(pairs), values, values):
        raise InvalidSystemError(
            f"pairwise has shape {tuple(tables.shape)}; expected ({len(pairs)}, {values}, {values})"
        )
    pairs = pairs.long()
    for wrong, what in (
        (((pairs < 0) | (pairs >= n)).any(1), f"a node outside 0..{n - 1}"),
        (pairs[:, 0] == pairs[:, 1], "the same node twice"),
    ):
        if bool(wrong.any()):
            e = int(wrong.nonzero()[0])
            raise InvalidSystemError(f"edges[{e}] is {pairs[e].tolist()}: {what}")
    return _directed(n, potentials, pairs, tables)


def _directed(n: int, unary: Tensor, pairs: Tensor, tables: Tensor) -> DiscreteModel:
    """Both directions of every edge, repeated pairs summed, in the order of the edge graph's slots."""
    source, destination = torch.cat([pairs[:, 0], pairs[:, 1]]), torch.cat([pairs[:, 1], pairs[:, 0]])
    both = torch.cat([tables, tables.mT])
    place, slot = torch.unique(destination * n + source, return_inverse=True)
    table = both.new_zeros((len(place), *both.shape[1:])).index_add_(0, slot, both)
    return DiscreteModel(EdgeGraph(n, row_offsets(place // n, n), (place % n).int()), unary, table)


def _as_tensor(values: Any, name: str) -> Tensor:
    if not isinstance(values, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, not {type(values).__name__}")
    tensor = torch.as_tensor(values)
    if tensor.is_complex():
        raise InvalidSystemError(f"{name} is complex")
    tensor = tensor.detach() if tensor.dtype in (torch.float32, torch.float64) else tensor.detach().double()
    wrong = torch.isnan(tensor) | torch.isposinf(tensor)
    if bool(wrong.any()):
        place = wrong.nonzero()[0].tolist()
        raise InvalidSystemError(f"{name}{place} is {float(tensor[tuple(place)])}; log-potentials are finite or -inf")
    return tensor
