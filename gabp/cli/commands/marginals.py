"""``gabp marginals``: mean and variance of every variable of a model read from files."""

import argparse
import sys
from typing import get_args

import numpy as np

import gabp
from gabp.cli.errors import CommandError
from gabp.files import check_writable, read_matrix, read_right_hand_side, write_text
from gabp.marginals import VarianceKind

HELP = "mean and variance of every variable, as CSV"
NO_GAUSSIAN = (gabp.Status.NOT_POSITIVE_DEFINITE, gabp.Status.SINGULAR)
SEED = 0  # the same files give the same numbers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp marginals``."""
    parser.add_argument("matrix", metavar="MATRIX.mtx", help="A, the precision: .mtx, .mtx.gz or scipy .npz")
    parser.add_argument("rhs", metavar="RHS.mtx", nargs="?", help="b, the potential, one column (default: A·1)")
    parser.add_argument(
        "--variance", choices=get_args(VarianceKind), default="bethe",
        help="bethe (default): from the messages, exact on a forest; exact: from a sparse factor; "
        "corrected: an estimate with its standard error",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="OUT.csv", help="write here (default: to stdout)")


def _csv(found: gabp.Marginals) -> str:
    """One line per variable, indices from 0; numbers in their shortest form that reads back exactly."""
    columns = {"mean": found.mean, "variance": found.variance}
    if found.variance_stderr is not None:
        columns["stderr"] = found.variance_stderr
    rows = np.stack(list(columns.values()), axis=1).tolist()
    lines = [",".join(["index", *columns]), *(f"{i},{','.join(map(repr, row))}" for i, row in enumerate(rows))]
    return "\n".join(lines) + "\n"


def run(arguments: argparse.Namespace) -> int:
    """Write the marginals as CSV and the kind of the variances to stderr; 1 if the mean did not converge."""
    if arguments.output is not None:
        inputs = [path for path in (arguments.matrix, arguments.rhs) if path is not None]
        check_writable(arguments.output, (".csv",), spare=inputs)
    A = read_matrix(arguments.matrix)
    rows, columns = A.shape
    b = A @ np.ones(columns) if arguments.rhs is None else read_right_hand_side(arguments.rhs, rows)
    try:
        found = gabp.marginals(A, b, variance=arguments.variance, seed=SEED)
    except gabp.ConvergenceError as error:
        status = error.solution.status
        if status in NO_GAUSSIAN:
            raise CommandError(f"{arguments.matrix}: {status.value.partition(';')[0]}") from error
        print(f"gabp marginals: not converged: {status.value}", file=sys.stderr)
        return 1
    except (gabp.InvalidSystemError, ArithmeticError, MemoryError) as error:
        reason = str(error) or "not enough memory for a problem of this size"
        raise CommandError(f"{arguments.matrix}: {reason}") from error
    if arguments.output is None:
        sys.stdout.write(_csv(found))
        print(f"gabp marginals: variances {found.variance_kind}", file=sys.stderr)
    else:
        write_text(arguments.output, _csv(found))
        print(f"{found}\n  written to  {arguments.output}")
    return 0
