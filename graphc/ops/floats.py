"""What floats are made of: signs, neighbours, remainders towards zero.

Integers and bools become float32 first, except in ``fmod``.
"""

from __future__ import annotations

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import FLOATS
from graphc.ops.arithmetic import Arithmetic, Cotangents, divide, multiply, negative, round_, subtract
from graphc.ops.base import Elementwise
from graphc.ops.logic import equal, where
from graphc.ops.samples import integers, normal, spread


@op
class copysign(Elementwise):
    """The magnitude of ``x`` with the sign of ``y``; zeros and NaN have signs too. The derivative by ``y`` is 0."""

    arguments = ("x", "y")
    minimum = "float"
    dtypes = FLOATS
    reference = np.copysign
    expression = "copysign(x, y)"
    samples = (
        Sample(spread(2, 3), spread(2, 3, seed=1)),
        Sample(spread(4, 1), spread(3)),
        Sample(np.array([0.0, -0.0, np.inf, np.nan]), np.array([-0.0, 1.0, -2.0, -np.nan]), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        return where(equal(signbit(x), signbit(y)), g, negative(g)), None


@op
class signbit(Elementwise):
    """Whether the sign bit is set: for negative numbers, -0 and NaN with that bit."""

    result = "bool"
    dtypes = FLOATS
    minimum = "float"
    differentiable = False
    reference = np.signbit
    expression = "signbit(x)"
    samples = (Sample(np.array([[0.0, -0.0, np.nan], [-1.0, 2.0, -np.inf]]), differentiable=False),)


@op
class nextafter(Elementwise):
    """The float next to ``x`` in the direction of ``y``; ``y`` where they are equal. It has no derivative."""

    arguments = ("x", "y")
    minimum = "float"
    dtypes = FLOATS
    differentiable = False
    reference = np.nextafter
    expression = "nextafter(x, y)"
    samples = (
        Sample(normal(2, 3), normal(2, 3, seed=1), differentiable=False),
        Sample(normal(4, 1), normal(3), differentiable=False),
        Sample(np.array([0.0, -0.0, 1.0, np.nan, 0.0]), np.array([-1.0, 0.0, 1.0, 1.0, 5.0]), differentiable=False),
    )


@op
class fmod(Arithmetic):
    """The remainder of ``x / y`` cut towards zero, with the sign of ``x``; exact. For integers 0 where ``y`` is 0."""

    reference = np.fmod
    expression = "fmod(x, y)"
    samples = (
        Sample(normal(2, 3) * 4, spread(2, 3)),
        Sample(integers(4, 5), integers(4, 5, seed=1), differentiable=False),
        Sample(integers(2, 3), integers(3, low=0, high=2), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        quotient = round_(divide(subtract(x, node.result), y))  # whole but for a rounding
        return g, negative(multiply(g, quotient))
