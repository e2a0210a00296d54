"""Floor 3: methods of solution. The choice among them, fallback, iterative refinement and stopping."""

from gabp.solvers.auto import recommended_method
from gabp.solvers.hierarchy import hierarchy_solve, m_matrix_solver
from gabp.solvers.least_squares import lstsq
from gabp.solvers.near_nullspace import rigid_body_modes
from gabp.solvers.refinement import Progress, Tolerances
from gabp.solvers.solution import ConvergenceError, Solution, Status
from gabp.solvers.solver import Solver

__all__ = [
    "ConvergenceError",
    "Progress",
    "Solution",
    "Solver",
    "Status",
    "Tolerances",
    "hierarchy_solve",
    "lstsq",
    "m_matrix_solver",
    "recommended_method",
    "rigid_body_modes",
]
