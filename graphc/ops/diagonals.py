"""Diagonals and triangles of matrices, and what is filled along them.

The diagonal is a view; triangles, and matrices made of a diagonal, are a ``where`` over the difference of the row's and
the column's number: loop counters of a kernel, no mask in memory. All hold for named dims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, View, op
from graphc.ir.symbolic import Size
from graphc.ir.types import DEFAULT_FLOAT, DTYPES, TensorType, as_dtype, as_shape, normalize_axis
from graphc.ops.base import as_integer, as_tensor, require, require_no_device, shown
from graphc.ops.elementwise import cast, equal, greater_equal, less_equal, subtract, where
from graphc.ops.reductions import sum_
from graphc.ops.samples import normal
from graphc.ops.shaping import moveaxis
from graphc.ops.sizes import iota, size_maximum, size_minimum
from graphc.ops.views import broadcast_to, pad, reshape

Array = np.ndarray[Any, Any]

__all__ = ["diag", "diagonal", "eye", "trace", "tril", "triu"]


@op
class last_diagonal(View):
    """The diagonal of the last two axes: element ``i`` is that of row ``i`` and column ``i + offset``.

    With a negative offset it begins further down, at row ``-offset``.
    """

    public = False
    dtypes = DTYPES
    samples = [
        Sample(normal(3, 4), offset=0),
        Sample(normal(2, 5, 4), offset=-2),
        Sample(normal(4, 5), offset=2),
        Sample(normal(2, 3), offset=5),
    ]

    def __call__(self, x: Tensor, offset: int) -> Tensor:
        return self.make(x, offset=offset)

    def infer(self, x: Tensor, *, offset: int) -> TensorType:
        down, right = max(-offset, 0), max(offset, 0)
        rows, columns = x.shape[-2:]
        size = size_maximum(size_minimum(rows - down, columns - right), 0)
        return TensorType((*x.shape[:-2], size), x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.diagonal(inputs[0], node["offset"], -2, -1)

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        if node.result.shape[-1] == 0:
            return (*index[:-1], 0, 0)
        offset = node["offset"]
        return (*index[:-1], index[-1] + max(-offset, 0), index[-1] + max(offset, 0))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (_placed(cotangents[0], node.inputs[0].shape[-2:], node["offset"]),)


def _placed(values: Tensor, shape: Sequence[Size], offset: int) -> Tensor:
    """Matrices that are 0 but for a diagonal, the last axis of ``values``: the transpose of :class:`last_diagonal`."""
    rows, columns = shape
    lead = values.shape[:-1]
    zeros, ones = (0,) * len(lead), (1,) * values.ndim
    by_row = pad.place(values, (*lead, rows), (*zeros, max(-offset, 0)), ones)
    repeated = broadcast_to(reshape(by_row, (*lead, rows, 1)), (*lead, rows, columns))
    return where(equal(_right_of_diagonal(rows, columns), offset), repeated, as_tensor(0, values.dtype))


def _right_of_diagonal(rows: Size, columns: Size) -> Tensor:
    """For every place of a matrix, how far right of the main diagonal it is, int64."""
    return subtract(iota((rows, columns), 1), iota((rows, columns), 0))


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonal of two axes, as a new last axis.

    Parameters
    ----------
    x : Tensor or array_like
    offset : int
        How far right of the main diagonal; negative ones are below it.
    axis1, axis2 : int
        The axes of rows and of columns.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If there are fewer than two axes, one is out of range, or the two are the same.
    """
    x, offset = _matrices("diagonal", x, axis1, axis2), as_integer(offset, "diagonal: offset")
    return last_diagonal(x, offset)


def _matrices(name: str, x: Any, axis1: int, axis2: int) -> Tensor:
    """Two axes moved to the end."""
    x = as_tensor(x)
    require(x.ndim >= 2, ShapeError, f"{name}: expected at least two axes, got the shape {shown(x)}", x)
    first, second = (normalize_axis(axis, x.ndim, name) for axis in (axis1, axis2))
    require(first != second, ShapeError, f"{name}: expected two different axes, got {axis1} and {axis2}", x)
    return moveaxis(x, (first, second), (-2, -1))


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Tensor:
    """The sum of a diagonal of two axes; ``dtype`` and integers as in ``sum``."""
    x, offset = _matrices("trace", x, axis1, axis2), as_integer(offset, "trace: offset")
    return sum_(last_diagonal(x, offset), axis=-1, dtype=dtype)


def diag(x: Any, k: int = 0) -> Tensor:
    """The ``k``-th diagonal of a matrix, or of a vector the matrix that has it there and is 0 elsewhere.

    Raises
    ------
    ShapeError
        If ``x`` is neither vector nor matrix.
    """
    x, k = as_tensor(x), as_integer(k, "diag: k")
    require(x.ndim in (1, 2), ShapeError, f"diag: expected a vector or a matrix, got the shape {shown(x)}", x)
    if x.ndim == 2:
        return last_diagonal(x, k)
    size = x.shape[0] + abs(k)
    return _placed(x, (size, size), k)


def _triangle(name: str, x: Any, k: int, compare: Any) -> Tensor:
    x, k = as_tensor(x), as_integer(k, f"{name}: k")
    require(x.ndim >= 2, ShapeError, f"{name}: expected at least two axes, got the shape {shown(x)}", x)
    return where(compare(_right_of_diagonal(*x.shape[-2:]), k), x, as_tensor(0, x.dtype))


def tril(x: Any, k: int = 0) -> Tensor:
    """Matrices (the last two axes) without what is above their ``k``-th diagonal: 0 there, exactly.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    return _triangle("tril", x, k, less_equal)


def triu(x: Any, k: int = 0) -> Tensor:
    """Matrices (the last two axes) without what is below their ``k``-th diagonal: 0 there, exactly.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    return _triangle("triu", x, k, greater_equal)


def eye(n_rows: Any, n_cols: Any = None, k: int = 0, dtype: Any = None, device: None = None) -> Tensor:
    """A matrix of ones along its ``k``-th diagonal and zeros elsewhere.

    Parameters
    ----------
    n_rows, n_cols : int, str or Dim
        Sizes; as many columns as rows if not given.
    k : int
        How far right of the main diagonal; negative ones are below it.
    dtype : dtype, optional
        float32 if not given.
    device : None
        There for the standard's sake; see :func:`graphc.full`.

    Returns
    -------
    Tensor
    """
    require_no_device("eye", device)
    rows, columns = as_shape((n_rows, n_rows if n_cols is None else n_cols), "eye")
    ones = equal(_right_of_diagonal(rows, columns), as_integer(k, "eye: k"))
    return cast(ones, DEFAULT_FLOAT if dtype is None else as_dtype(dtype))
