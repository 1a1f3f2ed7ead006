"""Matrix products of any size and strides, compiled once a dtype and tile and called by address.

``C[M, N] = A[M, K] @ B[K, N]`` is blocked for the caches around one register tile
(:mod:`graphc.codegen.cpu.tiles`)::

    for k0 in blocks of K:                  a block of B's rows
        for i0 in blocks of M:              a block of A that stays in L2
            for j in tiles of N:            a panel of B, B[k0:, j:], that stays in L2
                for i in tiles of M:        one register tile, added to C after the first k0

Operands are read in place where that is fast. They are copied (:mod:`graphc.codegen.cpu.panels`) where it is not:

- a panel of B, to the stack, if its columns are strided, or if its rows lie a multiple of 4 KiB apart (they would share
  one set of L1) and many tiles read it; also if it is narrower than a tile;
- a block of A, if its rows, or its columns where these are contiguous, lie a multiple of 4 KiB apart; it goes to the
  stack, too, so threads need one of more than 1 MiB (:mod:`graphc.runtime.stacks`).

Products of few rows or columns have tiles of their own or are dot products (:mod:`graphc.codegen.cpu.dots`), those of
few steps have strips (:mod:`graphc.codegen.cpu.shallow`); :mod:`graphc.codegen.cpu.variants` chooses. What follows is
the general contraction.

Two tile shapes serve every M and N: the full one, and a low one; where the number of columns is known, a third, half
as wide, may serve the last ones. A rest of rows that is worth a full tile is copied with its last row repeated. The
full tile loads B without masks, which would cost it one step in thirty; the low one has them where they exist, and
serves panels that are narrow and that few tiles read.

While a tile of a large C (a block of it, perhaps: its rows' stride says) is computed, the lines of C that it will end
in and the next panel of B are asked for (prefetched).

Each element is a chain of multiply-adds in the order of k for every block of K, and the sum of these in order; the
blocks of K follow from K alone, all but the last of one size, so no cut of M and N into blocks, tiles or workers
changes a bit (see :mod:`graphc.codegen.cpu.tiles`).

A tile is expensive to compile, so kernels do not contain it: the contraction is one more cached object
with a signature of its own, and a kernel calls it through its address, which it gets as one more entry
of `buffers`::

    from graphc.codegen.cpu.tiles import contract
    ...
    product0 = address(pointer_uint8(buffers, 3))
    ...
    contract(product0, a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, 0)

What transposes a block of an operand for maps (:mod:`graphc.codegen.cpu.turns`) is such an object, too.

Tile sizes are a function of the processor alone and stand in the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from graphc.codegen.cpu import jit, machine
from graphc.codegen.cpu.variants import (
    CONFLICT_BYTES,
    DOTS,
    EDGE,
    FEW,
    FEW_COLUMNS,
    ITEM_BYTES,
    TURN,
    FewTile,
    few_of,
    steps_of,
    strip_vectors,
    tile_shape,
)
from graphc.errors import CompileError

_DEPTH_UNIT = 16  # panels but the last are whole vectors deep, whatever the processor
_DOTS_DEPTH = 2048  # places of k in a block of dot products: what is copied of B stays in L1 or L2
_MANY_TILES = 10  # tiles that share a panel of B for whose sake it is copied out of one set of L1
_ASKING_DEPTH = 24  # in fewer steps nothing that is asked for arrives
_ASKING_BYTES = 128 * 1024  # a smaller C is in L2 already
_SQUARE_BYTES = 32  # a side of the squares that are turned, where vectors are as long
_TURNED_DEPTH = 64  # steps of a panel that are turned together: they stay in L1 until each of their lines is whole
_FEW_TILES = 3  # tiles for whose sake a panel of few columns is not worth a copy
_LINES_AHEAD = 4  # rows or columns of A that are on their way from L3 while one is copied


def signature(name: str) -> str:
    """The C signature of the compiled function of that name, in Numba's notation."""
    dtype, _, kind = name.partition("_")
    p, n = f"CPointer({dtype})", "int64"
    if kind == TURN[1:]:
        return f"void({p}, {n}, {p}, {n}, {n}, {n})"
    return f"void({p}, {n}, {n}, {p}, {n}, {n}, {p}, {n}, {n}, {n}, {n}, {n})"


_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}); accumulate != 0 adds to C instead. Strides are in elements."""
from graphc.codegen.cpu.intrinsics import load, minimum_int, offset, stack_{dtype}, store
from graphc.codegen.cpu.panels import copier, transposer
from graphc.codegen.cpu.tiles import tile

full_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes})
low_tile = tile("{dtype}", rows={low_rows}, vectors={vectors}, lanes={lanes}, clamped=True, masked={masked})
{narrow_tile}copy = copier("{dtype}", vectors={vectors}, lanes={lanes})
transpose = transposer("{dtype}", side={side})
UNROLLED = True  # the tiles are


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    panel = stack_{dtype}({panel})
    block = stack_{dtype}({block})
    if N == 1 and c_row == 1:  # a column vector: its transpose is a row of vectors
        a, a_row, a_k, b, b_k, b_col = b, b_col, b_k, a, a_k, a_row
        M, N = N, M
    step = {depth}
    if K > {depth}:
        pieces = (K + {depth} - 1) // {depth}
        step = ((K + pieces - 1) // pieces + {unit} - 1) // {unit} * {unit}
    by_rows = a_k == 1
    conflicts = a_row % {conflict} == 0 if by_rows else a_row == 1 and a_k % {conflict} == 0
    copies_a = conflicts and M > {low_rows}
    copies_b = b_k % {conflict} == 0 and M > {many_rows}
    k0 = 0
    while True:
        depth = minimum_int(K - k0, step)
        add = accumulate != 0 or k0 > 0
        asks = depth >= {asking_depth} and M * c_row >= {asking_size}
        for i0 in range(0, M, {block_rows}):
            rows = minimum_int(M - i0, {block_rows})
            whole = rows // {rows} * {rows}
            by_full_tiles = rows if rows - whole > {low_limit} and by_rows else whole
            copied = rows  # rows from here on are in `block`
            first_a = offset(a, i0 * a_row + k0 * a_k)
            if copies_a or by_full_tiles > whole:
                copied = 0 if copies_a else whole
                lines, length, apart, pitch = depth, rows, a_k, {column_pitch}
                if by_rows:
                    lines, length, apart, pitch = rows - copied, depth, a_row, {pitch}
                first = offset(first_a, copied * a_row)
                for i in range((lines + {rows} - 1) // {rows} * {rows} if by_rows else lines):
                    line, to = offset(first, minimum_int(i, lines - 1) * apart), offset(block, i * pitch)
                    for l in range(0, length, {width}):
                        some = minimum_int(length - l, {width})
                        copy(offset(line, l), 0, offset(to, l), 0, 1, some, {lines_ahead} * apart)
            for j in range(0, N, {width}):
                columns = minimum_int(N - j, {width})
                by_low_tiles = {masked} > 0 and {narrow} < columns < {width} and b_col == 1 and rows <= {few_rows}
                rows_of_b, row_stride = offset(b, k0 * b_k + j * b_col), b_k
                ahead, ahead_row, ahead_step = offset(rows_of_b, {width} * b_col), b_k, {rows} * b_k
                if b_k == 1 and b_col != 1:
                    ahead_row, ahead_step = (depth + {rows} - 1) // {rows}, b_col
                    for first_k in range(0, depth, {turned_depth}):
                        for l in range(0, columns, {side}):
                            for k in range(first_k, minimum_int(first_k + {turned_depth}, depth), {side}):
                                to = offset(panel, k * {width} + l)
                                transpose(offset(rows_of_b, k + l * b_col), b_col, to, {width}, columns - l, depth - k)
                    rows_of_b, row_stride = panel, {width}
                elif b_col != 1:
                    for k in range(depth):
                        for l in range({width}):
                            place = k * b_k + minimum_int(l, columns - 1) * b_col
                            store(panel, k * {width} + l, load(rows_of_b, place))
                    rows_of_b, row_stride = panel, {width}
                elif copies_b or ({least_copied} < columns < {width} and not by_low_tiles):
                    copy(rows_of_b, b_k, panel, {width}, depth, columns, 0)
                    rows_of_b, row_stride = panel, {width}
                i = 0
                while i < rows:
                    rows_of_a, stride, k_stride = offset(first_a, i * a_row), a_row, a_k
                    if i >= copied:
                        rows_of_a, stride, k_stride = offset(block, i - copied), 1, {column_pitch}
                        if by_rows:
                            rows_of_a, stride, k_stride = offset(block, (i - copied) * {pitch}), {pitch}, 1
                    to = offset(c, (i0 + i) * c_row + j)
{narrow_call}if i < by_full_tiles and not by_low_tiles:
                        full_tile(rows_of_a, stride, k_stride, rows_of_b, row_stride, to, c_row,
                                  minimum_int(rows - i, {rows}), columns, depth, add, ahead, ahead_row, asks)
                        ahead = offset(ahead, ahead_step)
                        i += {rows}
                    else:
                        low_tile(rows_of_a, stride, k_stride, rows_of_b, row_stride, to, c_row,
                                 minimum_int(rows - i, {low_rows}), columns, depth, add, ahead, ahead_row, asks)
                        i += {low_rows}
        k0 += step
        if k0 >= K:
            break
'''


_NARROW_TILE = 'narrow_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes}, masked={masked})\n'
_NARROW_CALL = """\
if i < by_full_tiles and columns <= {width}:
                        narrow_tile(rows_of_a, stride, k_stride, rows_of_b, row_stride, to, c_row,
                                    minimum_int(rows - i, {rows}), columns, depth, add, ahead, ahead_row, asks)
                        i += {rows}
                    el"""


def _general_source(dtype: str, columns: int = 0) -> str:
    """The source of the general contraction of `dtype` for this machine.

    Of a known number of columns, those that the full tile leaves have a tile of half its width if they fit in.
    """
    shape, size, masks = tile_shape(dtype), ITEM_BYTES[dtype], machine.host().has_masks
    half = shape.vectors // 2
    narrow = half * shape.lanes if 0 < columns % shape.width <= half * shape.lanes else 0
    of_narrow = {"dtype": dtype, "rows": shape.rows, "vectors": half, "lanes": shape.lanes, "width": narrow,
                 "masked": half * masks}  # fmt: skip
    width, pitch = shape.width, shape.depth + shape.width
    column_pitch = (shape.block_rows // width + 1 | 1) * width  # odd, so that columns spread over all sets of L1
    return _SOURCE.format(
        dtype=dtype, rows=shape.rows, vectors=shape.vectors, lanes=shape.lanes, low_rows=shape.low_rows,
        low_limit=2 * shape.low_rows, depth=shape.depth, unit=_DEPTH_UNIT, block_rows=shape.block_rows,
        width=width, pitch=pitch, column_pitch=column_pitch, panel=shape.depth * width,
        block=max(shape.block_rows * pitch, shape.depth * column_pitch),
        narrow=narrow, least_copied=narrow * masks,
        narrow_tile=_NARROW_TILE.format(**of_narrow) if narrow else "",
        narrow_call=" " * 20 + (_NARROW_CALL.format(**of_narrow) if narrow else ""),
        masked=shape.vectors * masks, conflict=CONFLICT_BYTES // size,
        asking_depth=_ASKING_DEPTH, asking_size=_ASKING_BYTES // size, lines_ahead=_LINES_AHEAD,
        turned_depth=_TURNED_DEPTH, many_rows=_MANY_TILES * shape.rows, few_rows=_FEW_TILES * shape.rows,
        side=min(shape.lanes, _SQUARE_BYTES // size),
    )  # fmt: skip


_DOTS_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}) by dot products, for few columns or rows; A's rows are contiguous."""
from graphc.codegen.cpu.dots import dot_tile
from graphc.codegen.cpu.intrinsics import load, minimum_int, offset, stack_{dtype}, store

dots = dot_tile("{dtype}", rows={rows}, columns={columns}, lanes={lanes})
UNROLLED = True  # the tiles are


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    columns = stack_{dtype}({copy})
    c_col = 1
    # The longer side gives the rows: C's transpose is that of B times that of A. A block may have fewer rows than
    # columns though its product has more; then the rows are what is contiguous.
    if a_k != 1 or (M < N and b_k == 1):
        a, a_row, a_k, b, b_k, b_col = b, b_col, b_k, a, a_k, a_row
        M, N, c_row, c_col = N, M, c_col, c_row
    k0 = 0
    while True:
        depth = minimum_int(K - k0, {depth})
        add = accumulate != 0 or k0 > 0
        rows_of_a, columns_of_b, stride = offset(a, k0), offset(b, k0 * b_k), b_col
        if b_k != 1:
            for j in range(N):
                for k in range(depth):
                    store(columns, j * {depth} + k, load(columns_of_b, k * b_k + j * b_col))
            columns_of_b, stride = columns, {depth}
        for i in range(0, M, {rows}):
            for j in range(0, N, {columns}):
                place = offset(c, i * c_row + j * c_col)
                dots(offset(rows_of_a, i * a_row), a_row, offset(columns_of_b, j * stride), stride,
                     place, c_row, c_col, minimum_int(M - i, {rows}), minimum_int(N - j, {columns}), depth, add)
        k0 += {depth}
        if k0 >= K:
            break
'''

_SHALLOW_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}) for K = {depth}, in strips of {width} columns; B's rows are contiguous."""
from graphc.codegen.cpu.intrinsics import minimum_int, offset
from graphc.codegen.cpu.shallow import strip

strip_of_rows = strip("{dtype}", depth={depth}, vectors={vectors}, lanes={lanes})


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    for j in range(0, N, {width}):
        strip_of_rows(a, a_row, a_k, offset(b, j), b_k, offset(c, j), c_row, M, minimum_int(N - j, {width}),
                      accumulate != 0)
'''

_FEW_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}) in tiles of {rows} x {width}, nothing copied; B's rows are contiguous."""
from graphc.codegen.cpu.intrinsics import minimum_int, offset, stack_{dtype}
from graphc.codegen.cpu.panels import copier
from graphc.codegen.cpu.tiles import tile

whole_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes}, clamped=True)
part_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes}, clamped=True, masked={masked})
copy = copier("{dtype}", vectors={vectors}, lanes={lanes})
UNROLLED = True  # the tiles are


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    panel = stack_{dtype}({panel})
    step = {depth}
    if K > {depth}:
        pieces = (K + {depth} - 1) // {depth}
        step = ((K + pieces - 1) // pieces + {unit} - 1) // {unit} * {unit}
    k0 = 0
    while True:
        depth = minimum_int(K - k0, step)
        add = accumulate != 0 or k0 > 0
        for j in range(0, N, {width}):
            columns = minimum_int(N - j, {width})
            rows_of_a, rows_of_b, stride = offset(a, k0 * a_k), offset(b, k0 * b_k + j), b_k
            if {copies} and columns < {width}:
                copy(rows_of_b, b_k, panel, {width}, depth, columns, 0)
                rows_of_b, stride = panel, {width}
            for i in range(0, M, {rows}):
                rows_here, to = offset(rows_of_a, i * a_row), offset(c, i * c_row + j)
                count = minimum_int(M - i, {rows})
{tiles}
        k0 += step
        if k0 >= K:
            break
'''

_TURN_SOURCE = '''\
"""to[k, i] = source[i, k] ({dtype}) for a block, square by square; whole squares of `to` are written."""
from graphc.codegen.cpu.intrinsics import offset
from graphc.codegen.cpu.panels import transposer

transpose = transposer("{dtype}", side={side})
UNROLLED = True  # the squares are


def kernel(source, step, to, width, rows, columns):
    for i in range(0, columns, {side}):
        for k in range(0, rows, {side}):
            transpose(offset(source, i * step + k), step, offset(to, k * width + i), width, columns - i, rows - k)
'''

_DOT_TILES = {1: (8, 1), 2: (8, 2), 3: (4, 3), 5: (3, 5), 6: (3, 6), 7: (3, 7)}
"""Rows and columns of a tile of dot products, by the shorter side of C."""

_FEW_TILE = "{name}_tile(rows_here, a_row, a_k, rows_of_b, stride, to, c_row, count, columns, depth, add, b, 0, False)"


def _few_source(dtype: str, tile: FewTile) -> str:
    shape, masked, width = tile_shape(dtype), machine.host().has_masks, tile.vectors * tile.lanes
    whole, part = (_FEW_TILE.format(name=name) for name in ("whole", "part"))
    lines = {"whole": [whole], "part": [part]}.get(
        tile.parts, [f"if columns == {width}:", f"    {whole}", "else:", f"    {part}"]
    )
    copies = tile.parts != "whole" and not masked
    return _FEW_SOURCE.format(
        dtype=dtype, rows=tile.rows, vectors=tile.vectors, lanes=tile.lanes, width=width, depth=shape.depth,
        unit=_DEPTH_UNIT, masked=tile.open * masked, copies=copies,
        panel=shape.depth * width if copies else width,
        tiles="\n".join(" " * 16 + line for line in lines),
    )  # fmt: skip


def _dots_source(dtype: str, short: int) -> str:
    rows, columns = _DOT_TILES.get(short, (4, 4))
    return _DOTS_SOURCE.format(
        dtype=dtype, rows=rows, columns=columns, lanes=tile_shape(dtype).lanes, depth=_DOTS_DEPTH,
        copy=FEW_COLUMNS * _DOTS_DEPTH,
    )


def _shallow_source(dtype: str, depth: int) -> str:
    lanes, vectors = tile_shape(dtype).lanes, strip_vectors(depth)
    if not vectors:
        return _general_source(dtype)
    return _SHALLOW_SOURCE.format(dtype=dtype, depth=depth, vectors=vectors, lanes=lanes, width=vectors * lanes)


def source(name: str) -> str:
    """The source of a contraction for this machine; `name` as in :func:`address`.

    It defines ``kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate)``: pointers to the first
    elements, strides in elements (any sign), sizes of at least 0. C's columns are contiguous; C overlaps
    neither operand. ``K == 0`` writes zeros, or leaves C as it is with `accumulate`. With the ending ``_turn`` there is
    no product: ``kernel(source, step, to, width, rows, columns)`` turns a block of an operand for maps that read it
    transposed (:mod:`graphc.codegen.cpu.turns`).
    """
    dtype, _, kind = name.partition("_")
    if kind.startswith(FEW[1:]):
        tile = few_of(name)
        return _general_source(dtype) if tile is None else _few_source(dtype, tile)
    edge = re.fullmatch(rf"{EDGE[1:]}(\d+)", kind)
    if edge is not None:
        return _general_source(dtype, int(edge[1]))
    steps = steps_of(name)
    if steps is not None:
        return _shallow_source(dtype, steps)
    if kind == TURN[1:]:
        return _TURN_SOURCE.format(dtype=dtype, side=min(tile_shape(dtype).lanes, _SQUARE_BYTES // ITEM_BYTES[dtype]))
    dots = re.fullmatch(rf"{DOTS[1:]}(\d+)", kind)
    if dots is not None:
        return _dots_source(dtype, int(dots[1]))
    if kind:
        raise CompileError(f"contraction: expected a dtype, perhaps with {DOTS}N or {FEW}MxN behind it, got {name}")
    return _general_source(dtype)


def wanted(name: str) -> jit.Wanted:
    """A contraction, to be prepared together with the kernels that call it; `name` as in :func:`address`."""
    return jit.Wanted(source(name), signature=signature(name))


def address(name: str, on_event: Callable[[jit.KernelEvent], None] | None = None) -> int:
    """Address of a compiled contraction: what a kernel that calls it gets in `buffers`.

    Parameters
    ----------
    name : str
        ``"float32"`` or ``"float64"``, or one of these with an ending. ``_dotsN`` expects A's rows to be contiguous
        and N columns, at most :data:`FEW_COLUMNS`, or B's columns to be contiguous and N rows. ``_fewMxN``
        expects B's rows to be contiguous, and suits a product of M rows (``_fewxN``: known at run time only) and N
        columns: the name is that of the product, whatever the tile on this processor; ``_fewMxN_aliased``
        if A's rows lie a multiple of 4 KiB apart. ``_shallowK`` expects B's rows to be contiguous, and K steps;
        ``_edgeN`` suits N columns. ``_turn`` is no contraction: see :func:`source`.
    on_event : callable, optional
        Told how it came to be ready.

    Raises
    ------
    CompileError
        If there is none of that name.
    """
    return jit.load([source(name)], signature=signature(name), on_event=on_event)[0]
