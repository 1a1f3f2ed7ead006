"""erf.

Near 0, erf(x) = x + x P(x**2). From 1 on it is 1 less a small remainder, and an error in that counts only with its
weight, at most 0.16. For float32 the remainder is T(x)**4 (its fourth root bends little, and squaring twice is
cheap); for float64, where that would take a polynomial of too high a degree, it is e**-T(x).
"""

from __future__ import annotations

from graphc.codegen.cpu.mathlib.exponential import clamp, reduce_exponent, two_to
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, copysign, fabs, fma, polynomial, select


def erf(x: Scalar) -> Scalar:
    """The error function, 2/sqrt(pi) times the integral of e**(-t**2) from 0 to x."""
    form = FORMATS[x.kind]
    size = fabs(x)
    near = fma(x, polynomial(x * x, form.erf), x)
    tail = polynomial(clamp(size, 0.0, form.erf_high), form.erf_tail)
    if form.erf_root == 4:
        square = tail * tail
        remainder_less_one = fma(square, square, -1.0)
    else:
        n, less_one = reduce_exponent(-tail)
        power = two_to(n)
        remainder_less_one = fma(power, less_one, power) - 1.0
    return select(size < form.erf_split, near, copysign(remainder_less_one, x))
