"""``//``, ``%`` and fmod of floats as NumPy has them.

The quotient is whole; the remainder takes the divisor's sign, that of fmod the dividend's.
"""

from __future__ import annotations

from graphc.codegen.cpu.intrinsics import expose
from graphc.codegen.cpu.scalar import Scalar, copysign, floor, select


def _fmod(a: Scalar, b: Scalar) -> Scalar:
    """``a - b * trunc(a / b)``, exactly; the C library's fmod."""
    return Scalar(a.builder, a.builder.frem(a.value, b.value), a.kind)


def _remainder(a: Scalar, b: Scalar) -> Scalar:
    """``a % b``; NaN where b is 0."""
    rest = _fmod(a, b)
    shifted = select((rest < 0.0) ^ (b < 0.0), rest + b, rest)
    return select(rest.equals(0.0), copysign(rest, b), shifted)


def _floor_divide(a: Scalar, b: Scalar) -> Scalar:
    """``a // b``; ``a / b`` where b is 0."""
    rest, plain = _fmod(a, b), a / b
    quotient = (a - rest) / b
    quotient = select(rest.differs(0.0) & ((rest < 0.0) ^ (b < 0.0)), quotient - 1.0, quotient)
    whole = floor(quotient)
    whole = select(quotient - whole > 0.5, whole + 1.0, whole)  # the difference above was rounded
    whole = select(quotient.equals(0.0), copysign(quotient, plain), whole)
    return select(b.equals(0.0), plain, whole)


floor_divide_float = expose(_floor_divide, "floor_divide_float", families="f")
remainder_float = expose(_remainder, "remainder_float", families="f")
fmod_float = expose(_fmod, "fmod_float", families="f")
