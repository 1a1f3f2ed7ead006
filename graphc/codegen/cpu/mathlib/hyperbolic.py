"""sinh, cosh, asinh, acosh, atanh.

**sinh, cosh.** With |x| = n ln 2 + r, cosh(r) and sinh(r) are polynomials, even and odd, and ``2 sinh|x| = 2**n (cosh r
+ sinh r) - 2**-n (cosh r - sinh r)``; cosh likewise. Sorted by cosh r and sinh r there is neither a division nor a
cancellation. (tanh is in ``exponential``.)

**Inverses.** asinh and acosh are log(1 + u) with a u that is accurate near 0, and ln 2 + log|x| where x**2 might
overflow. atanh(x) is half the logarithm of (1 + x) / (1 - x) = 2**k m, and log(m) = 2 atanh(s) with s = (m - 1) / (m +
1) = ``((1 + x) - 2**k (1 - x)) / ((1 + x) + 2**k (1 - x))``. Near 0, k is 0 and s is x itself.
"""

from __future__ import annotations

import math

from graphc.codegen.cpu.mathlib.exponential import (
    clamp,
    log_one_more,
    quick_two_sum,
    split_exponent,
    two_sum,
    two_to,
)
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, bits, convert, copysign, fabs, fma, polynomial, select, sqrt


def _parts(size: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """(up, down, sinh(r), cosh(r) - 1) for size >= 0; up and down are a quarter of 2**n and of 2**-n.

    A quarter, doubled in the last step, because 2**n / 2 may overflow where the result does not.
    """
    form = FORMATS[size.kind]
    n, whole, high = split_exponent(clamp(size, 0.0, form.sinh_high))
    small = whole * -form.log2_low
    r = high + small
    lost = small - (r - high)
    z = r * r
    s = r + fma(r * z, polynomial(z, form.sinh), lost)
    c = z * polynomial(z, form.cosh)
    return two_to(n - 2), two_to(-2 - select(n > 64, 64, n)), s, c  # 2**-64 no longer counts


def sinh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / 2."""
    size = fabs(x)
    up, down, s, c = _parts(size)
    difference, lost = quick_two_sum(up, -down)
    result = copysign((difference + fma(up + down, s, fma(difference, c, lost))) * 2.0, x)
    tiny = size < 2.0 ** -(FORMATS[x.kind].mantissa // 2 + 2)  # here sinh(x) rounds to x
    return select(tiny, x, result)


def cosh(x: Scalar) -> Scalar:
    """(e**x + e**-x) / 2."""
    up, down, s, c = _parts(fabs(x))
    total, lost = quick_two_sum(up, down)
    return (total + fma(up - down, s, fma(total, c, lost))) * 2.0


def _log_one_more(u: Scalar, low: Scalar, huge: Scalar, x: Scalar) -> Scalar:
    """log(1 + u + low), and ln 2 + log(x) where x is huge."""
    result = log_one_more(select(huge, x, u), select(huge, 0.0, low), select(huge, x.like(1.0), 0.0))
    return select(x < math.inf, result, x)


def asinh(x: Scalar) -> Scalar:
    """The number whose hyperbolic sine is x: log(1 + u) with u = |x| + x**2 / (1 + sqrt(1 + x**2))."""
    form = FORMATS[x.kind]
    size = fabs(x)
    huge = size > 2.0 ** (form.mantissa + 3)
    usual = select(huge, 1.0, size)
    square = usual * usual
    u, low = quick_two_sum(usual, square / (sqrt(square + 1.0) + 1.0))
    tiny = size < 2.0 ** -(form.mantissa // 2 + 2)  # here asinh(x) rounds to x
    return select(tiny, x, copysign(_log_one_more(u, low, huge, size), x))


def acosh(x: Scalar) -> Scalar:
    """The number >= 0 whose hyperbolic cosine is x: log(1 + u), u = t + sqrt(t (t + 2)), t = x - 1; NaN below 1."""
    huge = x > 2.0 ** (FORMATS[x.kind].mantissa + 3)
    t = select(huge, 1.0, x - 1.0)
    u, low = quick_two_sum(sqrt(fma(t, t, t + t)), t)
    return select(x < 1.0, math.nan, _log_one_more(u, low, huge, x))


def atanh(x: Scalar) -> Scalar:
    """The number whose hyperbolic tangent is x; infinite at -1 and 1, NaN beyond."""
    form = FORMATS[x.kind]
    size = fabs(x)
    above, above_low = quick_two_sum(x.like(1.0), size)
    below, below_low = quick_two_sum(x.like(1.0), -size)
    # The exponent of their quotient, rounded: bit patterns are logarithms, to a tenth.
    k = (bits(above) - bits(below) + (1 << (form.mantissa - 1))) >> form.mantissa
    power = two_to(k)
    scaled = power * below
    divided, divided_low = two_sum(above - scaled, fma(-power, below_low, above_low))  # the difference is exact
    divisor, divisor_low = two_sum(above, scaled)
    divisor_low = divisor_low + fma(power, below_low, above_low)
    s = divided / divisor
    left = (fma(-s, divisor, divided) + fma(-s, divisor_low, divided_low)) / divisor
    z = s * s
    rest = fma(s * z, polynomial(z, form.atanh), left)
    count = convert(convert(k, "int32"), x.kind)
    half_high, half_low = form.log2_high * 0.5, form.log2_low * 0.5
    base = count * half_high
    total, lost = quick_two_sum(base, s)
    result = total + (lost + (rest + fma(count, half_low, fma(count, half_high, -base))))
    return copysign(select(size < 1.0, result, select(size.equals(1.0), x.like(math.inf), math.nan)), x)
