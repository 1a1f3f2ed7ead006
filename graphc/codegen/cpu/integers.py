"""Integer arithmetic that keeps its width, and casts that are defined for every input.

The meanings are NumPy's: results wrap around; ``//`` and ``%`` round towards minus infinity and give
0 for a zero divisor; the lowest value divided by -1 is itself. LLVM leaves the last two undefined and
x86 traps on them, so the divisor is replaced before the division rather than the result after it. So are counts of
shifts, of which LLVM leaves those undefined that are not below the width.

These are formulas over :mod:`graphc.codegen.cpu.scalar`.
"""

from __future__ import annotations

from llvmlite import ir

from graphc.codegen.cpu.scalar import KINDS, Scalar, convert, select


def add(a: Scalar, b: Scalar) -> Scalar:
    """``a + b`` modulo the width."""
    return a + b


def subtract(a: Scalar, b: Scalar) -> Scalar:
    """``a - b`` modulo the width."""
    return a - b


def multiply(a: Scalar, b: Scalar) -> Scalar:
    """``a * b`` modulo the width."""
    return a * b


def negative(a: Scalar) -> Scalar:
    """``-a`` modulo the width; the lowest signed value is its own negative."""
    return -a


def absolute(a: Scalar) -> Scalar:
    """``|a|``; the lowest signed value stays, as in NumPy."""
    return a if KINDS[a.kind].family == "u" else select(a < 0, -a, a)


def sign(a: Scalar) -> Scalar:
    """-1, 0 or 1."""
    positive = select(a > 0, a.like(1), 0)
    return positive if KINDS[a.kind].family == "u" else select(a < 0, -1, positive)


def lesser(a: Scalar, b: Scalar) -> Scalar:
    """The lesser of two integers."""
    return select(a < b, a, b)


def greater(a: Scalar, b: Scalar) -> Scalar:
    """The greater of two integers."""
    return select(a > b, a, b)


def _safe_divisor(a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
    """A divisor that cannot trap, and whether b is zero.

    1 stands for 0, and also for -1 under the lowest value, where it gives the wrapped quotient.
    """
    zero = b.equals(0)
    unsafe = zero
    if KINDS[a.kind].family == "i":
        unsafe = zero | (a.equals(KINDS[a.kind].lowest) & b.equals(-1))
    return select(unsafe, 1, b), zero


def floor_divide(a: Scalar, b: Scalar) -> Scalar:
    """``a // b`` rounded towards minus infinity; 0 where b is 0."""
    divisor, zero = _safe_divisor(a, b)
    quotient = a.quotient(divisor)
    if KINDS[a.kind].family == "i":
        rest = a - quotient * divisor
        quotient = select(rest.differs(0) & ((rest ^ divisor) < 0), quotient - 1, quotient)
    return select(zero, 0, quotient)


def remainder(a: Scalar, b: Scalar) -> Scalar:
    """``a % b`` with the sign of b; 0 where b is 0."""
    divisor, zero = _safe_divisor(a, b)
    rest = a.rest(divisor)
    if KINDS[a.kind].family == "i":
        rest = select(rest.differs(0) & ((rest ^ divisor) < 0), rest + divisor, rest)
    return select(zero, 0, rest)


def fmod(a: Scalar, b: Scalar) -> Scalar:
    """What division towards zero leaves, with the sign of a; 0 where b is 0."""
    divisor, zero = _safe_divisor(a, b)
    return select(zero, 0, a.rest(divisor))


def bitwise_and(a: Scalar, b: Scalar) -> Scalar:
    """Bits that both have."""
    return a & b


def bitwise_or(a: Scalar, b: Scalar) -> Scalar:
    """Bits that either has."""
    return a | b


def bitwise_xor(a: Scalar, b: Scalar) -> Scalar:
    """Bits that exactly one has."""
    return a ^ b


def bitwise_invert(a: Scalar) -> Scalar:
    """Every bit the other way."""
    return ~a


def _is_count(count: Scalar) -> Scalar:
    """Whether an integer can be shifted by a count of its kind: from 0 to its width, that excluded."""
    kind = KINDS[count.kind]
    within = count < kind.bits
    return within if kind.family == "u" else within & (count >= 0)


def left_shift(a: Scalar, count: Scalar) -> Scalar:
    """``a`` shifted left, zeros coming in; 0 for a count that is negative or not below the width."""
    within = _is_count(count)
    return select(within, a << select(within, count, 0), 0)


def right_shift(a: Scalar, count: Scalar) -> Scalar:
    """``a`` shifted right, its sign coming in; all sign for a count that is negative or not below the width."""
    within, kind = _is_count(count), KINDS[a.kind]
    shifted = a >> select(within, count, kind.bits - 1)
    return shifted if kind.family == "i" else select(within, shifted, 0)


def power(a: Scalar, b: Scalar) -> Scalar:
    """``a ** b`` modulo the width, by repeated squaring.

    A negative exponent, which NumPy refuses, gives the true value cut towards zero: 1 or -1 for
    a base of 1 or -1, else 0. Runs a loop of as many turns as the exponent has bits.
    """
    builder, kind, type_ = a.builder, a.kind, KINDS[a.kind].llvm
    signed = KINDS[kind].family == "i"
    # An exponent's parity is all that a base of -1 needs, so the sign may go.
    exponent = select(b < 0, -b, b) if signed else b
    before = builder.block
    head = builder.append_basic_block("power.head")
    body = builder.append_basic_block("power.body")
    done = builder.append_basic_block("power.done")
    builder.branch(head)
    builder.position_at_end(head)
    phis = [builder.phi(type_) for _ in range(3)]
    total, square, left = (Scalar(builder, phi, kind) for phi in phis)
    builder.cbranch(left.differs(0).value, body, done)
    builder.position_at_end(body)
    # Shift in zeros: |lowest| has no positive form and must count down as an unsigned number.
    halved = Scalar(builder, builder.lshr(left.value, ir.Constant(type_, 1)), kind)
    following = (select((left & 1).differs(0), total * square, total), square * square, halved)
    builder.branch(head)
    for phi, start, turn in zip(phis, (a.like(1), a, exponent), following, strict=True):
        phi.add_incoming(start.value, before)
        phi.add_incoming(turn.value, body)
    builder.position_at_end(done)
    if not signed:
        return total
    unit = a.equals(1) | a.equals(-1)
    return select((b < 0) & ~unit, 0, total)


def _cast_float_to_signed(x: Scalar, kind: str) -> Scalar:
    """float to int32 or int64; NaN and what does not fit give the lowest value, as x86 does."""
    limit = 2.0 ** (KINDS[kind].bits - 1)
    fits = (x >= -limit) & (x < limit)  # false for NaN
    return select(fits, convert(select(fits, x, 0.0), kind), KINDS[kind].lowest)


def cast(x: Scalar, kind: str) -> Scalar:
    """Cast between any two dtypes, defined for every input.

    Floats are cut towards zero. One that does not fit (or NaN) gives what C compilers give on x86-64:
    int32 and int64 the lowest value; narrower kinds the low bits of the int32 result, uint32 those of
    the int64 result; uint64 wraps its upper half and gives 2**63 out of range. To bool: whether x
    differs from 0 (NaN does).
    """
    source, target = KINDS[x.kind], KINDS[kind]
    if kind == "bool":
        return x if x.kind == "bool" else x.differs(0)
    if not source.is_float or target.is_float:
        return convert(x, kind)
    if kind in ("int32", "int64"):
        return _cast_float_to_signed(x, kind)
    if target.bits < 32:
        return convert(_cast_float_to_signed(x, "int32"), kind)
    if kind == "uint32":
        return convert(_cast_float_to_signed(x, "int64"), kind)
    upper = (x >= 2.0**63) & (x < 2.0**64)
    whole = convert(_cast_float_to_signed(select(upper, x - 2.0**63, x), "int64"), kind)
    return select(upper, whole ^ (1 << 63), whole)
