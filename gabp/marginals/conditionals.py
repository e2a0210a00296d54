"""Every node seen from the rim of a small patch around it, which screens it off from all the others."""

from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.torch.markov_blankets import Limits, Model
from gabp.system import NotPositiveDefiniteError, System

_LARGEST_PATCH = 32  # nodes
_LONGEST_RIM = 48


@dataclass(frozen=True, eq=False)
class Conditionals:
    """Every node given the rim of its patch.

    With S the rim of node i's patch, ``Var(x_i) = Var(x_i | x_S) + Var(E(x_i | x_S))``, or as matrices
    ``diag(A⁻¹) = variance + diag(W A⁻¹ Wᵀ)`` with ``W = mean``. The first term is a small dense inverse, known
    exactly; only the second, much smaller, is left to be estimated.

    Attributes
    ----------
    variance : Tensor, shape (n,)
        ``Var(x_i | x_S)``.
    mean : scipy.sparse.csr_array, shape (n, n)
        ``E(x | rims) = mean @ x``.
    """

    variance: Tensor
    mean: scipy.sparse.csr_array

    @staticmethod
    def of(system: System) -> "Conditionals":
        graph, n = system.graph, system.n
        kernels = dispatch.backend("cpu").markov_blankets
        model = Model(
            graph.start.cpu(), graph.source.cpu(), system.diagonal.double().cpu(), system.weight.double().cpu()
        )
        limits, threads = Limits(_LARGEST_PATCH, _LONGEST_RIM), torch.get_num_threads()
        variance = torch.empty(n, dtype=torch.float64)
        rim_start = torch.empty(n + 1, dtype=torch.int64)
        bad = kernels.conditional_variances(model, limits, variance, rim_start, threads)
        if bad >= 0:
            raise NotPositiveDefiniteError(bad)
        rim = torch.empty(int(rim_start[-1]), dtype=torch.int32)
        coefficient = torch.empty(len(rim), dtype=torch.float64)
        kernels.conditional_means(model, limits, rim_start, rim, coefficient, threads)
        mean = scipy.sparse.csr_array((coefficient.numpy(), rim.numpy(), rim_start.numpy()), (n, n))
        return Conditionals(variance, mean)
