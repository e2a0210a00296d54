"""Potential messages at the precision fixed point, stored explicitly: what the literal schedules share."""

from torch import Tensor

from gabp.kernels import reference
from gabp.system import System


class PotentialMessages:
    """Potential messages from zero, for any system, by the equations of `gabp.kernels.reference`.

    Parameters
    ----------
    system : System
    belief : Tensor, shape (n,)
        The belief precisions ``J`` at the fixed point.
    b : Tensor, shape (n, k)
    """

    def __init__(self, system: System, belief: Tensor, b: Tensor) -> None:
        self._graph = system.graph
        self._belief = belief
        self._b = b
        self._potential = b.new_zeros((system.graph.edges, b.shape[1]))

    def mean(self) -> Tensor:
        """The belief means ``h_i / J_i``, shape (n, k), float64."""
        h = self._b + reference.gather_messages(self._potential, self._graph.destination, self._graph.n)
        return (h / self._belief[:, None]).double()
