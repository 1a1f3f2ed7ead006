"""Updates at places that are data: scatter_add, scatter_max, scatter_min, scatter_set, put_along_axis.

Tensors do not change, so each function returns ``x`` with something done at the places that indices name. Each is one
indexed accumulation that starts from ``x``: contributions are combined in the order of their positions (row-major in
the indices), every worker takes those of its own part of the result, and so all bits are the same for any number of
workers. Where an index occurs several times:

================  ======================================================================
``scatter_add``   all updates are added, one after another, as ``numpy.add.at`` does
``scatter_max``   the largest of ``x`` and all updates; NaN if one of them is NaN
``scatter_min``   the smallest
``scatter_set``   the last update in the order of the indices stays
================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import IndexedAccumulation, Read, Sample, op
from graphc.ir.scalar import Scalar
from graphc.ir.symbolic import Size, product
from graphc.ir.types import DTYPES, FLOATS, INTEGERS, Shape, TensorType, broadcast_shapes, format_shape, normalize_axis
from graphc.ops.base import as_tensor, broadcast, require, shown
from graphc.ops.elementwise import cast, divide, equal, less, logical_or, not_equal, where
from graphc.ops.indexing import accumulate, as_indices, counted_from_front, place_of, take
from graphc.ops.logic import require_numbers
from graphc.ops.samples import spread
from graphc.ops.shaping import full
from graphc.ops.sizes import iota
from graphc.ops.views import broadcast_to, reshape

Array = np.ndarray[Any, Any]
Cotangents = tuple[Tensor | None, ...]

__all__ = ["put_along_axis", "scatter_add", "scatter_max", "scatter_min", "scatter_set"]


class Scatter(IndexedAccumulation):
    """Common parts: ``x``, the index tensors of one shape, then the updates, whose axes from ``axis`` on are those of
    the indices where ``x`` has one axis for each index tensor."""

    dtypes: ClassVar[tuple[str, ...]] = (*INTEGERS, *FLOATS)
    at: ClassVar[Callable[..., Any]]
    samples: ClassVar[Sequence[Sample]] = (
        Sample(spread(5, 2), np.array([3, 0, -1, 3, 1]), spread(5, 2, seed=1) + 0.03, axis=0),
        Sample(spread(2, 4), np.array([[1, 0, 2], [1, 1, -1]], "int32"), spread(2, 2, 3, seed=1) + 0.04, axis=-1),
        Sample(spread(7), np.array([6, 2, 2, 0]), spread(4, seed=2) + 0.02),
        Sample(
            np.array([1.0, np.nan, -0.0, -np.inf]),
            np.array([0, 1, 2, 3, 0]),
            np.array([np.nan, 1.0, 0.0, np.inf, 2.0]),
            differentiable=False,
        ),
    )

    def __call__(self, x: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
        """Update elements of ``x``.

        Parameters
        ----------
        x : Tensor or array_like
        indices : Tensor or array_like of int, or tuple of these
            Places along ``axis``; negative ones count from the end. Several, in a tuple, are broadcast together and
            index the axes from ``axis`` on, as they do in ``x[rows, columns]``.
        updates : Tensor or array_like
            Broadcast to the shape of ``x`` with the indexed axes replaced by the axes of the indices; cast to the
            dtype of ``x``.
        axis : int

        Returns
        -------
        Tensor
            Of the type of ``x``.

        Raises
        ------
        IndexOutOfRangeError
            If an index lies outside; when the program runs, or at once for constants.
        ShapeError
            If the updates do not broadcast, or there are more index tensors than axes.
        DTypeError
            If the indices are no integers.
        """
        x = as_tensor(x)
        axis = normalize_axis(axis, x.ndim, self.name)
        given = indices if isinstance(indices, tuple) else (indices,)
        if not 1 <= len(given) <= x.ndim - axis:
            raise ShapeError(f"{self.name}: {len(given)} index tensors do not fit {shown(x)} from axis {axis} on")
        places = broadcast(self.name, [as_indices(self.name, i, x.shape[axis + k]) for k, i in enumerate(given)])
        shape = (*x.shape[:axis], *places[0].shape, *x.shape[axis + len(places) :])
        return self.make(x, *places, fitted(self.name, as_tensor(updates, x.dtype), shape), axis=axis)

    def infer(self, *inputs: Tensor, axis: int) -> TensorType:
        x, *indices, updates = inputs
        if "bool" not in self.dtypes:
            require_numbers(self.name, x)
        wanted = (*x.shape[:axis], *indices[0].shape, *x.shape[axis + len(indices) :])
        if any(entry.shape != indices[0].shape for entry in indices) or updates.type != TensorType(wanted, x.dtype):
            raise ShapeError(f"{self.name}: expected indices of one shape and updates {format_shape(wanted)}")
        return x.type

    def compute(self, node: Node, *inputs: Array) -> Array:
        (x, *indices, updates), axis = inputs, node["axis"]
        result = x.copy()
        places = [counted_from_front(node.caller, node.origin, i, x.shape[axis + k]) for k, i in enumerate(indices)]
        with np.errstate(all="ignore"):
            type(self).at(result, (slice(None),) * axis + tuple(places), updates)
        return result

    def contributions(self, node: Node) -> Shape:
        return node.inputs[-1].shape

    def contribute(self, node: Node, position: Sequence[Size], read: Read) -> tuple[tuple[Size, ...], Scalar]:
        (x, *indices, _), axis = node.inputs, node["axis"]
        stop = axis + indices[0].ndim
        places = [place_of(read(k + 1, position[axis:stop]), x.shape[axis + k]) for k in range(len(indices))]
        return (*position[:axis], *places, *position[stop:]), read(len(indices) + 1, position)

    def start(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        return read(0, index)

    def _gathered(self, node: Node, values: Tensor) -> Tensor:
        """Of a tensor like the result, what stands at the place of each update."""
        _, *indices, _ = node.inputs
        return take.make(values, *indices, axis=node["axis"])

    def _cotangents(self, node: Node, to_x: Tensor, to_updates: Tensor) -> Cotangents:
        return (to_x, *(None for _ in node.inputs[1:-1]), to_updates)


@op
class scatter_add(Scatter):
    """``x`` with updates added at the places that indices name; equal indices add up."""

    combine = "add"
    at = np.add.at

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return self._cotangents(node, cotangents[0], self._gathered(node, cotangents[0]))


class ScatterExtreme(Scatter):
    """The largest or the smallest of ``x`` and its updates; those that tie share the derivative equally."""

    def __call__(self, x: Any, indices: Any, updates: Any, axis: int = 0) -> Tensor:
        x = as_tensor(x)
        if x.dtype.kind != "b":
            return super().__call__(x, indices, updates, axis)
        updates = cast(as_tensor(updates, "bool"), "uint8")
        return cast(super().__call__(cast(x, "uint8"), indices, updates, axis), "bool")

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, *indices, updates), (g,), axis = node.inputs, cotangents, node["axis"]
        kept = _chosen(x, node.result)
        taken = _chosen(updates, self._gathered(node, node.result))
        sizes = x.shape[axis : axis + len(indices)]
        count = cast(kept, g.dtype) + accumulate.make(*indices, cast(taken, g.dtype), sizes=sizes, axis=axis)
        share = divide(g, count)
        return self._cotangents(node, where(kept, share, 0), where(taken, self._gathered(node, share), 0))


def _chosen(values: Tensor, extreme: Tensor) -> Tensor:
    """Whether values are the extreme one; NaNs are, where there are any."""
    return logical_or(equal(values, extreme), not_equal(values, values))


@op
class scatter_max(ScatterExtreme):
    """``x`` with its elements raised to the updates at the places that indices name, where these are larger."""

    combine = "maximum"
    at = np.maximum.at


@op
class scatter_min(ScatterExtreme):
    """``x`` with its elements lowered to the updates at the places that indices name, where these are smaller."""

    combine = "minimum"
    at = np.minimum.at


def _put(target: Array, place: Any, values: Array) -> None:
    target[place] = values


@op
class scatter_set(Scatter):
    """``x`` with its elements replaced by updates at the places that indices name; of equal indices the last one wins.

    The derivative goes to ``x`` where nothing was put, and to the updates that stayed.
    """

    combine = "set"
    at = _put
    dtypes = DTYPES

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, *indices, updates), (g,), axis = node.inputs, cotangents, node["axis"]
        sizes = x.shape[axis : axis + len(indices)]
        numbers = reshape(iota((product(indices[0].shape),)), indices[0].shape)
        last = scatter_max.make(full(sizes, -1, "int64"), *indices, numbers, axis=0)
        stayed = equal(take.make(last, *indices, axis=0), numbers)
        to_x = where(_along(less(last, 0), axis, x), g, 0)
        return self._cotangents(node, to_x, where(_along(stayed, axis, updates), self._gathered(node, g), 0))


def _along(mask: Tensor, axis: int, target: Tensor) -> Tensor:
    """A mask over some axes of a target, from ``axis`` on, repeated along the others."""
    rest = target.ndim - axis - mask.ndim
    return broadcast_to(reshape(mask, (*mask.shape, *(1,) * rest)), target.shape)


def fitted(name: str, updates: Tensor, shape: Shape, what: str = "updates", do: str = "broadcast") -> Tensor:
    """Updates broadcast to the shape that the places have.

    Raises
    ------
    ShapeError
        If they do not broadcast.
    """
    try:
        fits = broadcast_shapes(updates.shape, shape) == shape
    except ShapeError:
        fits = False
    message = f"{name}: expected {what} that {do} to {format_shape(shape)}, got {shown(updates)}"
    require(fits, ShapeError, message, updates)
    return broadcast_to(updates, shape)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1) -> Tensor:
    """``x`` with values put at an own place along an axis, as :func:`numpy.put_along_axis` does in place.

    Parameters
    ----------
    x : Tensor or array_like
    indices : Tensor or array_like of int
        Of the rank of ``x``; all axes but ``axis`` broadcast to those of ``x``. Negative ones count from the end; of
        equal ones in a row the last wins.
    values : Tensor or array_like
        Broadcast to the indices; cast to the dtype of ``x``.
    axis : int

    Returns
    -------
    Tensor
        ``result[i, indices[i, j]] = values[i, j]`` for ``axis=1``; of the type of ``x``.

    Raises
    ------
    IndexOutOfRangeError
        If an index lies outside; when the program runs, or at once for constants.
    ShapeError, DTypeError
        If ranks or sizes differ, or the indices are no integers.
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "put_along_axis")
    indices = as_indices("put_along_axis", indices, x.shape[axis])
    if indices.ndim != x.ndim:
        raise ShapeError(f"put_along_axis: expected indices of rank {x.ndim}, got {shown(indices)}", operands=(x,))
    shape = (*x.shape[:axis], indices.shape[axis], *x.shape[axis + 1 :])
    indices = fitted("put_along_axis", indices, shape, "indices")
    places = [indices if k == axis else iota(shape, k) for k in range(x.ndim)]
    return scatter_set.make(x, *places, fitted("put_along_axis", as_tensor(values, x.dtype), shape, "values"), axis=0)
