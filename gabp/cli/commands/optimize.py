"""``gabp optimize``: the estimate of a factor graph read from a file."""

import argparse
import sys
from typing import Any

import numpy as np
import torch

import gabp
from gabp.cli.arguments import loss, positive_integer, tolerance
from gabp.cli.errors import CommandError
from gabp.cli.graph_figure import OUTLIER, graph_figure
from gabp.cli.json_text import dataclass_record, json_text
from gabp.cli.progress import optimize_progress
from gabp.factors import GraduatedNonConvexity, Variables
from gabp.factors.optimizers import INCREMENTAL, MESSAGES, METHODS
from gabp.files import check_writable, read_factor_graph, reraise_as_file_error, write_g2o, write_text

HELP = "optimise a pose graph or a bundle adjustment problem"
GRAPH_SUFFIXES = (".g2o", ".g2o.gz", ".g2o.bz2")
DEFAULT_RTOL = 1e-9  # of FactorGraph.optimize
LARGE = ("estimate", "sets", "fixed", "graduated")  # fields of a result that are as large as the graph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp optimize``."""
    parser.add_argument(
        "graph", metavar="GRAPH.g2o", help="pose graph (.g2o) or bundle adjustment (.txt, .bal); .gz, .bz2"
    )
    parser.add_argument("-o", "--output", metavar="OUT.g2o", help="write the pose graph with the values found here")
    parser.add_argument(
        "--method",
        choices=(*METHODS, MESSAGES, INCREMENTAL),
        default="levenberg-marquardt",
        help="default: levenberg-marquardt",
    )
    parser.add_argument(
        "--init", choices=("spanning-tree", "chordal"), help="where to start (default: the values in the file)"
    )
    parser.add_argument("--loss", type=loss, metavar="NAME:SCALE", help="robust loss of all factors, such as huber:1.0")
    parser.add_argument(
        "--robust", choices=("gnc",),
        help="ignore outliers: graduated non-convexity; edges from a vertex to the next are taken as right",
    )  # fmt: skip
    parser.add_argument("--rtol", type=tolerance, metavar="R", default=DEFAULT_RTOL, help="tolerance (default: 1e-9)")
    parser.add_argument("--maxiter", type=positive_integer, metavar="N", default=100, help="iterations (default: 100)")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the graph before and after")
    parser.add_argument("--covariance", metavar="OUT.csv", help="write the covariance of every variable here")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(arguments: argparse.Namespace) -> int:
    """Optimise, print the result's summary, write what is asked for; 0 if it converged, else 1."""
    _check_outputs(arguments)
    graph = read_factor_graph(arguments.graph)
    try:
        result = _optimize(graph, arguments)
        covariances = _covariances(graph, result) if arguments.covariance is not None else None
    except (gabp.InvalidSystemError, ArithmeticError, MemoryError) as error:
        reason = str(error) or "not enough memory for a problem of this size"
        raise CommandError(f"{arguments.graph}: {reason}") from error
    if arguments.plot is not None:
        with reraise_as_file_error(arguments.plot, "written"):
            graph_figure(graph, result, covariances or _covariances_if_any(graph, result), arguments.plot)
    if covariances is not None:
        write_text(arguments.covariance, _csv(covariances))
    if arguments.output is not None:
        _write(arguments, graph, result)
    if arguments.json:
        print(json_text(_record(graph, result)))
    else:
        print(_summary(graph, result, arguments))
    if not result.converged:
        about = f" ({result.detail})" if result.detail else ""
        print(f"gabp optimize: not converged: {result.status.value}{about}", file=sys.stderr)
        return 1
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    for path, suffixes in (
        (arguments.output, GRAPH_SUFFIXES), (arguments.plot, (".png",)), (arguments.covariance, (".csv",)),
    ):  # fmt: skip
        if path is not None:
            check_writable(path, suffixes, spare=[arguments.graph])
    if arguments.loss is not None and arguments.robust is not None:
        raise CommandError("--loss cannot be used with --robust, which has a loss of its own")


def _optimize(graph: gabp.FactorGraph, arguments: argparse.Namespace) -> gabp.OptimizationResult:
    if arguments.loss is not None:
        _give_loss(graph, arguments.loss)
    robust = GraduatedNonConvexity(inliers="odometry") if arguments.robust == "gnc" else None
    with optimize_progress(arguments.rtol) as show:
        return graph.optimize(
            arguments.method,
            init=arguments.init,
            maxiter=arguments.maxiter,
            rtol=arguments.rtol,
            robust=robust,
            callback=show,
            throw=False,
        )


def _give_loss(graph: gabp.FactorGraph, given: Any) -> None:
    """Replace the loss of all factors."""
    for batch in graph.factors:
        graph.remove(batch)
        columns = tuple(batch.index.unbind(1))
        graph.add(type(batch.kind), batch.variables, columns, batch.measurement, batch.information, loss=given)


def _covariances(graph: Any, result: gabp.OptimizationResult) -> dict[Variables, np.ndarray]:
    """The covariances of all variables in their tangent spaces, (N, d, d) for each set."""
    marginals = graph.marginals(result)
    return {variables: torch.as_tensor(marginals.covariance(variables)).numpy() for variables in graph.sets}


def _covariances_if_any(graph: Any, result: gabp.OptimizationResult) -> dict[Variables, np.ndarray]:
    """The same, or nothing where the estimate has none."""
    try:
        return _covariances(graph, result)
    except (gabp.InvalidSystemError, ArithmeticError, MemoryError):
        return {}


def _write(arguments: argparse.Namespace, graph: gabp.FactorGraph, result: gabp.OptimizationResult) -> None:
    if arguments.loss is not None:
        _give_loss(graph, None)  # the format has none
    try:
        write_g2o(arguments.output, graph, result)
    except gabp.InvalidSystemError as error:
        raise CommandError(f"{arguments.output}: {error}") from error


def _csv(covariances: dict[Variables, np.ndarray]) -> str:
    """One line per variable: the upper triangle by rows, empty beyond its dimension; numbers that read back exactly."""
    most = max(covariance.shape[1] for covariance in covariances.values())
    places = [(row, column) for row in range(most) for column in range(row, most)]
    lines = [",".join(["id", "manifold", *(f"covariance_{row}_{column}" for row, column in places)])]
    for variables, covariance in covariances.items():
        size = covariance.shape[1]
        ids = range(variables.count) if variables.labels is None else variables.labels.tolist()
        for identifier, block in zip(ids, covariance.tolist(), strict=True):
            cells = (repr(block[row][column]) if column < size else "" for row, column in places)
            lines.append(",".join([str(identifier), variables.manifold.name, *cells]))
    return "\n".join(lines) + "\n"


def _outliers(graph: gabp.FactorGraph, result: gabp.OptimizationResult) -> list[list[int]]:
    """The identifiers of the variables of each factor whose weight is small."""
    found = []
    for batch in graph.factors:
        for factor in np.flatnonzero(result.weights(batch) < OUTLIER).tolist():
            ends = zip(batch.variables, batch.index[factor].tolist(), strict=True)
            found.append([index if s.labels is None else int(s.labels[index]) for s, index in ends])
    return found


def _record(graph: gabp.FactorGraph, result: gabp.OptimizationResult) -> dict[str, Any]:
    """The fields of a result that are small, and the outliers."""
    return {**dataclass_record(result, without=LARGE), "outliers": _outliers(graph, result)}


def _summary(graph: gabp.FactorGraph, result: gabp.OptimizationResult, arguments: argparse.Namespace) -> str:
    lines = [repr(result)]
    if arguments.loss is not None or arguments.robust is not None:
        total = sum(len(batch) for batch in graph.factors)
        lines.append(
            f"  outliers       {len(_outliers(graph, result))} of {total} factors, of a weight below {OUTLIER}"
        )
    for name, path in (("graph", arguments.output), ("picture", arguments.plot), ("covariances", arguments.covariance)):
        if path is not None:
            lines.append(f"  {name:<13}  {path}")
    return "\n".join(lines)
