"""``gabp solve``: solve a system read from files."""

import argparse
import sys

import numpy as np

import gabp
from gabp.cli.arguments import device, positive_integer, tolerance
from gabp.cli.errors import CommandError
from gabp.cli.json_text import dataclass_record, json_text
from gabp.cli.progress import solve_progress
from gabp.files import check_writable, read_matrix, read_right_hand_side, write_dense
from gabp.solvers.methods import METHODS

HELP = "solve A x = b"
OUTPUT_SUFFIXES = (".mtx", ".mtx.gz")
DEFAULT_RTOL = 1e-8  # of gabp.solve for x in float64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp solve``."""
    parser.add_argument("matrix", metavar="MATRIX.mtx", help="A: .mtx, .mtx.gz or scipy .npz")
    parser.add_argument("rhs", metavar="RHS.mtx", nargs="?", help="b, one or several columns (default: A·1)")
    parser.add_argument("-o", "--output", metavar="X.mtx", help="write x here (.mtx or .mtx.gz)")
    parser.add_argument(
        "--method",
        choices=("auto", *METHODS),
        default="auto",
        help="default: auto, which explains its choice",
    )
    parser.add_argument("--rtol", type=tolerance, metavar="R", help="tolerance, ‖b - A x‖ ≤ R‖b‖ (default: 1e-8)")
    parser.add_argument("--maxiter", type=positive_integer, metavar="N", help="maximum number of sweeps or iterations")
    parser.add_argument("--device", type=device, metavar="D", help="torch device (default: cpu)")
    parser.add_argument("--nonsymmetric", action="store_true", help="A need not be symmetric")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(arguments: argparse.Namespace) -> int:
    """Solve, print the solution's summary, write x; 0 if it converged, else 1."""
    if arguments.output is not None:
        inputs = [path for path in (arguments.matrix, arguments.rhs) if path is not None]
        check_writable(arguments.output, OUTPUT_SUFFIXES, spare=inputs)
    A = read_matrix(arguments.matrix)
    rows, columns = A.shape
    b = A @ np.ones(columns) if arguments.rhs is None else read_right_hand_side(arguments.rhs, rows)
    with solve_progress(arguments.rtol or DEFAULT_RTOL) as show:
        try:
            solution = gabp.solve(
                A,
                b,
                method=arguments.method,
                rtol=arguments.rtol,
                maxiter=arguments.maxiter,
                symmetric=not arguments.nonsymmetric,
                device=arguments.device,
                callback=show,
                throw=False,
            )
        except gabp.InvalidSystemError as error:
            message = str(error).replace("symmetric=False", "--nonsymmetric")
            message = message.replace("needs symmetric=True", "cannot be used with --nonsymmetric")
            raise CommandError(f"{arguments.matrix}: {message}") from error
    if arguments.output is not None:
        write_dense(arguments.output, solution.x, f"x of A x = b, {solution.status.name}, by gabp")
    if arguments.json:
        print(json_text(dataclass_record(solution, without=("x",))))
    else:
        print(solution)
        if arguments.output is not None:
            print(f"  x written to       {arguments.output}")
    if not solution.converged:
        print(f"gabp solve: not converged: {solution.status.value}", file=sys.stderr)
        return 1
    return 0
