"""Messages, beliefs and reference values of all variables while messages are passed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gabp.factors.batches import Factors
from gabp.factors.belief_propagation.beliefs import Beliefs, Messages
from gabp.factors.belief_propagation.local_models import LocalModels, rows_of
from gabp.factors.linearization import Values
from gabp.factors.variables import Variables
from gabp.kernels import dispatch
from gabp.kernels.torch.factor_messages import Part

_ANCHOR = 1e-10  # precision that keeps a variable at its reference, beside that of its factors; rounding is far below
_WEAKENED = 0.3  # of the first anchors of robust factors, from one sweep to the next


class InvalidMessageError(ArithmeticError):
    """A message is not finite, or a precision is not positive definite; the message names the factor or variable."""


class PropagationState:
    """Messages in the tangent spaces at reference values, and the beliefs that they add up to.

    A belief has its mean at ``reference ⊞ mean``. When the reference moves there, messages are transported: their
    coordinates change as ``δ = δ₀ + J δ'`` to first order, so that Λ becomes ``JᵀΛJ`` and η ``Jᵀ(η - Λδ₀)``
    (R. Murai, J. Ortiz, S. Saeedi, P. Kelly, A. Davison, *A robot web for distributed many-device localisation*, IEEE
    Transactions on Robotics 40, 2024).

    Every variable has a weak anchor at its reference, so that it has a mean before information reaches it. The anchor
    moves with the reference and leaves no trace where the mean is 0. Where a factor is robust, anchors are strong at
    first: otherwise the first message that reaches a variable takes it along, and all later ones look like outliers
    (J. Ortiz, M. Pupilli, S. Leutenegger, A. J. Davison, *Bundle adjustment on a graph processor*, CVPR 2020).

    Attributes
    ----------
    reference : list of Tensor, shape (N, width)
        For each set of variables.
    mean : list of Tensor, shape (N, dimension)
    models : list of LocalModels
        For each batch of factors.
    messages : list of Messages
    change : float
        The largest change of a mean, in its tangent space, since `settle` was called last.
    """

    def __init__(
        self, sets: Sequence[Variables], factors: Sequence[Factors], held: Sequence[np.ndarray], values: Values
    ) -> None:
        self.sets, self.factors = sets, factors
        self.held = [torch.from_numpy(mask) for mask in held]
        self.reference = list(values)
        self.models = [LocalModels(batch, values, held) for batch in factors]
        self.messages = [Messages.none(len(m.batch), m.dimensions) for m in self.models]
        shapes = [(variables.count, variables.manifold.dimension) for variables in sets]
        self.mean = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        self._settled = [mean.clone() for mean in self.mean]
        self._factor_precision = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
        self.change = 0.0
        self._share = 1.0 if any(batch.loss is not None for batch in factors) else _ANCHOR
        self._weigh_factors()
        self.sum_beliefs()

    def restore(self, beliefs: Beliefs) -> None:
        """Take over the messages of factors that are still in the graph, from the values that they were kept at."""
        for place, batch in enumerate(self.factors):
            kept = beliefs.messages.get(batch)
            if kept is None:
                continue
            self._share = _ANCHOR
            self.messages[place] = messages = Messages(kept.precision.clone(), kept.potential.clone())
            for variables, index, (rows, block) in self._columns(self.models[place], None):
                held = self.held[variables.position][index]
                messages.precision[held, block] = messages.potential[held, rows] = 0.0
        self.sum_beliefs()

    def keep(self, beliefs: Beliefs) -> None:
        """Move the references to the means and store the messages there."""
        self.move_references(0.0)
        beliefs.sets, beliefs.values = tuple(self.sets), tuple(self.reference)
        beliefs.messages = dict(zip(self.factors, self.messages, strict=True))
        beliefs.precision, beliefs.held = tuple(self.precision), tuple(self.held)

    def estimate(self) -> Values:
        """The means of the beliefs, on the manifolds."""
        return tuple(self._moved(place, ~self.held[place]) for place in range(len(self.sets)))

    def updates(self, place: int, chosen: Tensor | None = None) -> Messages:
        """New messages of the chosen factors, (k,) int64, or of all, of one batch, from the current beliefs."""
        model, old = self.models[place], self.messages[place]
        precision, potential = model.weighted(chosen, self.mean)
        sent_precision, sent = rows_of(old.precision, chosen), rows_of(old.potential, chosen)
        incoming_precision, incoming = torch.empty_like(sent_precision), torch.empty_like(sent)
        for variables, index, (rows, block) in self._columns(model, chosen):
            belief, potential_of_all = self.precision[variables.position], self.potential[variables.position]
            incoming_precision[:, block] = belief[index].flatten(1) - sent_precision[:, block]
            incoming[:, rows] = potential_of_all[index] - sent[:, rows]
        kernels = dispatch.backend("cpu").factor_messages
        new_precision, new, definite = kernels.outgoing_messages(
            model.dimensions, precision, potential, incoming_precision, incoming
        )
        valid = definite & torch.isfinite(new_precision.sum(1) + new.sum(1))
        if not bool(valid.all()):
            factor = int((~valid).nonzero()[0])
            raise InvalidMessageError(model.batch.named(factor if chosen is None else int(chosen[factor])))
        return Messages(new_precision, new)

    def replace(self, place: int, new: Messages, damping: float) -> None:
        """Replace all messages of a batch by new ones and a share of the old; the beliefs stay as they are.

        Damping is of precisions and potentials alike, so that a message stays within the directions that it informs on.
        """
        self.messages[place].precision.lerp_(new.precision, 1.0 - damping)
        self.messages[place].potential.lerp_(new.potential, 1.0 - damping)

    def apply(self, place: int, chosen: Tensor, new: Messages, damping: float) -> list[Tensor]:
        """Replace chosen messages, as `replace` does, and add the differences to the beliefs.

        Returns
        -------
        list of Tensor, shape (k,)
            How much the message to each variable changed, beside the diagonal of the belief's precision.
        """
        model, old = self.models[place], self.messages[place]
        precision = (1.0 - damping) * (new.precision - old.precision[chosen])
        potential = (1.0 - damping) * (new.potential - old.potential[chosen])
        old.precision[chosen] += precision
        old.potential[chosen] += potential
        changes = []
        for variables, index, (rows, block) in self._columns(model, chosen):
            at = variables.position
            square = precision[:, block].unflatten(1, (rows.stop - rows.start, -1))
            self.precision[at].index_add_(0, index, square)
            self.potential[at].index_add_(0, index, potential[:, rows])
            scale = torch.diagonal(self.precision[at][index], dim1=1, dim2=2).clamp(min=1e-300).rsqrt()
            spread = torch.diagonal(square, dim1=1, dim2=2).abs() * scale * scale
            change = (potential[:, rows].abs() * scale).amax(1) + spread.amax(1)
            changes.append(torch.where(self.held[at][index], 0.0, change))
        return changes

    def sum_beliefs(self) -> None:
        """Add up all messages, which removes the rounding of many differences, and find the means."""
        self.precision = [torch.diag_embed(self._share * total) for total in self._factor_precision]
        self.potential = [torch.zeros_like(mean) for mean in self.mean]
        for model, messages in zip(self.models, self.messages, strict=True):
            for variables, index, (rows, block) in self._columns(model, None):
                square = messages.precision[:, block].unflatten(1, (rows.stop - rows.start, -1))
                self.precision[variables.position].index_add_(0, index, square)
                self.potential[variables.position].index_add_(0, index, messages.potential[:, rows])
        for place, held in enumerate(self.held):
            self.precision[place][held] = torch.eye(self.mean[place].shape[1], dtype=torch.float64)
            self.potential[place][held] = 0.0
            self.find_means(place, torch.arange(len(held)))

    def find_means(self, place: int, chosen: Tensor) -> None:
        """Solve for the means of the chosen variables, (k,) int64, of one set."""
        factor, failed = torch.linalg.cholesky_ex(self.precision[place][chosen])
        mean = torch.cholesky_solve(self.potential[place][chosen][..., None], factor)[..., 0]
        invalid = (failed != 0) | ~torch.isfinite(mean).all(1)
        if bool(invalid.any()):
            raise InvalidMessageError(self.sets[place].named(int(chosen[invalid.nonzero()[0]])))
        mean[self.held[place][chosen]] = 0.0
        self.mean[place][chosen] = mean

    def settle(self) -> None:
        """Note how much the means changed since the last call, and weaken the anchors."""
        self._share = max(_ANCHOR, _WEAKENED * self._share)
        pairs = zip(self.mean, self._settled, strict=True)
        self.change = max((float((a - b).abs().max()) for a, b in pairs if a.numel()), default=0.0)
        self._settled = [mean.clone() for mean in self.mean]

    def move_references(self, beyond: float) -> list[Tensor]:
        """Relinearise all factors of variables whose mean is farther than ``beyond`` from its reference.

        Returns
        -------
        list of Tensor, int64
            The factors of each batch that were relinearised.
        """
        moved = [(mean.abs().amax(1) > beyond) & ~held for mean, held in zip(self.mean, self.held, strict=True)]
        if not any(bool(mask.any()) for mask in moved):
            return [torch.empty(0, dtype=torch.int64) for _ in self.models]
        transports = [self._move(place, mask) for place, mask in enumerate(moved)]
        touched = [
            self._transport(model, messages, moved, transports)
            for model, messages in zip(self.models, self.messages, strict=True)
        ]
        for model, chosen in zip(self.models, touched, strict=True):
            if len(chosen):
                model.relinearize(chosen, tuple(self.reference))
        self._weigh_factors()
        self.sum_beliefs()
        for settled, mean, mask in zip(self._settled, self.mean, moved, strict=True):
            settled[mask] = mean[mask]
        return touched

    def _transport(
        self, model: LocalModels, messages: Messages, moved: list[Tensor], transports: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """Express the messages of a batch at the new references; the factors of which a variable moved."""
        kernels, touched = dispatch.backend("cpu").factor_messages, torch.zeros(len(model.batch), dtype=torch.bool)
        for variables, index, part in self._columns(model, None):
            of = moved[variables.position][index]
            touched |= of
            chosen = of.nonzero()[:, 0]
            coordinates = transports[variables.position]
            kernels.transport(messages.precision, messages.potential, part, chosen, index[chosen], *coordinates)
        return touched.nonzero()[:, 0]

    def _move(self, place: int, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Move references of one set to the means: how far, (N, d), and the coordinates' derivatives, (N, d, d)."""
        manifold, before, delta = self.sets[place].manifold, self.reference[place], self.mean[place].clone()
        self.reference[place] = self._moved(place, moved)
        jacobian = torch.eye(delta.shape[1], dtype=torch.float64).repeat(len(delta), 1, 1)
        if bool(moved.any()):
            jacobian[moved] = manifold.local_jacobian(before[moved], self.reference[place][moved])
        return delta, jacobian

    def _moved(self, place: int, chosen: Tensor) -> Tensor:
        if not bool(chosen.any()):
            return self.reference[place]
        new = self.reference[place].clone()
        new[chosen] = self.sets[place].manifold.retract_all(new[chosen], self.mean[place][chosen])
        return new

    def _weigh_factors(self) -> None:
        """The diagonals of the precisions of the factors of each variable, together."""
        for total in self._factor_precision:
            total.zero_()
        for model in self.models:
            diagonal = torch.diagonal(model.precision, dim1=1, dim2=2)
            for variables, index, (rows, _block) in self._columns(model, None):
                self._factor_precision[variables.position].index_add_(0, index, diagonal[:, rows])
        for total in self._factor_precision:
            if total.numel():
                total.clamp_(min=max(float(total.max()), 1e-290) * 1e-12)

    def _columns(self, model: LocalModels, chosen: Tensor | None) -> list[tuple[Variables, Tensor, Part]]:
        """For each variable of a factor: its set, its index for each of the chosen factors, its rows and block."""
        index = rows_of(model.batch.index, chosen)
        return list(zip(model.batch.variables, index.unbind(1), model.parts, strict=True))
