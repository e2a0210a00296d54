"""The order in which factors send their messages."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from gabp.factors.belief_propagation.propagation_state import PropagationState

_ROUNDS, _FEWEST_ROUNDS = 16, 4  # of a sweep by priority
_WORTH_A_ROUND = 64  # factors, that take about as long as what a round costs by itself
_NEGLIGIBLE = 1e-2  # of the largest priority, below which a factor waits


class Schedule(ABC):
    """One sweep after another: as many updates of factors as there are factors, at most.

    Attributes
    ----------
    usual_damping : float
        That makes messages converge on most graphs of poses with loops.
    """

    usual_damping: ClassVar[float] = 0.0

    def __init__(self, state: PropagationState, damping: float) -> None:
        self.state, self.damping = state, damping

    @abstractmethod
    def sweep(self) -> None:
        """Pass messages, and find the means of the new beliefs."""

    def relinearized(self, factors: list[Tensor]) -> None:  # noqa: B027
        """Learn which factors of each batch have a new model."""


class Flooding(Schedule):
    """All factors send messages at once, from the beliefs after the last sweep."""

    usual_damping = 0.4

    def sweep(self) -> None:
        state = self.state
        updates = [state.updates(place) for place in range(len(state.factors))]
        for place, new in enumerate(updates):
            state.replace(place, new, self.damping)
        state.sum_beliefs()


class ResidualPriority(Schedule):
    """Factors whose incoming messages changed most send first, a batch of them at a time.

    G. Elidan, I. McGraw, D. Koller, *Residual belief propagation*, UAI 2006, with the priority of C. Sutton and
    A. McCallum, *Improved dynamic schedules for belief propagation*, UAI 2007: the changes of the messages that a
    factor has received since it last sent, which cost no update to know.
    """

    def __init__(self, state: PropagationState, damping: float) -> None:
        super().__init__(state, damping)
        self.priority = [torch.full((len(batch),), torch.inf, dtype=torch.float64) for batch in state.factors]

    def relinearized(self, factors: list[Tensor]) -> None:
        for priority, chosen in zip(self.priority, factors, strict=True):
            priority[chosen] = torch.inf

    def sweep(self) -> None:
        left = total = sum(len(priority) for priority in self.priority)
        at_once = max(-(-total // _ROUNDS), min(_WORTH_A_ROUND, -(-total // _FEWEST_ROUNDS)))
        for _ in range(-(-total // at_once)):
            left -= self._round(min(left, at_once))
        self.state.sum_beliefs()

    def _round(self, most: int) -> int:
        """Let at most so many factors send; how many did."""
        if most == 0:
            return 0
        joint = torch.cat(self.priority)
        largest, chosen = torch.topk(joint, min(most, len(joint)))
        chosen = chosen[(largest > 0) & (largest >= _NEGLIGIBLE * largest[0].clamp(max=1e300))]
        begin = 0
        for place, batch in enumerate(self.state.factors):
            inside = chosen[(chosen >= begin) & (chosen < begin + len(batch))] - begin
            begin += len(batch)
            if len(inside):
                self._send(place, inside)
        return len(chosen)

    def _send(self, place: int, chosen: Tensor) -> None:
        state = self.state
        changes = state.apply(place, chosen, state.updates(place, chosen), self.damping)
        received = [mean.new_zeros(len(mean)) for mean in state.mean]
        columns = list(zip(state.factors[place].variables, state.factors[place].index[chosen].unbind(1), strict=True))
        for (variables, index), change in zip(columns, changes, strict=True):
            received[variables.position].index_add_(0, index, change)
        for position in {variables.position for variables, _ in columns}:
            touched = [index for variables, index in columns if variables.position == position]
            state.find_means(position, torch.unique(torch.cat(touched)))
        for priority, batch in zip(self.priority, state.factors, strict=True):
            for variables, index in zip(batch.variables, batch.index.unbind(1), strict=True):
                priority += received[variables.position][index]
        # a factor does not receive what it sent itself; what damping held back it still has to send
        own = torch.stack(changes).sum(0)
        shared = sum(received[variables.position][index] for variables, index in columns)
        self.priority[place][chosen] = (shared - own).clamp(min=0) + self.damping / (1 - self.damping) * own


SCHEDULES: dict[str, type[Schedule]] = {"flooding": Flooding, "residual": ResidualPriority}
