"""Functions made of the ops of linear algebra: norms, ranks, powers, pseudo-inverses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ops.base import promote
from graphc.ops.composite import count_nonzero, norm
from graphc.ops.derivatives import custom_gradient
from graphc.ops.elementwise import abs_, cast, equal, greater, multiply, power, where
from graphc.ops.gradient import stop_gradient
from graphc.ops.linalg.decompositions import eigh, svd
from graphc.ops.linalg.matrices import as_matrices, batched, identity, require_square
from graphc.ops.linalg.systems import inv
from graphc.ops.reductions import max_, min_, sum_
from graphc.ops.shaping import expand_dims, full, matrix_transpose
from graphc.ops.sizes import size_of
from graphc.ops.views import concat

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
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise GraphError(f"matrix_power: expected an integer n, got {n!r}")
    square, count = (inv(a), -int(n)) if n < 0 else (a, int(n))
    result = None
    while count:
        if count % 2:
            result = square if result is None else result @ square
        count //= 2
        square = square @ square if count else square
    return batched(identity(a.shape[-1], a.dtype), a.shape[:-2]) if result is None else result


def matrix_norm(x: Any, *, keepdims: bool = False, ord: float | str | None = "fro") -> Tensor:
    """A norm of every matrix of a batch.

    Parameters
    ----------
    x : Tensor
        ``(..., m, n)``; integers become float32.
    keepdims : bool
        Keep the last two axes, with size 1.
    ord : "fro", "nuc", 1, -1, 2, -2, inf or -inf
        The root of the sum of squares; the sum of singular values; the largest (-: smallest) sum of a column's
        magnitudes; the largest (smallest) singular value; the largest (smallest) sum of a row's magnitudes.

    Returns
    -------
    Tensor
        ``(...)``, or ``(..., 1, 1)``.

    Raises
    ------
    GraphError
        If ``ord`` is none of these.
    ShapeError
        If there are fewer than two axes.
    """
    (a,) = as_matrices("matrix_norm", x)
    if ord is None or (isinstance(ord, str) and ord == "fro"):
        return norm(a, axis=(-2, -1), keepdims=keepdims)
    summed: Tensor
    if not isinstance(ord, str) and abs(ord) in (1, math.inf):
        summed = sum_(abs_(a), axis=-2 if abs(ord) == 1 else -1)
    elif (isinstance(ord, str) and ord == "nuc") or (not isinstance(ord, str) and abs(ord) == 2):
        summed = svdvals(a)
    else:
        raise GraphError(f"matrix_norm: expected ord to be 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}")
    combine: Any = sum_ if isinstance(ord, str) else max_ if ord > 0 else min_
    result: Tensor = combine(summed, axis=-1)
    return expand_dims(result, (-2, -1)) if keepdims else result


def vector_norm(x: Any, *, axis: Axes = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """A norm of vectors along axes, of all elements without ``axis``.

    Parameters
    ----------
    x : Tensor
        Integers become float32.
    axis : int or sequence of int, optional
    keepdims : bool
    ord : float
        ``sum(abs(x)**ord)**(1/ord)``; inf and -inf stand for the largest and smallest magnitude, 0 for the number of
        elements that are not 0. The derivative at 0 is 0.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If ``ord`` is no number.
    """
    (x,) = promote("vector_norm", [x], minimum="float")
    if isinstance(ord, bool) or not isinstance(ord, (int, float, np.integer, np.floating)) or ord != ord:
        raise GraphError(f"vector_norm: expected a number as ord, got {ord!r}")
    if ord in (1, 2, math.inf):
        return norm(x, axis, keepdims, ord=float(ord))
    if ord == 0:
        return cast(count_nonzero(x, axis, keepdims), x.dtype)
    if ord == -math.inf:
        return min_(abs_(x), axis, keepdims)
    total = sum_(power(abs_(x), float(ord)), axis, keepdims)
    zero = equal(total, 0)
    return where(zero, 0, power(where(zero, 1, total), 1 / float(ord)))


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
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        values = svdvals(a)
        largest, smallest = max_(values, axis=-1), min_(values, axis=-1)
        return smallest / largest if p == -2 else largest / smallest
    require_square("cond", a)
    return matrix_norm(a, ord=p) * matrix_norm(inv(a), ord=p)
