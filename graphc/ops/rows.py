"""Ordering along an axis: sort, argsort, top_k.

The primitive ``sort_rows`` sorts every row of the last axis and says where each element came from. Sorting moves
elements and changes none, so its derivative moves the cotangents back to where the elements came from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import RowRoutine, Sample, op
from graphc.ir.types import FLOATS, INTEGERS, TensorType, is_whole, normalize_axis
from graphc.ops.base import as_tensor, given, require, require_bool, shown
from graphc.ops.indexing import accumulate_along_axis
from graphc.ops.joining import part
from graphc.ops.logic import cast
from graphc.ops.samples import integers, spread
from graphc.ops.shaping import moveaxis

Array = np.ndarray[Any, Any]

__all__ = ["argsort", "sort", "top_k"]


@op
class sort_rows(RowRoutine):
    """Rows of the last axis in order, and the int64 positions that their elements had.

    Stable: equal elements keep their order, descending too. NaNs come last, both ways.
    """

    public = False
    routine = "sort"
    dtypes = (*INTEGERS, *FLOATS)
    samples = (
        Sample(spread(3, 7)),
        Sample(spread(2, 3, 5), descending=True),
        Sample(integers(4, 9, low=0, high=4), descending=True, differentiable=False),
        Sample(np.array([2.0, np.nan, -np.inf, 2.0, np.nan, np.inf, -0.0, 0.0]), differentiable=False),
        Sample(np.array([2.0, np.nan, -np.inf, 2.0, np.nan, np.inf, -0.0, 0.0]), descending=True, differentiable=False),
    )

    def __call__(self, x: Any, descending: bool = False) -> tuple[Tensor, Tensor]:
        return self.make(as_tensor(x), descending=bool(descending))

    def infer(self, *inputs: Tensor, descending: bool) -> tuple[TensorType, TensorType]:
        (x,) = inputs
        require(x.ndim > 0, ShapeError, f"sort: expected at least one axis, got the shape {shown(x)}", x)
        return x.type, TensorType(x.shape, np.dtype("int64"))

    def compute(self, node: Node, *inputs: Array) -> tuple[Array, Array]:
        (x,) = inputs
        if node["descending"]:
            # Ascending from the other end, read backwards: equal elements then keep their order, but NaNs lead.
            order = x.shape[-1] - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
            nan_last = np.argsort(np.isnan(np.take_along_axis(x, order, -1)), axis=-1, kind="stable")
            order = np.take_along_axis(order, nan_last, -1)
        else:
            order = np.argsort(x, axis=-1, kind="stable")
        return np.take_along_axis(x, order, -1), order.astype(np.int64)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x,), order, g = node.inputs, node.results[1], cotangents[0]
        return (accumulate_along_axis.make(order, g, size=x.shape[-1], axis=x.ndim - 1),)


def _sorted(name: str, x: Any, axis: int, descending: bool, stable: bool = True) -> tuple[Tensor, Tensor]:
    """Values and positions in order along an axis."""
    x = as_tensor(x)
    require_bool(name, "descending", descending)
    require_bool(name, "stable", stable)
    require(x.ndim > 0, ShapeError, f"{name}: expected at least one axis, got the shape {shown(x)}", x)
    axis = normalize_axis(axis, x.ndim, name)
    keys = cast(x, "uint8") if x.dtype.kind == "b" else x
    values, order = sort_rows(moveaxis(keys, axis, -1), descending)
    return cast(moveaxis(values, -1, axis), x.dtype), moveaxis(order, -1, axis)


def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Elements in order along an axis; stable, NaNs last.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int
    descending : bool
        From the largest to the smallest; NaNs are last then too.
    stable : bool
        Whether equal elements keep their order, which they always do.

    Returns
    -------
    Tensor
        Of the type of ``x``.

    Raises
    ------
    ShapeError
        If ``x`` is a scalar or the axis is out of range.
    """
    return _sorted("sort", x, axis, descending, stable)[0]


def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """Positions (int64) that put the elements in order along an axis: as :func:`sort`, stable, NaNs last."""
    return _sorted("argsort", x, axis, descending, stable)[1]


def top_k(x: Any, k: int, axis: int = -1) -> tuple[Tensor, Tensor]:
    """The ``k`` largest elements along an axis, largest first, and their positions.

    Parameters
    ----------
    x : Tensor or array_like
    k : int
        Between 0 and the size of the axis, which must be static.
    axis : int

    Returns
    -------
    values : Tensor
        The shape of ``x`` with size ``k`` along the axis.
    indices : Tensor
        int64; of equal elements the first comes first.

    Raises
    ------
    ShapeError
        If ``k`` does not fit the axis, or its size is known only when the program runs.
    """
    x = as_tensor(x)
    require(x.ndim > 0, ShapeError, f"top_k: expected at least one axis, got the shape {shown(x)}", x)
    axis = normalize_axis(axis, x.ndim, "top_k")
    size = x.shape[axis]
    require(isinstance(size, int), ShapeError, f"top_k: expected a static size along axis {axis}, got {shown(x)}", x)
    fits = is_whole(k) and 0 <= k <= size
    require(fits, ShapeError, f"top_k: expected k between 0 and {size}, the size of axis {axis}, got {given(k)}", x)
    values, order = _sorted("top_k", x, axis, descending=True)
    return part(values, axis, 0, int(k)), part(order, axis, 0, int(k))
