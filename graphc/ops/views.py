"""Ops that only move elements: broadcast, reshape, permute, slice, flip; and pad, which chooses.

None of these copies anything by itself. Each says, for a position in its result, which position of its input stands
there (``source``); a kernel that reads the result substitutes that into its own loads, so that a transpose or a slice
costs index arithmetic and no pass over memory.

The hard one is :class:`reshape`. A position is *linearised* (row-major offset) and *delinearised* into the
other shape by floor division and remainder. Both are done for each smallest group of axes whose products agree
(``(2, 3, n) -> (6, n)`` is the groups ``(2, 3) -> (6,)`` and ``(n,) -> (n,)``), so that untouched axes keep their
plain index, and :func:`graphc.ir.symbolic.recombine` lets a split and its merge cancel.

Derivatives come in pairs: broadcast and sum, slice and :class:`pad` (with interior padding where the slice has steps).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.errors import GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Map, Read, Sample, View, op
from graphc.ir.scalar import INT64, Literal, Position, Scalar, apply
from graphc.ir.symbolic import (
    Dim,
    Size,
    concrete,
    exact_quotient,
    floordiv,
    is_nonnegative,
    maximum,
    minimum,
    mod,
    product,
    recombine,
)  # fmt: skip
from graphc.ir.types import (
    DTYPES,
    Shape,
    TensorType,
    as_shape,
    format_shape,
    is_whole,
    normalize_axes,
    normalize_axis,
    one_or_more,
    row_major_strides,
)  # fmt: skip
from graphc.ops.base import as_array, as_tensor, given, require, require_bool, shown
from graphc.ops.samples import normal

Array = np.ndarray[Any, Any]

__all__ = ["broadcast_to", "flip", "pad", "permute_dims", "reshape"]


@op
class broadcast_to(View):
    """Repeat axes of size 1, and add axes in front, by NumPy's rule.

    Parameters
    ----------
    x : Tensor or array_like
    shape : sequence of int, Dim or str
        Every axis of ``x``, counted from the last, has the size of ``shape`` there, or 1.

    Returns
    -------
    Tensor
        Of ``shape``; ``x`` itself if it has that shape.

    Raises
    ------
    ShapeError
        If a size differs and is not 1. A named dim never counts as 1.
    """

    spreads = True
    dtypes = DTYPES
    samples = [Sample(normal(3, 1), shape=(2, 3, 4)), Sample(normal(), shape=(3,))]

    def __call__(self, x: Any, shape: Any) -> Tensor:
        x, shape = as_tensor(x), as_shape(shape, "broadcast_to")
        return x if x.shape == shape else self.make(x, shape=shape)

    def infer(self, x: Tensor, *, shape: Shape) -> TensorType:
        fits = x.ndim <= len(shape) and all(
            size in (1, target) for size, target in zip(x.shape, shape[len(shape) - x.ndim :], strict=True)
        )
        if not fits:
            raise ShapeError(f"broadcast_to: {shown(x)} does not broadcast to {format_shape(shape)}", operands=(x,))
        return TensorType(shape, x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.broadcast_to(inputs[0], concrete(node.result.shape))

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        sizes = node.inputs[0].shape
        kept = index[len(index) - len(sizes) :]
        return tuple(0 if size == 1 else place for size, place in zip(sizes, kept, strict=True))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (g,) = node.inputs, cotangents
        extra = g.ndim - x.ndim
        repeated = [axis for axis in range(x.ndim) if x.shape[axis] == 1 and g.shape[extra + axis] != 1]
        axes = (*range(extra), *(extra + axis for axis in repeated))
        return (reshape(REGISTRY["sum"](g, axes), x.shape) if axes else g,)


@op
class reshape(View):
    """The same elements, in row-major order, under another shape.

    Parameters
    ----------
    x : Tensor or array_like
    shape : sequence of int, Dim or str
        One entry may be -1: it is solved for, with named dims too.
    copy : bool, optional
        There for the array API standard's sake: tensors never change, so it makes no difference.

    Returns
    -------
    Tensor
        Of ``shape``; ``x`` itself if it has that shape.

    Raises
    ------
    ShapeError
        If the number of elements differs, or -1 has no solution that holds for all values of the named dims.
    """

    dtypes = DTYPES
    samples = [Sample(normal(2, 6), shape=(3, -1)), Sample(normal(2, 3, 4), shape=(4, 6)), Sample(normal(1), shape=())]

    def __call__(self, x: Any, shape: Any, copy: bool | None = None) -> Tensor:
        x = as_tensor(x)
        if copy is not None:
            require_bool("reshape", "copy", copy)
        target = _solve(x, shape)
        return x if x.shape == target else self.make(x, shape=target)

    def infer(self, x: Tensor, *, shape: Shape) -> TensorType:
        if x.type.size != product(shape):
            raise ShapeError(
                f"reshape: {shown(x)} has {x.type.size} elements, {format_shape(shape)} has {product(shape)}",
                operands=(x,),
            )
        return TensorType(shape, x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return inputs[0].reshape(concrete(node.result.shape))

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        inner, outer = node.inputs[0].shape, node.result.shape
        if 0 in outer:
            return (0,) * len(inner)
        place: list[Size] = [0] * len(inner)
        for into, out_of in _groups(inner, outer):
            strides = row_major_strides([outer[axis] for axis in out_of])
            offset: Size = 0
            for axis, stride in zip(out_of, strides, strict=True):
                offset = offset + index[axis] * stride
            offset = recombine(offset)
            strides = row_major_strides([inner[axis] for axis in into])
            for axis, stride in zip(into, strides, strict=True):
                place[axis] = floordiv(offset, stride)
                if axis != into[0]:  # the first quotient is below its size already
                    place[axis] = mod(place[axis], inner[axis])
        return tuple(place)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (reshape(cotangents[0], node.inputs[0].shape),)


def _solve(x: Tensor, shape: Any) -> Shape:
    """A shape with -1 replaced by the size that makes the number of elements right."""
    entries = list(one_or_more(shape))
    unknown = [place for place, size in enumerate(entries) if is_whole(size) and size == -1]
    if len(unknown) > 1:
        raise ShapeError(f"reshape: at most one size may be -1, got {tuple(entries)}", operands=(x,))
    for place in unknown:
        known = product(as_shape(entries[:place] + entries[place + 1 :], "reshape"))
        solved = exact_quotient(x.type.size, known)
        if solved is None:
            raise ShapeError(
                f"reshape: no size makes {tuple(entries)} hold the {x.type.size} elements of {shown(x)}: "
                f"{x.type.size} is not a multiple of {known}",
                operands=(x,),
            )
        entries[place] = solved
    return as_shape(entries, "reshape")


@lru_cache(maxsize=1024)  # schedulers ask for each element's place
def _groups(inner: Shape, outer: Shape) -> tuple[tuple[list[int], list[int]], ...]:
    """Smallest runs of axes of two shapes whose sizes multiply to the same; axes of size 1 are in none."""
    left = [axis for axis, size in enumerate(inner) if size != 1]
    right = [axis for axis, size in enumerate(outer) if size != 1]
    ends: list[Size] = [product(outer[axis] for axis in right[: k + 1]) for k in range(len(right))]
    groups: list[tuple[list[int], list[int]]] = []
    total: Size = 1
    start = taken = 0
    for k, axis in enumerate(left):
        total = total * inner[axis]
        if total in ends[taken:]:
            stop = ends.index(total, taken) + 1
            groups.append((left[start : k + 1], right[taken:stop]))
            start, taken = k + 1, stop
    return tuple(groups)


@op
class permute_dims(View):
    """Reorder axes.

    Parameters
    ----------
    x : Tensor or array_like
    axes : sequence of int, optional
        Axis ``k`` of the result is axis ``axes[k]`` of ``x``; reversed if not given.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If ``axes`` is no permutation of the axes of ``x``.
    """

    dtypes = DTYPES
    samples = [Sample(normal(2, 3)), Sample(normal(2, 3, 4), axes=(2, 0, 1))]

    def __call__(self, x: Any, axes: Sequence[int] | None = None) -> Tensor:
        x = as_tensor(x)
        if axes is not None and not isinstance(axes, (tuple, list, range)):
            raise ShapeError(f"permute_dims: expected a sequence of axes, got {given(axes)}", operands=(x,))
        order = range(x.ndim)[::-1] if axes is None else [normalize_axis(axis, x.ndim, "permute_dims") for axis in axes]
        if sorted(order) != list(range(x.ndim)):
            raise ShapeError(
                f"permute_dims: expected a permutation of the {x.ndim} axes of {shown(x)}, got {given(axes)}",
                operands=(x,),
            )
        return x if list(order) == list(range(x.ndim)) else self.make(x, axes=tuple(order))

    def infer(self, x: Tensor, *, axes: tuple[int, ...]) -> TensorType:
        return TensorType(tuple(x.shape[axis] for axis in axes), x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        return inputs[0].transpose(node["axes"])

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        return tuple(index[node["axes"].index(axis)] for axis in range(len(index)))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        axes = node["axes"]
        return (permute_dims(cotangents[0], [axes.index(axis) for axis in range(len(axes))]),)


@op
class strided_slice(View):
    """``x[start], x[start + step], ...``, ``size`` of them, along every axis.

    What ``x[1:, ::-2]`` becomes; the caller sees to it that all places lie within ``x``.
    """

    public = False
    dtypes = DTYPES
    samples = [
        Sample(normal(5, 4), starts=(1, 3), sizes=(2, 4), steps=(2, -1)),
        Sample(normal(5), starts=(5,), sizes=(0,), steps=(1,)),
    ]

    def __call__(self, x: Tensor, starts: Sequence[Size], sizes: Sequence[Size], steps: Sequence[int]) -> Tensor:
        if tuple(sizes) == x.shape and all(start == 0 for start in starts) and all(step == 1 for step in steps):
            return x
        return self.make(x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))

    def infer(self, x: Tensor, *, starts: Shape, sizes: Shape, steps: tuple[int, ...]) -> TensorType:
        if not x.ndim == len(starts) == len(sizes) == len(steps):
            raise GraphError(f"strided_slice: expected {x.ndim} starts, sizes and steps for {shown(x)}")
        for extent, start, size, step in zip(x.shape, starts, sizes, steps, strict=True):
            if step == 0:
                raise GraphError("strided_slice: a step is 0")
            if isinstance(extent, Dim) or isinstance(start, Dim) or isinstance(size, Dim):
                continue
            if size > 0 and not (0 <= start < extent and 0 <= start + (size - 1) * step < extent):
                raise ShapeError(f"strided_slice: {size} places from {start} by {step} leave an axis of {extent}")
        return TensorType(sizes, x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        starts, sizes = concrete(node["starts"]), concrete(node["sizes"])
        return inputs[0][tuple(map(_slice, starts, sizes, node["steps"]))]

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        starts, steps = node["starts"], node["steps"]
        return tuple(start + place * step for start, place, step in zip(starts, index, steps, strict=True))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (pad.place(cotangents[0], node.inputs[0].shape, node["starts"], node["steps"]),)


def _slice(start: int, size: int, step: int) -> slice:
    """Python's slice for a start, a number of elements and a step."""
    stop = start + size * step
    return slice(start, None if stop < 0 else stop, step) if size > 0 else slice(0, 0)


@op
class pad(Map):
    """Surround a tensor with a constant.

    Parameters
    ----------
    x : Tensor or array_like
    widths : int, (int, int), or sequence of (int, int)
        Elements to add before and after: the same for every axis, or one pair an axis.
    value : number
        The constant, cast to the dtype of ``x``.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If a width is negative, or there is not one pair an axis.

    Notes
    -----
    The node holds *where* the elements go: element ``k`` of an axis at ``start + k * step`` of the result. Steps other
    than 1 (interior padding) occur in derivatives of strided slices.
    """

    dtypes = DTYPES
    samples = [Sample(normal(2, 3), widths=((1, 2), (0, 1)), value=0.5), Sample(normal(3), widths=2)]

    def __call__(self, x: Any, widths: Any, value: Any = 0) -> Tensor:
        x = as_tensor(x)
        pairs = _pairs(x, widths)
        require(not isinstance(value, Tensor), GraphError, f"pad: expected one number as value, got {given(value)}", x)
        filling = as_array(value)
        require(not filling.ndim, ShapeError, f"pad: expected one number as value, got {given(value)}", x)
        shape = tuple(size + low + high for size, (low, high) in zip(x.shape, pairs, strict=True))
        return self.place(x, shape, [low for low, _ in pairs], (1,) * x.ndim, filling)

    @staticmethod
    def place(x: Tensor, shape: Shape, starts: Sequence[Size], steps: Sequence[int], value: Any = 0) -> Tensor:
        """``x`` within a larger shape: element ``k`` of an axis at ``start + k * step``, all else ``value``."""
        if x.shape == tuple(shape) and all(start == 0 for start in starts) and all(step == 1 for step in steps):
            return x
        with np.errstate(all="ignore"):
            value = np.asarray(value).astype(x.dtype)[()]
        return pad.make(x, shape=tuple(shape), starts=tuple(starts), steps=tuple(steps), value=value)

    def infer(self, x: Tensor, *, shape: Shape, starts: Shape, steps: tuple[int, ...], value: Any) -> TensorType:
        if not x.ndim == len(shape) == len(starts) == len(steps):
            raise GraphError(f"pad: expected {x.ndim} sizes, starts and steps for {shown(x)}")
        return TensorType(shape, x.dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (x,) = inputs
        result = np.full(concrete(node.result.shape), node["value"], x.dtype)
        result[tuple(map(_slice, concrete(node["starts"]), x.shape, node["steps"]))] = x
        return result

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        sizes, fill = node.inputs[0].shape, Literal(node["value"], node.result.dtype)
        if 0 in sizes:
            return fill
        place, inside = [], None
        for at, extent, size, start, step in zip(
            index, node.result.shape, sizes, node["starts"], node["steps"], strict=True
        ):
            offset = at - start if step > 0 else start - at
            count = floordiv(offset, abs(step))
            place.append(maximum(minimum(count, size - 1), 0))
            for condition in _within(offset, mod(offset, abs(step)), count, size, whole=extent == size and start == 0):
                inside = condition if inside is None else apply("logical_and", inside, condition)
        value = read(0, place)
        return value if inside is None else apply("where", inside, value, fill)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (strided_slice(cotangents[0], node["starts"], node.inputs[0].shape, node["steps"]),)


def _within(offset: Size, remainder: Size, count: Size, size: Size, whole: bool) -> list[Scalar]:
    """Tests that a place of a padded axis holds element ``count``; those that always hold are left out."""
    if whole:
        return []
    tests: list[Scalar] = []
    if not is_nonnegative(offset):
        tests.append(compare_sizes("greater_equal", offset, 0))
    if remainder != 0:
        tests.append(compare_sizes("equal", remainder, 0))
    if not is_nonnegative(size - 1 - count):
        tests.append(compare_sizes("less", count, size))
    return tests


def compare_sizes(function: str, left: Size, right: Size) -> Scalar:
    """A comparison of positions or sizes, computed where the elements are."""
    return apply(function, *(Position(s) if isinstance(s, Dim) else Literal(s, INT64) for s in (left, right)))


def _pairs(x: Tensor, widths: Any) -> list[tuple[Size, Size]]:
    """Widths of padding as one (before, after) an axis."""

    def is_size(value: Any) -> bool:
        return is_whole(value) or isinstance(value, Dim)

    entries = widths.tolist() if isinstance(widths, np.ndarray) else widths
    if is_size(entries):
        entries = [(entries, entries)] * x.ndim
    elif isinstance(entries, (tuple, list)) and len(entries) == 2 and all(map(is_size, entries)):
        entries = [tuple(entries)] * x.ndim
    valid = isinstance(entries, (tuple, list)) and len(entries) == x.ndim
    if not valid or not all(isinstance(e, (tuple, list)) and len(e) == 2 and all(map(is_size, e)) for e in entries):
        raise ShapeError(
            f"pad: expected one (before, after) for each of the {x.ndim} axes of {shown(x)}, got {given(widths)}",
            operands=(x,),
        )
    if any(is_whole(size) and size < 0 for pair in entries for size in pair):
        raise ShapeError(
            f"pad: expected widths of at least 0, got {widths!r}", operands=(x,), hint="slice to make it smaller"
        )
    return [(_as_width(before), _as_width(after)) for before, after in entries]


def _as_width(size: Any) -> Size:
    return size if isinstance(size, Dim) else int(size)


def flip(x: Any, axis: int | Sequence[int] | None = None) -> Tensor:
    """Reverse the order of elements along axes; None means all.

    Parameters
    ----------
    x : Tensor or array_like
    axis : int or sequence of int, optional

    Returns
    -------
    Tensor
    """
    x = as_tensor(x)
    axes = normalize_axes(axis, x.ndim, "flip")
    starts = [size - 1 if k in axes else 0 for k, size in enumerate(x.shape)]
    return strided_slice(x, starts, x.shape, [-1 if k in axes else 1 for k in range(x.ndim)])
