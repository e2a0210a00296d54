"""A search for negative curvature where neither a certificate nor a factor tells whether A is positive definite."""

import torch

from gabp.solvers.auto import INSIDE_CG, METHODS
from gabp.solvers.solution import Status
from gabp.system import NotPositiveDefiniteError, System

_REDUCTION = 1e-8  # of the residual
_STEPS = 2000


def search_negative_curvature(system: System) -> bool:
    """Solve for a random right-hand side by conjugate gradients, which meet negative curvature where there is any.

    As long as they meet none, their residual is a polynomial of A that is 1 at 0 and has positive roots only, so it
    grows along every eigenvector of a negative eigenvalue. A solution to ``1e-8`` therefore leaves A a negative
    eigenvalue with a probability of about ``1e-8 √n`` only: that the right-hand side had no more of its eigenvector.

    Returns
    -------
    bool
        Whether the search came to its end and found nothing.

    Raises
    ------
    NotPositiveDefiniteError
        It found a direction of negative curvature.
    """
    generator = torch.Generator().manual_seed(0)
    right = torch.randn((system.n, 1), dtype=torch.float64, generator=generator).to(system.device)
    unit, scale = system.equilibrated()
    target = _REDUCTION * right.norm(dim=0)
    correction = METHODS[INSIDE_CG](unit).correct(right, target)
    _, failure = correction.advance(_STEPS)
    if failure is Status.NOT_POSITIVE_DEFINITE:
        direction = correction.witness.to(system.device) * scale
        raise NotPositiveDefiniteError(int(direction.abs().argmax()), "a direction of negative curvature, largest")
    return failure is None and bool((unit.residual(correction.estimate(), right).norm(dim=0) <= 10 * target).all())
