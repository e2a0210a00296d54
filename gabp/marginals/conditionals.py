"""The conditional distribution of every node given the Markov blanket of a small patch around it."""

from dataclasses import dataclass

import scipy.sparse
import torch
from torch import Tensor

from gabp.kernels import dispatch
from gabp.kernels.torch.markov_blankets import Limits, Model
from gabp.system import NotPositiveDefiniteError, System

_LARGEST_PATCH = 32  # nodes
_LARGEST_BLANKET = 48


@dataclass(frozen=True, eq=False)
class Conditionals:
    """Conditional variances and means of all nodes, each given the Markov blanket S of its patch.

    By the law of total variance, ``Var(x_i) = Var(x_i | x_S) + Var(E(x_i | x_S))``, or
    ``diag(A⁻¹) = variance + diag(W A⁻¹ Wᵀ)`` with ``W = mean``. The first term is exact, from a small dense
    inverse; only the second, much smaller, has to be estimated.

    Attributes
    ----------
    variance : Tensor, shape (n,)
        ``Var(x_i | x_S)``.
    mean : scipy.sparse.csr_array, shape (n, n)
        Row i holds the coefficients of ``E(x_i | x_S)``, so that all conditional means are ``mean @ x``.
    """

    variance: Tensor
    mean: scipy.sparse.csr_array

    @staticmethod
    def of(system: System) -> "Conditionals":
        """The conditional distributions of ``system``, symmetric.

        Raises
        ------
        NotPositiveDefiniteError
            The principal submatrix of a patch is not positive definite.
        """
        graph, n = system.graph, system.n
        kernels = dispatch.backend("cpu").markov_blankets
        model = Model(
            graph.start.cpu(), graph.source.cpu(), system.diagonal.double().cpu(), system.weight.double().cpu()
        )
        limits, threads = Limits(_LARGEST_PATCH, _LARGEST_BLANKET), torch.get_num_threads()
        variance = torch.empty(n, dtype=torch.float64)
        blanket_start = torch.empty(n + 1, dtype=torch.int64)
        bad = kernels.conditional_variances(model, limits, variance, blanket_start, threads)
        if bad >= 0:
            raise NotPositiveDefiniteError(bad)
        blanket = torch.empty(int(blanket_start[-1]), dtype=torch.int32)
        coefficient = torch.empty(len(blanket), dtype=torch.float64)
        kernels.conditional_means(model, limits, blanket_start, blanket, coefficient, threads)
        mean = scipy.sparse.csr_array((coefficient.numpy(), blanket.numpy(), blanket_start.numpy()), (n, n))
        return Conditionals(variance, mean)
