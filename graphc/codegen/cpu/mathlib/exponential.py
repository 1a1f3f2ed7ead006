"""exp, exp2, expm1, sigmoid, tanh; log, log1p, log2, log10.

**Exponentials.** With n the whole number nearest x / ln 2 and r = x - n ln 2, e**x = 2**n * e**r and
|r| <= ln(2)/2. A polynomial gives q(r) = (e**r - 1 - r) / r**2, so ``e**r - 1 = r + r**2 q(r)`` keeps its
relative accuracy near 0; 2**n is made from its exponent bits. ln 2 is taken as the sum of two floats: n times
the first cancels against x inside a fused multiply-add without any rounding, n times the second is added to the
small part of the result.

**Logarithms.** x = 2**k * m with m in [sqrt(1/2), sqrt(2)), from the bits; f = m - 1 is exact. With
s = f / (2 + f), log(m) = 2 atanh(s) = 2s + s R(s**2), written as in FreeBSD's msun: ``f - (f**2/2 - s (f**2/2 + R))``,
whose large term f is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.codegen.cpu import machine
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, bits, convert, copysign, fabs, fma, from_bits, ldexp, polynomial, select


def clamp(x: Scalar, low: float, high: float) -> Scalar:
    """x held between two bounds; a NaN passes, since every comparison with it is false."""
    least = select(x < low, low, x)
    return select(least > high, high, least)  # both in the operand order of machines' minimum and maximum


def two_to(n: Scalar) -> Scalar:
    """2**n as a float of n's width, for n within the exponents of normal numbers."""
    form = FORMATS[f"float{n.kind[3:]}"]
    return from_bits((n + form.bias) << form.mantissa)


def split_exponent(x: Scalar, octave: float = 1.0) -> tuple[Scalar, Scalar, Scalar]:
    """(n, n, h): x is about n ln 2, n an integer of x's width and a float; h is x less n times ln 2 rounded, exactly.

    Instead of ln 2 it may be ln 2 times ``octave``, a power of 2. Adding ``shifter`` rounds to a whole number and
    leaves it in the low bits of the sum: unlike a conversion to int, that is defined for NaN, for which n is anything.
    """
    form = FORMATS[x.kind]
    shifted = fma(x, 1.0 / (octave * math.log(2.0)), form.shifter)
    whole = shifted - form.shifter
    return bits(shifted) - form.shifter_bits, whole, fma(whole, -octave * form.log2_high, x)


def reduce_exponent(x: Scalar, low: Scalar | None = None, coefficients: Sequence[float] = ()) -> tuple[Scalar, Scalar]:
    """(n, e**r - 1) with x + low = n ln 2 + r; n is an integer of x's width, and anything for a NaN."""
    form = FORMATS[x.kind]
    n, whole, high = split_exponent(x)
    small = whole * -form.log2_low
    if low is not None:
        small = small + low
    r = high + small
    return n, high + fma(r * r, polynomial(r, coefficients or form.exp), small)


def scale(x: Scalar, n: Scalar) -> Scalar:
    """x * 2**n rounded once, where n may leave the normal exponents and the result may be subnormal.

    One instruction where the machine has it; else two steps, of which the first is exact.
    """
    if machine.host().scales:
        return ldexp(x, convert(n, "int32"))
    half = n >> 1
    return x * two_to(half) * two_to(n - half)


def exp(x: Scalar) -> Scalar:
    """e**x.

    Near 1 nothing cancels, so r is rounded, and Horner's rule goes through to the end: 1 + r (1 + r q(r)).
    """
    form = FORMATS[x.kind]
    n, whole, high = split_exponent(clamp(x, form.exp_low, form.exp_high))
    r = fma(whole, -form.log2_low, high)
    return scale(polynomial(r, (1.0, 1.0, *form.exp)), n)


def exp2(x: Scalar) -> Scalar:
    """2**x; exact for whole x."""
    form = FORMATS[x.kind]
    bounded = clamp(x, form.exp2_low, form.exp2_high)
    shifted = bounded + form.shifter
    r = bounded - (shifted - form.shifter)
    return scale(polynomial(r, (1.0, *form.exp2)), bits(shifted) - form.shifter_bits)


def expm1(x: Scalar) -> Scalar:
    """e**x - 1, relatively accurate near 0: 2**n (e**r - 1) + (2**n - 1).

    All of it is halved until the last step, because 2**n alone overflows where the result does not.
    """
    form = FORMATS[x.kind]
    n, less_one = reduce_exponent(clamp(x, form.expm1_low, form.exp_high))
    half = two_to(n - 1)
    result = fma(half, less_one, half - 0.5) * 2.0
    tiny = fabs(x) < 2.0 ** (-form.mantissa - 2)  # here e**x - 1 rounds to x; halving would lose a subnormal's last bit
    return select(tiny, x, result)


def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e**-x), by way of t = e**-|x| so that nothing overflows and small results keep their digits.

    The quotient is corrected once by what it leaves of the dividend, including what 1 + t lost to rounding;
    1 / (1 + t), which that takes, is the sigmoid of |x|: the quotient itself or 1 less it.
    """
    t = exp(-fabs(x))
    positive = x >= 0.0
    dividend, divisor = select(positive, 1.0, t), t + 1.0
    lost = t - (divisor - 1.0)
    quotient = dividend / divisor
    left = fma(-quotient, divisor, dividend) - quotient * lost
    return fma(left, select(positive, quotient, 1.0 - quotient), quotient)


def tanh(x: Scalar) -> Scalar:
    """-h / (1 + h) with the sign of x, where h is half of e**-2|x| - 1.

    By halves, a sum with 1 is never larger than 1 and what it lost is a difference. One over the divisor, which the
    corrections take, is 1 + tanh|x|: of the quotient, as that of the sigmoid, and of what h itself lost to rounding.
    """
    form = FORMATS[x.kind]
    size = -fabs(x)
    bounded = select(size < -form.tanh_high, -form.tanh_high, size)  # a NaN passes
    n, whole, high = split_exponent(bounded, octave=0.5)
    r = fma(whole, -0.5 * form.log2_low, high)
    of_half = [factor * 2.0 ** (place + 1) for place, factor in enumerate(form.exp)]
    less_one = fma(r * r, polynomial(r, of_half), r)
    power, rest = two_to(n), two_to(n - 1) - 0.5
    half = fma(power, less_one, rest)
    lost_of_half = fma(power, less_one, rest - half)
    divisor = half + 1.0
    lost = half - (divisor - 1.0)
    quotient = half / divisor
    inverse = 1.0 - quotient
    left = fma(-quotient, lost, fma(-quotient, divisor, half))
    return copysign(fma(fma(lost_of_half, inverse, left), inverse, quotient), x)


def split_octave(x: Scalar) -> tuple[Scalar, Scalar]:
    """(k, m) with x = 2**k * m and m in [sqrt(1/2), sqrt(2)), for finite x > 0; k is a float of x's dtype."""
    form = FORMATS[x.kind]
    lift = form.mantissa + 2
    subnormal = x < form.least_normal
    pattern = bits(select(subnormal, x * 2.0**lift, x)) - form.root_half_bits
    # An exponent fits 32 bits, and int32 is what machines convert to floats fastest.
    exponent = convert(pattern >> form.mantissa, "int32")
    exponent = exponent - select(subnormal, exponent.like(lift), 0)
    m = from_bits((pattern & ((1 << form.mantissa) - 1)) + form.root_half_bits)
    return convert(exponent, x.kind), m


def log_mantissa(m: Scalar, add: Scalar, coefficients: Sequence[float] = ()) -> Scalar:
    """log(m) + add for m in [sqrt(1/2), sqrt(2)) and a small ``add``."""
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = fma(z, polynomial(z, coefficients or FORMATS[m.kind].log), half_square)
    return f - (half_square - fma(s, rest, add))


def quick_two_sum(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """(a + b rounded, what the rounding lost), exactly, where |a| >= |b| or a is 0 (Dekker)."""
    total = a + b
    return total, b - (total - a)


def two_sum(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """The same whichever is larger (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _edges(x: Scalar, result: Scalar, zero: float) -> Scalar:
    """Values of a logarithm that is -inf at ``zero``, NaN below, and infinite (or NaN) where x is."""
    result = select(x < math.inf, result, x)
    return select(x > zero, result, select(x.equals(zero), x.like(-math.inf), math.nan))


def log(x: Scalar) -> Scalar:
    """Natural logarithm."""
    form = FORMATS[x.kind]
    k, m = split_octave(x)
    return _edges(x, fma(k, form.log2_high, log_mantissa(m, k * form.log2_low)), 0.0)


def log2(x: Scalar) -> Scalar:
    """Logarithm to base 2; exact for powers of 2."""
    k, m = split_octave(x)
    return _edges(x, fma(log_mantissa(m, m.like(0.0)), 1.0 / math.log(2.0), k), 0.0)


def log10(x: Scalar) -> Scalar:
    """Logarithm to base 10.

    f - f**2/2, the large part of log(m), is taken times log10(e) as a sum of two floats, and so is k log10(2); what is
    rounded off is kept until the last addition. The result is so close that powers of 10 come out whole.
    """
    form = FORMATS[x.kind]
    k, m = split_octave(x)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    high = f - half_square
    low = fma(s, fma(z, polynomial(z, form.log), half_square), (f - high) - half_square)
    (e_high, e_low), (two_high, two_low) = form.log10_e, form.log10_2
    product = high * e_high
    octaves = k * two_high
    small = fma(low, e_high, fma(high, e_low, fma(high, e_high, -product)))
    small = small + fma(k, two_low, fma(k, two_high, -octaves))
    total, lost = quick_two_sum(octaves, product)
    return _edges(x, total + (lost + small), 0.0)


def log_one_more(x: Scalar, low: Scalar | None = None, octaves: Scalar | None = None) -> Scalar:
    """log(1 + x + low) + octaves ln 2, for finite x > -1 and ``low`` far below x.

    u = 1 + x is rounded; what it lost, found exactly, is added back as lost / u, the first term of
    log(u + lost) - log(u).
    """
    form = FORMATS[x.kind]
    u = x + 1.0
    rounded = u - 1.0
    lost = (1.0 - (u - rounded)) + (x - rounded)
    if low is not None:
        lost = lost + low
    k, m = split_octave(u)
    if octaves is not None:
        k = k + octaves
    return fma(k, form.log2_high, log_mantissa(m, fma(k, form.log2_low, lost / u)))


def log1p(x: Scalar) -> Scalar:
    """log(1 + x), relatively accurate near 0."""
    form = FORMATS[x.kind]
    result = log_one_more(x)
    tiny = fabs(x) < 2.0 ** (-form.mantissa - 2)  # keeps -0 and subnormals as they are
    return select(tiny, x, _edges(x, result, -1.0))
