"""What the ops of linear algebra share: checks of operands, the identity, triangles, and sums over batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Size
from graphc.ir.types import Shape
from graphc.ops.base import promote, require, shown
from graphc.ops.contractions import contract
from graphc.ops.elementwise import add, cast, equal, greater_equal, multiply, where
from graphc.ops.shaping import matrix_transpose
from graphc.ops.sizes import iota, size_of
from graphc.ops.views import broadcast_to, reshape

Array = np.ndarray[Any, Any]

_LETTERS = "abcdefghlmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # without i, j, k


def as_matrices(name: str, *values: Any) -> list[Tensor]:
    """Float tensors of one dtype, of two axes at least; integers become float32.

    Raises
    ------
    ShapeError
        If one has fewer axes.
    """
    tensors = promote(name, values, minimum="float")
    for tensor in tensors:
        message = f"{name}: expected a matrix, or a batch of matrices, got the shape {shown(tensor)}"
        require(tensor.ndim >= 2, ShapeError, message, tensor)
    return tensors


def require_square(name: str, x: Tensor) -> None:
    """Raise a ShapeError unless the last two axes have one size."""
    require(x.shape[-1] == x.shape[-2], ShapeError, f"{name}: expected square matrices, got {shown(x)}", x)


def identity(n: Size, dtype: Any) -> Tensor:
    """The identity matrix of a size."""
    return cast(on_diagonal(n, n), dtype)


def on_diagonal(rows: Size, columns: Size) -> Tensor:
    """Whether row and column are the same."""
    return equal(iota((rows, columns), -2), iota((rows, columns), -1))


def lower_triangle(x: Tensor, strict: bool = False) -> Tensor:
    """Zeros above the diagonal, and on it if ``strict``."""
    row, column = (iota(x.shape[-2:], axis) for axis in (-2, -1))
    return where(greater_equal(row, add(column, 1) if strict else column), x, 0)


def upper_triangle(x: Tensor, strict: bool = False) -> Tensor:
    """Zeros below the diagonal, and on it if ``strict``."""
    return matrix_transpose(lower_triangle(matrix_transpose(x), strict))


def symmetric_part(x: Tensor) -> Tensor:
    """The mean of a matrix and its transpose."""
    return multiply(add(x, matrix_transpose(x)), 0.5)


def as_diagonal(x: Tensor) -> Tensor:
    """Matrices with the elements of the last axis on their diagonals."""
    n = x.shape[-1]
    return where(on_diagonal(n, n), reshape(x, (*x.shape, 1)), 0)


def product_over_batch(left: Tensor, right: Tensor, shape: Shape) -> Tensor:
    """``left @ right.mT``, summed over the batch axes that a shape lacks or has as 1."""
    batch = left.shape[:-2]
    labels = _LETTERS[: len(batch)]
    own = (1,) * (len(batch) + 2 - len(shape)) + tuple(shape[:-2])
    kept = "".join(label for label, size, full in zip(labels, own, batch, strict=True) if size == full)
    made = contract.make(left, right, spec=f"{labels}ik,{labels}jk->{kept}ij")
    return made if made.shape == shape else reshape(made, shape)


def batched(x: Tensor, batch: Shape) -> Tensor:
    """Matrices repeated along further batch axes."""
    shape = (*batch, *x.shape[-2:])
    return x if x.shape == shape else broadcast_to(x, shape)


def each(*arrays: tuple[Array, int], batch: Sequence[int]) -> Any:
    """For the NumPy meaning of routines: index and matrices (or rows) at every place of a batch.

    Parameters
    ----------
    *arrays : (ndarray, int)
        With the number of their last axes that belong to one matrix; the axes before them broadcast to the batch.
    batch : sequence of int
    """
    shapes = [(*batch, *array.shape[array.ndim - core :]) for array, core in arrays]
    whole = [
        array if array.shape == shape else np.broadcast_to(array, shape)  # only what is whole can be written
        for (array, _), shape in zip(arrays, shapes, strict=True)
    ]
    for place in np.ndindex(*batch):
        yield (place, *(array[place] for array in whole))


def rows_of(x: Tensor) -> Tensor:
    """The number of rows, as a scalar of the same dtype."""
    return cast(size_of(x, -2), x.dtype)


def dominated(x: Tensor, shifted: bool = True) -> Tensor:
    """For the tests: matrices far from singular, made of any by adding to one element of each column.

    These are on the diagonal, or, if ``shifted``, below it, so that rows have to be interchanged.
    """
    m, n = x.shape[-2:]
    row, column = (iota((m, n), axis) for axis in (-2, -1))
    size = size_of(x, -2) + size_of(x, -1)
    place = (column + 1) % where(equal(size_of(x, -2), 0), 1, size_of(x, -2)) if shifted else column
    return x + where(equal(row, place), cast(2 * size + 2, x.dtype), 0)
