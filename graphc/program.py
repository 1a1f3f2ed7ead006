"""Programs: compiled graphs, frozen, bound to the variables and workers of a session.

A step of a program is: check and cast the feeds, then one walk over the call table (or, under the reference backend,
op by op in NumPy), with nothing else of the session's running meanwhile.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphc.codegen.cpu import jit
from graphc.codegen.emit import Source
from graphc.compiler import compile_graph
from graphc.errors import ExecutionError, FeedError, GraphError, IndexOutOfRangeError, SessionError, ShapeError
from graphc.feeds import Feeder
from graphc.ir.graph import Graph, named_dims
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Reduction, View
from graphc.ir.symbolic import Compound, Dim, atoms_of, evaluate, names_of, terms_of
from graphc.passes.collector import collector_paused
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.passes.streams import number_streams
from graphc.runtime import reference
from graphc.runtime.executable import Executable, common
from graphc.runtime.memory import require
from graphc.schedule.footprint import MemoryReport

if TYPE_CHECKING:
    from graphc.profile.report import Profile
    from graphc.session import Session

Array = NDArray[Any]

LARGEST = 2**63 - 1
"""Bytes: sizes and positions are signed 64-bit words."""


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
        self._doubtful = _sizes_that_may_be_wrong(graph)
        self._rebuild: Callable[[list[Any]], Any] = tuple
        self._repeats = session.backend == "compiled" and not session.check_numerics
        session._check_open()
        self._expanded: Graph | None = None
        with ExitStack() as begun:
            with session._lock:
                if session.backend == "compiled":  # helpers start while values are drawn and the passes run
                    begun.enter_context(jit.begun(common(), wait=False))
                session._make_storage([n.result for n in _variables_of(graph) if n.result not in session._variables])
            if session.backend == "reference":
                self._expanded = self._for_reference()
                return
            begun.enter_context(jit.begun(common()))  # where another thread was compiling: now after it
            begun.enter_context(collector_paused())
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

    def __repr__(self) -> str:
        return f"<Program of {len(self.inputs)} inputs, {len(self.outputs)} outputs, {self.kernels} kernels>"

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
    def memory(self) -> MemoryReport | None:
        """What a step's memory is made of, and what the backward pass keeps alive; None before the first run."""
        made = self._executable.memory if self.source else None
        if made is None:
            return None
        executable = self._executable
        return MemoryReport(made, executable.schedule, executable.room, sum(self._feeder.copies.values()))

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

    def _run_profiled(self, feeds: Mapping[Tensor, Any]) -> tuple[list[Any], Profile]:
        """A step whose kernels are timed, and what they took."""
        from graphc.profile.report import profile_of

        if self.source is None:
            raise SessionError(
                "profile: expected a session of backend 'compiled', got 'reference', which has no kernels",
                hint="open the session without backend=",
            )
        with self.session._lock:  # nothing may run between the step and the reading of its times
            start = time.perf_counter_ns()
            values = self._step([feeds[tensor] for tensor in self.inputs], timed=True)
            step_ns = time.perf_counter_ns() - start - self._executable.timing_ns
            return values, profile_of(self._executable, step_ns)

    def _step(self, values: Sequence[Any], timed: bool = False) -> list[Any]:
        """Like the step before, if it can be; otherwise feeds are checked and cast and their sizes looked at."""
        session = self.session
        if self._repeats and not timed:
            with session._lock:
                if not (session._in_step or session._closed or session._lost):  # or else it is refused below
                    try:
                        session._in_step = True
                        outputs = self._executable.run_again(values)
                    finally:
                        session._in_step = False
                    if outputs is not None:
                        return outputs
        arrays, sizes = self._feeder(values)
        self._check_sizes(sizes)
        with session._lock:
            session._check_open()
            if session._in_step:  # before anything of the step under way is touched, its feeds' addresses above all
                raise SessionError("a step was started from within a step of the same session (a signal handler?)")
            try:
                session._in_step = True
                if self._expanded is not None:
                    return self._run_reference(arrays, sizes)
                if session.check_numerics:
                    return self._run_checked(arrays, sizes, timed)
                return self._executable.run(arrays, sizes, timed)
            finally:
                session._in_step = False

    def _check_sizes(self, sizes: Mapping[str, int]) -> None:
        """Refuse sizes of the named dims for which the graph has no meaning."""
        for size, node in self._doubtful.items():
            try:
                value: int | None = evaluate(size, sizes)
            except ZeroDivisionError:
                value = None
            if value is None or value < 0:
                got = "divides by 0" if value is None else f"is {value}"
                values = ", ".join(f"{name} = {sizes[name]}" for name in names_of(size))
                message = f"{node.caller}: expected sizes of at least 0, got {size}, which {got} for {values}"
                raise ShapeError(message, origin=node.origin)
        for node, size in self._never_empty:
            if evaluate(size, sizes) == 0:
                message = f"{node.caller}: expected at least one element along its axes, got none: {size} is 0"
                raise ShapeError(message, origin=node.origin)

    def _run_reference(self, arrays: Sequence[Array], sizes: Mapping[str, int]) -> list[Any]:
        """Op by op in NumPy; updates take effect at the end."""
        assert self._expanded is not None
        session, graph = self.session, self._expanded
        made = [t for node in graph.nodes if node.inputs and not isinstance(node.op, View) for t in node.results]
        made += [tensor for tensor in graph.outputs if not isinstance(tensor.node.op, Effect)]  # which are copied
        if made:
            sizes_of_made = [evaluate(tensor.type.bytes, sizes) for tensor in made]
            largest = max(range(len(made)), key=sizes_of_made.__getitem__)
            require(sizes_of_made[largest], f"the value of {made[largest].described}")
        values = dict(zip(self.inputs, arrays, strict=True)) | self._leaves(graph)
        try:
            results = reference.evaluate([*graph.outputs, *(node.result for node in graph.effects)], values)
        except IndexError as error:
            message, origin = getattr(error, "message", str(error)), getattr(error, "origin", None)
            raise IndexOutOfRangeError(f"{message}; no variable was changed", origin=origin) from None
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

    def _run_checked(self, arrays: Sequence[Array], sizes: Mapping[str, int], timed: bool) -> list[Any]:
        """Run, look for NaN and infinity, and if there is one restore the variables and find its first node."""
        session = self.session
        restore = self._snapshot()
        outputs = self._executable.run(arrays, sizes, timed)
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


def _sizes_that_may_be_wrong(graph: Graph) -> dict[Dim, Node]:
    """Sizes that a run may find to be negative or to divide by 0, and the first node that has each."""
    found: dict[Dim, Node] = {}
    for node in graph.all_nodes():
        for tensor in node.results:
            for size in tensor.shape:
                if isinstance(size, Dim) and size not in found and _may_be_wrong(size):
                    found[size] = node
    return found


def _may_be_wrong(size: Dim) -> bool:
    if any(factor < 0 for _, factor in terms_of(size)):
        return True
    compounds = [atom for atom in atoms_of(size) if isinstance(atom, Compound)]
    return any(atom.kind in ("floordiv", "mod") and isinstance(atom.right, Dim) for atom in compounds)


def _check_leaves(graph: Graph) -> None:
    """Nothing hangs in the air: no parameter of a body, no named dim that no feed determines; nothing is so large that
    its elements have no number."""
    known = {name for tensor in graph.inputs for size in tensor.shape for name in names_of(size)}
    read = {*graph.outputs, *(tensor for node in graph.nodes for tensor in node.inputs)}  # others are not computed
    for node in graph.nodes:
        if node.op.name == "parameter":
            raise GraphError(
                f"{node.result.name!r} exists only within the body of a loop",
                origin=node.origin,
                hint="return it from the body",
            )
        for tensor in node.results:
            static = math.prod(size for size in tensor.shape if isinstance(size, int))
            if tensor in read and static * tensor.dtype.itemsize > LARGEST and 0 not in tensor.shape:
                raise ShapeError(
                    f"{node.op.name}: {tensor.type} has more bytes than a 64-bit address can tell apart",
                    origin=node.origin,
                )
    for name, node in named_dims(graph).items():
        if name not in known:
            tensor = node.results[0]
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
