"""The register tile of contractions, and how a kernel calls the compiled contraction.

A *tile* computes ``C[rows, width] (+)= A[rows, K] @ B[K, width]`` with all of C in vector registers: for
each k, the vectors of B's row k are loaded once, and each is multiplied by A's element of every row::

    t[i, j] = fma(a[i, k], b[k, j], t[i, j])        k = 0, 1, ..., K - 1
    c[i, j] = t[i, j]                               or c[i, j] + t[i, j]

So **every element is one chain of fused multiply-adds in the order of k**, whatever the tile's shape and
wherever its rows and columns begin: however the rows and columns of a product are cut into tiles, blocks and
workers, its bits are the same. A chain begins at zero and is *added* to what is there, so a long sum is a sum of the
sums of its blocks: its error grows with the length of a block plus the number of blocks, not with their product.

The code is emitted as LLVM IR, where vectors are explicit, rather than left to a vectoriser.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_FLOATS = {"float32": (ir.FloatType(), types.float32, 4), "float64": (ir.DoubleType(), types.float64, 8)}


class _Tile:
    """Emits one tile at the builder's position."""

    def __init__(self, builder: ir.IRBuilder, dtype: str, rows: int, vectors: int, lanes: int):
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.element, _, self.align = _FLOATS[dtype]
        self.vector = ir.VectorType(self.element, lanes)
        self.suffix = f"v{lanes}f{self.align * 8}"

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def _at(self, pointer: Any, index: Any) -> Any:
        return self.builder.gep(pointer, [index])

    def _vector_at(self, pointer: Any, number: int) -> Any:
        """Pointer to the `number`-th vector behind `pointer`."""
        place = self._at(pointer, ir.Constant(_I64, number * self.lanes))
        return self.builder.bitcast(place, self.vector.as_pointer())

    def row_offsets(self, count: Any, stride: Any, clamped: bool) -> list[Any]:
        """Element offsets of the rows; rows from `count` on repeat the last one where the tile is clamped."""
        last = self.builder.sub(count, ir.Constant(_I64, 1))
        offsets = []
        for i in range(self.rows):
            row = ir.Constant(_I64, i)
            if clamped and i > 0:
                row = self.builder.select(self.builder.icmp_signed("<", last, row), last, row)
            offsets.append(self.builder.mul(row, stride))
        return offsets

    def masks(self, columns: Any) -> list[Any]:
        """For each vector, which of its lanes lie before `columns`."""
        numbers = ir.VectorType(_I64, self.lanes)
        limit = self._splat(columns, numbers)
        starts = range(0, self.vectors * self.lanes, self.lanes)
        lane_numbers = [ir.Constant(numbers, list(range(start, start + self.lanes))) for start in starts]
        return [self.builder.icmp_signed("<", of_vector, limit) for of_vector in lane_numbers]

    def _splat(self, value: Any, kind: ir.VectorType) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(_I32, self.lanes), None))

    def load(self, rows: list[Any], masks: list[Any] | None) -> list[Any]:
        """All vectors of C, row after row; with `masks`, lanes outside read as 0 and are not touched."""
        places = [self._vector_at(row, v) for row in rows for v in range(self.vectors)]
        if masks is None:
            return [self.builder.load(place, align=self.align) for place in places]
        mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        function = self._function(
            f"llvm.masked.load.{self.suffix}.p0", self.vector, [self.vector.as_pointer(), _I32, mask_type, self.vector]
        )
        align, zero = ir.Constant(_I32, self.align), ir.Constant(self.vector, None)
        return [
            self.builder.call(function, [place, align, masks[number % self.vectors], zero])
            for number, place in enumerate(places)
        ]

    def store(self, values: list[Any], rows: list[Any], masks: list[Any] | None) -> None:
        """Write all vectors of C; with `masks`, lanes outside are not touched."""
        places = [self._vector_at(row, v) for row in rows for v in range(self.vectors)]
        if masks is None:
            for value, place in zip(values, places, strict=True):
                self.builder.store(value, place, align=self.align)
            return
        mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        arguments = [self.vector, self.vector.as_pointer(), _I32, mask_type]
        function = self._function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), arguments)
        align = ir.Constant(_I32, self.align)
        for number, (value, place) in enumerate(zip(values, places, strict=True)):
            self.builder.call(function, [value, place, align, masks[number % self.vectors]])

    def multiply(self, a_rows: list[Any], a_k: Any, b: Any, b_k: Any, depth: Any) -> list[Any]:
        """The chains of multiply-adds over k, from zero; a loop that may run zero times."""
        builder = self.builder
        fma = self._function(f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3)
        before = builder.block
        head, body, done = (builder.append_basic_block(name) for name in ("tile.k", "tile.step", "tile.done"))
        builder.branch(head)
        builder.position_at_end(head)
        k, a_offset, b_offset = (builder.phi(_I64) for _ in range(3))
        sums = [builder.phi(self.vector) for _ in range(self.rows * self.vectors)]
        builder.cbranch(builder.icmp_signed("<", k, depth), body, done)
        builder.position_at_end(body)
        b_row = self._at(b, b_offset)
        vectors = [builder.load(self._vector_at(b_row, v), align=self.align) for v in range(self.vectors)]
        following = []
        for i, row in enumerate(a_rows):
            factor = self._splat(builder.load(self._at(row, a_offset)), self.vector)
            of_row = sums[i * self.vectors :][: self.vectors]
            following += [builder.call(fma, [factor, x, total]) for x, total in zip(vectors, of_row, strict=True)]
        steps = ((k, ir.Constant(_I64, 1)), (a_offset, a_k), (b_offset, b_k))
        for index, step in steps:
            index.add_incoming(ir.Constant(_I64, 0), before)
            index.add_incoming(builder.add(index, step), body)
        for total, next_ in zip(sums, following, strict=True):
            total.add_incoming(ir.Constant(self.vector, None), before)
            total.add_incoming(next_, body)
        builder.branch(head)
        builder.position_at_end(done)
        return list(sums)


def tile(dtype: str, *, rows: int, vectors: int, lanes: int, clamped: bool = False) -> Any:
    """Make the intrinsic of one tile shape.

    ``tile(a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add)`` computes the first `count` rows and
    `columns` columns of a tile. Strides are in elements; columns of B and C are contiguous.

    - A is read at ``a + i * a_row + k * a_k`` for i < count.
    - B is read at ``b + k * b_k + j`` for **every** j of the tile's width: a narrower B is padded by its owner.
    - C is touched at ``c + i * c_row + j`` for i < count, j < columns only.
    - `depth` may be 0; `add` (bool) adds to what C holds instead of replacing it.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    rows, vectors, lanes : int
        The tile has `rows` rows and `vectors * lanes` columns.
    clamped : bool, default False
        Allow ``count < rows``: the last row is then computed several times, to the same bits. Otherwise
        `count` must equal `rows`.

    Returns
    -------
    numba intrinsic
    """
    pointer = types.CPointer(_FLOATS[dtype][1])

    @intrinsic
    def register_tile(context, a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add):
        n = types.int64
        signature = types.void(pointer, n, n, pointer, n, pointer, n, n, n, n, types.boolean)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add = values
            emit = _Tile(builder, dtype, rows, vectors, lanes)
            a_rows = [builder.gep(a, [offset]) for offset in emit.row_offsets(count, a_row, clamped)]
            c_rows = [builder.gep(c, [offset]) for offset in emit.row_offsets(count, c_row, clamped)]
            masks = emit.masks(columns)
            whole = builder.icmp_signed("==", columns, ir.Constant(_I64, vectors * lanes))
            values = emit.multiply(a_rows, a_k, b, b_k, depth)
            values = _added(emit, values, c_rows, masks, whole, add)
            with builder.if_else(whole, likely=True) as (full, partial):
                with full:
                    emit.store(values, c_rows, None)
                with partial:
                    emit.store(values, c_rows, masks)
            return context.get_dummy_value()

        return signature, lower

    return register_tile


def _added(emit: _Tile, sums: list[Any], c_rows: list[Any], masks: list[Any], whole: Any, add: Any) -> list[Any]:
    """The sums, with what C holds where `add` is set."""
    builder = emit.builder
    entry = builder.block
    names = ("tile.add", "tile.whole", "tile.part", "tile.store")
    adding, full, partial, ready = (builder.append_basic_block(name) for name in names)
    builder.cbranch(add, adding, ready)
    builder.position_at_end(adding)
    builder.cbranch(whole, full, partial)
    builder.position_at_end(full)
    in_full = [builder.fadd(held, total) for held, total in zip(emit.load(c_rows, None), sums, strict=True)]
    builder.branch(ready)
    builder.position_at_end(partial)
    in_part = [builder.fadd(held, total) for held, total in zip(emit.load(c_rows, masks), sums, strict=True)]
    builder.branch(ready)
    builder.position_at_end(ready)
    results = []
    for total, loaded, masked in zip(sums, in_full, in_part, strict=True):
        value = builder.phi(emit.vector)
        value.add_incoming(total, entry)
        value.add_incoming(loaded, full)
        value.add_incoming(masked, partial)
        results.append(value)
    return results


@intrinsic
def contract(context, address, a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    """Call the compiled contraction at `address`: ``C[M, N] = A[M, K] @ B[K, N]``, or ``+=`` with `accumulate`.

    The arguments behind `address` are those of the source that
    :func:`graphc.codegen.cpu.contraction.source` prints; integers of any width are widened to int64.
    """
    given = (address, a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate)
    signature = types.void(*(t if isinstance(t, types.CPointer) else types.int64 for t in given))

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = [context.get_value_type(t) for t in signature.args[1:]]
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        builder.call(function, values[1:])
        return context.get_dummy_value()

    return signature, lower
