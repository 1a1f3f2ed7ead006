"""Powers of 2, logarithms to the bases 2 and 10, sums of exponentials, the cube root.

Integers and bools become float32 first.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import FLOATS
from graphc.ops.arithmetic import Cotangents, abs_, divide, multiply, negative, square, subtract
from graphc.ops.base import Elementwise
from graphc.ops.elementary import Elementary, OfPositive, log, sigmoid
from graphc.ops.logic import equal, less_equal, logical_and, where
from graphc.ops.samples import normal, positive, spread

Array = np.ndarray[Any, Any]

LN2, LN10 = math.log(2.0), math.log(10.0)


@op
class exp2(Elementary):
    """2 to the power ``x``."""

    reference = np.exp2
    expression = "exp2(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], multiply(node.result, LN2)),)


@op
class log2(OfPositive):
    """The logarithm to base 2; minus infinity at 0."""

    reference = np.log2
    expression = "log2(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(multiply(cotangents[0], 1 / LN2), node.inputs[0]),)


@op
class log10(OfPositive):
    """The logarithm to base 10; minus infinity at 0."""

    reference = np.log10
    expression = "log10(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(multiply(cotangents[0], 1 / LN10), node.inputs[0]),)


@op
class cbrt(Elementary):
    """The real cube root; its derivative is infinite at 0."""

    reference = np.cbrt
    expression = "cbrt(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(multiply(cotangents[0], 1 / 3), square(node.result)),)


class LogOfSum(Elementwise):
    """A logarithm of a sum of two powers.

    Where both operands are one infinity, their difference would be NaN; it counts as 0, and so each gets half the
    cotangent.
    """

    arguments = ("x", "y")
    minimum = "float"
    dtypes = FLOATS
    samples = (
        Sample(normal(2, 3), normal(2, 3, seed=1)),
        Sample(normal(4, 1), normal(3)),
        Sample(np.array([0.5, -1.0]), np.array([0.5, -1.0])),
        Sample(np.array([-np.inf, np.inf, -np.inf, np.nan, 800.0]), np.array([-np.inf, np.inf, 1.0, 0.0, -800.0]),
               differentiable=False),
    )  # fmt: skip

    def share(self, node: Node, factor: float) -> tuple[Tensor, Tensor]:
        """The derivatives: sigmoid of the difference times ``factor``, and of its negative."""
        x, y = node.inputs
        endless = logical_and(equal(x, y), equal(abs_(x), math.inf))
        difference = where(endless, 0, multiply(subtract(where(endless, 0, x), where(endless, 0, y)), factor))
        return sigmoid(difference), sigmoid(negative(difference))


@op
class logaddexp(LogOfSum):
    """``log(exp(x) + exp(y))``, without overflow."""

    reference = np.logaddexp
    expression = (
        "where(x == y, x + 0.6931471805599453, maximum(x, y) + log1p(exp(-abs(x - y))))"  # inf - inf is not chosen
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        first, second = self.share(node, 1.0)
        return multiply(cotangents[0], first), multiply(cotangents[0], second)


@op
class logaddexp2(LogOfSum):
    """``log2(2**x + 2**y)``, without overflow."""

    reference = np.logaddexp2
    expression = "where(x == y, x + 1, maximum(x, y) + log1p(exp2(-abs(x - y))) * 1.4426950408889634)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        first, second = self.share(node, LN2)
        return multiply(cotangents[0], first), multiply(cotangents[0], second)


def _xlogy(x: Array, y: Array) -> Array:
    return np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y))


@op
class xlogy(Elementwise):
    """``x * log(y)``, and 0 where ``x`` is 0, whatever ``y`` is but NaN.

    Where ``x`` is 0, the derivative by ``y`` is 0, and that by ``x`` is ``log(y)`` where ``y`` is positive, else 0.
    """

    arguments = ("x", "y")
    minimum = "float"
    dtypes = FLOATS
    reference = staticmethod(_xlogy)
    expression = "where(logical_and(x == 0, y == y), 0, x * log(y))"
    samples = (
        Sample(spread(2, 3), positive(2, 3)),
        Sample(np.array([0.0, 0.0, 1.5]), positive(3)),
        Sample(normal(4, 1), positive(3)),
        Sample(np.array([0.0, -0.0, 0.0, 0.0, 2.0]), np.array([0.0, -1.0, np.inf, np.nan, 0.0]), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        settled = logical_and(equal(x, 0), less_equal(y, 0))
        slope = where(settled, 0, log(where(settled, 1, y)))
        return multiply(g, slope), where(settled, 0, divide(multiply(g, x), where(settled, 1, y)))
