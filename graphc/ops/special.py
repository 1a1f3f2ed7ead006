"""erfc, and the gamma function's logarithm with its derivatives: lgamma, digamma, polygamma.

Integers and bools become float32 first. NumPy has none of them, so the references are written here, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np

from graphc.errors import GraphError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Read, Sample, op
from graphc.ir.scalar import Apply, Literal, Scalar, apply, from_text
from graphc.ir.symbolic import Size
from graphc.ir.types import TensorType
from graphc.ops.arithmetic import Cotangents, multiply, negative, square
from graphc.ops.base import given, promote
from graphc.ops.elementary import FLOAT64, Elementary, exp, whole_power
from graphc.ops.samples import positive

__all__ = ["polygamma"]

Array = np.ndarray[Any, Any]

SHIFT = 10
"""Terms of polygamma's series that are added one by one before the rest is estimated."""

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""Bernoulli numbers of index 2, 4, 6 ..."""

HIGHEST_ORDER = 20
"""Of polygamma: as far as the series was checked."""


@op
class erfc(Elementary):
    """``1 - erf(x)``, relatively accurate where ``erf`` is close to 1."""

    reference = staticmethod(np.vectorize(math.erfc, otypes=["float64"]))
    expression = "erfc(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        slope = multiply(exp(negative(square(node.inputs[0]))), -2 / math.sqrt(math.pi))
        return (multiply(cotangents[0], slope),)


class OfGamma(Elementary):
    """A function with poles at 0, -1, -2 ..."""

    samples: ClassVar[Sequence[Sample]] = (
        Sample(positive(2, 3) + 2),  # away from the zeros, where a rounding of the operand is larger than the result
        Sample(np.array([0.1, 0.7, 9.5, 30.0, -0.3, -1.6, -2.2])),
        Sample(np.array([0.0, -0.0, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-30]), differentiable=False),
    )


def _elements(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of one float64 for arrays."""
    return np.vectorize(function, otypes=["float64"])


def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or close to the largest number
        return math.inf


@op
class lgamma(OfGamma):
    """``log(abs(gamma(x)))``; infinite at the poles and at both infinities. Its derivative is ``digamma``."""

    reference = staticmethod(_elements(_lgamma))
    expression = "lgamma(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], digamma(node.inputs[0])),)


def _digamma(x: float) -> float:
    if math.isnan(x) or x == -math.inf or (x < 0 and x == math.floor(x)):
        return math.nan
    if x == 0:
        return -math.copysign(math.inf, x)
    if x < 0:
        r = math.remainder(x, 1)
        far = abs(r) > 0.25
        cotangent = math.copysign(math.tan(math.pi * (0.5 - abs(r))), r) if far else 1 / math.tan(math.pi * r)
        return _digamma(1 - x) - math.pi * cotangent
    if x == math.inf:
        return x
    terms = []
    while x < 16:
        terms.append(-float(np.float64(1) / x))
        x += 1
    u = 1 / (x * x)
    series = [-number * u ** (k + 1) / (2 * k + 2) for k, number in enumerate(BERNOULLI)]
    # log(16) as a sum of two floats, so that little is lost close to the zero
    log = (4 * math.log(2), 9.276187255385198e-17, math.log1p((x - 16) / 16))
    return math.fsum([*terms, *log, -0.5 / x, *series])


@op
class digamma(OfGamma):
    """The derivative of ``lgamma``; NaN at -1, -2 ..., infinite at 0 with the sign opposite to the zero's."""

    reference = staticmethod(_elements(_digamma))
    expression = "digamma(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], polygamma(1, node.inputs[0])),)


@cache
def cotangent_polynomial(order: int) -> tuple[int, ...]:
    """P with ``d**order cot(t) / dt**order = P(cot t)``, lowest power first: P' times -(1 + c**2), time after time."""
    coefficients = [0, 1]
    for _ in range(order):
        slope = [k * number for k, number in enumerate(coefficients)][1:]
        coefficients = [0] * (len(slope) + 2)
        for k, number in enumerate(slope):
            coefficients[k] -= number
            coefficients[k + 2] -= number
    return tuple(coefficients)


def _series(order: int) -> tuple[float, ...]:
    """Euler and Maclaurin's estimate of ``order! * sum((y + k)**-(order + 1) for k = 0, 1 ...)``, over ``y**-order``.

    It is ``(order - 1)! + order! / 2y + sum(B[2j] (2j + order - 1)! / (2j)! / y**2j)``; a coefficient for each power.
    """
    terms = [
        number * math.factorial(2 * j + order - 1) / math.factorial(2 * j) for j, number in enumerate(BERNOULLI, 1)
    ]
    return (float(math.factorial(order - 1)), *terms)


def _polygamma(order: int, x: float) -> float:
    """What :class:`digamma_derivative` computes, for one float64."""
    if math.isnan(x) or x == -math.inf:
        return math.nan
    sign = -1.0 if order % 2 == 0 else 1.0
    if x <= 0 and x == math.floor(x):
        return math.inf if sign > 0 else math.nan if x < 0 else -math.copysign(math.inf, x)
    if x < 0:
        cotangent = np.float64(1) / math.tan(math.pi * math.remainder(x, 1))
        with np.errstate(all="ignore"):
            powers = [number * cotangent**k for k, number in enumerate(cotangent_polynomial(order)) if number]
            return -sign * _polygamma(order, 1 - x) - math.pi ** (order + 1) * float(sum(powers))
    with np.errstate(all="ignore"):
        terms = [float(math.factorial(order) / np.float64(x + k) ** (order + 1)) for k in range(2 * SHIFT)]
        y = np.float64(x + 2 * SHIFT)
        first, *rest = _series(order)
        terms += [first / y**order, math.factorial(order) / y ** (order + 1) / 2]
        terms += [number / y ** (order + 2 * j) for j, number in enumerate(rest, 1)]
        return sign * float(sum(sorted(terms)))


@op
class digamma_derivative(OfGamma):
    """The derivative of ``digamma`` of an order from 1 on: see :func:`polygamma`.

    ``(-1)**(n + 1) n! sum((x + k)**-(n + 1))``, in float64: the first ten terms, and Euler and Maclaurin's estimate of
    the rest. Negative ``x`` are reflected: ``digamma(1 - x) - digamma(x) = pi cot(pi x)``, differentiated n times.
    """

    public = False
    samples = (
        *(Sample(*sample.given, differentiable=sample.differentiable, order=1) for sample in OfGamma.samples),
        Sample(positive(2, 3), order=2),
        Sample(np.array([0.2, 5.0, -0.7, -2.4]), order=3),
    )

    def __call__(self, x: Any, order: int) -> Tensor:
        return self.make(*promote("polygamma", [x], self.minimum), order=order)

    def infer(self, *inputs: Any, order: int) -> TensorType:
        return super().infer(*inputs)

    def compute(self, node: Node, *inputs: Array) -> Array:
        with np.errstate(over="ignore"):  # a float64 that float32 cannot hold is infinite
            return np.asarray(_elements(partial(_polygamma, node["order"]))(inputs[0])).astype(node.result.dtype)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        order, given = node["order"], read(0, index)
        x = given if given.dtype == FLOAT64 else Apply("cast", (given,), FLOAT64)
        size = _size_at_positive(order, _formula("where(x < 0, 1 - x, x)", x=x))
        r = _formula("x - rint(x)", x=x)
        cotangent = _formula(f"1 / tan(r * {math.pi!r})", r=r)
        turned = _horner(cotangent, cotangent_polynomial(order))
        mirrored = _formula(f"-size - turned * {math.pi ** (order + 1)!r}", size=size, turned=turned)
        if order % 2 == 0:  # at a pole with another sign on either side
            mirrored = _formula("where(r == 0, nan, y)", r=r, nan=Literal(math.nan, FLOAT64), y=mirrored)
        signed = size if order % 2 else _formula("-size", size=size)
        result = _formula("where(x < 0, mirrored, signed)", x=x, mirrored=mirrored, signed=signed)
        return result if given.dtype == FLOAT64 else Apply("cast", (result,), given.dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], polygamma(node["order"] + 1, node.inputs[0])),)


def _formula(text: str, **names: Scalar) -> Scalar:
    """An expression in float64."""
    return from_text(text, names, FLOAT64)


def _size_at_positive(order: int, y: Scalar) -> Scalar:
    """``n! sum((y + k)**-(n + 1))`` for y >= 0."""
    inverse = _formula(f"1 / (y + {SHIFT})", y=y)
    square = _formula("u * u", u=inverse)
    first, *rest = _series(order)
    half = math.factorial(order) / 2
    tail = _formula(f"{first!r} + (u * {half!r} + square * rest)", u=inverse, square=square, rest=_horner(square, rest))
    total = _formula("tail * power", tail=tail, power=whole_power(inverse, order))
    for k in reversed(range(SHIFT)):  # the smallest first; the last is y as it is, which keeps the sign of a zero
        inverse = _formula(f"1 / (y + {k})" if k else "1 / y", y=y)
        term = whole_power(inverse, order + 1)
        total = _formula(f"total + term * {float(math.factorial(order))!r}", total=total, term=term)
    return total


def _horner(variable: Scalar, coefficients: Sequence[float]) -> Scalar:
    """A polynomial, lowest power first."""
    total: Scalar = Literal(coefficients[-1], FLOAT64)
    for number in reversed(coefficients[:-1]):
        total = apply("fma", total, variable, Literal(number, FLOAT64))
    return total


def polygamma(n: int, x: Any) -> Tensor:
    """The derivative of ``digamma`` of order ``n``; order 0 is ``digamma`` itself.

    Parameters
    ----------
    n : int
        From 0 to 20.
    x : Tensor or array_like
        Integers become float32.

    Returns
    -------
    Tensor
        At 0 infinite, with the zero's opposite sign if ``n`` is even; at -1, -2 ... infinite if ``n`` is odd, else NaN.

    Raises
    ------
    GraphError
        If the order is none of these.
    """
    if type(n) is not int or not 0 <= n <= HIGHEST_ORDER:
        raise GraphError(f"polygamma: expected an order from 0 to {HIGHEST_ORDER}, got {given(n)}")
    return digamma(x) if n == 0 else digamma_derivative(x, n)
