"""Marginal distributions, labelled by the kind of their variances."""

from dataclasses import dataclass
from typing import Any, Literal

from gabp.system import InvalidSystemError

VarianceKind = Literal["bethe", "exact", "corrected"]


@dataclass(frozen=True, eq=False, repr=False)
class Marginals:
    """The mean and variance of every variable.

    Attributes
    ----------
    mean, variance : array, shape (n,)
        ``A⁻¹ b`` and the diagonal of ``A⁻¹``, in the array library, device and float dtype of ``b``. The variance is
        in the squared units of the mean.
    variance_kind : {"exact", "bethe", "corrected"}
        ``"bethe"`` variances are an approximation; on a forest they are exact and labelled ``"exact"``.
    variance_stderr : array, shape (n,), or None
        Standard error of ``corrected`` variances, in the units of the variance.
    """

    mean: Any
    variance: Any
    variance_kind: VarianceKind
    variance_stderr: Any = None

    def __repr__(self) -> str:
        lines = [
            f"Marginals of {len(self.variance)} variables, variances {self.variance_kind}",
            f"  mean      {float(self.mean.min()):.4g} .. {float(self.mean.max()):.4g}",
            f"  variance  {float(self.variance.min()):.4g} .. {float(self.variance.max()):.4g}",
        ]
        if self.variance_stderr is not None:
            worst = float((self.variance_stderr / self.variance).max())
            lines.append(f"  standard error at most {worst:.2g} of the variance")
        return "\n".join(lines)


def require_kind(kind: Any, known: tuple[str, ...], name: str) -> None:
    """Raise TypeError if ``kind`` is no string, InvalidSystemError if it is not among ``known``."""
    if not isinstance(kind, str):
        raise TypeError(f"{name} must be a string, not {type(kind).__name__}")
    if kind not in known:
        raise InvalidSystemError(f"{name} must be one of {', '.join(map(repr, known))}, not {kind!r}")
