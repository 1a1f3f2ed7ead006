"""Products of few steps: a strip of B stays in registers while rows of A and C pass by.

With a reduction of a few steps the register tile of :mod:`graphc.codegen.cpu.tiles` hardly begins before it ends: its
pointers, its masks and the loop over k take as long as its multiply-adds. Here there is no loop over k at all::

    b[k, v] = vectors of B, all k of them, some v side by side
    for i in rows:
        t[v] = fma(a[i, k], b[k, v], t[v])          k = 0, 1, ..., depth - 1, written out
        c[i, v] = t[v]                              or c[i, v] + t[v]

Each element is the same chain from zero in the order of k as in the other tiles, so the bits are theirs.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.cpu.tiles import FLOATS, I64, Emitter, counted


def strip(dtype: str, *, depth: int, vectors: int, lanes: int) -> Any:
    """Make the intrinsic ``strip(a, a_row, a_k, b, b_k, c, c_row, rows, columns, add)``.

    It computes ``c[i, j] = sum over k < depth of a[i, k] * b[k, j]``, or adds that, for i < rows and
    j < columns <= vectors * lanes; nothing else is read or written. Strides are in elements, columns contiguous; `add`
    is a bool.
    """
    pointer = types.CPointer(FLOATS[dtype][1])

    @intrinsic
    def strip_of_rows(context, a, a_row, a_k, b, b_k, c, c_row, rows, columns, add):
        n = types.int64
        signature = types.void(pointer, n, n, pointer, n, pointer, n, n, n, types.boolean)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            a, a_row, a_k, b, b_k, c, c_row, rows, columns, add = values
            emit = Emitter(builder, dtype, 1, vectors, lanes)
            masks = emit.masks(columns)
            b_rows = [builder.gep(b, [builder.mul(ir.Constant(I64, k), b_k)]) for k in range(depth)]
            of_b = emit.load(b_rows, masks)
            places = [builder.mul(ir.Constant(I64, k), a_k) for k in range(depth)]

            def over_rows(of_c: list[Any] | None) -> None:
                with counted(builder, ir.Constant(I64, 0), rows, [a, c]) as loop:
                    a_here, c_here = loop.values
                    sums = [ir.Constant(emit.vector, None)] * vectors
                    for k, place in enumerate(places):
                        factor = emit.splat(builder.load(builder.gep(a_here, [place])))
                        of_k = of_b[k * vectors :][:vectors]
                        sums = [emit.fma(factor, x, total) for x, total in zip(of_k, sums, strict=True)]
                    if of_c is not None:
                        held = emit.load([c_here], of_c)
                        added = [builder.fadd(old, total) for old, total in zip(held, sums, strict=True)]
                        sums = [builder.select(add, new, total) for new, total in zip(added, sums, strict=True)]
                    emit.store(sums, [c_here], of_c)
                    loop.next_values = [builder.gep(a_here, [a_row]), builder.gep(c_here, [c_row])]

            whole = builder.icmp_signed("==", columns, ir.Constant(I64, vectors * lanes))
            with builder.if_else(builder.and_(whole, builder.not_(add)), likely=True) as (plain, other):
                with plain:
                    over_rows(None)
                with other:
                    over_rows(masks)
            return context.get_dummy_value()

        return signature, lower

    return strip_of_rows
