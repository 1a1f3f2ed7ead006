"""power, rsqrt, sqrt, abs, sign.

**power.** |x|**y = e**(y log|x|), and an error d in the exponent is an error of d in the result,
relatively: with y log|x| as large as 709 the logarithm needs ten bits more than the result has. float32 gets
them by computing in float64 (with short polynomials). float64 computes the logarithm as an unevaluated sum of
two floats: s = f / (2 + f) and the first two terms of 2 atanh(s) = 2s (1 + z/3 + z**2 Q(z)), z = s**2, are carried in
both; everything behind is too small to need it. Signs, zeros, infinities and NaN follow C's ``pow``, as NumPy's do.
"""

from __future__ import annotations

import math

from graphc.codegen.cpu.mathlib.exponential import (
    clamp,
    log_mantissa,
    quick_two_sum,
    reduce_exponent,
    scale,
    split_octave,
    two_sum,
)
from graphc.codegen.cpu.mathlib.formats import FLOAT64, FORMATS, POWER32_EXP, POWER32_LOG, POWER64_LOG
from graphc.codegen.cpu.scalar import Scalar, convert, copysign, fabs, floor, fma, polynomial, select
from graphc.codegen.cpu.scalar import sqrt as square_root

#: 1/3 as the sum of two float64: 2**54 is 1 modulo 3, so the rounding to 53 bits cut off 2**-54 / 3.
THIRD_HIGH = 1.0 / 3.0
THIRD_LOW = 2.0**-54 / 3.0


def sqrt(x: Scalar) -> Scalar:
    """Square root, correctly rounded."""
    return square_root(x)


def rsqrt(x: Scalar) -> Scalar:
    """1 / sqrt(x)."""
    return 1.0 / square_root(x)


def absolute(x: Scalar) -> Scalar:
    """|x|."""
    return fabs(x)


def sign(x: Scalar) -> Scalar:
    """-1, 0 or 1; NaN for NaN."""
    return select(x > 0.0, 1.0, select(x < 0.0, -1.0, select(x.equals(0.0), 0.0, x)))


def log_pair(x: Scalar) -> tuple[Scalar, Scalar]:
    """log(x) as a sum of two float64, for finite x > 0, to about 2**-64 of its value."""
    k, m = split_octave(x)
    f = m - 1.0
    # s = f / (m + 1): the divisor is m_one + m_lost, and one correction of the quotient makes it a pair.
    m_one, m_lost = quick_two_sum(*_ordered(m))
    s = f / m_one
    s_low = (fma(-s, m_one, f) - s * m_lost) / m_one
    z = s * s
    z_low = fma(s, s, -z) + s * s_low * 2.0
    # c = 1/3 + z Q(z), w = z c
    tail = z * polynomial(z, POWER64_LOG)
    c, c_low = quick_two_sum(x.like(THIRD_HIGH), tail)
    c_low = c_low + THIRD_LOW
    w = z * c
    w_low = fma(z, c, -w) + (z * c_low + z_low * c)
    # log(m) = 2s + 2s w
    double = s * 2.0
    product = double * w
    product_low = fma(double, w, -product) + fma(double, w_low, s_low * 2.0 * w)
    high, low = quick_two_sum(double, product)
    low = low + (product_low + s_low * 2.0)
    # k ln 2, whose product with a whole number of 11 bits is split by the fused multiply-add
    octaves = k * FLOAT64.log2_high
    octaves_low = fma(k, FLOAT64.log2_high, -octaves) + k * FLOAT64.log2_low
    high, lost = two_sum(octaves, high)
    return quick_two_sum(high, lost + (low + octaves_low))


def _ordered(m: Scalar) -> tuple[Scalar, Scalar]:
    """(m, 1) with the greater first."""
    above = m > 1.0
    return select(above, m, 1.0), select(above, 1.0, m)


def _magnitude64(x: Scalar, y: Scalar) -> Scalar:
    """|x|**y in float64 but for the cases that :func:`power` settles."""
    base = fabs(x)
    log_high, log_low = log_pair(base)
    unusual = base.equals(0.0) | ~(base < math.inf)
    log_high = select(unusual, select(base.equals(0.0), -math.inf, base), log_high)
    exponent = y * log_high
    low = fma(y, log_high, -exponent) + y * log_low
    bounded = clamp(exponent, FLOAT64.exp_low, FLOAT64.exp_high)
    low = select(bounded.equals(exponent) & ~unusual, low, 0.0)
    n, less_one = reduce_exponent(bounded, low)
    return scale(less_one + 1.0, n)


def _magnitude32(x: Scalar, y: Scalar) -> Scalar:
    """The same for float32, computed in float64, where no float32 is subnormal and no product overflows."""
    base, wide = convert(fabs(x), "float64"), convert(y, "float64")
    k, m = split_octave(base)
    logarithm = fma(k, FLOAT64.log2_high, log_mantissa(m, k * FLOAT64.log2_low, POWER32_LOG))
    logarithm = select(base.equals(0.0), -math.inf, select(base < math.inf, logarithm, base))
    n, less_one = reduce_exponent(clamp(wide * logarithm, -110.0, 110.0), coefficients=POWER32_EXP)
    return convert(scale(less_one + 1.0, n), "float32")


def power(x: Scalar, y: Scalar) -> Scalar:
    """x**y, with C's rules: a negative base needs a whole exponent, 1**y and x**0 are 1 even for NaN."""
    magnitude = _magnitude64(x, y) if FORMATS[x.kind] is FLOAT64 else _magnitude32(x, y)
    # (-1)**inf is 1, though its logarithm, 0, times infinity is not 0
    magnitude = select(fabs(x).equals(1.0) & y.equals(y), 1.0, magnitude)
    whole = floor(y).equals(y)
    half = y * 0.5
    odd = whole & floor(half).differs(half)
    signed = select(odd, copysign(magnitude, x), magnitude)
    undefined = (x < 0.0) & (x > -math.inf) & ~whole
    signed = select(undefined, math.nan, signed)
    return select(x.equals(1.0) | y.equals(0.0), 1.0, signed)
