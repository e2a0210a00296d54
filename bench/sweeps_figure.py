"""The picture of `bench.sweeps`: a sweep in units of a sparse product."""

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gabp.compare.figure import INK, QUIET, STYLE

__all__ = ["sweeps_figure"]

BARS = {
    "mean, float32": "#e79a8b",
    "mean": "#c8321e",
    "precision + mean": "#8c2315",
    "textbook: mean": "#b8c2ca",
    "textbook: precision + mean": "#8795a1",
}


def sweeps_figure(ratios: dict[str, dict[str, float]], caption: str) -> Figure:
    """Bars by problem and kernel, on a logarithmic scale; the line is one product.

    Parameters
    ----------
    ratios : dict
        For each problem, the cost of each kernel in CSR products.
    caption : str
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(16, 9), facecolor="white", layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for place, (name, colour) in enumerate(BARS.items()):
            centres = [group + (place - 2) * 0.17 for group in range(len(ratios))]
            heights = [kernels[name] for kernels in ratios.values()]
            axes.bar(centres, heights, width=0.155, color=colour, label=name)
            for centre, height in zip(centres, heights, strict=True):
                axes.annotate(f"{height:.2g}", (centre, height), xytext=(0, 3), textcoords="offset points", ha="center")
        axes.axhline(1, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            "one sparse product", (0.0, 1), xycoords=("axes fraction", "data"), xytext=(6, 5),
            textcoords="offset points", ha="left",
        )  # fmt: skip
        axes.set(yscale="log", ylabel="cost of a sweep, in CSR products of torch")
        axes.set_xticks(range(len(ratios)), list(ratios))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5, frameon=False)
        figure.suptitle("What a sweep of messages costs", fontsize=20, fontweight="bold")
        figure.supxlabel(caption, fontsize=10.5, color=QUIET)
    return figure
