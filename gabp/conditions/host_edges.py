"""A model as plain float64 numpy arrays, the form in which all conditions compute."""

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

__all__ = ["ROUNDOFF", "Index", "Slots", "Vector", "dot"]


def dot(x: Vector, y: Vector) -> float:
    """``xᵀ y``, the same bits for any number of threads (a BLAS dot product is not, and waits for them)."""
    return float(np.einsum("i,i", x, y))


@dataclass(frozen=True, eq=False)
class Slots:
    """The arrays of a `System` in float64 (exact: float32 numbers are float64 numbers), on the host.

    Attributes
    ----------
    system : System
    start : array, shape (n + 1,), int64
    source : array, shape (m,), int32
    diagonal : array, shape (n,)
    weight : array, shape (m,)
        ``A[destination, source]``.
    unit : array, shape (n,)
        The powers of two ``S`` by which the rows and columns of the caller's matrix were scaled to ``S A S``:
        a vector ``d`` for the caller's matrix is ``d / unit`` here.
    """

    system: System
    start: Index
    source: NDArray[np.int32]
    diagonal: Vector
    weight: Vector
    unit: Vector

    @staticmethod
    def of(system: System) -> "Slots":
        graph = system.graph
        return Slots(
            system,
            graph.start.cpu().numpy(),
            graph.source.cpu().numpy(),
            system.diagonal.double().cpu().numpy(),
            system.weight.double().cpu().numpy(),
            np.ones(system.n),
        )

    @staticmethod
    def equilibrated(system: System) -> "Slots":
        """Of a system with a positive diagonal, scaled to nearly unit diagonal: no condition depends on units."""
        scaled, unit = system.equilibrated()
        return replace(Slots.of(scaled), unit=unit.cpu().numpy())

    @cached_property
    def ones(self) -> Vector:
        """The caller's vector of ones, as powers of two of which each component's largest is 1."""
        smallest = np.full(self.components, np.inf)
        np.minimum.at(smallest, self.labels, self.unit)
        return smallest[self.labels] / self.unit

    @property
    def n(self) -> int:
        return len(self.diagonal)

    @property
    def edges(self) -> int:
        """Directed edges, ``m``."""
        return len(self.source)

    @property
    def symmetric(self) -> bool:
        return self.system.symmetric

    @cached_property
    def _balance(self) -> tuple[NDArray[np.int32], Vector | None]:
        return self.kernels.components_and_signs(self.start, self.source, self.weight)

    @property
    def labels(self) -> NDArray[np.int32]:
        """The connected component of each node, shape (n,)."""
        return self._balance[0]

    @cached_property
    def components(self) -> int:
        return int(self.labels.max()) + 1

    @cached_property
    def destination(self) -> Index:
        """Who hears the message of each slot, shape (m,)."""
        return self.system.graph.destination.cpu().numpy()

    @cached_property
    def reverse(self) -> Index:
        return self.system.graph.reverse.cpu().numpy()

    @cached_property
    def degree(self) -> Index:
        """Neighbours of each node, shape (n,)."""
        return np.diff(self.start)

    @cached_property
    def coupling(self) -> Vector:
        """``|R_ij| = |A_ij| / sqrt(A_ii A_jj)`` in each slot, for a positive diagonal."""
        scale = np.sqrt(self.diagonal)
        return self.magnitude / np.repeat(scale, self.degree) / scale[self.source]

    def on_edges(self, values: Vector) -> scipy.sparse.csr_array:
        """The matrix with ``values`` in the slots and a zero diagonal."""
        return scipy.sparse.csr_array((values, self.source, self.start), (self.n, self.n))

    def multiply(self, values: Vector, x: Vector) -> Vector:
        """The product with the matrix that has ``values`` in the slots and a zero diagonal, shape (n,)."""
        return self.kernels.multiply(self.start, self.source, values, x)

    def heard_from_others(
        self, ratio: Vector, message: Vector, base: Vector | None = None, out: Vector | None = None
    ) -> Vector:
        """``base_{k→i} + ratio_{k→i} · Σ_{l≠i} message_{l→k}``, shape (m,); without ``base`` that is zero."""
        base = np.zeros(self.edges) if base is None else base
        out = np.empty(self.edges) if out is None else out
        return self.kernels.non_backtracking(self.start, self.source, self.reverse, ratio, message, base, out)

    @property
    def kernels(self) -> Any:
        """The functions of `gabp.kernels.torch.bounds`."""
        return dispatch.backend("cpu").bounds

    @cached_property
    def magnitude(self) -> Vector:
        """``|A_ik|`` in each slot."""
        return np.abs(self.weight)

    @cached_property
    def square(self) -> Vector:
        """``A_ik A_ki`` in each slot: what precision messages depend on."""
        return self.weight * (self.weight if self.symmetric else self.weight[self.reverse])

    @cached_property
    def off_diagonal(self) -> scipy.sparse.csr_array:
        """``O = A - D``."""
        return self.on_edges(self.weight)

    @property
    def signature(self) -> Vector | None:
        """Signs ``s`` with ``s_i s_j A_ij <= 0`` on every edge, or None where a cycle is frustrated.

        With such signs ``A`` is similar to its comparison matrix ``D - |O|``: the model is attractive after
        flipping the variables with ``s_i = -1``.
        """
        return self._balance[1]
