"""Distributions over integers, permutations, and draws from what is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size, product
from graphc.ir.types import (
    Shape,
    as_dtype,
    as_shape,
    broadcast_shapes,
    format_shape,
    is_float,
    is_integer,
    is_whole,
    normalize_axis,
)
from graphc.ops.base import as_tensor, given, promote, require, require_bool, shown
from graphc.ops.composite import softmax
from graphc.ops.elementwise import add, cast, divide, less, less_equal, log, minimum, multiply, negative, remainder
from graphc.ops.gradient import stop_gradient
from graphc.ops.indexing import take
from graphc.ops.randomness import long_words, open_unit, unit
from graphc.ops.reductions import cumulative_sum, max_, sum_
from graphc.ops.rows import argsort
from graphc.ops.scatter import fitted
from graphc.ops.searching import searchsorted
from graphc.ops.shaping import moveaxis, zeros
from graphc.ops.sizes import dim_size
from graphc.ops.views import broadcast_to, reshape, strided_slice
from graphc.random.continuous import require_within

FLOAT64 = np.dtype("float64")


def bernoulli(p: Any = 0.5, shape: Any = None) -> Tensor:
    """True with probability ``p``.

    Parameters
    ----------
    p : float, Tensor or array_like
        Within 0 and 1.
    shape : sequence of int, Dim or str, optional
        The shape of ``p`` if not given; else ``p`` is broadcast to it.

    Returns
    -------
    Tensor
        bool.

    Raises
    ------
    GraphError
        If a constant ``p`` lies outside.
    """
    require_within("bernoulli", "probabilities", p, 0, 1)
    p = as_tensor(p) if is_float(as_tensor(p).dtype) else as_tensor(p, "float32")
    wanted = p.shape if shape is None else as_shape(shape, "bernoulli")
    return less(unit(wanted, p.dtype), stop_gradient(fitted("bernoulli", p, wanted, "probabilities")))


def randint(shape: Any, low: Any, high: Any, dtype: Any = "int64") -> Tensor:
    """Uniformly distributed integers, ``low <= x < high``.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    low, high : int, Dim or str
        Named sizes draw places along axes of named size: ``randint((64,), 0, "rows")``.
    dtype : dtype
        Of integers.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If the bounds are no integers, none lies between them, or the dtype does not hold them.
    DTypeError
        If ``dtype`` is no integer type.

    Notes
    -----
    A number is the remainder of 64 random bits. No probability differs from the others by more than ``2**-64``.
    """
    found = as_dtype(dtype)
    if not is_integer(found):
        raise DTypeError(f"randint: expected an integer dtype, got {found}")
    first, stop = _bound(low), _bound(high)
    limits, count = np.iinfo(found), stop - first
    if isinstance(count, int) and count <= 0:
        raise GraphError(f"randint: expected low < high, got {first} and {stop}")
    for bound, largest in ((first, limits.max), (stop, int(limits.max) + 1)):
        if isinstance(bound, int) and not limits.min <= bound <= largest:
            raise GraphError(f"randint: {found} does not hold the numbers from {low} to {high}, {high} excluded")
    words = long_words(shape)
    if isinstance(count, Dim):
        words = remainder(words, cast(dim_size(count), "uint64"))
    elif count < 1 << 64:
        words = remainder(words, as_tensor(np.uint64(count)))
    if isinstance(first, Dim):
        return add(cast(words, found), cast(dim_size(first), found))
    return add(cast(words, found), as_tensor(np.asarray(first, found)))  # modulo the dtype's range, so it fits


def _bound(value: Any) -> Size:
    """A bound of integers, as a size that may be negative."""
    if is_whole(value):
        return int(value)
    if isinstance(value, (str, Dim)):
        return as_shape(value, "randint")[0]
    raise GraphError(f"randint: expected integers or dims as bounds, got {given(value)}")


def categorical(logits: Any, shape: Any = None, axis: int = -1) -> Tensor:
    """Class numbers, each class drawn with probability ``softmax(logits)``.

    Parameters
    ----------
    logits : Tensor or array_like
        With the classes along ``axis``; minus infinity for a class that never occurs.
    shape : sequence of int, Dim or str, optional
        That of the logits without ``axis`` if not given; else that is broadcast to it, and all draws are independent.
    axis : int

    Returns
    -------
    Tensor
        int64, of ``shape``. A row of logits without a softmax (one with NaN, or all minus infinity) gives 0.

    Raises
    ------
    ShapeError
        If there are no classes, or the shapes do not broadcast.

    Notes
    -----
    By the inverse of the distribution function, in float64: one draw costs two random words, however many classes.
    """
    (logits,) = promote("categorical", [logits], minimum="float")
    require(logits.ndim > 0, ShapeError, "categorical: expected logits with an axis of classes, got a scalar", logits)
    axis = normalize_axis(axis, logits.ndim, "categorical")
    some = logits.shape[axis] != 0
    require(some, ShapeError, f"categorical: expected at least one class, got {shown(logits)}", logits)
    weights = softmax(cast(moveaxis(stop_gradient(logits), axis, -1), FLOAT64))
    batch = weights.shape[:-1]
    wanted = batch if shape is None else as_shape(shape, "categorical")
    try:
        fits = broadcast_shapes(batch, wanted) == wanted
    except ShapeError:
        fits = False
    message = f"categorical: logits of shape {format_shape(batch)} without axis {axis} do not broadcast to"
    require(fits, ShapeError, f"{message} {format_shape(wanted)}", logits)
    return _drawn(weights, wanted)


def _drawn(weights: Tensor, shape: Shape) -> Tensor:
    """Positions along the last axis of weights, drawn with probabilities proportional to them.

    A position is the number of running sums that are at most a uniform number below their last. A weight of 0 is never
    drawn, because its running sum is that of the position before, nor is anything drawn behind the last one: the
    largest uniform number times a float rounds to less than the float.
    """
    running = cumulative_sum(weights, axis=-1)
    total = max_(running, axis=-1, keepdims=True)
    point = reshape(unit(shape, FLOAT64), (*shape, 1))
    if weights.ndim == 1:
        found = searchsorted(running, reshape(multiply(point, total), shape), side="right")
    else:
        below = less_equal(broadcast_to(running, (*shape, weights.shape[-1])), multiply(point, total))
        found = sum_(below, -1)
    return minimum(found, dim_size(weights.shape[-1]) - 1)


def permutation(x: Any, axis: int = 0) -> Tensor:
    """The numbers of ``range(x)``, or the slices of a tensor along an axis, in random order.

    Parameters
    ----------
    x : int, Dim or str; or Tensor or array_like
        A size, or what to shuffle.
    axis : int
        Of a tensor, whose slices move as a whole; of no account for a size, as in NumPy.

    Returns
    -------
    Tensor
        int64 of shape ``(x,)``, or of the type of ``x``.

    Raises
    ------
    ShapeError
        If ``x`` is a negative number or a scalar tensor.
    """
    if is_whole(x) or isinstance(x, (str, Dim)):
        (size,) = as_shape(x, "permutation")
        return argsort(long_words((size,)))
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "permutation")
    return take(x, argsort(long_words((x.shape[axis],))), axis=axis)


def choice(a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0) -> Tensor:
    """Draws from ``range(a)``, or from the slices of a tensor along an axis.

    Parameters
    ----------
    a : int, Dim or str; or Tensor or array_like
        A size, or what to draw from.
    shape : sequence of int, Dim or str
        How many draws, and how they are arranged.
    replace : bool
        Whether something may be drawn more than once. Without, the sizes must be static.
    p : Tensor or array_like, optional
        Probabilities, one for each entry; those that are known when declared must sum to 1, others are divided by their
        sum. Without it all entries are equally likely.
    axis : int
        Of a tensor; of no account for a size, as in NumPy.

    Returns
    -------
    Tensor
        int64 of ``shape``; or of the dtype of ``a``, its axis replaced by ``shape``.

    Raises
    ------
    ShapeError
        If there is nothing to draw from, less than what is to be drawn without replacement, or ``p`` does not fit.
    GraphError
        If constant probabilities are negative, NaN, or do not sum to 1.
    """
    wanted = as_shape(shape, "choice")
    require_bool("choice", "replace", replace)
    if is_whole(a) or isinstance(a, (str, Dim)):
        (size,) = as_shape(a, "choice")
        return _places(size, wanted, replace, p)
    a = as_tensor(a)
    axis = normalize_axis(axis, a.ndim, "choice")
    return take(a, _places(a.shape[axis], wanted, replace, p), axis=axis)


def _places(size: Size, shape: Shape, replace: bool, p: Any) -> Tensor:
    """Numbers of ``range(size)``."""
    count = product(shape)
    if size == 0 and count != 0:
        raise ShapeError(f"choice: expected something to draw from, got none for {format_shape(shape)} draws")
    weights = None if p is None else _probabilities(size, p, 0 if replace else count)
    if count == 0:
        return zeros(shape, "int64")
    if replace:
        return randint(shape, 0, size) if weights is None else _drawn(weights, shape)
    if count != size and not (isinstance(count, int) and isinstance(size, int) and count <= size):
        raise ShapeError(f"choice: {format_shape(shape)} draws without replacement do not fit {size} entries")
    if weights is None:
        order = permutation(size)
    else:
        # Waiting times whose rates are the weights: the first ones are drawn as if one after another.
        order = argsort(divide(negative(log(open_unit((size,), FLOAT64))), weights))
    return reshape(strided_slice(order, (0,), (count,), (1,)), shape)


def _probabilities(size: Size, p: Any, needed: Size) -> Tensor:
    """Weights, float64; constant ones are checked, also whether as many as are needed are not 0."""
    (given,) = promote("choice", [p], minimum="float")
    expected = f"choice: expected one probability for each of {size} entries, got {shown(given)}"
    require(given.shape == (size,), ShapeError, expected, given)
    require_within("choice", "probabilities", given, 0, 1)
    if given.node.op.name == "constant":
        values = np.asarray(given.node["value"], FLOAT64)
        total = float(values.sum())
        if abs(total - 1) > np.sqrt(np.finfo(given.dtype).eps):
            raise GraphError(f"choice: expected probabilities that sum to 1, got a sum of {total:.6g}")
        possible = int(np.count_nonzero(values))
        if isinstance(needed, int) and possible < needed:
            raise ShapeError(f"choice: {needed} draws without replacement, but only {possible} probabilities are not 0")
    return cast(stop_gradient(given), FLOAT64)
