"""Recording a function: every operator it calls becomes a factor, in-place operators in functional form."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

from gabp.backprop.program import Factor, Program, Variable
from gabp.system import InvalidSystemError

_aten = torch.ops.aten
_MARK = _aten.clone.default  # the operator by which the boundary of a function shows itself to the recorder


def trace(fn: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Program:
    """Run ``fn`` once and record the operators by which its output depends on the inputs.

    Branches are those taken at these inputs. Tensors that ``fn`` holds are constants, and so is what it
    computes under `torch.no_grad`. A custom autograd function is recorded as the operators of its forward.

    Raises
    ------
    TypeError, InvalidSystemError
        ``fn`` is no function, an input no floating point tensor, or the result no tensor; or ``fn`` changes a tensor in
        place where gradients are switched off.
    """
    _require_function_of_numbers(fn, inputs)
    recorder = _Recorder()
    token = _active.set(recorder)
    try:
        with torch.enable_grad(), recorder:
            output = fn(*[recorder.open(x.detach(), f"x{i}") for i, x in enumerate(inputs)])
            if not isinstance(output, Tensor):
                raise TypeError(f"fn must return a tensor, not {type(output).__name__}")
            index = recorder.find(output)
    finally:
        _active.reset(token)
    return recorder.program(len(inputs), index, output.detach())


def _require_function_of_numbers(fn: Any, inputs: Sequence[Any]) -> None:
    if not callable(fn):
        raise TypeError(f"fn must be callable, not {type(fn).__name__}")
    if not inputs:
        raise InvalidSystemError("fn needs at least one input")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
            kind = f"tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"input {i} must be a floating point tensor, not a {kind}; let fn hold what is constant")


def active_recorder() -> "_Recorder | None":
    """The recorder of the trace that is running here, if any."""
    return _active.get()


@dataclass(frozen=True)
class _Place:
    """Where an operator's argument is a variable: which of the factor's parents."""

    parent: int


@dataclass(frozen=True, eq=False)
class _RandomState:
    """The generators of the CPU and of the CUDA devices that an operator's arguments are on."""

    cpu: Tensor
    cuda: dict[int, Tensor]

    @staticmethod
    def now(leaves: Sequence[Any]) -> "_RandomState":
        devices = {leaf.get_device() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_cuda}
        return _RandomState(torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices})

    @contextmanager
    def restored(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for device, state in self.cuda.items():
                torch.cuda.set_rng_state(state, device)
            yield


@dataclass(frozen=True, eq=False)
class _Call:
    """An operator with its constant arguments, to be called again on the values of its parents.

    ``written`` are the arguments that the operator changes in place: it gets copies, and these come first
    among the results.
    """

    operator: Callable[..., Any]
    leaves: list[Any]
    spec: TreeSpec
    written: tuple[int, ...] = ()
    random_state: "_RandomState | None" = None

    def __call__(self, values: Sequence[Tensor]) -> list[Any]:
        leaves = [values[leaf.parent] if isinstance(leaf, _Place) else leaf for leaf in self.leaves]
        for position in self.written:
            leaves[position] = leaves[position].clone()
        args, kwargs = tree_unflatten(leaves, self.spec)
        if self.random_state is None:
            results = tree_leaves(self.operator(*args, **kwargs))
        else:
            with self.random_state.restored():  # the draw of the recorded run, again
                results = tree_leaves(self.operator(*args, **kwargs))
        changed = [leaves[position] for position in self.written]
        return changed + [result for result in results if not any(result is tensor for tensor in changed)]


@dataclass(frozen=True)
class _Geometry:
    """Where the elements of a tensor lie in its storage."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @staticmethod
    def of(tensor: Tensor) -> "_Geometry":
        return _Geometry(tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()))


class _Index(int):
    """The number of a variable, told from a plain number among an operator's arguments."""


@dataclass
class _Memory:
    """What a storage holds: a variable laid out in it, and how often it has been written to."""

    variable: int
    geometry: _Geometry
    version: int = 0


class _Recorder(TorchDispatchMode):
    """Sees every operator below autograd.

    An in-place operator makes a new variable. As other tensors may share its storage, the storage keeps
    track of the variable that it holds now, and a tensor that is older than that is read anew from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.variables: list[Variable] = []
        self.factors: list[Factor] = []
        self.known: dict[int, Tensor] = {}
        self._index: dict[int, tuple[int, int]] = {}  # tensor object: its variable, and its storage's version then
        self._memory: dict[int, _Memory] = {}  # by storage
        self._constant_uses: dict[int, list[tuple[list[Any], int]]] = {}  # by storage: the calls that hold it
        self._alive: list[Tensor] = []  # an object's id is its own only while it lives
        self._names: dict[str, int] = {}
        self._recording = True
        self._marked: tuple[Tensor, Tensor] | None = None

    def open(self, x: Tensor, name: str) -> Tensor:
        """Make ``x`` a variable of known value: an input or an equilibrium."""
        with self.paused():
            copy = x.detach().clone()
        index = self._new_variable(copy, name)
        self.known[index] = x.detach()
        return copy

    def close(self, x: Tensor, image: Tensor) -> None:
        """Tie the equilibrium ``x`` to its image ``f(x)``."""
        equilibrium, parent = self.find(x), self.find(image)
        assert equilibrium is not None
        if parent is not None:
            self.factors.append(Factor(self._unique("equilibrium"), list, (parent,), (equilibrium,), True))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Whatever is computed meanwhile is a constant."""
        before, self._recording = self._recording, False
        try:
            yield
        finally:
            self._recording = before

    def find(self, tensor: Tensor) -> int | None:
        """The variable that ``tensor`` is now; None for a constant."""
        known = self._index.get(id(tensor))
        memory = self._memory.get(_storage(tensor))
        if memory is None or (known is None and memory.version == 0):
            return None if known is None else known[0]
        if known is not None and known[1] == memory.version:
            return known[0]
        geometry = _Geometry.of(tensor)
        index = memory.variable
        if geometry != memory.geometry:
            flat = self._flat(tensor, memory)
            arguments = (flat, list(geometry.size), list(geometry.stride), geometry.offset)
            index = self._derive(_aten.as_strided.default, arguments, geometry.size)
        self._remember(tensor, index)
        return index

    def program(self, inputs: int, output: int | None, output_value: Tensor) -> Program:
        """The factors from which the output can be reached, in the order of their evaluation."""
        wanted = set() if output is None else {output}
        kept: set[int] = set()
        grown = True
        while grown:  # one round, but for a cycle, whose closing factor comes after the users of its output
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
        written = _written_arguments(func, args, kwargs or {}, leaves)
        if written and not recording and any(self.find(leaves[position]) is not None for position in written):
            raise InvalidSystemError(f"fn changes a tensor in place by {func} where gradients are switched off")
        self._keep_constants([leaves[position] for position in written])
        parents: list[int] = []
        call_leaves = list(leaves)
        if recording:
            call_leaves = [self._as_place(leaf, parents) for leaf in leaves]
        before = {}
        if parents:
            before = {position: self._before_writing(leaves[position]) for position in written}
            for position in written:
                if not isinstance(call_leaves[position], _Place):
                    call_leaves[position] = leaves[position].clone()
        seeded = torch.Tag.nondeterministic_seeded in func.tags
        call = _Call(func, call_leaves, spec, written, _RandomState.now(leaves) if seeded and parents else None)
        result = func(*args, **(kwargs or {}))
        if parents:
            self._record(call, tuple(parents), leaves, before, tree_leaves(result))
        return result

    def _as_place(self, leaf: Any, parents: list[int]) -> Any:
        index = self.find(leaf) if isinstance(leaf, Tensor) else None
        if index is None:
            return leaf
        if index not in parents:
            parents.append(index)
        return _Place(parents.index(index))

    def _record(
        self,
        call: _Call,
        parents: tuple[int, ...],
        leaves: list[Any],
        before: dict[int, "tuple[_Memory | None, Tensor | None]"],
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
                self._constant_uses.setdefault(_storage(leaf), []).append((call.leaves, position))
        for position, index in zip(call.written, outputs, strict=False):
            self._after_writing(leaves[position], index, *before[position])

    # --- storages ---------------------------------------------------------------------------------------------

    def _before_writing(self, tensor: Tensor) -> tuple[_Memory | None, Tensor | None]:
        """What the rest of the storage holds, where ``tensor`` is only a part of it."""
        memory = self._memory.get(_storage(tensor))
        geometry = _Geometry.of(tensor)
        if _fills_storage(tensor) or (memory is not None and memory.geometry == geometry):
            return memory, None
        if memory is None:
            return None, torch.as_strided(tensor.detach(), (_length(tensor),), (1,), 0).clone()
        self._flat(tensor, memory)
        return memory, None

    def _after_writing(self, tensor: Tensor, index: int, memory: _Memory | None, constant: Tensor | None) -> None:
        geometry = _Geometry.of(tensor)
        if memory is None:
            memory = self._memory[_storage(tensor)] = _Memory(index, geometry)
        if constant is not None or not (_fills_storage(tensor) or memory.geometry == geometry):
            flat = constant if constant is not None else _Index(memory.variable)
            length = _length(tensor)
            index = self._derive(_aten.put.default, (flat, _indices(geometry, tensor), _Index(index)), (length,))
            geometry = _Geometry((length,), (1,), 0)
        written = self._index[id(tensor)][0]
        memory.variable, memory.geometry, memory.version = index, geometry, memory.version + 1
        self._remember(tensor, written)

    def _flat(self, tensor: Tensor, memory: _Memory) -> "_Index":
        """The variable of the whole storage, of shape (length,)."""
        flat = _Geometry((_length(tensor),), (1,), 0)
        if memory.geometry != flat:
            blank = torch.zeros(flat.size, dtype=tensor.dtype, device=tensor.device)
            arguments = (blank, _indices(memory.geometry, tensor), _Index(memory.variable))
            memory.variable = self._derive(_aten.put.default, arguments, flat.size)
            memory.geometry = flat
        return _Index(memory.variable)

    def _derive(self, operator: Any, arguments: tuple, shape: Sequence[int]) -> int:
        """A factor of the recorder's own; an `_Index` among the arguments is a variable."""
        parents = [argument for argument in arguments if isinstance(argument, _Index)]
        leaves = [_Place(parents.index(a)) if isinstance(a, _Index) else a for a in arguments]
        flat_leaves, spec = tree_flatten((tuple(leaves), {}))
        name = self._unique(operator.overloadpacket.__name__)
        index = len(self.variables)
        self.variables.append(Variable(index, name, torch.Size(shape)))
        self.factors.append(Factor(name, _Call(operator, flat_leaves, spec), tuple(parents), (index,)))
        return index

    def _keep_constants(self, written: list[Tensor]) -> None:
        """Constants that earlier calls hold are about to be overwritten."""
        for tensor in written:
            for leaves, position in self._constant_uses.pop(_storage(tensor), ()):
                leaves[position] = leaves[position].clone()

    def _new_variable(self, tensor: Tensor, name: str, written: bool = False) -> int:
        index = len(self.variables)
        self.variables.append(Variable(index, self._unique(name), tensor.shape))
        if not written and tensor.layout == torch.strided:
            self._memory.setdefault(_storage(tensor), _Memory(index, _Geometry.of(tensor)))
        self._remember(tensor, index)
        return index

    def _remember(self, tensor: Tensor, index: int) -> None:
        memory = self._memory.get(_storage(tensor))
        self._index[id(tensor)] = (index, 0 if memory is None else memory.version)
        self._alive.append(tensor)

    def _unique(self, name: str) -> str:
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name


_active: ContextVar[_Recorder | None] = ContextVar("gabp_recorder", default=None)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout == torch.strided else -id(tensor)


def _fills_storage(tensor: Tensor) -> bool:
    return tensor.is_contiguous() and tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _length(tensor: Tensor) -> int:
    """Elements in the whole storage of ``tensor``."""
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _indices(geometry: _Geometry, tensor: Tensor) -> Tensor:
    """Where in its storage, counted in elements, each element of a tensor of this geometry lies."""
    # with `put`, and not `as_strided_scatter`, whose derivative in its first argument torch 2.13 gets wrong
    return torch.arange(_length(tensor), device=tensor.device).as_strided(
        geometry.size, geometry.stride, geometry.offset
    )


def _written_arguments(func: Any, args: tuple, kwargs: dict, leaves: list[Any]) -> tuple[int, ...]:
    """Which of the flat arguments the operator changes in place."""
    if not func._schema.is_mutable:
        return ()
    changed: list[Any] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[position] if position < len(args) else kwargs.get(argument.name)
            changed += [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
    return tuple(i for i, leaf in enumerate(leaves) if any(leaf is tensor for tensor in changed))
