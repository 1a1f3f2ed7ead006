"""Accumulators side by side: sums in a fixed order that still fill vector registers.

A sum written as ``s = s + v`` has one order, element after element, and LLVM must keep it, so it stays scalar. Kernels
keep ``n`` partial sums instead, one for each lane (position modulo n); the order is fixed by the source and the inner
loop over lanes is vector code. At the end the lanes are combined in halves: 64 to 32 to 16 ... to 1.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _fold(name: str, instruction: str) -> Any:
    """``name(pointer, lanes)``: all lanes combined, neighbours at half the distance first."""

    def typing(context: Any, pointer: Any, lanes: Any) -> Any:
        kind, count = _check(pointer, lanes)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            combine: Callable[..., Any] = getattr(builder, instruction)
            vector = builder.load(_vector(builder, values[0], kind, count), align=KINDS[kind].bits // 8)
            width = count
            while width > 1:
                width //= 2
                low, high = (
                    ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(start, start + width)))
                    for start in (0, width)
                )
                undefined = ir.Constant(vector.type, ir.Undefined)
                halves = [builder.shuffle_vector(vector, undefined, half) for half in (low, high)]
                vector = combine(*halves)
            return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

        return pointer.dtype(pointer, lanes), lower

    typing.__name__ = typing.__qualname__ = name
    return intrinsic(prefer_literal=True)(typing)


fold_add = _fold("fold_add", "fadd")
fold_multiply = _fold("fold_multiply", "fmul")
