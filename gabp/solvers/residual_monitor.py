"""When the residual of an iteration is checked."""

import math


class ResidualMonitor:
    """Residuals of an iteration, and from their rate of convergence the iteration at which to check the next.

    A check costs about an iteration, or makes the host wait for the device. The next one is due where the observed rate
    predicts that the target is met, but no later than after ``growth`` times as many iterations as are done: a solve
    checks its residual a number of times that grows with the logarithm of its iterations.

    Parameters
    ----------
    initial : float
        The residual before the first iteration.
    first_check : int
        Iterations before the first check, and the most between two of the early ones.
    growth : float

    Attributes
    ----------
    iterations : int
    current, lowest : float
        Residuals.
    since_lowest, checks_since_lowest : int
        Iterations and checks since the residual was last reduced below all earlier ones.
    """

    def __init__(self, initial: float, first_check: int = 8, growth: float = 1.0) -> None:
        self.initial = self.current = self.lowest = initial
        self.iterations = self.since_lowest = self.checks_since_lowest = 0
        self._first_check, self._growth = first_check, growth
        self._log_rate = 0.0  # of the residual, per iteration

    def next_check(self, target: float) -> int:
        """Iterations to the next check, at least one, for a residual of at most ``target``."""
        longest = max(self._first_check, int(self._growth * self.iterations))
        if self._log_rate >= 0.0 or not 0.0 < target < self.current < math.inf:
            return longest
        return max(1, min(longest, math.ceil(math.log(target / self.current) / self._log_rate)))

    def record(self, iterations: int, residual: float) -> None:
        """Take in the residual after so many further iterations."""
        if iterations and 0.0 < residual < math.inf and 0.0 < self.current < math.inf:
            self._log_rate = math.log(residual / self.current) / iterations
        reduced = residual < self.lowest
        self.iterations += iterations
        self.since_lowest = 0 if reduced else self.since_lowest + iterations
        self.checks_since_lowest = 0 if reduced else self.checks_since_lowest + 1
        self.current, self.lowest = residual, min(self.lowest, residual)
