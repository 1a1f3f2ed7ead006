"""Which compiled contraction suits a product, and how that is cut into tiles.

The general contraction serves all; those for few rows or columns, few steps or an odd number of columns are chosen
from what is known of a product before it runs: its static sizes and its layout. The choice stands in the kernel as a
name, an ending behind the dtype::

    float32              the general contraction
    float32_edge100      the general one of 100 columns: the last four have a tile of half the width
    float32_few9x300     a tile that suits 9 rows and 300 columns; ``float32_fewx18``: 18 columns, rows known later
    float32_few9x300_aliased    the same where rows of A lie a multiple of 4 KiB apart
    float32_dots2        dot products, for 2 columns or 2 rows
    float32_shallow4     a sum of 4 products an element

A name says what the product is, not what this processor does about it, so that kernels read the same on all.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from graphc.codegen.cpu import machine
from graphc.errors import CompileError
from graphc.ir.symbolic import Size

_PANEL_BYTES = 64 * 1024  # a panel of B: tiles read it from L2 as fast as they multiply
_MAX_DEPTH = 512  # rows of a panel: C comes from L3 and goes back once for so many steps
_BLOCK_BYTES = 1092 * 1024  # rows of A in a block, about L2, at the largest depth, where vectors have 64 bytes
CONFLICT_BYTES = 4096  # rows this far apart, or a multiple, share one set of L1
ITEM_BYTES = {"float32": 4, "float64": 8}
_LOW_ROWS = 4  # enough chains, with several vectors each, to hide the latency of a multiply-add

MOST_EDGE, EDGE_UNIT = 1024, 32
"""Most columns of a product for whose last ones a tile of their own pays, and a multiple that leaves none."""

MOST_SHALLOW = 14
"""Most steps of a product that keeps whole strips of B in registers."""

FEW_ROWS, MORE_ROWS = 12, 28
"""Most rows of a product of any width that has a tile of its own, and that has one if that wastes less."""

_STRIP_VECTORS = 8  # side by side in a strip: with more, C's lines would hardly come faster

WAYS = 8
"""Rows of A of which each has a line in L1 though they share one set of it."""

FEW_BYTES = 320
"""Most bytes of a row of a product of any height that has a tile of its own, if that wastes less than the general
tile."""

FEW_COLUMNS = 8
"""Most columns of a product that is done by dot products."""

LEAST_DOT = 16
"""Least length of these dot products."""

_FEW_SHAPES = tuple((rows, vectors) for rows in range(1, 15) for vectors in (1, 2, 3, 4, 5, 6, 8))
_LEAST_CHAINS = 8  # fewer wait for one another: a multiply-add takes four cycles, and there may be two a cycle
_MANY_ROWS = 1000  # what a height that is known at run time only counts as: edges hardly matter
# What a step of a tile takes beside its multiply-adds, in the time of one; measured on a Zen 4.
_STEP_COST = 0.3  # the loop over k
_HALF_COST = 0.5  # more instructions, where a processor that computes vectors in halves is given halves
_MASK_COST = 0.3  # a masked load
_LINE_BYTES, _LINE_COST, _WIDE_LINE_COST = 64, 2, 4.5  # lines of B, one more than a tile fills: in L1; wide ones in L2
_NEAR_ROWS, _FAR_ROW_COST = 9, 0.25  # rows of A beyond so many: the registers do not hold their places
_NEAR = 1.03  # tiles of so nearly the least cost are as good

_TAIL_BYTES, _LEAST_TAIL_DEPTH = 16, 64  # a tail of more columns, or of shorter ones, pays no second call

# the contractions beside the general one, as endings of their names; what turns blocks for maps is none, but is
# compiled and called as they are
DOTS = "_dots"
FEW = "_few"
ALIASED = "_aliased"
SHALLOW = "_shallow"
EDGE = "_edge"
TURN = "_turn"


class TileShape(NamedTuple):
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


class FewTile(NamedTuple):
    """A tile of a product of few rows or columns.

    Attributes
    ----------
    rows, vectors, lanes : int
    parts : str
        ``"whole"`` if the product's columns fill its tiles, ``"part"`` if they lie in one tile that they do not fill,
        ``"both"`` else. A tile that is filled in part masks its loads of B, or reads a copy where there are no masks.
    open : int
        Vectors of a tile that is filled in part in which the columns may end; those before are filled.
    """

    rows: int
    vectors: int
    lanes: int
    parts: str
    open: int = 0


def suited(
    dtype: str,
    rows: Size,
    depth: Size,
    columns: Size,
    a_strides: tuple[Size | None, Size | None],
    b_strides: tuple[Size | None, Size | None],
) -> tuple[str, int]:
    """The contraction that suits a product, and its tail.

    Parameters
    ----------
    dtype : str
    rows, depth, columns : Size
        What is not an int is known at run time only.
    a_strides, b_strides : tuple of Size or None
        Of rows and columns, in elements; None for an axis that is missing.

    Returns
    -------
    tuple of str and int
        The ending of the contraction's name, and how many of the last columns dot products do better
        (`DOTS` and the number, a call of its own).
    """
    a_row, a_k = a_strides
    b_k, b_column = b_strides
    if isinstance(depth, int) and depth >= LEAST_DOT:
        for stride, long, short in ((a_k, rows, columns), (b_k, columns, rows)):
            few = isinstance(long, int) and isinstance(short, int) and short <= min(FEW_COLUMNS, long)
            if few and stride == 1:
                return f"{DOTS}{short}", 0
    if not isinstance(columns, int):
        return "", 0
    size = ITEM_BYTES[dtype]
    narrow = columns * size <= FEW_BYTES
    if b_column == 1:
        if isinstance(depth, int) and 0 < depth <= MOST_SHALLOW and not narrow:
            return f"{SHALLOW}{depth}", 0
        aliased = isinstance(a_row, int) and a_row * size % CONFLICT_BYTES == 0
        few_rows = isinstance(rows, int) and rows <= (FEW_ROWS if aliased else MORE_ROWS)
        if few_rows or narrow:
            last = _tail(dtype, rows, depth, columns) if a_k == 1 else 0
            return f"{FEW}{rows if isinstance(rows, int) else ''}x{columns - last}{ALIASED if aliased else ''}", last
    edge = not narrow and columns <= MOST_EDGE and columns % EDGE_UNIT != 0
    return (f"{EDGE}{columns}" if edge else ""), 0


def _tail(dtype: str, rows: Size, depth: Size, columns: int) -> int:
    """How many of a product's last columns are better done by dot products: the few behind a first vector's worth.

    They would cost half a vector more in each step. Rows of A must be contiguous.
    """
    rest = columns - _LINE_BYTES // ITEM_BYTES[dtype]
    few = 0 < rest <= _TAIL_BYTES // ITEM_BYTES[dtype] and isinstance(depth, int) and depth >= _LEAST_TAIL_DEPTH
    return rest if few and not (isinstance(rows, int) and rows <= MORE_ROWS) else 0


@cache
def few_tile(dtype: str, rows: int | None, columns: int, aliased: bool = False) -> FewTile | None:
    """The tile that wastes least on a product of few rows or columns; None if the general contraction is better.

    Parameters
    ----------
    dtype : str
    rows : int or None
        None if known at run time only: many are expected.
    columns : int
    aliased : bool, default False
        Rows of A share one set of L1.

    Notes
    -----
    A step of a tile costs its multiply-adds, as many again for masked loads, and the loop. Tiles stick out over the
    product's edges: of 18 columns, two vectors of 16 compute 32; hence vectors of half the width, where a multiply-add
    computes half a vector at once. Of tiles of nearly the least cost the largest is taken, so that a program with
    several such products compiles few of them.
    """
    shape, target = tile_shape(dtype), machine.host()
    height, uncut = _MANY_ROWS if rows is None else max(rows, 1), columns * ITEM_BYTES[dtype] <= FEW_BYTES
    widths = {target.vector_bytes // ITEM_BYTES[dtype], target.datapath_bytes // ITEM_BYTES[dtype]}

    def made(rows: int, vectors: int, lanes: int) -> FewTile:
        width = vectors * lanes
        rest = columns % width
        if rest == 0 and (uncut or shape.width % width == 0):  # workers cut columns at multiples of the general width
            return FewTile(rows, vectors, lanes, "whole")
        return FewTile(rows, vectors, lanes, "both" if columns >= width else "part", vectors - uncut * (rest // lanes))

    def cost(tile: FewTile) -> float:
        """What a step of all tiles' loops takes, in multiply-adds of a vector: the least is chosen."""
        width, half = tile.vectors * tile.lanes, tile.lanes < shape.lanes
        lines = (width * ITEM_BYTES[dtype] // _LINE_BYTES + 1) * (_LINE_COST if uncut else _WIDE_LINE_COST)
        step = max(max(tile.rows * tile.vectors, _LEAST_CHAINS) * (0.5 if half else 1), lines)
        step += _STEP_COST + _FAR_ROW_COST * max(tile.rows - _NEAR_ROWS, 0) + _HALF_COST * half
        across = step * -(-max(columns, 1) // width) + _MASK_COST * tile.open * target.has_masks
        return -(-height // tile.rows) * across

    fitting = [
        made(r, v, lanes)
        for lanes in sorted(widths)
        for r, v in _FEW_SHAPES
        if r * v + v < target.vector_registers and r <= (min(height, WAYS) if aliased else height)
    ]
    least = min(map(cost, fitting))
    if height > FEW_ROWS and columns > shape.width:
        wide = height > MORE_ROWS and not uncut
        if wide or _general_cost(shape, height, columns) <= least:
            return None
    nearly = [tile for tile in fitting if cost(tile) <= _NEAR * least]
    return max(nearly, key=lambda t: (t.rows <= _NEAR_ROWS, t.rows * t.vectors * t.lanes, t.lanes))


def _general_cost(shape: TileShape, rows: int, columns: int) -> float:
    """What a step of the general contraction costs, as :func:`few_tile` counts it."""
    whole, rest = divmod(rows, shape.rows)
    low = -(-rest // shape.low_rows) if rest <= 2 * shape.low_rows else 0
    full = whole + (rest > 2 * shape.low_rows)
    of_full, of_low = (count * shape.vectors + _STEP_COST for count in (shape.rows, shape.low_rows))
    return (full * of_full + low * (of_low + _MASK_COST * shape.vectors)) * -(-columns // shape.width)


def few_of(name: str) -> FewTile | None:
    """The tile of a contraction of that name; None if it is the general one."""
    few = re.fullmatch(rf"(\w+?){FEW}(\d*)x(\d+)({ALIASED})?", name)
    return few_tile(few[1], int(few[2]) if few[2] else None, int(few[3]), bool(few[4])) if few is not None else None


def units(name: str) -> tuple[int, int]:
    """Rows and columns of a tile of the contraction of that name: a product that is cut at multiples wastes none."""
    tile, dtype = few_of(name), name.partition("_")[0]
    if tile is not None:
        return tile.rows, tile.vectors * tile.lanes
    shape = tile_shape(dtype)
    vectors = strip_vectors(steps_of(name) or 0)
    return (1, vectors * shape.lanes) if vectors else (shape.rows, shape.width)


def steps_of(name: str) -> int | None:
    """The steps of a contraction of few; None if it is another."""
    shallow = re.fullmatch(rf"\w+?{SHALLOW}(\d+)", name)
    return int(shallow[1]) if shallow is not None else None


def strip_vectors(depth: int) -> int:
    """Vectors side by side in a strip of `depth` steps, as wide as registers allow: B's, the sums, a factor.

    0 where the general contraction is better: one vector would be left.
    """
    vectors = min((machine.host().vector_registers - 1) // (depth + 1), _STRIP_VECTORS) if depth > 0 else 0
    return vectors if vectors > 1 else 0
