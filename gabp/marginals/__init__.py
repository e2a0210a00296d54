"""Floor 3: variances, log-determinant and sampling."""

from gabp.marginals.bethe import Bethe, bethe_beliefs, precision_fixed_point
from gabp.marginals.conditionals import Conditionals
from gabp.marginals.corrected import corrected_variances
from gabp.marginals.probing import Probing
from gabp.marginals.result import Marginals, VarianceKind, require_kind
from gabp.marginals.sampling import FactorSampler, PerturbSampler, Sampler, make_generator, make_sampler

__all__ = [
    "Bethe",
    "Conditionals",
    "FactorSampler",
    "Marginals",
    "PerturbSampler",
    "Probing",
    "Sampler",
    "VarianceKind",
    "bethe_beliefs",
    "corrected_variances",
    "make_generator",
    "make_sampler",
    "precision_fixed_point",
    "require_kind",
]
