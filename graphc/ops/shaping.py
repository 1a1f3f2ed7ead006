"""Functions that reshape and fill tensors, made of the views and of constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.types import (
    DEFAULT_FLOAT,
    as_dtype,
    as_shape,
    is_integer,
    is_number,
    normalize_axes,
    normalize_axis,
    one_or_more,
    ordered_axes,
)
from graphc.ops.base import as_tensor, given, promote, require, require_bool, require_no_device, shown
from graphc.ops.elementwise import add, cast, divide, equal, floor, multiply, subtract, where
from graphc.ops.sizes import dim_size, iota, size_maximum
from graphc.ops.sources import constant
from graphc.ops.views import broadcast_to, permute_dims, reshape

__all__ = [
    "empty", "empty_like", "expand_dims", "full", "full_like", "linspace", "matrix_transpose", "moveaxis", "ones",
    "ones_like", "squeeze", "swapaxes", "zeros", "zeros_like",
]  # fmt: skip


def full(shape: Any, fill_value: Any, dtype: Any = None, device: None = None) -> Tensor:
    """A tensor filled with one value.

    Parameters
    ----------
    shape : int, str, Dim, or sequence of these
        Named dims are allowed.
    fill_value : number or scalar Tensor
    dtype : dtype, optional
        Without it that of the value: float32 for a Python float, int64 for an int.
    device : None
        There for the array API standard's sake, and refused: the session that runs a graph has a device.

    Returns
    -------
    Tensor
    """
    return _filled("full", shape, fill_value, dtype, device)


def _filled(name: str, shape: Any, value: Any, dtype: Any, device: None) -> Tensor:
    require_no_device(name, device)
    filling = value if isinstance(value, Tensor) else constant(value, dtype)
    require(filling.ndim == 0, ShapeError, f"{name}: expected a scalar value, got the shape {shown(filling)}", filling)
    return broadcast_to(as_tensor(filling, dtype), as_shape(shape, name))


def zeros(shape: Any, dtype: Any = None, device: None = None) -> Tensor:
    """A tensor of zeros, float32 unless another dtype is given; see :func:`full`."""
    return _filled("zeros", shape, 0, DEFAULT_FLOAT if dtype is None else dtype, device)


def ones(shape: Any, dtype: Any = None, device: None = None) -> Tensor:
    """A tensor of ones, float32 unless another dtype is given; see :func:`full`."""
    return _filled("ones", shape, 1, DEFAULT_FLOAT if dtype is None else dtype, device)


def empty(shape: Any, dtype: Any = None, device: None = None) -> Tensor:
    """:func:`zeros` under the name of what nobody has filled yet: a graph has no memory to leave as it is."""
    return _filled("empty", shape, 0, DEFAULT_FLOAT if dtype is None else dtype, device)


def full_like(x: Any, fill_value: Any, dtype: Any = None, device: None = None) -> Tensor:
    """A tensor of the shape of ``x``, and of its dtype unless another is given, filled with one value."""
    x = as_tensor(x)
    return x.admit(full(x.shape, fill_value, x.dtype if dtype is None else dtype, device), apart=True)


def zeros_like(x: Any, dtype: Any = None, device: None = None) -> Tensor:
    """Zeros of the shape and dtype of ``x``."""
    return full_like(x, 0, dtype, device)


def ones_like(x: Any, dtype: Any = None, device: None = None) -> Tensor:
    """Ones of the shape and dtype of ``x``."""
    return full_like(x, 1, dtype, device)


def empty_like(x: Any, dtype: Any = None, device: None = None) -> Tensor:
    """:func:`zeros_like`; see :func:`empty`."""
    return zeros_like(x, dtype, device)


def linspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, device: None = None
) -> Tensor:
    """Evenly spaced numbers from ``start`` to ``stop``.

    Parameters
    ----------
    start, stop : number or scalar Tensor
        Numbers are float64 until the last step.
    num : int, str or Dim
        How many, at least 0.
    endpoint : bool
        Whether the last one is ``stop``, exactly, or one step before it.
    dtype : dtype, optional
        float32 if not given, or that of the tensors. For integers the numbers are rounded down.
    device : None
        See :func:`full`.

    Returns
    -------
    Tensor
        Of rank 1: ``start + i * (stop - start) / (num - 1)``, or ``/ num`` without the end point.

    Raises
    ------
    ShapeError
        If a bound is no scalar, or ``num`` no size.
    DTypeError
        If a bound is no number.
    """
    require_no_device("linspace", device)
    (num,) = as_shape((num,), "linspace: num")
    require_bool("linspace", "endpoint", endpoint)
    symbolic = any(isinstance(bound, Tensor) for bound in (start, stop))
    for bound in (start, stop):
        number = is_number(bound) or isinstance(bound, Tensor)
        require(number, DTypeError, f"linspace: expected numbers or scalar tensors, got {given(bound)}")
    bounds = [start, stop] if symbolic else [np.float64(bound) for bound in (start, stop)]
    first, last = promote("linspace", bounds, minimum="float")
    for bound in (first, last):
        require(bound.ndim == 0, ShapeError, f"linspace: expected scalars, got the shape {shown(bound)}", bound)
    kind = as_dtype(dtype) if dtype is not None else first.dtype if symbolic else DEFAULT_FLOAT
    gaps = cast(dim_size(size_maximum(num - 1 if endpoint else num, 1)), first.dtype)
    place = iota((num,), 0, first.dtype)
    span = subtract(last, first)
    step = divide(span, gaps)
    # as NumPy does it; a step that underflows to 0 would lose the span altogether
    offset = where(equal(step, 0), multiply(divide(place, gaps), span), multiply(place, step))
    values = add(offset, first)
    if endpoint:
        values = where(equal(place, gaps), last, values)
    return cast(floor(values) if is_integer(kind) else values, kind)


def expand_dims(x: Any, axis: int | Sequence[int] = 0) -> Tensor:
    """New axes of size 1, at the places ``axis`` of the result.

    Raises
    ------
    ShapeError
        If a place is out of range of the result's rank, or named twice.
    """
    x = as_tensor(x)
    count = len(one_or_more(axis))
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
    origins, targets = (ordered_axes(axes, x.ndim, "moveaxis") for axes in (source, destination))
    if len(origins) != len(targets):
        raise ShapeError(f"moveaxis: expected as many axes from as to, got {given(source)} and {given(destination)}")
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
