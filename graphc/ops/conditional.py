"""A choice: ``cond`` runs one of two functions, by a condition that only the run knows.

Both functions are traced, and become closed graphs that the node ``cond`` holds::

    inputs of the node:  condition (bool), captures
    inputs of a body:    captures, those of both bodies
    its outputs:         the results

Everything that a function makes belongs to its body and is computed only if that branch is taken; all tensors from
outside that it uses, operands among them, are captures. So that this is decided by where a tensor is made and not by
what happens to be equal to it, nodes made in a branch are never merged with nodes outside.

**The derivative of a choice is a choice**, by the same condition, between the gradients of the two branches, each of
which recomputes its branch from the captures. A branch that is not taken can't fail, and its derivative leaks no NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.errors import GraphError
from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, Tensor, branch
from graphc.ir.op import Control, Source, op
from graphc.ir.types import TensorType, is_float
from graphc.ops.base import as_tensor, is_zero
from graphc.ops.bodies import (
    Array,
    check_callable,
    checked_condition,
    cotangents_of,
    evaluate_body,
    matched,
    or_zero,
    results_of,
)
from graphc.ops.derivatives import close_body
from graphc.ops.sources import parameter
from graphc.ops.tree import flatten

__all__ = ["cond"]

CONDITION = TensorType((), np.dtype("bool"))


@op
class cond_(Control):
    """The node of :func:`cond`; its parts are named in the module's text."""

    body_attributes = ("true_body", "false_body")

    def captures(self, node: Node) -> range:
        return range(1, len(node.inputs))

    def formal(self, place: int) -> int:
        return place - 1

    def infer(
        self, condition: Tensor, *captures: Tensor, true_body: Graph, false_body: Graph
    ) -> tuple[TensorType, ...]:
        if condition.type != CONDITION:
            raise GraphError(f"cond: expected a condition of type bool[], got {condition.type}")
        expected = [tensor.type for tensor in captures]
        for body in (true_body, false_body):
            if [tensor.type for tensor in body.inputs] != expected:
                raise GraphError(
                    f"cond: a body takes {[str(t.type) for t in body.inputs]}, not {[*map(str, expected)]}"
                )
        made, other = ([tensor.type for tensor in body.outputs] for body in (true_body, false_body))
        if made != other:
            raise GraphError(f"cond: the branches make {[*map(str, made)]} and {[*map(str, other)]}")
        return tuple(made)

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        condition, *captures = inputs
        return tuple(evaluate_body(node["true_body" if condition else "false_body"], captures))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        condition, *captures = node.inputs
        given = [place for place, g in enumerate(cotangents) if is_float(g.dtype) and not is_zero(g)]
        floats = [place for place, tensor in enumerate(captures) if is_float(tensor.dtype)]
        branches = [_Backward(body, given, floats) for body in node.bodies]
        reached = [k for k in range(len(floats)) if any(branch.found[k] is not None for branch in branches)]
        none: list[Tensor | None] = [None] * len(node.inputs)
        if not reached:
            return tuple(none)
        true_body, false_body = (branch.body(reached) for branch in branches)
        made = self.make(
            condition, *captures, *(cotangents[k] for k in given), true_body=true_body, false_body=false_body
        )
        for k, cotangent in zip(reached, results_of(made), strict=True):
            none[1 + floats[k]] = cotangent
        return tuple(none)


class _Backward:
    """The gradient of one branch, on parameters: of the captures, then of the results' cotangents.

    ``found`` holds a cotangent for each float capture, None where the branch does not depend on it.
    """

    def __init__(self, body: Graph, given: Sequence[int], floats: Sequence[int]):
        self.before = [parameter.like(tensor, f"capture{place}") for place, tensor in enumerate(body.inputs)]
        self.seeds = [parameter.like(body.outputs[place], f"d_result{place}") for place in given]
        outputs = inline(body, self.before)
        self.wanted = [self.before[place] for place in floats]
        self.found = cotangents_of(self.wanted, [outputs[place] for place in given], self.seeds)

    def body(self, reached: Sequence[int]) -> Graph:
        """The body whose outputs are some of the cotangents."""
        outputs = tuple(or_zero(self.found[k], self.wanted[k]) for k in reached)
        return Graph((*self.before, *self.seeds), outputs)


def cond(condition: Any, true_function: Callable[..., Any], false_function: Callable[..., Any], *operands: Any) -> Any:
    """Run one of two functions: the first if the condition holds, else the second.

    Only the branch that is taken runs. (``graphc.where`` chooses element by element, between values that are both
    computed.)

    Parameters
    ----------
    condition : Tensor or bool
        One bool.
    true_function, false_function : callable
        Called once each, with ``operands``; they may use other tensors from outside as well. Both return trees of
        the same structure, with the same shapes and dtypes. A tree is a tensor or nested tuples, lists and dicts of
        trees.
    *operands : tree of Tensor or array_like
        Arguments of both functions.

    Returns
    -------
    tree
        What the branch that is taken returns.

    Raises
    ------
    DTypeError, ShapeError
        If the condition is not one bool, or results of the branches differ in dtype or shape.
    GraphError
        If the branches differ in structure, or one of them is no function or assigns to a variable.

    Examples
    --------
    >>> graphc.cond(loss > 10.0, lambda g: g * (10.0 / loss), lambda g: g, gradient)
    """
    check_callable("cond", true_function, "a function for the branch taken if true", len(operands))
    check_callable("cond", false_function, "a function for the branch taken if false", len(operands))
    flag = checked_condition("cond", condition)
    arguments = [_as_tensors(operand) for operand in operands]
    start = parameter.like(flag, "start").node.serial  # what is made later belongs to a branch
    with branch():
        made = true_function(*arguments)
    with branch():
        other = false_function(*arguments)
    results, others = matched("cond", made, other, ("if true", "if false"))
    if not results:
        return made  # nothing is computed

    def is_outer(node: Node) -> bool:
        if node.op.name == "constant" and not node.evaluated:
            return node.apart and node.serial < start
        return node.serial < start or isinstance(node.op, Source)

    both, captures = close_body("cond", (), (*results, *others), is_outer)
    true_body = Graph(both.inputs, both.outputs[: len(results)])
    false_body = Graph(both.inputs, both.outputs[len(results) :])
    taken = cond_.make(flag, *captures, true_body=true_body, false_body=false_body)
    return flatten(made)[1](results_of(taken))


def _as_tensors(tree: Any) -> Any:
    leaves, rebuild = flatten(tree)
    return rebuild([as_tensor(leaf) for leaf in leaves])
