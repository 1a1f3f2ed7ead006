"""sin, cos and tan, accurate for every finite argument.

x is reduced to t = x - n pi/2 with |t| <= pi/4, and sin(t) or cos(t), by the parity of n, is a polynomial.
The reduction is Payne and Hanek's idea in floating point, without a branch and without integers wider than a
register. Since only n modulo 4 matters, bits of 2/pi whose product with x is a multiple of 4 may be dropped: they are
whole quarters of the circle. Which those are depends on the exponent of x alone. So a table, indexed by
the exponent, holds the bits of 2/pi that matter, cut into pieces whose products with x are exact;
each product is taken modulo 4, and their sum is n plus the wanted fraction. Small x use the table's first
row, which holds the leading bits of 2/pi, and lose nothing by it.
"""

from __future__ import annotations

from functools import cache

from graphc.codegen.cpu.mathlib.exponential import quick_two_sum, two_sum, two_to
from graphc.codegen.cpu.mathlib.formats import FORMATS
from graphc.codegen.cpu.scalar import (
    KINDS,
    Scalar,
    bits,
    constant,
    convert,
    fabs,
    fma,
    from_bits,
    lookup,
    polynomial,
    rint,
    select,
)

HALF_PI_HIGH = 1.5707963267948966
HALF_PI_LOW = 6.123233995736766e-17

#: float32: one row an exponent, three pieces of 28 bits; 24 + 28 bits fit a float64 product.
ROWS32, PIECES32, BITS32, GROUP32 = 105, 3, 28, 1
#: float64: one row for 8 exponents, four pieces of 53 bits, whose products are pairs of floats.
ROWS64, PIECES64, BITS64, GROUP64 = 123, 4, 53, 8


@cache
def two_over_pi(length: int) -> int:
    """2/pi in fixed point with ``length`` fraction bits, cut; pi by Machin's formula."""
    guard = length + 64

    def arctan_inverse(n: int) -> int:
        """arctan(1/n) with the guard bits, by its series: 1/n - 1/(3 n^3) + 1/(5 n^5) - ..."""
        term = total = (1 << guard) // n
        divisor, sign = 3, -1
        while term:
            term //= n * n
            total += sign * (term // divisor)
            divisor, sign = divisor + 2, -sign
        return total

    pi = 4 * (4 * arctan_inverse(5) - arctan_inverse(239))
    return (2 << (guard + length)) // pi


@cache
def reduction_table(rows: int, pieces: int, width: int, group: int) -> tuple[tuple[float, ...], ...]:
    """The pieces of 2/pi: one tuple for each, with an entry for each group of exponents.

    Row g serves x whose unit in the last place is at least 2**(1 + group * g) (and, for g = 0, all smaller x). A bit
    of weight w is dropped when w * 2**(1 + group * g) >= 4: the first weight kept is 2**-(group * g). Entries are
    multiplied by 2**(group * g), which keeps them normal numbers, and x is divided by it.
    """
    length = group * rows + pieces * width + 8
    digits = two_over_pi(length)
    table: list[list[float]] = [[] for _ in range(pieces)]
    for row in range(rows):
        first = group * row  # fraction bits from position `first` on; position p has weight 2**-p
        for piece, column in enumerate(table):
            last = first + (piece + 1) * width - 1
            cut = (digits >> (length - last)) & ((1 << width) - 1)
            column.append(float(cut) * 2.0 ** (first - last))
    return tuple(tuple(column) for column in table)


def _pieces(x: Scalar, table: tuple[tuple[float, ...], ...], group: int) -> tuple[Scalar, list[Scalar]]:
    """x >= 0 as float64 over its row's power of 2, and its row of the table; any row for infinity and NaN."""
    form, last = FORMATS[x.kind], len(table[0]) - 1
    exponent = convert(bits(x) >> form.mantissa, "int32") - (form.bias + form.mantissa + 1)
    exponent = select(exponent < 0, 0, exponent)
    row = exponent if group == 1 else exponent.quotient(group)
    row = select(row > last, last, row)
    scaled = convert(x, "float64") * two_to(convert(row * -group, "int64"))
    return scaled, [lookup(column, row, "float64") for column in table]


def _modulo_four(x: Scalar) -> Scalar:
    """x less the nearest multiple of 4; exact."""
    return fma(rint(x * 0.25), -4.0, x)


def _quarter(n: Scalar) -> Scalar:
    """A small whole float64 as an int64, its low bits right; anything for NaN."""
    return bits(n + FORMATS["float64"].shifter)


def _reduce32(x: Scalar) -> tuple[Scalar, Scalar]:
    """(n modulo 4 in the low bits of an int32, t as float64) for x >= 0, computed in float64."""
    wide, pieces = _pieces(x, reduction_table(ROWS32, PIECES32, BITS32, GROUP32), GROUP32)
    first, second, third = (wide * piece for piece in pieces)
    first = _modulo_four(first)
    n = rint(first + second)
    fraction = ((first - n) + second) + third  # the first two sums are exact
    return convert(_quarter(n), "int32"), fraction * HALF_PI_HIGH


def _reduce64(x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """(n modulo 4 in the low bits of an int64, t as a sum of two float64) for x >= 0."""
    x, pieces = _pieces(x, reduction_table(ROWS64, PIECES64, BITS64, GROUP64), GROUP64)
    products = [x * piece for piece in pieces]
    losts = [fma(x, piece, -product) for piece, product in zip(pieces, products, strict=True)]
    # A large x makes the first three of these larger than a circle; the rest are far below 1.
    terms = [_modulo_four(products[0]), _modulo_four(losts[0]), _modulo_four(products[1])]
    n = rint(terms[0] + terms[1] + terms[2])
    terms = [terms[0] - n, *terms[1:], losts[1], products[2], losts[2] + products[3]]
    # Add without loss: after the first sweep the roundings it set aside may exceed the sum, after the second not.
    for _ in range(2):
        total, aside = terms[0], []
        for term in terms[1:]:
            total, lost = two_sum(total, term)
            aside.append(lost)
        terms = [total, *aside]
    low = terms[-1]
    for term in reversed(terms[1:-1]):
        low = low + term
    high, low = quick_two_sum(terms[0], low)
    angle = high * HALF_PI_HIGH
    angle_low = fma(high, HALF_PI_HIGH, -angle) + fma(high, HALF_PI_LOW, low * HALF_PI_HIGH)
    return _quarter(n), angle, angle_low


def _circular(x: Scalar, quarters_ahead: int) -> Scalar:
    """sin(x + quarters_ahead * pi/2)."""
    form = FORMATS[x.kind]
    size = fabs(x)
    if form.kind == "float32":
        n, angle = _reduce32(size)
        t = convert(angle, "float32")
        low = constant(x.builder, 0.0, x.kind)
    else:
        n, t, low = _reduce64(size)
    z = t * t
    # sin(t + low) = sin t + low cos t and cos(t + low) = cos t - low sin t, to first order in both factors
    sine = t + fma(t * z, polynomial(z, form.sine), low * fma(z, -0.5, 1.0))
    half = z * 0.5
    top = 1.0 - half
    cosine = top + (((1.0 - top) - half) + fma(z * z, polynomial(z, form.cosine), -(t * low)))
    turn = n + quarters_ahead
    value = select((turn & 1).differs(0), cosine, sine)
    sign_bit = 1 << (KINDS[x.kind].bits - 1)
    flip = select((turn & 2).differs(0), turn.like(sign_bit), 0)
    if quarters_ahead:
        return from_bits(bits(value) ^ flip)
    flip = flip ^ (bits(x) & sign_bit)  # sin is odd: the sign of x, -0 included
    return select(_tiny(size), x, from_bits(bits(value) ^ flip))


def _tiny(size: Scalar) -> Scalar:
    """Whether the sine and the tangent of |x| round to it: what reduces larger ones would round subnormal products."""
    return size < 2.0 ** -(FORMATS[size.kind].mantissa // 2 + 2)


def sin(x: Scalar) -> Scalar:
    """Sine of x radians; NaN at infinity."""
    return _circular(x, 0)


def cos(x: Scalar) -> Scalar:
    """Cosine of x radians; NaN at infinity."""
    return _circular(x, 1)


def tan(x: Scalar) -> Scalar:
    """Tangent of x radians; NaN at infinity.

    Sine and cosine are carried as sums of two floats, so that only the quotient is rounded.
    """
    form = FORMATS[x.kind]
    size = fabs(x)
    if form.kind == "float32":
        n, angle = _reduce32(size)
        t = convert(angle, "float32")
        low = convert(angle - convert(t, "float64"), "float32")
    else:
        n, t, low = _reduce64(size)
    (sine, sine_low), (cosine, cosine_low) = sine_cosine(t, low)
    odd = (n & 1).differs(0)  # tan(t + pi/2) = -cos(t) / sin(t)
    divided, divided_low = select(odd, cosine, sine), select(odd, cosine_low, sine_low)
    divisor, divisor_low = select(odd, sine, cosine), select(odd, sine_low, cosine_low)
    inverse = 1.0 / divisor
    quotient = divided * inverse
    left = fma(-quotient, divisor, divided) + fma(-quotient, divisor_low, divided_low)
    value = fma(left, inverse, quotient)
    sign_bit = 1 << (KINDS[x.kind].bits - 1)
    flip = select(odd, n.like(sign_bit), 0) ^ (bits(x) & sign_bit)
    return select(_tiny(size), x, from_bits(bits(value) ^ flip))


def sine_cosine(t: Scalar, low: Scalar) -> tuple[tuple[Scalar, Scalar], tuple[Scalar, Scalar]]:
    """sin(t + low) and cos(t + low) for |t| <= pi/4, each as a sum of two floats."""
    form = FORMATS[t.kind]
    z = t * t
    z_low = fma(t, t, -z)
    sine = quick_two_sum(t, fma(t * z, polynomial(z, form.sine), low * fma(z, -0.5, 1.0)))
    half = z * 0.5
    top = 1.0 - half
    rest = fma(z * z, polynomial(z, form.cosine), -fma(t, low, z_low * 0.5))
    return sine, quick_two_sum(top, ((1.0 - top) - half) + rest)
