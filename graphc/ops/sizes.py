"""Sizes and positions as values: size_of, iota, arange; and arithmetic on sizes that is exact for empty axes.

The simplifications of :mod:`graphc.ir.symbolic` take named dims to be at least 1: a loop over an empty axis never
asks for a position. A *size* is asked for even then: ``x[1:]`` of an empty axis is empty, not of size -1. So shapes
are made with :func:`size_maximum` and :func:`size_minimum`, which drop a clamp only where it holds from 0 up.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Map, Read, Sample, op
from graphc.ir.scalar import INT64, Apply, Position, Scalar
from graphc.ir.symbolic import Compound, Dim, Name, Size, concrete, floordiv, of_atom
from graphc.ir.types import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    FLOATS,
    INTEGERS,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    normalize_axis,
)  # fmt: skip
from graphc.ops.base import as_tensor, given, require_no_device

Array = np.ndarray[Any, Any]

__all__ = ["arange", "size_of"]


def never_negative(size: Size) -> bool:
    """Whether ``size >= 0`` for all values of the named dims from 0 up (sufficient, not necessary)."""
    if isinstance(size, int):
        return size >= 0
    return all(factor >= 0 and all(map(_atom_never_negative, atoms)) for atoms, factor in size.terms)


def _atom_never_negative(atom: Any) -> bool:
    if isinstance(atom, Compound):
        either = any if atom.kind == "maximum" else all
        return atom.kind == "mod" or either(map(never_negative, (atom.left, atom.right)))
    return isinstance(atom, Name)


def size_maximum(left: Size, right: Size) -> Size:
    """The larger of two sizes."""
    if never_negative(left - right):
        return left
    return right if never_negative(right - left) else of_atom(Compound("maximum", left, right))


def size_minimum(left: Size, right: Size) -> Size:
    """The smaller of two sizes."""
    if never_negative(right - left):
        return left
    return right if never_negative(left - right) else of_atom(Compound("minimum", left, right))


@op
class dim_size(Map):
    """The value of a size as an int64 scalar tensor; a constant where it is static."""

    public = False
    differentiable = False
    dtypes = ()

    def __call__(self, size: Size) -> Tensor:
        return self.make(size=size) if isinstance(size, Dim) else as_tensor(np.int64(size))

    def infer(self, *, size: Size) -> TensorType:
        return TensorType((), INT64)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.asarray(concrete([node["size"]])[0], INT64)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        return Position(node["size"])


def size_of(x: Any, axis: int | None = None) -> Tensor:
    """The number of elements along an axis, or in all, as a tensor: for arithmetic with named dims.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int, optional
        The whole tensor if not given.

    Returns
    -------
    Tensor
        int64 scalar; a constant where the size is static.
    """
    x = as_tensor(x)
    return x.admit(dim_size(x.type.size if axis is None else x.shape[normalize_axis(axis, x.ndim, "size_of")]))


@op
class iota(Map):
    """Every element is its own position along ``axis``."""

    public = False
    differentiable = False
    dtypes = ()
    samples = [Sample(shape=(3, 4), axis=1, dtype="int32"), Sample(shape=(5,), axis=0, dtype="float64")]

    def __call__(self, shape: Any, axis: int = 0, dtype: Any = DEFAULT_INT) -> Tensor:
        shape, dtype = as_shape(shape, "iota"), as_dtype(dtype)
        if dtype.name not in (*INTEGERS, *FLOATS):
            raise DTypeError(f"iota: expected a dtype of numbers, got {dtype}")
        return self.make(shape=shape, axis=normalize_axis(axis, len(shape), "iota"), dtype=dtype)

    def infer(self, *, shape: Shape, axis: int, dtype: Any) -> TensorType:
        return TensorType(shape, dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        shape, axis = concrete(node.result.shape), node["axis"]
        along = np.arange(shape[axis]).astype(node["dtype"]).reshape(-1, *(1 for _ in shape[axis + 1 :]))
        return np.broadcast_to(along, shape)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        place = Position(index[node["axis"]])
        return place if node["dtype"] == INT64 else Apply("cast", (place,), node["dtype"])


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: None = None) -> Tensor:
    """Evenly spaced values: ``start``, ``start + step``, ... below ``stop``.

    Parameters
    ----------
    start, stop : number or Dim
        With one of them, it is the stop, and the start is 0.
    step : number
        Not 0.
    dtype : dtype, optional
        int64, or float32 if a number is a float.
    device : None
        There for the array API standard's sake; see :func:`graphc.full`.

    Returns
    -------
    Tensor
        Of rank 1; its size is an expression of the named dims among ``start`` and ``stop``.

    Raises
    ------
    GraphError
        If the step is 0 or an argument no number.
    """
    require_no_device("arange", device)
    start, stop = (0, start) if stop is None else (start, stop)
    bounds = [value.item() if isinstance(value, np.generic) else value for value in (start, stop, step)]
    if not all(isinstance(v, (int, float, Dim)) and not isinstance(v, bool) for v in bounds) or isinstance(step, Dim):
        raise GraphError(f"arange: expected numbers or dims, got {', '.join(map(given, (start, stop, step)))}")
    if not all(isfinite(bound) for bound in bounds if isinstance(bound, float)):
        raise GraphError(f"arange: expected finite numbers, got {start!r}, {stop!r}, {step!r}")
    start, stop, step = bounds
    if step == 0:
        raise GraphError("arange: expected a step other than 0")
    fractional = any(isinstance(v, float) for v in bounds)
    kind = as_dtype(dtype if dtype is not None else DEFAULT_FLOAT if fractional else DEFAULT_INT)
    length: Size
    if fractional:
        if isinstance(start, Dim) or isinstance(stop, Dim):
            raise GraphError("arange: expected whole numbers together with a named dim")
        length = max(0, ceil((stop - start) / step))
    else:
        span = stop - start if step > 0 else start - stop
        length = floordiv(size_maximum(span, 0) + (abs(step) - 1), abs(step))
    # whole numbers are exact in int64 whatever dtype they are wanted in
    values = iota((length,), 0, np.dtype("float64") if fractional else INT64)
    values = values if step == 1 else REGISTRY["multiply"](values, step)
    values = values if start == 0 else REGISTRY["add"](values, dim_size(start) if isinstance(start, Dim) else start)
    return REGISTRY["cast"](values, kind)
