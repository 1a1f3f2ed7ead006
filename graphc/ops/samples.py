"""Example values for the ``samples`` of ops: drawn from fixed seeds, the same in every process.

They are drawn when somebody looks at them, which a program that is compiled never does: graphc starts without NumPy's
generators.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Drawn(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that is made when it is first asked for; so are results of NumPy's elementwise functions of it.

    Parameters
    ----------
    make : callable
        Without arguments.
    """

    def __init__(self, make: Callable[[], Array]):
        self._make = make

    @cached_property
    def array(self) -> Array:
        """The array, which nobody may change."""
        values = np.asarray(self._make())
        values.setflags(write=False)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Drawn:
        return Drawn(lambda: getattr(ufunc, method)(*map(_drawn, inputs), **options))


def _drawn(value: Any) -> Any:
    return value.array if isinstance(value, Drawn) else value


def _once(draw: Callable[..., Array]) -> Callable[..., Drawn]:
    """Equal requests get one array."""
    return cache(lambda *shape, **options: Drawn(partial(draw, *shape, **options)))


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
