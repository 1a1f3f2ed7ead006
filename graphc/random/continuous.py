"""Distributions of real numbers, as functions of uniform noise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.ir.node import Tensor
from graphc.ir.types import as_dtype, is_float
from graphc.ops.base import as_tensor, given
from graphc.ops.composite import clip
from graphc.ops.elementwise import abs_, cast, cos, log, log1p, minimum, negative, sign, sqrt, subtract
from graphc.ops.randomness import open_unit, unit
from graphc.ops.scatter import fitted
from graphc.random.quantile import normal_quantile

FLOAT64 = np.dtype("float64")

FARTHEST = 36.0
"""Standard deviations beyond which a normal variable's probability nears the smallest float64."""


def uniform(shape: Any = (), low: Any = 0.0, high: Any = 1.0, dtype: Any = "float32") -> Tensor:
    """Uniformly distributed numbers in ``[low, high)``.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    low, high : float, Tensor or array_like
        Broadcast to ``shape``.
    dtype : dtype
        float32 (24 random bits a number) or float64 (53).

    Returns
    -------
    Tensor

    Raises
    ------
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("uniform", dtype)
    return _scaled(unit(shape, dtype), low=low, span=as_tensor(high, dtype) - as_tensor(low, dtype))


def normal(shape: Any = (), mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32") -> Tensor:
    """Normally distributed numbers, by the transform of Box and Muller.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    mean, stddev : float, Tensor or array_like
        Broadcast to ``shape``.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If the standard deviation is a negative number.
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("normal", dtype)
    require_within("normal", "stddev", stddev, 0, math.inf)
    radius = sqrt(log(1.0 - unit(shape, dtype)) * -2.0)  # 1 - u lies in (0, 1], so the logarithm is finite
    return _scaled(radius * cos(unit(shape, dtype) * (2.0 * math.pi)), mean=mean, stddev=stddev)


def truncated_normal(
    shape: Any = (), low: float = -2.0, high: float = 2.0, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = "float32"
) -> Tensor:
    """Normally distributed numbers, given that they lie between bounds: exactly so, by the inverse of the distribution.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    low, high : float
        Bounds in standard deviations from the mean; either may be infinite.
    mean, stddev : float, Tensor or array_like
        Of the distribution before it is truncated; broadcast to ``shape``.
    dtype : dtype
        float32 or float64. The noise is float64 in either case.

    Returns
    -------
    Tensor
        ``mean + stddev * z`` with ``low <= z <= high``.

    Raises
    ------
    GraphError
        If the bounds are no numbers in this order, or both lie more than 36 standard deviations to one side; if the
        standard deviation is a negative number.
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("truncated_normal", dtype)
    require_within("truncated_normal", "stddev", stddev, 0, math.inf)
    try:
        bounds = float(low), float(high)
    except (TypeError, ValueError, GraphError):
        raise GraphError(f"truncated_normal: expected numbers as bounds, got {given(low)} and {given(high)}") from None
    if not bounds[0] < bounds[1]:
        raise GraphError(f"truncated_normal: expected low < high, got {bounds[0]} and {bounds[1]}")
    # The lower tail keeps its digits where the upper one rounds to 1: draw on the side where more of the interval lies.
    mirrored = bounds[0] + bounds[1] > 0
    first, last = (-bounds[1], -bounds[0]) if mirrored else bounds
    if last < -FARTHEST:
        raise GraphError(f"truncated_normal: between {low} and {high} there is no probability that a float64 can hold")
    below, until = (math.erfc(-bound / math.sqrt(2)) / 2 for bound in (first, last))
    probability = below + open_unit(shape, FLOAT64) * (until - below)
    noise = clip(normal_quantile(minimum(probability, 1 - 2.0**-53)), first, last)
    return _scaled(cast(negative(noise) if mirrored else noise, dtype), mean=mean, stddev=stddev)


def exponential(shape: Any = (), scale: Any = 1.0, dtype: Any = "float32") -> Tensor:
    """Exponentially distributed numbers: the density is ``exp(-x / scale) / scale`` for positive ``x``.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    scale : float, Tensor or array_like
        The mean; broadcast to ``shape``.
    dtype : dtype
        float32 (up to 16.6 times the scale) or float64 (up to 36.7 times).

    Returns
    -------
    Tensor
        Positive.

    Raises
    ------
    GraphError
        If the scale is a negative number.
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("exponential", dtype)
    require_within("exponential", "scale", scale, 0, math.inf)
    noise = negative(log(open_unit(shape, dtype)))
    return fitted("random", as_tensor(scale, dtype), noise.shape, "a scale", "broadcasts") * noise


def gumbel(shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: Any = "float32") -> Tensor:
    """Numbers of the Gumbel distribution, ``P(x <= t) = exp(-exp((loc - t) / scale))``.

    The largest of ``logits + gumbel(logits.shape)`` is a draw of :func:`categorical`.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    loc, scale : float, Tensor or array_like
        Broadcast to ``shape``.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If the scale is a negative number.
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("gumbel", dtype)
    require_within("gumbel", "scale", scale, 0, math.inf)
    return _scaled(negative(log(negative(log(open_unit(shape, dtype))))), loc=loc, scale=scale)


def laplace(shape: Any = (), loc: Any = 0.0, scale: Any = 1.0, dtype: Any = "float32") -> Tensor:
    """Numbers of the Laplace distribution: the density is ``exp(-abs(x - loc) / scale) / (2 * scale)``.

    Parameters
    ----------
    shape : sequence of int, Dim or str
    loc, scale : float, Tensor or array_like
        Broadcast to ``shape``.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If the scale is a negative number.
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("laplace", dtype)
    require_within("laplace", "scale", scale, 0, math.inf)
    centred = subtract(open_unit(shape, dtype), 0.5)  # never 0
    return _scaled(negative(sign(centred) * log1p(abs_(centred) * -2.0)), loc=loc, scale=scale)


def require_within(name: str, role: str, value: Any, low: float, high: float) -> None:
    """Refuse numbers and constants outside ``[low, high]``; what is known only when the program runs is not checked.

    Raises
    ------
    GraphError
        Naming the first one outside; NaN is.
    """
    tensor = as_tensor(value)
    if tensor.node.op.name != "constant":
        return
    values = np.asarray(tensor.node["value"])
    wrong = ~((values >= low) & (values <= high))
    if wrong.any():
        what = f"of at least {low}" if high == math.inf else f"between {low} and {high}"
        raise GraphError(f"{name}: expected {role} {what}, got {values[wrong].flat[0]}")


def _float_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    found = as_dtype(dtype)
    if not is_float(found):
        raise DTypeError(f"{name}: expected float32 or float64, got {found}")
    return found


def _scaled(noise: Tensor, **parameters: Any) -> Tensor:
    """``offset + scale * noise`` for two parameters, of the noise's shape and dtype."""
    offset, scale = (
        fitted("random", as_tensor(value, noise.dtype), noise.shape, f"a {what}", "broadcasts")
        for what, value in parameters.items()
    )
    return offset + scale * noise
