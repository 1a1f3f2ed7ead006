"""Loops: ``scan`` runs a body along an axis, carrying values from one iteration to the next.

The body is traced once, on parameters, and becomes a closed graph that the node ``scan_loop`` holds::

    inputs of the body:  position (int64), carries, one slice of each of xs, captures
    its outputs:         new carries, one slice of each of ys

    inputs of the node:  initial carries, xs, captures
    its results:         final carries, ys, histories

A *history* is a carry as it was **before** each iteration, stacked along a new first axis. Nobody but derivatives reads
histories, and a result that nobody reads costs nothing.

**The derivative of a loop is a loop in the opposite direction** (backpropagation through time). At each position it
recomputes the body from the histories and the slice of xs, and takes the gradient of that one iteration:

* the cotangents of the carries are its carries;
* the cotangents of the captures are sums over all iterations, hence carries that start at zero;
* the cotangents of xs are one slice a position, hence its ys.

It is an ordinary ``scan_loop`` with histories of its own, so it can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Control, op
from graphc.ir.symbolic import Size, concrete
from graphc.ir.types import TensorType, as_shape, is_float
from graphc.ops.base import as_tensor, shown
from graphc.ops.derivatives import close_body, full
from graphc.ops.gradient import differentiable_sources, gradient
from graphc.ops.randomness import inside_loop
from graphc.ops.sources import parameter
from graphc.ops.tree import flatten, paths, same_structure

Array = np.ndarray[Any, Any]
INDEX = TensorType((), np.dtype("int64"))

__all__ = ["scan"]


def evaluate_body(body: Graph, arguments: Sequence[Array]) -> list[Array]:
    """The outputs of a body on arrays, op by op in NumPy."""
    known: dict[Tensor, Array] = dict(zip(body.inputs, arguments, strict=True))
    for node in body.nodes:
        if node.results[0] not in known:
            made = node.op.compute(node, *(known[tensor] for tensor in node.inputs))
            known.update(zip(node.results, made if isinstance(made, tuple) else (made,), strict=True))
    return [known[tensor] for tensor in body.outputs]


@op
class scan_loop(Control):
    """The node of :func:`scan`; its parts are named in the module's text.

    Attributes of the node
    ----------------------
    body : Graph
    carries, xs : int
        How many of the inputs are carries, and how many xs; the rest are captures.
    length : int or Dim
        Number of iterations.
    reverse : bool
        From the last position to the first. Positions, slices and histories are numbered forward all the same.
    """

    body_attributes = ("body",)

    def infer(
        self, *inputs: Tensor, body: Graph, carries: int, xs: int, length: Size, reverse: bool
    ) -> tuple[TensorType, ...]:
        expected = [INDEX, *(tensor.type for tensor in inputs[:carries])]
        for tensor in inputs[carries : carries + xs]:
            if not tensor.shape or tensor.shape[0] != length:
                raise ShapeError(f"scan: expected {length} slices, got {shown(tensor)}", operands=(tensor,))
            expected.append(TensorType(tensor.shape[1:], tensor.dtype))
        expected += [tensor.type for tensor in inputs[carries + xs :]]
        if expected != [tensor.type for tensor in body.inputs]:
            raise GraphError(
                f"scan_loop: the body takes {[str(t.type) for t in body.inputs]}, not {[*map(str, expected)]}"
            )
        made = [tensor.type for tensor in body.outputs]
        if made[:carries] != expected[1 : 1 + carries]:
            raise GraphError(f"scan_loop: the body turns carries {[*map(str, expected)]} into {[*map(str, made)]}")
        stacked = [TensorType((length, *kind.shape), kind.dtype) for kind in (*made[carries:], *made[:carries])]
        return (*made[:carries], *stacked)

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        body, carries = node["body"], node["carries"]
        stop = carries + node["xs"]
        state, xs, captures = list(inputs[:carries]), inputs[carries:stop], inputs[stop:]
        stacks = [np.zeros(concrete(tensor.shape), tensor.dtype) for tensor in node.results[carries:]]
        (length,) = concrete([node["length"]])
        for position in reversed(range(length)) if node["reverse"] else range(length):
            made = evaluate_body(body, [np.asarray(position), *state, *(x[position] for x in xs), *captures])
            for stack, value in zip(stacks, (*made[carries:], *state), strict=True):
                stack[position] = value
            state = made[:carries]
        return (*state, *stacks)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return _Transpose(node, cotangents).cotangents()


class _Transpose:
    """Builds the loop that is the derivative of a loop.

    ``floats`` lists, for each group of inputs, which of them have cotangents.
    """

    def __init__(self, node: Node, cotangents: Sequence[Tensor]):
        self.node, self.body = node, node["body"]
        first = node["carries"]
        self.groups = (node.inputs[:first], node.inputs[first : first + node["xs"]], node.inputs[first + node["xs"] :])
        self.floats = [[k for k, tensor in enumerate(group) if is_float(tensor.dtype)] for group in self.groups]
        last = len(node.results) - first
        self.of_finals, self.of_ys, self.of_histories = cotangents[:first], cotangents[first:last], cotangents[last:]
        self.histories = node.results[last:]

    def cotangents(self) -> tuple[Tensor | None, ...]:
        """One an input of the node, None for integers."""
        carries, xs, captures = self.groups
        of_carries, of_xs, of_captures = self.floats
        # what is known to be zero is not passed through the loop
        ys = [k for k, g in enumerate(self.of_ys) if is_float(g.dtype) and not _is_zero(g)]
        histories = [k for k in of_carries if not _is_zero(self.of_histories[k])]
        initial = [self.of_finals[k] for k in of_carries] + [full(0.0, captures[k].type) for k in of_captures]
        slices = [*self.histories, *xs, *(self.of_ys[k] for k in ys), *(self.of_histories[k] for k in histories)]
        if not initial and not of_xs:
            return tuple(None for _ in self.node.inputs)
        results = scan_loop.make(
            *initial, *slices, *captures,
            body=self._body(ys, histories), carries=len(initial), xs=len(slices),
            length=self.node["length"], reverse=not self.node["reverse"],
        )  # fmt: skip
        results = results if isinstance(results, tuple) else (results,)
        found = iter(results[len(of_carries) : len(initial)])
        by_capture = dict(zip(of_captures, found, strict=True))
        by_carry = dict(zip(of_carries, results, strict=False))
        by_x = dict(zip(of_xs, results[len(initial) :], strict=False))
        return (
            *(by_carry.get(k) for k in range(len(carries))),
            *(by_x.get(k) for k in range(len(xs))),
            *(by_capture.get(k) for k in range(len(captures))),
        )

    def _body(self, ys: list[int], histories: list[int]) -> Graph:
        """One iteration backward: recompute it, and take its gradient."""
        body, (carries, xs, _) = self.body, self.groups
        of_carries, of_xs, of_captures = self.floats

        def fresh(kinds: Sequence[Tensor], name: str) -> list[Tensor]:
            return [parameter.like(tensor, f"{name}{place}") for place, tensor in enumerate(kinds)]

        index, *formals = body.inputs
        inputs = (
            formals[: len(carries)],
            formals[len(carries) : len(carries) + len(xs)],
            formals[len(carries) + len(xs) :],
        )
        position = parameter.like(index, "position")
        before, x, captured = fresh(inputs[0], "carry"), fresh(inputs[1], "x"), fresh(inputs[2], "capture")
        of_after = fresh([inputs[0][k] for k in of_carries], "d_carry")
        sums = fresh([inputs[2][k] for k in of_captures], "d_capture")
        of_y = fresh([body.outputs[len(carries) + k] for k in ys], "d_y")
        of_before = fresh([inputs[0][k] for k in histories], "d_history")

        outputs = inline(body, (position, *before, *x, *captured))
        differentiated = [outputs[k] for k in of_carries] + [outputs[len(carries) + k] for k in ys]
        wanted = [before[k] for k in of_carries] + [x[k] for k in of_xs] + [captured[k] for k in of_captures]
        found = _gradients(differentiated, [*of_after, *of_y], wanted)
        by_carry, rest = found[: len(of_carries)], found[len(of_carries) :]
        by_x, by_capture = rest[: len(of_xs)], rest[len(of_xs) :]
        for k, own in zip(histories, of_before, strict=True):
            place = of_carries.index(k)
            by_carry[place] = _added(by_carry[place], own)
        new = [_or_zero(g, wanted[k]) for k, g in enumerate(by_carry)]
        new += [_added(g, total) for g, total in zip(by_capture, sums, strict=True)]
        new += [_or_zero(g, x[k]) for k, g in zip(of_xs, by_x, strict=True)]
        return Graph((position, *of_after, *sums, *before, *x, *of_y, *of_before, *captured), tuple(new))


def _gradients(ys: Sequence[Tensor], seeds: Sequence[Tensor], xs: Sequence[Tensor]) -> list[Tensor | None]:
    """Cotangents of xs from those of several ys in one backward pass; None where no path leads."""
    total: Tensor | None = None
    for y, seed in zip(ys, seeds, strict=True):
        # d(sum(y * seed)) is seed . dy; in float64, the one dtype that every float casts to
        term = as_tensor(REGISTRY["sum"](REGISTRY["multiply"](y, seed)), "float64")
        total = term if total is None else REGISTRY["add"](total, term)
    if total is None:
        return [None for _ in xs]
    reached = differentiable_sources(total)
    connected = [x for x in xs if x in reached]
    if not connected:
        return [None for _ in xs]
    found = gradient.make(total, full(1.0, total.type), *connected)
    by_x = dict(zip(connected, found if isinstance(found, tuple) else (found,), strict=True))
    return [by_x.get(x) for x in xs]


def _added(cotangent: Tensor | None, other: Tensor) -> Tensor:
    return other if cotangent is None else REGISTRY["add"](cotangent, other)


def _or_zero(cotangent: Tensor | None, like: Tensor) -> Tensor:
    return full(0.0, like.type) if cotangent is None else cotangent


def _is_zero(tensor: Tensor) -> bool:
    """Whether a tensor is zeros by its form: a constant 0, broadcast or not."""
    node = tensor.node
    while node.op.name == "broadcast_to":
        node = node.inputs[0].node
    return node.op.name == "constant" and node["value"].size == 1 and not node["value"].any()


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run a function along the first axis of xs, carrying values from one call to the next.

    Parameters
    ----------
    function : callable
        ``function(carry, x)`` returns ``(carry, y)``. It is called once, with tensors that stand for an iteration's
        values; it may use tensors from outside.
    init : tree of Tensor or array_like
        The first carry. A tree is a tensor or nested tuples, lists and dicts of trees.
    xs : tree of Tensor or array_like, optional
        Cut into slices along the first axis.
    length : int, Dim or str, optional
        Number of iterations; needed without ``xs``.
    reverse : bool
        Run from the last slice to the first.

    Returns
    -------
    carry : tree
        The last carry.
    ys : tree
        The ``y`` of all iterations, stacked along a new first axis in the order of ``xs``.

    Raises
    ------
    GraphError
        If the carry changes its structure, shape or dtype, or the function is none or assigns to a variable.
    ShapeError
        If the lengths of xs differ, or there is none.

    Examples
    --------
    >>> graphc.scan(lambda total, x: (total + x, total), 0.0, graphc.constant([1.0, 2.0, 3.0]))
    """
    if not callable(function):
        raise GraphError(f"scan: expected a function of (carry, x), got {type(function).__name__}")
    initial, rebuild_carry = flatten(init)
    slices, rebuild_x = flatten(xs)
    initial, slices = [as_tensor(leaf) for leaf in initial], [as_tensor(leaf) for leaf in slices]
    count = _length(slices, length)
    index = parameter.make(name="position", shape=(), dtype=INDEX.dtype)
    carried = [parameter.like(tensor, f"carry{place}") for place, tensor in enumerate(initial)]
    sliced = [
        parameter.make(name=f"x{place}", shape=tensor.shape[1:], dtype=tensor.dtype)
        for place, tensor in enumerate(slices)
    ]
    with inside_loop(index, count):
        made = function(rebuild_carry(carried), rebuild_x(sliced))
    if not isinstance(made, tuple) or len(made) != 2:
        raise GraphError(f"scan: expected the function to return (carry, y), got {made!r}")
    after = _checked_carry(init, initial, made[0])
    ys, rebuild_y = flatten(made[1])
    if not after and not ys:
        return made  # nothing is computed
    body, captures = close_body("scan", (index, *carried, *sliced), (*after, *map(as_tensor, ys)))
    results = scan_loop.make(
        *initial,
        *slices,
        *captures,
        body=body,
        carries=len(initial),
        xs=len(slices),
        length=count,
        reverse=bool(reverse),
    )
    results = results if isinstance(results, tuple) else (results,)
    return rebuild_carry(results[: len(initial)]), rebuild_y(results[len(initial) : len(initial) + len(ys)])


def _length(slices: Sequence[Tensor], length: Any) -> Size:
    """The number of iterations that xs and ``length`` agree on."""
    found: Size | None = None if length is None else as_shape(length, "scan: length")[0]
    for tensor in slices:
        if not tensor.ndim:
            raise ShapeError("scan: expected xs of rank 1 or more, got a scalar", operands=(tensor,))
        if found is not None and tensor.shape[0] != found:
            raise ShapeError(
                f"scan: the lengths of xs differ: {found} and {tensor.shape[0]} of {shown(tensor)}",
                operands=(tensor,),
            )
        found = tensor.shape[0]
    if found is None:
        raise ShapeError("scan: the number of iterations is not known", hint="give length= or xs=")
    return found


def _checked_carry(init: Any, initial: Sequence[Tensor], after: Any) -> list[Tensor]:
    """The new carry's tensors, which must fit the old one's."""
    if not same_structure(init, after):
        raise GraphError(
            f"scan: the carry changes its structure: it was {_shape_of(init)}, it becomes {_shape_of(after)}"
        )
    leaves = []
    for before, (path, leaf) in zip(initial, paths(after), strict=True):
        tensor = leaf if isinstance(leaf, Tensor) else as_tensor(leaf, before.dtype)
        if tensor.type != before.type:
            raise GraphError(
                f"scan: carry{path} changes its type: it was {before.type}, it becomes {tensor.type}",
                operands=(tensor,),
                hint="cast or reshape it, or start from a carry of that type",
            )
        leaves.append(tensor)
    return leaves


def _shape_of(tree: Any) -> str:
    """A tree's structure for a message: ``*`` for each leaf."""
    leaves, rebuild = flatten(tree)
    return str(rebuild(["*"] * len(leaves))).replace("'*'", "*")
