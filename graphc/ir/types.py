"""Types: a shape and a dtype. Both are fixed when a node is made."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.symbolic import Dim, Size, named, product, recombine, weighted_sum

Shape = tuple[Size, ...]

NAME_IT = "a size that only the data know has a name: ('batch', 3)"

FLOATS = ("float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = ("bool", *INTEGERS, *FLOATS)

NAMES: dict[np.dtype[Any], str] = {np.dtype(name): name for name in DTYPES}
"""The name of each dtype; ``dtype.name`` makes the text anew at every access, which large graphs would feel."""

_KNOWN = {dtype: dtype for dtype in NAMES}

LARGEST_SIZE = (1 << 63) - 1
"""Positions and numbers of bytes are int64."""

DEFAULT_FLOAT = np.dtype("float32")
DEFAULT_INT = np.dtype("int64")


class TensorType(NamedTuple):
    """Shape and dtype of one result of a node."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def size(self) -> Size:
        """Number of elements."""
        return _count(self.shape)

    @property
    def bytes(self) -> Size:
        """Bytes of a contiguous array of this type."""
        return _count(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{NAMES[self.dtype]}[{', '.join(map(str, self.shape))}]"


@lru_cache(maxsize=4096)
def _count(shape: Shape) -> Size:
    return product(shape)


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """The NumPy dtype for a name, NumPy dtype or scalar type.

    Raises
    ------
    DTypeError
        If graphc has no such dtype.
    """
    if isinstance(dtype, np.dtype) and dtype in _KNOWN:
        return _KNOWN[dtype]
    name = str(dtype) if isinstance(dtype, str) else dtype  # NumPy's strings are names too
    if name is None or isinstance(getattr(name, "dtype", None), np.dtype):  # NumPy takes both for dtypes
        raise _unknown(dtype)
    try:
        given = np.dtype(name)
    except (TypeError, ValueError):
        raise _unknown(dtype) from None
    found = _KNOWN.get(given) or _KNOWN.get(given.newbyteorder("="))
    if found is None:
        raise _unknown(dtype)
    return found


def _unknown(dtype: Any) -> DTypeError:
    return DTypeError(f"expected one of the dtypes {', '.join(DTYPES)}, got {_shown(dtype)}")


def _shown(dtype: Any) -> str:
    if isinstance(dtype, np.dtype):
        return dtype.name if dtype.isbuiltin else str(dtype)
    kind = getattr(dtype, "type", None)  # of a tensor
    return str(kind) if isinstance(kind, TensorType) else reprlib.repr(dtype)


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is a floating-point type."""
    return dtype.kind == "f"


def is_integer(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is an integer type; bool is none."""
    return dtype.kind in "iu"


def is_whole(value: Any) -> TypeGuard[int | np.integer[Any]]:
    """Whether a value is an integer of Python's or NumPy's; a bool is none, nor is a Dim."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float | np.integer[Any] | np.floating[Any]]:
    """Whether a value is a real number of Python's or NumPy's; a bool is none, nor is a Tensor."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def one_or_more(value: Any) -> tuple[Any, ...]:
    """The entries of a tuple or list, such as axes; anything else stands for itself alone."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def as_shape(shape: Any, what: str = "shape") -> Shape:
    """A tuple of sizes from integers, dims and names of dims.

    Raises
    ------
    ShapeError
        If an entry is neither, or negative.
    """
    if isinstance(shape, (int, np.integer, str, Dim)):
        shape = (shape,)
    try:
        entries = tuple(shape)
    except TypeError:
        raise ShapeError(f"{what}: expected a sequence of sizes, got {_shown(shape)}") from None
    return tuple(_as_size(entry, what) for entry in entries)


def _as_size(entry: Any, what: str) -> Size:
    if isinstance(entry, Dim):
        return entry
    if isinstance(entry, str):
        if not entry.isidentifier():
            raise ShapeError(f"{what}: expected the name of a dim to be an identifier, got {entry!r}")
        return named(entry)
    if is_whole(entry):
        if entry < 0:
            raise ShapeError(f"{what}: expected sizes of at least 0, got {int(entry)}", hint=NAME_IT)
        if entry > LARGEST_SIZE:
            raise ShapeError(f"{what}: expected sizes below 2**63, got {int(entry)}")
        return int(entry)
    raise ShapeError(f"{what}: expected an integer or the name of a dim, got {_shown(entry)}", hint=NAME_IT)


def format_shape(shape: Sequence[Size]) -> str:
    """A shape as error messages show it: ``(batch, 784)``, ``(3,)``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def row_major_strides(shape: Sequence[Size]) -> Shape:
    """Element strides of a contiguous row-major array."""
    return _strides(tuple(shape))


@lru_cache(maxsize=4096)
def _strides(shape: Shape) -> Shape:
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size
    return tuple(reversed(strides))


def flat_offset(shape: Sequence[Size], index: Sequence[Size]) -> Size:
    """Place of an element in a contiguous row-major array, in elements."""
    return recombine(weighted_sum(index, row_major_strides(shape)))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape of several by NumPy's rule; a named dim never counts as 1.

    Raises
    ------
    ShapeError
        If two sizes differ and neither is 1.
    """
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = []
    for place in range(-rank, 0):
        size: Size = 1
        for shape in shapes:
            entry = shape[place] if len(shape) >= -place else 1
            if entry == 1 or entry == size:
                continue
            if size != 1:
                named_dims = isinstance(size, Dim) or isinstance(entry, Dim)
                kind = "two different named dims meet" if named_dims else "sizes differ"
                shown = " and ".join(format_shape(s) for s in shapes)
                raise ShapeError(f"shapes {shown} do not broadcast: {kind}: {size} and {entry} on axis {place}")
            size = entry
        result.append(size)
    return tuple(result)


def normalize_axis(axis: Any, rank: int, what: str) -> int:
    """An axis counted from the front.

    Raises
    ------
    ShapeError
        If it is no integer within ``-rank <= axis < rank``.
    """
    if not is_whole(axis):
        raise ShapeError(f"{what}: expected an integer axis, got {_shown(axis)}")
    if not -rank <= axis < rank:
        raise ShapeError(f"{what}: axis {int(axis)} is out of range for rank {rank}")
    return int(axis) % rank


def ordered_axes(axis: Any, rank: int, what: str) -> tuple[int, ...]:
    """One or more axes counted from the front, in the order in which they are named.

    Raises
    ------
    ShapeError
        If one is out of range or named twice.
    """
    axes = tuple(normalize_axis(entry, rank, what) for entry in one_or_more(axis))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{what}: an axis is named twice in {axis!r}")
    return axes


def normalize_axes(axis: Any, rank: int, what: str) -> tuple[int, ...]:
    """What :func:`ordered_axes` gives, sorted; None means all."""
    return tuple(range(rank)) if axis is None else tuple(sorted(ordered_axes(axis, rank, what)))
