"""Estimate of the flooding sweeps needed: the first ones are run, the rest extrapolated at the asymptotic rate."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from gabp.conditions.host_edges import HostEdges, Index, Vector, dot
from gabp.conditions.precision_messages import PrecisionMessages
from gabp.messages import FloodingSweeps, GeneralFloodingSweeps, Precisions

TARGET = 1e-8
_WORK = 8e7  # edge updates to spend, within the limits below
_FEWEST, _MOST = 20, 3000
_CHECK_EVERY_SWEEP = 200_000  # directed edges up to which the residual is evaluated after every sweep
_DIVERGED, _SMALLEST = 1e30, 1e-300


@dataclass(frozen=True, eq=False)
class FloodingHistory:
    """Residual history of flooding at converged precisions, for a fixed, normally distributed ``b``.

    Attributes
    ----------
    sweep : array of int, shape (k,)
        The sweeps after which the residual was evaluated, from 0.
    residual : array, shape (k,)
        ``‖b - A x_t‖ / ‖b‖`` then, from ``x_0 = 0``.
    """

    sweep: Index
    residual: Vector

    @property
    def sweeps(self) -> int:
        """Sweeps run."""
        return int(self.sweep[-1])

    @property
    def rate(self) -> float:
        """The mean reduction of the residual per sweep over the last third of the history."""
        first = min(int(np.searchsorted(self.sweep, self.sweeps * 2 / 3)), max(len(self.sweep) - 2, 0))
        if self.residual[first] == 0 or self.sweeps == 0:
            return 0.0
        return float((self.residual[-1] / self.residual[first]) ** (1 / (self.sweep[-1] - self.sweep[first])))


def run_flooding(edges: HostEdges, precisions: PrecisionMessages, most: int = _MOST) -> FloodingHistory:
    """Flood until the relative residual is below 1e-8 or diverges, at most ``most`` sweeps or 8e7 edge updates."""
    limit = min(most, int(np.clip(_WORK / max(edges.count, 1), _FEWEST, _MOST)))
    stride = 1 if edges.count <= _CHECK_EVERY_SWEEP else 5
    b = np.random.default_rng(0).standard_normal(edges.n)
    right_hand_side = torch.from_numpy(b).to(edges.system.device)[:, None]
    norm = math.sqrt(dot(b, b))
    flooding: FloodingSweeps | GeneralFloodingSweeps
    if isinstance(precisions.iterate, Precisions):
        flooding = FloodingSweeps(precisions.iterate, right_hand_side)
    else:
        flooding = GeneralFloodingSweeps(precisions.iterate, right_hand_side)
    sweep, residual = [0], [1.0]
    while sweep[-1] < limit and TARGET < residual[-1] < _DIVERGED:
        flooding.sweep(stride)
        error = edges.system.residual(flooding.mean(), right_hand_side).cpu().numpy()[:, 0]
        sweep.append(sweep[-1] + stride)
        residual.append(math.sqrt(dot(error, error)) / norm)
    return FloodingHistory(np.array(sweep), np.array(residual))


def expected_sweeps(edges: HostEdges, history: FloodingHistory, radius: float | None) -> int | None:
    """Sweeps to a relative residual of 1e-8 for a random ``b``; None where flooding would not reach it.

    Beyond the history the residual falls by ``radius`` per sweep once the slowest mode alone is left. The share of
    that mode lies between the last residual of the history and the ``1/√n`` that one mode has in a random ``b``; the
    geometric mean of the two estimates is returned.
    """
    last = float(history.residual[-1])
    if last <= TARGET:
        before, stride = float(history.residual[-2]), history.sweeps - int(history.sweep[-2])
        excess = math.log(max(last, _SMALLEST) / TARGET) / math.log(before / max(last, _SMALLEST))
        return math.ceil(history.sweeps + stride * excess)
    rate = history.rate if radius is None or radius == 0.0 else radius
    if not rate < 1 or not last < _DIVERGED:
        return None
    # in logarithms: a fast rate to the power of many sweeps underflows
    decay = math.log(rate)
    longest = history.sweeps + math.log(TARGET / last) / decay
    amplitude = math.log(last) - history.sweeps * decay
    share = min(amplitude, -0.5 * math.log(edges.n))
    shortest = max(history.sweeps, (math.log(TARGET) - share) / decay)
    sweeps = math.sqrt(longest * min(shortest, longest))
    return math.ceil(min(sweeps, edges.n) if edges.system.graph.is_forest else sweeps)
