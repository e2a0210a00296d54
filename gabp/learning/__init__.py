"""Floor 4: gradients through solutions, variances and log-determinants, and the model object made of them."""

from gabp.learning.gaussian import Gaussian
from gabp.learning.implicit import solve_differentiably, wants_gradient

__all__ = ["Gaussian", "solve_differentiably", "wants_gradient"]
