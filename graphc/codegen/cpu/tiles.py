"""The register tile of contractions, and how a kernel calls the compiled contraction.

A *tile* computes ``C[rows, width] (+)= A[rows, K] @ B[K, width]`` with all of C in vector registers: for
each k, the vectors of B's row k are loaded once, and each is multiplied by A's element of every row::

    t[i, j] = fma(a[i, k], b[k, j], t[i, j])        k = 0, 1, ..., K - 1
    c[i, j] = t[i, j]                               or c[i, j] + t[i, j]

So **every element of a tile is one chain of fused multiply-adds in the order of k**, whatever the tile's shape and
wherever its rows and columns begin: however the rows and columns of a product are cut into tiles, blocks and
workers, its bits are the same. (Products with hardly any rows or columns have an order of their own, see
:mod:`graphc.codegen.cpu.dots`.) A chain begins at zero and is *added* to what is there, so a long sum is a sum of the
sums of its blocks: its error grows with the length of a block plus the number of blocks, not with their product.

The code is emitted as LLVM IR, where vectors are explicit, rather than left to a vectoriser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)
_LINE_BYTES = 64
_ROWS_A_POINTER = 7  # rows reached from one pointer: x86 adds a stride once, 2, 4 and 8 times by itself
FLOATS = {"float32": (ir.FloatType(), types.float32, 4), "float64": (ir.DoubleType(), types.float64, 8)}


@dataclass(frozen=True)
class _Rows:
    """The rows of A: row ``i`` at ``pointers[i // n] + offsets[i % n]``, n offsets; `step` leads to the next k.

    A pointer a row would need more registers than there are beside the other indices; pointers reloaded from
    the stack cost the tile a tenth of its rate.
    """

    pointers: list[Any]
    offsets: list[Any]
    step: Any


@dataclass(frozen=True)
class _Ahead:
    """What to ask for while a tile is computed: rows of C, and rows of the panel of B that comes next."""

    c: Any
    c_row: Any
    b: Any
    b_row: Any
    wanted: Any


class _Loop:
    """A loop being emitted: `values` inside it, to be given `next_values`; `results` behind it."""

    values: list[Any]
    next_values: list[Any]
    results: list[Any]
    again: Any


@contextmanager
def _repeated(builder: ir.IRBuilder, starts: list[Any]) -> Iterator[_Loop]:
    """A loop that runs once and then while `again` holds; its results are the last `next_values`."""
    before, body, done = builder.block, *(builder.append_basic_block(name) for name in ("tile.piece", "tile.sums"))
    builder.branch(body)
    builder.position_at_end(body)
    loop = _Loop()
    loop.values = [builder.phi(start.type) for start in starts]
    yield loop
    for phi, start, following in zip(loop.values, starts, loop.next_values, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(following, builder.block)
    loop.results = loop.next_values
    builder.cbranch(loop.again, body, done)
    builder.position_at_end(done)


@contextmanager
def counted(builder: ir.IRBuilder, first: Any, last: Any, starts: list[Any]) -> Iterator[_Loop]:
    """A loop over first, ..., last - 1, perhaps none."""
    before, head, body, done = builder.block, *(builder.append_basic_block(f"tile.{x}") for x in ("k", "step", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    loop = _Loop()
    k, *loop.values = (builder.phi(start.type) for start in (first, *starts))
    builder.cbranch(builder.icmp_signed("<", k, last), body, done)
    builder.position_at_end(body)
    yield loop
    following = [builder.add(k, ir.Constant(I64, 1)), *loop.next_values]
    for phi, start, next_ in zip((k, *loop.values), (first, *starts), following, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(next_, builder.block)
    loop.results = loop.values
    builder.branch(head)
    builder.position_at_end(done)


class Emitter:
    """Emits one tile at the builder's position."""

    def __init__(self, builder: ir.IRBuilder, dtype: str, rows: int, vectors: int, lanes: int):
        self.builder, self.rows, self.vectors, self.lanes = builder, rows, vectors, lanes
        self.element, _, self.align = FLOATS[dtype]
        self.vector = ir.VectorType(self.element, lanes)
        self.suffix = f"v{lanes}f{self.align * 8}"

    def _function(self, name: str, result: Any, arguments: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """``x * y + z``, rounded once, of each lane."""
        function = self._function(f"llvm.fma.{self.suffix}", self.vector, [self.vector] * 3)
        return self.builder.call(function, [x, y, z])

    def _at(self, pointer: Any, index: Any) -> Any:
        return self.builder.gep(pointer, [index])

    def _vector_at(self, pointer: Any, number: int) -> Any:
        """Pointer to the `number`-th vector behind `pointer`."""
        place = self._at(pointer, ir.Constant(I64, number * self.lanes))
        return self.builder.bitcast(place, self.vector.as_pointer())

    def clamped_rows(self, first: Any, stride: Any, count: Any) -> list[Any]:
        """Pointers to the rows; rows from `count` on repeat the last one."""
        builder, rows = self.builder, [first]
        for i in range(1, self.rows):
            exists = builder.icmp_signed("<", ir.Constant(I64, i), count)
            rows.append(self._at(rows[-1], builder.select(exists, stride, ir.Constant(I64, 0))))
        return rows

    def strided_rows(self, first: Any, stride: Any, step: Any) -> _Rows:
        """All rows of A, few pointers."""
        multiples = [self.builder.mul(ir.Constant(I64, i), stride) for i in range(self.rows)]
        group = min(self.rows, _ROWS_A_POINTER)
        return _Rows([self._at(first, offset) for offset in multiples[::group]], multiples[:group], step)

    def clamped_offsets(self, first: Any, stride: Any, count: Any, step: Any) -> _Rows:
        """All rows of A from one pointer; rows from `count` on repeat the last one."""
        builder, last = self.builder, self.builder.sub(count, ir.Constant(I64, 1))
        offsets = [ir.Constant(I64, 0)]
        for i in range(1, self.rows):
            row = ir.Constant(I64, i)
            row = builder.select(builder.icmp_signed("<", last, row), last, row)
            offsets.append(builder.mul(row, stride))
        return _Rows([first], offsets, step)

    def masks(self, columns: Any) -> list[Any]:
        """For each vector, which of its lanes lie before `columns`."""
        numbers = ir.VectorType(I32, self.lanes)
        limit = self._splat(self.builder.trunc(columns, I32), numbers)
        starts = range(0, self.vectors * self.lanes, self.lanes)
        lane_numbers = [ir.Constant(numbers, list(range(start, start + self.lanes))) for start in starts]
        return [self.builder.icmp_signed("<", of_vector, limit) for of_vector in lane_numbers]

    def splat(self, value: Any) -> Any:
        """A vector of one element."""
        return self._splat(value, self.vector)

    def _splat(self, value: Any, kind: ir.VectorType) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        single = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(single, undefined, ir.Constant(ir.VectorType(I32, self.lanes), None))

    def load(self, rows: list[Any], masks: list[Any] | None) -> list[Any]:
        """All vectors of some rows, row after row; with `masks`, lanes outside read as 0 and are not touched.

        A mask of None stands for a whole vector.
        """
        places = [self._vector_at(row, v) for row in rows for v in range(self.vectors)]
        masks = masks or [None] * self.vectors
        mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        function = self._function(
            f"llvm.masked.load.{self.suffix}.p0", self.vector, [self.vector.as_pointer(), I32, mask_type, self.vector]
        )
        align, zero = ir.Constant(I32, self.align), ir.Constant(self.vector, None)
        return [
            self.builder.load(place, align=self.align)
            if masks[number % self.vectors] is None
            else self.builder.call(function, [place, align, masks[number % self.vectors], zero])
            for number, place in enumerate(places)
        ]

    def changed_if(
        self, condition: Any, values: list[Any], change: Callable[[], list[Any]], names: tuple[str, str]
    ) -> list[Any]:
        """Vectors as they are, or as ``change()`` makes them in a block that runs if a condition holds.

        The names are those of that block and of the one behind it.
        """
        builder = self.builder
        before, inside, behind = builder.block, *(builder.append_basic_block(name) for name in names)
        builder.cbranch(condition, inside, behind)
        builder.position_at_end(inside)
        changed = change()
        builder.branch(behind)
        builder.position_at_end(behind)
        results = []
        for value, other in zip(values, changed, strict=True):
            result = builder.phi(self.vector)
            result.add_incoming(value, before)
            result.add_incoming(other, inside)
            results.append(result)
        return results

    def store(self, values: list[Any], rows: list[Any], masks: list[Any] | None) -> None:
        """Write all vectors of some rows; with `masks`, lanes outside are not touched."""
        places = [self._vector_at(row, v) for row in rows for v in range(self.vectors)]
        masks = masks or [None] * self.vectors
        mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        arguments = [self.vector, self.vector.as_pointer(), I32, mask_type]
        function = self._function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), arguments)
        align = ir.Constant(I32, self.align)
        for number, (value, place) in enumerate(zip(values, places, strict=True)):
            if masks[number % self.vectors] is None:
                self.builder.store(value, place, align=self.align)
            else:
                self.builder.call(function, [value, place, align, masks[number % self.vectors]])

    def prefetch(self, place: Any, *, to_write: bool, level: int) -> None:
        """Ask for the cache lines of one row of the tile at `place`; `level` is LLVM's locality (3: L1, 2: L2)."""
        byte = ir.IntType(8).as_pointer()
        function = self._function("llvm.prefetch.p0", ir.VoidType(), [byte, I32, I32, I32])
        width = self.vectors * self.lanes
        kind = [ir.Constant(I32, int(to_write)), ir.Constant(I32, level), ir.Constant(I32, 1)]
        for column in [*range(0, width, _LINE_BYTES // self.align), width - 1]:
            line = self.builder.bitcast(self._at(place, ir.Constant(I64, column)), byte)
            self.builder.call(function, [line, *kind])

    def multiply(
        self, a_rows: _Rows, b: Any, b_k: Any, depth: Any, ahead: _Ahead | None, masks: list[Any] | None
    ) -> list[Any]:
        """The chains of multiply-adds over k, from zero.

        The loop over k runs in as many pieces as the tile has rows. Between two of them the lines that are wanted
        later are asked for, one row of C and one row of `ahead` at a time: asked for all at once, they
        would occupy every line buffer of L1 while the tile's own operands wait.
        """
        builder = self.builder
        zero, one, none = ir.Constant(I64, 0), ir.Constant(I64, 1), ir.Constant(self.vector, None)
        piece = depth
        if ahead is not None:
            in_pieces = builder.add(builder.udiv(depth, ir.Constant(I64, self.rows)), one)
            piece = builder.select(ahead.wanted, in_pieces, depth)
        starts = [b, *a_rows.pointers, *[none] * (self.rows * self.vectors)]
        with _repeated(builder, [zero, *([] if ahead is None else [ahead.c, ahead.b]), *starts]) as outer:
            k, *lines = outer.values[: len(outer.values) - len(starts)]
            if ahead is not None:
                self.prefetch(lines[0], to_write=True, level=3)
                self.prefetch(lines[1], to_write=False, level=2)
                lines = [self._at(lines[0], ahead.c_row), self._at(lines[1], ahead.b_row)]
            end = builder.add(k, piece)
            end = builder.select(builder.icmp_signed("<", depth, end), depth, end)
            with counted(builder, k, end, outer.values[-len(starts) :]) as inner:
                inner.next_values = self._step(a_rows, b_k, masks, inner.values)
            outer.next_values = [end, *lines, *inner.results]
            outer.again = builder.icmp_signed("<", end, depth)
        return outer.results[-self.rows * self.vectors :]

    def _step(self, a_rows: _Rows, b_k: Any, masks: list[Any] | None, values: list[Any]) -> list[Any]:
        """One k: from pointers into B and A and the sums, those of the next k."""
        builder = self.builder
        b_row, *pointers = values[: 1 + len(a_rows.pointers)]
        sums = values[1 + len(pointers) :]
        vectors = self.load([b_row], masks)
        following = []
        for i in range(self.rows):
            place = self._at(pointers[i // len(a_rows.offsets)], a_rows.offsets[i % len(a_rows.offsets)])
            factor = self.splat(builder.load(place))
            of_row = sums[i * self.vectors :][: self.vectors]
            following += [self.fma(factor, x, total) for x, total in zip(vectors, of_row, strict=True)]
        return [self._at(b_row, b_k), *(self._at(pointer, a_rows.step) for pointer in pointers), *following]


def tile(dtype: str, *, rows: int, vectors: int, lanes: int, clamped: bool = False, masked: int = 0) -> Any:
    """Make the intrinsic of one tile shape.

    ``tile(a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add, ahead, ahead_row, asks)`` computes the first
    `count` rows and `columns` columns of a tile. Strides are in elements; columns of B and C are contiguous.

    - A is read at ``a + i * a_row + k * a_k`` for **every** row i of the tile: a lower A repeats its last row. A
      `clamped` tile reads i < count only.
    - B is read at ``b + k * b_k + j`` for **every** j of the tile's width: a narrower B is padded by its owner. A
      `masked` tile reads j < columns only, and its vectors but the last `masked` are within them.
    - C is touched at ``c + i * c_row + j`` for i < count, j < columns only.
    - `depth` may be 0; `add` (bool) adds to what C holds instead of replacing it.
    - ``ahead + i * ahead_row`` for i < rows, the width of the tile each, and C are asked for from memory if `asks`. The
      former may lie anywhere.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    rows, vectors, lanes : int
        The tile has `rows` rows and `vectors * lanes` columns.
    clamped : bool, default False
        Read only the rows of A that exist, and ask for nothing ahead.
    masked : int, default 0
        Read only the columns of B that exist, which may end in any of the last so many vectors: for processors whose
        masked loads cost hardly more than others.

    Returns
    -------
    numba intrinsic
    """
    pointer = types.CPointer(FLOATS[dtype][1])

    @intrinsic
    def register_tile(context, a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add, ahead, ahead_row, asks):
        n = types.int64
        signature = types.void(pointer, n, n, pointer, n, pointer, n, n, n, n, types.boolean, pointer, n, types.boolean)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            _emit_tile(Emitter(builder, dtype, rows, vectors, lanes), values, clamped, masked)
            return context.get_dummy_value()

        return signature, lower

    return register_tile


def _emit_tile(emit: Emitter, arguments: Any, clamped: bool, masked: int) -> None:
    """The instructions of a tile: multiply, add what C holds, store."""
    a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add, ahead, ahead_row, asks = arguments
    builder, vectors = emit.builder, emit.vectors
    masks = emit.masks(columns)
    if masked:
        masks = [None] * (vectors - masked) + masks[vectors - masked :]
    of_b = masks if masked else None
    if clamped:
        a_rows = emit.clamped_offsets(a, a_row, count, a_k)
        sums = emit.multiply(a_rows, b, b_k, depth, None, of_b)
    else:
        a_rows = emit.strided_rows(a, a_row, a_k)
        sums = emit.multiply(a_rows, b, b_k, depth, _Ahead(c, c_row, ahead, ahead_row, asks), of_b)
    c_rows = emit.clamped_rows(c, c_row, count)
    whole = builder.icmp_signed("==", columns, ir.Constant(I64, vectors * emit.lanes))
    sums = _added(emit, sums, c_rows, masks, add)
    with builder.if_else(whole, likely=True) as (full, partial):
        with full:
            emit.store(sums, c_rows, None)
        with partial:
            emit.store(sums, c_rows, masks)


def _added(emit: Emitter, sums: list[Any], c_rows: list[Any], masks: list[Any], add: Any) -> list[Any]:
    """The sums, with what C holds where `add` is set: once a block of k, so masks for whole tiles, too, cost little."""

    def added() -> list[Any]:
        return [emit.builder.fadd(held, total) for held, total in zip(emit.load(c_rows, masks), sums, strict=True)]

    return emit.changed_if(add, sums, added, ("tile.add", "tile.store"))


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
