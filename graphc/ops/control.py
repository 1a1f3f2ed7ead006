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

The derivative of a ``while_loop`` is such a loop, too, but for its number of iterations, which only the run decides: it
is *counted*. Its last input is that number, and only the first so many positions are visited (from the last of them
down to 0 in reverse); its ys are zeros elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Control, op
from graphc.ir.symbolic import Size, concrete
from graphc.ir.types import TensorType, as_shape, is_float
from graphc.ops.base import as_tensor, given, is_zero, require_bool, shown
from graphc.ops.bodies import (
    INDEX,
    Array,
    check_callable,
    checked_carry,
    cotangents_of,
    evaluate_body,
    or_zero,
    results_of,
)
from graphc.ops.derivatives import close_body, full
from graphc.ops.gradient import differentiable_sources
from graphc.ops.randomness import inside_loop
from graphc.ops.sources import parameter
from graphc.ops.tree import flatten

__all__ = ["scan"]


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
    counted : bool
        Whether the last input, no capture, is the number of iterations; ``length`` is then the largest there can be.
    """

    body_attributes = ("body",)

    def captures(self, node: Node) -> range:
        return range(node["carries"] + node["xs"], len(node.inputs) - node["counted"])

    def formal(self, place: int) -> int:
        return place + 1

    def infer(
        self, *inputs: Tensor, body: Graph, carries: int, xs: int, length: Size, reverse: bool, counted: bool
    ) -> tuple[TensorType, ...]:
        if counted:
            *rest, count = inputs
            inputs = tuple(rest)
            if count.type != INDEX:
                raise GraphError(f"scan_loop: expected an int64 scalar as number of iterations, got {count.type}")
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
        body, carries, last = node["body"], node["carries"], self.captures(node).stop
        stop = carries + node["xs"]
        state, xs, captures = list(inputs[:carries]), inputs[carries:stop], inputs[stop:last]
        stacks = [np.zeros(concrete(tensor.shape), tensor.dtype) for tensor in node.results[carries:]]
        (length,) = [int(inputs[-1])] if node["counted"] else concrete([node["length"]])
        for position in reversed(range(length)) if node["reverse"] else range(length):
            made = evaluate_body(body, [np.asarray(position), *state, *(x[position] for x in xs), *captures])
            for stack, value in zip(stacks, (*made[carries:], *state), strict=True):
                stack[position] = value
            state = made[:carries]
        return (*state, *stacks)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        first, stop = node["carries"], self.captures(node).start
        last = len(node.results) - first
        groups = (node.inputs[:first], node.inputs[first:stop], node.inputs[stop : self.captures(node).stop])
        count = node.inputs[-1] if node["counted"] else None
        transpose = Transpose(node["body"], groups, node.results[last:], node["length"], node["reverse"], count)
        found = transpose.cotangents(cotangents[:first], cotangents[first:last], cotangents[last:])
        return (*found, None) if node["counted"] else found


class Transpose:
    """Builds the loop that is the derivative of a loop.

    Parameters
    ----------
    body : Graph
        One iteration: of the position, carries, slices and captures.
    groups : tuple of three sequences of Tensor
        Initial carries, xs, captures.
    histories : sequence of Tensor
        The carries before each iteration.
    length : int or Dim
        Number of iterations; the largest one with ``count``.
    reverse : bool
        Whether the loop itself runs from the last position to the first.
    count : Tensor, optional
        Number of iterations that were done.
    """

    def __init__(
        self,
        body: Graph,
        groups: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]],
        histories: Sequence[Tensor],
        length: Size,
        reverse: bool,
        count: Tensor | None,
    ):
        self.body, self.groups, self.histories = body, groups, histories
        self.length, self.reverse, self.count = length, reverse, count
        self.floats = [[k for k, tensor in enumerate(group) if is_float(tensor.dtype)] for group in groups]

    def cotangents(
        self, of_finals: Sequence[Tensor], of_ys: Sequence[Tensor], of_histories: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """From the results' cotangents one for each carry, x and capture, None for integers and what has no path."""
        carries, xs, captures = self.groups
        float_carries, of_xs, _ = self.floats
        # what is known to be zero is not passed through the loop: there it could meet an infinity or NaN
        ys = [k for k, g in enumerate(of_ys) if is_float(g.dtype) and not is_zero(g)]
        histories = [k for k in float_carries if not is_zero(of_histories[k])]
        finals = [k for k in float_carries if not is_zero(of_finals[k])]
        of_carries = self._active(ys, [*finals, *histories])
        body, of_captures = self._body(of_carries, ys, histories)
        initial = [of_finals[k] for k in of_carries] + [full(0.0, captures[k].type) for k in of_captures]
        slices = [*self.histories, *xs, *(of_ys[k] for k in ys), *(of_histories[k] for k in histories)]
        if not initial and not of_xs:
            return tuple(None for group in self.groups for _ in group)
        counts = () if self.count is None else (self.count,)
        made = scan_loop.make(
            *initial, *slices, *captures, *counts, body=body, carries=len(initial), xs=len(slices),
            length=self.length, reverse=not self.reverse, counted=self.count is not None,
        )  # fmt: skip
        results = results_of(made)
        by_carry = dict(zip(of_carries, results, strict=False))
        by_capture = dict(zip(of_captures, results[len(of_carries) :], strict=False))
        by_x = dict(zip(of_xs, results[len(initial) :], strict=False))
        return (
            *(by_carry.get(k) for k in range(len(carries))),
            *(by_x.get(k) for k in range(len(xs))),
            *(by_capture.get(k) for k in range(len(captures))),
        )

    def _active(self, ys: Sequence[int], given: Sequence[int]) -> list[int]:
        """The carries with a cotangent: those that are given one, and those that a y with one, or such a carry,
        depends on; to be found by repetition, as carries depend on each other through the iterations."""
        outputs, (carries, _, _) = self.body.outputs, self.groups
        places = {self.body.inputs[1 + k]: k for k in self.floats[0]}
        active, waiting = set(given), [*given, *(len(carries) + k for k in ys)]
        while waiting:
            reached = {places[x] for x in differentiable_sources(outputs[waiting.pop()]) if x in places}
            waiting += reached - active
            active |= reached
        return sorted(active)

    def _body(self, of_carries: list[int], ys: list[int], histories: list[int]) -> tuple[Graph, list[int]]:
        """One iteration backward: recompute it, and take its gradient; and which captures have one."""
        body, (carries, xs, _) = self.body, self.groups
        _, of_xs, of_captures = self.floats

        def fresh(kinds: Sequence[Tensor], name: str) -> list[Tensor]:
            return [parameter.like(tensor, f"{name}{place}") for place, tensor in enumerate(kinds)]

        index, *formals = body.inputs
        stop = len(carries) + len(xs)
        position = parameter.like(index, "position")
        before, x = fresh(formals[: len(carries)], "carry"), fresh(formals[len(carries) : stop], "x")
        captured = fresh(formals[stop:], "capture")
        of_after = fresh([formals[k] for k in of_carries], "d_carry")
        of_y = fresh([body.outputs[len(carries) + k] for k in ys], "d_y")
        of_before = fresh([formals[k] for k in histories], "d_history")

        outputs = inline(body, (position, *before, *x, *captured))
        differentiated = [outputs[k] for k in of_carries] + [outputs[len(carries) + k] for k in ys]
        wanted = [before[k] for k in of_carries] + [x[k] for k in of_xs] + [captured[k] for k in of_captures]
        found = cotangents_of(wanted, differentiated, [*of_after, *of_y])
        by_carry, rest = found[: len(of_carries)], found[len(of_carries) :]
        by_x, by_capture = rest[: len(of_xs)], dict(zip(of_captures, rest[len(of_xs) :], strict=True))
        for k, own in zip(histories, of_before, strict=True):
            place = of_carries.index(k)
            by_carry[place] = _added(by_carry[place], own)
        reached = {k: g for k, g in by_capture.items() if g is not None}
        sums = fresh([captured[k] for k in reached], "d_capture")
        new = [or_zero(g, wanted[k]) for k, g in enumerate(by_carry)]
        new += [REGISTRY["add"](g, total) for g, total in zip(reached.values(), sums, strict=True)]
        new += [or_zero(g, x[k]) for k, g in zip(of_xs, by_x, strict=True)]
        inputs = (position, *of_after, *sums, *before, *x, *of_y, *of_before, *captured)
        return Graph(inputs, tuple(new)), list(reached)


def _added(cotangent: Tensor | None, other: Tensor) -> Tensor:
    return other if cotangent is None else REGISTRY["add"](cotangent, other)


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
    mask: Any = None,
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
    mask : Tensor or array_like of bool, optional
        Where it is false, the carry stays as it was and ``y`` is zero: padding of sequences of unequal lengths. Its
        first axis is that of the iterations; further ones are the leading axes of every carry and ``y``. Shape
        ``(length,)`` skips iterations, ``(length, batch)`` rows of a batch, such as those beyond their ``lengths``:
        ``graphc.arange(length)[:, None] < lengths``. The function is computed there all the same, so padding must be
        values at which its derivatives are finite.

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
        If the lengths of xs differ, or there is none; if the mask does not fit.
    DTypeError
        If the mask is not of bools.

    Examples
    --------
    >>> graphc.scan(lambda total, x: (total + x, total), 0.0, graphc.constant([1.0, 2.0, 3.0]))
    """
    check_callable("scan", function, "a function of (carry, x)", 2)
    reverse = require_bool("scan", "reverse", reverse)
    if mask is not None:
        return scan(_masked(function, init), init, (xs, _as_mask(mask)), length, reverse)
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
        made = _checked_pair(function(rebuild_carry(carried), rebuild_x(sliced)))
    after = checked_carry("scan", init, initial, made[0])
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
        reverse=reverse,
        counted=False,
    )
    results = results_of(results)
    return rebuild_carry(results[: len(initial)]), rebuild_y(results[len(initial) : len(initial) + len(ys)])


def _as_mask(given: Any) -> Tensor:
    mask = as_tensor(given)
    if mask.dtype != np.dtype("bool"):
        raise DTypeError(f"scan: expected a mask of bools, got {mask.type}", operands=(mask,))
    if not mask.ndim:
        raise ShapeError("scan: expected a mask of rank 1 or more, got a scalar", operands=(mask,))
    return mask


def _masked(function: Callable[[Any, Any], tuple[Any, Any]], init: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """A function of (carry, (x, mask)) that keeps the carry and makes y zero where the mask is false."""

    def masked(carry: Any, slices: Any) -> tuple[Any, Any]:
        x, mask = slices
        made = _checked_pair(function(carry, x))
        before, rebuild = flatten(carry)
        after = checked_carry("scan", init, before, made[0])
        ys, rebuild_y = flatten(made[1])
        kept = [_chosen(mask, new, old) for new, old in zip(after, before, strict=True)]
        return rebuild(kept), rebuild_y([_chosen(mask, y, 0) for y in map(as_tensor, ys)])

    return masked


def _chosen(mask: Tensor, value: Tensor, other: Any) -> Tensor:
    """``value`` where the mask, over leading axes, is true."""
    if value.shape[: mask.ndim] != mask.shape:
        raise ShapeError(
            f"scan: expected leading axes {shown(mask)} as the mask's, got {shown(value)}", operands=(mask, value)
        )
    wide = REGISTRY["reshape"](mask, (*mask.shape, *(1 for _ in value.shape[mask.ndim :])))
    return REGISTRY["where"](wide, value, as_tensor(other, value.dtype))


def _checked_pair(made: Any) -> tuple[Any, Any]:
    if not isinstance(made, tuple) or len(made) != 2:
        raise GraphError(f"scan: expected the function to return (carry, y), got {given(made)}")
    return made


def _length(slices: Sequence[Tensor], length: Any) -> Size:
    """The number of iterations that xs and ``length`` agree on."""
    found: Size | None = None if length is None else as_shape((length,), "scan: length")[0]
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
