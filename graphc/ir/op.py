"""The op contract and the registry.

An op is ONE class, decorated with :func:`op`; the decorator puts its only instance in the registry and in the
class's place, so that the name is the public function::

    @op
    class tanh(Elementwise):
        '''Hyperbolic tangent.'''

        reference = staticmethod(np.tanh)      # NumPy meaning: oracle, constant folding
        expression = "tanh(x)"                 # one element, target-neutral
        def vjp(self, node, g):                # ordinary graph ops, so gradients of gradients work
            return (g * (1 - node.result * node.result),)
        samples = [Sample(normal(2, 3))]       # what the registry-driven tests feed it

``graphc.tanh(x)`` then calls :meth:`Op.__call__`; tests, docs and ``graphc ops`` walk the registry.

What an op is to the scheduler is said by its base class, one for each way of being computed:

============================  =====================================================================================
:class:`Source`               a leaf: placeholder, variable, constant
:class:`Map`                  one element is a scalar expression of input elements: elementwise ops, views, gathers
:class:`Reduction`            elements along some axes are combined: sum, prod, max, min, argmax
:class:`ChunkedReduction`     the same over chunks of leading axes: partial sums of rows, made where the rows are
:class:`Contraction`          products summed over shared labels: matmul and all its relatives
:class:`AxisScan`             running combination along one axis: cumulative_sum
:class:`IndexedAccumulation`  contributions combined where an index says: scatter-add
:class:`RowRoutine`           a library routine on rows of the last axis: sort
:class:`MatrixRoutine`        a library routine on matrices of the last two axes: solve, cholesky
:class:`Decomposed`           rewritten into other ops before scheduling: gradient, custom_gradient
:class:`Control`              runs bodies: scan, cond, while_loop
:class:`Effect`               writes a variable: assign
============================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from graphc.errors import GraphcError, GraphError, LinAlgError, ShapeError
from graphc.ir import scalar
from graphc.ir.node import Node, Tensor, applied
from graphc.ir.scalar import Literal, Load, Scalar
from graphc.ir.symbolic import Size
from graphc.ir.types import LARGEST_SIZE, TensorType

Read = Callable[[int, Sequence[Size]], Scalar]
"""``read(k, index)``: the scalar of input ``k`` at a position."""


class Sample:
    """Inputs for the registry-driven tests of an op.

    Parameters
    ----------
    *inputs : array_like
        Example values, floats as float64; the harness casts them to every dtype that the op accepts.
    differentiable : bool
        Whether derivatives are checked at this point (false at kinks).
    **attributes
        Keyword arguments of the op's public call.
    """

    def __init__(self, *inputs: Any, differentiable: bool = True, **attributes: Any):
        self.given = inputs
        self.differentiable = differentiable
        self.attributes = attributes

    @cached_property
    def inputs(self) -> tuple[np.ndarray[Any, Any], ...]:
        """The example values; those that are random are drawn now."""
        return tuple(np.asarray(value) for value in self.given)

    def __repr__(self) -> str:
        shown = [f"{value.dtype.name}{value.shape}" for value in self.inputs]
        return f"Sample({', '.join(shown + [f'{k}={v!r}' for k, v in self.attributes.items()])})"


if TYPE_CHECKING:
    # mypy ignores what a class decorator returns (python/mypy#3135), and so takes ``tanh`` for the class that
    # :func:`op` replaced. These bases make the class pass for what really stands there: calling it gives "Any", and it
    # is accepted wherever an op or a function is expected. The price: ops' unknown attributes are not reported.
    class _Replaceable(type, Any):
        pass

    class _Replaced(Any, metaclass=_Replaceable):
        def __init__(self, *inputs: Any, **attributes: Any) -> None: ...
else:
    _Replaced = object


def _too_large(kind: TensorType) -> bool:
    """Whether a static size, or all of them together, exceeds what positions and numbers of bytes are counted in."""
    sizes = [size for size in (kind.bytes, *kind.shape) if isinstance(size, int)]
    return max(sizes) > LARGEST_SIZE


class Op(_Replaced):
    """Base of all ops. Instances are callable and build graph.

    Attributes
    ----------
    name : str
        Set by :func:`op` from the class name; a trailing underscore (``sum_``) is dropped.
    pure : bool
        Whether equal applications may merge; false for nodes with identity.
    body_attributes : tuple of str
        Names of the attributes that hold bodies.
    dtypes : tuple of str
        Dtypes of the first input that the op accepts; used by the tests and the op table.
    differentiable : bool
        Whether a vjp exists.
    derivative : bool
        Whether a node stands for a derivative, until differentiation replaces it.
    awaited : tuple of int
        Places of the inputs that a node only waits for: no element of its result is made of theirs.
    samples : sequence of Sample
        What the registry-driven tests feed the op. Every op that a user can call has at least one.
    public : bool
        Whether ``graphc.<name>`` is this op.
    checks : bool
        Whether a running program can fail in it, so that its nodes know which public function made them.
    """

    name: ClassVar[str] = ""
    pure: ClassVar[bool] = True
    public: ClassVar[bool] = True
    checks: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    derivative: ClassVar[bool] = False
    awaited: ClassVar[tuple[int, ...]] = ()
    body_attributes: ClassVar[tuple[str, ...]] = ()
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    samples: ClassVar[Sequence[Sample]] = ()

    def infer(self, *inputs: Any, **attributes: Any) -> TensorType | tuple[TensorType, ...]:
        """The result types for these inputs (tensors); raises a GraphcError if they do not fit.

        Ops name the inputs and attributes that they take.
        """
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> Any:
        """NumPy meaning: the result array, or a tuple of them for several results."""
        raise NotImplementedError(f"{type(self).__name__}.compute")

    def vjp(self, node: Node, *cotangents: Any) -> tuple[Tensor | None, ...]:
        """One cotangent an input, from the results' cotangents (tensors), as ordinary graph.

        None for an input that has no derivative (an index, a condition).
        """
        raise GraphError(f"{self.name} has no derivative", origin=node.origin)

    def check_differentiable(self, node: Node) -> None:
        """Raise a GradientError for a node that has no derivative though others of its op have one."""

    def decompose(self, node: Node) -> tuple[Tensor, ...]:
        """The results in terms of other ops; only for :class:`Decomposed` ops."""
        raise NotImplementedError(f"{type(self).__name__}.decompose")

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Apply the op to tensors; subclasses convert arguments and declare their attributes."""
        return self.make(*inputs, **attributes)

    if TYPE_CHECKING:
        make: ClassVar[Callable[..., Any]]  # called through the name of the replaced class, it takes no self either
    else:

        def make(self, *inputs: Tensor, **attributes: Any) -> Any:
            """The node's result, or a tuple of its results."""
            results = applied(self, inputs, attributes)
            return results if len(results) > 1 else results[0]

    def infer_types(self, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """Result types as a tuple; errors gain the line that declared the first input."""
        types = self.infer(*inputs, **attributes)
        found = (types,) if isinstance(types, TensorType) else tuple(types)
        for kind in () if isinstance(self, Control) else found:  # a loop's history is made only where it is needed
            size = kind.bytes
            if type(size) is int and (size > LARGEST_SIZE or not size) and _too_large(kind):
                raise ShapeError(f"{self.name}: the result {kind} has 2**63 bytes or more, which no index can count")
        return found

    @property
    def kind(self) -> str:
        """The stage of a kernel that computes the op: the name of its lowering base class."""
        for base in type(self).__mro__:
            if base in KINDS:
                return KINDS[base]
        raise GraphcError(f"{self.name}: the op's class derives from none of the lowering classes")

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Source(Op):
    """A leaf of the graph: its value is fed, kept or, if the class says so, ``fixed``: the attribute ``value``."""

    fixed: ClassVar[bool] = False
    pure = False
    public = False
    differentiable = False


class Map(Op):
    """One element of the result is a scalar expression of elements of the inputs.

    Attributes
    ----------
    spreads : bool
        Whether one element of an input may go to many places of the result, as broadcasts and gathers do.
    chooses : bool
        Whether each element of the result is one input's, chosen by its place among all of them, as a concatenation's.
    """

    spreads: ClassVar[bool] = False
    chooses: ClassVar[bool] = False

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        """The element of the result at ``index``.

        Parameters
        ----------
        node : Node
        index : sequence of int or Dim
            Position in the result, one expression an axis.
        read : callable
            ``read(k, index)`` is the scalar of input ``k`` at a position. The position must lie within the input
            even where the value is not selected, unless the axis is empty.
        """
        raise NotImplementedError(f"{type(self).__name__}.scalar")


class View(Map):
    """A map that only moves elements: its result at ``index`` is its input at ``source(node, index)``."""

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        """Position in the input of the element at ``index`` of the result."""
        raise NotImplementedError(f"{type(self).__name__}.source")

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        return read(0, self.source(node, index))


class Reduction(Op):
    """Combines the elements along the axes of attribute ``axes`` (a sorted tuple); the result drops these axes.

    ``combine`` is ``"add"``, ``"multiply"``, ``"maximum"``, ``"minimum"``, or ``"argmax"`` / ``"argmin"``, whose
    results are int64 positions in the flattened reduced axes (first of equals; NaN wins).
    """

    combine: ClassVar[str] = ""


class ChunkedReduction(Reduction):
    """Combines the leading axes (``axes``), as many parts apart as attribute ``chunks`` says; these are the result's
    first axis.

    Of ``n`` positions in these axes, chunk ``c`` has those from ``n * c // chunks`` to ``n * (c + 1) // chunks``.
    The result's dtype may be wider than the elements', for parts that are to be combined further.
    """


class Contraction(Op):
    """``out[o] = sum over k of a[...] * b[...]``: two inputs whose axes carry labels."""

    def labels(self, node: Node) -> tuple[str, str, str]:
        """Labels of the axes of a, b and the result, one letter an axis, none twice in one operand."""
        raise NotImplementedError(f"{type(self).__name__}.labels")


class AxisScan(Op):
    """Running combination (``combine``) along the axis of attribute ``axis``; same shape as its input."""

    combine: ClassVar[str] = ""


class IndexedAccumulation(Op):
    """A start, into which contributions are combined, in the order of their positions, where an index says.

    ``combine`` is ``"add"``, ``"maximum"``, ``"minimum"``, or ``"set"``, which keeps the last contribution.
    """

    checks = True

    combine: ClassVar[str] = "add"

    def start(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        """The element of the result at ``index`` before any contribution."""
        return Literal(0, node.result.dtype)

    def contributions(self, node: Node) -> tuple[Size, ...]:
        """Shape of the space of contributions."""
        raise NotImplementedError(f"{type(self).__name__}.contributions")

    def contribute(self, node: Node, position: Sequence[Size], read: Read) -> tuple[tuple[Size, ...], Scalar]:
        """Where the contribution at ``position`` goes (an index of the result), and its value."""
        raise NotImplementedError(f"{type(self).__name__}.contribute")


class RowRoutine(Op):
    """A library routine (``routine``) on each row of the last axis; never fused.

    Attributes
    ----------
    core : int
        Number of trailing axes of the first result that one call of the routine makes; the axes before are a batch.
    input_cores : tuple of int
        Number of trailing axes of each input that one call reads. The axes before them broadcast to the batch.
    """

    routine: ClassVar[str] = ""
    core: ClassVar[int] = 1
    input_cores: ClassVar[tuple[int, ...]] = (1,)

    def repeats(self, node: Node) -> tuple[Size, ...]:
        """How often a call goes over what its first result holds: factors of its work."""
        return ()


class MatrixRoutine(RowRoutine):
    """A library routine on the matrices of the last two axes.

    Attributes
    ----------
    complaint : str
        What is wrong with a matrix on which the routine fails, with ``{}`` for the number that it says; empty if it
        never fails.
    """

    checks = True

    core = 2
    input_cores: ClassVar[tuple[int, ...]] = (2,)
    complaint: ClassVar[str] = ""

    def refusal(self, node: Node, place: tuple[int, ...], said: int) -> LinAlgError:
        """The error for the matrix at an index of the batch; ``said`` is what the routine says about it, -1 if it is
        too large.
        """
        which = f"the matrix at index {place if len(place) > 1 else place[0]}" if place else "the matrix"
        complaint = "is too large for LAPACK, whose sizes are 32-bit numbers" if said < 0 else self.complaint
        message = f"{node.caller}: {which} {complaint.format(said)}; no variable was changed"
        return LinAlgError(message, origin=node.origin)

    def trial(self, *inputs: Tensor, **attributes: Any) -> Any:
        """What the registry-driven tests apply to drawn values: the op on matrices made of these, which suit it."""
        return self(*inputs, **attributes)


class Decomposed(Op):
    """Rewritten into other ops by :meth:`Op.decompose` before scheduling."""


class Control(Op):
    """Runs bodies of its own, by control entries of the call table."""

    public = False

    def captures(self, node: Node) -> range:
        """The places of those inputs that the bodies take as they are, one parameter each."""
        raise NotImplementedError(f"{type(self).__name__}.captures")

    def formal(self, place: int) -> int:
        """The place among each body's inputs of the parameter for a capture, an input at ``place``."""
        raise NotImplementedError(f"{type(self).__name__}.formal")


class Effect(Op):
    """Writes a variable at the end of a step."""

    pure = False
    public = False
    differentiable = False


KINDS: dict[type, str] = {
    Source: "source", View: "view", Map: "map", Reduction: "reduction", Contraction: "contraction", AxisScan: "scan",
    IndexedAccumulation: "accumulation", RowRoutine: "routine", Decomposed: "decomposed", Control: "control",
    Effect: "effect",
}  # fmt: skip

REGISTRY: dict[str, Op] = {}

OpClass = TypeVar("OpClass", bound=Op)


def _called(call: Any, name: str) -> Any:
    """A function with the op's name in the place of its class's: Python names it for a wrong number of arguments."""
    own = FunctionType(call.__code__, call.__globals__, call.__name__, call.__defaults__, call.__closure__)
    own.__dict__.update(call.__dict__)
    own.__kwdefaults__, own.__annotations__, own.__doc__ = call.__kwdefaults__, call.__annotations__, call.__doc__
    own.__module__, own.__qualname__ = call.__module__, name
    return own


def op(cls: type[OpClass]) -> OpClass:
    """Register an op class; returns its only instance.

    Raises
    ------
    GraphError
        If the name is taken, or the class derives from no lowering class.
    """
    cls.name = cls.__name__.rstrip("_")
    cls.__call__ = _called(cls.__call__, cls.name)  # type: ignore[method-assign]
    if cls.name in REGISTRY:
        raise GraphError(f"op {cls.name!r} is defined twice: {type(REGISTRY[cls.name])} and {cls}")
    instance = cls()
    REGISTRY[cls.name] = instance
    _ = instance.kind  # a class without a way to be computed fails here, at its definition
    return instance


def load_scalar(node: Node, read: Read | None = None) -> Callable[[Sequence[Size]], Scalar]:
    """A map node's result as a function of position; inputs are loaded unless ``read`` says otherwise."""
    if not isinstance(node.op, Map):
        raise GraphError(f"{node.op.name} is not computed element by element", origin=node.origin)
    mapped: Map = node.op

    def element(index: Sequence[Size]) -> Scalar:
        return mapped.scalar(node, index, read or (lambda k, at: Load(node.inputs[k], at)))

    return element


__all__ = [
    "KINDS", "REGISTRY", "AxisScan", "ChunkedReduction", "Contraction", "Control", "Decomposed", "Effect",
    "IndexedAccumulation", "Map", "MatrixRoutine", "Op", "Read", "Reduction", "RowRoutine", "Sample", "Source", "View",
    "load_scalar", "op", "scalar",
]  # fmt: skip
