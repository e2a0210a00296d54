"""``auto`` against the methods that it chooses from: the time it loses by not taking the best.

``python -m bench.regret`` writes bench/results/auto_regret.md: set-up and solve by ``auto``, elimination, the scalar
hierarchy and, where A has vector-valued nodes, theirs; on the systems of bench/systems.py and on elastic boxes. Each
method runs alternately with the others; one that takes ten times as long as ``auto`` runs once. An answer counts where
it converged, or ended as truly as ``auto``'s.
"""

import argparse
from collections.abc import Iterator
from itertools import chain
from statistics import median
from time import perf_counter

import numpy as np
import scipy.sparse as sp

import gabp
from bench.elasticity import elastic_box
from bench.run import RESULTS, describe_run
from bench.systems import systems
from gabp.compare.table import geometric_mean, markdown_table, seconds
from gabp.messages import factor_cost
from gabp.system import make_system, read_matrix
from gabp.system.blocks import find_blocks

MOST_SECONDS = 20.0  # predicted of a factor, above which it is not made
MOST_ITERATIONS = 1000
HOPELESS = 10.0  # times as long as auto
LIMIT = 1.3
NOTICEABLE = 0.002  # seconds lost, below which a ratio is noise


def elastic_systems() -> Iterator[tuple[str, sp.csr_array]]:
    """Boxes of trilinear hexahedra: of several sizes, flat, and of cells that differ in stiffness."""
    for side in (8, 12, 16, 24):
        yield f"elastic box {side}³", elastic_box(side).A
    yield "elastic box 16³, elements 5:1", elastic_box(16, stretch=(5.0, 1.0, 1.0)).A
    stiff = np.random.default_rng(0).random(16**3) < 0.3
    yield "elastic box 16³, jumps 10^6", elastic_box(16, modulus=np.where(stiff, 1e6, 1.0)).A


def candidates(A: sp.csr_array) -> dict[str, dict[str, object]]:
    """The settings of the methods to compare with."""
    system = make_system(read_matrix(A))
    found: dict[str, dict[str, object]] = {}
    if factor_cost.is_affordable(system.graph, MOST_SECONDS * factor_cost.FLOPS_PER_SECOND):
        found["elimination"] = {"method": "elimination"}
    if system.smallest_diagonal > 0:
        found["hierarchy"] = {"method": "hierarchy", "maxiter": MOST_ITERATIONS}
        blocks = find_blocks(system.graph)
        if blocks.max() + 1 < 0.6 * system.n:
            found["nodes"] = {"method": "hierarchy", "maxiter": MOST_ITERATIONS, "blocks": blocks}
    return found


def timed(A: sp.csr_array, b: np.ndarray, settings: dict[str, object]) -> tuple[float, gabp.Solution]:
    """Seconds of one set-up and solve, and how it ended."""
    began = perf_counter()
    solution = gabp.solve(A, b, throw=False, **settings)
    return perf_counter() - began, solution


def row(name: str, A: sp.csr_array, rounds: int) -> tuple[list[str], float]:
    """The row of a system, and its regret."""
    b = np.random.default_rng(0).standard_normal(A.shape[0])
    timed(A, b, {})  # a first call loads libraries
    first, auto = timed(A, b, {})
    times: dict[str, list[float]] = {"auto": [first]}
    settings, right = {"auto": {}} | candidates(A), {"auto"}
    for method, options in list(settings.items())[1:]:
        took, solution = timed(A, b, options)
        times[method] = [took]
        if solution.converged or (solution.status is auto.status and not auto.converged):
            right.add(method)
    for _ in range(rounds - 1):
        for method, options in settings.items():
            if times[method][0] <= HOPELESS * first:
                times[method].append(timed(A, b, options)[0])
    middle = {method: median(all_times) for method, all_times in times.items()}
    best = min(middle[method] for method in right)
    regret = middle["auto"] / best if middle["auto"] - best > NOTICEABLE else 1.0
    shown = [
        f"{seconds(middle[method])}{'' if method in right else ' (failed)'}" if method in middle else "–"
        for method in ("auto", "elimination", "hierarchy", "nodes")
    ]
    taken = auto.method + (", nodes" if "nodes of up to" in auto.method_reason and auto.method == "hierarchy" else "")
    cells = [name, f"{A.shape[0]:,}", taken, f"{auto.iterations}", auto.status.name.lower(), *shown, f"{regret:.2f}"]
    return cells, regret


def main() -> None:
    """Run it and write the table."""
    parser = argparse.ArgumentParser(description="Time auto beside the methods that it chooses from.")
    parser.add_argument("--only", metavar="TEXT", help="systems with this in their names")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows, regrets = [], []
    for name, A in chain(systems(), elastic_systems()):
        if arguments.only is None or arguments.only in name:
            cells, regret = row(name, sp.csr_array(A), arguments.rounds)
            rows.append(cells)
            regrets.append(regret)
            print(*cells, sep="  ", flush=True)
    heads = ["system", "unknowns", "auto took", "iterations", "status", "auto", "elimination", "hierarchy", "nodes"]
    text = [
        "# auto and the methods it chooses from",
        describe_run(),
        f"Regret: auto's time over the best's, where they differ by more than {1e3 * NOTICEABLE:g} ms. "
        f"At most {LIMIT} on {sum(regret <= LIMIT for regret in regrets)} of {len(regrets)} systems; geometric mean "
        f"{geometric_mean(regrets):.2f}, largest {max(regrets):.2f}. Failed: not converged after {MOST_ITERATIONS} "
        "iterations, or an untrue end; –: not applicable, or predicted to take too long.",
        markdown_table([*heads, "regret"], rows),
    ]
    (RESULTS / "auto_regret.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(text[2])


if __name__ == "__main__":
    main()
