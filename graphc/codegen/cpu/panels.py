"""Copying parts of an operand to where a tile reads them fast.

Both intrinsics write whole vectors. What lies outside the operand is not read; its places in the copy hold zeros or
repeated elements, which only reach results that are not stored.

``copy`` moves rows of vectors::                ``transpose`` turns a square::

    to[i, j] = source[i, j]                         to[k, i] = source[i, k]

A square of 2n by 2n elements, n of which fill 16 bytes, is read 16 bytes at a time: rows i and i + n share a vector,
which loads into either half of a register make without a shuffle. Each half then holds n by n elements that rounds of a
perfect shuffle turn, within 16 bytes, where shuffles are fast: a round interleaves vector i with vector i + n/2, and
after log2(n) rounds of n vectors every row has become a column.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.cpu.tiles import FLOATS, I32, I64, Emitter, counted

_PART_BYTES = 16  # within which a shuffle is fast


def copier(dtype: str, *, vectors: int, lanes: int) -> Any:
    """Make the intrinsic ``copy(source, row, to, to_row, rows, columns, ahead)``.

    It copies `rows` rows of `columns` elements, at most ``vectors * lanes``; the rest of a row becomes zero. Strides
    are in elements; `to` and `to_row` are aligned to whole vectors. What lies `ahead` elements behind each row is asked
    for, wherever that is.
    """
    pointer = types.CPointer(FLOATS[dtype][1])

    @intrinsic
    def copy(context, source, row, to, to_row, rows, columns, ahead):
        n = types.int64

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, row, to, to_row, rows, columns, ahead = values
            emit = Emitter(builder, dtype, 1, vectors, lanes)
            masks = emit.masks(columns)
            with counted(builder, ir.Constant(I64, 0), rows, [source, to]) as loop:
                here, there = loop.values
                emit.prefetch(builder.gep(here, [ahead]), to_write=False, level=3)
                emit.store(emit.load([here], masks), [there], None)
                loop.next_values = [builder.gep(here, [row]), builder.gep(there, [to_row])]
            return context.get_dummy_value()

        return types.void(pointer, n, pointer, n, n, n, n), lower

    return copy


def transposer(dtype: str, *, side: int) -> Any:
    """Make the intrinsic ``transpose(source, row, to, to_row, rows, columns)``.

    It writes ``to[k, i] = source[i, k]`` for i and k below `side`, which is 16 or 32 bytes; of the source, the first
    `rows` rows and `columns` columns are read (1 at least).
    """
    pointer, part = types.CPointer(FLOATS[dtype][1]), _PART_BYTES // FLOATS[dtype][2]

    @intrinsic
    def transpose(context, source, row, to, to_row, rows, columns):
        n = types.int64

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, row, to, to_row, rows, columns = values
            of_rows, of_parts = Emitter(builder, dtype, side, 1, side), Emitter(builder, dtype, side, 1, part)

            def turn(lines: list[Any], whole: bool) -> None:
                for k in range(0, side, part):
                    masks = None if whole else of_parts.masks(builder.sub(columns, ir.Constant(I64, k)))
                    parts = of_parts.load([builder.gep(line, [ir.Constant(I64, k)]) for line in lines], masks)
                    vectors = [_joined(builder, parts[i::part]) for i in range(part)]
                    for _ in range(part.bit_length() - 1):
                        vectors = _shuffled(builder, vectors)
                    places = [builder.mul(ir.Constant(I64, k + i), to_row) for i in range(part)]
                    of_rows.store(vectors, [builder.gep(to, [place]) for place in places], None)

            full = [builder.icmp_signed("<=", ir.Constant(I64, side), count) for count in (rows, columns)]
            with builder.if_else(builder.and_(*full), likely=True) as (whole, other):
                with whole:
                    turn([builder.gep(source, [builder.mul(ir.Constant(I64, i), row)]) for i in range(side)], True)
                with other:
                    turn(of_rows.clamped_rows(source, row, rows), False)
            return context.get_dummy_value()

        return types.void(pointer, n, pointer, n, n, n), lower

    return transpose


def _joined(builder: ir.IRBuilder, parts: list[Any]) -> Any:
    """One or two parts as one vector."""
    if len(parts) == 1:
        return parts[0]
    order = list(range(2 * parts[0].type.count))
    return builder.shuffle_vector(*parts, ir.Constant(ir.VectorType(I32, len(order)), order))


def _shuffled(builder: ir.IRBuilder, vectors: list[Any]) -> list[Any]:
    """Vectors i and i + n/2 of n interleaved into vectors 2i and 2i + 1, each 16 bytes by themselves."""
    lanes, part = vectors[0].type.count, len(vectors)
    half, masks = part // 2, []
    for first in (0, half):
        within = [first + place // 2 + (place % 2) * lanes for place in range(part)]
        order = [start + place for start in range(0, lanes, part) for place in within]
        masks.append(ir.Constant(ir.VectorType(I32, lanes), order))
    return [builder.shuffle_vector(vectors[i // 2], vectors[i // 2 + half], masks[i % 2]) for i in range(part)]
