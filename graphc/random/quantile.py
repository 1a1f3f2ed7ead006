"""The inverse of the normal distribution function.

Algorithm AS 241, PPND16, of M. J. Wichura (Applied Statistics 37, 1988): a rational function of degree 7 for each of
three regions, about 1e-16 relative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphc.ir.node import Tensor
from graphc.ops.elementwise import abs_, divide, less_equal, log, minimum, multiply, negative, sqrt, subtract, where

Rational = tuple[Sequence[float], Sequence[float]]
"""Coefficients of numerator and denominator, the constant term first."""

CENTRAL: Rational = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
"""In ``0.180625 - (p - 1/2)**2``, for ``p`` within 0.425 of 1/2."""

NEAR: Rational = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
"""In ``r - 1.6`` with ``r = sqrt(-log(min(p, 1 - p)))``, up to 5."""

FAR: Rational = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip
"""In ``r - 5``, beyond."""


def normal_quantile(p: Tensor) -> Tensor:
    """The number below which a standard normal variable lies with probability ``p``, float64, ``0 < p < 1``."""
    centred = subtract(p, 0.5)
    central = less_equal(abs_(centred), 0.425)
    inner = multiply(centred, _ratio(subtract(0.180625, multiply(centred, centred)), CENTRAL))
    tail = sqrt(negative(log(minimum(p, subtract(1.0, p)))))
    near = less_equal(tail, 5.0)
    outer = where(near, _ratio(subtract(tail, 1.6), NEAR), _ratio(subtract(tail, 5.0), FAR))
    return where(central, inner, where(less_equal(centred, 0), negative(outer), outer))


def _ratio(x: Tensor, coefficients: Rational) -> Tensor:
    return divide(*(_polynomial(x, part) for part in coefficients))


def _polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """By Horner's rule."""
    total: Any = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = multiply(total, x) + coefficient
    return total
