"""``gabp demo``: a terrain reconstructed from one height in twenty."""

import argparse
import sys
from pathlib import Path

from gabp.cli.json_text import json_text
from gabp.cli.progress import solve_progress
from gabp.demos.terrain import Reconstruction, load_terrain, reconstruct
from gabp.demos.terrain_figure import save_figure
from gabp.files import check_writable, make_folder, reraise_as_file_error, write_text

HELP = "reconstruct a real terrain from one height in twenty, and draw it"
WANTED_RESIDUAL = 1e-8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``gabp demo``."""
    parser.add_argument("--out", metavar="DIR", default=".", help="folder for demo.png and demo.json (default: here)")


def describe(result: Reconstruction) -> str:
    """A summary of the reconstruction in lines of text."""
    solution = result.solution
    return "\n".join(
        [
            f"Terrain: {result.given.sum():,} of {result.given.size:,} heights given, the others inferred",
            f"  error, RMS         {result.rmse(result.mean):.2f} m"
            f" (nearest neighbour: {result.rmse(result.nearest):.2f} m)",
            f"  uncertainty        {result.coverage:.1%} of the others within ± 2 Bethe standard deviations",
            f"  relative residual  {result.relative_residual:.2e}",
            f"  iterations         {solution.iterations} of {solution.method} ({solution.method_reason})",
            f"  seconds            {solution.setup_seconds:.3g} set-up + {solution.solve_seconds:.3g} solve",
        ]
    )


def run(arguments: argparse.Namespace) -> int:
    """Reconstruct, print the numbers, save picture and numbers; 0 if the residual is at most 1e-8, else 1."""
    folder = Path(arguments.out)
    make_folder(folder)
    picture, numbers = folder / "demo.png", folder / "demo.json"
    check_writable(picture, (".png",))
    with solve_progress(WANTED_RESIDUAL) as show:
        result = reconstruct(load_terrain(), callback=show)
    with reraise_as_file_error(picture, "written"):
        save_figure(result, picture)
    write_text(numbers, json_text(result.summary()) + "\n")
    print(describe(result))
    print(f"  picture            {picture}")
    print(f"  numbers            {numbers}")
    if not result.relative_residual <= WANTED_RESIDUAL:
        print(f"gabp demo: not converged: {result.solution.status.value}", file=sys.stderr)
        return 1
    return 0
