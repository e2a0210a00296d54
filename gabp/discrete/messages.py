"""Log-messages of max-product and sum-product, and their schedules."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gabp.discrete.model import DiscreteModel
from gabp.system import Forest

Mode = Literal["max", "sum"]
Schedule = Literal["flooding", "sequential"]
_ROUNDINGS = 8.0  # of the largest log-message, below which a change does not count


@dataclass(frozen=True, eq=False)
class NodeGroup:
    """Nodes that send at once.

    Attributes
    ----------
    node : Tensor, shape (g,), int64
    incoming : Tensor, shape (e,), int64
        The directed edges to these nodes.
    member : Tensor, shape (e,), int64
        For each such edge, the position of its destination in ``node``.
    """

    node: Tensor
    incoming: Tensor
    member: Tensor


class LogMessages:
    """Normalised log-messages of a model.

    Sums of -inf and finite numbers are kept apart, as the number of -inf and the sum of the rest: a cavity would need
    -inf - (-inf), which is not a number.

    Parameters
    ----------
    model : DiscreteModel
    mode : {"max", "sum"}

    Attributes
    ----------
    message : Tensor, shape (m, K)
        Log-message of each directed edge about the values of its destination; initially 0.
    """

    def __init__(self, model: DiscreteModel, mode: Mode) -> None:
        self.model, self.graph, self.mode = model, model.graph, mode
        self.source, self.destination, self.reverse = (
            model.graph.source.long(),
            model.graph.destination,
            model.graph.reverse,
        )
        self.message = model.unary.new_zeros((model.graph.edges, model.unary.shape[1]))
        device = self.message.device
        edges, nodes = torch.arange(model.graph.edges, device=device), torch.arange(model.graph.n, device=device)
        self.all_nodes = NodeGroup(nodes, edges, self.destination)

    def beliefs(self) -> Tensor:
        """Log-beliefs up to a constant for each node, shape (n, K)."""
        return self._total(*self._sums(self.all_nodes))

    def iterate(self, schedule: Schedule, damping: float, maxiter: int, tol: float) -> tuple[bool, int]:
        """Sweep until no message changes by more than ``tol``; returns whether it converged, and the sweeps."""
        groups = [self.all_nodes] if schedule == "flooding" else self._sequential_groups()
        rounding = _ROUNDINGS * torch.finfo(self.message.dtype).eps
        for iteration in range(1, maxiter + 1):
            change = max(self._update(group, damping) for group in groups)
            if change <= max(tol, rounding * float(torch.nan_to_num(self.message, neginf=0.0).abs().max())):
                return True, iteration
        return False, maxiter

    def two_passes(self) -> tuple[bool, int]:
        """Exact messages of a forest, from leaves to roots and back, one level at a time; returns (True, 2)."""
        forest = Forest.of(self.graph)
        parent = forest.parent.long()
        depth = torch.zeros(self.graph.n, dtype=torch.int64)
        for position, above in enumerate(parent.tolist()):
            if above >= 0:
                depth[position] = depth[above] + 1
        child = torch.nonzero(parent >= 0)[:, 0]
        downward = forest.slot[child]
        by_depth = torch.argsort(depth[child], stable=True)
        sizes = torch.bincount(depth[child], minlength=1)[1:].tolist()
        levels = downward[by_depth].to(self.message.device).split(sizes) if sizes else ()
        finite, forbidden = self._sums(self.all_nodes)
        for level in reversed(levels):
            self._send(self.reverse[level], finite, forbidden)
        for level in levels:
            self._send(level, finite, forbidden)
        return True, 2

    def _cavity(self, edges: Tensor, row: Tensor, finite: Tensor, forbidden: Tensor) -> Tensor:
        """Log-beliefs of the edges' sources without the messages from their destinations, shape (e, K).

        ``row`` is the position of each source in ``finite`` and ``forbidden``.
        """
        back = self.message[self.reverse[edges]]
        impossible = torch.isneginf(back)
        return self._total(
            finite[row] - torch.where(impossible, 0.0, back), forbidden[row] - impossible.to(forbidden.dtype)
        )

    def _send(self, edges: Tensor, finite: Tensor, forbidden: Tensor) -> None:
        """Send first messages along ``edges``, and add them to the sums of their destinations."""
        new = self._outgoing(self._cavity(edges, self.source[edges], finite, forbidden), edges)
        self.message[edges] = new
        impossible = torch.isneginf(new)
        finite.index_add_(0, self.destination[edges], torch.where(impossible, 0.0, new))
        forbidden.index_add_(0, self.destination[edges], impossible.to(forbidden.dtype))

    def _update(self, group: NodeGroup, damping: float) -> float:
        """Renew the messages of a group's nodes to all their neighbours; returns the largest change."""
        edges = self.reverse[group.incoming]
        old = self.message[edges]
        new = self._outgoing(self._cavity(edges, group.member, *self._sums(group)), edges)
        self.message[edges] = _damped(new, old, damping)
        return _largest_change(new, old)

    def _sequential_groups(self) -> list[NodeGroup]:
        """Groups whose updates in turn are equal to those of the nodes one by one in row order.

        A node depends on its earlier neighbours only, so that nodes of equal level (the longest path through earlier
        neighbours) are independent.
        """
        start, source = self.graph.start.tolist(), self.graph.source.tolist()
        level = [0] * self.graph.n
        for i in range(self.graph.n):
            level[i] = 1 + max((level[k] for k in source[start[i] : start[i + 1]] if k < i), default=-1)
        node_level = torch.tensor(level, device=self.message.device)
        edge_level = node_level[self.destination]
        node, edge = torch.argsort(node_level, stable=True), torch.argsort(edge_level, stable=True)
        sizes = torch.bincount(node_level)
        member = torch.empty_like(node)
        member[node] = torch.arange(len(node), device=node.device) - (sizes.cumsum(0) - sizes)[node_level[node]]
        nodes = node.split(sizes.tolist())
        incoming = edge.split(torch.bincount(edge_level, minlength=len(sizes)).tolist())
        return [
            NodeGroup(group, edges, member[self.destination[edges]])
            for group, edges in zip(nodes, incoming, strict=True)
            if len(edges)
        ]

    def _outgoing(self, cavity: Tensor, edges: Tensor) -> Tensor:
        """Normalised messages along ``edges`` from the cavities of their sources."""
        joint = cavity[:, :, None] + self.model.table[edges]
        message = joint.amax(1) if self.mode == "max" else joint.logsumexp(1)
        return normalised(message, self.mode)

    def _sums(self, group: NodeGroup) -> tuple[Tensor, Tensor]:
        """Terms of the group's log-beliefs: the sum of the finite ones and the number of -inf, shape (g, K) each."""
        unary, incoming = self.model.unary[group.node], self.message[group.incoming]
        own, impossible = torch.isneginf(unary), torch.isneginf(incoming)
        finite = torch.where(own, 0.0, unary).index_add(0, group.member, torch.where(impossible, 0.0, incoming))
        return finite, own.int().index_add(0, group.member, impossible.int())

    @staticmethod
    def _total(finite: Tensor, forbidden: Tensor) -> Tensor:
        return torch.where(forbidden > 0, -torch.inf, finite)


def normalised(logarithms: Tensor, mode: Mode) -> Tensor:
    """Rows shifted to a largest entry of 0 (mode "max") or to a sum of exponentials of 1 ("sum"), where finite."""
    constant = logarithms.amax(1, keepdim=True) if mode == "max" else logarithms.logsumexp(1, keepdim=True)
    return logarithms - torch.where(torch.isfinite(constant), constant, 0.0)


def _damped(new: Tensor, old: Tensor, damping: float) -> Tensor:
    if not damping:
        return new
    return torch.where(torch.isneginf(new) | torch.isneginf(old), new, torch.lerp(new, old, damping))


def _largest_change(new: Tensor, old: Tensor) -> float:
    change = torch.where(new == old, 0.0, (new - old).abs())
    return float(change.max()) if change.numel() else 0.0
