"""The double loop: belief propagation on a loaded model inside conjugate gradients. Any positive definite A."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gabp.messages import FloodingSweeps, Precisions, solve_precision_fixed_point
from gabp.solvers.conjugate_gradients import PreconditionedSolve
from gabp.solvers.protocol import InnerSolve, MethodSetup
from gabp.solvers.solution import Status
from gabp.system import System, require_positive_diagonal

_MARGIN = 0.05  # of the diagonal, by which the loaded model is dominant: inner sweeps against outer iterations
_INNER_REDUCTION = 0.05  # of the residual by the inner sweeps: enough for flexible conjugate gradients
_INNER_CHECK = 8  # sweeps between residual checks
_INNER_MAXITER = 400  # sweeps


@dataclass(frozen=True, eq=False)
class DoubleLoop(MethodSetup):
    """Outer conjugate gradients, inner flooding on ``A + Γ``.

    ``Γ`` is the diagonal loading that makes ``A + Γ`` generalised diagonally dominant, hence walk-summable, so
    the inner messages converge whatever the signs and the size of A's couplings (Johnson, Bickson and Dolev
    2009, arXiv:0901.4192, with row-wise loading and the outer loop accelerated).
    """

    system: System
    loaded: System = field(init=False)
    precisions: Precisions = field(init=False)
    symmetric_only = True
    needs_positive_diagonal = True

    def __post_init__(self) -> None:
        require_positive_diagonal(self.system, "double-loop")
        loaded = self.system.loaded(walk_summable_loading(self.system))
        object.__setattr__(self, "loaded", loaded)
        object.__setattr__(self, "precisions", solve_precision_fixed_point(loaded))

    @property
    def failure(self) -> Status | None:
        return None if self.precisions.invalid_node is None else Status.INVALID_PRECISION

    def correct(self, r: Tensor, target: Tensor) -> InnerSolve:
        return PreconditionedSolve(self.system, self._flooded, r, target)

    def _flooded(self, r: Tensor) -> Tensor:
        """An approximation of ``(A + Γ)⁻¹ r`` by flooding, shape (n, k)."""
        size = r.norm(dim=0)
        scale = torch.where(size > 0, size, 1.0)
        unit = r / scale  # float32 messages must not underflow late in the outer loop
        sweeps = FloodingSweeps(self.precisions, unit.to(self.loaded.dtype))
        for _ in range(_INNER_MAXITER // _INNER_CHECK):
            sweeps.sweep(_INNER_CHECK)
            y = sweeps.mean().double()
            if bool((self.loaded.residual(y, unit).norm(dim=0) <= _INNER_REDUCTION).all()):
                break
        return y * scale


def walk_summable_loading(system: System, sweeps: int = 20) -> Tensor:
    """A diagonal ``Γ ⪰ 0``, shape (n,), with ``A + Γ`` generalised diagonally dominant by a margin.

    Row ``i`` gets ``max(0, Σ_j |A_ij| d_j / d_i - (1 - margin) A_ii)``. The scaling ``d`` comes from a few
    products with ``I + |R|``: the closer to its Perron vector, the smaller the largest loading.
    """
    root = system.diagonal.double().sqrt()
    size = system.weight.double().abs()
    source, destination = system.graph.source.long(), system.graph.destination
    absolute = System(system.graph, torch.zeros_like(root), size, True)
    x = torch.ones_like(root)
    for _ in range(sweeps):
        x = x + absolute.multiply((x / root)[:, None])[:, 0] / root
        x = x / x.max() + torch.finfo(torch.float64).tiny
    d = x / root
    row_sum = torch.zeros_like(root).index_add_(0, destination, size * (d[source] / d[destination]))
    return (row_sum - (1 - _MARGIN) * system.diagonal).clamp_min(0.0).to(system.dtype)
