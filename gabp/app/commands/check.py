"""``gabp check``: what can be known of a matrix before solving with it."""

import argparse

import gabp
from gabp.app.arguments import blocks
from gabp.app.check_figure import check_figure
from gabp.app.errors import CommandError
from gabp.app.files import check_writable, read_matrix, told_as_file_error
from gabp.app.json_text import json_text

HELP = "which methods converge on A, with certificates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp check``."""
    parser.add_argument("matrix", metavar="MATRIX.mtx", help="A: .mtx, .mtx.gz or scipy .npz")
    parser.add_argument("--blocks", type=blocks, metavar="D", help="look at vector-valued nodes too: D, or auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the report")


def run(arguments: argparse.Namespace) -> int:
    """Print the convergence report of a matrix."""
    if arguments.plot is not None:
        check_writable(arguments.plot, (".png",))
    A = read_matrix(arguments.matrix)
    try:
        report = gabp.check(A, blocks=arguments.blocks)
    except gabp.InvalidSystemError as error:
        raise CommandError(f"{arguments.matrix}: {error}") from error
    if arguments.plot is not None:
        with told_as_file_error(arguments.plot, "written"):
            check_figure(A, arguments.plot, report)
    print(json_text(report.to_dict()) if arguments.json else report)
    return 0
