"""Floor 3: from messages to solutions. Methods, the choice among them, refinement and stopping."""

from gabp.solvers.auto import recommended_method
from gabp.solvers.hierarchy import hierarchy_solve, m_matrix_solver
from gabp.solvers.least_squares import lstsq
from gabp.solvers.refinement import Progress
from gabp.solvers.solution import ConvergenceError, Solution, Status
from gabp.solvers.solver import Solver

__all__ = [
    "ConvergenceError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "hierarchy_solve",
    "lstsq",
    "m_matrix_solver",
    "recommended_method",
]
