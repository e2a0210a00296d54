"""A progress bar on stderr, where somebody is watching."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import gabp

__all__ = ["optimize_progress", "solve_progress"]


@contextmanager
def _bar() -> Iterator[Callable[[float, str], None] | None]:
    """A bar to set to a share and a description; None where stderr is not a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("setting up", total=1.0)
        yield lambda share, description: bar.update(task, completed=share, description=description)


def _digits(relative: float, rtol: float) -> float:
    """The share of the digits wanted that are there."""
    return min(1.0, max(0.0, math.log(relative) / math.log(rtol)))


@contextmanager
def solve_progress(rtol: float) -> Iterator[Callable[[gabp.Progress], None] | None]:
    """Show how far a solve has come, by the digits of its residual.

    Parameters
    ----------
    rtol : float
        The relative residual at which the bar is full.

    Yields
    ------
    callable or None
        The callback for `gabp.solve`; None where stderr is not a terminal: then nothing is computed for it.
    """
    with _bar() as update:
        if update is None:
            yield None
            return

        def show(progress: gabp.Progress) -> None:
            relative = progress.relative_residual
            if 0 < relative < math.inf:
                update(
                    _digits(relative, rtol),
                    f"iteration {progress.iteration}  relative residual {relative:.1e}",
                )

        yield show


@contextmanager
def optimize_progress(rtol: float) -> Iterator[Callable[[gabp.OptimizationProgress], None] | None]:
    """Show how far an optimisation has come, by the digits of the relative decrease of its objective.

    Parameters
    ----------
    rtol : float
        The relative decrease at which the bar is full.

    Yields
    ------
    callable or None
        The callback for `gabp.FactorGraph.optimize`; None where stderr is not a terminal.
    """
    with _bar() as update:
        if update is None:
            yield None
            return

        def show(progress: gabp.OptimizationProgress) -> None:
            share = _digits(progress.decrease, rtol) if progress.decrease > 0 else 0.0
            update(share, f"iteration {progress.iteration}  objective {progress.objective:.9g}")

        yield show
