"""The operations of a multigrid cycle and of the conjugate gradients that it preconditions, literally, in torch.

Ground truth for the kernels of `gabp.kernels.cuda.multigrid_cycle`, which have the same names and arguments, and what
runs where those cannot. Vectors are ``(n, k)`` in the rows of a level, for ``k`` right-hand sides, one of the widths in
`gabp.kernels.torch.sliced_ell.PANELS`. Outputs are overwritten, and nothing waits for the device: step lengths stay
there, as rows of ``scalars`` (float64, ``(_, k)``).

Sums are taken in float64 in two stages: each program stores its own in ``partials`` ``(programs, SUMS, k)``, and a
``finish_...`` adds them up and derives the step lengths.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gabp.kernels.torch.aggregation import segment_sums
from gabp.kernels.torch.multigrid_levels import BOTH, EARLIER, LATER, MultigridLevel
from gabp.kernels.torch.sliced_ell import Parts, SlicedEll

name = "torch"
SUMS = 3  # quantities that a program has room for in the partial sums

# Half of an elimination sweep: from zero, after a correction, or the second half of the sweep that began from zero.
FORWARD, BACKWARD, SUBSTITUTE = range(3)
PARTS = {FORWARD: EARLIER, BACKWARD: BOTH, SUBSTITUTE: LATER}

# Rows of the scalars of the outer iteration, and of the two inner iterations on a level.
BETA, ALPHA, ENERGY, SQUARE, TARGET, NOISE, FAILURE, OUTER_SCALARS = range(8)
FIRST_ENERGY, FIRST_MATCH, FIRST_STEP, ALONG_FIRST, ALONG_SECOND, INNER_SCALARS = range(6)
NOT_POSITIVE_DEFINITE, BREAKDOWN = 1.0, 2.0  # values of FAILURE

PARALLEL = 1e-7  # the second direction is parallel to the first where less than this share of its energy is left


@dataclass(frozen=True, eq=False)
class CGVectors:
    """The vectors of flexible conjugate gradients for ``A y = r``, in the rows of the finest level.

    Attributes
    ----------
    y, r, d, q : Tensor, float64, shape (n, k)
        The iterate, its residual, the direction and its image ``A d``.
    b, z : Tensor, shape (n, k)
        The residual and the preconditioned residual, in the precision of the cycle.
    unit : Tensor, float64, shape (n,), or None
        The units in which the norm of the residual is measured; None for 1.
    scalars : Tensor, float64, shape (OUTER_SCALARS, k)
    partials : Tensor, float64, shape (programs, SUMS, k)
    """

    y: Tensor
    r: Tensor
    d: Tensor
    q: Tensor
    b: Tensor
    z: Tensor
    unit: Tensor | None
    scalars: Tensor
    partials: Tensor


def relax(level: MultigridLevel, stage: int, first: int, last: int, b: Tensor, x: Tensor) -> None:
    """Half a sweep of one colour, the rows ``first:last`` of ``x``, in place.

    FORWARD ``x = (b - L x) / J``, BACKWARD ``x = (b + (J - D) x - (L + U) x) / J``, SUBSTITUTE ``x = x - U x / J``.
    """
    total = _row_sums(level.rows, level.rows.value, x, first, last, PARTS[stage])
    own, rows = x[first:last], slice(first, last)
    if stage == FORWARD:
        own.copy_((b[rows] - total) * level.inverse_pivot[rows, None])
    elif stage == BACKWARD:
        own.copy_((b[rows] + level.excess[rows, None] * own - total) * level.inverse_pivot[rows, None])
    else:
        own.sub_(total * level.inverse_pivot[rows, None])


def restrict(rows: SlicedEll, x: Tensor, b: Tensor) -> None:
    """``b = M x``: the coarse residual of the ``x`` of FORWARD."""
    b.copy_(_row_sums(rows, rows.value, x, 0, rows.rows, (0, rows.parts)))


def prolong(aggregate: Tensor, c: Tensor, d: Tensor | None, scalars: Tensor | None, x: Tensor) -> None:
    """``x += P (α c + β d)`` by the rows ALONG_FIRST and ALONG_SECOND of ``scalars``; ``x += P c`` without ``d``."""
    step = c
    if d is not None and scalars is not None:
        step = (scalars[ALONG_FIRST] * c + scalars[ALONG_SECOND] * d).to(x.dtype)
    x += torch.where(aggregate[:, None] >= 0, step[aggregate.clamp(min=0).long()], 0.0)


def eliminate(inverse: Tensor, b: Tensor, x: Tensor) -> None:
    """``x = A⁻¹ b`` by the inverse of the coarsest level, in float64 whatever the vectors are."""
    x.copy_(inverse @ b.double())


def image(level: MultigridLevel, x: Tensor, out: Tensor | None, u: Tensor, v: Tensor | None, partials: Tensor) -> None:
    """``out = A x``, unless it is None, and the sums ``x·Ax``, ``x·u`` and, unless ``v`` is None, ``x·v``."""
    y = level.diagonal[:, None] * x + _row_sums(level.rows, level.rows.value, x, 0, level.n, BOTH)
    if out is not None:
        out.copy_(y)
    _store_sums(partials, *(_dot(x, other) for other in (y, u, v) if other is not None))


def subtract(x: Tensor, y: Tensor, scalars: Tensor) -> None:
    """``x -= α y`` by the row FIRST_STEP of ``scalars``."""
    x -= (scalars[FIRST_STEP] * y).to(x.dtype)


def finish_first(partials: Tensor, scalars: Tensor) -> None:
    """The step along the first coarse direction, from the partial sums of `image`."""
    energy, match, *_ = partials.sum(0)
    scalars[FIRST_ENERGY], scalars[FIRST_MATCH] = energy, match
    scalars[FIRST_STEP] = _ratio(match, energy)


def finish_second(partials: Tensor, scalars: Tensor) -> None:
    """The steps along both coarse directions (Notay 2010, algorithm 3.2), from those of the second `image`."""
    energy, match, coupling = partials.sum(0)
    first_energy, first_match = scalars[FIRST_ENERGY].clone(), scalars[FIRST_MATCH].clone()
    rest = energy - coupling * _ratio(coupling, first_energy)
    step = _ratio(match, torch.where(rest > PARALLEL * energy, rest, 0.0))
    scalars[ALONG_SECOND] = step
    scalars[ALONG_FIRST] = _ratio(first_match - coupling * step, first_energy)


def overlap(cg: CGVectors) -> None:
    """The sum ``z·q``."""
    _store_sums(cg.partials, _dot(cg.z, cg.q))


def finish_overlap(partials: Tensor, scalars: Tensor) -> None:
    """``β`` that makes the next direction conjugate to the last."""
    scalars[BETA] = -_ratio(partials.sum(0)[0], scalars[ENERGY])


def advance_direction(level: MultigridLevel, value: Tensor, diagonal: Tensor, cg: CGVectors) -> None:
    """``d = z + β d`` and its image ``q = A z + β q``, with the sums ``d·q``, ``d·r`` and ``d·d``, in float64.

    ``value`` and ``diagonal`` are A's own, in the slots of ``level.rows``. A column that has failed stays unchanged.
    """
    z, d, q = cg.z.double(), cg.d, cg.q
    image = diagonal.double()[:, None] * z + _row_sums(level.rows, value, z, 0, level.n, BOTH)
    failed, beta = cg.scalars[FAILURE] != 0, cg.scalars[BETA]
    d.copy_(torch.where(failed, d, z + beta * d))
    q.copy_(torch.where(failed, q, image + beta * q))
    _store_sums(cg.partials, _dot(d, q), _dot(d, cg.r), _dot(d, d))


def finish_direction(partials: Tensor, scalars: Tensor) -> None:
    """The step along the direction, or a failure: its curvature is negative, or within ``NOISE · d·d`` of zero.

    A column that has met its target, or has failed, takes steps of zero.
    """
    energy, match, square = partials.sum(0)
    threshold = scalars[NOISE] * square
    active = (scalars[SQUARE] > scalars[TARGET]) & (scalars[FAILURE] == 0)
    flat = active & (square > 0) & ~(energy > threshold)
    failure = torch.where(energy < -threshold, NOT_POSITIVE_DEFINITE, BREAKDOWN)
    scalars[ALPHA] = torch.where(active, _ratio(match, energy), 0.0)
    scalars[ENERGY] = energy
    scalars[FAILURE] = torch.where(flat, failure, scalars[FAILURE])


def step(cg: CGVectors) -> None:
    """``y += α d``, ``r -= α q``, ``b`` = ``r`` in the cycle's precision, and the sums of ``(r unit)²``."""
    alpha = cg.scalars[ALPHA]
    cg.y.add_(alpha * cg.d)
    cg.r.sub_(alpha * cg.q)
    cg.b.copy_(cg.r)
    own = cg.r if cg.unit is None else cg.r * cg.unit[:, None]
    _store_sums(cg.partials, _dot(own, own))


def finish_step(partials: Tensor, scalars: Tensor) -> None:
    """The squared norms of the residuals."""
    scalars[SQUARE] = partials.sum(0)[0]


def _row_sums(rows: SlicedEll, value: Tensor, x: Tensor, first: int, last: int, parts: Parts) -> Tensor:
    count, slot, column = rows.nonzeros(first, last, parts)
    terms = value[slot].to(x.dtype)[:, None] * x[column]
    return segment_sums(terms, count)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x.double() * y.double()).sum(0)


def _ratio(x: Tensor, y: Tensor) -> Tensor:
    """``x / y``, or 0 where ``y`` is not positive."""
    return torch.where(y > 0, x / torch.where(y > 0, y, 1.0), 0.0)


def _store_sums(partials: Tensor, *sums: Tensor) -> None:
    partials.zero_()
    partials[0, : len(sums)] = torch.stack(sums)
