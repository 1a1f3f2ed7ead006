"""Elementary functions: powers and roots, exponentials and logarithms, trigonometry, sigmoid, tanh, erf.

Integers and bools become float32 first, except in ``power``. References are NumPy's functions, computed in the
operand's dtype; ``erf`` uses the standard library's in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Read, Sample, op
from graphc.ir.scalar import Apply, Literal, Scalar, apply
from graphc.ir.symbolic import Size
from graphc.ir.types import FLOATS, TensorType, is_integer
from graphc.ops.arithmetic import Arithmetic, Cotangents, add, divide, multiply, negative, square, subtract
from graphc.ops.base import Elementwise
from graphc.ops.logic import equal, where
from graphc.ops.samples import integers, normal, positive

Array = np.ndarray[Any, Any]


class Elementary(Elementwise):
    """A function of one float; integers become float32."""

    minimum = "float"
    dtypes = FLOATS
    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(2, 3)),
        Sample(np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 30.0, -30.0]), differentiable=False),
    )


class OfPositive(Elementary):
    """A function of a positive float; NaN below its domain."""

    samples: ClassVar[Sequence[Sample]] = (
        Sample(positive(2, 3)),
        Sample(np.array([0.0, 1.0, np.nan, np.inf, -2.0, 1e-30, 1e30]), differentiable=False),
    )


@op
class exp(Elementary):
    """``e`` to the power ``x``."""

    reference = np.exp
    expression = "exp(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], node.result),)


@op
class expm1(Elementary):
    """``exp(x) - 1``, accurate near 0."""

    reference = np.expm1
    expression = "expm1(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        # not result + 1, which cancels where x is far below 0
        return (multiply(cotangents[0], exp(node.inputs[0])),)


@op
class log(OfPositive):
    """The natural logarithm; minus infinity at 0."""

    reference = np.log
    expression = "log(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(cotangents[0], node.inputs[0]),)


@op
class log1p(OfPositive):
    """``log(1 + x)``, accurate near 0."""

    reference = np.log1p
    expression = "log1p(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(cotangents[0], add(node.inputs[0], 1)),)


@op
class sqrt(OfPositive):
    """The square root; its derivative is infinite at 0."""

    reference = np.sqrt
    expression = "sqrt(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(multiply(cotangents[0], 0.5), node.result),)


@op
class rsqrt(OfPositive):
    """``1 / sqrt(x)``; infinite at 0."""

    reference = staticmethod(lambda x: 1 / np.sqrt(x))
    expression = "rsqrt(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        cube = multiply(node.result, square(node.result))
        return (multiply(multiply(cotangents[0], -0.5), cube),)


@op
class sin(Elementary):
    """The sine of an angle in radians."""

    reference = np.sin
    expression = "sin(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], cos(node.inputs[0])),)


@op
class cos(Elementary):
    """The cosine of an angle in radians."""

    reference = np.cos
    expression = "cos(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (negative(multiply(cotangents[0], sin(node.inputs[0]))),)


@op
class tanh(Elementary):
    """The hyperbolic tangent."""

    reference = np.tanh
    expression = "tanh(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], subtract(1, square(node.result))),)


def _sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` through the exponential that does not overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


@op
class sigmoid(Elementary):
    """The logistic function ``1 / (1 + exp(-x))``."""

    reference = staticmethod(_sigmoid)
    expression = "sigmoid(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        y = node.result
        return (multiply(cotangents[0], multiply(y, subtract(1, y))),)


@op
class softplus(Elementary):
    """``log(1 + exp(x))``, without overflow; its derivative is the sigmoid.

    An op and no composite because this form has kinks at 0 that cancel in its value, but not in its derivative.
    """

    reference = staticmethod(lambda x: np.logaddexp(x, x.dtype.type(0)))
    expression = "maximum(x, 0) + log1p(exp(-abs(x)))"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], sigmoid(node.inputs[0])),)


@op
class erf(Elementary):
    """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t*t)`` from 0 to ``x``."""

    reference = staticmethod(np.vectorize(math.erf, otypes=["float64"]))
    expression = "erf(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        slope = multiply(exp(negative(square(node.inputs[0]))), 2 / math.sqrt(math.pi))
        return (multiply(cotangents[0], slope),)


def _power(x: Array, y: Array) -> Array:
    """NumPy's power, and for negative exponents of integers the true value cut towards zero."""
    if x.dtype.kind == "f" or x.dtype.kind == "u":
        return np.asarray(np.power(x, y))
    negative_exponent = y < 0
    value = np.power(x, np.where(negative_exponent, y & 1, y))  # of a base of -1 the parity is all that counts
    return np.where(negative_exponent & (x != 1) & (x != -1), 0, value)


PRODUCTS = {"float32": (-4, -3, -2, -1, 3, 4, 5, 6, 7, 8), "float64": (-1, 3, 4)}
"""Exponents that are worked out by multiplying. For float64 not those from -2 down: the product overflows where the
power is subnormal yet."""

FLOAT64 = np.dtype("float64")


def _constant(tensor: Tensor) -> Array | None:
    """The value of a constant, before it was broadcast; None of what is none."""
    node = tensor.node
    while node.op.name == "broadcast_to":
        node = node.inputs[0].node
    return np.asarray(node["value"]) if node.op.name == "constant" else None


def whole_power(base: Scalar, exponent: int) -> Scalar:
    """A whole power from 1 on, as products."""
    if exponent == 1:
        return base
    half = whole_power(base, exponent // 2)
    square_of_half = apply("multiply", half, half)
    return apply("multiply", square_of_half, base) if exponent % 2 else square_of_half


@op
class power(Arithmetic):
    """``x`` to the power ``y``.

    Integers wrap around. A negative constant exponent of an integer is refused; one that turns up at run time gives the
    true value cut towards zero: 1 or -1 for a base of 1 or -1, else 0.

    The derivative by ``x`` is ``y * x**(y - 1)``, and 0 where ``y`` is 0; by ``y`` it is ``x**y * log(x)``, 0 where
    ``x`` is 0 and NaN where ``x`` is negative.

    Raises
    ------
    DTypeError
        For bools, and for integers to a negative constant.
    """

    reference = staticmethod(_power)
    expression = "power(x, y)"
    samples = (
        Sample(positive(2, 3), normal(2, 3)),
        Sample(positive(4, 1), normal(3)),
        Sample(np.array([0.0, 0.0, -2.0, -8.0, np.inf, 1.0]), np.array([0.0, 2.0, 3.0, 0.5, -1.0, np.nan]),
               differentiable=False),
        Sample(integers(2, 5), integers(2, 5, low=0, high=4), differentiable=False),
    )  # fmt: skip

    def infer(self, *inputs: Tensor, **attributes: Any) -> TensorType:
        known = _constant(inputs[1])
        if known is not None and is_integer(known.dtype) and np.any(known < 0):
            raise DTypeError(
                f"power: an integer ({inputs[0].type}) to a negative power is no integer",
                operands=(inputs[0],),
                hint="cast the base to a float",
            )
        return super().infer(*inputs, **attributes)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        """Small whole powers are products; those of float32 in float64, so that they are rounded once."""
        dtype, known = node.result.dtype, _constant(node.inputs[1])
        exponent = float(known.item()) if known is not None and known.size == 1 else math.nan
        if exponent not in PRODUCTS.get(dtype.name, ()):
            return super().scalar(node, index, read)
        x = read(0, index)
        if exponent == -1:
            return apply("divide", Literal(1.0, dtype), x)
        result = whole_power(x if dtype == FLOAT64 else Apply("cast", (x,), FLOAT64), abs(int(exponent)))
        if exponent < 0:
            result = apply("divide", Literal(1.0, FLOAT64), result)
        return result if dtype == FLOAT64 else Apply("cast", (result,), dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        flat = equal(y, 0)
        slope = where(flat, 0, multiply(y, power(x, where(flat, 1, subtract(y, 1)))))
        zero = equal(x, 0)
        growth = where(zero, 0, multiply(node.result, log(where(zero, 1, x))))
        return multiply(g, slope), multiply(g, growth)
