"""Products with a vector or with few columns, both operands contiguous along k: many dot products at once.

The register tile of :mod:`graphc.codegen.cpu.tiles` has no use here: it shares each load of B among rows, and fills its
lanes with columns, of which there are few. Instead the lanes of a vector run along k::

    for k in steps of one vector:                       for each block of k
        t[i, j] = fma(p[i, k : k+lanes], q[j, k : k+lanes], t[i, j])
    c[i, j] (+)= sum of the lanes of t[i, j]

So every element is `lanes` chains of fused multiply-adds, lane l over the places k = l, l + lanes, ..., in order, and
then their sum in halves (lane l and lane l + lanes/2, and so on). It depends on neither the tile nor the worker. Which
of the two orders a product takes is decided for the whole product, from its static shape and its layout, before it is
cut (``suited`` in :mod:`graphc.codegen.cpu.variants`).

The lanes of all sums of a tile are added together: a perfect shuffle of two vectors and an addition make one vector of
partial sums of both, so n vectors take n - 1 additions rather than n log2(lanes).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.cpu.tiles import FLOATS, I32, I64, Emitter, counted


def dot_tile(dtype: str, *, rows: int, columns: int, lanes: int) -> Any:
    """Make the intrinsic ``dots(p, p_row, q, q_row, c, c_row, c_col, row_count, column_count, depth, add)``.

    It computes ``c[i, j] = sum over k of p[i, k] * q[j, k]``, or adds that, for i < row_count <= rows and
    j < column_count <= columns. Strides are in elements; p and q are contiguous along k; nothing else is read or
    written. `depth` may be 0; `add` is a bool. `rows * columns` is at most `lanes` squared.
    """
    pointer = types.CPointer(FLOATS[dtype][1])

    @intrinsic
    def dots(context, p, p_row, q, q_row, c, c_row, c_col, row_count, column_count, depth, add):
        n = types.int64
        signature = types.void(pointer, n, pointer, n, pointer, n, n, n, n, n, types.boolean)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            p, p_row, q, q_row, c, c_row, c_col, row_count, column_count, depth, add = values
            of_p, of_q = (Emitter(builder, dtype, count, 1, lanes) for count in (rows, columns))
            p_rows = of_p.clamped_rows(p, p_row, row_count)
            q_rows = of_q.clamped_rows(q, q_row, column_count)
            sums = _partial_sums(of_p, p_rows, q_rows, depth)
            totals = _added_lanes(builder, sums)
            c_rows = of_p.clamped_rows(c, c_row, row_count)
            _store(of_p, totals, [at for row in c_rows for at in of_q.clamped_rows(row, c_col, column_count)], add)
            return context.get_dummy_value()

        return signature, lower

    return dots


def _partial_sums(emit: Emitter, p_rows: list[Any], q_rows: list[Any], depth: Any) -> list[Any]:
    """For each pair of rows, a vector of sums; the last step masks what lies behind `depth`."""
    builder, lanes, none = emit.builder, emit.lanes, ir.Constant(emit.vector, None)
    whole = builder.and_(depth, ir.Constant(I64, -lanes))
    with counted(builder, ir.Constant(I64, 0), builder.sdiv(whole, ir.Constant(I64, lanes)),
                 [ir.Constant(I64, 0), *[none] * (len(p_rows) * len(q_rows))]) as loop:  # fmt: skip
        k, *sums = loop.values
        following = _fused(emit, p_rows, q_rows, k, None, sums)
        loop.next_values = [builder.add(k, ir.Constant(I64, lanes)), *following]
    sums = loop.results[1:]

    def with_rest() -> list[Any]:
        return _fused(emit, p_rows, q_rows, whole, emit.masks(builder.sub(depth, whole)), sums)

    return emit.changed_if(builder.icmp_signed("<", whole, depth), sums, with_rest, ("dots.rest", "dots.sums"))


def _fused(emit: Emitter, p_rows: list[Any], q_rows: list[Any], k: Any, masks: Any, sums: list[Any]) -> list[Any]:
    """One vector of k for every pair of rows."""
    p, q = (emit.load([emit.builder.gep(row, [k]) for row in group], masks) for group in (p_rows, q_rows))
    products = [(x, y) for x in p for y in q]
    return [emit.fma(x, y, total) for (x, y), total in zip(products, sums, strict=True)]


def _added_lanes(builder: ir.IRBuilder, vectors: list[Any]) -> list[Any]:
    """The sum of each vector's lanes, added in halves; the results are scalars."""
    lanes, count = vectors[0].type.count, len(vectors)
    undefined = ir.Constant(vectors[0].type, ir.Undefined)
    orders = [[place // 2 + first + (place % 2) * lanes for place in range(lanes)] for first in (0, lanes // 2)]
    masks = [ir.Constant(ir.VectorType(I32, lanes), order) for order in orders]
    for _ in range(lanes.bit_length() - 1):  # vector i takes in vector i + n/2, or nothing where it is the only one
        half = (len(vectors) + 1) // 2
        pairs = [(vectors[i], vectors[i + half] if i + half < len(vectors) else undefined) for i in range(half)]
        shuffled = [[builder.shuffle_vector(x, y, mask) for mask in masks] for x, y in pairs]
        vectors = [builder.fadd(low, high) for low, high in shuffled]
    return [_lane_of(builder, vectors, i, count, lanes) for i in range(count)]


def _lane_of(builder: ir.IRBuilder, vectors: list[Any], number: int, count: int, lanes: int) -> Any:
    """Sum `number` of `count`: a round puts i's lanes at even places of vector i, and those of i + n/2 at odd ones."""
    place = 0
    for _ in range(lanes.bit_length() - 1):
        half = (count + 1) // 2
        if number >= half:
            number, place = number - half, 2 * place + 1
        else:
            place = 2 * place
        count = half
    return builder.extract_element(vectors[number], ir.Constant(I32, place))


def _store(emit: Emitter, totals: list[Any], places: list[Any], add: Any) -> None:
    """Write the totals, or add them to what is there; places that occur twice get equal values."""
    builder = emit.builder
    before = builder.block
    adding, store = builder.append_basic_block("dots.add"), builder.append_basic_block("dots.store")
    builder.cbranch(add, adding, store)
    builder.position_at_end(adding)
    held = [builder.load(place) for place in places]
    sums = [builder.fadd(old, total) for old, total in zip(held, totals, strict=True)]
    builder.branch(store)
    builder.position_at_end(store)
    values = [builder.phi(emit.element) for _ in places]
    for value, total, added in zip(values, totals, sums, strict=True):
        value.add_incoming(total, before)
        value.add_incoming(added, adding)
    for value, place in zip(values, places, strict=True):
        builder.store(value, place)
