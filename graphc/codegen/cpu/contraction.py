"""Matrix products of any size and strides, compiled once a dtype and tile and called by address.

``C[M, N] = A[M, K] @ B[K, N]`` is blocked for the caches around one register tile
(:mod:`graphc.codegen.cpu.tiles`)::

    for k0 in blocks of K:                  a block of B's rows
        for i0 in blocks of M:              a block of A that stays in L2
            for j in tiles of N:            a panel of B, B[k0:, j:], that stays in L1
                for i in tiles of M:        one register tile, added to C after the first k0

Operands are read in place where that is fast. They are copied (:mod:`graphc.codegen.cpu.panels`) where it is not:

- a panel of B, to the stack, if its columns are strided, or if its rows lie a multiple of 4 KiB apart (they would share
  one set of L1) and many tiles read it; also if it is narrower than a tile;
- a block of A, if its rows, or its columns where these are contiguous, lie a multiple of 4 KiB apart.

Products of few rows or columns have tiles of their own (:func:`few_tile`), or are dot products
(:mod:`graphc.codegen.cpu.dots`); what follows is the general contraction.

Two tile shapes serve every M: the full one, and a low one. A rest of rows that is worth a full tile is copied with
its last row repeated. The full tile loads B without masks, which would cost it one step in thirty; the low one
has them where they exist, and serves panels that are narrow and that few tiles read.

While a tile of a large C is computed, the lines of C that it will end in and the next panel of B are asked for.

Each element is a chain of multiply-adds in the order of k for every block of K, and the sum of these in order; the
blocks of K follow from K alone, all but the last of one size, so no cut of M and N into blocks, tiles or workers
changes a bit (see :mod:`graphc.codegen.cpu.tiles`).

A tile is expensive to compile, so kernels do not contain it: the contraction is one more cached object
with a signature of its own, and a kernel calls it through its address, which it gets as one more entry
of `buffers`::

    from graphc.codegen.cpu.tiles import contract
    ...
    contract(address(pointer_uint8(buffers, 7)), a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, 0)

Tile sizes are a function of the processor alone and stand in the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from graphc.codegen.cpu import jit, machine
from graphc.errors import CompileError

_PANEL_BYTES = 32 * 1024  # a panel of B: it shares L1 with the rows of A that pass by
_MAX_DEPTH = 256  # rows of a panel: adding a tile to C costs little beside so many steps, and no chain is longer
_DEPTH_UNIT = 16  # panels but the last are whole vectors deep, whatever the processor
_BLOCK_BYTES = 546 * 1024  # rows of A in a block stay in half of L2, at the largest depth, where vectors have 64 bytes
_CONFLICT_BYTES = 4096  # rows this far apart, or a multiple, share one set of L1
_DOTS_DEPTH = 2048  # places of k in a block of dot products: what is copied of B stays in L1 or L2
_MANY_TILES = 10  # tiles that share a panel of B for whose sake it is copied out of one set of L1
_ASKING_DEPTH = 24  # in fewer steps nothing that is asked for arrives
_ASKING_BYTES = 128 * 1024  # a smaller C is in L2 already
_FEW_TILES = 3  # tiles for whose sake a panel of few columns is not worth a copy
_LINES_AHEAD = 4  # rows or columns of A that are on their way from L3 while one is copied
ITEM_BYTES = {"float32": 4, "float64": 8}
_LOW_ROWS = 4  # enough chains, with several vectors each, to hide the latency of a multiply-add


@dataclass(frozen=True)
class TileShape:
    """How products are cut on one machine.

    Attributes
    ----------
    rows, vectors, lanes : int
        The full tile: `rows` by `vectors * lanes` elements.
    low_rows : int
        Rows of the tile that serves what the full one leaves.
    depth : int
        Rows of B in one panel.
    block_rows : int
        Rows of A in one block, a multiple of `rows`.
    """

    rows: int
    vectors: int
    lanes: int
    low_rows: int
    depth: int
    block_rows: int

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes


def tile_shape(dtype: str, target: machine.Machine | None = None) -> TileShape:
    """The cut of products of `dtype` on `target` (default: this machine).

    The full tile fills the registers but for a row of B's vectors and the factors of A: 14 x 2 of 32
    registers, 6 x 2 of 16.

    Raises
    ------
    CompileError
        If `dtype` is neither float32 nor float64.
    """
    if dtype not in ("float32", "float64"):
        raise CompileError(f"contraction: expected float32 or float64, got {dtype}")
    target = target or machine.host()
    rows, vectors, lanes = (14 if target.vector_registers >= 32 else 6), 2, target.lanes(dtype)
    depth = min(_PANEL_BYTES // (vectors * target.vector_bytes), _MAX_DEPTH)
    block_rows = _BLOCK_BYTES * target.vector_bytes // 64 // (depth * ITEM_BYTES[dtype])
    return TileShape(rows, vectors, lanes, _LOW_ROWS, depth, block_rows // rows * rows)


def signature(dtype: str) -> str:
    """The C signature of the contraction, in Numba's notation."""
    p, n = f"CPointer({dtype})", "int64"
    return f"void({p}, {n}, {n}, {p}, {n}, {n}, {p}, {n}, {n}, {n}, {n}, {n})"


_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}); accumulate != 0 adds to C instead. Strides are in elements."""
from graphc.codegen.cpu.intrinsics import load, minimum_int, offset, stack_{dtype}, store
from graphc.codegen.cpu.panels import copier, transposer
from graphc.codegen.cpu.tiles import tile

full_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes})
low_tile = tile("{dtype}", rows={low_rows}, vectors={vectors}, lanes={lanes}, clamped=True, masked={masked})
copy = copier("{dtype}", vectors={vectors}, lanes={lanes})
transpose = transposer("{dtype}", lanes={lanes})
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
        asks = depth >= {asking_depth} and M * N >= {asking_size}
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
                by_low_tiles = {masked} and columns < {width} and b_col == 1 and rows <= {few_rows}
                rows_of_b, row_stride = offset(b, k0 * b_k + j * b_col), b_k
                ahead, ahead_row, ahead_step = offset(rows_of_b, {width} * b_col), b_k, {rows} * b_k
                if b_k == 1 and b_col != 1:
                    ahead_row, ahead_step = {width}, b_col
                    for k in range(0, depth, {lanes}):
                        for l in range(0, columns, {lanes}):
                            to = offset(panel, k * {width} + l)
                            transpose(offset(rows_of_b, k + l * b_col), b_col, to, {width}, columns - l, depth - k)
                    rows_of_b, row_stride = panel, {width}
                elif b_col != 1:
                    for k in range(depth):
                        for l in range({width}):
                            place = k * b_k + minimum_int(l, columns - 1) * b_col
                            store(panel, k * {width} + l, load(rows_of_b, place))
                    rows_of_b, row_stride = panel, {width}
                elif copies_b or (columns < {width} and not by_low_tiles):
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
                    if i < by_full_tiles and not by_low_tiles:
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


def _general_source(dtype: str) -> str:
    """The source of the general contraction of `dtype` for this machine."""
    shape, size = tile_shape(dtype), ITEM_BYTES[dtype]
    width, pitch = shape.width, shape.depth + shape.width
    column_pitch = (shape.block_rows // width + 2) * width
    return _SOURCE.format(
        dtype=dtype, rows=shape.rows, vectors=shape.vectors, lanes=shape.lanes, low_rows=shape.low_rows,
        low_limit=2 * shape.low_rows, depth=shape.depth, unit=_DEPTH_UNIT, block_rows=shape.block_rows,
        width=width, pitch=pitch, column_pitch=column_pitch, panel=shape.depth * width,
        block=max(shape.block_rows * pitch, shape.depth * column_pitch),
        masked=machine.host().has_masks, conflict=_CONFLICT_BYTES // size,
        asking_depth=_ASKING_DEPTH, asking_size=_ASKING_BYTES // size, lines_ahead=_LINES_AHEAD,
        many_rows=_MANY_TILES * shape.rows, few_rows=_FEW_TILES * shape.rows,
    )  # fmt: skip


_DOTS_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}) by dot products, for few columns or rows; A's rows are contiguous."""
from graphc.codegen.cpu.dots import dot_tile
from graphc.codegen.cpu.intrinsics import load, minimum_int, offset, stack_{dtype}, store

one_column = dot_tile("{dtype}", rows=8, columns=1, lanes={lanes})
four_columns = dot_tile("{dtype}", rows=4, columns=4, lanes={lanes})
UNROLLED = True  # the tiles are


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    columns = stack_{dtype}({narrow} * {depth})
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
        if N == 1:
            for i in range(0, M, 8):
                place = offset(c, i * c_row)
                one_column(offset(rows_of_a, i * a_row), a_row, columns_of_b, stride, place, c_row, c_col,
                           minimum_int(M - i, 8), 1, depth, add)
        else:
            for i in range(0, M, 4):
                for j in range(0, N, 4):
                    place = offset(c, i * c_row + j * c_col)
                    four_columns(offset(rows_of_a, i * a_row), a_row, offset(columns_of_b, j * stride), stride,
                                 place, c_row, c_col, minimum_int(M - i, 4), minimum_int(N - j, 4), depth, add)
        k0 += {depth}
        if k0 >= K:
            break
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

_FEW_TILE = "{name}_tile(rows_here, a_row, a_k, rows_of_b, stride, to, c_row, count, columns, depth, add, b, 0, False)"

FEW_ROWS = 12
"""Most rows of a product of any width that has a tile of its own."""

FEW_BYTES = 320
"""Most bytes of a row of a product of any height that has one, if that wastes less than the general tile."""

FEW_COLUMNS = 8
"""Most columns of a product that is done by dot products."""

LEAST_DOT = 16
"""Least length of such a dot product."""

_FEW_SHAPES = tuple((rows, vectors) for rows in (1, 2, 3, 4, 5, 6, 9) for vectors in (1, 2, 3, 4, 5, 6, 8))
_LEAST_CHAINS = 8  # fewer wait for one another: a multiply-add takes four cycles, and there may be two a cycle
_MANY_ROWS = 1000  # what a height that is known at run time only counts as: edges hardly matter
_STEP_COST = 2  # multiply-adds that go by while a loop over k counts and moves its pointers
_HALF_COST = 0.55  # of a multiply-add of half a vector, where the processor computes whole ones in halves
_NEAR = 1.05  # tiles of so nearly the least cost are as good

# the contractions beside the general one, as endings of their names
DOTS = "_dots"
FEW = "_few"


@dataclass(frozen=True)
class FewTile:
    """A tile of a product of few rows or columns.

    Attributes
    ----------
    rows, vectors, lanes : int
    parts : str
        ``"whole"`` if the product's columns fill its tiles, ``"part"`` if they lie in one tile that they do not fill,
        ``"both"`` else. A tile that is filled in part masks its loads of B, or reads a copy where there are no masks.
    """

    rows: int
    vectors: int
    lanes: int
    parts: str


def few_tile(dtype: str, rows: int | None, columns: int) -> FewTile | None:
    """The tile that wastes least on a product of few rows or columns; None if the general contraction is better.

    Parameters
    ----------
    dtype : str
    rows : int or None
        None if known at run time only: many are expected.
    columns : int

    Notes
    -----
    A step of a tile costs its multiply-adds, as many again for masked loads, and the loop. Tiles stick out over the
    product's edges: of 18 columns, two vectors of 16 compute 32; hence vectors of half the width, where a multiply-add
    computes half a vector at once. Of tiles of nearly the least cost the largest is taken, so that a program with
    several such products compiles few of them.
    """
    shape, target = tile_shape(dtype), machine.host()
    height = _MANY_ROWS if rows is None else max(rows, 1)
    widths = {target.vector_bytes // ITEM_BYTES[dtype], target.datapath_bytes // ITEM_BYTES[dtype]}

    def parts(width: int) -> str:
        return "whole" if columns % width == 0 else "part" if columns < width else "both"

    def cost(tile: FewTile) -> float:
        tiles = -(-height // tile.rows) * -(-max(columns, 1) // (tile.vectors * tile.lanes))
        masks = tile.vectors if tile.parts != "whole" and target.has_masks else 0
        step = max(tile.rows * tile.vectors, _LEAST_CHAINS) + masks + _STEP_COST
        return tiles * step * (_HALF_COST if tile.lanes < shape.lanes else 1)

    fitting = [
        FewTile(r, v, lanes, parts(v * lanes))
        for lanes in sorted(widths)
        for r, v in _FEW_SHAPES
        if r * v + v < target.vector_registers
    ]
    least = min(map(cost, fitting))
    if (rows is None or rows > FEW_ROWS) and columns > shape.width:
        general = FewTile(shape.rows, shape.vectors, shape.lanes, "whole")
        if columns * ITEM_BYTES[dtype] > FEW_BYTES or cost(general) <= _NEAR * least:
            return None
    return max((t for t in fitting if cost(t) <= _NEAR * least), key=lambda t: (t.rows * t.vectors * t.lanes, t.lanes))


def _few_source(dtype: str, tile: FewTile) -> str:
    shape, masked, width = tile_shape(dtype), machine.host().has_masks, tile.vectors * tile.lanes
    # Workers' parts of the columns begin at multiples of the general tile's width, not of this one's.
    parts = "both" if tile.parts == "whole" and shape.width % width else tile.parts
    whole, part = (_FEW_TILE.format(name=name) for name in ("whole", "part"))
    lines = {"whole": [whole], "part": [part]}.get(
        parts, [f"if columns == {width}:", f"    {whole}", "else:", f"    {part}"]
    )
    copies = parts != "whole" and not masked
    return _FEW_SOURCE.format(
        dtype=dtype, rows=tile.rows, vectors=tile.vectors, lanes=tile.lanes, width=width, depth=shape.depth,
        unit=_DEPTH_UNIT, masked=masked, copies=copies, panel=shape.depth * width if copies else width,
        tiles="\n".join(" " * 16 + line for line in lines),
    )  # fmt: skip


def _dots_source(dtype: str) -> str:
    return _DOTS_SOURCE.format(dtype=dtype, lanes=tile_shape(dtype).lanes, narrow=FEW_COLUMNS, depth=_DOTS_DEPTH)


def source(name: str) -> str:
    """The source of a contraction for this machine; `name` as in :func:`address`.

    It defines ``kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate)``: pointers to the first
    elements, strides in elements (any sign), sizes of at least 0. C's columns are contiguous; C overlaps
    neither operand. ``K == 0`` writes zeros, or leaves C as it is with `accumulate`.
    """
    dtype, _, kind = name.partition("_")
    few = re.fullmatch(rf"{FEW[1:]}(\d*)x(\d+)", kind)
    if few is not None:
        tile = few_tile(dtype, int(few[1]) if few[1] else None, int(few[2]))
        return _general_source(dtype) if tile is None else _few_source(dtype, tile)
    if kind not in ("", DOTS[1:]):
        raise CompileError(f"contraction: expected a dtype, perhaps with {DOTS} or {FEW}MxN behind it, got {name}")
    return _dots_source(dtype) if kind else _general_source(dtype)


def wanted(name: str) -> jit.Wanted:
    """A contraction, to be prepared together with the kernels that call it; `name` as in :func:`address`."""
    return jit.Wanted(source(name), signature=signature(name.partition("_")[0]))


def address(name: str, on_event: Callable[[jit.KernelEvent], None] | None = None) -> int:
    """Address of a compiled contraction: what a kernel that calls it gets in `buffers`.

    Parameters
    ----------
    name : str
        ``"float32"`` or ``"float64"``, or one of these with an ending. ``_dots`` expects A's rows to be contiguous
        and at most :data:`FEW_COLUMNS` columns, or B's columns to be contiguous and at most as many rows. ``_fewMxN``
        expects B's rows to be contiguous, and suits a product of M rows (``_fewxN``: known at run time only) and N
        columns: the name is that of the product, whatever the tile on this processor.
    on_event : callable, optional
        Told how it came to be ready.

    Raises
    ------
    CompileError
        If there is none of that name.
    """
    return jit.load([source(name)], signature=signature(name.partition("_")[0]), on_event=on_event)[0]
