"""Copying parts of an operand to where a tile reads them fast.

Both intrinsics write whole vectors. What lies outside the operand is not read; its places in the copy hold zeros or
repeated elements, which only reach results that are not stored.

``copy`` moves rows of vectors::                ``transpose`` turns a square of one vector by one vector::

    to[i, j] = source[i, j]                         to[k, i] = source[i, k]

A square is turned by rounds of a perfect shuffle: each interleaves vector i with vector i + n/2, and after
log2(n) rounds of n vectors every row has become a column.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.cpu.tiles import FLOATS, I32, I64, Emitter, counted


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


def transposer(dtype: str, *, lanes: int) -> Any:
    """Make the intrinsic ``transpose(source, row, to, to_row, rows, columns)``.

    It writes ``to[k, i] = source[i, k]`` for i and k below `lanes`; of the source, the first `rows` rows and `columns`
    columns are read (1 at least).
    """
    pointer = types.CPointer(FLOATS[dtype][1])

    @intrinsic
    def transpose(context, source, row, to, to_row, rows, columns):
        n = types.int64

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, row, to, to_row, rows, columns = values
            emit = Emitter(builder, dtype, lanes, 1, lanes)
            vectors = emit.load(emit.clamped_rows(source, row, rows), emit.masks(columns))
            for _ in range(lanes.bit_length() - 1):
                vectors = _shuffled(builder, vectors)
            places = [builder.gep(to, [builder.mul(ir.Constant(I64, k), to_row)]) for k in range(lanes)]
            emit.store(vectors, places, None)
            return context.get_dummy_value()

        return types.void(pointer, n, pointer, n, n, n), lower

    return transpose


def _shuffled(builder: ir.IRBuilder, vectors: list[Any]) -> list[Any]:
    """Vectors i and i + n/2 interleaved into vectors 2i and 2i + 1."""
    half = len(vectors) // 2
    orders = [
        [place // 2 + (place % 2) * 2 * half for place in range(first, first + 2 * half)] for first in (0, 2 * half)
    ]
    masks = [ir.Constant(ir.VectorType(I32, 2 * half), order) for order in orders]
    return [builder.shuffle_vector(vectors[i // 2], vectors[i // 2 + half], masks[i % 2]) for i in range(2 * half)]
