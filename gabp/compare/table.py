"""A comparison as Markdown: readable in a terminal, and in a README."""

import math
from collections.abc import Callable, Sequence

from gabp.compare.benchmark_run import Trial
from gabp.compare.comparison import Comparison, Quartiles, Timed

__all__ = ["comparison_table", "geometric_mean", "headline_table", "markdown_table"]

COLUMNS = ("solver", "set-up", "solve", "total", "quartiles", "ratio", "iterations", "residual", "memory", "rounds")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns; all but the first are numbers."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([line(header), f"|{rule}|", *(line(row) for row in rows)])


def seconds(value: float) -> str:
    """A duration with three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _range(quartiles: Quartiles) -> str:
    return f"{seconds(quartiles.low)} – {seconds(quartiles.high)}"


def _memory(trial: Trial, matrix_bytes: int) -> str:
    """Peak over the bytes of A in CSR."""
    return "" if trial.peak_bytes is None else f"{trial.peak_bytes / matrix_bytes:.1f} A"


def _iterations(trial: Trial) -> str:
    return "direct" if trial.iterations is None else str(trial.iterations)


def _row(entry: Timed, matrix_bytes: int) -> list[str]:
    trial = entry.trial
    return [
        entry.peer,
        seconds(entry.setup.median),
        seconds(entry.solve.median),
        seconds(entry.total.median),
        _range(entry.total),
        "1" if entry.ratio is None else f"{entry.ratio.median:.2f}",
        _iterations(trial),
        f"{trial.residual:.0e}",
        _memory(trial, matrix_bytes),
        str(entry.rounds),
    ]


def comparison_table(comparison: Comparison) -> str:
    """All peers on one problem, fastest first; below it those that were not timed, and why."""
    title = f"{comparison.problem}: {comparison.n:,} unknowns, {comparison.nnz:,} entries"
    lines = [f"### {title}", ""]
    if comparison.note:
        lines += [comparison.note, ""]
    if comparison.first is not None:
        rows = [_row(entry, comparison.matrix_bytes) for entry in comparison.timed]
        lines += [markdown_table(COLUMNS, rows), ""]
        lines += [
            f"To a true relative residual of {comparison.rtol:.0e}; medians. Ratio: median over pairs of the total "
            f"over that of {comparison.first.peer}. Memory: peak of set-up and solve, in sizes of A in CSR."
        ]
    lines += [f"- {entry.peer}: **{entry.trial.status}**, {entry.trial.detail}" for entry in comparison.untimed]
    lines += [f"- {name}: {reason}" for name, reason in comparison.absent.items()]
    return "\n".join(lines)


def headline_table(comparisons: Sequence[Comparison]) -> str:
    """One row per problem: gabp's time, and the best of the others in this process and in PETSc's ranks.

    Ratios are taken in pairs; the last row is their geometric mean.
    """
    rivals: dict[str, Callable[[Timed], bool]] = {
        "best of the others": lambda entry: entry.family not in ("gabp", "petsc"),
    }
    if any(entry.family == "petsc" for comparison in comparisons for entry in comparison.timed):
        rivals["best of PETSc"] = lambda entry: entry.family == "petsc"
    ratios: dict[str, list[float]] = {title: [] for title in rivals}
    rows = []
    for comparison in comparisons:
        row = [comparison.problem, f"{comparison.n:,}"]
        ours = comparison.first
        if ours is None or ours.family != "gabp":
            row += ["not solved", "", ""]
        else:
            row += [seconds(ours.setup.median), seconds(ours.solve.median), _iterations(ours.trial)]
        for title, is_rival in rivals.items():
            best = next((entry for entry in comparison.timed if is_rival(entry)), None)
            row += ["none", ""] if best is None else [best.peer, seconds(best.total.median)]
            ratio = best.ratio.median if best is not None and best.ratio is not None else None
            row += ["" if ratio is None else f"{ratio:.2f}"]
            if ratio is not None:
                ratios[title].append(ratio)
        rows.append(row)
    header = ["problem", "unknowns", "set-up", "solve", "iterations"]
    mean = ["geometric mean", "", "", "", ""]
    for title in rivals:
        header += [title, "its total", "ratio"]
        mean += ["", "", f"{geometric_mean(ratios[title]):.2f}" if ratios[title] else ""]
    return markdown_table(header, [*rows, mean] if len(rows) > 1 else rows)


def geometric_mean(values: Sequence[float]) -> float:
    """``(v₁ ⋯ v_k)^(1/k)``."""
    return math.exp(sum(math.log(value) for value in values) / len(values))
