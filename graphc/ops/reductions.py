"""Reductions along axes, and running sums along one.

The primitive drops the axes it reduces (attribute ``axes``); ``keepdims`` puts them back as axes of size 1 by a
reshape. Sums and products of integers and bools are int64, or uint64 of unsigned ones, as in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import AxisScan, ChunkedReduction, Reduction, Sample, op
from graphc.ir.symbolic import product
from graphc.ir.types import DTYPES, FLOATS, INTEGERS, NAMES, TensorType, normalize_axes, normalize_axis
from graphc.ops.base import as_tensor, require, require_bool, shown
from graphc.ops.elementwise import cast, divide, equal, logical_or, multiply, not_equal, where
from graphc.ops.samples import integers, normal
from graphc.ops.samples import spread as distinct
from graphc.ops.sizes import iota
from graphc.ops.sources import constant
from graphc.ops.views import broadcast_to, flip, pad, permute_dims, reshape

__all__ = ["argmax", "argmin", "cumulative_sum", "max_", "min_", "prod", "sum_"]

Array = np.ndarray[Any, Any]
NUMBERS = (*INTEGERS, *FLOATS)
INT64 = np.dtype("int64")


def keep_axes(reduced: Tensor, original: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A reduced tensor with its reduced axes as axes of size 1."""
    return reshape(reduced, tuple(1 if k in axes else size for k, size in enumerate(original.shape)))


def spread(reduced: Tensor, original: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A reduced tensor repeated along its reduced axes."""
    return broadcast_to(keep_axes(reduced, original, axes), original.shape)


def _widened(x: Tensor, dtype: Any) -> Tensor:
    """What a sum or product accumulates in."""
    if dtype is not None:
        return cast(x, dtype)
    return cast(x, {"b": "int64", "i": "int64", "u": "uint64"}.get(x.dtype.kind, x.dtype))


class AlongAxes(Reduction):
    """Common parts of reductions: axes, shapes, keepdims."""

    needs_elements: ClassVar[bool] = False
    dtypes = DTYPES
    samples: ClassVar[Sequence[Sample]] = (
        Sample(distinct(2, 3, 4), axis=1),
        Sample(distinct(3, 5), axis=(0, 1), keepdims=True),
        Sample(distinct(7)),
        Sample(distinct(4, 3), axis=0),
        Sample(integers(3, 6), axis=-1, differentiable=False),
        Sample(np.array([[1.0, np.nan], [np.inf, -np.inf], [2.0, 2.0]]), axis=1, differentiable=False),
    )

    def reduce(self, x: Tensor, axes: tuple[int, ...], keepdims: bool = False) -> Tensor:
        """The primitive on normalised axes."""
        require_bool(self.name, "keepdims", keepdims)
        result = self.make(x, axes=axes) if axes else self.of_one(x)
        return keep_axes(result, x, axes) if keepdims else result

    def of_one(self, x: Tensor) -> Tensor:
        """Every element reduced by itself."""
        return x

    def infer(self, *inputs: Tensor, axes: tuple[int, ...]) -> TensorType:
        (x,) = inputs
        if NAMES[x.dtype] not in NUMBERS:
            raise DTypeError(f"{self.name}: expected numbers, got {x.type}", operands=(x,))
        if self.needs_elements:
            empty = [axis for axis in axes if x.shape[axis] == 0]
            message = f"{self.name}: expected at least one element along axes {empty}, got {shown(x)}"
            require(not empty, ShapeError, message, x)
        return TensorType(tuple(size for axis, size in enumerate(x.shape) if axis not in axes), x.dtype)


class Accumulation(AlongAxes):
    """Sum and product."""

    def __call__(self, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Tensor:
        """Reduce along axes.

        Parameters
        ----------
        x : Tensor or array_like
        axis : int or sequence of int, optional
            All axes if not given.
        keepdims : bool
            Keep reduced axes with size 1.
        dtype : dtype, optional
            Cast to it first. Without it integers and bools become int64, unsigned integers uint64.

        Returns
        -------
        Tensor

        Raises
        ------
        ShapeError
            If an axis is out of range or named twice.
        """
        tensor = _widened(as_tensor(x), dtype)
        return self.reduce(tensor, normalize_axes(axis, tensor.ndim, self.name), keepdims)


@op
class sum_(Accumulation):
    """Sum along axes; 0 of no elements."""

    combine = "add"

    def compute(self, node: Node, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.sum(inputs[0], axis=node["axes"], dtype=inputs[0].dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (spread(cotangents[0], node.inputs[0], node["axes"]),)


@op
class sum_chunks(ChunkedReduction):
    """Sums over leading axes in parts; see :mod:`graphc.passes.split_long`.

    Parts are float64, of float32 too, whose terms are added up in float32 for at most 64 of them.
    """

    combine = "add"
    public = False
    differentiable = False  # it is made after differentiation
    samples: ClassVar[Sequence[Sample]] = (
        Sample(distinct(5, 3), axes=(0,), chunks=2, differentiable=False),
        Sample(distinct(2, 3, 4), axes=(0, 1), chunks=4, differentiable=False),
        Sample(distinct(7), axes=(0,), chunks=9, differentiable=False),
    )

    def infer(self, x: Tensor, axes: tuple[int, ...], chunks: int) -> TensorType:
        return TensorType((chunks, *x.shape[len(axes) :]), np.dtype("float64"))

    def compute(self, node: Node, *inputs: Array) -> Array:
        rest = inputs[0].shape[len(node["axes"]) :]
        count = math.prod(inputs[0].shape[: len(node["axes"])])
        rows = inputs[0].reshape(count, *rest)
        parts = np.empty((node["chunks"], *rest))
        for chunk in range(node["chunks"]):
            first, last = (count * place // node["chunks"] for place in (chunk, chunk + 1))
            with np.errstate(all="ignore"):
                parts[chunk] = rows[first:last].sum(axis=0, dtype=np.float64)
        return parts


@op
class prod(Accumulation):
    """Product along axes; 1 of no elements. Its derivative is right with zeros among the factors."""

    combine = "multiply"
    samples = (*AlongAxes.samples, Sample(np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]]), axis=1))

    def compute(self, node: Node, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.prod(inputs[0], axis=node["axes"], dtype=inputs[0].dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """The product of all other factors: of each row of a matrix that repeats the factors, 1 on its diagonal.

        Dividing the product by each factor would be cheaper than this square of multiplications, but fails at zeros.
        The matrix takes no memory: it is an index expression within the reduction.
        """
        (x,), (g,), axes = node.inputs, cotangents, node["axes"]
        order = (*(k for k in range(x.ndim) if k not in axes), *axes)
        kept = g.shape
        count = product(x.shape[k] for k in axes)
        factors = reshape(permute_dims(x, order), (*kept, 1, count))
        rows, columns = iota((count, count), 0), iota((count, count), 1)
        matrix = where(equal(rows, columns), 1, broadcast_to(factors, (*kept, count, count)))
        others = self.reduce(matrix, (len(kept) + 1,))
        parts = multiply(reshape(g, (*kept, 1)), others)
        moved = reshape(parts, tuple(x.shape[k] for k in order))
        return (permute_dims(moved, [order.index(k) for k in range(x.ndim)]),)


class Selection(AlongAxes):
    """Reductions that pick an element; there must be one."""

    needs_elements = True
    checks = True

    def __call__(self, x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Reduce along axes.

        Parameters
        ----------
        x : Tensor or array_like
        axis : int or sequence of int, optional
            All axes if not given.
        keepdims : bool
            Keep reduced axes with size 1.

        Returns
        -------
        Tensor

        Raises
        ------
        ShapeError
            If an axis is out of range or named twice, or its size is 0.
        """
        tensor = as_tensor(x)
        axes = self.chosen_axes(axis, tensor.ndim)
        if tensor.dtype.kind != "b":
            return self.reduce(tensor, axes, keepdims)
        result = self.reduce(cast(tensor, "uint8"), axes, keepdims)
        return cast(result, "bool") if result.dtype.name == "uint8" else result

    def chosen_axes(self, axis: Any, rank: int) -> tuple[int, ...]:
        """The axes to reduce, sorted."""
        return normalize_axes(axis, rank, self.name)


class Extreme(Selection):
    """The largest or the smallest element; NaN if there is one. Elements that tie share the derivative equally.

    Along a named dim that turns out to be 0 the result is the identity: minus infinity (or the lowest integer) for max.
    """

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (g,), axes = node.inputs, cotangents, node["axes"]
        chosen = logical_or(equal(x, spread(node.result, x, axes)), not_equal(x, x))
        count = sum_.make(cast(chosen, x.dtype), axes=axes)
        return (where(chosen, spread(divide(g, count), x, axes), 0),)


def limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """The lowest and the highest value of a dtype."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    return np.iinfo(dtype).min, np.iinfo(dtype).max


@op
class max_(Extreme):
    """The largest element along axes; NaN if there is one."""

    combine = "maximum"

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.max(inputs[0], axis=node["axes"], initial=limits(inputs[0].dtype)[0])


@op
class min_(Extreme):
    """The smallest element along axes; NaN if there is one."""

    combine = "minimum"

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.min(inputs[0], axis=node["axes"], initial=limits(inputs[0].dtype)[1])


class Place(Selection):
    """Where the largest or smallest element stands (int64): the first of equals, the first NaN if there is one.

    Positions count along the axis, or in the flattened tensor without ``axis``. Along a named dim that turns out to be
    0 the result is 0.
    """

    differentiable = False
    samples: ClassVar[Sequence[Sample]] = (
        Sample(np.array([[1.0, 3.0, 3.0], [np.nan, 5.0, np.nan]]), axis=1, differentiable=False),
        Sample(normal(4, 3), axis=0, keepdims=True, differentiable=False),
        Sample(normal(2, 3), differentiable=False),
        Sample(integers(3, 5, low=0, high=3), axis=1, differentiable=False),
    )

    def chosen_axes(self, axis: Any, rank: int) -> tuple[int, ...]:
        return tuple(range(rank)) if axis is None else (normalize_axis(axis, rank, self.name),)

    def of_one(self, x: Tensor) -> Tensor:
        return broadcast_to(constant(0, INT64), x.shape)

    def infer(self, *inputs: Tensor, axes: tuple[int, ...]) -> TensorType:
        return TensorType(super().infer(*inputs, axes=axes).shape, INT64)


def _rows(x: Array, axes: tuple[int, ...]) -> Array:
    """Reduced axes last, as one."""
    kept = [k for k in range(x.ndim) if k not in axes]
    count = int(np.prod([x.shape[k] for k in axes]))
    return x.transpose(*kept, *axes).reshape(*(x.shape[k] for k in kept), count)


@op
class argmax(Place):
    """Position of the largest element."""

    combine = "argmax"

    def compute(self, node: Node, *inputs: Array) -> Array:
        rows = _rows(inputs[0], node["axes"])
        return np.argmax(rows, axis=-1) if rows.shape[-1] else np.zeros(rows.shape[:-1], INT64)


@op
class argmin(Place):
    """Position of the smallest element."""

    combine = "argmin"

    def compute(self, node: Node, *inputs: Array) -> Array:
        rows = _rows(inputs[0], node["axes"])
        return np.argmin(rows, axis=-1) if rows.shape[-1] else np.zeros(rows.shape[:-1], INT64)


class Running(AxisScan):
    """Common parts of running sums and products.

    Attributes
    ----------
    initial : int
        What nothing at all combines to.
    """

    initial: ClassVar[int] = 0

    def __call__(self, x: Any, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
        """Combine along an axis.

        Parameters
        ----------
        x : Tensor or array_like
        axis : int, optional
            May be left out for vectors.
        dtype : dtype, optional
            Cast to it first. Without it integers and bools become int64, unsigned integers uint64.
        include_initial : bool
            Begin with what no element at all gives, so that the axis is one longer.

        Returns
        -------
        Tensor
            Of the shape of ``x``, but for ``include_initial``.

        Raises
        ------
        ShapeError
            If the axis is out of range, or missing for a tensor that is no vector.
        """
        tensor = _widened(as_tensor(x), dtype)
        require_bool(self.name, "include_initial", include_initial)
        clear = axis is not None or tensor.ndim == 1
        require(clear, ShapeError, f"{self.name}: expected axis= for the shape {shown(tensor)}", tensor)
        axis = normalize_axis(0 if axis is None else axis, tensor.ndim, self.name)
        result = self.make(tensor, axis=axis)
        if not include_initial:
            return result
        starts = tuple(int(k == axis) for k in range(tensor.ndim))
        longer = tuple(size + start for size, start in zip(tensor.shape, starts, strict=True))
        return pad.place(result, longer, starts, (1,) * tensor.ndim, self.initial)

    def infer(self, *inputs: Tensor, axis: int) -> TensorType:
        (x,) = inputs
        require(x.dtype.name in NUMBERS, DTypeError, f"{self.name}: expected numbers, got {x.type}", x)
        return x.type


@op
class cumulative_sum(Running):
    """Sums of the elements up to each position of an axis, that position included."""

    combine = "add"
    dtypes = DTYPES
    samples = (
        Sample(normal(2, 5), axis=1),
        Sample(normal(4, 3), axis=0),
        Sample(normal(6)),
        Sample(normal(3, 4), axis=1, include_initial=True),
        Sample(integers(3, 4), axis=-1, differentiable=False),
    )

    def compute(self, node: Node, *inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.cumsum(inputs[0], axis=node["axis"], dtype=inputs[0].dtype)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        axis = node["axis"]
        return (flip(cumulative_sum(flip(cotangents[0], axis), axis), axis),)
