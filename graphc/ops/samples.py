"""Example values for the ``samples`` of ops: drawn once from fixed seeds, the same in every process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Draw = Callable[..., Array]


def _once(draw: Draw) -> Draw:
    """Equal requests get one array, which nobody may change: a generator for each would be felt when graphc starts."""

    @cache
    def drawn(*shape: int, **options: int) -> Array:
        values = np.asarray(draw(*shape, **options))
        values.setflags(write=False)
        return values

    return drawn


@_once
def normal(*shape: int, seed: int = 0) -> Array:
    """Standard normal float64 values."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


@_once
def positive(*shape: int, seed: int = 0) -> Array:
    """Values between 0.3 and 2.3: away from the poles and kinks of logarithms and roots."""
    return np.random.default_rng([seed, *shape]).uniform(0.3, 2.3, size=shape)


@_once
def spread(*shape: int, seed: int = 0) -> Array:
    """Values at least 0.1 apart and at least 0.05 away from 0, shuffled: no ties, no kinks, no whole numbers."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count // 2) * 0.13 + 0.0571
    return np.random.default_rng([seed, *shape]).permutation(values).reshape(shape)


@_once
def integers(*shape: int, low: int = -5, high: int = 6, seed: int = 0) -> Array:
    """int64 values of ``range(low, high)``."""
    return np.random.default_rng([seed, *shape]).integers(low, high, size=shape)


@_once
def booleans(*shape: int, seed: int = 0) -> Array:
    """True and False, about half each."""
    return np.random.default_rng([seed, *shape]).random(shape) < 0.5
