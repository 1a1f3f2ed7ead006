"""Matrix products of any size and strides, compiled once a dtype and called by address.

``C[M, N] = A[M, K] @ B[K, N]`` is blocked for the caches around one register tile
(:mod:`graphc.codegen.cpu.tiles`)::

    for k0 in blocks of K:                  a block of B's rows
        for i0 in blocks of M:              a block of A that stays in L2
            for j in tiles of N:            a panel of B, B[k0:, j:], that stays in L1
                for i in tiles of M:        one register tile, added to C after the first k0

Two tile shapes serve every M: the full one, and a low one whose last rows may repeat. A panel is read in
place where B's columns are contiguous; a transposed or narrow one is copied to the stack and padded, so
that no tile reads outside B. Each element is a chain of multiply-adds in the order of k for every block of K, and
the sum of these in order; the blocks of K are fixed, so no cut of M and N into blocks, tiles or workers changes a
bit (see :mod:`graphc.codegen.cpu.tiles`).

A tile is expensive to compile, so kernels do not contain it: the contraction is one more cached object
with a signature of its own, and a kernel calls it through its address, which it gets as one more entry
of `buffers`::

    from graphc.codegen.cpu.tiles import contract
    ...
    contract(address(pointer_uint8(buffers, 7)), a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, 0)

Tile sizes are a function of the processor alone and stand in the source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphc.codegen.cpu import jit, machine
from graphc.errors import CompileError

_PANEL_BYTES = 32 * 1024  # a panel of B: it shares L1 with the rows of A that pass by
_MAX_DEPTH = 256  # rows of a panel: adding a tile to C costs little beside so many steps, and no chain is longer
_BLOCK_ROWS = 448  # rows of A in a block: 448 KiB of float32 at the largest depth, which fits L2
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
    return TileShape(rows, vectors, lanes, _LOW_ROWS, depth, _BLOCK_ROWS // rows * rows)


def signature(dtype: str) -> str:
    """The C signature of the contraction, in Numba's notation."""
    p, n = f"CPointer({dtype})", "int64"
    return f"void({p}, {n}, {n}, {p}, {n}, {n}, {p}, {n}, {n}, {n}, {n}, {n})"


_SOURCE = '''\
"""C[M, N] = A[M, K] @ B[K, N] ({dtype}); accumulate != 0 adds to C instead. Strides are in elements."""
import numpy as np

from graphc.codegen.cpu.intrinsics import load, minimum_int, offset, stack_{dtype}, store
from graphc.codegen.cpu.tiles import tile

full_tile = tile("{dtype}", rows={rows}, vectors={vectors}, lanes={lanes})
low_tile = tile("{dtype}", rows={low_rows}, vectors={vectors}, lanes={lanes}, clamped=True)
zero = np.{dtype}(0)


def kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):
    panel = stack_{dtype}({panel})
    if N == 1 and c_row == 1:  # a column vector: its transpose is a row of vectors
        a, a_row, a_k, b, b_k, b_col = b, b_col, b_k, a, a_k, a_row
        M, N = N, M
    k0 = 0
    while True:
        depth = minimum_int(K - k0, {depth})
        add = accumulate != 0 or k0 > 0
        for i0 in range(0, M, {block_rows}):
            i1 = minimum_int(M, i0 + {block_rows})
            for j in range(0, N, {width}):
                columns = minimum_int(N - j, {width})
                rows_of_b, row_stride = offset(b, k0 * b_k + j * b_col), b_k
                if b_col != 1 or columns < {width}:
                    for column in range(columns):
                        for k in range(depth):
                            store(panel, k * {width} + column, load(rows_of_b, k * b_k + column * b_col))
                    for column in range(columns, {width}):
                        for k in range(depth):
                            store(panel, k * {width} + column, zero)
                    rows_of_b, row_stride = panel, {width}
                i = i0
                while i + {rows} <= i1:
                    full_tile(offset(a, i * a_row + k0 * a_k), a_row, a_k, rows_of_b, row_stride,
                              offset(c, i * c_row + j), c_row, {rows}, columns, depth, add)
                    i += {rows}
                while i < i1:
                    low_tile(offset(a, i * a_row + k0 * a_k), a_row, a_k, rows_of_b, row_stride,
                             offset(c, i * c_row + j), c_row, minimum_int(i1 - i, {low_rows}), columns, depth, add)
                    i += {low_rows}
        k0 += {depth}
        if k0 >= K:
            break
'''


def source(dtype: str) -> str:
    """The source of the contraction of `dtype` for this machine.

    It defines ``kernel(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate)``: pointers to the first
    elements, strides in elements (any sign), sizes of at least 0. C's columns are contiguous; C overlaps
    neither operand. ``K == 0`` writes zeros, or leaves C as it is with `accumulate`.
    """
    shape = tile_shape(dtype)
    return _SOURCE.format(
        dtype=dtype, rows=shape.rows, vectors=shape.vectors, lanes=shape.lanes, low_rows=shape.low_rows,
        depth=shape.depth, block_rows=shape.block_rows, width=shape.width, panel=shape.depth * shape.width,
    )  # fmt: skip


def wanted(dtype: str) -> jit.Wanted:
    """The contraction of `dtype`, to be prepared together with the kernels that call it."""
    return jit.Wanted(source(dtype), signature=signature(dtype))


def address(dtype: str, on_event: Callable[[jit.KernelEvent], None] | None = None) -> int:
    """Address of the compiled contraction of `dtype`: what a kernel that calls it gets in `buffers`.

    Raises
    ------
    CompileError
        If `dtype` is neither float32 nor float64.
    """
    return jit.load([source(dtype)], signature=signature(dtype), on_event=on_event)[0]
