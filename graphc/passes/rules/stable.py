"""Formulas replaced by ones that round less: near zero, or where an intermediate value over- or underflows.

Where the plain formula is accurate both agree up to rounding; where it overflows on the way to a finite result, or
loses its digits by cancellation, the replacement gives the result.
"""

from __future__ import annotations

from graphc.ir.node import Node, Tensor, remade
from graphc.ops.elementwise import add, divide, exp, expm1, log, log1p, multiply, negative, sigmoid, subtract
from graphc.ops.reductions import sum_
from graphc.passes.rules.registry import Example, is_filled_with, made_by, rule, sample


def _one_plus(tensor: Tensor) -> Tensor | None:
    """The x of ``1 + x`` or ``x + 1``."""
    node = made_by(tensor, "add")
    if node is None:
        return None
    left, right = node.inputs
    if is_filled_with(left, 1):
        return right
    return left if is_filled_with(right, 1) else None


@rule("subtract", example=lambda: Example(subtract(exp(sample()), 1.0), {"expm1": 1}))
def expm1_instead_of_exp(node: Node) -> Tensor | None:
    """exp(x) - 1 -> expm1(x)"""
    inner = made_by(node.inputs[0], "exp")
    return expm1(inner.inputs[0]) if inner and is_filled_with(node.inputs[1], 1) else None


@rule("log", example=lambda: Example(log(add(1.0, sample())), {"log1p": 1}))
def log1p_instead_of_log(node: Node) -> Tensor | None:
    """log(1 + x) -> log1p(x)"""
    inner = _one_plus(node.inputs[0])
    return None if inner is None else log1p(inner)


@rule("divide", example=lambda: Example(divide(1.0, add(1.0, exp(negative(sample())))), {"sigmoid": 1}))
def sigmoid_instead_of_divide(node: Node) -> Tensor | None:
    """1 / (1 + exp(-x)) -> sigmoid(x)"""
    inner = _one_plus(node.inputs[1])
    power = made_by(inner, "exp") if inner is not None else None
    sign = made_by(power.inputs[0], "negative") if power else None
    return sigmoid(sign.inputs[0]) if sign and is_filled_with(node.inputs[0], 1) else None


def _log_of_softmax() -> Example:
    power = exp(sample(shape=(4, 5)))
    left = {"exp": 1, "sum": 1, "log": 1, "reshape": 1, "broadcast_to": 1, "subtract": 1}
    return Example(log(multiply(power, divide(1.0, sum_(power, axis=1, keepdims=True)))), left)


@rule("log", example=_log_of_softmax)
def log_softmax_instead_of_log(node: Node) -> Tensor | None:
    """log(exp(x) / sum(exp(x))) -> x - log(sum(exp(x))): a probability that underflows keeps its logarithm

    The quotient may be a product with the sum's reciprocal, as softmax has it.
    """
    made = made_by(node.inputs[0], "divide", "multiply")
    if made is None:
        return None
    power, other = made.inputs if made_by(made.inputs[0], "exp") else made.inputs[::-1]
    if not made_by(power, "exp") or (made.op.name == "divide" and power is not made.inputs[0]):
        return None
    logarithm = _log_of_total(other, power, inverse=made.op.name == "multiply")
    return None if logarithm is None else subtract(power.node.inputs[0], logarithm)


def _log_of_total(factor: Tensor, power: Tensor, inverse: bool) -> Tensor | None:
    """The logarithm of the sum of ``power`` that a factor, perhaps broadcast, is, or is the ``inverse`` of."""
    made = factor.node
    if made.op.name in ("broadcast_to", "reshape"):
        inner = _log_of_total(made.inputs[0], power, inverse)
        return None if inner is None else remade(made, (inner,))[0]
    if made.op.name == "divide" and inverse and is_filled_with(made.inputs[0], 1):
        return _log_of_total(made.inputs[1], power, inverse=False)
    return log(factor) if made_by(factor, "sum") and not inverse and made.inputs[0] is power else None
