"""nextafter: arithmetic on bit patterns, which are ordered as the floats of a sign are."""

from __future__ import annotations

from graphc.codegen.cpu.scalar import KINDS, Scalar, bits, from_bits, select


def nextafter(x: Scalar, y: Scalar) -> Scalar:
    """The float next to x in the direction of y; y where they are equal, NaN if either is."""
    pattern = bits(x)
    grows = (x < y) ^ (x < 0.0)  # in magnitude
    moved = from_bits(select(grows, pattern + 1, pattern - 1))
    sign_bit = 1 << (KINDS[x.kind].bits - 1)
    least = from_bits((bits(y) & sign_bit) | 1)
    moved = select(x.equals(0.0), least, moved)
    return select(x.equals(y), y, select(x.equals(x) & y.equals(y), moved, x + y))
