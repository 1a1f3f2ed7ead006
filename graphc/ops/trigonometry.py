"""Tangent, the inverse functions of sine, cosine and tangent, hyperbolic functions and their inverses, hypot.

Angles are in radians. Integers and bools become float32 first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import FLOATS
from graphc.ops.arithmetic import Cotangents, abs_, add, divide, maximum, multiply, negative, sign, square, subtract
from graphc.ops.base import Elementwise
from graphc.ops.elementary import Elementary, rsqrt
from graphc.ops.logic import equal, greater, logical_or, where
from graphc.ops.samples import normal, positive


class OfUnit(Elementary):
    """A function of a float between -1 and 1."""

    samples: ClassVar[Sequence[Sample]] = (
        Sample(np.tanh(normal(2, 3))),
        Sample(np.array([0.0, -0.0, 1.0, -1.0, 1.5, np.nan, np.inf, 1e-30, -0.75]), differentiable=False),
    )


@op
class tan(Elementary):
    """The tangent of an angle."""

    reference = np.tan
    expression = "tan(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], add(square(node.result), 1)),)


def _off_circle(x: Tensor) -> Tensor:
    """``1 / sqrt(1 - x*x)``, infinite at 1 and -1."""
    return rsqrt(multiply(subtract(1, x), add(x, 1)))


@op
class asin(OfUnit):
    """The angle between -pi/2 and pi/2 whose sine is ``x``; its derivative is infinite at 1 and -1."""

    reference = np.arcsin
    expression = "asin(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], _off_circle(node.inputs[0])),)


@op
class acos(OfUnit):
    """The angle between 0 and pi whose cosine is ``x``; its derivative is infinite at 1 and -1."""

    reference = np.arccos
    expression = "acos(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (negative(multiply(cotangents[0], _off_circle(node.inputs[0]))),)


@op
class atan(Elementary):
    """The angle between -pi/2 and pi/2 whose tangent is ``x``."""

    reference = np.arctan
    expression = "atan(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(cotangents[0], add(square(node.inputs[0]), 1)),)


class OfPoint(Elementwise):
    """A function of two coordinates."""

    minimum = "float"
    dtypes = FLOATS
    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(2, 3), normal(2, 3, seed=1)),
        Sample(normal(4, 1), positive(3)),
        Sample(np.array([1.0, -1.0, 0.0]), np.array([0.0, 0.0, 2.0])),
        Sample(np.array([0.0, -0.0, np.inf, 1.0, np.nan]), np.array([-0.0, 0.0, -np.inf, np.inf, 1.0]),
               differentiable=False),
    )  # fmt: skip


@op
class hypot(OfPoint):
    """``sqrt(x*x + y*y)``, without overflow; infinite if either is.

    The derivatives are the coordinates of the point's direction; 0 at the origin. An infinite coordinate outweighs a
    finite one, and two are taken to be equally large, as in :class:`atan2`.
    """

    arguments = ("x", "y")
    reference = np.hypot
    expression = "hypot(x, y)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        x, y = node.inputs
        point = _drawn_near(x, y)
        length = hypot(*point)
        origin = equal(length, 0)
        length = where(origin, 1, length)
        return tuple(multiply(cotangents[0], where(origin, 0, divide(side, length))) for side in point)


def _drawn_near(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The point itself; where its distance from the origin may overflow, one in the same direction that is nearer."""
    larger = maximum(abs_(x), abs_(y))
    too_far, infinite = greater(larger, float(np.finfo(x.dtype).max) / 2), equal(larger, math.inf)

    def nearer(side: Tensor) -> Tensor:
        end = where(equal(abs_(side), math.inf), sign(side), 0)
        return where(too_far, where(infinite, end, multiply(side, 0.5)), side)

    return nearer(x), nearer(y)


@op
class atan2(OfPoint):
    """The angle of the point with ordinate ``y`` and abscissa ``x``, between -pi and pi.

    The signs of zeros choose the side, as in NumPy. The derivatives are 0 at the origin and at infinity.
    """

    arguments = ("y", "x")
    reference = np.arctan2
    expression = "atan2(y, x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (y, x), (g,) = node.inputs, cotangents
        length = hypot(y, x)  # its square may overflow
        flat = logical_or(equal(length, 0), equal(length, math.inf))
        length = where(flat, 1, length)
        scaled = where(flat, 0, divide(g, length))
        up, across = (where(flat, 0, divide(side, length)) for side in (y, x))
        return multiply(scaled, across), negative(multiply(scaled, up))


@op
class sinh(Elementary):
    """The hyperbolic sine, ``(exp(x) - exp(-x)) / 2``."""

    reference = np.sinh
    expression = "sinh(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], cosh(node.inputs[0])),)


@op
class cosh(Elementary):
    """The hyperbolic cosine, ``(exp(x) + exp(-x)) / 2``."""

    reference = np.cosh
    expression = "cosh(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], sinh(node.inputs[0])),)


@op
class asinh(Elementary):
    """The number whose hyperbolic sine is ``x``."""

    reference = np.arcsinh
    expression = "asinh(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (divide(cotangents[0], hypot(node.inputs[0], 1)),)


@op
class acosh(Elementary):
    """The number from 0 up whose hyperbolic cosine is ``x``; NaN below 1, where its derivative is infinite."""

    reference = np.arccosh
    expression = "acosh(x)"
    samples = (
        Sample(positive(2, 3) + 1),
        Sample(np.array([1.0, 0.5, -1.0, -3.0, np.nan, np.inf, 1e30]), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        x = node.inputs[0]  # two roots: the product may overflow
        return (multiply(multiply(cotangents[0], rsqrt(subtract(x, 1))), rsqrt(add(x, 1))),)


@op
class atanh(OfUnit):
    """The number whose hyperbolic tangent is ``x``; infinite at 1 and -1, NaN beyond."""

    reference = np.arctanh
    expression = "atanh(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        x = node.inputs[0]
        return (divide(cotangents[0], multiply(subtract(1, x), add(x, 1))),)
