"""Searching in sorted sequences, and counting between their elements.

At the end what cannot be searched for, because the shape of the answer would depend on data.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.types import as_shape, is_whole
from graphc.ops.base import as_tensor, given, promote, require, shown
from graphc.ops.control import scan
from graphc.ops.elementwise import (
    add,
    divide,
    equal,
    greater_equal,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_or,
    minimum,
    multiply,
    subtract,
    where,
)
from graphc.ops.indexing import accumulate, as_indices, take
from graphc.ops.reductions import max_, min_
from graphc.ops.shaping import ones, zeros_like
from graphc.ops.sizes import dim_size, iota, size_of
from graphc.ops.sources import constant
from graphc.ops.views import pad, reshape

__all__ = ["argwhere", "flatnonzero", "histogram", "nonzero", "searchsorted", "unique"]

LARGEST = 48
"""Bits of a position in a sequence of named length: more elements than fit in memory."""


def searchsorted(sorted_sequence: Any, values: Any, side: str = "left", sorter: Any = None) -> Tensor:
    """Where values would have to be inserted to keep a sequence sorted: a binary search for each.

    Parameters
    ----------
    sorted_sequence : Tensor or array_like
        Of rank 1, in ascending order, NaNs last; not checked.
    values : Tensor or array_like
        Of any shape. NaN counts as larger than any number, as in :func:`sort`.
    side : {"left", "right"}
        Before or behind elements that equal the value.
    sorter : Tensor or array_like of int, optional
        Positions that put the sequence in order, as :func:`argsort` gives them.

    Returns
    -------
    Tensor
        int64, of the shape of the values: ``left`` the number of elements less than the value, ``right`` of those less
        or equal.

    Raises
    ------
    ShapeError
        If the sequence is not of rank 1.
    GraphError
        If ``side`` is neither.
    """
    sequence, values = promote("searchsorted", [sorted_sequence, values], minimum="int")
    require(
        sequence.ndim == 1,
        ShapeError,
        f"searchsorted: expected a sequence of rank 1, got the shape {shown(sequence)}",
        sequence,
    )
    if side not in ("left", "right"):
        raise GraphError(f"searchsorted: expected side to be 'left' or 'right', got {given(side)}")
    if sorter is not None:
        order = as_indices("searchsorted", sorter, sequence.shape[0])
        message = f"searchsorted: expected a sorter of shape {shown(sequence)}, got {shown(order)}"
        require(order.shape == sequence.shape, ShapeError, message, order)
        sequence = take(sequence, order, axis=0)
    (length,) = sequence.shape
    bits = length.bit_length() if isinstance(length, int) else LARGEST
    if bits == 0:
        return zeros_like(values, "int64")
    count, padded = size_of(sequence, 0), pad(sequence, ((0, 1),))

    def step(found: Tensor, stride: Tensor) -> tuple[Tensor, None]:
        """One more bit of the number of elements that stand before the value, the highest first."""
        tried = add(found, stride)
        element = take(padded, minimum(subtract(tried, 1), count), axis=0)
        return where(logical_and(less_equal(tried, count), _stands_before(element, values, side)), tried, found), None

    strides = constant([1 << bit for bit in reversed(range(bits))], "int64")
    return scan(step, zeros_like(values, "int64"), strides)[0]


def _stands_before(element: Tensor, value: Tensor, side: str) -> Tensor:
    """Whether an element of the sequence stands before the place of a value; NaN is larger than any number."""
    before = less(element, value) if side == "left" else less_equal(element, value)
    if value.dtype.kind != "f":
        return before
    unordered = isnan(value) if side == "right" else logical_and(isnan(value), equal(element, element))
    return logical_or(before, unordered)


def histogram(x: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> tuple[Tensor, Tensor]:
    """How many elements, or how much weight of them, lie in each of neighbouring bins.

    Parameters
    ----------
    x : Tensor or array_like
        Of any shape; integers become float32.
    bins : int, or Tensor or array_like
        Number of bins of equal width, or their ``n + 1`` edges in ascending order.
    range : (number, number), optional
        Where bins of equal width begin and end; the smallest and the largest element if not given.
    weights : Tensor or array_like, optional
        Of the shape of ``x``.

    Returns
    -------
    counts : Tensor
        One for each bin: int64, or of the dtype of the weights. A bin contains its lower edge, the last one its upper
        edge, too. Elements beyond all bins, and NaNs, are in none.
    edges : Tensor
        Of the dtype of ``x``.

    Raises
    ------
    GraphError
        If there is no bin, or the range is no two numbers in ascending order.
    ShapeError
        If the edges are not of rank 1, or the weights have another shape than ``x``.
    """
    (x,) = promote("histogram", [x], minimum="float")
    weights = ones(x.shape, "int64") if weights is None else as_tensor(weights)
    expected = f"histogram: expected weights of shape {shown(x)}, got {shown(weights)}"
    require(weights.shape == x.shape, ShapeError, expected, weights)
    x, weights = reshape(x, (-1,)), reshape(weights, (-1,))
    edges = _edges(x, bins, range)
    count = edges.shape[0] - 1
    found = subtract(searchsorted(edges, x, "right"), 1)
    last = dim_size(count)
    found = where(equal(x, edges[-1]), subtract(last, 1), found)
    inside = logical_and(greater_equal(x, edges[0]), less_equal(x, edges[-1]))
    totals = accumulate.make(where(inside, found, last), weights, sizes=(count + 1,), axis=0)
    return totals[:count], edges


def _edges(x: Tensor, bins: Any, limits: Any) -> Tensor:
    """The edges of bins, of the dtype of ``x``."""
    if not is_whole(bins):
        edges = as_tensor(bins, x.dtype)
        message = f"histogram: expected the number of bins, or at least two edges in rank 1, got {shown(edges)}"
        require(edges.ndim == 1 and edges.shape[0] not in (0, 1), ShapeError, message, edges)
        return edges
    if bins < 1:
        raise GraphError(f"histogram: expected at least one bin, got {bins}")
    as_shape((int(bins),), "histogram: bins")
    ends = (min_(x), max_(x)) if limits is None else _range(limits)
    low, high = (as_tensor(end, x.dtype) for end in ends)
    widen = where(equal(low, high), 0.5, 0.0)
    low, high = subtract(low, widen), add(high, widen)
    places = iota((int(bins) + 1,), 0, x.dtype)
    inner = add(low, multiply(places, divide(subtract(high, low), float(bins))))
    return where(equal(places, float(bins)), high, inner)


def _range(limits: Any) -> tuple[float, float]:
    """Where bins begin and end, as floats."""
    try:
        low, high = map(float, limits)
    except (TypeError, ValueError, GraphError):
        raise GraphError(f"histogram: expected range to be two numbers, got {given(limits)}") from None
    if not -np.inf < low <= high < np.inf:
        raise GraphError(f"histogram: expected a range of finite numbers in ascending order, got {low} and {high}")
    return low, high


def _depends_on_data(name: str, hint: str) -> NoReturn:
    raise GraphError(
        f"{name}: the shape of the result would depend on data, but shapes are known when a tensor is declared",
        hint=hint,
    )


def nonzero(x: Any) -> NoReturn:
    """Refused: how many elements differ from 0 is known only when the program runs.

    Raises
    ------
    GraphError
        Always; the hint names what to use.
    """
    as_tensor(x)
    _depends_on_data("nonzero", MASKS)


def flatnonzero(x: Any) -> NoReturn:
    """Refused, as :func:`nonzero`."""
    as_tensor(x)
    _depends_on_data("flatnonzero", MASKS)


def argwhere(x: Any) -> NoReturn:
    """Refused, as :func:`nonzero`."""
    as_tensor(x)
    _depends_on_data("argwhere", MASKS)


def unique(x: Any, *arguments: Any, **options: Any) -> NoReturn:
    """Refused: how many different elements there are is known only when the program runs.

    Raises
    ------
    GraphError
        Always; the hint names what to use.
    """
    as_tensor(x)
    _depends_on_data(
        "unique", "np.unique of an array that is known now; or graphc.bincount(x, length=...) counts small integers"
    )


MASKS = (
    "graphc.where(mask, x, y) chooses, graphc.count_nonzero counts, graphc.top_k and graphc.argsort order; "
    "np.nonzero if the mask is known now"
)
