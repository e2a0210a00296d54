"""Marginals: what estimates of variances are worth, and what exact ones and their gradients cost.

``python -m bench.marginals`` writes marginals.md and marginals-errors.md to bench/results/; ``--quick`` does small
problems. The peer of the exact variances, ``selinv``, is taken where it is installed; ``--peer PYTHON`` runs it by
another interpreter.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg
import torch

import gabp
from bench.problems import grid_laplacian
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.table import markdown_table
from gabp.marginals import Conditionals, Probing, corrected_variances, make_generator

PROBES = (16, 64, 256)
SEEDS = 5
ROUNDS = 5
EXACT_HEADER = ["exact variances", "gabp", "selinv", "ratio", "column solves", "ratio"]
GRADIENT_HEADER = ["gradients", "solve", "backward", "ratio", "exact variances", "backward", "ratio"]
SOLVED_COLUMNS = 64  # of the inverse, from which the time of all is extrapolated
PEER = """
import sys, time, scipy.sparse, selinv
A = scipy.sparse.csc_matrix(scipy.sparse.load_npz(sys.argv[1]))
began = time.perf_counter()
selinv.selinv(A)
print(time.perf_counter() - began)
"""

Estimator = Callable[[gabp.Gaussian, int, int], Any]


def models(side: int) -> dict[str, sp.csr_array]:
    """Long and short correlations, and two models that are not walk-summable."""
    poisson = grid_laplacian((side, side), (1.0, 1.0))
    identity = sp.eye_array(side * side)
    rough = sp.csr_array(poisson + 0.3 * identity)
    path = sp.diags_array([np.ones(side - 1), np.ones(side - 1)], offsets=[-1, 1])
    signs = sp.diags_array((-1.0) ** np.arange(side))
    frustrated = 3 * identity + sp.kron(sp.eye_array(side), path) + sp.kron(path, signs)
    return {
        f"Poisson {side}²": poisson,
        f"grid {side}² + 0.1": sp.csr_array(poisson + 0.1 * identity),
        f"grid {side}² + 1": sp.csr_array(poisson + identity),
        f"frustrated grid {side}²": sp.csr_array(frustrated),
        f"squared Laplacian {side}² (L + 0.3)²": sp.csr_array(rough @ rough),
    }


def _signs(n: int, probes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, probes))


def hutchinson(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """The mean of ``z_i (A⁻¹ z)_i`` over random sign vectors."""
    z = _signs(model.n, probes, seed)
    return (z * model.solver.solve(z).x).mean(1)


def with_bethe_covariances(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """Hutchinson's estimate, less the part of its error that the Bethe covariances of the edges predict."""
    z = _signs(model.n, probes, seed)
    graph = model.solver.system.graph
    known = sp.csr_array((_bethe_covariances(model), graph.source.numpy(), graph.start.numpy()), (model.n, model.n))
    return (z * (model.solver.solve(z).x - known @ z)).mean(1)


def _bethe_covariances(model: gabp.Gaussian) -> np.ndarray:
    """On every edge, by the derivative of the Bethe log-determinant; zero where the messages have no fixed point."""
    system = model.solver.system
    row, column = system.graph.destination, system.graph.source.long()
    node = torch.arange(system.n)
    value = torch.cat([system.diagonal, system.weight]).requires_grad_()
    place = torch.stack([torch.cat([node, row]), torch.cat([node, column])])
    A = torch.sparse_coo_tensor(place, value, (system.n, system.n), check_invariants=False)
    try:
        (gradient,) = torch.autograd.grad(gabp.logdet(A, kind="bethe"), value)
    except ArithmeticError:
        return np.zeros(system.graph.edges)
    return gradient[system.n :].numpy()


def coloured(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """Coloured probing of the covariance itself."""
    whole = Conditionals(torch.ones(model.n, dtype=torch.float64), sp.csr_array(sp.eye_array(model.n)))
    return Probing(model.solver, whole).estimate(probes, make_generator(seed))[0].numpy()


def coloured_with_patches(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """What ``corrected`` does where the model cannot be sampled."""
    return corrected_variances(model.solver, None, make_generator(seed), probes=probes, rtol=None)[0].numpy()


def samples(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """The mean square of samples."""
    return np.square(model.sample(probes, seed)).mean(0)


def samples_with_patches(model: gabp.Gaussian, probes: int, seed: int) -> Any:
    """What ``corrected`` does."""
    return model.marginals("corrected", probes=probes, seed=seed).variance


ESTIMATORS: dict[str, Estimator] = {
    "Hutchinson": hutchinson,
    "… less Bethe covariances": with_bethe_covariances,
    "coloured": coloured,
    "coloured, given patches": coloured_with_patches,
    "samples": samples,
    "samples, given patches": samples_with_patches,
}


def errors_table(side: int) -> str:
    """Root-mean-square errors of the estimators, relative to the mean variance."""
    rows = []
    for name, A in models(side).items():
        model = gabp.Gaussian(A)
        truth = model.variances("exact")
        for probes in PROBES:
            row = [name, str(probes)]
            for estimate in ESTIMATORS.values():
                error = [estimate(model, probes, seed) - truth for seed in range(SEEDS)]
                row.append(f"{100 * np.sqrt(np.mean(np.square(error))) / truth.mean():.2g}")
            rows.append(row)
            print(" | ".join(row), flush=True)
    return markdown_table(["model", "solves", *ESTIMATORS], rows)


def timed(work: Callable[[], Any]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def exact_row(side: int, peer: str) -> list[str]:
    """Seconds of the exact variances of a grid, factorisation included, against selinv and column solves."""
    A = sp.csr_array(grid_laplacian((side, side), (1.0, 1.0)) + 0.1 * sp.eye_array(side * side))
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        sp.save_npz(f"{folder}/A.npz", A)
        for _ in range(ROUNDS):
            ours.append(timed(lambda: gabp.Gaussian(A).variances("exact")))
            run = subprocess.run([peer, "-c", PEER, f"{folder}/A.npz"], capture_output=True, text=True, check=False)
            if run.returncode == 0:
                theirs.append(float(run.stdout))
    factor = scipy.sparse.linalg.splu(A.tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    unit = np.zeros((side * side, SOLVED_COLUMNS))
    unit[:SOLVED_COLUMNS] = np.eye(SOLVED_COLUMNS)
    columns = timed(lambda: factor.solve(unit)) * side * side / SOLVED_COLUMNS
    mine = median(ours)
    against = [f"{median(theirs):.3f}", f"{median(theirs) / mine:.2f}"] if theirs else ["not installed", ""]
    return [f"grid {side}²", f"{mine:.3f}", *against, f"{columns:.0f}", f"{columns / mine:.0f}"]


def gradient_row(side: int) -> list[str]:
    """Seconds forward and backward, of a solution and of the exact variances."""
    A = sp.coo_array(grid_laplacian((side, side), (1.0, 1.0)) + 0.01 * sp.eye_array(side * side))
    place = torch.from_numpy(np.stack(A.coords))
    value = torch.from_numpy(A.data).requires_grad_()
    b = torch.randn(side * side, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    times: list[list[float]] = []
    for _ in range(ROUNDS):
        row = []
        for question in (
            lambda matrix: gabp.solve(matrix, b).x.square().sum(),
            lambda matrix: gabp.Gaussian(matrix).variances("exact").log().sum(),
        ):
            matrix = torch.sparse_coo_tensor(place, value, A.shape, check_invariants=False)
            began = perf_counter()
            outcome = question(matrix)
            middle = perf_counter()
            torch.autograd.grad(outcome, value)
            row += [middle - began, perf_counter() - middle]
        times.append(row)
    a, b_, c, d = (median(column) for column in zip(*times, strict=True))
    return [f"grid {side}²", f"{a:.3f}", f"{b_:.3f}", f"{b_ / a:.2f}", f"{c:.3f}", f"{d:.3f}", f"{d / c:.1f}"]


def seconds_text(exact: tuple[int, ...], gradients: tuple[int, ...], peer: str) -> str:
    machine, commit = describe_machine(), describe_commit()
    return f"""# Seconds of marginals

{machine["processor"]}, {machine["threads"]} threads, {machine["date"][:10]}, commit {commit.get("commit", "")[:10]}.
Medians of {ROUNDS}. Exact variances with their factorisation; column solves by SuperLU, extrapolated from
{SOLVED_COLUMNS} columns; forward passes with their set-up.

{markdown_table(EXACT_HEADER, [exact_row(side, peer) for side in exact])}

{markdown_table(GRADIENT_HEADER, [gradient_row(side) for side in gradients])}
"""


def errors_text(side: int) -> str:
    return f"""# Errors of estimated variances

Root mean square over nodes and {SEEDS} seeds, in percent of the mean variance. `corrected` takes samples given
patches, or coloured probes given patches where the model can be neither factored nor certified walk-summable.

{errors_table(side)}
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.marginals", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    parser.add_argument("--peer", default=sys.executable, metavar="PYTHON", help="the interpreter that has selinv")
    parser.add_argument("--quick", action="store_true", help="small problems")
    parser.add_argument("--only", choices=("seconds", "errors"), help="one of the two files")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.only != "errors":
        text = seconds_text(
            (60,) if arguments.quick else (300, 600), (40,) if arguments.quick else (100, 300), arguments.peer
        )
        (arguments.out / "marginals.md").write_text(text)
        print(text)
    if arguments.only != "seconds":
        text = errors_text(20 if arguments.quick else 100)
        (arguments.out / "marginals-errors.md").write_text(text)
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
