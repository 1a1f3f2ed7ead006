"""Feeding data: minibatches of arrays, shuffled reproducibly.

A pass over the data (an epoch) draws one permutation of the rows from the pair (seed, epoch), so every epoch has its
own order and a run with the same seed sees the same batches again.  Shuffled batches are gathered row by row into
fresh contiguous arrays, which a session can use in place; unshuffled ones are views.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import GraphcError, ShapeError

__all__ = ["Batches", "batches"]


class Batches:
    """Minibatches over arrays of equal length; made by :func:`batches`.

    Attributes
    ----------
    epoch : int
        Number of passes begun so far.  Set it to continue an interrupted run with the order that comes next.
    """

    def __init__(self, arrays: tuple[np.ndarray, ...], size: int, shuffle: bool, seed: int, drop_last: bool):
        self.arrays, self.size, self.shuffle, self.seed, self.drop_last = arrays, size, shuffle, seed, drop_last
        self.rows = len(arrays[0])
        self.epoch = 0

    def __len__(self) -> int:
        """Number of batches in one pass."""
        full, rest = divmod(self.rows, self.size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Begin a pass.  The epoch counts from here, so two passes running side by side have two orders."""
        epoch = self.epoch
        self.epoch += 1
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows) if self.shuffle else None
        return self._batches_in(order)

    def _batches_in(self, order: np.ndarray | None) -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(self) * self.size, self.size):
            rows = slice(start, min(start + self.size, self.rows))
            if order is None:
                yield tuple(array[rows] for array in self.arrays)
            else:  # indexing keeps the memory order of a transposed array, hence the explicit C order
                yield tuple(np.ascontiguousarray(array[order[rows]]) for array in self.arrays)

    def __repr__(self) -> str:
        return f"<{len(self)} batches of {self.size} from {self.rows} rows, epoch {self.epoch}>"


def batches(*arrays: Any, size: int, shuffle: bool = False, seed: int = 0, drop_last: bool = False) -> Batches:
    """Cut arrays into minibatches along their first axis.

    Parameters
    ----------
    *arrays : array_like, shape (rows, ...)
        One or more arrays with the same number of rows, of any dtype.
    size : int
        Rows in a batch, at least 1.
    shuffle : bool
        Draw a new order of the rows for every pass, the same for all arrays.
    seed : int
        Non-negative; the order of pass ``n`` depends on ``(seed, n)`` only.
    drop_last : bool
        Leave the last batch out when it has fewer than `size` rows.

    Returns
    -------
    Batches
        Iterable any number of times, one pass each time; ``len`` is the number of batches in a pass.  An item is a
        tuple with one array of shape ``(size, ...)`` per argument (a tuple of one for a single array).  Shuffled
        batches are contiguous copies, others are views of the arrays given.

    Raises
    ------
    ShapeError
        If there is no array, an array has no rows axis, is ragged, or has another number of rows than the first.
    GraphcError
        If `size` or `seed` is not a whole number in range.

    Examples
    --------
    >>> import numpy as np
    >>> for x, y in batches(np.arange(5), np.arange(5) ** 2, size=2):
    ...     print(x, y)
    [0 1] [0 1]
    [2 3] [4 9]
    [4] [16]
    """
    size, seed = _whole_number("size", size, least=1), _whole_number("seed", seed, least=0)
    if not arrays:
        raise ShapeError("batches: expected at least one array, got none")
    converted = tuple(_as_rows(position, array) for position, array in enumerate(arrays))
    rows = len(converted[0])
    for position, array in enumerate(converted):
        if len(array) != rows:
            raise ShapeError(
                f"batches: arrays differ in length: array 0 of shape {converted[0].shape} has {rows} rows, "
                f"array {position} of shape {array.shape} has {len(array)}",
                hint="the first axis counts examples and must be the same everywhere",
            )
    return Batches(converted, size, bool(shuffle), seed, bool(drop_last))


def _whole_number(name: str, value: Any, *, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool) or number < least:
        raise GraphcError(f"batches: {name}: expected a whole number of at least {least}, got {value!r}")
    return number


def _as_rows(position: int, value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"batches: array {position} is not rectangular: {error}") from error
    if array.ndim == 0:
        raise ShapeError(f"batches: array {position} has no first axis to cut: got the scalar {value!r}")
    return array


if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)
