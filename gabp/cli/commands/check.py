"""``gabp check``: the convergence report of a matrix."""

import argparse
import dataclasses
from typing import Any

import numpy as np

import gabp
from gabp.cli.arguments import blocks
from gabp.cli.check_figure import check_figure
from gabp.cli.errors import CommandError
from gabp.cli.json_text import json_text
from gabp.files import check_writable, read_matrix, reraise_as_file_error, write_dense

HELP = "which methods converge on A, with certificates"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp check``."""
    parser.add_argument("matrix", metavar="MATRIX.mtx", help="A: .mtx, .mtx.gz or scipy .npz")
    parser.add_argument("--blocks", type=blocks, metavar="D", help="report on vector-valued nodes too: size D, or auto")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead, without the scaling")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the report")
    parser.add_argument(
        "--scaling", metavar="D.mtx", help="write the d that proves walk-summability here (.mtx, .mtx.gz)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the convergence report of a matrix."""
    if arguments.plot is not None:
        check_writable(arguments.plot, (".png",))
    if arguments.scaling is not None:
        check_writable(arguments.scaling, (".mtx", ".mtx.gz"), spare=[arguments.matrix])
    A = read_matrix(arguments.matrix)
    try:
        report = gabp.check(A, blocks=arguments.blocks)
    except gabp.InvalidSystemError as error:
        raise CommandError(f"{arguments.matrix}: {error}") from error
    if arguments.plot is not None:
        with reraise_as_file_error(arguments.plot, "written"):
            check_figure(A, arguments.plot, report)
    if arguments.scaling is not None:
        _write_scaling(arguments.scaling, report)
    print(json_text(_record(report)) if arguments.json else report)
    return 0


def _record(report: gabp.ConvergenceReport) -> dict[str, Any]:
    """The report without its scaling of n numbers."""
    record = dataclasses.replace(report, scaling=None).to_dict()
    del record["scaling"]
    return record


def _write_scaling(path: str, report: gabp.ConvergenceReport) -> None:
    if report.scaling is None:
        raise CommandError(f"{path}: there is no scaling to write: walk-summability is not proven")
    write_dense(path, np.asarray(report.scaling), "d with (D - |O|) d > 0, by gabp")
