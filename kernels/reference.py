"""The message equations, literally, in torch: ground truth on any device.

A model of ``n`` nodes and ``m`` directed edges, two for each pair of neighbours, is given by arrays in *edge order*:
sorted by destination, then by source. This is the off-diagonal part of ``A`` in compressed rows.

===============  ==========  ================================================================
``start``        (n + 1,)    int64, the edges into node ``i`` are ``start[i]:start[i + 1]``
``source``       (m,)        int32, the node that edge ``e`` leaves
``destination``  (m,)        int64, the node that it enters
``reverse``      (m,)        int64, the edge from ``destination[e]`` to ``source[e]``
``weight``       (m,)        ``A[destination[e], source[e]]``
``diagonal``     (n,)        ``A_ii``
===============  ==========  ================================================================

Every edge carries one message, from its source to its destination: precisions ``(m,)``, potentials ``(m, k)`` for
``k`` right-hand sides. ``A`` may be nonsymmetric (on a symmetric pattern): only the products
``weight[e] * weight[reverse[e]]`` enter the precisions (Fanaskov 2019, arXiv:1904.04093).
"""

from itertools import pairwise

import torch
from torch import Tensor


def gather_messages(messages: Tensor, destination: Tensor, n: int) -> Tensor:
    """Sum over the edges into each node: ``(m, ...) -> (n, ...)``."""
    total = messages.new_zeros((n, *messages.shape[1:]))
    return total.index_add_(0, destination, messages)


def multiply(diagonal: Tensor, weight: Tensor, source: Tensor, destination: Tensor, x: Tensor) -> Tensor:
    """``A @ x`` in ``x``'s dtype, for ``x`` of shape ``(n, k)``."""
    off_diagonal = weight.to(x.dtype)[:, None] * x[source]
    return diagonal.to(x.dtype)[:, None] * x + gather_messages(off_diagonal, destination, len(diagonal))


def flood_precisions(
    diagonal: Tensor, weight: Tensor, source: Tensor, destination: Tensor, reverse: Tensor, precision: Tensor
) -> tuple[Tensor, Tensor]:
    """One synchronous sweep of the precision messages.

    Returns the new messages ``P_{k->i} = -A_ik A_ki / P_{k\\i}`` and the cavities ``P_{k\\i}``.
    """
    belief = diagonal + gather_messages(precision, destination, len(diagonal))
    cavity = belief[source] - precision[reverse]
    return -weight * weight[reverse] / cavity, cavity


def flood_potentials(
    b: Tensor,
    weight: Tensor,
    source: Tensor,
    destination: Tensor,
    reverse: Tensor,
    cavity: Tensor,
    potential: Tensor,
) -> Tensor:
    """One synchronous sweep of the potential messages ``h_{k->i} = -A_ik h_{k\\i} / P_{k\\i}``."""
    belief = b + gather_messages(potential, destination, len(b))
    return -(weight / cavity)[:, None] * (belief[source] - potential[reverse])


def sequential_potentials(
    start: Tensor, reverse: Tensor, ratio: Tensor, b: Tensor, potential: Tensor, sweeps: int
) -> None:
    """In-place sweeps of the potential messages in row order; ``potential`` is overwritten.

    ``ratio[e] = A_ki / P_{i\\k}`` for the edge ``e`` from ``k`` to ``i``. Each node updates the messages to all its
    neighbours from the newest ones.
    """
    bounds = start.tolist()
    for _ in range(sweeps):
        for i, (first, last) in enumerate(pairwise(bounds)):
            incoming = potential[first:last]
            cavity = b[i] + incoming.sum(0) - incoming
            potential[reverse[first:last]] = -ratio[first:last, None] * cavity


def coloured_potentials(
    colours: list[Tensor],
    destination: Tensor,
    reverse: Tensor,
    ratio: Tensor,
    b: Tensor,
    potential: Tensor,
    sweeps: int,
) -> None:
    """As `sequential_potentials`, but colour by colour: the nodes of one colour at once.

    ``colours`` holds the edges into the nodes of each colour, no two of which are neighbours.
    """
    for _ in range(sweeps):
        for edges in colours:
            belief = b + gather_messages(potential, destination, len(b))
            cavity = belief[destination[edges]] - potential[edges]
            potential[reverse[edges]] = -ratio[edges, None] * cavity


def root_trees(
    start: Tensor, source: Tensor, node: Tensor, parent: Tensor, parent_edge: Tensor, child_edge: Tensor
) -> None:
    """Order the nodes of a forest breadth first, tree by tree, each rooted at its first node.

    Written for each position, ``(n,)``: its ``node``, the position of its ``parent``, and the edges from the parent to
    the node and back; -1 for a root.
    """
    bounds, neighbour = start.tolist(), source.tolist()
    found: list[tuple[int, int, int, int]] = []
    reached: set[int] = set()
    for root in range(len(bounds) - 1):
        if root in reached:
            continue
        reached.add(root)
        position = len(found)
        found.append((root, -1, -1, -1))
        while position < len(found):
            i = found[position][0]
            for edge in range(bounds[i], bounds[i + 1]):
                child = neighbour[edge]
                if child not in reached:
                    reached.add(child)
                    found.append((child, position, neighbour.index(i, bounds[child], bounds[child + 1]), edge))
            position += 1
    for out, values in zip((node, parent, parent_edge, child_edge), zip(*found, strict=True), strict=True):
        out[:] = torch.tensor(values, dtype=out.dtype)


_BUNCH_ALPHA = (5**0.5 - 1) / 2  # Bunch 1974: minimises the bound on element growth


def tree_factor(parent: Tensor, up: Tensor, down: Tensor, scale: float, pivot: Tensor, partner: Tensor) -> int:
    """Eliminate a forest from the leaves to the roots; ``pivot`` and ``partner`` are overwritten.

    Nodes are in an order with parents before children, ``up[i] = A[parent, i]``, ``down[i] = A[i, parent]``,
    ``pivot`` holds the diagonal on entry and ``scale`` is the largest ``|A|``. A node whose pivot is too
    small beside its coupling to the parent is eliminated together with it (a 2×2 pivot; Bunch 1974). Returns
    the first node with a zero pivot, at which the matrix is singular, else -1.
    """
    above, to_parent, from_parent = parent.tolist(), up.tolist(), down.tolist()
    J, joined = pivot.tolist(), [-1] * len(parent)
    singular = -1
    for i in reversed(range(len(J))):
        p, c = above[i], joined[i]
        if c >= 0:
            determinant = J[c] * J[i] - to_parent[c] * from_parent[c]
            if determinant == 0.0:
                singular = i
                break
            if p >= 0:
                J[p] -= to_parent[i] * from_parent[i] * (J[c] / determinant)
            continue
        coupling = to_parent[i] * from_parent[i] if p >= 0 else 0.0
        eliminated = i
        if coupling != 0.0 and scale * abs(J[i]) < _BUNCH_ALPHA * abs(coupling):
            if joined[p] < 0:
                joined[p] = i
                continue
            if abs(J[i]) < abs(J[joined[p]]):
                eliminated, joined[p] = joined[p], i
        if J[eliminated] == 0.0:
            singular = eliminated
            break
        if p >= 0:
            J[p] -= to_parent[eliminated] * from_parent[eliminated] / J[eliminated]
    pivot[:] = torch.tensor(J, dtype=pivot.dtype)
    partner[:] = torch.tensor(joined, dtype=partner.dtype)
    return singular


def tree_solve(parent: Tensor, up: Tensor, down: Tensor, pivot: Tensor, partner: Tensor, b: Tensor) -> None:
    """Solve by the factor of `tree_factor`, overwriting ``b`` of shape ``(n, k)`` by the solution."""
    above, joined = parent.tolist(), partner.tolist()
    eliminated_with_parent = {c for c in joined if c >= 0}

    def pair(i: int, c: int) -> tuple[Tensor, Tensor]:
        determinant = pivot[c] * pivot[i] - up[c] * down[c]
        return (pivot[c] * b[i] - up[c] * b[c]) / determinant, (pivot[i] * b[c] - down[c] * b[i]) / determinant

    for i in reversed(range(len(above))):
        if above[i] < 0 or i in eliminated_with_parent:
            continue
        value = b[i] / pivot[i] if joined[i] < 0 else pair(i, joined[i])[0]
        b[above[i]] -= up[i] * value
    for i in range(len(above)):
        if i in eliminated_with_parent:
            continue
        if above[i] >= 0:
            b[i] -= down[i] * b[above[i]]
        if joined[i] < 0:
            b[i] /= pivot[i]
        else:
            b[i], b[joined[i]] = pair(i, joined[i])


_SMALL_PIVOT = 0.05  # of the diagonal; dividing by a smaller one would make elements grow


def directed_pivots(
    diagonal: Tensor, weight: Tensor, start: Tensor, source: Tensor, reverse: Tensor, pivot: Tensor
) -> int:
    """Pivots ``J_i = A_ii - Σ_{k<i} A_ik A_ki / J_k`` of a sequential pass, written to ``pivot``.

    A pivot below a small share of the diagonal, or of the other sign, is replaced by the diagonal. Returns the first
    node whose diagonal is zero, else -1.
    """
    bounds, before = start.tolist(), source.tolist()
    product = (weight * weight[reverse]).tolist()
    own = diagonal.tolist()
    J: list[float] = []
    for i, (first, last) in enumerate(pairwise(bounds)):
        if own[i] == 0.0:
            return i
        value = own[i] - sum(product[e] / J[before[e]] for e in range(first, last) if before[e] < i)
        J.append(value if value / own[i] >= _SMALL_PIVOT else own[i])
    pivot[:] = torch.tensor(J, dtype=pivot.dtype)
    return -1


def directed_elimination_sweep(
    weight: Tensor, start: Tensor, source: Tensor, pivot: Tensor, r: Tensor, y: Tensor
) -> None:
    """``y = ((J + L) J⁻¹ (J + U))⁻¹ r`` for ``r`` of shape ``(n, k)``; ``y`` is overwritten.

    ``L`` and ``U`` are the strict triangles of A. The forward half passes messages to later neighbours, the backward
    half substitutes.
    """
    bounds, neighbour = start.tolist(), source.tolist()
    n = len(pivot)
    for i in range(n):
        earlier = [e for e in range(bounds[i], bounds[i + 1]) if neighbour[e] < i]
        y[i] = (r[i] - sum((weight[e] * y[neighbour[e]] for e in earlier), torch.zeros_like(r[i]))) / pivot[i]
    for i in reversed(range(n)):
        later = [e for e in range(bounds[i], bounds[i + 1]) if neighbour[e] > i]
        y[i] -= sum((weight[e] * y[neighbour[e]] for e in later), torch.zeros_like(r[i])) / pivot[i]


_LEAST_SHARE = 0.0025  # of the diagonal, below which a pivot of a block counts as not positive definite
_LARGEST_GROWTH = 20.0  # of the inverse of a general pivot over that of the diagonal block


def block_pivots(
    diagonal: Tensor, weight: Tensor, start: Tensor, source: Tensor, reverse: Tensor, symmetric: bool, inverse: Tensor
) -> int:
    """Inverses of ``J_i = A_ii - Σ_{k<i} A_ik J_k⁻¹ A_ki`` for d × d blocks, written to ``inverse`` ``(N, d, d)``.

    ``diagonal`` is ``(N, d, d)`` and ``weight`` ``(m, d, d)``. A pivot that is not positive definite, or of a general
    matrix one whose inverse is much larger than that of the diagonal block, is replaced by the diagonal block. Returns
    the first node whose diagonal block is no pivot either, else -1.
    """
    invert = _invert_symmetric if symmetric else _invert_general
    bounds, before = start.tolist(), source.tolist()
    for i, (first, last) in enumerate(pairwise(bounds)):
        pivot = diagonal[i].clone()
        for e in range(first, last):
            if before[e] < i:
                pivot -= weight[e] @ inverse[before[e]] @ weight[reverse[e]]
        found = invert(pivot, diagonal[i])
        if found is None:
            return i
        inverse[i] = found
    return -1


def _invert_symmetric(pivot: Tensor, own: Tensor) -> Tensor | None:
    factor, failed = torch.linalg.cholesky_ex((pivot + pivot.T) / 2)
    if failed or bool((factor.diagonal() ** 2 < _LEAST_SHARE * own.diagonal()).any()):
        factor, failed = torch.linalg.cholesky_ex(own)
    return None if failed else torch.cholesky_inverse(factor)


def _invert_general(pivot: Tensor, own: Tensor) -> Tensor | None:
    plain, singular = torch.linalg.inv_ex(own)
    inverse, failed = torch.linalg.inv_ex(pivot)
    largest = torch.inf if singular else _LARGEST_GROWTH * float(torch.linalg.matrix_norm(plain, torch.inf))
    if not failed and float(torch.linalg.matrix_norm(inverse, torch.inf)) <= largest:
        return inverse
    return None if singular else plain


def block_elimination_sweep(
    weight: Tensor, start: Tensor, source: Tensor, inverse: Tensor, r: Tensor, y: Tensor
) -> None:
    """``y = ((J + L) J⁻¹ (J + Lᵀ))⁻¹ r`` in d × d blocks, for ``r`` of shape ``(N, d, k)``; ``y`` is overwritten."""
    bounds, neighbour = start.tolist(), source.tolist()
    for i, (first, last) in enumerate(pairwise(bounds)):
        incoming = [weight[e] @ y[neighbour[e]] for e in range(first, last) if neighbour[e] < i]
        y[i] = inverse[i] @ (r[i] - sum(incoming, torch.zeros_like(r[i])))
    for i in reversed(range(len(inverse))):
        incoming = [weight[e] @ y[neighbour[e]] for e in range(bounds[i], bounds[i + 1]) if neighbour[e] > i]
        y[i] -= inverse[i] @ sum(incoming, torch.zeros_like(r[i]))


def block_sequential_potentials(
    start: Tensor, reverse: Tensor, ratio: Tensor, b: Tensor, potential: Tensor, sweeps: int
) -> None:
    """`sequential_potentials` in blocks: ``ratio`` ``(m, d, d)``, ``b`` ``(N, d, k)``, ``potential`` ``(m, d, k)``."""
    for _ in range(sweeps):
        for i, (first, last) in enumerate(pairwise(start.tolist())):
            incoming = potential[first:last]
            cavity = b[i] + incoming.sum(0) - incoming
            potential[reverse[first:last]] = -ratio[first:last] @ cavity
