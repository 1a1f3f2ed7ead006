"""Functions that reshape, join, cut up and fill tensors, made of the views and of constants."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size, exact_quotient
from graphc.ir.types import as_dtype, as_shape, normalize_axes, normalize_axis
from graphc.ops.base import as_tensor, promote, require, shown
from graphc.ops.sources import constant
from graphc.ops.views import broadcast_to, concat, permute_dims, reshape, strided_slice

__all__ = [
    "expand_dims", "full", "full_like", "matrix_transpose", "moveaxis", "ones", "ones_like", "split", "squeeze",
    "stack", "swapaxes", "unstack", "zeros", "zeros_like",
]  # fmt: skip


def full(shape: Any, value: Any, dtype: Any = None) -> Tensor:
    """A tensor filled with one value.

    Parameters
    ----------
    shape : int, str, Dim, or sequence of these
        Named dims are allowed.
    value : number or scalar Tensor
    dtype : dtype, optional
        Without it that of the value: float32 for a Python float, int64 for an int.

    Returns
    -------
    Tensor
    """
    filling = as_tensor(value) if dtype is None or isinstance(value, Tensor) else constant(value, as_dtype(dtype))
    require(filling.ndim == 0, ShapeError, f"full: expected a scalar value, got the shape {shown(filling)}", filling)
    return broadcast_to(as_tensor(filling, dtype), as_shape(shape, "full"))


def zeros(shape: Any, dtype: Any = "float32") -> Tensor:
    """A tensor of zeros; see :func:`full`."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = "float32") -> Tensor:
    """A tensor of ones; see :func:`full`."""
    return full(shape, 1, dtype)


def full_like(x: Any, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of the shape of ``x``, and of its dtype unless another is given, filled with one value."""
    x = as_tensor(x)
    return x.admit(full(x.shape, value, x.dtype if dtype is None else dtype), apart=True)


def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros of the shape and dtype of ``x``."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones of the shape and dtype of ``x``."""
    return full_like(x, 1, dtype)


def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Tensor:
    """New axes of size 1, at the places ``axis`` of the result.

    Raises
    ------
    ShapeError
        If a place is out of range of the result's rank, or named twice.
    """
    x = as_tensor(x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    places = normalize_axes(axis, x.ndim + count, "expand_dims")
    sizes = iter(x.shape)
    return reshape(x, tuple(1 if k in places else next(sizes) for k in range(x.ndim + count)))


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Drop axes of size 1: those named, or all.

    Raises
    ------
    ShapeError
        If a named axis has another size; a named dim never counts as 1.
    """
    x = as_tensor(x)
    if axis is None:
        axes: tuple[int, ...] = tuple(k for k, size in enumerate(x.shape) if size == 1)
    else:
        axes = normalize_axes(axis, x.ndim, "squeeze")
    for k in axes:
        require(x.shape[k] == 1, ShapeError, f"squeeze: expected size 1 along axis {k}, got {shown(x)}", x)
    return reshape(x, tuple(size for k, size in enumerate(x.shape) if k not in axes))


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Move axes to other places; the rest keep their order.

    Raises
    ------
    ShapeError
        If an axis is out of range or named twice, or the two lists differ in length.
    """
    x = as_tensor(x)
    origins = [source] if isinstance(source, int) else list(source)
    targets = [destination] if isinstance(destination, int) else list(destination)
    origins = [normalize_axis(axis, x.ndim, "moveaxis") for axis in origins]
    targets = [normalize_axis(axis, x.ndim, "moveaxis") for axis in targets]
    if len(set(origins)) != len(origins) or len(set(targets)) != len(targets) or len(origins) != len(targets):
        raise ShapeError(f"moveaxis: expected as many different axes from as to, got {source} and {destination}")
    moved = dict(zip(targets, origins, strict=True))
    rest = iter(k for k in range(x.ndim) if k not in origins)
    return permute_dims(x, [moved[k] if k in moved else next(rest) for k in range(x.ndim)])


def swapaxes(x: Any, first: int, second: int) -> Tensor:
    """Two axes interchanged."""
    x = as_tensor(x)
    first, second = (normalize_axis(axis, x.ndim, "swapaxes") for axis in (first, second))
    return permute_dims(x, [{first: second, second: first}.get(k, k) for k in range(x.ndim)])


def matrix_transpose(x: Any) -> Tensor:
    """The last two axes interchanged.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    x = as_tensor(x)
    require(x.ndim >= 2, ShapeError, f"matrix_transpose: expected at least two axes, got the shape {shown(x)}", x)
    return swapaxes(x, -1, -2)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis, at the place ``axis`` of the result.

    Raises
    ------
    GraphError
        If there is no tensor.
    ShapeError
        If shapes differ.
    """
    parts = promote("stack", list(tensors))
    if not parts:
        raise GraphError("stack: expected at least one tensor, got none")
    for part in parts[1:]:
        same = part.shape == parts[0].shape
        require(same, ShapeError, f"stack: expected one shape, got {shown(parts[0])} and {shown(part)}", part)
    axis = normalize_axis(axis, parts[0].ndim + 1, "stack")
    return concat([expand_dims(part, axis) for part in parts], axis)


def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along a static axis, without that axis.

    Raises
    ------
    ShapeError
        If the axis is a named dim.
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "unstack")
    size = x.shape[axis]
    if isinstance(size, Dim):
        raise ShapeError(f"unstack: expected a static size along axis {axis}, got {shown(x)}", operands=(x,))
    return tuple(squeeze(_part(x, axis, place, 1), axis) for place in range(size))


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut a tensor along an axis.

    Parameters
    ----------
    x : Tensor or array_like
    sections : int or sequence of int
        How many equal parts, or, as in NumPy, the places at which to cut (not negative, in order; a cut beyond the end
        gives empty parts).
    axis : int

    Returns
    -------
    list of Tensor

    Raises
    ------
    ShapeError
        If the axis is no multiple of the number of parts, the places are out of order, or places are given for an axis
        that is a named dim.
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "split")
    size = x.shape[axis]
    if isinstance(sections, (int, np.integer)):
        count = int(sections)
        width = exact_quotient(size, count) if count > 0 else None
        if width is None:
            raise ShapeError(f"split: an axis of size {size} does not make {count} equal parts", operands=(x,))
        return [_part(x, axis, width * k, width) for k in range(count)]
    if isinstance(size, Dim):
        raise ShapeError(f"split: expected a static size along axis {axis}, got {shown(x)}", operands=(x,))
    places = [0, *(min(int(place), size) for place in sections), size]
    if sorted(places) != places:
        raise ShapeError(f"split: expected places of at least 0 in order, got {list(sections)}", operands=(x,))
    return [_part(x, axis, start, stop - start) for start, stop in pairwise(places)]


def _part(x: Tensor, axis: int, start: Size, size: Size) -> Tensor:
    """``size`` places of an axis from ``start`` on."""
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    sizes = tuple(size if k == axis else extent for k, extent in enumerate(x.shape))
    return strided_slice(x, starts, sizes, (1,) * x.ndim)
