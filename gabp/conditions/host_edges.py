"""A model on the host in float64 numpy arrays, the form in which all conditions are evaluated."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from gabp.kernels import dispatch
from gabp.kernels.torch.bounds import ROUNDOFF
from gabp.system import System

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

__all__ = ["ROUNDOFF", "HostEdges", "Index", "Vector", "dot"]


def dot(x: Vector, y: Vector) -> float:
    """``xᵀ y``, bitwise identical for any number of threads, unlike a BLAS dot product."""
    return float(np.einsum("i,i", x, y))


@dataclass(frozen=True, eq=False)
class HostEdges:
    """Diagonal and directed edges of a `System` in float64 on the host (exact for float32).

    Attributes
    ----------
    system : System
    start : array, shape (n + 1,), int64
        The edges into node ``i`` are ``start[i]:start[i + 1]``.
    source : array, shape (m,), int32
    diagonal : array, shape (n,)
    weight : array, shape (m,)
        ``A[destination, source]``.
    unit : array, shape (n,)
        The powers of two ``S`` of the symmetric scaling ``S A S``: a vector ``d`` for the caller's matrix is
        ``d / unit`` here.
    """

    system: System
    start: Index
    source: NDArray[np.int32]
    diagonal: Vector
    weight: Vector
    unit: Vector

    @staticmethod
    def of(system: System) -> "HostEdges":
        """The edges of a system as it is, ``unit = 1``."""
        return HostEdges(
            system,
            start=system.graph.start.cpu().numpy(),
            source=system.graph.source.cpu().numpy(),
            diagonal=system.diagonal.double().cpu().numpy(),
            weight=system.weight.double().cpu().numpy(),
            unit=np.ones(system.n),
        )

    @staticmethod
    def equilibrated(system: System) -> "HostEdges":
        """The edges of ``S A S`` with nearly unit diagonal, for a positive diagonal: conditions are scale-invariant."""
        scaled, unit = system.equilibrated()
        return replace(HostEdges.of(scaled), unit=unit.cpu().numpy())

    @property
    def n(self) -> int:
        """Nodes."""
        return len(self.diagonal)

    @property
    def count(self) -> int:
        """Directed edges, ``m``."""
        return len(self.source)

    @property
    def symmetric(self) -> bool:
        return self.system.symmetric

    @cached_property
    def destination(self) -> Index:
        """The node that each edge enters, shape (m,)."""
        return self.system.graph.destination.cpu().numpy()

    @cached_property
    def reverse(self) -> Index:
        """The index of each edge's reverse, shape (m,)."""
        return self.system.graph.reverse.cpu().numpy()

    @cached_property
    def degree(self) -> Index:
        """Neighbours of each node, shape (n,)."""
        return np.diff(self.start)

    @cached_property
    def magnitude(self) -> Vector:
        """``|A_ik|`` of each edge, shape (m,)."""
        return np.abs(self.weight)

    @cached_property
    def square(self) -> Vector:
        """``A_ik A_ki`` of each edge, on which the precision messages depend, shape (m,)."""
        return self.weight * (self.weight if self.symmetric else self.weight[self.reverse])

    @cached_property
    def coupling(self) -> Vector:
        """``|R_ik| = |A_ik| / sqrt(A_ii A_kk)`` of each edge, for a positive diagonal, shape (m,)."""
        scale = np.sqrt(self.diagonal)
        return self.magnitude / np.repeat(scale, self.degree) / scale[self.source]

    @property
    def labels(self) -> NDArray[np.int32]:
        """The connected component of each node, shape (n,)."""
        return self._components_and_signs[0]

    @cached_property
    def components(self) -> int:
        """Connected components."""
        return int(self.labels.max()) + 1

    @property
    def signature(self) -> Vector | None:
        """Signs ``s`` with ``s_i s_k A_ik <= 0`` on every edge, shape (n,), or None where a cycle is frustrated.

        With such signs ``A`` is similar to its comparison matrix ``D - |O|``: the model is attractive after
        changing the sign of the variables with ``s_i = -1``.
        """
        return self._components_and_signs[1]

    @cached_property
    def _components_and_signs(self) -> tuple[NDArray[np.int32], Vector | None]:
        return self.kernels.components_and_signs(self.start, self.source, self.weight)

    @cached_property
    def ones(self) -> Vector:
        """The caller's vector of ones, scaled by a power of two to a largest entry of 1 in each component."""
        smallest = np.full(self.components, np.inf)
        np.minimum.at(smallest, self.labels, self.unit)
        return smallest[self.labels] / self.unit

    def on_edges(self, values: Vector) -> scipy.sparse.csr_array:
        """The matrix with ``values`` on the edges and a zero diagonal, shape (n, n)."""
        return scipy.sparse.csr_array((values, self.source, self.start), (self.n, self.n))

    def multiply(self, values: Vector, x: Vector) -> Vector:
        """``on_edges(values) @ x``, shape (n,)."""
        return self.kernels.multiply(self.start, self.source, values, x)

    def non_backtracking_product(
        self, ratio: Vector, message: Vector, base: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """``base_{k→i} + ratio_{k→i} · Σ_{l≠i} message_{l→k}``, shape (m,); ``base`` is zero by default."""
        base = np.zeros(self.count) if base is None else base
        out = np.empty(self.count) if out is None else out
        return self.kernels.non_backtracking(self.start, self.source, self.reverse, ratio, message, base, out)

    @property
    def kernels(self) -> Any:
        """The functions of `gabp.kernels.torch.bounds`, or their compiled counterparts."""
        return dispatch.backend("cpu").bounds
