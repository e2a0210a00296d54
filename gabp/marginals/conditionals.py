"""Every node seen from the rim of a small patch around it, which screens it off from all the others."""

from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import cpu
from gabp.kernels.torch import markov_blankets
from gabp.system import NotPositiveDefiniteError, System

_kernels = cpu.extension if cpu.extension is not None else markov_blankets

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
        model = (graph.start.cpu(), graph.source.cpu(), system.diagonal.double().cpu(), system.weight.double().cpu())
        limits, threads = (_LARGEST_PATCH, _LONGEST_RIM), torch.get_num_threads()
        variance = torch.empty(n, dtype=torch.float64)
        rim_start = torch.empty(n + 1, dtype=torch.int64)
        bad = _kernels.patch_rims(*model, *limits, variance, rim_start, threads)
        if bad >= 0:
            raise NotPositiveDefiniteError(bad)
        rim = torch.empty(int(rim_start[-1]), dtype=torch.int32)
        coefficient = torch.empty(len(rim), dtype=torch.float64)
        _kernels.patch_coefficients(*model, *limits, rim_start, rim, coefficient, threads)
        mean = scipy.sparse.csr_array((coefficient.numpy(), rim.numpy(), rim_start.numpy()), (n, n))
        return Conditionals(variance, mean)
