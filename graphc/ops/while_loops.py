"""Loops whose length only the run knows: ``while_loop`` repeats a body as long as a condition holds.

Both functions are traced once, on the same parameters, and become closed graphs that the node ``while_loop`` holds::

    inputs of the node:        initial carries, captures
    its results:               final carries, the number of iterations, histories
    inputs of condition, body: position (int64), carries, captures
    their outputs:             whether to go on; new carries

Histories are those of :mod:`graphc.ops.control`, the carries before each iteration. They need memory, whose size must
be known before the loop starts, so there are histories only where the number of iterations is bounded. Derivatives are
made of them: the derivative of a bounded loop is a counted ``scan_loop`` that goes backward through exactly the
iterations that were done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import GradientError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Control, op
from graphc.ir.symbolic import Size, concrete
from graphc.ir.types import TensorType, as_shape
from graphc.ops.base import as_tensor
from graphc.ops.bodies import INDEX, Array, check_callable, checked_carry, checked_condition, evaluate_body, results_of
from graphc.ops.control import Transpose
from graphc.ops.derivatives import close_body
from graphc.ops.randomness import inside_loop
from graphc.ops.sources import parameter
from graphc.ops.tree import flatten

__all__ = ["while_loop"]


@op
class while_loop_(Control):
    """The node of :func:`while_loop`; its parts are named in the module's text.

    Attributes of the node
    ----------------------
    condition, body : Graph
    carries : int
        How many of the inputs are carries; the rest are captures.
    limit : int, Dim or None
        Most iterations.
    """

    body_attributes = ("condition", "body")

    def captures(self, node: Node) -> range:
        return range(node["carries"], len(node.inputs))

    def formal(self, place: int) -> int:
        return place + 1

    def infer(
        self, *inputs: Tensor, condition: Graph, body: Graph, carries: int, limit: Size | None
    ) -> tuple[TensorType, ...]:
        expected = [INDEX, *(tensor.type for tensor in inputs)]
        for graph in (condition, body):
            if [tensor.type for tensor in graph.inputs] != expected:
                types = [str(tensor.type) for tensor in graph.inputs]
                raise GraphError(f"while_loop: a body takes {types}, not {[*map(str, expected)]}")
        if [tensor.type for tensor in condition.outputs] != [TensorType((), np.dtype("bool"))]:
            raise GraphError(f"while_loop: expected a condition, got {[str(t.type) for t in condition.outputs]}")
        after = [tensor.type for tensor in body.outputs]
        if after != expected[1 : 1 + carries]:
            raise GraphError(f"while_loop: the body turns carries {[*map(str, expected)]} into {[*map(str, after)]}")
        histories = [] if limit is None else [TensorType((limit, *kind.shape), kind.dtype) for kind in after]
        return (*after, INDEX, *histories)

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        carries = node["carries"]
        state, captures = list(inputs[:carries]), inputs[carries:]
        stacks = [np.zeros(concrete(tensor.shape), tensor.dtype) for tensor in node.results[carries + 1 :]]
        limit = None if node["limit"] is None else concrete([node["limit"]])[0]
        done = 0
        while limit is None or done < limit:
            arguments = [np.asarray(done), *state, *captures]
            if not evaluate_body(node["condition"], arguments)[0]:
                break
            for stack, value in zip(stacks, state, strict=limit is not None):
                stack[done] = value
            state = evaluate_body(node["body"], arguments)
            done += 1
        return (*state, np.asarray(done), *stacks)

    def check_differentiable(self, node: Node) -> None:
        if node["limit"] is None:
            raise GradientError(
                "while_loop: a loop without a bound has no derivative in reverse, for which the carries of all "
                "iterations are kept",
                origin=node.origin,
                hint="give max_iterations=",
            )

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        self.check_differentiable(node)
        carries = node["carries"]
        groups = (node.inputs[:carries], (), node.inputs[carries:])
        transpose = Transpose(
            node["body"], groups, node.results[carries + 1 :], node["limit"], reverse=False, count=node.results[carries]
        )
        return transpose.cotangents(cotangents[:carries], (), cotangents[carries + 1 :])


def while_loop(
    condition_function: Callable[[Any], Any],
    body_function: Callable[[Any], Any],
    init: Any,
    max_iterations: Any = None,
) -> Any:
    """Repeat a function on a carry as long as a condition holds.

    Parameters
    ----------
    condition_function : callable
        From a carry to one bool: whether to do another iteration.
    body_function : callable
        From a carry to the next one, of the same structure, shapes and dtypes. Both functions are called once, with
        tensors that stand for an iteration's values; they may use tensors from outside.
    init : tree of Tensor or array_like
        The first carry. A tree is a tensor or nested tuples, lists and dicts of trees.
    max_iterations : int, Dim or str, optional
        The loop stops after so many iterations even if the condition still holds. A caller that must know asks the
        condition of the result: ``condition_function(result)`` is true if the loop was cut short. Derivatives need
        this bound: they keep the carries of so many iterations.

    Returns
    -------
    tree
        The last carry.

    Raises
    ------
    DTypeError, ShapeError, GraphError
        If the condition is not one bool; if the carry changes its structure, shape or dtype; if one of the functions is
        none, or assigns to a variable; if the bound is negative.
    GradientError
        If a derivative leads through a loop without a bound.

    Examples
    --------
    >>> graphc.while_loop(lambda x: abs(x * x - 2.0) > 1e-6, lambda x: (x + 2.0 / x) / 2.0, 1.0, max_iterations=20)
    """
    check_callable("while_loop", condition_function, "a function of the carry as condition")
    check_callable("while_loop", body_function, "a function of the carry as body")
    leaves, rebuild = flatten(init)
    if not leaves:
        raise GraphError("while_loop: expected a carry with at least one tensor, for the condition to depend on")
    initial = [as_tensor(leaf) for leaf in leaves]
    limit = None if max_iterations is None else as_shape((max_iterations,), "while_loop: max_iterations")[0]
    index = parameter.make(name="position", shape=(), dtype=INDEX.dtype)
    carried = [parameter.like(tensor, f"carry{place}") for place, tensor in enumerate(initial)]
    with inside_loop(index, limit):
        flag = checked_condition("while_loop", condition_function(rebuild(carried)), "the condition's result")
        after = checked_carry("while_loop", init, initial, body_function(rebuild(carried)))
    both, captures = close_body("while_loop", (index, *carried), (flag, *after))
    made = while_loop_.make(
        *initial,
        *captures,
        condition=Graph(both.inputs, both.outputs[:1]),
        body=Graph(both.inputs, both.outputs[1:]),
        carries=len(initial),
        limit=limit,
    )
    return rebuild(results_of(made)[: len(initial)])
