"""lgamma, the logarithm of the gamma function's magnitude, and digamma, its derivative.

Both are polynomials on a short interval, are brought there by ``gamma(x + 1) = x gamma(x)``, and have asymptotic
series (here minimax polynomials in 1/x**2) beyond that. For negative x they are reflected:
``gamma(x) gamma(-x) = -pi / (x sin(pi x))``.

**lgamma.** On [-3/4, 1/4], e R(e) is lgamma(2 + e), with its zero at 2 as a factor. Whatever x is moved by is a product
whose logarithm is subtracted or added; between 1/4 and 5/4 that is x itself, whose logarithm carries the zero at 1. The
logarithm is a sum of two floats for float64. Between -1/2 and 1/4, ``gamma(2 + x) = x (x + 1) gamma(x)`` serves both
signs.

**digamma.** Its zero at 1.46 lies between two floats; it is a factor too, as the sum of two. The terms 1 / (x - k) of
the recurrence are added up as one fraction. On [1, 2.25) nothing is added, so that nothing cancels close to the zero.

float32 is computed in float64, with short polynomials. Around the zeros of negative x the error is small against the
terms that cancel there, not against the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.codegen.cpu.mathlib.exponential import log_mantissa, quick_two_sum, split_octave, two_sum
from graphc.codegen.cpu.mathlib.formats import FLOAT64, POWER32_LOG
from graphc.codegen.cpu.mathlib.powers import log_pair
from graphc.codegen.cpu.mathlib.trigonometric import sine_cosine
from graphc.codegen.cpu.scalar import Scalar, convert, copysign, fabs, fma, polynomial, rint, select

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
    # lgamma(2 + z) / z on -3/4 <= z <= 1/4; 2**-32.2
    lgamma=(
        0.4227843351091857, 0.3224670354860413, -0.06735230133763027, 0.02058060573646438, -0.007385934155628388,
        0.002895322373141475, -0.0011758090000119862, 0.0004929363880917122, -0.00038543322688915365,
        -0.00018830717435495612, -0.00023592431697451436,
    ),
    # x (lgamma(x) - (x - 1/2) log(x) + x - log(2 pi) / 2), z = 1/x**2, x >= 7.25; 2**-39.7
    stirling=(0.08333333290888294, -0.0027775979023264186, 0.0007745035092285554),
    # digamma(z + 13/8) / (z + 13/8 - its zero) on |z| <= 5/8; 2**-30.2
    digamma=(
        0.9015925159236123, -0.3697749497131581, 0.1927200982006948, -0.10919802925697687, 0.06426367600350037,
        -0.038536854597680366, 0.023361894964570515, -0.014441343639724949, 0.008868749095934235,
        -0.004629246919671626, 0.0027790389648156854, -0.0033688274820442266, 0.0021261674439278615,
    ),
    # x**2 (log(x) - 1 / 2x - digamma(x)), z = 1/x**2, x >= 7.25; 2**-38.7
    digamma_tail=(0.08333332843876678, -0.00833175686240835, 0.0038229163673884252),
    log=POWER32_LOG,
)  # fmt: skip

FOR_FLOAT64 = Coefficients(
    # 2**-60.9
    lgamma=(
        0.42278433509846713, 0.3224670334241132, -0.06735230105319828, 0.02058080842778635, -0.007385551028635518,
        0.0028905103306244148, -0.001192753914746629, 0.0005096695238134073, -0.00022315464795998792,
        9.945779613192383e-05, -4.4927935535489956e-05, 2.049844011514499e-05, -9.438130067031146e-06,
        4.469538623016017e-06, -1.8213591419279675e-06, 8.682415905017525e-07, -1.767776885873929e-06,
        -2.668411547432988e-06, -3.317126211349107e-06, -1.9074614332249966e-06, -5.622273039411233e-07,
    ),
    # 2**-65.4
    stirling=(
        0.08333333333333331, -0.002777777777746326, 0.000793650775522429, -0.0005952334710706221,
        0.0008411408015112878, -0.001873735637760566, 0.004743173647425439,
    ),
    # 2**-55.8
    digamma=(
        0.9015925158282158, -0.3697749644574108, 0.19272012460147314, -0.10919698588598363, 0.06426251743228698,
        -0.03855782679417619, 0.023380439998058118, -0.014262521409463482, 0.0087308661965107, -0.00535572936073135,
        0.003289451946071893, -0.0020218745619567406, 0.0012431133207902972, -0.000764609544000871,
        0.00047165822935018003, -0.0002903721383280457, 0.000173566378941194, -0.00010631512509350115,
        7.908607251724078e-05, -4.9543457998977085e-05, 7.295825889586126e-06, -3.592565819946038e-06,
        2.48238796902162e-05, -1.567551855752556e-05,
    ),
    # 2**-68.8
    digamma_tail=(
        0.08333333333333331, -0.008333333333295266, 0.003968253945689526, -0.004166660174007804, 0.007574716969452584,
        -0.02099435801779555, 0.07778703071449357, -0.2637718727943002,
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


def _half_circle(r: Scalar) -> tuple[Scalar, tuple[Scalar, Scalar], tuple[Scalar, Scalar]]:
    """(|r| > 1/4, sin(t), cos(t)), sums of two floats, for |r| <= 1/2; t is pi |r|, its rest to pi/2 if |r| > 1/4."""
    size = fabs(r)
    far = size > 0.25
    size = select(far, 0.5 - size, size)
    t = size * PI
    sine, cosine = sine_cosine(t, fma(size, PI, -t) + size * PI_LOW)
    return far, sine, cosine


def _cotangent(r: Scalar) -> Scalar:
    """cot(pi r) for |r| <= 1/2."""
    far, (sine, sine_low), (cosine, cosine_low) = _half_circle(r)
    divided, divided_low = select(far, sine, cosine), select(far, sine_low, cosine_low)
    divisor, divisor_low = select(far, cosine, sine), select(far, cosine_low, sine_low)
    quotient = divided / divisor
    left = fma(-quotient, divisor, divided) + fma(-quotient, divisor_low, divided_low)
    return copysign(quotient + select(quotient < 2.0**500, left / divisor, 0.0), r)


def _lgamma(x: Scalar, table: Coefficients) -> Scalar:
    """lgamma in float64."""
    size = fabs(x)
    near, low, far = (x > -0.5) & (x < 0.25), size < 1.25, size >= 7.25
    # Down from [1.25, 7.25) to [1.25, 2.25): lgamma(size) = lgamma(v) + log(product).
    v, product = size, x.like(1.0)
    for _ in range(5):
        above = v >= 2.25
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
    beyond, (sine, _), (cosine, _) = _half_circle(r)
    mirrored = (LOG_PI - _log(size * select(beyond, cosine, sine), table)) - value
    value = select((x < 0.0) & ~near, mirrored, value)
    pole = (x <= 0.0) & r.equals(0.0)
    return select(x.equals(x), select(pole | (size > LGAMMA_HIGH), math.inf, value), x)


def _digamma(x: Scalar, table: Coefficients) -> Scalar:
    """digamma in float64."""
    mirror = x < 0.0
    y = select(mirror, 1.0 - x, x)
    least, small, far = y < 0.25, y < 1.0, y >= 7.25
    # digamma(y) = digamma(v) + numerator / denominator with v in [1, 2.25)
    v, numerator, denominator = y, x.like(0.0), x.like(1.0)
    for _ in range(5):
        above = v >= 2.25
        v = select(above, v - 1.0, v)
        numerator = select(above, fma(numerator, v, denominator), numerator)
        denominator = select(above, denominator * v, denominator)
    v = select(least, y + 2.0, select(small, y + 1.0, v))
    numerator = select(least, fma(y, -2.0, -1.0), select(small, x.like(-1.0), select(far, x.like(-0.5), numerator)))
    denominator = select(least, copysign(fma(y, y, y), y), select(small | far, y, denominator))
    fraction = numerator / denominator
    by_recurrence = fma((v - DIGAMMA_ROOT) - DIGAMMA_ROOT_LOW, polynomial(v - 1.625, table.digamma), fraction)

    z = fraction * fraction * 4.0  # 1/y**2 where it counts
    logarithm = select(y < math.inf, _log(y, table), y)
    by_series = logarithm + fma(-z, polynomial(z, table.digamma_tail), fraction)
    value = select(far, by_series, by_recurrence)

    r = x - rint(x)
    mirrored = fma(_cotangent(r), -PI, value)  # digamma(x) = digamma(1 - x) - pi cot(pi x)
    return select(mirror, select(r.equals(0.0), math.nan, mirrored), value)


def lgamma(x: Scalar) -> Scalar:
    """log|gamma(x)|; infinite at the poles 0, -1, -2 ... and at both infinities."""
    if x.kind == "float64":
        return _lgamma(x, FOR_FLOAT64)
    return convert(_lgamma(convert(x, "float64"), FOR_FLOAT32), x.kind)


def digamma(x: Scalar) -> Scalar:
    """The derivative of log(gamma(x)); at 0 infinite with the opposite sign; NaN at -1, -2 ... and minus infinity."""
    if x.kind == "float64":
        return _digamma(x, FOR_FLOAT64)
    return convert(_digamma(convert(x, "float64"), FOR_FLOAT32), x.kind)
