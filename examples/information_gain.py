"""Which places to visit again? The predicted information gain of loop closures, before any is measured.

A robot drives a square spiral and knows its poses from odometry alone. A measurement of the transformation between two
poses with information Ω and derivatives J would raise the log-determinant of the information matrix A of all poses by

    2 gain = log det(A + JᵀΩJ) - log det A = log det(I + Ω J Σ Jᵀ) ,

Σ the joint covariance of the two poses (V. Ila, J. M. Porta and J. Andrade-Cetto, *Information-based compact pose
SLAM*, IEEE Transactions on Robotics 26 (2010)): all candidates from one factor. Run it with

    python examples/information_gain.py
"""

import numpy as np
import torch

import gabp

INFORMATION = torch.diag(torch.tensor([100.0, 100.0, 400.0], dtype=torch.float64))
SIDES = [8, 8, 8, 8, 6, 6, 4, 4]  # steps of a metre


def spiral() -> tuple[gabp.FactorGraph, gabp.factors.Variables]:
    """Odometry along a square spiral, a turn to the left at the end of each side."""
    steps = torch.cat([torch.tensor([[1.0, 0.0, 0.0]] * (side - 1) + [[1.0, 0.0, np.pi / 2]]) for side in SIDES])
    graph = gabp.FactorGraph()
    x = graph.variables(gabp.SE2, torch.zeros(len(steps) + 1, 3, dtype=torch.float64))
    graph.add(gabp.factors.Prior, x, [0], torch.zeros(1, 3), 1e4)
    i = np.arange(len(steps))
    graph.add(gabp.factors.Between, (x, x), (i, i + 1), steps, INFORMATION)
    return graph, x


def predicted_gains(
    graph: gabp.FactorGraph, result: gabp.OptimizationResult, x: gabp.factors.Variables, i: np.ndarray, j: np.ndarray
) -> torch.Tensor:
    """The gain of measuring pose ``j`` from pose ``i``, in nats, for many pairs, shape (k,)."""
    poses = result.values(x)
    joint = graph.marginals(result).joint(x, i, x, j)
    ends = [poses[i], poses[j]]
    _, jacobian = gabp.factors.Between([gabp.SE2, gabp.SE2]).linearize(ends, gabp.SE2.relative(*ends))
    predicted = jacobian @ joint @ jacobian.mT  # the covariance of what would be measured
    return 0.5 * torch.logdet(torch.eye(3) + INFORMATION @ predicted)


def main() -> None:
    graph, x = spiral()
    result = graph.optimize(init="spanning-tree")
    place = result.values(x)[:, :2]
    i, j = np.triu_indices(x.count, k=5)
    near = (torch.linalg.vector_norm(place[i] - place[j], dim=1) < 2.5).numpy()  # in sight of each other
    gains = predicted_gains(graph, result, x, i[near], j[near])
    print(f"{near.sum()} pairs of poses are in sight of each other; the best to measure:")
    for k in gains.argsort(descending=True)[:5]:
        print(f"  {i[near][k]:2d} and {j[near][k]:2d}: {float(gains[k]):.2f} nats")


if __name__ == "__main__":
    main()
