"""Nodes and tensors: the graph itself.

A :class:`Node` is one application of an op: ordered inputs, attributes, one or more results, and where the user
wrote it. A :class:`Tensor` is one result of a node. Both are immutable, and a tensor is its own identity:
``hash`` is by identity while ``==`` builds graph.

Pure nodes are *interned*: making the same op of the same inputs and attributes again returns the node that is
already there, so common subexpressions merge by themselves. Nodes with identity (variables, placeholders, random
bits, assigns) are never merged. What a compilation makes is merged only within it (:func:`interned_apart`): what a
program becomes must not depend on which other graphs there are, or were.
"""

from __future__ import annotations

import itertools
import re
import reprlib
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from graphc.errors import GraphError
from graphc.ir.callers import called
from graphc.ir.origin import Origin, here
from graphc.ir.types import Shape, TensorType

if TYPE_CHECKING:
    from types import ModuleType

    from graphc.ir.graph import Graph
    from graphc.ir.op import Op
    from graphc.ir.symbolic import Size

Key = tuple[str, tuple[int, ...], Any]
"""What tells pure nodes apart: the op's name, which tensors the inputs are, and the attributes, frozen."""

serials = itertools.count()
_interned: weakref.WeakValueDictionary[Key, Node] = weakref.WeakValueDictionary()
_MOST_ORIGINS = 8


_apart: ContextVar[dict[Key, Node] | None] = ContextVar("graphc_interned_apart", default=None)
_in_branch: ContextVar[bool] = ContextVar("graphc_in_branch", default=False)


class Node:
    """One application of an op.

    Attributes
    ----------
    op : Op
        What is applied.
    inputs : tuple of Tensor
    attributes : mapping of str to object
        Static parameters; also reached as ``node["axis"]``.
    results : tuple of Tensor
        One or more.
    origins : tuple of Origin
        Where the user declared it; several once equal nodes were merged.
    serial : int
        Grows with every node made; the order of declaration.
    key : tuple or None
        What equal nodes are found by; None for a node with identity.
    evaluated : bool
        Whether the results have values already, so that no program has to compute them.
    apart : bool
        Whether it was :func:`declared` to be merged with nothing, although its op is pure.
    """

    evaluated: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    __slots__ = ("__weakref__", "attributes", "inputs", "key", "op", "origins", "results", "serial")

    def __init__(
        self,
        op: Op,
        inputs: tuple[Tensor, ...],
        attributes: Mapping[str, Any],
        types: tuple[TensorType, ...],
        key: Key | None = None,
    ):
        self.op = op
        self.inputs = inputs
        self.attributes = attributes
        self.key = key
        self.results = tuple([Tensor(self, place, kind) for place, kind in enumerate(types)])
        self.origins: tuple[Origin, ...] = (_with_function(here(), op),)
        self.serial = next(serials)

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]

    @property
    def origin(self) -> Origin:
        """The first place where the user declared this node."""
        return self.origins[0]

    @property
    def caller(self) -> str:
        """The public function that made it, for messages; the op's name where none is known."""
        return self.origin.function or self.op.name

    @property
    def result(self) -> Tensor:
        """The only result of a node that has one."""
        (only,) = self.results
        return only

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """Closed graphs that the node holds, such as the body of a scan."""
        return tuple(self.attributes[name] for name in self.op.body_attributes)

    def __repr__(self) -> str:
        return f"<{self.op.name} node {self.serial}>"


class DeclaredNode(Node):
    """What :func:`declared` makes."""

    apart = True

    __slots__ = ()


class Tensor:
    """A symbolic array: one result of a node.

    Attributes
    ----------
    node : Node
    place : int
        Which result of the node this is.
    type : TensorType
    """

    __slots__ = ("__weakref__", "node", "place", "type")

    # NumPy's operators hand over to this class's instead of looping over elements.
    __array_priority__ = 1000
    __array_ufunc__: Any = None

    apply: ClassVar[Any] = None
    """How a subclass has ops applied to its tensors, other inputs among them: a function ``apply(op, inputs,
    attributes)`` that returns the results. None builds graph."""

    def __init__(self, node: Node, place: int, kind: TensorType):
        self.node, self.place, self.type = node, place, kind

    def admit(self, other: Tensor, apart: bool = False) -> Tensor:
        """Another tensor as a computation with this one takes it: itself, in a graph.

        Where tensors have values, ``apart`` asks for one that nothing else has been computed of.
        """
        return other

    @property
    def shape(self) -> Shape:
        """Sizes of the axes, integers or expressions of named dims."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def name(self) -> str:
        """The user's name for it, else one made of the op's name and the serial number."""
        given = self.node.attributes.get("name")
        if isinstance(given, str) and given:
            return given
        suffix = f".{self.place}" if len(self.node.results) > 1 else ""
        return f"{self.node.op.name}_{self.node.serial}{suffix}"

    @property
    def label(self) -> str:
        """The name for messages: quoted where it is no plain word."""
        return self.name if re.fullmatch(r"[\w./#:-]+", self.name) else repr(self.name)

    @property
    def described(self) -> str:
        """Name (or op), type and line, for messages."""
        label = self.label if self.node.attributes.get("name") else self.node.op.name
        return f"{label}: {self.type}" + (f", from {self.node.origin}" if str(self.node.origin) else "")

    __hash__ = object.__hash__

    def _no_value(self, what: str, hint: str) -> NoReturn:
        raise GraphError(
            f"{what} of a tensor of type {self.type}: it is a node of a graph and has no value until a program runs",
            operands=(self,),
            hint=hint,
        )

    def __bool__(self) -> bool:
        self._no_value("truth value", "use graphc.where(condition, a, b) to choose by a tensor's values")

    def __float__(self) -> float:
        self._no_value("float()", "run it: session.run(tensor, feeds)")

    def __int__(self) -> int:
        self._no_value("int()", "run it: session.run(tensor, feeds)")

    def __index__(self) -> int:
        self._no_value("index", "use graphc.take(x, tensor, axis) to index by a tensor")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        self._no_value("np.asarray", "run it: session.run(tensor, feeds); or use graphc's function of the same name")

    def __len__(self) -> int:
        if self.shape and isinstance(self.shape[0], int):
            return self.shape[0]
        return self._no_value("len()", "use tensor.shape[0]")

    def __iter__(self) -> Iterator[Tensor]:
        if self.shape and isinstance(self.shape[0], int):
            return (self[place] for place in range(self.shape[0]))
        return self._no_value("iteration", "iterate over a static axis, or use graphc.scan along a named one")

    def __repr__(self) -> str:
        return f"<Tensor {self.name}: {self.type}>"

    if TYPE_CHECKING:
        # What graphc.ops.methods installs. ``==`` builds graph, as it does an array for NumPy, hence the two ignores.
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __rfloordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __rmod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __rand__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __ror__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __rxor__(self, other: Any) -> Tensor: ...
        def __lshift__(self, other: Any) -> Tensor: ...
        def __rlshift__(self, other: Any) -> Tensor: ...
        def __rshift__(self, other: Any) -> Tensor: ...
        def __rrshift__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType: ...
        @property
        def T(self) -> Tensor: ...
        @property
        def mT(self) -> Tensor: ...
        @property
        def size(self) -> Size: ...
        def reshape(self, *shape: Any) -> Tensor: ...
        def transpose(self, *axes: Any) -> Tensor: ...
        def astype(self, dtype: Any) -> Tensor: ...
        def flatten(self) -> Tensor: ...
        def squeeze(self, axis: Any = None) -> Tensor: ...
        def dot(self, other: Any) -> Tensor: ...
        def clip(self, min: Any = None, max: Any = None) -> Tensor: ...
        def round(self) -> Tensor: ...
        def repeat(self, repeats: Any, axis: int | None = None) -> Tensor: ...
        def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor: ...
        def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor: ...
        def take(self, *indices: Any, axis: int | None = None) -> Tensor: ...
        def sum(self, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Tensor: ...
        def prod(self, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Tensor: ...
        def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def argmax(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def argmin(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def any(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def all(self, axis: Any = None, keepdims: bool = False) -> Tensor: ...
        def var(self, axis: Any = None, keepdims: bool = False, correction: int = 0) -> Tensor: ...
        def std(self, axis: Any = None, keepdims: bool = False, correction: int = 0) -> Tensor: ...


def given(value: Any) -> str:
    """An argument for a message: the type of a tensor, else what Python shows, not too much of it."""
    return str(value.type) if isinstance(value, Tensor) else reprlib.repr(value)


def _frozen(value: Any) -> Any:
    """A hashable stand-in for an attribute; arrays and floats count by their bits."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, (float, np.generic)):
        return (type(value).__name__, np.asarray(value).tobytes())
    if isinstance(value, (tuple, list)):
        return tuple(map(_frozen, value))
    if isinstance(value, dict):
        return _frozen_all(value)
    if isinstance(value, (int, bool)):
        return (type(value).__name__, value)
    return value


def _frozen_all(attributes: Mapping[str, Any]) -> Any:
    """The same for attributes by their names."""
    return tuple(sorted([(name, _frozen(value)) for name, value in attributes.items()])) if attributes else ()


def make_node(op: Op, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any]) -> Node:
    """The node that applies ``op``; an existing one if the op is pure and the same was made before.

    Raises
    ------
    GraphcError
        Whatever the op's ``infer`` finds wrong with the inputs.
    """
    return _node(op, inputs, attributes, None)


def declared(op: Op, attributes: Mapping[str, Any]) -> Node:
    """A leaf of its own, even if the op is pure: nothing merges with it."""
    return DeclaredNode(op, (), attributes, op.infer_types((), attributes))


def applied(op: Op, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The results of an op: a node's (:func:`make_node`), unless an input is of a class that has ways of its own.

    Raises
    ------
    GraphError
        If an input is no tensor.
    GraphcError
        Whatever the op's ``infer`` finds wrong with the inputs.
    """
    for tensor in inputs:
        if type(tensor) is not Tensor:
            if not isinstance(tensor, Tensor):
                raise GraphError(f"{op.name}: expected tensors as inputs, got {type(tensor).__name__}")
            if tensor.apply is not None:
                return tensor.apply(op, inputs, attributes)
    return _node(op, inputs, attributes, None).results


def remade(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The results of the same op on other inputs; of the same types, these are not inferred anew."""
    for new, old in zip(inputs, node.inputs, strict=True):
        if type(new) is not Tensor or new.type != old.type:
            return applied(node.op, inputs, node.attributes)
    return _node(node.op, inputs, node.attributes, node).results


def _node(op: Op, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any], like: Node | None) -> Node:
    """What :func:`make_node` returns; a node of the same attributes and types saves freezing and inferring them."""
    key: Key | None = None
    apart = _apart.get()
    known = _interned if apart is None else apart
    if op.pure:
        frozen = like.key[2] if like is not None and like.key is not None else _frozen_all(attributes)
        key = (op.name, tuple(map(id, inputs)), frozen)
        node = known.get(key)
        if node is not None:
            _add_origin(node, here())
            return node
    types = op.infer_types(inputs, attributes) if like is None else tuple([tensor.type for tensor in like.results])
    node = Node(op, inputs, attributes, types, key)
    if key is not None:
        known[key] = node
    return node


def _add_origin(node: Node, origin: Origin) -> None:
    """One more reason for a node to exist; what the user declared stands before what was derived.

    A node that several scopes declare belongs to the one around them all.
    """
    if origin in node.origins:
        return
    first = node.origin
    if origin.scope != first.scope and origin.derived == first.derived:
        node.origins = (first.within(origin.scope), *node.origins[1:])
        origin = origin.within(first.scope)
        if origin in node.origins:
            return
    if node.origin.derived and not origin.derived:
        node.origins = (_with_function(origin, node.op), *node.origins)[:_MOST_ORIGINS]
    elif len(node.origins) < _MOST_ORIGINS:
        node.origins = (*node.origins, origin)


def _with_function(origin: Origin, op: Op) -> Origin:
    """An origin that names the public function, for an op whose nodes may fail when a program runs."""
    if op.checks and not origin.function and not origin.derived:
        return replace(origin, function=called())
    return origin


@contextmanager
def interned_apart(nodes: Iterable[Node]) -> Iterator[None]:
    """Nodes made inside merge with one another and with ``nodes``, never with nodes of any other graph.

    Parameters
    ----------
    nodes : iterable of Node
        Those of the graph at hand, its bodies included.
    """
    # what was itself made apart, such as a branch, stays so
    token = _apart.set({key: node for node in nodes if (key := node.key) is not None and _interned.get(key) is node})
    try:
        yield
    finally:
        _apart.reset(token)


@contextmanager
def branch() -> Iterator[None]:
    """What is made inside belongs to a branch that may not be taken: it merges with nothing outside, and nothing of it
    is computed at once, not even what is made of tensors that have values."""
    token = _in_branch.set(True)
    try:
        with interned_apart(()):
            yield
    finally:
        _in_branch.reset(token)


def in_branch() -> bool:
    """Whether a branch is being traced: see :func:`branch`."""
    return _in_branch.get()
