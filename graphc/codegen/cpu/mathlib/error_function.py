"""erf.

Near 0, erf(x) = x + x P(x**2). From 1 on it is 1 less a small remainder, and the remainder's logarithm is
smooth: erf(x) = 1 - e**-T(x). An error in T counts only with the weight of the remainder, at most 0.16.
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
    n, less_one = reduce_exponent(-polynomial(clamp(size, form.erf_split, form.erf_high), form.erf_tail))
    power = two_to(n)
    far = copysign(1.0 - fma(power, less_one, power), x)
    return select(size < form.erf_split, near, far)
