"""A progress bar on stderr, where somebody is watching."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import gabp

__all__ = ["solve_progress"]


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
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("setting up", total=1.0)

        def show(progress: gabp.Progress) -> None:
            relative = progress.relative_residual
            if 0 < relative < math.inf:
                digits = min(1.0, max(0.0, math.log(relative) / math.log(rtol)))
                bar.update(
                    task,
                    completed=digits,
                    description=f"iteration {progress.iteration}  relative residual {relative:.1e}",
                )

        yield show
