"""Sorting of rows, as functions that kernels call.

A stable merge sort of positions, bottom up: runs of 16 by insertion, then runs of twice the length by merging, to and
fro between the result and a second array. Positions are compared by the elements they stand for; NaN is after
everything else, in both directions, so the order is that of ``numpy.argsort(kind="stable")``.
"""

from __future__ import annotations

from typing import Any

from graphc.codegen.cpu.frontend import procedure
from graphc.codegen.cpu.intrinsics import as_int64, load, minimum_int, store

RUN = 16


@procedure
def comes_before(a: Any, b: Any, descending: bool) -> bool:
    """Whether ``a`` must stand before ``b``; false for equals and for NaN before anything."""
    if descending:
        return a > b or (a == a and b != b)
    return a < b or (a == a and b != b)


@procedure
def sort_runs(row: Any, order: Any, extent: int, descending: bool) -> None:
    """Set ``order`` to 0, 1, 2 ... with every run of 16 in order, by insertion."""
    for start in range(0, extent, RUN):
        for position in range(start, minimum_int(start + RUN, extent)):
            moving = load(row, position)
            hole = position
            while hole > start and comes_before(moving, load(row, load(order, hole - 1)), descending):
                store(order, hole, load(order, hole - 1))
                hole -= 1
            store(order, hole, position)


@procedure
def merge(row: Any, source: Any, target: Any, start: int, middle: int, stop: int, descending: bool) -> None:
    """Merge the ordered ``source[start:middle]`` and ``source[middle:stop]`` into ``target[start:stop]``."""
    left, right = start, middle
    for place in range(start, stop):
        take_right = left >= middle
        if not take_right and right < stop:
            take_right = comes_before(load(row, load(source, right)), load(row, load(source, left)), descending)
        if take_right:
            store(target, place, load(source, right))
            right += 1
        else:
            store(target, place, load(source, left))
            left += 1


@procedure
def sort_row(row: Any, values: Any, order: Any, spare: Any, extent: int, descending: bool) -> None:
    """Sort a row.

    Parameters
    ----------
    row : pointer
        ``extent`` elements; not changed.
    values : pointer
        Receives the elements in order; of the dtype of ``row``, apart from it.
    order : pointer to int64
        Receives their positions in ``row``.
    spare : pointer to int64
        ``extent`` elements of scratch.
    extent : int
    descending : bool
    """
    sort_runs(row, order, extent, descending)
    source, target = order, spare
    length = as_int64(RUN)  # the variable's type, not that of the constant
    while length < extent:
        for start in range(0, extent, 2 * length):
            middle = minimum_int(start + length, extent)
            merge(row, source, target, start, middle, minimum_int(start + 2 * length, extent), descending)
        source, target = target, source
        length *= 2
    for place in range(extent):
        position = load(source, place)
        store(values, place, load(row, position))
        store(order, place, position)
