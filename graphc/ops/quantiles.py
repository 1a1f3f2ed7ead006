"""Median and quantiles: elements at places of the sorted order, and what lies between two of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size, floordiv
from graphc.ir.types import Shape, normalize_axes
from graphc.ops.base import as_array, as_tensor, given, promote, require, require_bool, shown
from graphc.ops.elementwise import (
    add,
    cast,
    ceil,
    equal,
    floor,
    isnan,
    minimum,
    multiply,
    round_,
    subtract,
    where,
)  # fmt: skip
from graphc.ops.indexing import take
from graphc.ops.rows import sort
from graphc.ops.shaping import moveaxis
from graphc.ops.sizes import dim_size, size_maximum
from graphc.ops.views import pad, permute_dims, reshape

__all__ = ["median", "quantile"]

METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def _in_order(name: str, x: Any, axis: Any) -> tuple[Tensor, Size, Shape]:
    """Elements along axes in order, as one last axis; their number; the shape of ``x`` with size 1 in their place.

    Where the number is named and may turn out to be 0, a NaN stands behind them, which is then the first.
    """
    (x,) = promote(name, [x], minimum="float")
    axes = normalize_axes(axis, x.ndim, name)
    kept = [k for k in range(x.ndim) if k not in axes]
    rows = reshape(permute_dims(x, (*kept, *axes)), (*(x.shape[k] for k in kept), -1))
    some = rows.shape[-1] != 0
    require(some, ShapeError, f"{name}: expected at least one element along axes {list(axes)}, got {shown(x)}", x)
    size, ordered = rows.shape[-1], sort(rows)
    if isinstance(size, Dim):
        ordered = pad(ordered, [*((0, 0) for _ in kept), (0, 1)], math.nan)
    return ordered, size, tuple(1 if k in axes else extent for k, extent in enumerate(x.shape))


def _at(ordered: Tensor, places: Tensor) -> Tensor:
    """Elements at places of the last axis, which stand in front then."""
    found = take(ordered, cast(places, "int64"), axis=ordered.ndim - 1)
    return moveaxis(found, -1, 0) if places.ndim else found


def _or_nan(ordered: Tensor, size: Size, value: Tensor) -> Tensor:
    """NaN where an element is NaN; these are last in order."""
    last = _at(ordered, dim_size(size_maximum(size - 1, 0)))
    return where(isnan(last), last, value)


def median(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The element in the middle of the order along axes, the mean of two where their number is even.

    Parameters
    ----------
    x : Tensor or array_like
        Integers become float32.
    axis : int or sequence of int, optional
        All axes if not given.
    keepdims : bool

    Returns
    -------
    Tensor
        NaN where an element is NaN, and where a named axis turns out to be empty.

    Raises
    ------
    ShapeError
        If an axis is out of range or named twice, or its size is 0.
    """
    require_bool("median", "keepdims", keepdims)
    ordered, size, kept = _in_order("median", x, axis)
    below, above = (dim_size(floordiv(count, 2)) for count in (size_maximum(size - 1, 0), size))
    low, high = _at(ordered, below), _at(ordered, above)
    value = _or_nan(ordered, size, where(equal(below, above), low, multiply(add(low, high), 0.5)))
    return reshape(value, kept) if keepdims else value


def quantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Tensor:
    """Values that parts ``q`` of the elements along axes do not exceed.

    Parameters
    ----------
    x : Tensor or array_like
        Integers become float32.
    q : float or sequence of float
        From 0 to 1; known now. Of several the results stand along a new first axis.
    axis : int or sequence of int, optional
        All axes if not given.
    keepdims : bool
    method : {"linear", "lower", "higher", "nearest", "midpoint"}
        What is taken where ``q * (n - 1)`` lies between two places of the order: as in NumPy.

    Returns
    -------
    Tensor
        NaN where an element is NaN, and where a named axis turns out to be empty.

    Raises
    ------
    GraphError
        If ``q`` holds no numbers, or any beyond 0 and 1, or there is no such method.
    ShapeError
        If an axis is out of range or named twice, or its size is 0.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise GraphError(f"quantile: expected method to be one of {', '.join(METHODS)}, got {given(method)}")
    parts = None if isinstance(q, Tensor) else as_array(q)
    if parts is None or parts.dtype.kind not in "fiu" or parts.ndim > 1 or not np.all((parts >= 0) & (parts <= 1)):
        raise GraphError(f"quantile: expected q to be a number from 0 to 1, or several, got {given(q)}")
    require_bool("quantile", "keepdims", keepdims)
    ordered, size, kept = _in_order("quantile", x, axis)
    last = cast(dim_size(size_maximum(size - 1, 0)), "float64")
    place = multiply(last, as_tensor(parts, "float64"))
    below = floor(place)
    above = minimum(add(below, 1), last)
    if method in ("lower", "higher", "nearest"):
        value = _at(ordered, {"lower": below, "higher": ceil(place), "nearest": round_(place)}[method])
    else:
        low, high = _at(ordered, below), _at(ordered, above)
        share = subtract(place, below) if method == "linear" else where(equal(place, below), 0.0, 0.5)
        share = reshape(cast(share, ordered.dtype), (*parts.shape, *(1 for _ in ordered.shape[1:])))
        span = subtract(high, low)
        # from the nearer end, so that equal elements give themselves and both ends are exact
        value = where(share < 0.5, add(low, multiply(span, share)), subtract(high, multiply(span, subtract(1, share))))
    value = _or_nan(ordered, size, value)
    return reshape(value, (*parts.shape, *kept)) if keepdims else value
