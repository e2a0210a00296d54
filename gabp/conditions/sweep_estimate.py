"""How many sweeps will flooding need? Try some on a fixed right-hand side and extend at the asymptotic rate."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from gabp.conditions.host_edges import Index, Slots, Vector, dot
from gabp.conditions.precision_messages import PrecisionMessages
from gabp.messages import FloodingSweeps, GeneralFloodingSweeps, Precisions

TARGET = 1e-8
_WORK = 8e7  # edge updates to spend, within the limits below
_FEWEST, _MOST = 20, 3000
_CHEAP_TO_LOOK_AT = 200_000  # directed edges up to which the residual is evaluated after every sweep
_EXPLODED, _UNSEEN = 1e30, 1e-300


@dataclass(frozen=True, eq=False)
class Trial:
    """Flooding sweeps at settled precisions for a fixed, normally distributed ``b``.

    Attributes
    ----------
    looks : array of int, shape (k,)
        The sweeps after which the residual was looked at, from 0.
    residuals : array, shape (k,)
        ``‖b - A x_t‖ / ‖b‖`` then, from ``x_0 = 0``.
    """

    looks: Index
    residuals: Vector

    @property
    def sweeps(self) -> int:
        return int(self.looks[-1])

    @property
    def rate(self) -> float:
        """The mean reduction of the residual per sweep over the last third of the trial."""
        first = min(int(np.searchsorted(self.looks, self.sweeps * 2 / 3)), max(len(self.looks) - 2, 0))
        if self.residuals[first] == 0 or self.sweeps == 0:
            return 0.0
        return float((self.residuals[-1] / self.residuals[first]) ** (1 / (self.looks[-1] - self.looks[first])))


def run_trial(slots: Slots, precisions: PrecisionMessages, most: int = _MOST) -> Trial:
    """Sweep until the relative residual is below 1e-8, it explodes, or the work allowed is spent."""
    limit = min(most, int(np.clip(_WORK / max(slots.edges, 1), _FEWEST, _MOST)))
    apart = 1 if slots.edges <= _CHEAP_TO_LOOK_AT else 5
    b = np.random.default_rng(0).standard_normal(slots.n)
    right = torch.from_numpy(b).to(slots.system.device)[:, None]
    size = math.sqrt(dot(b, b))
    flooding: FloodingSweeps | GeneralFloodingSweeps
    if isinstance(precisions.settled, Precisions):
        flooding = FloodingSweeps(precisions.settled, right)
    else:
        flooding = GeneralFloodingSweeps(precisions.settled, right)
    looks, residuals = [0], [1.0]
    while looks[-1] < limit and TARGET < residuals[-1] < _EXPLODED:
        flooding.sweep(apart)
        error = slots.system.residual(flooding.mean(), right).cpu().numpy()[:, 0]
        looks.append(looks[-1] + apart)
        residuals.append(math.sqrt(dot(error, error)) / size)
    return Trial(np.array(looks), np.array(residuals))


def expected_sweeps(slots: Slots, trial: Trial, radius: float | None) -> int | None:
    """Sweeps to a relative residual of 1e-8 for a random ``b``; None where they would not get there.

    Beyond the trial the residual falls by ``radius`` per sweep once only the slowest mode is left. How strongly
    it is present lies between the last residual of the trial and the ``1/√n`` share that one mode has in a
    random ``b``; the geometric mean of the two answers serves.
    """
    last = float(trial.residuals[-1])
    if last <= TARGET:
        before, apart = float(trial.residuals[-2]), trial.sweeps - int(trial.looks[-2])
        missing = math.log(max(last, _UNSEEN) / TARGET) / math.log(before / max(last, _UNSEEN))
        return math.ceil(trial.sweeps + apart * missing)
    rate = trial.rate if radius is None or radius == 0.0 else radius
    if not rate < 1 or not last < _EXPLODED:
        return None
    # in logarithms: a fast rate to the power of many sweeps underflows
    decay = math.log(rate)
    longest = trial.sweeps + math.log(TARGET / last) / decay
    amplitude = math.log(last) - trial.sweeps * decay
    share = min(amplitude, -0.5 * math.log(slots.n))
    shortest = max(trial.sweeps, (math.log(TARGET) - share) / decay)
    sweeps = math.sqrt(longest * min(shortest, longest))
    return math.ceil(min(sweeps, slots.n) if slots.system.graph.is_forest else sweeps)
