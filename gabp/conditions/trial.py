"""How many sweeps will flooding need? Try some on a fixed right-hand side and extend at the asymptotic rate."""

import math
from dataclasses import dataclass

import numpy as np

from gabp.conditions.non_backtracking import NonBacktracking
from gabp.conditions.slots import Slots, Vector, dot

TARGET = 1e-8
_WORK = 1e8  # edge updates to spend, within the limits below
_FEWEST, _MOST = 30, 3000


@dataclass(frozen=True, eq=False)
class Trial:
    """Flooding sweeps at settled precisions for a fixed, normally distributed ``b``.

    Attributes
    ----------
    residuals : array, shape (sweeps + 1,)
        ``‖b - A x_t‖ / ‖b‖`` after each sweep, from ``x_0 = 0``.
    """

    residuals: Vector

    @property
    def sweeps(self) -> int:
        return len(self.residuals) - 1

    @property
    def rate(self) -> float:
        """The mean reduction of the residual per sweep over the last third of the trial."""
        last = self.residuals[-1]
        span = max(1, self.sweeps // 3)
        first = self.residuals[-1 - span]
        return float((last / first) ** (1 / span)) if first > 0 else 0.0


def run_trial(operator: NonBacktracking, belief: Vector, stop: float = TARGET, most: int = _MOST) -> Trial:
    """Sweep until the relative residual is below ``stop``, it explodes, or the work allowed is spent."""
    slots = operator.slots
    limit = min(most, int(np.clip(_WORK / max(slots.edges, 1), _FEWEST, _MOST)))
    b = np.random.default_rng(0).standard_normal(slots.n)
    size = math.sqrt(dot(b, b))
    potential = np.zeros(slots.edges)
    unary = operator.ratio * b[slots.source]
    residuals = [1.0]
    for _ in range(limit):
        potential = operator.apply(potential) + unary
        mean = (b + slots.gather(potential)) / belief
        error = b - slots.diagonal * mean - slots.off_diagonal @ mean
        residual = math.sqrt(dot(error, error)) / size
        residuals.append(residual)
        if residual <= stop or not residual < 1e30:
            break
    return Trial(np.array(residuals))


def expected_sweeps(slots: Slots, trial: Trial, radius: float | None) -> int | None:
    """Sweeps to a relative residual of 1e-8 for a random ``b``; None where they would not get there.

    Beyond the trial the residual falls by ``radius`` per sweep once only the slowest mode is left. How strongly
    it is present lies between the last residual of the trial and the ``1/√n`` share that one mode has in a
    random ``b``; the geometric mean of the two answers serves.
    """
    last = float(trial.residuals[-1])
    if last <= TARGET:
        return trial.sweeps
    rate = trial.rate if radius is None or radius == 0.0 else radius
    if not rate < 1 or not last < 1e30:
        return None
    # in logarithms: a fast rate to the power of many sweeps underflows
    decay = math.log(rate)
    longest = trial.sweeps + math.log(TARGET / last) / decay
    amplitude = math.log(last) - trial.sweeps * decay
    share = min(amplitude, -0.5 * math.log(slots.n))
    shortest = max(trial.sweeps, (math.log(TARGET) - share) / decay)
    sweeps = math.sqrt(longest * min(shortest, longest))
    return math.ceil(min(sweeps, slots.n) if slots.system.graph.is_forest else sweeps)
