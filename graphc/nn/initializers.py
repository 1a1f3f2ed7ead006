"""Initial values of weights.

Each initializer is called as ``initializer(shape, dtype, generator)``; those with a size take it at construction.
``fan_in`` and ``fan_out`` are the last two sizes, each times the product of the sizes before them, a filter's
receptive field: a dense kernel has shape ``(fan_in, fan_out)``, and a filter ``(height, width, channels_in,
channels_out)`` has ``fan_in = height * width * channels_in``.

Sources: He et al. 2015 (variance ``2 / fan_in``), Glorot and Bengio 2010 (variance ``2 / (fan_in + fan_out)``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import ShapeError

__all__ = [
    "Initializer", "constant", "fans", "he_normal", "he_uniform", "normal", "ones", "xavier_normal", "xavier_uniform",
    "zeros",
]  # fmt: skip

Initializer = Callable[[tuple[int, ...], "np.dtype[Any]", "np.random.Generator"], NDArray[Any]]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs that reach one output, and outputs that one input reaches.

    Raises
    ------
    ShapeError
        If the shape has fewer than two axes.
    """
    if len(shape) < 2:
        raise ShapeError(f"initializer: expected weights of at least two axes, got shape {shape}")
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def he_normal(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """Normal with variance ``2 / fan_in``: keeps the variance of activations through ReLU layers."""
    return generator.normal(0.0, math.sqrt(2 / max(1, fans(shape)[0])), shape).astype(dtype)


def he_uniform(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """Uniform with variance ``2 / fan_in``."""
    bound = math.sqrt(6 / max(1, fans(shape)[0]))
    return generator.uniform(-bound, bound, shape).astype(dtype)


def xavier_normal(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """Normal with variance ``2 / (fan_in + fan_out)``: for tanh and sigmoid layers."""
    return generator.normal(0.0, math.sqrt(2 / max(1, sum(fans(shape)))), shape).astype(dtype)


def xavier_uniform(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """Uniform with variance ``2 / (fan_in + fan_out)``."""
    bound = math.sqrt(6 / max(1, sum(fans(shape))))
    return generator.uniform(-bound, bound, shape).astype(dtype)


def zeros(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """All zeros: for biases."""
    return np.zeros(shape, dtype)


def ones(shape: tuple[int, ...], dtype: Any, generator: np.random.Generator) -> NDArray[Any]:
    """All ones: for scales."""
    return np.ones(shape, dtype)


def constant(value: float) -> Initializer:
    """All of one value. Equal weights stay equal under training, so this is for biases and demonstrations."""
    return lambda shape, dtype, generator: np.full(shape, value, dtype)


def normal(stddev: float = 0.01) -> Initializer:
    """Normal with a given standard deviation: small random weights."""
    return lambda shape, dtype, generator: generator.normal(0.0, stddev, shape).astype(dtype)


def __dir__() -> list[str]:
    return list(__all__)
