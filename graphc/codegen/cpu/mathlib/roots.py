"""cbrt and hypot.

**cbrt.** |x| = 8**n m with 1 <= m < 8. A polynomial gives 1 / cbrt(m), from which t = m / cbrt(m)**2 follows without a
division; one step of Newton's method, with the residual m - t**3 taken exactly, makes t as good as its dtype allows.

**hypot.** sqrt(x**2 + y**2), both first multiplied by a power of 2 where squares might overflow or underflow.
"""

from __future__ import annotations

import math

from graphc.codegen.cpu.mathlib.exponential import two_to
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, bits, convert, copysign, fabs, fma, from_bits, polynomial, select, sqrt


def cbrt(x: Scalar) -> Scalar:
    """The real cube root."""
    form = FORMATS[x.kind]
    size = fabs(x)
    third = form.mantissa // 3 + 1  # subnormal numbers are multiplied by 8**third
    subnormal = size < form.least_normal
    pattern = bits(select(subnormal, size * 8.0**third, size))
    # biased exponent + shift = 3 quotient + rest, where bias + shift is a multiple of 3
    shift = -form.bias % 3
    exponent = convert(pattern >> form.mantissa, "int32") + shift
    quotient = (exponent * 21846) >> 16  # a third of it, cut, below 2**15
    rest = exponent - quotient * 3
    mantissa = from_bits((pattern & ((1 << form.mantissa) - 1)) | (form.bias << form.mantissa))
    one, two = rest.equals(1), rest.equals(2)
    m = mantissa * select(two, x.like(4.0), select(one, x.like(2.0), 1.0))
    u = polynomial(mantissa, form.inverse_cube_root)
    u = u * select(two, x.like(4.0 ** (-1 / 3)), select(one, x.like(2.0 ** (-1 / 3)), 1.0))
    if form.kind == "float64":  # Newton's step for 1/cbrt(m): u (1 + (1 - m u**3) / 3)
        u = fma(u * fma(-m, u * u * u, 1.0), 1.0 / 3.0, u)
    inverse_square = u * u
    t = m * inverse_square
    square = t * t
    left = fma(-square, t, m) - fma(t, t, -square) * t
    root = fma(left, inverse_square * (1.0 / 3.0), t)
    scaled = quotient - (form.bias + shift) // 3 - select(subnormal, quotient.like(third), 0)
    result = copysign(root * two_to(convert(scaled, form.integer)), x)
    return select((size > 0.0) & (size < math.inf), result, x)


def hypot(x: Scalar, y: Scalar) -> Scalar:
    """sqrt(x**2 + y**2); infinite if either is, even beside a NaN."""
    form = FORMATS[x.kind]
    a, b = fabs(x), fabs(y)
    larger, smaller = select(a > b, a, b), select(a > b, b, a)
    limit, factor = 2.0 ** (form.bias // 3), 2.0 ** (form.bias * 3 // 4)
    huge, small = larger > limit, larger < 1.0 / limit
    down = select(huge, x.like(1.0 / factor), select(small, x.like(factor), 1.0))
    up = select(huge, x.like(factor), select(small, x.like(1.0 / factor), 1.0))
    larger, smaller = larger * down, smaller * down
    length = sqrt(fma(larger, larger, smaller * smaller)) * up
    return select(a.equals(math.inf) | b.equals(math.inf), math.inf, length)
