"""asin, acos, atan, atan2.

**asin, acos.** For |x| < 1/2, asin(x) = x + x z P(z) with z = x**2. For larger ones asin(x) = pi/2 - 2 asin(s) with
s = sqrt((1 - |x|) / 2), whose square is exact and not above 1/4: the same polynomial.

**atan, atan2.** The angle of the point (|x|, |y|) is mirrored at the diagonal if |y| > |x|, and turned by -pi/4 if it
is still above pi/8: tan(a - pi/4) = (y - x) / (y + x). A quotient q of at most tan(pi/8) remains, whose arc is q + q z
P(z), z = q**2. The quotient carries what it lost to rounding, and the angle it is added to is a sum of two floats.
"""

from __future__ import annotations

import math

from graphc.codegen.cpu.mathlib.exponential import quick_two_sum
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import Scalar, bits, constant, copysign, fabs, fma, polynomial, select, sqrt

TAN_EIGHTH_PI = math.sqrt(2.0) - 1.0


def _arc_of_root(x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """(|x| < 1/2, s, s z P(z)): s is |x|, or the root z of which is (1 - |x|) / 2; the last two add up to asin(s)."""
    size = fabs(x)
    small = size < 0.5
    z = select(small, size * size, (1.0 - size) * 0.5)
    s = select(small, size, sqrt(z))
    return small, s, s * (z * polynomial(z, FORMATS[x.kind].asin))


def asin(x: Scalar) -> Scalar:
    """The angle in [-pi/2, pi/2] whose sine is x; NaN beyond -1 and 1."""
    high, low = FORMATS[x.kind].quarter_pi
    small, s, bend = _arc_of_root(x)
    rest, lost = quick_two_sum(x.like(2.0 * high), s * -2.0)
    large = rest + (lost + fma(bend, -2.0, 2.0 * low))
    return copysign(select(small, s + bend, large), x)


def acos(x: Scalar) -> Scalar:
    """The angle in [0, pi] whose cosine is x; NaN beyond -1 and 1."""
    high, low = FORMATS[x.kind].quarter_pi
    small, s, bend = _arc_of_root(x)
    middle, lost = quick_two_sum(x.like(2.0 * high), -copysign(s, x))
    middle = middle + (lost + (2.0 * low - copysign(bend, x)))
    double = (s + bend) * 2.0
    rest, lost = quick_two_sum(x.like(4.0 * high), s * -2.0)
    behind = rest + (lost + fma(bend, -2.0, 4.0 * low))
    return select(small, middle, select(x < 0.0, behind, double))


def _angle(y: Scalar, x: Scalar, turned: Scalar, behind: Scalar) -> Scalar:
    """atan(y / x) for finite 0 <= y <= x, x > 0: taken from pi/2 if ``turned``, then from pi if ``behind``."""
    form = FORMATS[x.kind]
    beyond = y > x * TAN_EIGHTH_PI
    above, below = y - x, y + x
    divided = select(beyond, above, y)
    divided_low = select(beyond, y - (above + x), 0.0)
    divisor = select(beyond, below, x)
    divisor_low = select(beyond, y - (below - x), 0.0)
    q = divided / divisor
    left = (fma(-q, divisor, divided) + fma(-q, divisor_low, divided_low)) / divisor
    left = select(y < form.least_normal * 2.0 ** (form.mantissa + 8), 0.0, left)  # what is left would be subnormal
    z = q * q
    bend = fma(q * z, polynomial(z, form.atan), fma(-z, left, left))
    quarters, sign = select(beyond, x.like(1.0), 0.0), x.like(1.0)
    quarters, sign = select(turned, 2.0 - quarters, quarters), select(turned, -1.0, sign)
    quarters, sign = select(behind, 4.0 - quarters, quarters), select(behind, -sign, sign)
    high, low = form.quarter_pi
    base = quarters * high
    base_low = fma(quarters, low, fma(quarters, high, -base))
    total, lost = quick_two_sum(base, q * sign)
    return total + (lost + fma(bend, sign, base_low))


def atan(x: Scalar) -> Scalar:
    """The angle in [-pi/2, pi/2] whose tangent is x."""
    size = fabs(x)
    limit = 2.0 ** (FORMATS[x.kind].mantissa + 8)  # from here on the result is pi/2
    size = select(size > limit, limit, size)
    turned = size > 1.0
    divided, divisor = select(turned, 1.0, size), select(turned, size, 1.0)
    return copysign(_angle(divided, divisor, turned, constant(x.builder, False, "bool")), x)


def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y), in [-pi, pi]; signs of zeros count, and infinities lie on axes or diagonals."""
    form = FORMATS[x.kind]
    height, width = fabs(y), fabs(x)
    turned = height > width
    divided, divisor = select(turned, width, height), select(turned, height, width)
    endless = divisor.equals(math.inf)
    divided = select(endless, select(divided.equals(math.inf), x.like(1.0), 0.0), divided)
    divisor = select(endless | divisor.equals(0.0), 1.0, divisor)
    # Large ones because their sum may overflow, small ones because roundings would be subnormal.
    huge, little = divisor > 2.0 ** (form.bias - 1), divisor < form.least_normal * 2.0 ** (form.mantissa + 10)
    factor = select(huge, x.like(0.25), select(little, x.like(8.0**form.mantissa), 1.0))
    angle = copysign(_angle(divided * factor, divisor * factor, turned, bits(x) < 0), y)
    return select(x.equals(x) & y.equals(y), angle, math.nan)
