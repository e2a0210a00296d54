"""Tracing: every operator that a function calls becomes a factor, in-place operators in functional form."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves

from gabp.backprop.operator_call import OperatorCall, Parent, RandomState, written_arguments
from gabp.backprop.program import Factor, Program, Variable
from gabp.backprop.storage import Geometry, StorageContent, fills_storage, storage_key, storage_length
from gabp.system import InvalidSystemError

_aten = torch.ops.aten


def trace(fn: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Program:
    """Run ``fn`` once and record the operators by which its output depends on the inputs.

    Branches are those taken at these inputs. Tensors in the closure of ``fn`` are constants, as is everything computed
    under `torch.no_grad`. A custom autograd function is recorded as the operators of its forward.

    Raises
    ------
    TypeError
        ``fn`` is not callable, an input is no floating point tensor, or the result is no tensor.
    InvalidSystemError
        There is no input, or ``fn`` changes a tensor in place where gradients are disabled.
    """
    _require_tensor_function(fn, inputs)
    recorder = _Recorder()
    token = _active.set(recorder)
    try:
        with torch.enable_grad(), recorder:
            output = fn(*[recorder.add_known(x.detach(), f"x{i}") for i, x in enumerate(inputs)])
            if not isinstance(output, Tensor):
                raise TypeError(f"fn must return a tensor, not {type(output).__name__}")
            index = recorder.find(output)
    finally:
        _active.reset(token)
    return recorder.program(len(inputs), index, output.detach())


def _require_tensor_function(fn: Any, inputs: Sequence[Any]) -> None:
    if not callable(fn):
        raise TypeError(f"fn must be callable, not {type(fn).__name__}")
    if not inputs:
        raise InvalidSystemError("fn needs at least one input")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
            kind = f"tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(
                f"input {i} must be a floating point tensor, not a {kind}; constants belong in the closure of fn"
            )


def active_recorder() -> "_Recorder | None":
    """The recorder of the trace in progress in this context, if any."""
    return _active.get()


class _Index(int):
    """The index of a variable among an operator's arguments, distinct from an integer argument."""


class _Recorder(TorchDispatchMode):
    """Records every operator dispatched below autograd.

    An in-place operator makes a new variable. As other tensors may be views of the same storage, each storage has a
    record of the variable that it contains and of its version; a tensor last seen at an older version is read again
    from that variable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.variables: list[Variable] = []
        self.factors: list[Factor] = []
        self.known: dict[int, Tensor] = {}
        self._index: dict[int, tuple[int, int]] = {}  # by id of tensor: its variable, and its storage's version then
        self._content: dict[int, StorageContent] = {}  # by storage
        self._constant_uses: dict[int, list[tuple[list[Any], int]]] = {}  # by storage: calls with it as a constant
        self._alive: list[Tensor] = []  # ids are unique only among living objects
        self._names: dict[str, int] = {}
        self._recording = True

    def add_known(self, x: Tensor, name: str) -> Tensor:
        """Add a variable of known value ``x``, an input or an equilibrium; returns the tensor to compute with."""
        with self.paused():
            copy = x.detach().clone()
        index = self._new_variable(copy, name)
        self.known[index] = x.detach()
        return copy

    def close_cycle(self, x: Tensor, image: Tensor) -> None:
        """Add the factor ``δ(x - f(x))`` of an equilibrium ``x`` with ``image = f(x)``."""
        equilibrium, parent = self.find(x), self.find(image)
        assert equilibrium is not None
        if parent is not None:
            self.factors.append(Factor(self._unique("equilibrium"), list, (parent,), (equilibrium,), True))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Context in which nothing is recorded: results are constants."""
        before, self._recording = self._recording, False
        try:
            yield
        finally:
            self._recording = before

    def find(self, tensor: Tensor) -> int | None:
        """The variable of which ``tensor`` is the current value; None for a constant."""
        known = self._index.get(id(tensor))
        content = self._content.get(storage_key(tensor))
        if content is None or (known is None and content.version == 0):
            return None if known is None else known[0]
        if known is not None and known[1] == content.version:
            return known[0]
        geometry = Geometry.of(tensor)
        index = content.variable
        if geometry != content.geometry:
            flat = self._flat(tensor, content)
            arguments = (flat, list(geometry.size), list(geometry.stride), geometry.offset)
            index = self._derive(_aten.as_strided.default, arguments, geometry.size)
        self._remember(tensor, index)
        return index

    def program(self, inputs: int, output: int | None, output_value: Tensor) -> Program:
        """The program of the factors on which the output depends, in an order of evaluation."""
        wanted = set() if output is None else {output}
        kept: set[int] = set()
        grown = True
        while grown:  # one round suffices without a cycle, whose closing factor follows the users of its output
            grown = False
            for position in reversed(range(len(self.factors))):
                factor = self.factors[position]
                if position not in kept and wanted.intersection(factor.outputs):
                    kept.add(position)
                    wanted.update(factor.parents)
                    grown = True
        return Program(
            variables=tuple(self.variables),
            factors=tuple(self.factors[position] for position in sorted(kept)),
            known={index: value for index, value in self.known.items() if index < inputs or index in wanted},
            inputs=tuple(range(inputs)),
            output=output,
            output_value=output_value,
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves, spec = tree_flatten((args, kwargs or {}))
        recording = self._recording and torch.is_grad_enabled()
        written = written_arguments(func, args, kwargs or {}, leaves)
        if written and not recording and any(self.find(leaves[position]) is not None for position in written):
            raise InvalidSystemError(f"fn changes a tensor in place by {func} where gradients are disabled")
        self._keep_constants([leaves[position] for position in written])
        parents: list[int] = []
        call_leaves = list(leaves)
        if recording:
            call_leaves = [self._as_argument(leaf, parents) for leaf in leaves]
        before = {}
        if parents:
            before = {position: self._before_writing(leaves[position]) for position in written}
            for position in written:
                if not isinstance(call_leaves[position], Parent):
                    call_leaves[position] = leaves[position].clone()
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        call = OperatorCall(func, call_leaves, spec, written, RandomState.now(leaves) if seeded and parents else None)
        result = func(*args, **(kwargs or {}))
        if parents:
            self._record(call, tuple(parents), leaves, before, tree_leaves(result))
        return result

    def _as_argument(self, leaf: Any, parents: list[int]) -> Any:
        index = self.find(leaf) if isinstance(leaf, Tensor) else None
        if index is None:
            return leaf
        if index not in parents:
            parents.append(index)
        return Parent(parents.index(index))

    def _record(
        self,
        call: OperatorCall,
        parents: tuple[int, ...],
        leaves: list[Any],
        before: dict[int, "tuple[StorageContent | None, Tensor | None]"],
        results: list[Any],
    ) -> None:
        name = call.operator.overloadpacket.__name__.rstrip("_")  # type: ignore[attr-defined]
        changed = [leaves[position] for position in call.written]
        fresh = [result for result in results if not any(result is tensor for tensor in changed)]
        outputs = [self._new_variable(tensor, name, written=True) for tensor in changed]
        outputs += [
            self._new_variable(r, name) if isinstance(r, Tensor) and id(r) not in self._index else -1 for r in fresh
        ]
        if all(output < 0 for output in outputs):
            return
        named = next(self.variables[output].name for output in outputs if output >= 0)
        self.factors.append(Factor(named, call, parents, tuple(outputs)))
        for position, leaf in enumerate(call.leaves):
            if isinstance(leaf, Tensor):
                self._constant_uses.setdefault(storage_key(leaf), []).append((call.leaves, position))
        for position, index in zip(call.written, outputs, strict=False):
            self._after_writing(leaves[position], index, *before[position])

    # --- storages ---------------------------------------------------------------------------------------------

    def _before_writing(self, tensor: Tensor) -> tuple[StorageContent | None, Tensor | None]:
        """The content of the storage before an in-place operator writes to ``tensor``.

        Where ``tensor`` is a part of its storage, the storage becomes one flat variable; where that is constant, a flat
        copy of it is returned, shape (length,).
        """
        content = self._content.get(storage_key(tensor))
        geometry = Geometry.of(tensor)
        if fills_storage(tensor) or (content is not None and content.geometry == geometry):
            return content, None
        if content is None:
            return None, torch.as_strided(tensor.detach(), (storage_length(tensor),), (1,), 0).clone()
        self._flat(tensor, content)
        return content, None

    def _after_writing(
        self, tensor: Tensor, index: int, content: StorageContent | None, constant: Tensor | None
    ) -> None:
        """Make variable ``index``, the new value of ``tensor``, the content of its storage."""
        geometry = Geometry.of(tensor)
        if content is None:
            content = self._content[storage_key(tensor)] = StorageContent(index, geometry)
        if constant is not None or not (fills_storage(tensor) or content.geometry == geometry):
            flat = constant if constant is not None else _Index(content.variable)
            whole = Geometry.whole(tensor)
            index = self._derive(_aten.put.default, (flat, geometry.indices(tensor), _Index(index)), whole.size)
            geometry = whole
        written = self._index[id(tensor)][0]
        content.variable, content.geometry, content.version = index, geometry, content.version + 1
        self._remember(tensor, written)

    def _flat(self, tensor: Tensor, content: StorageContent) -> "_Index":
        """The whole storage as one variable of shape (length,)."""
        whole = Geometry.whole(tensor)
        if content.geometry != whole:
            blank = torch.zeros(whole.size, dtype=tensor.dtype, device=tensor.device)
            arguments = (blank, content.geometry.indices(tensor), _Index(content.variable))
            content.variable = self._derive(_aten.put.default, arguments, whole.size)
            content.geometry = whole
        return _Index(content.variable)

    def _derive(self, operator: Any, arguments: tuple, shape: Sequence[int]) -> int:
        """Add a factor that the function did not call; an `_Index` among its arguments is a variable."""
        parents = [argument for argument in arguments if isinstance(argument, _Index)]
        leaves = [Parent(parents.index(a)) if isinstance(a, _Index) else a for a in arguments]
        flat_leaves, spec = tree_flatten((tuple(leaves), {}))
        name = self._unique(operator.overloadpacket.__name__)
        index = len(self.variables)
        self.variables.append(Variable(index, name, torch.Size(shape)))
        self.factors.append(Factor(name, OperatorCall(operator, flat_leaves, spec), tuple(parents), (index,)))
        return index

    def _keep_constants(self, written: list[Tensor]) -> None:
        """Copy constants of earlier calls before they are overwritten."""
        for tensor in written:
            for leaves, position in self._constant_uses.pop(storage_key(tensor), ()):
                leaves[position] = leaves[position].clone()

    def _new_variable(self, tensor: Tensor, name: str, written: bool = False) -> int:
        index = len(self.variables)
        self.variables.append(Variable(index, self._unique(name), tensor.shape))
        if not written and tensor.layout == torch.strided:
            self._content.setdefault(storage_key(tensor), StorageContent(index, Geometry.of(tensor)))
        self._remember(tensor, index)
        return index

    def _remember(self, tensor: Tensor, index: int) -> None:
        content = self._content.get(storage_key(tensor))
        self._index[id(tensor)] = (index, 0 if content is None else content.version)
        self._alive.append(tensor)

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


_active: ContextVar[_Recorder | None] = ContextVar("gabp_recorder", default=None)
