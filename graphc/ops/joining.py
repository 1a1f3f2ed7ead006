"""Joining tensors along an axis, and cutting them up again: concat, stack, unstack, split.

:class:`concat` is a map that chooses its input by the position along the axis; the others are made of it and of slices,
and so are its derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Map, Read, Sample, op
from graphc.ir.scalar import Scalar, apply
from graphc.ir.symbolic import Dim, Size, exact_quotient, maximum, minimum
from graphc.ir.types import DTYPES, TensorType, normalize_axis
from graphc.ops.base import as_integer, as_tensor, given, promote, require, shown
from graphc.ops.samples import normal
from graphc.ops.shaping import expand_dims, squeeze
from graphc.ops.views import compare_sizes, reshape, strided_slice

Array = np.ndarray[Any, Any]

__all__ = ["concat", "split", "stack", "unstack"]


@op
class concat(Map):
    """Join tensors along an existing axis.

    Parameters
    ----------
    tensors : sequence of Tensor or array_like
        At least one; equal sizes on all other axes. Dtypes are promoted.
    axis : int or None
        None flattens the tensors first.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If ranks or sizes differ.
    """

    chooses = True
    dtypes = DTYPES
    samples = [Sample(normal(2, 3), normal(4, 3), axis=0), Sample(normal(2, 3), normal(2, 1), normal(2, 4), axis=-1)]

    def __call__(self, *tensors: Any, axis: int | None = 0) -> Tensor:
        if len(tensors) == 2 and isinstance(tensors[0], (tuple, list)) and isinstance(tensors[1], int | None):
            tensors, axis = tuple(tensors[0]), tensors[1]  # concat(list, axis)
        elif len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
            (tensors,) = tensors
        if not tensors:
            raise GraphError("concat: expected at least one tensor, got none")
        parts = promote("concat", list(tensors))
        if axis is None:
            parts, axis = [reshape(part, (-1,)) for part in parts], 0
        if not parts[0].ndim:
            raise ShapeError("concat: expected tensors of rank 1 or more, got a scalar", hint="use graphc.stack")
        axis = normalize_axis(axis, parts[0].ndim, "concat")
        return parts[0] if len(parts) == 1 else self.make(*parts, axis=axis)

    def infer(self, *parts: Tensor, axis: int) -> TensorType:
        first = parts[0]
        for part in parts[1:]:
            same = part.ndim == first.ndim and all(
                a == b for k, (a, b) in enumerate(zip(part.shape, first.shape, strict=True)) if k != axis
            )
            if not same:
                raise ShapeError(
                    f"concat: {shown(first)} and {shown(part)} differ on another axis than {axis}",
                    operands=(part,),
                )
            if part.dtype != first.dtype:
                raise DTypeError(f"concat: expected one dtype, got {first.dtype} and {part.dtype}")
        total: Size = 0
        for part in parts:
            total = total + part.shape[axis]
        return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)

    def compute(self, node: Node, *parts: Array) -> Array:
        return np.concatenate(parts, axis=node["axis"])

    @staticmethod
    def offsets(node: Node) -> list[Size]:
        """Where each input begins along the axis."""
        starts: list[Size] = [0]
        for part in node.inputs[:-1]:
            starts.append(starts[-1] + part.shape[node["axis"]])
        return starts

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        axis, starts = node["axis"], self.offsets(node)
        filled = [k for k, part in enumerate(node.inputs) if part.shape[axis] != 0] or [0]

        def choose(among: list[int]) -> Scalar:
            """A balanced tree of comparisons: its depth grows with the logarithm of the number of inputs."""
            if len(among) > 1:
                left, right = among[: len(among) // 2], among[len(among) // 2 :]
                before = compare_sizes("less", index[axis], starts[right[0]])
                return apply("where", before, choose(left), choose(right))
            (k,) = among
            within = maximum(minimum(index[axis] - starts[k], node.inputs[k].shape[axis] - 1), 0)
            return read(k, (*index[:axis], within, *index[axis + 1 :]))

        return choose(filled)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (g,), axis = cotangents, node["axis"]
        return tuple(
            strided_slice(g, [start if k == axis else 0 for k in range(g.ndim)], part.shape, (1,) * g.ndim)
            for part, start in zip(node.inputs, self.offsets(node), strict=True)
        )


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis, at the place ``axis`` of the result.

    Raises
    ------
    GraphError
        If there is no tensor.
    ShapeError
        If shapes differ.
    """
    if not isinstance(tensors, (tuple, list, np.ndarray, Tensor)):
        raise GraphError(f"stack: expected a list of tensors, got {given(tensors)}")
    parts = promote("stack", list(tensors))
    if not parts:
        raise GraphError("stack: expected at least one tensor, got none")
    for part in parts[1:]:
        same = part.shape == parts[0].shape
        require(same, ShapeError, f"stack: expected one shape, got {shown(parts[0])} and {shown(part)}", part)
    axis = normalize_axis(axis, parts[0].ndim + 1, "stack")
    return concat([expand_dims(part, axis) for part in parts], axis)


def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along a static axis, without that axis.

    Raises
    ------
    ShapeError
        If the axis is a named dim.
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "unstack")
    size = x.shape[axis]
    if isinstance(size, Dim):
        raise ShapeError(f"unstack: expected a static size along axis {axis}, got {shown(x)}", operands=(x,))
    return tuple(squeeze(part(x, axis, place, 1), axis) for place in range(size))


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """Cut a tensor along an axis.

    Parameters
    ----------
    x : Tensor or array_like
    sections : int or sequence of int
        How many equal parts, or, as in NumPy, the places at which to cut (not negative, in order; a cut beyond the end
        gives empty parts).
    axis : int

    Returns
    -------
    list of Tensor

    Raises
    ------
    ShapeError
        If the axis is no multiple of the number of parts, the places are out of order, or places are given for an axis
        that is a named dim.
    """
    x = as_tensor(x)
    axis = normalize_axis(axis, x.ndim, "split")
    size = x.shape[axis]
    if not isinstance(sections, (tuple, list, np.ndarray)):
        count = as_integer(sections, "split: number of parts")
        width = exact_quotient(size, count) if count > 0 else None
        if width is None:
            raise ShapeError(f"split: an axis of size {size} does not make {count} equal parts", operands=(x,))
        return [part(x, axis, width * k, width) for k in range(count)]
    if isinstance(size, Dim):
        raise ShapeError(f"split: expected a static size along axis {axis}, got {shown(x)}", operands=(x,))
    places = [0, *(min(as_integer(place, "split: place of a cut"), size) for place in sections), size]
    if sorted(places) != places:
        raise ShapeError(f"split: expected places of at least 0 in order, got {list(sections)}", operands=(x,))
    return [part(x, axis, start, stop - start) for start, stop in pairwise(places)]


def part(x: Tensor, axis: int, start: Size, size: Size) -> Tensor:
    """``size`` places of an axis from ``start`` on."""
    axis %= x.ndim
    starts = tuple(start if k == axis else 0 for k in range(x.ndim))
    sizes = tuple(size if k == axis else extent for k, extent in enumerate(x.shape))
    return strided_slice(x, starts, sizes, (1,) * x.ndim)
