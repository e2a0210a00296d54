"""The adjoints of a program as the solution of one sparse linear system, ``(I - Jᵀ) λ = g``."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gabp.backprop.local_factors import LocalFactor
from gabp.backprop.program import Program
from gabp.backprop.tracing import trace
from gabp.system import InvalidSystemError


@dataclass(frozen=True, eq=False)
class AdjointSystem:
    """The linear system ``matrix @ λ = boundary`` for the adjoints of all tensor elements of a program.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array, shape (n, n)
        ``I - Jᵀ`` with ``J[v, u] = ∂v/∂u`` for the elements of a factor's outputs and parents. Without an
        equilibrium it is a permuted triangular matrix: ``A_ij A_ji = 0``, so that all precision messages vanish
        and flooding is exact after as many sweeps as the program is deep.
    boundary : ndarray, shape (n,)
        1 at the output, else 0.
    inputs : tuple of (slice, torch.Size)
        The elements of ``λ`` that are the gradient in each input, and its shape.
    """

    matrix: scipy.sparse.csr_array
    boundary: np.ndarray
    inputs: tuple[tuple[slice, torch.Size], ...]

    def gradients(self, adjoint: np.ndarray) -> tuple[Tensor, ...]:
        """The gradients in the inputs.

        Parameters
        ----------
        adjoint : ndarray, shape (n,)
            The solution ``λ``.

        Returns
        -------
        tuple of Tensor
            One per input, of its shape and the dtype of ``adjoint``.
        """
        return tuple(torch.from_numpy(adjoint[place].copy()).reshape(shape) for place, shape in self.inputs)


def adjoint_system(fn: Callable[..., Tensor], *inputs: Tensor) -> AdjointSystem:
    """The linear system of the adjoints of ``fn`` at ``inputs``, for `gabp.solve` with ``symmetric=False``.

    It also has the gradient through equilibria around which messages diverge. Local Jacobians are computed element by
    element, which suits programs of small tensors. Import it by ``from gabp.backprop import adjoint_system``.

    Parameters
    ----------
    fn : callable
        See `gabp.backprop`; the result is a scalar. Equilibria are cycles of the system's graph.
    *inputs : Tensor
        Real floating point.

    Returns
    -------
    AdjointSystem

    Raises
    ------
    TypeError, InvalidSystemError
        See `gabp.backprop`.

    References
    ----------
    F. Eaton, "Belief propagation generalizes backpropagation", arXiv:2210.00610.

    Examples
    --------
    >>> import torch, gabp
    >>> from gabp.backprop import adjoint_system
    >>> x = torch.tensor(0.7, dtype=torch.float64)
    >>> system = adjoint_system(lambda x: torch.sin(x) * x**2, x)
    >>> solution = gabp.solve(system.matrix, system.boundary, symmetric=False, method="flooding")
    >>> round(float(system.gradients(solution.x)[0]), 10)
    1.2766774339
    """
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor) and x.is_complex():
            raise InvalidSystemError(f"input {i} is complex; a linear system of adjoints is real")
    program = trace(fn, inputs)
    if program.output_value.numel() != 1:
        raise InvalidSystemError(f"fn must return a scalar, not a tensor of shape {tuple(program.output_value.shape)}")
    place, total = _element_ranges(program)
    rows, columns, values = [np.arange(total)], [np.arange(total)], [np.ones(total)]
    for row, column, derivative in _local_jacobians(program, place):
        rows.append(row)
        columns.append(column)
        values.append(-derivative)
    triplets = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    boundary = np.zeros(total)
    if program.output is not None:
        boundary[place[program.output]] = 1.0
    return AdjointSystem(
        matrix=scipy.sparse.coo_array(triplets, (total, total)).tocsr(),
        boundary=boundary,
        inputs=tuple((place[i], program.variables[i].shape) for i in program.inputs),
    )


def _element_ranges(program: Program) -> tuple[dict[int, slice], int]:
    """The range of each variable's elements in the system, in order of computation, and the number of unknowns."""
    place, total = {}, 0
    for variable in program.active:
        size = program.variables[variable].shape.numel()
        place[variable] = slice(total, total + size)
        total += size
    return place, total


def _local_jacobians(program: Program, place: dict[int, slice]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Nonzeros of ``Jᵀ``: rows (elements of a parent), columns (of an output) and derivatives."""
    values = dict(program.known)
    nonzeros = []
    for factor in program.factors:
        local = LocalFactor(factor, [values[parent] for parent in factor.parents])
        for variable, value in local.forward().items():
            values.setdefault(variable, value)
            for element in range(value.numel()):
                unit = torch.zeros_like(value).flatten()
                unit[element] = 1
                for parent, derivative in local.backward({variable: unit.reshape(value.shape)}).items():
                    flat = derivative.double().cpu().flatten().numpy()
                    nonzero = np.flatnonzero(flat)
                    column = np.full(len(nonzero), place[variable].start + element)
                    nonzeros.append((place[parent].start + nonzero, column, flat[nonzero]))
    return nonzeros
