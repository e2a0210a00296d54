"""Reproduce figures 2 and 3 of Weiss and Freeman: ``python examples/weiss_freeman.py [folder]``."""

import sys
from pathlib import Path

from gabp.demos.weiss_freeman import figure_2, figure_3
from gabp.demos.weiss_freeman_figures import caption_3, draw_figure_2, draw_figure_3


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draw_figure_2(figure_2()).savefig(folder / "figure2.png", dpi=130)
    runs = [figure_3(seed) for seed in range(20)]
    draw_figure_3(runs).savefig(folder / "figure3.png", dpi=130)
    print(caption_3(runs))
    print(f"pictures in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "weiss_freeman"))
