"""Learn smoothness and noise of a terrain from a sample of its heights, and check the error bars.

Prior: heights x of a map with precision ``τ (L + κ I)``, L the Laplacian of the grid. Data: one height in
twenty, with noise of precision λ. The log marginal likelihood of the data is a difference of two normalisers,

    log p(y) = log Z(posterior) - log Z(prior) + ½ m log(λ / 2π) - ½ λ yᵀy ,

and its gradient in (τ, κ, λ) comes from the selected inverses of the same two factors. Run it with

    python examples/terrain_hyperparameters.py [stride]

where every stride-th row and column of the map is used (2 by default; 1 is the whole map).
"""

import sys
import time

import numpy as np
import torch
from matplotlib.cbook import get_sample_data

import gabp

GIVEN = 0.05  # fraction of the heights that is observed
ITERATIONS = 25  # of L-BFGS


def load_heights(stride: int) -> np.ndarray:
    """The elevation model that ships in matplotlib, metres."""
    with get_sample_data("jacksboro_fault_dem.npz") as data:
        return data["elevation"][::stride, ::stride].astype(np.float64)


class Map:
    """A grid of standardised heights, of which some are observed; matrices are values on one COO pattern."""

    def __init__(self, height: np.ndarray, seed: int = 0) -> None:
        self.n = height.size
        self.given = np.random.default_rng(seed).random(self.n) < GIVEN
        flat = height.ravel()
        self.offset, self.scale = flat[self.given].mean(), flat[self.given].std()
        self.truth = torch.from_numpy((flat - self.offset) / self.scale)
        self.mask = torch.from_numpy(self.given)
        node = torch.arange(self.n).reshape(height.shape)
        i = torch.cat([node[:, :-1].ravel(), node[:-1].ravel()])
        j = torch.cat([node[:, 1:].ravel(), node[1:].ravel()])
        degree = torch.bincount(torch.cat([i, j]), minlength=self.n).double()
        own = torch.arange(self.n)
        self.place = torch.stack([torch.cat([own, i, j]), torch.cat([own, j, i])])
        self.laplacian = torch.cat([degree, -torch.ones(2 * len(i), dtype=torch.float64)])
        self.identity = torch.cat([torch.ones(self.n, dtype=torch.float64), torch.zeros(2 * len(i))])
        self.data = torch.cat([self.mask.double(), torch.zeros(2 * len(i))])

    def matrix(self, values: torch.Tensor) -> torch.Tensor:
        """The sparse matrix of ``values``, shape (n, n)."""
        return torch.sparse_coo_tensor(self.place, values, (self.n, self.n), check_invariants=False)

    def models(self, log_parameters: torch.Tensor) -> tuple[gabp.Gaussian, gabp.Gaussian]:
        """The prior, and the posterior given the observed heights."""
        smoothness, decay, precision = log_parameters.exp()
        prior = smoothness * (self.laplacian + decay * self.identity)
        potential = precision * torch.where(self.mask, self.truth, 0.0)
        return gabp.Gaussian(self.matrix(prior)), gabp.Gaussian(self.matrix(prior + precision * self.data), potential)

    def log_evidence(self, log_parameters: torch.Tensor) -> torch.Tensor:
        """The log marginal likelihood ``log p(y)``."""
        prior, posterior = self.models(log_parameters)
        precision, y = log_parameters[2].exp(), self.truth[self.mask]
        likelihood = 0.5 * len(y) * torch.log(precision / (2 * torch.pi)) - 0.5 * precision * (y * y).sum()
        return posterior.log_normalizer() - prior.log_normalizer() + likelihood


def learn(terrain: Map) -> torch.Tensor:
    """The logarithms of (τ, κ, λ) that maximise the log marginal likelihood, by L-BFGS."""
    log_parameters = torch.tensor([0.0, -4.0, 4.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_parameters], max_iter=ITERATIONS, line_search_fn="strong_wolfe", tolerance_change=1e-4
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -terrain.log_evidence(log_parameters) / int(terrain.mask.sum())
        loss.backward()
        return loss

    optimizer.step(closure)
    return log_parameters.detach()


def coverage(terrain: Map, log_parameters: torch.Tensor) -> tuple[float, float]:
    """Root-mean-square error in metres, and the fraction of held-out heights inside their 95 % interval."""
    _, posterior = terrain.models(log_parameters)
    marginals = posterior.marginals("exact")
    deviation = (marginals.variance + 1 / log_parameters[2].exp()).sqrt()  # of a height with measurement noise
    held_out = ~terrain.mask
    error = (marginals.mean - terrain.truth)[held_out]
    inside = float((error.abs() <= 1.959964 * deviation[held_out]).double().mean())
    return float(error.square().mean().sqrt()) * terrain.scale, inside


def main() -> None:
    terrain = Map(load_heights(int(sys.argv[1]) if len(sys.argv) > 1 else 2))
    print(f"{terrain.n} heights, {int(terrain.mask.sum())} of them observed")
    for name, parameters in [("before", torch.tensor([0.0, -4.0, 4.0], dtype=torch.float64)), ("learnt", None)]:
        start = time.perf_counter()
        parameters = learn(terrain) if parameters is None else parameters
        smoothness, decay, precision = parameters.exp().tolist()
        rmse, inside = coverage(terrain, parameters)
        print(
            f"{name}: smoothness {smoothness:.3g}, decay {decay:.3g}, noise {precision**-0.5 * terrain.scale:.3g} m, "
            f"log evidence {float(terrain.log_evidence(parameters)):.1f}; error {rmse:.1f} m, "
            f"{100 * inside:.1f} % of held-out heights inside their 95 % interval ({time.perf_counter() - start:.1f} s)"
        )


if __name__ == "__main__":
    main()
