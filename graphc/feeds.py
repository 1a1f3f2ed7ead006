"""Feeds: checking arrays against placeholders, casting them within their kind, and reading the named dims off them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import FeedError, GraphcWarning
from graphc.ir.node import Tensor
from graphc.ir.origin import stack_level
from graphc.ir.symbolic import Dim, Size, evaluate, exact_quotient, names_of, terms_of
from graphc.ir.types import format_shape
from graphc.runtime.memory import require

MOST_KNOWN_SHAPES = 256
"""Combinations of fed shapes whose named dims are remembered."""


class Feeder:
    """Turns what users feed into arrays that kernels can read in place.

    Parameters
    ----------
    placeholders : sequence of Tensor
        What is fed, in order.
    tell_rounding : bool
        Warn when float64 is rounded to float32, once.

    Attributes
    ----------
    copies : dict of Tensor to int
        Bytes of the copies made of feeds that had to be converted, at the last time that each had to be.
    """

    def __init__(self, placeholders: Sequence[Tensor], tell_rounding: bool = True):
        self.placeholders = tuple(placeholders)
        self._warned = not tell_rounding
        self._plan = [(p, p.dtype) for p in self.placeholders]
        self._known: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}
        self.copies: dict[Tensor, int] = {}

    def __call__(self, values: Sequence[Any]) -> tuple[list[NDArray[Any]], dict[str, int]]:
        """Arrays and the values of the named dims.

        Parameters
        ----------
        values : sequence of array_like
            One a placeholder.

        Raises
        ------
        FeedError
            If a dtype or shape does not fit, or one name has two sizes; names the placeholder, what was expected
            and what was got.
        """
        arrays: list[NDArray[Any]] = []
        for (tensor, dtype), value in zip(self._plan, values, strict=True):
            array = value
            if (
                type(array) is not np.ndarray
                or array.dtype is not dtype
                or not array.flags.c_contiguous
                or not array.flags.aligned
            ):
                array = self._converted(tensor, value)
            arrays.append(array)
        shapes = tuple(array.shape for array in arrays)
        sizes = self._known.get(shapes)
        if sizes is None:
            sizes = self._sizes(arrays)
            if len(self._known) < MOST_KNOWN_SHAPES:
                self._known[shapes] = sizes
        return arrays, sizes

    def _sizes(self, arrays: Sequence[NDArray[Any]]) -> dict[str, int]:
        """The values that the arrays' shapes give to the named dims, once every shape is found to fit."""
        sizes: dict[str, int] = {}
        givers: dict[str, Tensor] = {}  # the placeholder that gave each name its value
        for tensor, array in zip(self.placeholders, arrays, strict=True):
            if array.shape != tensor.shape:
                if array.ndim != tensor.ndim or not any(isinstance(size, Dim) for size in tensor.shape):
                    self._refuse(tensor, array)
                _read_names(tensor, array.shape, sizes, givers)
        for tensor, array in zip(self.placeholders, arrays, strict=True):
            _check_sizes(tensor, array.shape, sizes)
        return sizes

    def _refuse(self, tensor: Tensor, array: NDArray[Any]) -> None:
        raise FeedError(
            f"feed {tensor.name!r}: expected shape {format_shape(tensor.shape)}, got {format_shape(array.shape)}",
            origin=tensor.node.origin,
        )

    def _converted(self, tensor: Tensor, value: Any) -> NDArray[Any]:
        """An aligned, contiguous array of the placeholder's dtype."""
        if isinstance(value, Tensor):
            if value.apply is None:
                raise FeedError(
                    f"feed {tensor.name!r}: expected an array, got the tensor {value!r}", origin=tensor.node.origin
                )
            value = np.asarray(value)  # an eager tensor has a value
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            raise FeedError(
                f"feed {tensor.name!r}: expected an array, got a masked array, whose masked elements have no value",
                origin=tensor.node.origin,
                hint="give them one: array.filled(0)",
            )
        try:
            array = np.asarray(value)
        except (ValueError, TypeError, MemoryError, OverflowError) as error:
            raise FeedError(f"feed {tensor.name!r}: not an array: {error}", origin=tensor.node.origin) from None
        if array.dtype.kind not in "biuf":
            raise FeedError(
                f"feed {tensor.name!r}: expected {tensor.dtype.name}, got an array of dtype {array.dtype}",
                origin=tensor.node.origin,
            )
        self._check_room(tensor, array)
        if array.dtype != tensor.dtype:
            array = self._cast(tensor, array, weak=not isinstance(value, (np.ndarray, np.generic)))
        # ascontiguousarray makes rank 0 into rank 1, so the shape is given back; equal dtypes may be several objects
        made = np.require(array, requirements=["C", "ALIGNED"]).reshape(array.shape)
        self.copies[tensor] = 0 if made.base is not None and np.may_share_memory(made, value) else made.nbytes
        return made.view(tensor.dtype)

    def _check_room(self, tensor: Tensor, array: NDArray[Any]) -> None:
        """Whether memory suffices to convert an array, which may be much larger than what it was made from."""
        casting = array.dtype != tensor.dtype
        if not casting and array.flags.c_contiguous and array.flags.aligned:
            return
        if array.ndim != tensor.ndim or any(
            isinstance(size, int) and size != got for size, got in zip(tensor.shape, array.shape, strict=True)
        ):
            self._refuse(tensor, array)
        masks = array.itemsize + 3  # what casting compares: a copy cast back, and truth values
        require(
            array.size * (tensor.dtype.itemsize + casting * masks),
            f"feed {tensor.name!r}: a contiguous copy of {tensor.dtype.name}{format_shape(array.shape)}",
            origin=tensor.node.origin,
            hint=f"feed a C-contiguous array of {tensor.dtype.name}, which is used in place, or a smaller one",
        )

    def _cast(self, tensor: Tensor, array: NDArray[Any], weak: bool) -> NDArray[Any]:
        """Cast within a kind: floats may round, everything else must keep every value."""
        with np.errstate(all="ignore"):
            cast = array.astype(tensor.dtype)
            back = cast.astype(array.dtype)
        floats = array.dtype.kind == tensor.dtype.kind == "f"
        beyond: Any = None  # a value that the dtype cannot hold, which a cast of the user's would not hold either
        if floats:
            kept = bool(np.all(np.isfinite(cast) | ~np.isfinite(array)))
            beyond = None if kept else array[np.isfinite(array) & ~np.isfinite(cast)][0]
        elif array.dtype.kind == "f" and array.size:
            kept = False
        elif array.dtype.kind in "iu" and tensor.dtype.kind in "iu" and array.size:
            bounds, least, largest = np.iinfo(tensor.dtype), array.min(), array.max()
            kept = int(least) >= bounds.min and int(largest) <= bounds.max
            beyond = None if kept else largest if int(largest) > bounds.max else least
        else:
            kept = bool(np.array_equal(back, array))
        if not kept:
            raise FeedError(
                f"feed {tensor.name!r}: expected {tensor.dtype.name}, got {array.dtype.name} that can't be cast "
                f"without loss{'' if beyond is None else f': {beyond} is out of range'}",
                origin=tensor.node.origin,
                hint=f"cast it yourself: array.astype({tensor.dtype.name!r})" if beyond is None else None,
            )
        if floats and tensor.dtype.itemsize < array.dtype.itemsize and not weak and not self._warned:
            self._warned = True
            warnings.warn(
                f"feed {tensor.name!r}: {array.dtype.name} is rounded to {tensor.dtype.name} at each run; "
                "said once a program",
                GraphcWarning,
                stacklevel=stack_level(),
            )
        return cast


def _read_names(tensor: Tensor, shape: tuple[int, ...], sizes: dict[str, int], givers: dict[str, Tensor]) -> None:
    """Give the names in a placeholder's shape their values, unless another has given them."""
    for declared, size in zip(tensor.shape, shape, strict=True):
        solved = _solve(declared, size)
        if solved is None:
            continue
        name, value = solved
        known = sizes.setdefault(name, value)
        first = givers.setdefault(name, tensor)
        if known != value:
            raise FeedError(
                f"named dim {name!r} has two sizes in one feed: {known} in {first.name!r} and {value} in "
                f"{tensor.name!r} of shape {format_shape(tensor.shape)}",
                origin=tensor.node.origin,
            )


def _solve(declared: Size, size: int) -> tuple[str, int] | None:
    """The value of the one name in ``factor * name + rest``, if ``size`` gives it."""
    names = names_of(declared)
    if not isinstance(declared, Dim) or len(names) != 1:
        return None
    factor = rest = 0
    for monomial, count in terms_of(declared):
        if not monomial:
            rest = count
        elif len(monomial) == 1 and str(monomial[0]) == names[0]:
            factor = count
        else:
            return None
    value = exact_quotient(size - rest, factor)
    return (names[0], value) if isinstance(value, int) and value >= 0 else None


def _check_sizes(tensor: Tensor, shape: tuple[int, ...], sizes: Mapping[str, int]) -> None:
    """Every size of a fed array is what the placeholder declares, now that names have values."""
    for place, (declared, size) in enumerate(zip(tensor.shape, shape, strict=True)):
        unknown = [name for name in names_of(declared) if name not in sizes]
        if unknown:
            raise FeedError(
                f"feed {tensor.name!r}: axis {place} is declared as {declared}, but no feed says what {unknown[0]!r} "
                f"is; got size {size}",
                origin=tensor.node.origin,
            )
        if evaluate(declared, sizes) != size:
            raise FeedError(
                f"feed {tensor.name!r}: expected shape {format_shape(tensor.shape)}, got {format_shape(shape)}: axis "
                f"{place} is {size}",
                origin=tensor.node.origin,
            )
