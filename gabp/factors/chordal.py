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
    root : Tensor, shape (m, d, d)
        ``W`` of the information ``WᵀW``.
    """

    sets: Sequence[Variables]
    group: LieGroup
    value: Tensor
    fixed: np.ndarray
    edges: np.ndarray
    measurement: Tensor
    root: Tensor

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
            root=torch.cat([_roots(batch) for batch in own]),
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
        known, measured = self._rotation_of(self.value), self._rotation_of(self.measurement)
        precision = torch.linalg.matrix_norm(self.root[:, :, self._turning]) / self.space**0.5
        into = torch.eye(self.space, dtype=torch.float64).expand_as(measured)
        equations = precision[:, None, None] * torch.cat([-measured.mT, into, into[:, :, :1] * 0], 2)
        rows = self._least_squares(equations, [known[:, k] for k in range(self.space)], "rotation")
        return _projected(torch.stack(rows, 1))

    def _translations(self, value: Tensor) -> Tensor:
        """The translations that minimise the objective at given rotations, in which it is quadratic; (N + 1, space)."""
        i, j = self.edges.T
        at_zero = value.clone()
        at_zero[:, : self.space] = 0
        residual = self.group.local(self.measurement, self.group.relative(at_zero[i], at_zero[j]))
        turned = (self._rotation_of(value[i]) @ self._rotation_of(self.measurement)).mT
        into = self.root[:, :, : self.space] @ turned
        equations = torch.cat([-into, into, -(self.root @ residual[..., None])], 2)
        return self._least_squares(equations, [value[:, : self.space]], "translation")[0]

    def _least_squares(self, equations: Tensor, columns: Sequence[Tensor], name: str) -> list[Tensor]:
        """Solve ``A_i x_i + A_j x_j = b`` over all edges, for the fixed values of each column, (N + 1, space)."""
        unknown = read_variables(Euclidean(self.space), columns[0], 0)
        batch = read_factors(Linear, (unknown, unknown), tuple(self.edges.T), equations, 1.0, None, [unknown])
        structure = Structure.of([unknown], [batch], [self.fixed])
        free = torch.from_numpy(~self.fixed)
        at_zero = [column * ~free[:, None] for column in columns]
        if structure.n == 0:
            return at_zero
        models = [linearize(structure, (column,)) for column in at_zero]
        right = -torch.stack([model.gradient for model in models], 1)
        try:
            solution = LinearMethod.choose(structure).prepare(models[0].system).solve(right)
        except NotPositiveDefiniteError as error:
            named = self._named(structure.variable_of(error.node)[1])
            raise InvalidSystemError(
                f"init='chordal': the Between and Prior factors leave the {name} of {named} undetermined"
            ) from None
        for column, found in zip(at_zero, solution.unbind(1), strict=True):
            column[free] = found.reshape(-1, self.space)
        return at_zero

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

    def _rotation_of(self, value: Tensor) -> Tensor:
        turning = value[:, self._turning]
        return rotation_matrix(turning[:, 0]) if self.space == 2 else quaternions.rotation_matrix(turning)


def _roots(batch: Factors) -> Tensor:
    """``W`` of each factor, (m, d, d)."""
    root = torch.eye(batch.kind.dimension, dtype=torch.float64)[None] if batch.root is None else batch.root
    return root.expand(len(batch), -1, -1)


def _first_of_free_components(edges: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The first variable of each component in which none is fixed."""
    labels = component_labels(len(fixed), [edges])
    rooted = np.zeros(labels.max() + 1, dtype=bool)
    rooted[labels[fixed]] = True
    chosen = np.zeros(len(fixed), dtype=bool)
    chosen[np.unique(labels, return_index=True)[1][~rooted]] = True
    return chosen


def _projected(matrix: Tensor) -> Tensor:
    """The rotations nearest to matrices, (m, d, d), in the Frobenius norm."""
    u, _, v = torch.linalg.svd(matrix)
    handed = torch.ones(matrix.shape[:2], dtype=matrix.dtype)
    handed[:, -1] = torch.linalg.det(u @ v).sign()
    return (u * handed[:, None, :]) @ v


def _rotation_values(rotation: Tensor) -> Tensor:
    """Angles, (m, 1), or quaternions, (m, 4), of rotation matrices."""
    if rotation.shape[1] == 2:
        return torch.atan2(rotation[:, 1, :1], rotation[:, 0, :1])
    return quaternions.from_rotation_matrix(rotation)
