"""Functions made of the ops of linear algebra: norms, ranks, powers, pseudo-inverses."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.node import Tensor
from graphc.ir.types import is_number
from graphc.ops import diagonals
from graphc.ops.base import as_integer, promote
from graphc.ops.composite import count_nonzero
from graphc.ops.derivatives import custom_gradient
from graphc.ops.elementwise import cast, equal, greater, multiply, where
from graphc.ops.gradient import stop_gradient
from graphc.ops.joining import concat
from graphc.ops.linalg.decompositions import eigh, svd
from graphc.ops.linalg.matrices import as_matrices, batched, identity, require_square
from graphc.ops.linalg.systems import inv
from graphc.ops.norms import matrix_norm
from graphc.ops.reductions import max_, min_
from graphc.ops.shaping import expand_dims, full, matrix_transpose
from graphc.ops.sizes import size_of

Axes = int | tuple[int, ...] | list[int] | None


def eigvalsh(x: Any) -> Tensor:
    """The eigenvalues of symmetric matrices, ``(..., n)`` in ascending order; see :func:`eigh`."""
    (a,) = as_matrices("eigvalsh", x)
    require_square("eigvalsh", a)
    return eigh(a).eigenvalues


def svdvals(x: Any) -> Tensor:
    """The singular values of matrices, ``(..., min(m, n))`` in descending order; see :func:`svd`."""
    (a,) = as_matrices("svdvals", x)
    return svd(a, full_matrices=False).S


def _cutoff(a: Tensor, values: Tensor, rtol: Any) -> Tensor:
    """Below which singular values count as 0: ``rtol`` times the largest, ``(..., 1)``."""
    none = full((*values.shape[:-1], 1), 0.0, values.dtype)  # so that there is a largest
    largest = max_(concat([values, none], axis=-1), axis=-1, keepdims=True)
    if rtol is None:
        rows, columns = (cast(size_of(a, axis), a.dtype) for axis in (-2, -1))
        rtol = where(greater(rows, columns), rows, columns) * float(np.finfo(a.dtype).eps)
    else:
        (rtol,) = promote("rtol", [rtol], minimum="float")
        rtol = expand_dims(cast(rtol, a.dtype), -1)
    return largest * rtol


def matrix_rank(x: Any, *, rtol: Any = None) -> Tensor:
    """How many singular values are larger than ``rtol`` times the largest.

    0 for a matrix that is not finite, where NumPy raises or answers 0: its singular values are NaN, and it spoils no
    other of its batch.

    Parameters
    ----------
    x : Tensor
        ``(..., m, n)``; integers become float32.
    rtol : float or Tensor, optional
        Broadcasts to the batch; ``max(m, n)`` times the dtype's distance between 1 and the next number by default.

    Returns
    -------
    Tensor
        int64, ``(...)``.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    (a,) = as_matrices("matrix_rank", x)
    values = svdvals(a)
    return count_nonzero(greater(values, _cutoff(a, values, rtol)), axis=-1)


def pinv(x: Any, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse of Moore and Penrose, for every matrix of a batch.

    Its derivative is that of Golub and Pereyra, *The differentiation of pseudo-inverses and nonlinear least squares
    problems whose variables separate* (1973), along changes that keep the rank.

    Parameters
    ----------
    x : Tensor
        ``(..., m, n)``; integers become float32.
    rtol : float or Tensor, optional
        Singular values up to this times the largest count as 0; default as :func:`matrix_rank`.

    Returns
    -------
    Tensor
        ``(..., n, m)``.

    Raises
    ------
    ShapeError
        If there are fewer than two axes.
    """
    (a,) = as_matrices("pinv", x)
    if rtol is not None:
        rtol = stop_gradient(promote("pinv", [rtol], minimum="float")[0])

    def inverse(a: Tensor) -> Tensor:
        u, values, vh = svd(a, full_matrices=False)
        kept = greater(values, _cutoff(a, values, rtol))
        reciprocals = where(kept, 1 / where(kept, values, 1), where(equal(values, values), 0, values))
        return multiply(matrix_transpose(vh), expand_dims(reciprocals, -2)) @ matrix_transpose(u)

    def rule(inputs: Any, outputs: Any, cotangents: Any) -> tuple[Tensor]:
        (a,), (p,), (g,) = inputs, outputs, cotangents
        pt, gt = matrix_transpose(p), matrix_transpose(g)
        inner, left, right = pt @ g @ pt, gt @ p @ pt, pt @ p @ gt
        return (left - a @ (p @ left) + right - (right @ p) @ a - inner,)

    made: Tensor = custom_gradient(inverse, vjp=rule)(a)
    return made


def matrix_power(x: Any, n: int) -> Tensor:
    """A square matrix multiplied with itself, ``n`` times; its inverse for a negative ``n``, the identity for 0.

    Raises
    ------
    GraphError
        If ``n`` is no integer.
    ShapeError
        If the matrices are not square.
    LinAlgError
        When the program runs, if ``n`` is negative and a matrix is singular.
    """
    (a,) = as_matrices("matrix_power", x)
    require_square("matrix_power", a)
    n = as_integer(n, "matrix_power: n")
    square, count = (inv(a), -n) if n < 0 else (a, n)
    result = None
    while count:
        if count % 2:
            result = square if result is None else result @ square
        count //= 2
        square = square @ square if count else square
    return batched(identity(a.shape[-1], a.dtype), a.shape[:-2]) if result is None else result


def diagonal(x: Any, offset: int = 0) -> Tensor:
    """The diagonal of matrices, the last two axes; see :func:`graphc.diagonal`."""
    return diagonals.diagonal(x, offset, -2, -1)


def trace(x: Any, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal of matrices, the last two axes; see :func:`graphc.trace`."""
    return diagonals.trace(x, offset, -2, -1, dtype)


def cond(x: Any, p: float | str | None = None) -> Tensor:
    """The condition number of matrices: a norm of the matrix times that of its inverse.

    Parameters
    ----------
    x : Tensor
        ``(..., m, n)``, square unless ``p`` is None, 2 or -2; integers become float32.
    p : optional
        As ``ord`` of :func:`matrix_norm`. None and 2 stand for the ratio of the largest singular value to the smallest,
        -2 for its inverse.

    Returns
    -------
    Tensor
        ``(...)``; infinite for a singular matrix.

    Raises
    ------
    ShapeError
        If matrices that have to be are not square.
    LinAlgError
        When the program runs, if a matrix is singular and ``p`` asks for the inverse itself.
    """
    (a,) = as_matrices("cond", x)
    if p is None or (is_number(p) and abs(p) == 2):
        values = svdvals(a)
        largest, smallest = max_(values, axis=-1), min_(values, axis=-1)
        return smallest / largest if p == -2 else largest / smallest
    require_square("cond", a)
    return matrix_norm(a, ord=p) * matrix_norm(inv(a), ord=p)
