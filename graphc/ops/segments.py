"""Reductions over segments: elements that carry the same number are combined.

``segment_ids`` says which segment each element (or row) belongs to; the numbers need no order. A segment is a place of
the result, so these are indexed accumulations: see :mod:`graphc.ops.scatter`. A number outside
``range(num_segments)``, a negative one too, is an error when the program runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Size
from graphc.ir.types import as_shape
from graphc.ops.base import as_tensor, promote, require, shown
from graphc.ops.elementwise import cast, divide, maximum
from graphc.ops.indexing import accumulate, as_indices, in_range
from graphc.ops.reductions import limits
from graphc.ops.scatter import scatter_max, scatter_min
from graphc.ops.shaping import full, ones
from graphc.ops.views import broadcast_to, reshape

Array = np.ndarray[Any, Any]

__all__ = ["bincount", "segment_max", "segment_mean", "segment_min", "segment_sum"]


def _arguments(name: str, data: Any, ids: Any, num_segments: Any) -> tuple[Tensor, Tensor, Size]:
    """Data, checked numbers of segments, and how many segments there are."""
    data = as_tensor(data)
    data = cast(data, "int64") if data.dtype.kind == "b" else data
    sizes = as_shape((num_segments,), f"{name}: num_segments")
    ids = as_indices(name, ids, sizes[0], from_end=False)
    require(
        1 <= ids.ndim <= data.ndim and data.shape[: ids.ndim] == ids.shape,
        ShapeError,
        f"{name}: expected segment ids of the shape of the first axes of the data {shown(data)}, got {shown(ids)}",
        ids,
    )
    return data, in_range.make(ids, size=sizes[0]), sizes[0]


def segment_sum(data: Any, segment_ids: Any, num_segments: Any) -> Tensor:
    """Sums of the elements of each segment; 0 for a segment without any.

    Parameters
    ----------
    data : Tensor or array_like
        Bools count as int64.
    segment_ids : Tensor or array_like of int
        Of the shape of the first axes of the data, in any order; each within ``range(num_segments)``.
    num_segments : int, Dim or str

    Returns
    -------
    Tensor
        Of shape ``(num_segments, *rest)``, where ``rest`` are the axes of the data that the ids do not have.

    Raises
    ------
    IndexOutOfRangeError
        If an id lies outside; when the program runs, or at once for constants.
    ShapeError, DTypeError
        If the ids do not fit the data or are no integers, or ``num_segments`` is no size.
    """
    data, ids, size = _arguments("segment_sum", data, segment_ids, num_segments)
    return accumulate.make(ids, data, sizes=(size,), axis=0)


def segment_mean(data: Any, segment_ids: Any, num_segments: Any) -> Tensor:
    """Arithmetic means of the elements of each segment; 0 for a segment without any. Integers become float32.

    Arguments and errors are those of :func:`segment_sum`.
    """
    data, ids, size = _arguments("segment_mean", data, segment_ids, num_segments)
    (data,) = promote("segment_mean", [data], minimum="float")
    total = accumulate.make(ids, data, sizes=(size,), axis=0)
    count = cast(maximum(accumulate.make(ids, ones(ids.shape, "int64"), sizes=(size,), axis=0), 1), data.dtype)
    rest = (1,) * (total.ndim - 1)
    return divide(total, broadcast_to(reshape(count, (size, *rest)), total.shape))


def segment_max(data: Any, segment_ids: Any, num_segments: Any) -> Tensor:
    """The largest element of each segment; NaN if there is one. Elements that tie share the derivative equally.

    A segment without elements is minus infinity, or the lowest integer. Arguments and errors are those of
    :func:`segment_sum`; bools stay bools.
    """
    return _extreme("segment_max", scatter_max, 0, data, segment_ids, num_segments)


def segment_min(data: Any, segment_ids: Any, num_segments: Any) -> Tensor:
    """The smallest element of each segment; NaN if there is one. Elements that tie share the derivative equally.

    A segment without elements is infinity, or the highest integer. Arguments and errors are those of
    :func:`segment_sum`; bools stay bools.
    """
    return _extreme("segment_min", scatter_min, 1, data, segment_ids, num_segments)


def _extreme(name: str, scatter: Any, end: int, data: Any, ids: Any, num_segments: Any) -> Tensor:
    data = as_tensor(data)
    if data.dtype.kind == "b":
        return cast(_extreme(name, scatter, end, cast(data, "uint8"), ids, num_segments), "bool")
    data, ids, size = _arguments(name, data, ids, num_segments)
    empty = full((size, *data.shape[ids.ndim :]), limits(data.dtype)[end], data.dtype)
    return scatter.make(empty, ids, data, axis=0)


def bincount(x: Any, weights: Any = None, length: Any = None) -> Tensor:
    """How often each number of ``range(length)`` occurs in ``x``, or the sums of their weights.

    Parameters
    ----------
    x : Tensor or array_like of int
        Of any shape; each element within ``range(length)``.
    weights : Tensor or array_like, optional
        Of the shape of ``x``.
    length : int, Dim or str
        How many numbers are counted. It must be given: NumPy's result is as long as the largest number demands.

    Returns
    -------
    Tensor
        Of shape ``(length,)``: int64, or of the dtype of the weights.

    Raises
    ------
    IndexOutOfRangeError
        If a number lies outside; when the program runs, or at once for constants.
    ShapeError, DTypeError
        If the weights have another shape, or ``x`` is not of integers.
    GraphError
        If the length is missing.
    """
    x = as_tensor(x)
    if length is None:
        raise GraphError(
            "bincount: expected length=: else the shape of the result would depend on data",
            hint="graphc.bincount(x, length=10) counts 0 to 9",
        )
    weights = ones(x.shape, "int64") if weights is None else as_tensor(weights)
    if weights.shape != x.shape:
        raise ShapeError(f"bincount: expected weights of shape {shown(x)}, got {shown(weights)}", operands=(weights,))
    if x.ndim == 0:
        x, weights = reshape(x, (1,)), reshape(weights, (1,))
    data, ids, size = _arguments("bincount", weights, x, length)
    return accumulate.make(ids, data, sizes=(size,), axis=0)
