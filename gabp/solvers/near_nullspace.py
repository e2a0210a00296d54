"""Near-null vectors: what a matrix nearly annihilates, as a hierarchy has to represent it on every level."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gabp.system import InvalidSystemError

TAKE_NEAR_NULLSPACE = ("auto", "hierarchy")  # the methods that they are for
_MOST_VECTORS = 64


def read_near_nullspace(vectors: Any, n: int) -> Tensor:
    """The public argument ``near_nullspace`` as a float64 tensor, shape (n, k), on the CPU.

    Raises
    ------
    TypeError
        It does not hold real numbers.
    InvalidSystemError
        Its shape is not (n, k), or an entry is not finite.
    """
    values = vectors.detach().cpu().numpy() if isinstance(vectors, Tensor) else np.asarray(vectors)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"near_nullspace must hold real numbers, not {values.dtype}")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[0] != n or not 1 <= values.shape[1] <= _MOST_VECTORS:
        raise InvalidSystemError(
            f"near_nullspace has shape {values.shape}; expected ({n}, k), k from 1 to {_MOST_VECTORS}"
        )
    if not np.isfinite(values).all():
        i, c = (int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise InvalidSystemError(f"near_nullspace[{i}, {c}] is {values[i, c]}; every value must be finite")
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))


def rigid_body_modes(coordinates: Any) -> np.ndarray:
    """The rigid-body modes of an elastic body: translations and infinitesimal rotations of its nodes.

    Parameters
    ----------
    coordinates : array, shape (N, 2) or (N, 3)
        Of the nodes, in any unit of length.

    Returns
    -------
    ndarray, shape (2 N, 3) or (3 N, 6), float64
        One mode a column; the displacements of a node are successive unknowns. Translations come first. Rotations are
        about the centroid, scaled by the extent of the body.

    Raises
    ------
    InvalidSystemError
        Another shape, or a coordinate that is not finite.

    Examples
    --------
    >>> import gabp
    >>> gabp.rigid_body_modes([[0.0, 0.0], [2.0, 0.0]])
    array([[ 1. ,  0. , -0. ],
           [ 0. ,  1. , -0.5],
           [ 1. ,  0. , -0. ],
           [ 0. ,  1. ,  0.5]])
    """
    x = np.asarray(coordinates, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] not in (2, 3) or len(x) == 0:
        raise InvalidSystemError(f"coordinates have shape {x.shape}; expected (N, 2) or (N, 3)")
    if not np.isfinite(x).all():
        raise InvalidSystemError(f"coordinates of node {int(np.argwhere(~np.isfinite(x))[0][0])} are not finite")
    nodes, dimensions = x.shape
    x = x - x.mean(0)
    extent = np.ptp(x, axis=0).max()
    x = x / (extent if extent > 0 else 1.0)
    planes = [(0, 1)] if dimensions == 2 else [(0, 1), (1, 2), (2, 0)]
    modes = np.zeros((nodes, dimensions, dimensions + len(planes)))
    for axis in range(dimensions):
        modes[:, axis, axis] = 1.0
    for mode, (a, b) in enumerate(planes, start=dimensions):
        modes[:, a, mode], modes[:, b, mode] = -x[:, b], x[:, a]
    return modes.reshape(nodes * dimensions, -1)
