"""Indices that are data: take, take_along_axis, the transposes that accumulate, gather_nd, one_hot.

**Gather and scatter are transposes of each other.** ``take`` reads ``x`` at places that a tensor names; its derivative
adds each cotangent back at the place it was read from, which is ``accumulate``; and the derivative of ``accumulate`` is
``take``. So two pairs of ops are closed under differentiation of any order:

====================  ============================  =======================================
gather                its transpose                 which place
====================  ============================  =======================================
``take``              ``accumulate``                ``x[..., indices[i, j, ...], ...]``
``take_along_axis``   ``accumulate_along_axis``     an index for every element of the result
====================  ============================  =======================================

``take`` accepts several index tensors for neighbouring axes, as ``x[rows, columns]`` needs. A negative index counts
from the end. An index out of range fails the step when the program runs; if the indices are a constant and
the axis is static, it is an error at once. Contributions are added in the order of their positions, so sums are
reproducible bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, IndexOutOfRangeError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, IndexedAccumulation, Map, Read, Sample, View, op
from graphc.ir.origin import Origin, here
from graphc.ir.scalar import INT64, Apply, Literal, Position, Scalar, apply
from graphc.ir.symbolic import Size, Value, concrete, is_within, of_atom
from graphc.ir.types import (
    DTYPES,
    FLOATS,
    INTEGERS,
    Shape,
    TensorType,
    as_dtype,
    as_shape,
    broadcast_shapes,
    is_integer,
    normalize_axis,
)  # fmt: skip
from graphc.ops.base import as_tensor, broadcast, require, shown
from graphc.ops.logic import cast, equal, less, where
from graphc.ops.samples import normal
from graphc.ops.sizes import iota, size_of
from graphc.ops.views import broadcast_to, reshape, strided_slice

Array = np.ndarray[Any, Any]

__all__ = ["gather_nd", "one_hot", "take", "take_along_axis"]


def as_indices(name: str, indices: Any, extent: Size, from_end: bool = True) -> Tensor:
    """Indices as an integer tensor; constant ones are checked against a static extent.

    Negative ones are out of range unless they count ``from_end``.
    """
    indices = as_tensor(np.zeros(0, "int64") if isinstance(indices, list) and not indices else indices)
    mask_hint = "a mask makes a result whose shape depends on data; use graphc.where"
    require(
        is_integer(indices.dtype),
        DTypeError,
        f"{name}: expected integer indices, got {indices.type}",
        indices,
        hint=mask_hint if indices.dtype.kind == "b" else None,
    )
    if indices.node.op.name == "constant" and isinstance(extent, int):
        counted_from_front(name, here(), indices.node["value"], extent, from_end)  # equal constants are one node
    return indices


def counted_from_front(name: str, origin: Origin, indices: Array, extent: int, from_end: bool = True) -> Array:
    """Indices within ``range(extent)``, negative ones counted from the end if ``from_end``.

    Raises
    ------
    IndexOutOfRangeError
        If one lies outside.
    """
    wrong = (indices >= extent) | (indices < (-extent if from_end else 0))
    if wrong.any():
        index = int(indices[wrong].flat[0])
        raise IndexOutOfRangeError(
            f"{name}: index {index} is out of range for an axis of size {extent}", origin=origin
        )
    places = indices.astype(np.int64)  # int8 has no room for the sum below
    return np.where(places < 0, places + extent, places)


def place_of(index: Scalar, extent: Size, from_end: bool = True) -> Size:
    """An index read from a tensor as a position: counted from the front, checked when the program runs.

    A position that is known to lie within the axis stands for itself: ``x[arange(n), columns]`` checks the columns.
    """
    if isinstance(index, Position) and is_within(index.size, extent):
        return index.size
    if index.dtype == np.dtype("uint64"):  # values beyond int64 must stay out of range, not become negative
        index = apply("minimum", index, Literal(np.iinfo(np.int64).max, index.dtype))
    if index.dtype != INT64:
        index = Apply("cast", (index,), INT64)
    static = () if from_end else ("from_front",)
    return of_atom(Value(Apply("checked_index", (index, Position(extent)), INT64, static), extent))


@op
class in_range(Map):
    """Numbers of classes or segments as int64, each checked when the program runs: ``0 <= number < size``.

    Unlike indices they do not count from the end: -1 stands for padding in many data sets.
    """

    public = False
    checks = True
    differentiable = False
    dtypes = INTEGERS
    samples = (Sample(np.array([2, 0, 1, 2]), size=3), Sample(np.array([[0], [1]], "uint8"), size=2))

    def __call__(self, numbers: Any, size: Size) -> Tensor:
        return self.make(as_indices("in_range", numbers, size, from_end=False), size=size)

    def infer(self, numbers: Tensor, *, size: Size) -> TensorType:
        return TensorType(numbers.shape, INT64)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return counted_from_front(node.caller, node.origin, inputs[0], concrete([node["size"]])[0], from_end=False)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        return Position(place_of(read(0, index), node["size"], from_end=False))


@op
class take(Map):
    """Elements along an axis at the places that indices name.

    Parameters
    ----------
    x : Tensor or array_like
    *indices : Tensor or array_like of int
        Usually one, of any shape. Several, broadcast together, index the axes from ``axis`` on.
    axis : int, optional
        Without it, ``x`` is flattened.

    Returns
    -------
    Tensor
        The shape of ``x`` with the indexed axes replaced by the axes of ``indices``.

    Raises
    ------
    IndexOutOfRangeError
        If an index lies outside; when the program runs, or at once for constants and where the axis has size 0. What
        no element of the result reads, because another axis is empty, may go unnoticed.
    DTypeError
        If the indices are no integers.
    """

    spreads = True
    checks = True
    dtypes = DTYPES
    samples = [
        Sample(normal(4, 3), np.array([[2, 0, -1], [2, 2, 1]]), axis=0),
        Sample(normal(2, 5), np.array([4, 1, 1], "int32"), axis=-1),
        Sample(normal(3, 4), np.array([0, 2]), np.array([-1, 1]), axis=0),
        Sample(normal(2, 2), np.array(3)),
    ]

    def __call__(self, x: Any, *indices: Any, axis: int | None = None) -> Tensor:
        x = as_tensor(x)
        if axis is None and len(indices) == 2 and isinstance(indices[-1], int):
            indices, axis = indices[:-1], indices[-1]  # take(x, indices, axis)
        if axis is None:
            x, axis = reshape(x, (-1,)), 0
        axis = normalize_axis(axis, x.ndim, "take")
        if not 1 <= len(indices) <= x.ndim - axis:
            raise ShapeError(f"take: {len(indices)} index tensors do not fit {shown(x)} from axis {axis} on")
        places = [as_indices("take", given, x.shape[axis + k]) for k, given in enumerate(indices)]
        places = broadcast("take", places)
        indexed = [size for size in x.shape[axis : axis + len(places)] if isinstance(size, int)]
        count = places[0].size
        if isinstance(count, int) and count > 0 and 0 in indexed:
            # said here: a result that is empty along another axis has no element that would look for its place
            raise IndexOutOfRangeError("take: any index is out of range for an axis of size 0", origin=here())
        return self.make(x, *places, axis=axis)

    def infer(self, x: Tensor, *indices: Tensor, axis: int) -> TensorType:
        if any(entry.shape != indices[0].shape or not is_integer(entry.dtype) for entry in indices):
            raise ShapeError("take: expected integer indices of one shape")
        return TensorType((*x.shape[:axis], *indices[0].shape, *x.shape[axis + len(indices) :]), x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (x, *indices), axis = inputs, node["axis"]
        places = [counted_from_front(node.caller, node.origin, i, x.shape[axis + k]) for k, i in enumerate(indices)]
        return np.asarray(x[(slice(None),) * axis + tuple(places)])

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        (x, *indices), axis = node.inputs, node["axis"]
        stop = axis + indices[0].ndim
        found = [place_of(read(k + 1, index[axis:stop]), x.shape[axis + k]) for k in range(len(indices))]
        return read(0, (*index[:axis], *found, *index[stop:]))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x, *indices), axis = node.inputs, node["axis"]
        sizes = x.shape[axis : axis + len(indices)]
        return (accumulate.make(*indices, cotangents[0], sizes=sizes, axis=axis), *(None for _ in indices))


@op
class accumulate(IndexedAccumulation):
    """Zeros, to which updates are added at the places that indices name: the transpose of :class:`take`.

    Inputs: the index tensors of one shape, then the updates, whose axes from ``axis`` on are those of the indices.
    These axes are replaced by axes of ``sizes``, one for each index tensor.
    """

    public = False
    dtypes = (*INTEGERS, *FLOATS)
    samples = [
        Sample(np.array([1, 0, -1, 1]), normal(4, 2), size=3, axis=0),
        Sample(np.array([[1, 0], [1, 1]]), normal(3, 2, 2), size=4, axis=1),
    ]

    def __call__(self, indices: Any, updates: Any, size: Size, axis: int = 0) -> Tensor:
        updates = as_tensor(updates)
        indices = as_indices("accumulate", indices, size)
        return self.make(indices, updates, sizes=(size,), axis=normalize_axis(axis, updates.ndim or 1, "accumulate"))

    def infer(self, *inputs: Tensor, sizes: Shape, axis: int) -> TensorType:
        *indices, updates = inputs
        if len(indices) != len(sizes) or any(entry.shape != indices[0].shape for entry in indices):
            raise ShapeError("accumulate: expected an index tensor for each size, all of one shape")
        stop = axis + indices[0].ndim
        if updates.shape[axis:stop] != indices[0].shape:
            raise ShapeError(
                f"accumulate: updates {shown(updates)} lack the axes {shown(indices[0])} of the indices at {axis}",
                operands=(updates,),
            )
        if updates.dtype.name not in self.dtypes:
            raise DTypeError(f"accumulate: expected numbers, got {updates.type}", operands=(updates,))
        return TensorType((*updates.shape[:axis], *sizes, *updates.shape[stop:]), updates.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (*indices, updates), axis = inputs, node["axis"]
        result = np.zeros(concrete(node.result.shape), updates.dtype)
        extents = concrete(node["sizes"])
        places = [counted_from_front(node.caller, node.origin, i, n) for i, n in zip(indices, extents, strict=True)]
        np.add.at(result, (slice(None),) * axis + tuple(places), updates)
        return result

    def contributions(self, node: Node) -> Shape:
        return node.inputs[-1].shape

    def contribute(self, node: Node, position: Sequence[Size], read: Read) -> tuple[tuple[Size, ...], Scalar]:
        axis, sizes = node["axis"], node["sizes"]
        stop = axis + node.inputs[0].ndim
        places = [place_of(read(k, position[axis:stop]), size) for k, size in enumerate(sizes)]
        return (*position[:axis], *places, *position[stop:]), read(len(sizes), position)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        *indices, _ = node.inputs
        return (*(None for _ in indices), take.make(cotangents[0], *indices, axis=node["axis"]))


@op
class take_along_axis(Map):
    """For every index, the element of ``x`` at that place of an axis and the same place of all other axes.

    Parameters
    ----------
    x : Tensor or array_like
    indices : Tensor or array_like of int
        Of the rank of ``x``; all axes but ``axis`` broadcast against those of ``x``.
    axis : int

    Returns
    -------
    Tensor
        ``result[i, j] = x[i, indices[i, j]]`` for ``axis=1``.

    Raises
    ------
    IndexOutOfRangeError
        If an index lies outside; when the program runs, or at once for constants.
    ShapeError, DTypeError
        If ranks or sizes differ, or the indices are no integers.
    """

    spreads = True
    checks = True
    dtypes = DTYPES
    samples = [
        Sample(normal(3, 4), np.array([[3], [0], [-2]]), axis=1),
        Sample(normal(4, 3), np.array([[1, 0, 3], [1, 1, 2]]), axis=0),
    ]

    def __call__(self, x: Any, indices: Any, axis: int = -1) -> Tensor:
        x = as_tensor(x)
        axis = normalize_axis(axis, x.ndim, "take_along_axis")
        indices = as_indices("take_along_axis", indices, x.shape[axis])
        if indices.ndim != x.ndim:
            raise ShapeError(f"take_along_axis: expected indices of rank {x.ndim}, got {shown(indices)}")
        try:
            common = broadcast_shapes(_without(x.shape, axis), _without(indices.shape, axis))
        except ShapeError as error:
            raise ShapeError(f"take_along_axis: besides axis {axis}, {error.said}", operands=(x,)) from None
        operands = (broadcast_to(t, (*common[:axis], t.shape[axis], *common[axis:])) for t in (x, indices))
        return self.make(*operands, axis=axis)

    def infer(self, x: Tensor, indices: Tensor, *, axis: int) -> TensorType:
        if _without(x.shape, axis) != _without(indices.shape, axis):
            raise ShapeError(
                f"take_along_axis: {shown(x)} and indices {shown(indices)} differ on another axis than {axis}",
                operands=(indices,),
            )
        return TensorType(indices.shape, x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (x, indices), axis = inputs, node["axis"]
        return np.take_along_axis(x, counted_from_front(node.caller, node.origin, indices, x.shape[axis]), axis)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        axis = node["axis"]
        found = place_of(read(1, index), node.inputs[0].shape[axis])
        return read(0, (*index[:axis], found, *index[axis + 1 :]))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x, indices), axis = node.inputs, node["axis"]
        if indices.shape[axis] == 1:  # one element a row: select where it stands, which fuses like any map
            return (where(_stands_at(indices, x, axis), broadcast_to(cotangents[0], x.shape), 0.0), None)
        return (accumulate_along_axis.make(indices, cotangents[0], size=x.shape[axis], axis=axis), None)


def _stands_at(indices: Tensor, x: Tensor, axis: int) -> Tensor:
    """Whether each element of ``x`` is the one its row's only index names; negative ones count from the end."""
    places = cast(indices, "int64")
    if not _is_in_range(indices):
        places = where(less(places, 0), places + size_of(x, axis), places)
    return equal(iota(x.shape, axis), broadcast_to(places, x.shape))


def _is_in_range(indices: Tensor) -> bool:
    """Whether they have been checked to be none that count from the end."""
    node = indices.node
    while isinstance(node.op, View):
        node = node.inputs[0].node
    return node.op is in_range


@op
class accumulate_along_axis(IndexedAccumulation):
    """Zeros, to which updates are added at an own place along an axis: the transpose of :class:`take_along_axis`."""

    public = False
    dtypes = (*INTEGERS, *FLOATS)
    samples = [Sample(np.array([[1, 1], [0, -1], [2, 0]]), normal(3, 2), size=3, axis=1)]

    def __call__(self, indices: Any, updates: Any, size: Size, axis: int) -> Tensor:
        updates = as_tensor(updates)
        indices = as_indices("accumulate_along_axis", indices, size)
        return self.make(indices, updates, size=size, axis=normalize_axis(axis, updates.ndim, self.name))

    def infer(self, indices: Tensor, updates: Tensor, *, size: Size, axis: int) -> TensorType:
        if indices.shape != updates.shape:
            raise ShapeError(f"accumulate_along_axis: indices {shown(indices)} and updates {shown(updates)} differ")
        if updates.dtype.name not in self.dtypes:
            raise DTypeError(f"accumulate_along_axis: expected numbers, got {updates.type}", operands=(updates,))
        return TensorType((*updates.shape[:axis], size, *updates.shape[axis + 1 :]), updates.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        indices, updates = inputs
        result = np.zeros(concrete(node.result.shape), updates.dtype)
        places = list(np.indices(indices.shape))
        (extent,) = concrete([node["size"]])
        places[node["axis"]] = counted_from_front(node.caller, node.origin, indices, extent)
        np.add.at(result, tuple(places), updates)
        return result

    def contributions(self, node: Node) -> Shape:
        return node.inputs[1].shape

    def contribute(self, node: Node, position: Sequence[Size], read: Read) -> tuple[tuple[Size, ...], Scalar]:
        axis, place = node["axis"], place_of(read(0, position), node["size"])
        return (*position[:axis], place, *position[axis + 1 :]), read(1, position)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        indices, _ = node.inputs
        return (None, take_along_axis.make(cotangents[0], indices, axis=node["axis"]))


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def gather_nd(x: Any, indices: Any) -> Tensor:
    """Elements, or sub-tensors, at the coordinates along the last axis of ``indices``.

    Parameters
    ----------
    x : Tensor or array_like
    indices : Tensor or array_like of int
        Its last axis is static and holds coordinates for the first axes of ``x``, at least one; negative ones count
        from the end.

    Returns
    -------
    Tensor
        ``result[i, ...] = x[indices[i, 0], indices[i, 1], ..., ...]``, of the shape of ``indices`` without its last
        axis, followed by the axes of ``x`` that are not indexed.

    Raises
    ------
    IndexOutOfRangeError
        If a coordinate lies outside; when the program runs, or at once for constants.
    ShapeError, DTypeError
        If the number of coordinates does not fit ``x``, or they are no integers.
    """
    x, indices = as_tensor(x), as_tensor(indices)
    count = indices.shape[-1] if indices.ndim else 0
    require(
        isinstance(count, int) and 1 <= count <= x.ndim,
        ShapeError,
        f"gather_nd: expected indices of {shown(x)} with a last axis of at least 1 and at most {x.ndim} coordinates, "
        f"got {shown(indices)}",
        indices,
    )
    return take(x, *coordinates(indices), axis=0)


def coordinates(indices: Tensor) -> list[Any]:
    """What the last axis of an index tensor holds, one tensor a coordinate; constants stay constants."""
    fixed = indices.node["value"] if indices.node.op.name == "constant" else None
    if fixed is not None:
        return [fixed[..., k] for k in range(fixed.shape[-1])]
    zeros, sizes, ones = (0,) * indices.ndim, (*indices.shape[:-1], 1), (1,) * indices.ndim
    parts = [strided_slice(indices, (*zeros[1:], k), sizes, ones) for k in range(indices.shape[-1])]
    return [reshape(part, indices.shape[:-1]) for part in parts]


def one_hot(indices: Any, depth: Any, dtype: Any = "float32") -> Tensor:
    """A new last axis that is 1 at the index and 0 elsewhere.

    Parameters
    ----------
    indices : Tensor or array_like of int
        An index outside ``range(depth)``, negative ones included, gives a row of zeros.
    depth : int, Dim or str
        Size of the new axis.
    dtype : dtype

    Returns
    -------
    Tensor
        Of shape ``(*indices.shape, depth)``.
    """
    indices = as_tensor(indices)
    require(is_integer(indices.dtype), DTypeError, f"one_hot: expected integer indices, got {indices.type}", indices)
    (depth,) = as_shape((depth,), "one_hot: depth")
    shape = (*indices.shape, depth)
    places = iota(shape, indices.ndim, "uint64" if indices.dtype == np.dtype("uint64") else "int64")
    given = broadcast_to(reshape(as_tensor(indices, places.dtype), (*indices.shape, 1)), shape)
    return as_tensor(REGISTRY["equal"](given, places), as_dtype(dtype))
