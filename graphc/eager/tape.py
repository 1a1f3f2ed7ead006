"""Applying ops at once: how tensors with values meet each other, and how graph tensors enter among them.

**An op is applied** (:func:`apply`) to tensors with values by the op class itself: ``infer`` checks and types,
``compute`` is the NumPy meaning that the reference interpreter and constant folding use, and the node that results
remembers its inputs. That is all there is to a tape: :func:`graphc.gradients` walks these nodes as it walks a graph's
and calls the same ``vjp``; the ops of which that is made are applied at once in turn. So derivatives have derivatives.

**Graph tensors enter** (:meth:`Store.enter`) where they meet tensors with values. Constants have values. A variable
enters by being read: a *reading* is a leaf that holds the value which the session had then, so a tape stays true when
the variable changes, and a later reading is another leaf. What is computed of these enters node by node; random bits
enter by being drawn, once for each node. A placeholder has no value: an error. A parameter stands for one in a body
that is being traced, such as that of a scan: there the op builds graph, and tensors with values become captures. In a
branch of a ``cond`` every op builds graph, because what it computes may not be wanted, and may fail.

**Ops with bodies, and those defined by other ops**, go the way that a reference session goes: a graph of this one node
over parameters, its derivatives expanded, its parts in its place, evaluated op by op.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from operator import is_
from typing import Any

import numpy as np

from graphc.eager.tensor import Array, EagerNode, EagerTensor, ValuedTensor
from graphc.errors import ExecutionError, GraphError, IndexOutOfRangeError, ShapeError
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node, Tensor, in_branch, make_node
from graphc.ir.op import Control, Decomposed, Effect, Op, Source, View
from graphc.ir.origin import derived_from, here
from graphc.ir.types import TensorType
from graphc.ops.gradient import pin
from graphc.ops.randomness import random_bits
from graphc.ops.sources import constant, parameter
from graphc.passes.collector import collector_paused
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import derivative, differentiate
from graphc.passes.streams import number_streams
from graphc.program import LARGEST
from graphc.runtime import reference
from graphc.runtime.memory import require
from graphc.session import Session

LARGE = 1 << 28
"""Bytes: whether the system can give so many is asked before they are taken."""


# Leaves


def leaf(array: Array) -> EagerTensor:
    """A tensor of an array, which is nobody else's, and which nobody can write from now on."""
    array.setflags(write=False)
    node = EagerNode(constant, (), {"value": array}, (TensorType(array.shape, array.dtype),))
    node.values = (array,)
    return node.results[0]


class Reading(EagerNode):
    """The value that a variable had when it was read.

    Attributes
    ----------
    variable : Tensor
    """

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor, value: Array):
        super().__init__(variable.node.op, (), variable.node.attributes, (variable.type,))
        value.setflags(write=False)
        self.variable, self.values, self.origins = variable, (value,), variable.node.origins


class Variable(ValuedTensor):
    """A variable whose value is at hand: each use reads the session's value of the moment.

    Its node is an ordinary variable's, whose own result remains the tensor that graphs are made of.
    """

    __slots__ = ()

    @property
    def value(self) -> Array:
        return current().read(self).value


# Graph tensors among tensors with values


@dataclass(frozen=True, slots=True)
class _Entered:
    """What a graph node is among tensors with values.

    ``results`` is None for a node of a body that is being traced. An entry that is ``final`` depends on no variable.
    """

    inputs: tuple[EagerTensor, ...]
    results: tuple[EagerTensor, ...] | None
    final: bool


_TRACED = _Entered((), None, True)


class Store:
    """What is known of a session's variables and random numbers, and of graph tensors that have entered.

    Parameters
    ----------
    session : Session
        Whose variables are read and written.
    """

    def __init__(self, session: Session):
        self._session = weakref.ref(session)
        self._lock = threading.RLock()
        self._readings: weakref.WeakKeyDictionary[Node, tuple[Any, EagerTensor]] = weakref.WeakKeyDictionary()
        self.begin(session.seed)

    @property
    def session(self) -> Session:
        """The session, which whoever asks has a hold on."""
        session = self._session()
        assert session is not None
        return session

    def begin(self, seed: int) -> None:
        """Random numbers start anew from a seed."""
        self.random_state = np.array([seed % 2**64, 0], np.uint64)
        self.streams = count()
        self._entered: weakref.WeakKeyDictionary[Node, _Entered] = weakref.WeakKeyDictionary()

    def read(self, variable: Tensor) -> EagerTensor:
        """The present value of a variable as a leaf; the same leaf until the variable may have changed."""
        with self._lock:
            version = self.session.version
            known = self._readings.get(variable.node)
            if known is None or known[0] != version:
                plain = variable.node.results[0]
                reading = Reading(plain, self.session.get(plain)).results[0]  # it may be younger than the version
                known = self._readings[variable.node] = (version, reading)
            return known[1]

    def enter(self, tensor: Tensor) -> EagerTensor | None:
        """A tensor as one with values; None for one of a body that is being traced.

        Raises
        ------
        GraphError
            If it depends on a placeholder.
        """
        if isinstance(tensor, EagerTensor):
            return tensor
        entry = self._entered.get(tensor.node)
        if entry is None or not entry.final:
            with self._lock:
                entry = self._walk(tensor)
        return None if entry.results is None else entry.results[tensor.place]

    def _walk(self, tensor: Tensor) -> _Entered:
        for node in topological([tensor], stop=self._is_settled):
            if not self._is_settled(node):
                self._entered[node] = self._entry(node)
        return self._entered[tensor.node]

    def _is_settled(self, node: Node) -> bool:
        if node.evaluated:
            return True
        entry = self._entered.get(node)
        return entry is not None and entry.final

    def _entry(self, node: Node) -> _Entered:
        if isinstance(node.op, Source):
            return self._source(node)
        inputs: list[EagerTensor] = []
        final = True
        for tensor in node.inputs:
            if isinstance(tensor, EagerTensor):
                inputs.append(tensor)
                continue
            entry = self._entered[tensor.node]
            if entry.results is None:
                return _TRACED
            inputs.append(entry.results[tensor.place])
            final = final and entry.final
        old = self._entered.get(node)
        if old is not None and all(map(is_, old.inputs, inputs)):
            return old  # its variables have not changed
        with derived_from(node.origin):
            return _Entered(tuple(inputs), run(node.op, tuple(inputs), node.attributes), final)

    def _source(self, node: Node) -> _Entered:
        if node.op.name == "parameter":
            return _TRACED
        if node.op.name == "variable":
            return _Entered((), (self.read(node.results[0]),), False)
        if node.op.name == "random_state":
            return _Entered((), (leaf(self.random_state.copy()),), True)
        if isinstance(node.op, Source) and node.op.fixed:
            return _Entered((), (leaf(node["value"]),), True)
        raise GraphError(
            f"the {node.op.name} {node.results[0].label} has no value, so eager tensors cannot be combined with it",
            operands=node.results,
            hint="graphc.eager.asarray(array) makes a tensor with values; in a graph, use np.asarray(eager_tensor)",
        )


_session: ContextVar[Session | None] = ContextVar("graphc_eager_session", default=None)
_default: list[Session] = []
_stores: weakref.WeakKeyDictionary[Session, Store] = weakref.WeakKeyDictionary()
_starting = threading.Lock()


def session() -> Session:
    """The session whose variables eager tensors read and write: that of :func:`using`, or one of eager's own.

    Returns
    -------
    Session
        Of the reference backend, which compiles nothing, unless :func:`using` said otherwise.
    """
    chosen = _session.get()
    if chosen is not None:
        return chosen
    if not _default:
        with _starting:
            if not _default:
                _default.append(Session(threads=1, backend="reference"))
    return _default[0]


def current() -> Store:
    """The store of the present session."""
    chosen = session()
    store = _stores.get(chosen)
    if store is None:
        with _starting:
            store = _stores.setdefault(chosen, Store(chosen))
    return store


@contextmanager
def using(session: Session) -> Iterator[None]:
    """Inside, variables are those of a session: what it has trained is read, what is updated is its.

    Parameters
    ----------
    session : Session

    Examples
    --------
    >>> with graphc.Session() as session:
    ...     session.run(train, feeds)
    ...     with graphc.eager.using(session):
    ...         scores = model(graphc.eager.asarray(images))
    """
    if not isinstance(session, Session):
        raise GraphError(f"eager.using: expected a session, got {session!r}")
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)


def seed(seed: int) -> None:
    """Random numbers, and the initial values of variables that have none yet, follow from this seed from now on.

    Parameters
    ----------
    seed : int
        0 at the start. Equal seeds and layers have the initial values that a :class:`graphc.Session` of that seed has.
    """
    session().reseed(seed)
    current().begin(seed)


# Ops


def apply(op: Op, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The results of an op on tensors at least one of which has values.

    Raises
    ------
    GraphcError
        What the op finds wrong with its inputs, as in a graph; or an input has no value.
    """
    if in_branch() and not (op.derivative and all(tensor.node.evaluated for tensor in inputs)):
        return make_node(op, _readable(inputs), attributes).results
    for tensor in inputs:
        if type(tensor) is not EagerTensor:
            store = current()
            entered = tuple([found for tensor in inputs if (found := store.enter(tensor)) is not None])
            if len(entered) < len(inputs):
                return make_node(op, _readable(inputs), attributes).results
            return run(op, entered, attributes)
    return run(op, inputs, attributes)  # type: ignore[arg-type]


def _readable(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Inputs of a node of a body: a variable is captured by its reading."""
    return tuple([tensor.admit(tensor) if isinstance(tensor, ValuedTensor) else tensor for tensor in inputs])


def run(op: Op, inputs: tuple[EagerTensor, ...], attributes: Mapping[str, Any]) -> tuple[Any, ...]:
    """The results of an op on tensors that all have values: tensors with values."""
    if op.derivative:
        with collector_paused():  # the tape outlives all of the walk
            return tuple([admit(tensor) for tensor in derivative(op, inputs)])
    if isinstance(op, Effect):
        raise GraphError(
            f"{op.name}: the value is an eager tensor, which is there already; an update waits for a step",
            operands=inputs,
            hint="graphc.eager.minimize(optimizer, loss) is a step; graphc.eager.assign(variable, value) writes now",
        )
    compute: Callable[..., Any] = op.compute
    if isinstance(op, (Decomposed, Control)):
        attributes, compute = _by_parts(op, inputs, attributes)
    elif op is random_bits and attributes["stream"] is None:
        attributes = {**attributes, "stream": next(current().streams)}
    types = op.infer_types(inputs, attributes)
    _check_sizes(op, types)
    node = EagerNode(op, inputs, attributes, types)
    results = node.results
    try:
        made = compute(node, *[tensor.node.values[tensor.place] for tensor in inputs])
    except IndexError as error:
        raise IndexOutOfRangeError(str(error), origin=here()) from None
    except KeyError as error:  # of the values of named dims, which only a program has
        raise GraphError(f"{op.name}: the named dim {error.args[0]!r} has no value among eager tensors") from None
    except MemoryError:
        raise ExecutionError(f"{op.name}: the system has no memory for the result, {types[0]}", origin=here()) from None
    node.values = tuple([_kept(array) for array in (made if isinstance(made, tuple) else (made,))])
    return results


def _kept(made: Any) -> Array:
    array = np.asarray(made)
    array.setflags(write=False)
    return array


def _check_sizes(op: Op, types: tuple[TensorType, ...]) -> None:
    """Sizes are numbers, and the system can give as many bytes."""
    for kind in types:
        size = kind.dtype.itemsize
        for extent in kind.shape:
            if type(extent) is not int:
                raise GraphError(
                    f"{op.name}: the result has the type {kind}, but eager tensors have no named dims: {extent} has no "
                    "value here",
                    hint="give sizes as numbers",
                )
            size *= extent
        if size > LARGEST:
            raise ShapeError(f"{op.name}: {kind} has more bytes than a 64-bit address can tell apart")
        if size > LARGE and not isinstance(op, View):
            require(size, f"the value of {op.name}: {kind}", origin=here())


def _by_parts(
    op: Op, inputs: Sequence[Tensor], attributes: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Callable[..., Any]]:
    """Attributes with numbered random streams, and what computes an op of other ops or with bodies."""
    formals = tuple(parameter.like(tensor, f"input{place}") for place, tensor in enumerate(inputs))
    graph = number_streams(Graph(formals, make_node(op, formals, attributes).results), current().streams)
    parts = decompose(differentiate(graph))

    def compute(node: Node, *arrays: Array) -> tuple[Array, ...]:
        return tuple(reference.evaluate(parts.outputs, dict(zip(formals, arrays, strict=True))))

    return graph.outputs[0].node.attributes, compute


def admit(tensor: Tensor, apart: bool = False) -> Tensor:
    """A tensor as one with values; itself if it stands in a body that is being traced.

    Equal constants of graphs are one node. Who asks for zeros twice wants two tensors, since a derivative by one of
    them is none by the other: that is what ``apart`` is for.
    """
    if in_branch() and not isinstance(tensor, ValuedTensor):
        return tensor
    entered = current().enter(tensor)
    if entered is None or entered is tensor:
        return tensor
    return pin(entered) if apart else entered


# The classes of tensors stand below what applies ops to them.
ValuedTensor.apply = staticmethod(apply)
ValuedTensor.admit = lambda self, other, apart=False: admit(other, apart)  # type: ignore[method-assign]
