"""Floor 1: Krylov methods on operators. Columns in, columns out; a matrix is what multiplies them."""

from gabp.krylov.bicgstab import BiCGSTAB
from gabp.krylov.conjugate_gradients import ConjugateGradients
from gabp.krylov.gmres import GMRES

__all__ = ["GMRES", "BiCGSTAB", "ConjugateGradients"]
