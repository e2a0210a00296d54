"""Linear elasticity in space: trilinear hexahedra on a box, the standard model of vector-valued nodes.

The element stiffness is integrated by 2 × 2 × 2 Gauss points (Hughes 2000, §3.8 and §3.9); the material is isotropic.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

_CORNERS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], dtype=float)


@dataclass(frozen=True, eq=False)
class ElasticBody:
    """A discretised body.

    Attributes
    ----------
    A : csr_array, shape (3 N, 3 N)
        The stiffness, the three displacements of a node successive.
    coordinates : ndarray, shape (N, 3)
    """

    A: sp.csr_array
    coordinates: np.ndarray


def elastic_box(
    side: int,
    *,
    poisson: float = 0.3,
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
    modulus: np.ndarray | None = None,
    fixed: bool = True,
) -> ElasticBody:
    """``side``³ elements on a box.

    Parameters
    ----------
    side : int
    poisson : float
        Poisson's ratio, below 1/2.
    stretch : tuple of float
        Edge lengths of an element.
    modulus : ndarray, shape (side³,), optional
        Young's modulus of each element; 1 by default.
    fixed : bool
        One face is clamped; else the body floats, and A is singular.
    """
    nodes = side + 1
    index = np.arange(nodes**3).reshape(nodes, nodes, nodes)  # z, y, x
    corners = [(dz, dy, dx) for dz in (0, 1) for dy in (0, 1) for dx in (0, 1)]
    cells = np.stack([index[z : z + side, y : y + side, x : x + side].ravel() for z, y, x in corners], axis=1)
    unknown = (3 * cells[:, :, None] + np.arange(3)).reshape(len(cells), 24)
    weight = np.ones(len(cells)) if modulus is None else np.asarray(modulus)
    value = (weight[:, None, None] * _element_stiffness(poisson, np.array(stretch))).ravel()
    place = (np.repeat(unknown, 24, axis=1).ravel(), np.tile(unknown, (1, 24)).ravel())
    A = sp.coo_array((value, place), (3 * nodes**3,) * 2).tocsr()
    z, y, x = np.meshgrid(*[np.arange(nodes)] * 3, indexing="ij")
    coordinates = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1) * np.array(stretch)
    free = np.flatnonzero(x.ravel() > 0) if fixed else np.arange(nodes**3)
    kept = (3 * free[:, None] + np.arange(3)).ravel()
    A = A[kept][:, kept]
    return ElasticBody(sp.csr_array(0.5 * (A + A.T)), coordinates[free])


def _element_stiffness(poisson: float, stretch: np.ndarray) -> np.ndarray:
    """The (24, 24) stiffness of a box with Young's modulus 1."""
    shear = 1.0 / (2 * (1 + poisson))
    elastic = np.diag([2 * shear] * 3 + [shear] * 3)
    elastic[:3, :3] += poisson / ((1 + poisson) * (1 - 2 * poisson))
    stiffness = np.zeros((24, 24))
    for point in _CORNERS / np.sqrt(3):
        factor = 1 + _CORNERS * point  # (8, 3)
        gradient = _CORNERS * np.stack(
            [factor[:, [1, 2]].prod(1), factor[:, [0, 2]].prod(1), factor[:, [0, 1]].prod(1)], 1
        )
        gradient = gradient / 8 * (2 / stretch)
        strain = np.zeros((6, 24))
        for corner, (x, y, z) in enumerate(gradient):
            strain[:, 3 * corner : 3 * corner + 3] = [[x, 0, 0], [0, y, 0], [0, 0, z], [y, x, 0], [0, z, y], [z, 0, x]]
        stiffness += strain.T @ elastic @ strain
    return stiffness * stretch.prod() / 8
