"""The register tiles of compiled contractions in plain Python, so that their texts can be run like kernels.

Each touches what its counterpart in :mod:`graphc.codegen.cpu` is documented to touch, and computes its elements as
chains in the order of k. What a tile reads beside its rows and columns has to be there, but may be anything: it only
reaches results that are not stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.testing.checked.memory import Pointer, fault
from graphc.testing.checked.words import word

Array = NDArray[Any]
Tile = Callable[..., None]


def grid(rows: int, row: int, columns: int, column: int = 1) -> Array:
    """Places of a matrix's elements, by its strides."""
    return np.add.outer(np.arange(rows) * int(row), np.arange(columns) * int(column))


def _product(a: Array, b: Array) -> Array:
    """Each element a chain in the order of k, so that no cut changes a bit."""
    total = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for k in range(a.shape[1]):
        total += np.multiply.outer(a[:, k], b[k])
    return total


def _put(c: Pointer, places: Array, total: Array, add: Any) -> None:
    c.write(places, c.read(places) + total if add else total)


@word
def tile(dtype: str, *, rows: int, vectors: int, lanes: int, clamped: bool = False, masked: int = 0) -> Tile:
    """:func:`graphc.codegen.cpu.tiles.tile`."""
    width = vectors * lanes

    def run(a, a_row, a_k, b, b_k, c, c_row, count, columns, depth, add, ahead, ahead_row, asks):  # type: ignore[no-untyped-def]
        if not (0 < count <= rows and 0 < columns <= width):
            raise fault(f"a tile of {rows} x {width} is asked for {count} x {columns}")
        if masked and columns < (vectors - masked) * lanes:
            raise fault(f"a tile of {vectors} vectors with masks for the last {masked} is asked for {columns} columns")
        if not clamped:
            a.reach(grid(rows, a_row, depth, a_k))
        if not masked:
            b.reach(grid(depth, b_k, width))
        of_a, of_b = a.read(grid(count, a_row, depth, a_k)), b.read(grid(depth, b_k, columns))
        _put(c, grid(count, c_row, columns), _product(of_a, of_b), add)

    return run


@word
def strip(dtype: str, *, depth: int, vectors: int, lanes: int) -> Tile:
    """:func:`graphc.codegen.cpu.shallow.strip`."""

    def run(a, a_row, a_k, b, b_k, c, c_row, rows, columns, add):  # type: ignore[no-untyped-def]
        if columns > vectors * lanes:
            raise fault(f"a strip of {vectors * lanes} columns is asked for {columns}")
        of_a, of_b = a.read(grid(rows, a_row, depth, a_k)), b.read(grid(depth, b_k, columns))
        _put(c, grid(rows, c_row, columns), _product(of_a, of_b), add)

    return run


@word
def dot_tile(dtype: str, *, rows: int, columns: int, lanes: int) -> Tile:
    """:func:`graphc.codegen.cpu.dots.dot_tile`."""

    def run(p, p_row, q, q_row, c, c_row, c_col, row_count, column_count, depth, add):  # type: ignore[no-untyped-def]
        if not (0 < row_count <= rows and 0 < column_count <= columns):
            raise fault(f"a tile of {rows} x {columns} dot products is asked for {row_count} x {column_count}")
        of_p, of_q = p.read(grid(row_count, p_row, depth)), q.read(grid(column_count, q_row, depth))
        _put(c, grid(row_count, c_row, column_count, c_col), _product(of_p, of_q.T), add)

    return run


@word
def copier(dtype: str, *, vectors: int, lanes: int) -> Tile:
    """:func:`graphc.codegen.cpu.panels.copier`."""
    width = vectors * lanes

    def run(source, row, to, to_row, rows, columns, ahead):  # type: ignore[no-untyped-def]
        if columns > width:
            raise fault(f"rows of {width} elements are asked for {columns}")
        values = np.zeros((rows, width), dtype)
        values[:, :columns] = source.read(grid(rows, row, columns))
        to.write(grid(rows, to_row, width), values)

    return run


@word
def transposer(dtype: str, *, side: int) -> Tile:
    """:func:`graphc.codegen.cpu.panels.transposer`."""

    def run(source, row, to, to_row, rows, columns):  # type: ignore[no-untyped-def]
        if rows < 1 or columns < 1:
            raise fault(f"a square of {rows} rows and {columns} columns is turned")
        height, width = min(rows, side), min(columns, side)
        values = np.zeros((side, side), dtype)
        values[:height, :width] = source.read(grid(height, row, width))
        values[height:] = values[height - 1]
        to.write(grid(side, to_row, side), values.T)

    return run


@word
def contract(function, a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate):  # type: ignore[no-untyped-def]
    """Run a contraction's text, which must write all of C."""
    function(a, a_row, a_k, b, b_k, b_col, c, c_row, M, N, K, accumulate)
    c.read(grid(M, c_row, N))


@word
def turn(function, source, step, to, width, rows, columns):  # type: ignore[no-untyped-def]
    """Run the text that turns a block."""
    function(source, step, to, width, rows, columns)
