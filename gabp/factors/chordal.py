"""Poses by chordal relaxation: rotations as matrices from one linear system, translations from another.

L. Carlone, R. Tron, K. Daniilidis and F. Dellaert, *Initialization techniques for 3D SLAM: a survey on rotation
estimation and its use in pose graph optimization*, ICRA 2015, section III.B.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors, read_factors
from gabp.factors.kinds import Between, Linear, Prior
from gabp.factors.linear_solves import LinearMethod
from gabp.factors.linearization import Values, linearize
from gabp.factors.manifolds import SE2, SE3, SO2, SO3, LieGroup, Manifold
from gabp.factors.manifolds.euclidean import Euclidean
from gabp.factors.manifolds.planar import rotation_matrix
from gabp.factors.structure import Structure, component_labels
from gabp.factors.variables import Variables, read_variables
from gabp.kernels.torch import quaternions
from gabp.system import InvalidSystemError, NotPositiveDefiniteError

_SPACE: dict[Manifold, int] = {SO2: 2, SE2: 2, SO3: 3, SE3: 3}  # the dimension of the space that is rotated


def chordal_values(sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray]) -> Values:
    """Start values: poses that fit the `Between` and `Prior` factors in the chordal distance of their rotations.

    Losses and other factors are left out. A component without a prior and without a held variable keeps its first
    variable at its initial value, as does every variable that no `Between` leads to.

    Raises
    ------
    InvalidSystemError
        There is no `Between` factor on SE2, SE3, SO2 or SO3, or those that are leave a variable undetermined.
    """
    values = [variables.initial for variables in sets]
    groups = {batch.variables[0].manifold for batch in factors if isinstance(batch.kind, Between)} & _SPACE.keys()
    if not groups:
        raise InvalidSystemError("init='chordal' needs Between factors on SE2, SE3, SO2 or SO3; the graph has none")
    for group in groups:
        own = [variables for variables in sets if variables.manifold == group]
        network = _Network.of(own, factors, [held[variables.position] for variables in own])
        moved = network.solve().split([variables.count for variables in own])
        for variables, value in zip(own, moved, strict=True):
            values[variables.position] = value
    return tuple(values)


@dataclass(frozen=True, eq=False)
class _Network:
    """All variables of one group, an origin as the last of them, and the measurements from one to another.

    Attributes
    ----------
    sets : sequence of Variables
    group : LieGroup
    value : Tensor, shape (N + 1, width)
    fixed : ndarray, shape (N + 1,), bool
    edges : ndarray, shape (m, 2), int64
        Of a prior, from the origin.
    measurement : Tensor, shape (m, width)
    root : ndarray, shape (m, d, d)
        ``W`` of the information ``WᵀW``.
    """

    sets: Sequence[Variables]
    group: LieGroup
    value: Tensor
    fixed: np.ndarray
    edges: np.ndarray
    measurement: Tensor
    root: np.ndarray

    @staticmethod
    def of(sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray]) -> "_Network":
        group = sets[0].manifold
        assert isinstance(group, LieGroup)
        offsets = dict(zip(sets, np.cumsum([0, *(variables.count for variables in sets)]), strict=False))
        origin = sum(variables.count for variables in sets)
        own = [b for b in factors if isinstance(b.kind, (Between, Prior)) and b.variables[0].manifold == group]
        numbers = [batch.index.numpy() + [offsets[variables] for variables in batch.variables] for batch in own]
        edges = np.concatenate([n if n.shape[1] == 2 else np.insert(n, 0, origin, axis=1) for n in numbers])
        value = torch.cat([variables.initial for variables in sets])
        value = torch.cat([value, group.relative(value[:1], value[:1])])
        fixed = np.append(np.concatenate(held), True)
        return _Network(
            sets=sets,
            group=group,
            value=value,
            fixed=fixed | _first_of_free_components(edges, fixed),
            edges=edges,
            measurement=torch.cat([batch.measurement for batch in own]),
            root=np.concatenate([_roots(batch) for batch in own]),
        )

    @property
    def space(self) -> int:
        return _SPACE[self.group]

    @property
    def has_translations(self) -> bool:
        return self.group in (SE2, SE3)

    def solve(self) -> Tensor:
        """The values of all variables, (N, width)."""
        rotation = self._rotations()
        free = torch.from_numpy(~self.fixed)
        value = self.value.clone()
        start = self.space if self.has_translations else 0
        value[free, start:] = _rotation_values(rotation[free])
        if self.has_translations:
            value[:, :start] = self._translations(value)
        return value[:-1]

    def _rotations(self) -> Tensor:
        """The rotation matrices that solve the relaxed problem, projected, (N + 1, space, space).

        ``Σ κ ‖R_j - R_i R_z‖²`` takes the rows of all matrices apart: each is a column of one linear system.
        """
        d, known, measured = self.space, self._rotation_of(self.value), self._rotation_of(self.measurement)
        precision = np.sqrt((self.root[:, :, self._turning] ** 2).sum((1, 2)) / d)[:, None, None]
        equations = np.zeros((len(self.edges), d, 2 * d + 1))
        equations[:, :, :d] = -precision * measured.swapaxes(1, 2)
        equations[:, :, d:-1] = precision * np.eye(d)
        rows = self._least_squares(equations, [known[:, k] for k in range(d)], "rotation")
        return torch.from_numpy(_projected(np.stack(rows, 1)))

    def _translations(self, value: Tensor) -> Tensor:
        """The translations that minimise the objective at given rotations, in which it is quadratic; (N + 1, space)."""
        i, j = self.edges.T
        d, at_zero = self.space, value.numpy().copy()
        at_zero[:, :d] = 0
        first, second = (torch.from_numpy(at_zero[end]) for end in (i, j))
        residual = self.group.residual_between(first, second, self.measurement).numpy()
        turned = (self._rotation_of(first) @ self._rotation_of(self.measurement)).swapaxes(1, 2)
        equations = np.empty((len(self.edges), self.group.dimension, 2 * d + 1))
        equations[:, :, d:-1] = self.root[:, :, :d] @ turned
        equations[:, :, :d] = -equations[:, :, d:-1]
        equations[:, :, -1:] = -self.root @ residual[:, :, None]
        return torch.from_numpy(self._least_squares(equations, [value[:, :d].numpy()], "translation")[0])

    def _least_squares(self, equations: np.ndarray, columns: Sequence[np.ndarray], name: str) -> list[np.ndarray]:
        """Solve ``A_i x_i + A_j x_j = b`` over all edges, for the fixed values of each column, (N + 1, space)."""
        unknown = read_variables(Euclidean(self.space), columns[0], 0)
        batch = read_factors(Linear, (unknown, unknown), tuple(self.edges.T), equations, 1.0, None, [unknown])
        structure = Structure.of([unknown], [batch], [self.fixed])
        found = [np.where(self.fixed[:, None], column, 0.0) for column in columns]
        if structure.n == 0:
            return found
        models = [linearize(structure, (torch.from_numpy(column),)) for column in found]
        right = -torch.stack([model.gradient for model in models], 1)
        try:
            solution = LinearMethod.choose(structure).prepare(models[0].system).solve(right).numpy()
        except NotPositiveDefiniteError as error:
            named = self._named(structure.variable_of(error.node)[1])
            raise InvalidSystemError(
                f"init='chordal': the Between and Prior factors leave the {name} of {named} undetermined"
            ) from None
        for column, free in zip(found, solution.T, strict=True):
            column[~self.fixed] = free.reshape(-1, self.space)
        return found

    def _named(self, number: int) -> str:
        """One of the variables, in messages."""
        for variables in self.sets:
            if number < variables.count:
                return variables.named(number)
            number -= variables.count
        raise IndexError(number)

    @property
    def _turning(self) -> slice:
        """The components of a residual that are the rotation's."""
        return slice(self.space if self.has_translations else 0, None)

    def _rotation_of(self, value: Tensor) -> np.ndarray:
        turning = value[:, self._turning]
        return (rotation_matrix(turning[:, 0]) if self.space == 2 else quaternions.rotation_matrix(turning)).numpy()


def _roots(batch: Factors) -> np.ndarray:
    """``W`` of each factor, (m, d, d)."""
    root = np.eye(batch.kind.dimension)[None] if batch.root is None else batch.root.numpy()
    return np.broadcast_to(root, (len(batch), *root.shape[1:]))


def _first_of_free_components(edges: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The first variable of each component in which none is fixed."""
    labels = component_labels(len(fixed), [edges])
    rooted = np.zeros(labels.max() + 1, dtype=bool)
    rooted[labels[fixed]] = True
    chosen = np.zeros(len(fixed), dtype=bool)
    chosen[np.unique(labels, return_index=True)[1][~rooted]] = True
    return chosen


def _projected(matrix: np.ndarray) -> np.ndarray:
    """The rotations nearest to matrices, (m, d, d), in the Frobenius norm."""
    u, _, v = np.linalg.svd(matrix)
    u[:, :, -1] *= np.sign(np.linalg.det(u @ v))[:, None]
    return u @ v


def _rotation_values(rotation: Tensor) -> Tensor:
    """Angles, (m, 1), or quaternions, (m, 4), of rotation matrices."""
    if rotation.shape[1] == 2:
        return torch.atan2(rotation[:, 1, :1], rotation[:, 0, :1])
    return quaternions.from_rotation_matrix(rotation)
