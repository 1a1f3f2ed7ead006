"""Sessions and programs: what runs.

A :class:`Session` owns variables, worker threads and a random state, and keeps the programs it has compiled, by what
is fetched and fed. A :class:`Program` is one compiled graph, frozen: calling it never adds nodes.

**What a step means.** Every variable is read as it was at the step's start; all assigns take effect together at its
end. A step that fails, or is interrupted, leaves every variable as it was.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc import config
from graphc.codegen.emit import Source
from graphc.compiler import compile_graph
from graphc.errors import (
    ExecutionError,
    FeedError,
    GraphcWarning,
    GraphError,
    IndexOutOfRangeError,
    SessionError,
    ShapeError,
)
from graphc.feeds import Feeder
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Reduction
from graphc.ir.origin import here, stack_level
from graphc.ir.symbolic import Dim, evaluate, names_of
from graphc.ir.types import format_shape
from graphc.ops.sources import Updates
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.streams import number_streams
from graphc.runtime import reference
from graphc.runtime.executable import Executable
from graphc.runtime.memory import CHUNK_BYTES, Slots, require
from graphc.runtime.workers import Workers
from graphc.schedule.memory import MemoryPlan

Array = NDArray[Any]

MOST_PROGRAMS_OF_A_LINE = 10
"""More programs than this from one line of the user's are worth a warning: each is compiled anew."""


class Session:
    """Variables, workers and programs.

    Parameters
    ----------
    device : str
        ``"cpu"``.
    threads : int, optional
        Worker threads, the caller included; the processors available if not given.
    seed : int
        Of initial values and random ops.
    check_numerics : bool
        Stop at the first NaN or infinity and name the node and the user's line; variables stay as they were.
    backend : str
        ``"compiled"``, or ``"reference"`` to run op by op in NumPy.
    reuse_memory : bool
        False gives every intermediate bytes of its own and overwrites nothing (for debugging).

    Raises
    ------
    SessionError
        For an unknown device or backend, or fewer than one thread.

    Examples
    --------
    >>> import graphc
    >>> x = graphc.placeholder("x", ("n",))
    >>> with graphc.Session() as session:
    ...     float(session.run((x * x).sum(), {x: [1.0, 2.0, 3.0]}))
    14.0
    """

    def __init__(
        self,
        device: str = "cpu",
        threads: int | None = None,
        seed: int = 0,
        *,
        check_numerics: bool = False,
        backend: str = "compiled",
        reuse_memory: bool = True,
    ):
        if device != "cpu":
            raise SessionError(f"session: expected device 'cpu', got {device!r}")
        if backend not in ("compiled", "reference"):
            raise SessionError(f"session: expected backend 'compiled' or 'reference', got {backend!r}")
        threads = config.current().threads if threads is None else threads
        if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
            raise SessionError(f"session: expected at least 1 thread, got {threads!r}")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise SessionError(f"session: expected an integer seed, got {seed!r}")
        self.device, self.backend, self.seed = device, backend, int(seed)
        self.threads = int(threads)
        self.check_numerics, self.reuse_memory = check_numerics, reuse_memory
        self.workers = Workers(self.threads)
        self._random_state = np.array([self.seed % 2**64, 0], np.uint64)
        self._slots = Slots()
        self._variables: dict[Tensor, Array] = {}
        self._labels: dict[str, Tensor] = {}
        self._programs: dict[Any, Program] = {}
        self._programs_of_outputs: dict[tuple[Tensor, ...], Program] = {}
        self._programs_of_line: dict[Any, int] = {}
        self._lock = threading.RLock()  # re-entrant only to recognise calls from a signal handler within a step
        self._in_step = False
        self._closed = False
        self._lost = False
        _alive.add(self)

    def __enter__(self) -> Session:
        self._check_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker threads; the session can't run any more, its variables can still be read."""
        self._closed = True
        self.workers.close()

    def _check_open(self) -> None:
        self._check_whole()
        if self._closed:
            raise SessionError(
                "the session is closed", hint="open a new one; variables of a closed one can still be read"
            )

    def _check_whole(self) -> None:
        if self._lost:
            raise SessionError(
                "the process was forked while another thread used this session; what that did is lost to this process",
                hint="open a new session here, or fork while no thread uses one",
            )

    def _forget(self) -> None:
        """In a forked child: if another thread held the lock, it is gone, perhaps amid a step."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock, self._lost = threading.RLock(), True

    @property
    def steps(self) -> int:
        """Training steps so far: runs that updated a variable."""
        return int(self._random_state[1])

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs compiled by :meth:`run`, in order."""
        return tuple(self._programs_of_outputs.values())

    def run(self, fetches: Any, feeds: Mapping[Tensor, Any] | None = None) -> Any:
        """Compute fetches; compile first if this combination is new.

        Parameters
        ----------
        fetches : Tensor, or nested list, tuple or dict of these
            Updates (from ``assign`` or ``minimize``) among them take effect.
        feeds : mapping of Tensor to array_like
            A value for every placeholder that the fetches depend on.

        Returns
        -------
        ndarray, None, or the same nesting of these
            Arrays that the caller owns; None for an update.

        Raises
        ------
        FeedError
            If a feed is missing, unknown, or does not fit.
        ExecutionError
            If the step failed; every variable is as it was.
        SessionError
            If the session is closed.
        """
        feeds = {} if feeds is None else feeds
        flat, rebuild = flatten(fetches)
        if not isinstance(feeds, Mapping):
            raise FeedError(f"feeds: expected a mapping from placeholders to arrays, got {type(feeds).__name__}")
        return rebuild(self._program(flat, feeds)._run(feeds))

    def prepare(self, fetches: Any, feeds: Iterable[Tensor] = ()) -> Program:
        """The program that :meth:`run` would use for these fetches and fed placeholders; compiled if it is new.

        Parameters
        ----------
        fetches : Tensor, or nested list, tuple or dict of these
        feeds : iterable of Tensor
            The placeholders that will be fed.

        Returns
        -------
        Program
        """
        return self._program(flatten(fetches)[0], tuple(feeds))

    def _program(self, flat: list[Tensor], feeds: Iterable[Tensor]) -> Program:
        key = (tuple(flat), tuple(feeds))
        program = self._programs.get(key)
        return self._new_program(flat, key) if program is None else program

    def _new_program(self, flat: list[Tensor], key: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]) -> Program:
        self._check_open()
        feeds = key[1]
        for tensor in feeds:
            if not isinstance(tensor, Tensor) or tensor.node.op.name != "placeholder":
                shown = repr(tensor)
                raise FeedError(f"feeds: expected placeholders as keys, got {shown}", hint="feed {tensor: array}")
        needed = [n.result for n in topological(flat) if n.op.name == "placeholder"]
        missing = [tensor for tensor in needed if tensor not in set(feeds)]
        if missing:
            names = ", ".join(repr(tensor.name) for tensor in missing)
            raise FeedError(f"feed missing for placeholder {names}", origin=missing[0].node.origin)
        with self._lock:
            program = self._programs_of_outputs.get(key[0])  # another order of feeds, or one that nothing needs
            if program is None:
                program = self._programs_of_outputs[key[0]] = Program(tuple(needed), key[0], self)
                self._warn_of_many()
            self._programs[key] = program
        return program

    def _warn_of_many(self) -> None:
        place = here()
        count = self._programs_of_line[place] = self._programs_of_line.get(place, 0) + 1
        if count == MOST_PROGRAMS_OF_A_LINE + 1:
            warnings.warn(
                f"more than {MOST_PROGRAMS_OF_A_LINE} programs were compiled for {place}: build the graph once, "
                "outside the loop, and feed it",
                GraphcWarning,
                stacklevel=stack_level(),
            )

    def get(self, variable: Tensor) -> Array:
        """A copy of a variable's value.

        Raises
        ------
        GraphError
            If the tensor is no variable.
        """
        with self._lock:
            self._check_whole()
            return self._storage(variable).copy()

    def set(self, variable: Tensor, value: Any) -> None:
        """Give a variable a value of its shape; floats may be rounded, other values must be kept.

        Raises
        ------
        FeedError
            If shape or dtype does not fit.
        SessionError
            If called from within a step (by a signal handler), which reads its variables as they were at its start.
        """
        with self._lock:
            self._check_whole()
            if self._in_step:
                raise SessionError("a variable was set from within a step of the same session (a signal handler?)")
            storage = self._storage(variable)
            (array,), _ = Feeder([variable], tell_rounding=False)([value])
            storage[...] = array

    def _storage(self, variable: Tensor) -> Array:
        """Where a variable lives; made and initialised at first use."""
        if not isinstance(variable, Tensor) or variable.node.op.name != "variable":
            raise GraphError(f"expected a variable, got {variable!r}")
        found = self._variables.get(variable)
        if found is None:
            (found,) = self._make_storage([variable])
        return found

    def _make_storage(self, variables: Sequence[Tensor]) -> list[Array]:
        labels: list[str] = []
        for variable in variables:
            label = variable.node["name"] or f"variable:{len(self._labels) + len(labels)}"
            if variable.node["_auto"]:
                label = self._numbered(label, labels)
            other = self._labels.get(label)
            if label in labels:
                other = variables[labels.index(label)]
            if other is not None:
                raise SessionError(
                    f"two variables are named {label!r}; the other was declared at {other.node.origin}",
                    origin=variable.node.origin,
                )
            labels.append(label)
        total = sum(evaluate(variable.type.bytes, {}) for variable in variables)
        if total >= CHUNK_BYTES:  # smaller ones are not worth asking the system about
            require(2 * total, "making the initial values of variables, and a place for them,")
        values = [self._initial(variable, label) for variable, label in zip(variables, labels, strict=True)]
        requests = [(label, v.shape, v.dtype) for label, v in zip(labels, variables, strict=True)]
        slots = self._slots.add(requests)  # type: ignore[arg-type]
        try:
            for slot, value in zip(slots, values, strict=True):
                slot.array[...] = value
        except BaseException:  # an interrupt amid large values: as if they had not been asked for
            self._slots.forget(labels)
            raise
        self._labels.update(zip(labels, variables, strict=True))
        self._variables.update((v, slot.array) for v, slot in zip(variables, slots, strict=True))
        return [slot.array for slot in slots]

    def _numbered(self, label: str, more: Sequence[str]) -> str:
        """The label, with the first number that makes it new where a layer of that name is there already."""
        candidate, number = label, 0
        while candidate in self._labels or candidate in more:
            number += 1
            candidate = f"{label}#{number}"
        return candidate

    def _initial(self, variable: Tensor, label: str) -> Array:
        initial = variable.node["initial"]
        if not callable(initial):
            return initial
        digest = hashlib.sha256(f"{self.seed}\0{label}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        value = np.asarray(initial(variable.shape, variable.dtype, generator))
        if value.shape != variable.shape or not np.can_cast(value.dtype, variable.dtype, "same_kind"):
            raise GraphError(
                f"variable {label!r}: its initializer made {value.dtype}{format_shape(value.shape)}, expected "
                f"{variable.type}",
                origin=variable.node.origin,
            )
        return value.astype(variable.dtype, copy=False)


class Program:
    """A compiled graph. Made by :func:`compile` or by :meth:`Session.run`.

    Attributes
    ----------
    inputs : tuple of Tensor
        Placeholders, in the order of the call's arguments.
    outputs : tuple of Tensor
    session : Session
        Whose variables and workers it uses.
    compilations : int
        Kernels compiled or loaded for it so far, counted from the compiler's events; a new batch size adds none.
    events : list of KernelEvent
        Where each kernel came from: compiled, the disk cache, or this process.
    source : Source or None
        Its kernels; None under the reference backend.
    """

    def __init__(self, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], session: Session):
        self.inputs, self.outputs, self.session = inputs, outputs, session
        self.events: list[Any] = []
        self.source: Source | None = None
        graph = Graph(inputs, outputs)
        _check_leaves(graph)
        _check_updates(graph)
        self.graph = graph
        self._feeder = Feeder(inputs)
        self._never_empty = _sizes_that_are_never_zero(graph)
        self._rebuild: Callable[[list[Any]], Any] = tuple
        session._check_open()
        with session._lock:
            new = [n.result for n in _variables_of(graph) if n.result not in session._variables]
            session._make_storage(new)
        self._expanded: Graph | None = None
        if session.backend == "reference":
            self._expanded = self._for_reference()
            return
        self.source = compile_graph(graph)
        self._executable = Executable(
            self.source,
            inputs,
            session._variables,
            session._random_state,
            session.workers,
            session.reuse_memory,
            self.events.append,
        )

    def _for_reference(self) -> Graph:
        return decompose(differentiate(number_streams(self.graph)))

    @property
    def compilations(self) -> int:
        """Kernels compiled or loaded for this program so far."""
        return len(self.events)

    @property
    def kernels(self) -> int:
        """Number of kernels of a step."""
        return len(self.source.kernels) if self.source else 0

    @property
    def memory(self) -> MemoryPlan | None:
        """The memory plan in force: peak, lower bound, blocks; None before the first run."""
        return self._executable.memory if self.source else None

    def __call__(self, *arrays: Any) -> Any:
        """Run a step.

        Parameters
        ----------
        *arrays : array_like
            One for each of ``inputs``.

        Returns
        -------
        Arrays nested as the outputs given to :func:`compile`.
        """
        if len(arrays) != len(self.inputs):
            names = ", ".join(tensor.name for tensor in self.inputs)
            raise FeedError(f"program: expected {len(self.inputs)} arrays ({names}), got {len(arrays)}")
        return self._rebuild(self._step(arrays))

    def _run(self, feeds: Mapping[Tensor, Any]) -> list[Any]:
        return self._step([feeds[tensor] for tensor in self.inputs])

    def _step(self, values: Sequence[Any]) -> list[Any]:
        session = self.session
        arrays, sizes = self._feeder(values)
        for node, size in self._never_empty:
            if evaluate(size, sizes) == 0:
                message = f"{node.op.name}: expected at least one element along its axes, got none: {size} is 0"
                raise ShapeError(message, origin=node.origin)
        with session._lock:
            session._check_open()
            if session._in_step:  # before anything of the step under way is touched, its feeds' addresses above all
                raise SessionError("a step was started from within a step of the same session (a signal handler?)")
            try:
                session._in_step = True
                if self._expanded is not None:
                    return self._run_reference(arrays, sizes)
                if session.check_numerics:
                    return self._run_checked(arrays, sizes)
                return self._executable.run(arrays, sizes)
            finally:
                session._in_step = False

    def _run_reference(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Any]:
        """Op by op in NumPy; updates take effect at the end."""
        assert self._expanded is not None
        session, graph = self.session, self._expanded
        values = dict(zip(self.inputs, arrays, strict=True)) | self._leaves(graph)
        try:
            results = reference.evaluate([*graph.outputs, *(node.result for node in graph.effects)], values)
        except IndexError as error:
            raise IndexOutOfRangeError(f"{error}; no variable was changed") from None
        outcomes = zip(graph.outputs, results, strict=False)
        copies = [None if isinstance(tensor.node.op, Effect) else np.array(value) for tensor, value in outcomes]
        restore = self._snapshot()
        try:
            for node, value in zip(graph.effects, results[len(graph.outputs) :], strict=True):
                session._variables[node.inputs[0]][...] = value
            if graph.effects:
                session._random_state[1] += np.uint64(1)
        except BaseException:  # an interrupt between two variables
            restore()
            raise
        return copies

    def _snapshot(self) -> Callable[[], None]:
        """A function that gives what a step writes the values of now."""
        session = self.session
        arrays = [session._variables[node.inputs[0]] for node in self.graph.effects] + [session._random_state]
        before = [(array, array.copy()) for array in arrays]

        def write() -> None:
            for array, value in before:
                array[...] = value

        def restore() -> None:
            try:
                write()
            except BaseException:  # an interrupt: once more from the start
                write()
                raise

        return restore

    def _leaves(self, graph: Graph) -> dict[Tensor, Array]:
        """Values of variables and the random state, copied so that updates don't show."""
        found = {node.result: self.session._variables[node.result].copy() for node in _variables_of(graph)}
        for node in graph.nodes:
            if node.op.name == "random_state":
                found[node.result] = self.session._random_state.copy()
        return found

    def _run_checked(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Any]:
        """Run, look for NaN and infinity, and if there is one restore the variables and find its first node."""
        session = self.session
        restore = self._snapshot()
        outputs = self._executable.run(arrays, sizes)
        written = [session._variables[node.inputs[0]] for node in self.graph.effects]
        shown = [value for value in outputs if value is not None] + written
        if all(np.isfinite(value).all() for value in shown if value.dtype.kind == "f"):
            return outputs
        restore()
        expanded = self._for_reference()
        values = dict(zip(self.inputs, arrays, strict=True)) | self._leaves(expanded)
        tensors = [tensor for node in expanded.nodes for tensor in node.results if tensor.dtype.kind == "f"]
        for tensor, value in zip(tensors, reference.evaluate(tensors, values), strict=True):
            if not np.isfinite(value).all():
                place = tuple(int(k) for k in np.argwhere(~np.isfinite(value))[0])
                raise ExecutionError(
                    f"check_numerics: {tensor.node.op.name} made {np.asarray(value)[place]} at {place} of "
                    f"{tensor.type}; no variable was changed",
                    origin=tensor.node.origin,
                )
        raise ExecutionError(
            "check_numerics: a compiled kernel made NaN or infinity where the reference interpreter does not"
        )


def compile(inputs: Sequence[Tensor], outputs: Any, *, device: str = "cpu", session: Session | None = None) -> Program:
    """Compile a graph into a program that is called with arrays.

    Parameters
    ----------
    inputs : sequence of Tensor
        Placeholders, in the order of the call's arguments.
    outputs : Tensor, or nested list, tuple or dict of these
        What a call returns, nested alike; None for updates.
    device : str
        ``"cpu"``.
    session : Session, optional
        Whose variables it uses; one of its own if not given.

    Returns
    -------
    Program

    Raises
    ------
    FeedError
        If an input is no placeholder, or one that the outputs need is not among them.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    flat, rebuild = flatten(outputs)
    for tensor in given:
        if not isinstance(tensor, Tensor) or tensor.node.op.name != "placeholder":
            raise FeedError(f"compile: expected placeholders as inputs, got {tensor!r}")
    missing = [n.result for n in topological(flat) if n.op.name == "placeholder" and n.result not in set(given)]
    if missing:
        raise FeedError(f"compile: the outputs need the placeholder {missing[0].name!r}", origin=missing[0].node.origin)
    program = Program(tuple(given), tuple(flat), session or Session(device))
    program._rebuild = rebuild
    return program


def flatten(fetches: Any) -> tuple[list[Tensor], Callable[[list[Any]], Any]]:
    """Tensors of a nested fetch, and how to nest their values alike.

    Raises
    ------
    GraphError
        If something in it is no tensor.
    """
    if isinstance(fetches, Tensor):
        return [fetches], lambda values: values[0]
    if isinstance(fetches, Updates):
        return list(fetches), lambda values: None
    if isinstance(fetches, Mapping):
        keys, entries = list(fetches), list(fetches.values())
    elif isinstance(fetches, (list, tuple)):
        keys, entries = None, list(fetches)
    else:
        raise GraphError(
            f"fetches: expected a tensor or a nested list, tuple or dict of tensors, got {type(fetches).__name__}"
        )
    if keys is None and all(isinstance(entry, Tensor) for entry in entries):
        return entries, list if isinstance(fetches, list) else tuple
    parts = [flatten(entry) for entry in entries]
    flat = [tensor for tensors, _ in parts for tensor in tensors]

    def rebuild(values: list[Any]) -> Any:
        nested, first = [], 0
        for tensors, inner in parts:
            nested.append(inner(values[first : first + len(tensors)]))
            first += len(tensors)
        if keys is not None:
            return dict(zip(keys, nested, strict=True))
        return nested if isinstance(fetches, list) else tuple(nested)

    return flat, rebuild


_alive: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_all() -> None:
    for session in list(_alive):
        session._forget()


os.register_at_fork(after_in_child=_forget_all)


def _variables_of(graph: Graph) -> list[Node]:
    return sorted((node for node in graph.nodes if node.op.name == "variable"), key=lambda node: node.serial)


def _sizes_that_are_never_zero(graph: Graph) -> list[tuple[Node, Dim]]:
    """Sizes of axes along which a largest or smallest element is looked for, where only a run says what they are."""
    found = []
    for node in graph.nodes:
        if isinstance(node.op, Reduction) and node.op.combine not in ("add", "multiply"):
            sizes = [node.inputs[0].shape[axis] for axis in node["axes"]]
            found += [(node, size) for size in sizes if isinstance(size, Dim)]
    return found


def _check_leaves(graph: Graph) -> None:
    """Nothing hangs in the air: no parameter of a body, no named dim that no feed determines."""
    known = {name for tensor in graph.inputs for size in tensor.shape for name in names_of(size)}
    for node in graph.nodes:
        if node.op.name == "parameter":
            raise GraphError(
                f"{node.result.name!r} exists only within the body of a scan",
                origin=node.origin,
                hint="return it from the body",
            )
        for tensor in node.results:
            for size in tensor.shape:
                for name in names_of(size):
                    if name not in known:
                        raise FeedError(
                            f"unknown named dim {name!r} in {tensor.name!r} of type {tensor.type}: no placeholder that "
                            "is fed has it",
                            origin=node.origin,
                        )


def _check_updates(graph: Graph) -> None:
    """No variable is assigned twice in one step."""
    written: dict[Tensor, Node] = {}
    for node in graph.effects:
        variable = node.inputs[0]
        if variable in written:
            raise GraphError(
                f"variable {variable.name!r} is assigned twice in one step; first at {written[variable].origin}",
                origin=node.origin,
            )
        written[variable] = node
