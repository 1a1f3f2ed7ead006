"""erf and erfc.

**erf.** Near 0, erf(x) = x + x P(x**2). From 1 on it is 1 less a small remainder, and an error in that counts only with
its weight, at most 0.16. For float32 the remainder is T(x)**4 (its fourth root bends little, and squaring twice is
cheap); for float64, where that would take a polynomial of too high a degree, it is e**-T(x).

**erfc.** (1 + 2x) e**(x**2) erfc(x) lies between 1 and 1.3 for every x >= 0 and is smooth in (x - 4) / (x + 4); a
polynomial gives it, less 1. The square is carried as a sum of two floats, for an error in it is a relative one
of the result, and so is the quotient's dividend. Below 1/2 it is 1 - erf(x); for negative x, 2 - erfc(-x).
"""

from __future__ import annotations

from graphc.codegen.cpu.mathlib.exponential import (
    clamp,
    quick_two_sum,
    reduce_exponent,
    scale,
    two_sum,
    two_to,
)
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, copysign, fabs, fma, polynomial, select


def _erf_near(x: Scalar) -> Scalar:
    """erf(x) for |x| < 1."""
    return fma(x, polynomial(x * x, FORMATS[x.kind].erf), x)


def erf(x: Scalar) -> Scalar:
    """The error function, 2/sqrt(pi) times the integral of e**(-t**2) from 0 to x."""
    form = FORMATS[x.kind]
    size = fabs(x)
    tail = polynomial(clamp(size, 0.0, form.erf_high), form.erf_tail)
    if form.erf_root == 4:
        square = tail * tail
        remainder_less_one = fma(square, square, -1.0)
    else:
        n, less_one = reduce_exponent(-tail)
        power = two_to(n)
        remainder_less_one = fma(power, less_one, power) - 1.0
    return select(size < form.erf_split, _erf_near(x), copysign(remainder_less_one, x))


def erfc(x: Scalar) -> Scalar:
    """1 - erf(x), relatively accurate far out too."""
    size = clamp(fabs(x), 0.0, FORMATS[x.kind].erfc_high)
    less_one = polynomial((size - 4.0) / (size + 4.0), FORMATS[x.kind].erfc)
    bend, bend_low = quick_two_sum(x.like(1.0), less_one)
    square = size * size
    n, less_one = reduce_exponent(-square, -fma(size, size, -square))
    power, power_low = quick_two_sum(x.like(1.0), less_one)
    divided = bend * power
    divided_low = fma(bend, power, -divided) + fma(bend, power_low, bend_low * power)
    divisor, divisor_low = two_sum(size * 2.0, x.like(1.0))
    inverse = 1.0 / divisor
    quotient = divided * inverse
    left = fma(-quotient, divisor, divided) + fma(-quotient, divisor_low, divided_low)
    far = scale(fma(left, inverse, quotient), n)
    return select(fabs(x) < 0.5, 1.0 - _erf_near(x), select(x < 0.0, 2.0 - far, far))
