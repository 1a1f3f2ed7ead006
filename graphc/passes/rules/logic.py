"""Choices and truth values that are known, or said twice."""

from __future__ import annotations

from graphc.ir.node import Node, Tensor
from graphc.ops.elementwise import equal, logical_not, not_equal, where
from graphc.passes.rules.registry import Example, made_by, rule, sample, scalar_value


@rule("where", example=lambda: Example(where(True, sample(), sample("y")), {}))
def choose_by_constant(node: Node) -> Tensor | None:
    """where(True, x, y) -> x"""
    value = scalar_value(node.inputs[0])
    if value is None:
        return None
    return node.inputs[1] if value else node.inputs[2]


@rule("where", example=lambda: Example(where(sample("c", dtype="bool"), x := sample(), x), {}))
def choose_between_equals(node: Node) -> Tensor | None:
    """where(c, x, x) -> x"""
    return node.inputs[1] if node.inputs[1] is node.inputs[2] else None


def _choice_by_not() -> Example:
    return Example(where(logical_not(sample("c", dtype="bool")), sample(), sample("y")), {"where": 1})


@rule("where", example=_choice_by_not)
def swap_choices_of_not(node: Node) -> Tensor | None:
    """where(not c, x, y) -> where(c, y, x)"""
    inner = made_by(node.inputs[0], "logical_not")
    return where(inner.inputs[0], node.inputs[2], node.inputs[1]) if inner else None


@rule("logical_not", example=lambda: Example(logical_not(logical_not(sample(dtype="bool"))), {}))
def drop_double_not(node: Node) -> Tensor | None:
    """not (not x) -> x"""
    inner = made_by(node.inputs[0], "logical_not")
    return inner.inputs[0] if inner and inner.inputs[0].dtype.kind == "b" else None


@rule("logical_not", example=lambda: Example(logical_not(equal(sample(), sample("y"))), {"not_equal": 1}))
def negate_equality(node: Node) -> Tensor | None:
    """not (x == y) -> x != y; an order can't be turned round, since both are false for NaN"""
    inner = made_by(node.inputs[0], "equal", "not_equal")
    if inner is None:
        return None
    return not_equal(*inner.inputs) if inner.op is equal else equal(*inner.inputs)
