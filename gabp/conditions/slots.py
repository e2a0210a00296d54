"""A model as plain float64 numpy arrays, the form in which all conditions compute."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
from numpy.typing import NDArray

from gabp.system import System

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

ROUNDOFF = 2.0**-53  # u, the relative error of one float64 operation


def dot(x: Vector, y: Vector) -> float:
    """``xᵀ y``, the same bits for any number of threads (a BLAS dot product is not, and waits for them)."""
    return float(np.einsum("i,i", x, y))


@dataclass(frozen=True, eq=False)
class Slots:
    """The arrays of a `System` in float64 (exact: float32 numbers are float64 numbers), on the host.

    Attributes
    ----------
    n : int
    start : array, shape (n + 1,), int64
    source, destination, reverse : array, shape (m,)
    diagonal : array, shape (n,)
    weight : array, shape (m,)
        ``A[destination, source]``.
    labels : array, shape (n,)
        The connected component of each node.
    components : int
    symmetric : bool
    unit : array, shape (n,)
        The powers of two ``S`` by which the rows and columns of the caller's matrix were scaled to ``S A S``:
        a vector ``d`` for the caller's matrix is ``d / unit`` here.
    """

    n: int
    start: Index
    source: NDArray[np.int32]
    destination: Index
    diagonal: Vector
    weight: Vector
    labels: NDArray[np.int32]
    components: int
    symmetric: bool
    system: System
    unit: Vector

    @staticmethod
    def of(system: System) -> "Slots":
        graph = system.graph
        return Slots(
            system.n,
            graph.start.cpu().numpy(),
            graph.source.cpu().numpy(),
            graph.destination.cpu().numpy(),
            system.diagonal.double().cpu().numpy(),
            system.weight.double().cpu().numpy(),
            graph.labels,
            graph.components,
            system.symmetric,
            system,
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
    def edges(self) -> int:
        """Directed edges, ``m``."""
        return len(self.source)

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
        return np.abs(self.weight) / scale[self.destination] / scale[self.source]

    def on_edges(self, values: Vector) -> scipy.sparse.csr_array:
        """The matrix with ``values`` in the slots and a zero diagonal."""
        return scipy.sparse.csr_array((values, self.source, self.start), (self.n, self.n))

    @cached_property
    def _incoming(self) -> scipy.sparse.csr_array:
        return scipy.sparse.csr_array((np.ones(self.edges), np.arange(self.edges), self.start), (self.n, self.edges))

    def gather(self, messages: Vector) -> Vector:
        """Sum of the messages that each node hears, ``(m, ...) -> (n, ...)``."""
        return self._incoming @ messages

    @cached_property
    def absolute(self) -> scipy.sparse.csr_array:
        """``|O|``, the off-diagonal magnitudes."""
        return self.on_edges(np.abs(self.weight))

    @cached_property
    def off_diagonal(self) -> scipy.sparse.csr_array:
        """``O = A - D``."""
        return self.on_edges(self.weight)

    @cached_property
    def signature(self) -> Vector | None:
        """Signs ``s`` with ``s_i s_j A_ij <= 0`` on every edge, or None where a cycle is frustrated.

        With such signs ``A`` is similar to its comparison matrix ``D - |O|``: the model is attractive after
        flipping the variables with ``s_i = -1``.
        """
        # a double cover: (i, +) meets (j, +) where i and j want equal signs, (j, -) where opposite ones;
        # a cycle is frustrated when it joins (i, +) to (i, -)
        opposite = (self.weight > 0).astype(np.int64) * self.n
        row = np.concatenate([self.destination, self.destination + self.n])
        column = np.concatenate([self.source + opposite, self.source + self.n - opposite])
        ones = np.ones(len(row), dtype=np.int8)
        cover = scipy.sparse.coo_array((ones, (row, column)), (2 * self.n, 2 * self.n))
        sheet = scipy.sparse.csgraph.connected_components(cover, directed=False)[1]
        positive, negative = sheet[: self.n], sheet[self.n :]
        if np.any(positive == negative):
            return None
        return np.where(positive < negative, 1.0, -1.0)

    @cached_property
    def envelope_work(self) -> float:
        """Multiplications of a factorisation within the envelope of the reverse Cuthill–McKee order."""
        pattern = scipy.sparse.csr_matrix(self.on_edges(np.ones(self.edges)))
        order = scipy.sparse.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True)
        position = np.empty(self.n, dtype=np.int64)
        position[order] = np.arange(self.n)
        reach = np.zeros(self.n, dtype=np.int64)
        np.maximum.at(reach, self.destination, position[self.destination] - position[self.source])
        return float((reach.astype(np.float64) ** 2).sum())
