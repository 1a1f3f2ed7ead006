"""Norms of vectors and of matrices, made of sums and of extremes."""

from __future__ import annotations

import math
from typing import Any

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.types import is_number, normalize_axes
from graphc.ops.base import as_tensor, given, promote, require, require_bool, shown
from graphc.ops.composite import count_nonzero
from graphc.ops.elementwise import abs_, cast, equal, power, sqrt, square, where
from graphc.ops.reductions import max_, min_, sum_
from graphc.ops.shaping import expand_dims, moveaxis

__all__ = ["matrix_norm", "norm", "vector_norm"]


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """Norm of vectors along axes, or of all elements.

    Parameters
    ----------
    x : Tensor or array_like
        Integers become float32.
    axis : int or sequence of int, optional
        Elements along several axes are one vector.
    keepdims : bool
    ord : float
        ``sum(|x| ** ord) ** (1 / ord)``; inf for the largest magnitude, -inf for the smallest, 0 for the number of
        elements other than 0. The derivative at 0 is 0 for ``ord`` above 1.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If ``ord`` is no number.
    ShapeError
        If an axis is out of range or named twice.
    """
    if not is_number(ord) or math.isnan(ord):
        raise GraphError(f"vector_norm: expected ord to be a number, got {given(ord)}")
    (x,) = promote("vector_norm", [x], minimum="float")
    axes = normalize_axes(axis, x.ndim, "vector_norm")
    if ord == 0:
        return cast(count_nonzero(x, axes, keepdims), x.dtype)
    if ord == 1:
        return sum_(abs_(x), axes, keepdims)
    if math.isinf(ord):
        return (max_ if ord > 0 else min_)(abs_(x), axes, keepdims)
    if ord == 2:
        total = sum_(square(x), axes, keepdims)
    else:
        total = sum_(power(abs_(x), float(ord)), axes, keepdims)
    if ord < 1:
        return power(total, 1 / ord)
    zero = equal(total, 0)
    positive = where(zero, 1, total)
    return where(zero, 0, sqrt(positive) if ord == 2 else power(positive, 1 / ord))


def matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norm of matrices, the last two axes.

    Parameters
    ----------
    x : Tensor or array_like
        Integers become float32.
    keepdims : bool
    ord : {"fro", "nuc", 1, -1, 2, -2, inf, -inf}
        ``"fro"``: the root of the sum of squares; ``"nuc"``: the sum of the singular values; 2 and -2: the largest and
        the smallest of these; 1 and -1: the largest and the smallest sum of magnitudes of a column; inf and -inf: those
        of a row.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        For another ``ord``.
    ShapeError
        If there are fewer than two axes.
    """
    (x,) = promote("matrix_norm", [x], minimum="float")
    require(x.ndim >= 2, ShapeError, f"matrix_norm: expected at least two axes, got the shape {shown(x)}", x)
    require_bool("matrix_norm", "keepdims", keepdims)
    numbers = (1, -1, 2, -2, math.inf, -math.inf)
    if not (ord in ("fro", "nuc") if isinstance(ord, str) else is_number(ord) and ord in numbers):
        expected = "'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        raise GraphError(f"matrix_norm: expected ord to be {expected}, got {given(ord)}", operands=(x,))
    if ord == "fro":
        return vector_norm(x, (-2, -1), keepdims)
    if ord in ("nuc", 2, -2):
        from graphc.ops.linalg.functions import svdvals  # which has norms of its own to offer

        combined: Tensor = (sum_ if ord == "nuc" else max_ if ord > 0 else min_)(svdvals(x), -1)
        return expand_dims(combined, (-2, -1)) if keepdims else combined
    sums = sum_(abs_(x), -2 if abs(ord) == 1 else -1, keepdims=True)
    return (max_ if ord > 0 else min_)(sums, (-2, -1), keepdims)


def norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """Norm along axes, of all elements without ``axis``.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int or sequence of int, optional
    keepdims : bool
    ord : float, "fro" or "nuc"
        As in :func:`vector_norm`; a word is that of :func:`matrix_norm` along two axes. A number is
        of all elements along both, where NumPy's ``np.linalg.norm`` takes the matrix norm.

    Returns
    -------
    Tensor
    """
    if not isinstance(ord, str):
        return vector_norm(x, axis, keepdims, ord)
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, "norm")
    require(len(axes) == 2, ShapeError, f"norm: expected two axes for ord={ord!r}, got {len(axes)} of {shown(x)}", x)
    result = matrix_norm(moveaxis(x, axes, (-2, -1)), keepdims, ord)
    return moveaxis(result, (-2, -1), axes) if keepdims else result
