"""Random tensors: drawn afresh at every training step, reproducible from the session's seed.

What a node draws depends on the session's seed, its place in the program and the number of training steps taken,
so a run is repeated exactly by repeating these. Evaluation does not advance the steps: two runs that update no variable
draw the same numbers. Ask one run for as many samples as are needed. Samples are differentiable
in the parameters of their distribution (``mean``, ``stddev``, ``low``, ``high``), as they are written as a function
of parameter-free noise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.types import as_dtype, is_float
from graphc.ops.base import as_tensor
from graphc.ops.randomness import unit

__all__ = ["bernoulli", "normal", "uniform"]


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
    return _scaled(unit(shape, dtype), low, _difference(high, low, dtype))


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
    DTypeError
        If ``dtype`` is no float.
    """
    dtype = _float_dtype("normal", dtype)
    log, sqrt, cos = (REGISTRY[name] for name in ("log", "sqrt", "cos"))
    radius = sqrt(log(1.0 - unit(shape, dtype)) * -2.0)  # 1 - u lies in (0, 1], so the logarithm is finite
    return _scaled(radius * cos(unit(shape, dtype) * (2.0 * math.pi)), mean, as_tensor(stddev, dtype))


def bernoulli(p: Any = 0.5, shape: Any = None) -> Tensor:
    """True with probability ``p``.

    Parameters
    ----------
    p : float, Tensor or array_like
    shape : sequence of int, Dim or str, optional
        The shape of ``p`` if not given; else ``p`` is broadcast to it.

    Returns
    -------
    Tensor
        bool.
    """
    p = as_tensor(p) if is_float(as_tensor(p).dtype) else as_tensor(p, "float32")
    return REGISTRY["less"](unit(p.shape if shape is None else shape, p.dtype), REGISTRY["stop_gradient"](p))


def _float_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    found = as_dtype(dtype)
    if not is_float(found):
        raise DTypeError(f"{name}: expected float32 or float64, got {found}")
    return found


def _difference(high: Any, low: Any, dtype: np.dtype[Any]) -> Tensor:
    return as_tensor(high, dtype) - as_tensor(low, dtype)


def _scaled(noise: Tensor, offset: Any, scale: Tensor) -> Tensor:
    """``offset + scale * noise``, of the noise's shape and dtype."""
    fit = REGISTRY["broadcast_to"]
    return fit(as_tensor(offset, noise.dtype), noise.shape) + fit(scale, noise.shape) * noise
