"""Algebra on elements: neutral operands, signs, powers. All results are the same bit for bit."""

from __future__ import annotations

import math

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.types import is_float
from graphc.ops.derivatives import full
from graphc.ops.elementwise import (
    abs_,
    add,
    divide,
    maximum,
    minimum,
    multiply,
    negative,
    power,
    rsqrt,
    sqrt,
    square,
    subtract,
)  # fmt: skip
from graphc.passes.rules.registry import Example, is_filled_with, made_by, rule, sample, scalar_value


def _absorbs_nothing(tensor: Tensor) -> bool:
    """Whether adding the tensor changes nothing: -0.0 for floats, since -0.0 + 0.0 is 0.0."""
    return is_filled_with(tensor, -0.0 if is_float(tensor.dtype) else 0.0)


@rule("multiply", example=lambda: Example(multiply(sample(), 1), {}))
def drop_multiply_by_one(node: Node) -> Tensor | None:
    """x * 1 -> x"""
    left, right = node.inputs
    if is_filled_with(right, 1):
        return left
    return right if is_filled_with(left, 1) else None


@rule("divide", example=lambda: Example(divide(sample(), 1.0), {}))
def drop_divide_by_one(node: Node) -> Tensor | None:
    """x / 1 -> x"""
    return node.inputs[0] if is_filled_with(node.inputs[1], 1) else None


@rule("add", example=lambda: Example(add(sample(dtype="int32"), 0), {}))
def drop_add_zero(node: Node) -> Tensor | None:
    """x + 0 -> x for integers, x + -0.0 -> x for floats"""
    left, right = node.inputs
    if _absorbs_nothing(right):
        return left
    return right if _absorbs_nothing(left) else None


@rule("subtract", example=lambda: Example(subtract(sample(), 0.0), {}))
def drop_subtract_zero(node: Node) -> Tensor | None:
    """x - 0 -> x"""
    return node.inputs[0] if is_filled_with(node.inputs[1], 0.0) else None


@rule("negative", example=lambda: Example(negative(negative(sample())), {}))
def drop_double_negative(node: Node) -> Tensor | None:
    """-(-x) -> x"""
    inner = made_by(node.inputs[0], "negative")
    return inner.inputs[0] if inner else None


@rule("multiply", example=lambda: Example(multiply(sample(), -1.0), {"negative": 1}))
def negate_instead_of_multiply(node: Node) -> Tensor | None:
    """x * -1 -> -x"""
    left, right = node.inputs
    if is_filled_with(right, -1):
        return negative(left)
    return negative(right) if is_filled_with(left, -1) else None


def _product_of_negatives() -> Example:
    return Example(multiply(negative(sample()), negative(sample("y"))), {"multiply": 1})


@rule("multiply", "divide", example=_product_of_negatives)
def drop_both_signs(node: Node) -> Tensor | None:
    """(-x) * (-y) -> x * y, and so for division"""
    left, right = (made_by(tensor, "negative") for tensor in node.inputs)
    return node.op.make(left.inputs[0], right.inputs[0]) if left and right else None


@rule("add", example=lambda: Example(add(sample(), negative(sample("y"))), {"subtract": 1}))
def subtract_instead_of_add_negative(node: Node) -> Tensor | None:
    """x + (-y) -> x - y"""
    left, right = node.inputs
    if inner := made_by(right, "negative"):
        return subtract(left, inner.inputs[0])
    if inner := made_by(left, "negative"):
        return subtract(right, inner.inputs[0])
    return None


@rule("subtract", example=lambda: Example(subtract(sample(), negative(sample("y"))), {"add": 1}))
def add_instead_of_subtract_negative(node: Node) -> Tensor | None:
    """x - (-y) -> x + y"""
    inner = made_by(node.inputs[1], "negative")
    return add(node.inputs[0], inner.inputs[0]) if inner else None


@rule("divide", example=lambda: Example(divide(sample(), 4.0), {"multiply": 1, "broadcast_to": 1}))
def multiply_instead_of_divide_by_power_of_two(node: Node) -> Tensor | None:
    """x / 2**k -> x * 2**-k: exact, and a multiplication is several times faster"""
    value = scalar_value(node.inputs[1])
    if value is None or not is_float(value.dtype) or not np.isfinite(value) or value == 0:
        return None
    mantissa, exponent = math.frexp(float(value))
    limits = np.finfo(node.result.dtype)
    if abs(mantissa) != 0.5 or not limits.minexp <= 1 - exponent <= limits.maxexp - 1:
        return None
    return multiply(node.inputs[0], full(1.0 / float(value), node.inputs[1].type))


@rule("power", example=lambda: Example(power(sample(), 1.0), {}))
def drop_power_of_one(node: Node) -> Tensor | None:
    """x ** 1 -> x"""
    return node.inputs[0] if is_filled_with(node.inputs[1], 1) else None


@rule("power", example=lambda: Example(power(sample(), 2.0), {"square": 1}))
def square_instead_of_power(node: Node) -> Tensor | None:
    """x ** 2 -> square(x)"""
    return square(node.inputs[0]) if is_filled_with(node.inputs[1], 2) else None


@rule("multiply", example=lambda: Example(multiply(x := sample(), x), {"square": 1}))
def square_instead_of_multiply(node: Node) -> Tensor | None:
    """x * x -> square(x)"""
    return square(node.inputs[0]) if node.inputs[0] is node.inputs[1] else None


@rule("square", "abs", example=lambda: Example(square(negative(sample())), {"square": 1}))
def drop_sign_of_even_function(node: Node) -> Tensor | None:
    """f(-x) -> f(x) where f is even; on unsigned integers, where -x wraps around, abs is not"""
    inner = made_by(node.inputs[0], "negative")
    if inner is None or (node.op is abs_ and node.result.dtype.kind == "u"):
        return None
    return node.op.make(inner.inputs[0])


@rule("abs", example=lambda: Example(abs_(abs_(sample())), {"abs": 1}))
def drop_second_abs(node: Node) -> Tensor | None:
    """abs(abs(x)) -> abs(x)"""
    return node.inputs[0] if made_by(node.inputs[0], "abs") else None


@rule("maximum", "minimum", example=lambda: Example(maximum(x := sample(), minimum(x, x)), {}))
def drop_extremum_of_equals(node: Node) -> Tensor | None:
    """maximum(x, x) -> x"""
    return node.inputs[0] if node.inputs[0] is node.inputs[1] else None


@rule("divide", example=lambda: Example(divide(1.0, sqrt(sample())), {"rsqrt": 1}))
def rsqrt_instead_of_divide(node: Node) -> Tensor | None:
    """1 / sqrt(x) -> rsqrt(x)"""
    root = made_by(node.inputs[1], "sqrt")
    return rsqrt(root.inputs[0]) if root and is_filled_with(node.inputs[0], 1) else None
