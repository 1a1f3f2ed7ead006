"""lgamma, the logarithm of the gamma function's magnitude, and digamma, its derivative.

Both are polynomials on an interval of length 1, are brought there by ``gamma(x + 1) = x gamma(x)``, and have asymptotic
series (here minimax polynomials in 1/x**2) beyond that. For negative x they are reflected:
``gamma(x) gamma(-x) = -pi / (x sin(pi x))``.

**lgamma.** On [-1/2, 1/2], e R(e) is lgamma(2 + e), with its zero at 2 as a factor. Whatever x is moved by is a product
whose logarithm is subtracted or added; between 1/2 and 3/2 that is x itself, whose logarithm carries the zero at 1. The
logarithm is a sum of two floats for float64. Between -1/2 and 1/2, ``gamma(2 + x) = x (x + 1) gamma(x)`` serves both signs.

**digamma.** Its zero at 1.46 lies between two floats; it is a factor too, as the sum of two. The
terms 1 / (x - k) of the recurrence are added up as one fraction.

float32 is computed in float64, with short polynomials. Around the zeros of negative x the error is small against the terms
that cancel there, not against the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.codegen.cpu.mathlib.exponential import log_mantissa, quick_two_sum, split_octave, two_sum
from graphc.codegen.cpu.mathlib.formats import FLOAT64, POWER32_LOG
from graphc.codegen.cpu.mathlib.powers import log_pair
from graphc.codegen.cpu.scalar import Scalar, convert, fabs, fma, polynomial, rint, select

PI, PI_LOW = 3.141592653589793, 1.2246467991473532e-16
LOG_PI = 1.1447298858494002
HALF_LOG_TWO_PI_LESS_HALF = 0.4189385332046727
DIGAMMA_ROOT, DIGAMMA_ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
LGAMMA_HIGH = 2.5563481638716906e305
"""From beyond here on lgamma overflows."""


@dataclass(frozen=True)
class Coefficients:
    """Polynomials for one accuracy, lowest power first; the figures are those of ``formats``."""

    lgamma: tuple[float, ...]
    stirling: tuple[float, ...]
    digamma: tuple[float, ...]
    digamma_tail: tuple[float, ...]
    log: tuple[float, ...]


FOR_FLOAT32 = Coefficients(
    # lgamma(2 + z) / z on |z| <= 1/2; 2**-31.8
    lgamma=(
        0.4227843350063561, 0.32246703468791593, -0.06735228223054233, 0.02058073441149605, -0.007386158952490601,
        0.0028917324286540018, -0.0011859574595551414, 0.000501518543112868, -0.0002536220968969109,
        0.0001223600587081586,
    ),
    # x (lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2), z = 1/x**2, x >= 7.5; 2**-40.0
    stirling=(0.08333333298584038, -0.0027776202493693383, 0.0007757196599586547),
    # digamma(z + 3/2) / (z + 3/2 - its zero) on |z| <= 1/2; 2**-30.5
    digamma=(
        0.9510558754253878, -0.4236274193620921, 0.2405426577327718, -0.14840515949685051, 0.09498073053082715,
        -0.06191410166942409, 0.040894538674833225, -0.027089622272160493, 0.016910741344334398,
        -0.011145219362716834, 0.01123034495359672, -0.007625368690397084,
    ),
    # x**2 (log(x) - 1 / 2x - digamma(x)), z = 1/x**2, x >= 8; 2**-39.8
    digamma_tail=(0.08333333058712225, -0.008332258209876488, 0.003847919352050181),
    log=POWER32_LOG,
)  # fmt: skip

FOR_FLOAT64 = Coefficients(
    # 2**-59.5
    lgamma=(
        0.42278433509846713, 0.3224670334241132, -0.06735230105319523, 0.02058080842778851, -0.007385551028947782,
        0.00289051033049156, -0.0011927539016228718, 0.0005096695309132348, -0.00022315494432587055,
        9.94574457189817e-05, -4.49243168371833e-05, 2.050745224144827e-05, -9.451048262943705e-06,
        4.376166475109573e-06, -1.9994118584530986e-06, 9.406120121726178e-07, -5.192279655422543e-07,
        2.5852013521667677e-07, -6.170456224677365e-08,
    ),
    # 2**-66.2
    stirling=(
        0.08333333333333333, -0.0027777777777622244, 0.000793650782364526, -0.0005952347730164788,
        0.0008412632600262629, -0.0018793106849992927, 0.004841130780772587,
    ),
    # 2**-58.5
    digamma=(
        0.9510558760318328, -0.4236274212814606, 0.24054248424078722, -0.14840492305388028, 0.09498872445285,
        -0.0619221332755441, 0.040760833943378316, -0.026975796657573152, 0.017907248235935525, -0.011908220154268179,
        0.00792702332150749, -0.0052799366218428305, 0.003518088765595375, -0.0023454999497294696,
        0.0015635030051825277, -0.0010364314363772225, 0.0006902837735114734, -0.0004860364609742013,
        0.00032587657272124083, -0.00014465315220599242, 9.330111393288889e-05, -0.00017833583574610433,
        0.00012116960053721473,
    ),
    # 2**-65.7
    digamma_tail=(
        0.08333333333333316, -0.008333333333046332, 0.003968253805431254, -0.004166622812059691,
        0.007569415325907424, -0.020583067034162777, 0.06135758256875132,
    ),
    log=FLOAT64.log,
)  # fmt: skip


def _log(x: Scalar, table: Coefficients) -> Scalar:
    """log(x) for finite x > 0."""
    k, m = split_octave(x)
    return fma(k, FLOAT64.log2_high, log_mantissa(m, k * FLOAT64.log2_low, table.log))


def _log_pair(x: Scalar, table: Coefficients) -> tuple[Scalar, Scalar]:
    """The same as a sum of two floats; the second is 0 where float64 is far more than is needed."""
    return log_pair(x) if table is FOR_FLOAT64 else (_log(x, table), x.like(0.0))


def _half_turn(r: Scalar) -> tuple[Scalar, Scalar]:
    """sin(pi r / 2) and cos(pi r / 2) for |r| <= 1/2."""
    t = r * (PI / 2)
    t_low = fma(r, PI / 2, -t) + r * (PI_LOW / 2)
    z = t * t
    sine = t + fma(t * z, polynomial(z, FLOAT64.sine), t_low)
    return sine, fma(z, fma(z, polynomial(z, FLOAT64.cosine), -0.5), 1.0)


def _lgamma(x: Scalar, table: Coefficients) -> Scalar:
    """lgamma in float64."""
    size = fabs(x)
    near, low, far = size < 0.5, size < 1.5, size >= 7.5
    # Up from [1.5, 7.5) to [1.5, 2.5): lgamma(size) = lgamma(v) + log(product).
    v, product = size, x.like(1.0)
    for _ in range(5):
        above = v >= 2.5
        v = select(above, v - 1.0, v)
        product = select(above, product * v, product)
    e = select(near, x, select(low, size - 1.0, v - 2.0))
    moved = select(near, fabs(fma(x, x, x)), select(low | far, size, product))
    moved = select((moved > 0.0) & (size <= LGAMMA_HIGH), moved, 1.0)
    log, log_low = _log_pair(moved, table)

    sign = select(low, x.like(-1.0), 1.0)
    total, lost = two_sum(log * sign, e * polynomial(e, table.lgamma))
    by_recurrence = total + fma(log_low, sign, lost)

    # Stirling: (x - 1/2) (log(x) - 1) + (log(2 pi) - 1) / 2 + P(1/x**2) / x
    less_one, rest = quick_two_sum(log, x.like(-1.0))
    factor = size - 0.5
    large = factor * less_one
    large_low = fma(factor, less_one, -large) + factor * (rest + log_low)
    inverse = 1.0 / size
    tail = inverse * polynomial(inverse * inverse, table.stirling)
    total, lost = quick_two_sum(large, x.like(HALF_LOG_TWO_PI_LESS_HALF))
    by_series = total + (lost + (large_low + tail))
    value = select(far, by_series, by_recurrence)

    r = x - rint(x)
    sine, cosine = _half_turn(fabs(r))
    mirrored = (LOG_PI - _log(size * (sine * cosine * 2.0), table)) - value
    value = select((x < 0.0) & ~near, mirrored, value)
    pole = (x <= 0.0) & r.equals(0.0)
    return select(x.equals(x), select(pole | (size > LGAMMA_HIGH), math.inf, value), x)


def _digamma(x: Scalar, table: Coefficients) -> Scalar:
    """digamma in float64."""
    mirror = x < 0.0
    y = select(mirror, 1.0 - x, x)
    small, far = y < 1.0, y >= 8.0
    # digamma(y) = digamma(v) + numerator / denominator with v in [1, 2)
    v, numerator, denominator = y, x.like(0.0), x.like(1.0)
    for _ in range(6):
        above = v >= 2.0
        v = select(above, v - 1.0, v)
        numerator = select(above, fma(numerator, v, denominator), numerator)
        denominator = select(above, denominator * v, denominator)
    v = select(small, y + 1.0, v)
    numerator = select(small, x.like(-1.0), select(far, x.like(-0.5), numerator))
    fraction = numerator / select(small | far, y, denominator)
    by_recurrence = fma((v - DIGAMMA_ROOT) - DIGAMMA_ROOT_LOW, polynomial(v - 1.5, table.digamma), fraction)

    z = fraction * fraction * 4.0  # 1/y**2 where it counts
    logarithm = select(y < math.inf, _log(y, table), y)
    by_series = logarithm + fma(-z, polynomial(z, table.digamma_tail), fraction)
    value = select(far, by_series, by_recurrence)

    # digamma(x) = digamma(1 - x) - pi cos(pi x) / sin(pi x), both by half the angle
    r = x - rint(x)
    sine, cosine = _half_turn(r)
    cotangent = (cosine - sine) * (cosine + sine) / (sine * cosine * 2.0)
    return select(mirror, select(r.equals(0.0), math.nan, fma(cotangent, -PI, value)), value)


def lgamma(x: Scalar) -> Scalar:
    """log|gamma(x)|; infinite at the poles 0, -1, -2 ... and at both infinities."""
    if x.kind == "float64":
        return _lgamma(x, FOR_FLOAT64)
    return convert(_lgamma(convert(x, "float64"), FOR_FLOAT32), x.kind)


def digamma(x: Scalar) -> Scalar:
    """The derivative of log(gamma(x)); infinite at zeros with the opposite sign, NaN at -1, -2 ... and minus infinity."""
    if x.kind == "float64":
        return _digamma(x, FOR_FLOAT64)
    return convert(_digamma(convert(x, "float64"), FOR_FLOAT32), x.kind)
