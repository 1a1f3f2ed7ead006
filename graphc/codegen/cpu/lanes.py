"""Accumulators side by side: sums in a fixed order that still fill vector registers.

A sum written as ``s = s + v`` has one order, element after element, and LLVM must keep it, so it stays scalar. Kernels
keep ``n`` partial sums instead, one for each lane (position modulo n); the order is fixed by the source and the inner
loop over lanes is vector code. At the end the lanes are combined in halves: 64 to 32 to 16 ... to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import errors, types
from numba.extending import intrinsic

from graphc.codegen.cpu.intrinsics import expose, kind_of
from graphc.codegen.cpu.scalar import KINDS, Scalar, fabs, select


def _lost_by_sum(a: Scalar, b: Scalar) -> Scalar:
    """What the rounding of ``a + b`` lost, exactly (Knuth's two-sum)."""
    total = a + b
    part = total - a
    return (a - (total - part)) + (b - part)


def _settle(total: Scalar, lost: Scalar) -> Scalar:
    """A sum with what its roundings lost; an infinite or NaN one as it is."""
    return select(fabs(total) < float("inf"), total + lost, total)


lost_by_sum = expose(_lost_by_sum, "lost_by_sum", families="f")
settle = expose(_settle, "settle", families="f")


def _vector(builder: Any, pointer: Any, kind: str, lanes: int) -> Any:
    """The pointer as one to a vector of that many elements."""
    return builder.bitcast(pointer, ir.VectorType(KINDS[kind].llvm, lanes).as_pointer())


def _check(pointer: Any, lanes: Any) -> tuple[str, int]:
    count = getattr(lanes, "literal_value", 0)
    if not isinstance(pointer, types.CPointer) or count < 1 or count & (count - 1):
        raise errors.TypingError(f"expected a pointer and a literal power of two, got {pointer} and {lanes}")
    return kind_of(pointer.dtype), count


@intrinsic(prefer_literal=True)
def fill(context: Any, pointer: Any, lanes: Any, value: Any) -> Any:
    """Set a literal number of elements (a power of two) to one value."""
    kind, count = _check(pointer, lanes)
    element = types.unliteral(value)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _vector(builder, values[0], kind, count)
        undefined = ir.Constant(place.type.pointee, ir.Undefined)
        first = builder.insert_element(undefined, values[2], ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), count), None))
        builder.store(every, place, align=KINDS[kind].bits // 8)
        return context.get_dummy_value()

    return types.void(pointer, lanes, element), lower


def _halves(builder: Any, vector: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """All elements of a vector combined, neighbours at half the distance first."""
    width = vector.type.count
    while width > 1:
        width //= 2
        undefined = ir.Constant(vector.type, ir.Undefined)
        low, high = (
            builder.shuffle_vector(vector, undefined, _splat(ir.IntType(32), range(start, start + width)))
            for start in (0, width)
        )
        vector = combine(low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _splat(element: Any, values: Iterable[float]) -> Any:
    """A constant vector."""
    listed = list(values)
    return ir.Constant(ir.VectorType(element, len(listed)), listed)


def _fold(name: str, reduce: Callable[[Any, Any, str], Any]) -> Any:
    """``name(pointer, lanes)``: what ``reduce(builder, vector, kind)`` makes of all lanes."""

    def typing(context: Any, pointer: Any, lanes: Any) -> Any:
        kind, count = _check(pointer, lanes)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            vector = builder.load(_vector(builder, values[0], kind, count), align=KINDS[kind].bits // 8)
            return reduce(builder, vector, kind)

        return pointer.dtype(pointer, lanes), lower

    typing.__name__ = typing.__qualname__ = name
    return intrinsic(prefer_literal=True)(typing)


def _arithmetic(of_floats: str, of_integers: str) -> Callable[[Any, Any, str], Any]:
    """Lanes combined by an instruction."""

    def reduce(builder: Any, vector: Any, kind: str) -> Any:
        return _halves(builder, vector, getattr(builder, of_floats if KINDS[kind].is_float else of_integers))

    return reduce


def _extreme(comparison: str) -> Callable[[Any, Any, str], Any]:
    """The greatest (``>``) or least (``<``) of all lanes; NaN if there is one.

    Floats are compared as the integers that order as they do, zeros by sign and NaN beyond infinity: a comparison of
    integers takes one cycle, ``llvm.maximum`` ten, and they follow one upon the other here.
    """

    def reduce(builder: Any, vector: Any, kind: str) -> Any:
        compare = builder.icmp_unsigned if KINDS[kind].family == "u" else builder.icmp_signed

        def combine(a: Any, b: Any) -> Any:
            return builder.select(compare(comparison, a, b), a, b)

        if not KINDS[kind].is_float:
            return _halves(builder, vector, combine)
        count, bits, integer = vector.type.count, KINDS[kind].bits, ir.IntType(KINDS[kind].bits)

        def ordered(pattern: Any, lanes: int) -> Any:
            """Patterns below 0 reversed; its own inverse."""
            shift, magnitude = (_splat(integer, [value] * lanes) for value in (bits - 1, (1 << (bits - 1)) - 1))
            return builder.xor(pattern, builder.and_(builder.ashr(pattern, shift), magnitude))

        nan = _splat(KINDS[kind].llvm, [math.nan if comparison == ">" else -math.nan] * count)
        vector = builder.select(builder.fcmp_unordered("uno", vector, vector), nan, vector)
        keys = ordered(builder.bitcast(vector, ir.VectorType(integer, count)), count)
        best = builder.insert_element(_splat(integer, [0]), _halves(builder, keys, combine), ir.IntType(32)(0))
        return builder.bitcast(builder.extract_element(ordered(best, 1), ir.IntType(32)(0)), KINDS[kind].llvm)

    return reduce


fold_add = _fold("fold_add", _arithmetic("fadd", "add"))
fold_multiply = _fold("fold_multiply", _arithmetic("fmul", "mul"))
fold_maximum = _fold("fold_maximum", _extreme(">"))
fold_minimum = _fold("fold_minimum", _extreme("<"))
