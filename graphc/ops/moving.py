"""More ways to move and repeat elements: roll, tile, repeat, meshgrid, differences of neighbours.

:class:`roll` is the only primitive here. The others are views of views (a repetition is a new axis, broadcast, and
joined to its neighbour by a reshape), so that none of them copies anything by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, View, op
from graphc.ir.symbolic import Dim, Size, concrete, maximum, minimum, mod
from graphc.ir.types import DTYPES, TensorType, is_integer, normalize_axis, one_or_more
from graphc.ops.arithmetic import subtract
from graphc.ops.base import as_array, as_integer, as_tensor, broadcast, given, require, shown
from graphc.ops.indexing import take
from graphc.ops.joining import concat
from graphc.ops.logic import not_equal
from graphc.ops.samples import normal
from graphc.ops.shaping import expand_dims
from graphc.ops.subscript import getitem
from graphc.ops.views import broadcast_to, reshape

Array = np.ndarray[Any, Any]

FEW = 16
"""Sizes up to which a roll's places are remainders: such loops are unrolled, and the remainders of constants vanish.

In longer ones a remainder for each element takes longer than its load.
"""

MOST_DIFFERENCES = 1000
"""Each is a node."""

__all__ = ["broadcast_arrays", "diff", "meshgrid", "repeat", "tile"]


@op
class roll(View):
    """Elements moved along axes; those pushed over an end come in again at the other one.

    Parameters
    ----------
    x : Tensor or array_like
    shift : int, Dim, or sequence of these
        By how many places to larger indices; negative ones to smaller.
    axis : int or sequence of int, optional
        One for each shift, or one of both for all of the other; shifts of an axis named twice add up. Without it the
        tensor is rolled as if it were flat.

    Returns
    -------
    Tensor
        Of the type of ``x``: ``result[i] = x[(i - shift) % size]``.

    Raises
    ------
    ShapeError
        If an axis is out of range, or there are neither as many shifts as axes nor only one.
    """

    dtypes = DTYPES
    samples = [
        Sample(normal(3, 5), shift=2, axis=1),
        Sample(normal(3, 5), shift=(1, -7), axis=(0, 1)),
        Sample(normal(2, 3), shift=4),
        Sample(normal(7), shift=-3, axis=0),
    ]

    def __call__(self, x: Any, shift: Any, axis: Any = None) -> Tensor:
        x = as_tensor(x)
        if axis is None:
            flat = reshape(x, (-1,))
            total = sum(_shifts(shift))
            return reshape(self(flat, total, 0), x.shape)
        shifts, axes = _shifts(shift), one_or_more(axis)
        count = max(len(shifts), len(axes)) if shifts and axes else 0
        if not {len(shifts), len(axes)} <= {1, count}:
            counts = f"shift={given(shift)} and axis={given(axis)}"
            raise ShapeError(f"roll: expected as many shifts as axes, got {counts}", operands=(x,))
        by_axis: list[Size] = [0] * x.ndim
        for place in range(count):
            k = normalize_axis(axes[place % len(axes)], x.ndim, "roll")
            by_axis[k] = by_axis[k] + shifts[place % len(shifts)]
        for k, size in enumerate(x.shape):
            if isinstance(size, int):
                by_axis[k] = mod(by_axis[k], size) if size else 0
        return self.make(x, shifts=tuple(by_axis)) if any(by != 0 for by in by_axis) else x

    def infer(self, x: Tensor, *, shifts: tuple[Size, ...]) -> TensorType:
        require(len(shifts) == x.ndim, GraphError, f"roll: expected {x.ndim} shifts for {shown(x)}", x)
        return x.type

    def compute(self, node: Node, *inputs: Array) -> Array:
        return np.roll(inputs[0], concrete(node["shifts"]), tuple(range(inputs[0].ndim)))

    def source(self, node: Node, index: Sequence[Size]) -> tuple[Size, ...]:
        def place(at: Size, shift: Size, size: Size) -> Size:
            """Where along an axis it came from; a long axis is two straight pieces, which loops follow better."""
            if shift == 0:
                return at
            if isinstance(size, int) and size <= FEW:
                return mod(at + (size - shift), size)
            within = mod(shift, size)
            return at - within + size * maximum(minimum(within - at, 1), 0)

        return tuple(map(place, index, node["shifts"], node.result.shape))

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        back = tuple(-1 * shift for shift in node["shifts"])
        return (roll(cotangents[0], back, tuple(range(cotangents[0].ndim))),)


def _shifts(shift: Any) -> tuple[Size, ...]:
    return tuple(s if isinstance(s, Dim) else as_integer(s, "roll: shift") for s in one_or_more(shift))


def tile(x: Any, reps: Any) -> Tensor:
    """The whole tensor repeated, side by side, along its axes.

    Parameters
    ----------
    x : Tensor or array_like
    reps : int, Dim, or sequence of these
        How often, one an axis, counted from the last. If there are fewer, the other axes stay as they are; if there are
        more, the result has new axes in front.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If a number of repetitions is negative or no integer.
    """
    x = as_tensor(x)
    entries = one_or_more(reps)
    rank = max(x.ndim, len(entries))
    counts = [*(1 for _ in range(rank - len(entries))), *(_count(entry, "tile") for entry in entries)]
    sizes: list[Size] = [*(1 for _ in range(rank - x.ndim)), *x.shape]
    apart = reshape(x, [part for size in sizes for part in (1, size)])
    repeated = broadcast_to(apart, [part for pair in zip(counts, sizes, strict=True) for part in pair])
    return reshape(repeated, [count * size for count, size in zip(counts, sizes, strict=True)])


def _count(value: Any, name: str) -> Size:
    """How many times something is repeated."""
    if isinstance(value, Dim):
        return value
    count = as_integer(value, f"{name}: number of repetitions")
    require(count >= 0, GraphError, f"{name}: expected a number of repetitions of at least 0, got {count}")
    return count


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element repeated along an axis, beside itself.

    Parameters
    ----------
    x : Tensor or array_like
    repeats : int, Dim, or array_like of int
        For all elements, or one for each place of the axis, whose size must then be static.
    axis : int, optional
        Without it, ``x`` is flattened.

    Returns
    -------
    Tensor

    Raises
    ------
    GraphError
        If a number of repeats is negative or no integer, or they are a tensor that is no constant: the shape of the
        result would depend on data.
    ShapeError
        If there is not one number for each place of the axis.
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    axis = normalize_axis(axis, x.ndim, "repeat")
    if isinstance(repeats, Tensor) and repeats.node.op.name == "constant":
        repeats = repeats.node["value"]
    if isinstance(repeats, Tensor):
        raise GraphError(
            f"repeat: expected numbers that are known now, got {repeats.type}",
            operands=(x, repeats),
            hint="the shape of the result would depend on data; graphc.take accepts any indices",
        )
    if not isinstance(repeats, Dim):
        counts = as_array(repeats)
        if counts.size == 1 and counts.ndim <= 1:
            repeats = counts.reshape(())[()]
        else:
            return _repeat_each(x, counts, axis)
    count = _count(repeats, "repeat")
    shape = x.shape
    apart = broadcast_to(expand_dims(x, axis + 1), (*shape[: axis + 1], count, *shape[axis + 1 :]))
    return reshape(apart, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


def _repeat_each(x: Tensor, counts: Array, axis: int) -> Tensor:
    """Every place of an axis its own number of times."""
    require(
        is_integer(counts.dtype) or counts.size == 0, DTypeError,
        f"repeat: expected integers as numbers of repetitions, got {counts.dtype}", x,
    )  # fmt: skip
    require(
        counts.shape == (x.shape[axis],), ShapeError,
        f"repeat: expected one number for each place of axis {axis} of {shown(x)}, got the shape {counts.shape}", x,
    )  # fmt: skip
    lowest = int(counts.min(initial=0))
    require(lowest >= 0, GraphError, f"repeat: expected a number of repetitions of at least 0, got {lowest}", x)
    return take(x, np.repeat(np.arange(counts.size), counts.astype("int64")), axis=axis)


def broadcast_arrays(*tensors: Any) -> tuple[Tensor, ...]:
    """Tensors broadcast to their common shape; each keeps its dtype.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    return tuple(broadcast("broadcast_arrays", [as_tensor(tensor) for tensor in tensors]))


def meshgrid(*tensors: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates of the points of a grid, from the coordinates along each of its axes.

    Parameters
    ----------
    *tensors : Tensor or array_like
        Vectors, or scalars that count as vectors of size 1.
    indexing : {"xy", "ij"}
        ``"ij"``: axis ``k`` of the results belongs to vector ``k``. ``"xy"``: the first two axes are interchanged, as
        in pictures, whose rows are y.

    Returns
    -------
    tuple of Tensor
        One a vector, all of one shape.

    Raises
    ------
    ShapeError
        If an operand is no vector.
    GraphError
        If ``indexing`` is none of the two.
    """
    if indexing not in ("xy", "ij"):
        raise GraphError(f"meshgrid: expected indexing to be 'xy' or 'ij', got {indexing!r}")
    vectors = [as_tensor(tensor) for tensor in tensors]
    for vector in vectors:
        require(vector.ndim <= 1, ShapeError, f"meshgrid: expected vectors, got the shape {shown(vector)}", vector)
    places = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        places[:2] = [1, 0]
    upright = [
        reshape(vector, [-1 if axis == place else 1 for axis in range(len(vectors))])
        for place, vector in zip(places, vectors, strict=True)
    ]
    return tuple(broadcast("meshgrid", upright))


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """Differences of neighbours along an axis, ``x[1:] - x[:-1]``, taken ``n`` times.

    Parameters
    ----------
    x : Tensor or array_like
        Of bools the result says whether neighbours differ.
    n : int
        At least 0.
    axis : int
    prepend, append : Tensor, array_like or number, optional
        Put before and behind ``x`` along the axis first; a scalar counts as one place.

    Returns
    -------
    Tensor
        With ``n`` places fewer along the axis, at least 0.

    Raises
    ------
    ShapeError
        If ``x`` is a scalar, the axis is out of range, or what is put before or behind does not fit.
    GraphError
        If ``n`` is negative.
    """
    x = as_tensor(x)
    require(x.ndim > 0, ShapeError, f"diff: expected at least one axis, got the shape {shown(x)}", x)
    axis = normalize_axis(axis, x.ndim, "diff")
    order = as_integer(n, "diff: n")
    require(order >= 0, GraphError, f"diff: expected n of at least 0, got {order}", x)
    before, behind = (_as_places(x, added, axis, what) for added, what in ((prepend, "prepend"), (append, "append")))
    if order and (before or behind):
        x = concat([*before, x, *behind], axis=axis)
    lead = (slice(None),) * axis
    for _ in range(_differences(x, order, axis)):
        later, earlier = getitem(x, (*lead, slice(1, None))), getitem(x, (*lead, slice(None, -1)))
        x = not_equal(later, earlier) if x.dtype.kind == "b" else subtract(later, earlier)
    return x


def _differences(x: Tensor, order: int, axis: int) -> int:
    """How many times differences are taken: none of nothing."""
    size = x.shape[axis]
    if isinstance(size, int):
        return min(order, size)
    message = f"diff: expected n of at most {MOST_DIFFERENCES} along a named dim, got {order}"
    require(order <= MOST_DIFFERENCES, GraphError, message, x)
    return order


def _as_places(x: Tensor, value: Any, axis: int, what: str) -> list[Tensor]:
    """What is put before or behind ``x``: nothing for None; of a scalar one place of the axis."""
    if value is None:
        return []
    part = as_tensor(value, x.dtype if isinstance(value, (int, float)) else None)
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    if not part.ndim:
        return [broadcast_to(part, one)]
    fits = (*part.shape[:axis], 1, *part.shape[axis + 1 :]) == one and part.ndim == x.ndim
    message = f"diff: {what} {shown(part)} and {shown(x)} differ on another axis than {axis}"
    require(fits, ShapeError, message, part)
    return [part]
