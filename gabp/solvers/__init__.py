"""Floor 3: from messages to solutions. Methods, the choice among them, refinement and stopping."""

from gabp.solvers.auto import recommended_method
from gabp.solvers.definiteness import search_negative_curvature
from gabp.solvers.hierarchy import m_matrix_solver
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
    "lstsq",
    "m_matrix_solver",
    "recommended_method",
    "search_negative_curvature",
]
