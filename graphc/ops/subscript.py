"""``x[...]``: NumPy's indexing as slices and gathers.

A key is read in three steps.

1. *Expand* it to one entry an axis: ``...`` becomes full slices, and axes not named get one each.
2. *Basic entries* become one ``strided_slice`` and one ``reshape``: an integer is a slice of size 1 whose axis is then
   dropped, ``newaxis`` adds one. Bounds are clamped as Python does, on named axes by expressions of their dims:
   ``x[-3:]`` of ``n`` rows has ``minimum(3, n)``.
3. *Index tensors* become one ``take`` of neighbouring axes. As in NumPy their axes stand where they stood in the key,
   or in front if a slice separates them (an integer counts as an index tensor there).

An integer on a named axis may turn out to lie outside, so it is taken with a check when the program runs.
"""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from graphc.errors import GraphError, IndexOutOfRangeError, ShapeError
from graphc.ir.node import Tensor
from graphc.ir.origin import here
from graphc.ir.symbolic import Dim, Size, floordiv
from graphc.ir.types import is_whole
from graphc.ops.base import as_tensor, shown
from graphc.ops.indexing import take
from graphc.ops.sizes import never_negative, size_maximum, size_minimum
from graphc.ops.views import permute_dims, reshape, strided_slice

FULL = slice(None)


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]``.

    Parameters
    ----------
    x : Tensor
    key : int, slice, ..., None, integer Tensor or array_like, or a tuple of these
        Bounds of slices are integers or dims, steps integers.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If there are more indices than axes.
    IndexOutOfRangeError
        If an index lies outside its axis; for index tensors and named axes, when the program runs.
    GraphError
        If an entry is of another kind. A mask is refused, because the result's shape would depend on data.
    """
    found = Selection(x, expanded(x, key))
    sliced = reshape(strided_slice(x, found.starts, found.sizes, found.steps), tuple(found.kept))
    return _gathered(sliced, found.advanced, found.spread) if found.advanced else sliced


class Selection:
    """What an expanded key selects.

    Attributes
    ----------
    starts, sizes : list of Size
    steps : list of int
        The slice of each axis.
    kept : list of Size
        Sizes of the slice after dropping integers' axes and adding new ones.
    advanced : list of (int, Tensor)
        Index tensors, and their axes among those kept.
    spread : list of int
        Places in the key that count as index tensors.
    """

    def __init__(self, x: Tensor, entries: list[Any]):
        self.starts: list[Size] = []
        self.sizes: list[Size] = []
        self.steps: list[int] = []
        self.kept: list[Size] = []
        self.advanced: list[tuple[int, Tensor]] = []
        self.spread: list[int] = []
        for place, entry in enumerate(entries):
            if entry is None:
                self.kept.append(1)
            else:
                self._take(x, place, entry)

    def _take(self, x: Tensor, place: int, entry: Any) -> None:
        """The entry for the next axis."""
        extent = x.shape[len(self.starts)]
        start: Size
        size: Size
        if not isinstance(entry, slice):
            self.spread.append(place)
        if isinstance(entry, int) and isinstance(extent, int):
            start, size, step = _checked(x, entry, extent), 1, 1
        else:
            start, size, step = bounds(entry if isinstance(entry, slice) else FULL, extent)
            if not isinstance(entry, slice):
                index = as_tensor(np.int64(entry)) if isinstance(entry, int) else entry
                self.advanced.append((len(self.kept), index))
            self.kept.append(size)
        self.starts.append(start)
        self.sizes.append(size)
        self.steps.append(step)


def expanded(x: Tensor, key: Any) -> list[Any]:
    """The key with an entry for every axis of x: integers, slices, index tensors, and None for a new axis."""
    entries = [_entry(x, entry) for entry in (key if isinstance(key, tuple) else (key,))]
    dots = [place for place, entry in enumerate(entries) if entry is ...]
    named = sum(entry is not None and entry is not ... for entry in entries)
    if len(dots) > 1:
        raise GraphError(f"x[...]: expected at most one ellipsis in the index of {shown(x)}", operands=(x,))
    if named > x.ndim:
        raise ShapeError(f"x[...]: {named} indices for the {x.ndim} axes of {shown(x)}", operands=(x,))
    place = dots[0] if dots else len(entries)
    return entries[:place] + [FULL] * (x.ndim - named) + entries[place + 1 :]


def _entry(x: Tensor, entry: Any) -> Any:
    """An entry of a key: int, slice, ellipsis, None or an integer tensor."""
    if entry is None or isinstance(entry, (EllipsisType, slice)):
        return entry
    if is_whole(entry):
        return int(entry)
    if isinstance(entry, (list, np.ndarray)):
        entry = np.asarray(entry, "int64") if isinstance(entry, list) and not entry else entry
        entry = as_tensor(entry)
    if isinstance(entry, (bool, np.bool_)) or (isinstance(entry, Tensor) and entry.dtype.kind == "b"):
        raise GraphError(
            f"x[...]: a mask cannot index {shown(x)}: the shape of the result would depend on data",
            operands=(x,),
            hint="use graphc.where(mask, x, 0), or np.nonzero(mask) if the mask is known now",
        )
    if isinstance(entry, Tensor) and entry.dtype.kind in "iu":
        return entry
    shown_entry = entry.type if isinstance(entry, Tensor) else repr(entry)
    raise GraphError(
        f"x[...]: expected integers, slices, ..., None or integer tensors to index {shown(x)}, got {shown_entry}",
        operands=(x,),
    )


def _checked(x: Tensor, entry: int, extent: int) -> int:
    if not -extent <= entry < extent:
        raise IndexOutOfRangeError(
            f"x[...]: index {entry} is out of range for an axis of size {extent} of {shown(x)}",
            origin=here(),
            operands=(x,),
        )
    return entry % extent


def bounds(key: slice, extent: Size) -> tuple[Size, Size, int]:
    """Start, size and step of a slice of an axis, as Python's ``slice.indices`` has them, for named axes too.

    Raises
    ------
    GraphError
        If a bound is no integer or dim, or the step is 0 or no integer.
    """
    try:
        step = 1 if key.step is None else operator.index(key.step)
        start, stop = (
            None if at is None else at if isinstance(at, Dim) else operator.index(at) for at in (key.start, key.stop)
        )
    except TypeError:
        raise GraphError(
            f"x[...]: expected integers or dims as bounds of a slice, got {key}", hint="graphc.take accepts tensors"
        ) from None
    if step == 0:
        raise GraphError("x[...]: a slice has step 0")
    if isinstance(start, int) and start < 0 and stop is None and step > 0:
        # the last few: their number first, so that the same number has the same name as in x[:few]
        size = size_minimum(extent, -start)
        return extent - size, floordiv(size + (step - 1), step), step
    if step > 0:
        # a start beyond the end needs no clamp: the size is 0 then, and x[1:] has the size that x[:-1] has
        first = 0 if start is None else start if never_negative(start) else _clamped(start, extent, 0, extent)
        last = extent if stop is None else _clamped(stop, extent, 0, extent)
        size = floordiv(size_maximum(last - first, 0) + (step - 1), step)
    else:
        first = extent - 1 if start is None else _clamped(start, extent, -1, extent - 1)
        last = -1 if stop is None else _clamped(stop, extent, -1, extent - 1)
        size = floordiv(size_maximum(first - last, 0) + (-step - 1), -step)
    return (0 if size == 0 else first), size, step


def _clamped(bound: Size, extent: Size, low: Size, high: Size) -> Size:
    """A bound of a slice within ``low`` and ``high``; negative integers count from the end."""
    if isinstance(bound, int) and bound < 0:
        bound = extent + bound
    elif never_negative(bound):
        return size_minimum(bound, high)
    return size_maximum(size_minimum(bound, high), low)


def _gathered(x: Tensor, advanced: list[tuple[int, Tensor]], spread: list[int]) -> Tensor:
    """``take`` with index tensors that belong to given axes of x."""
    axes = [axis for axis, _ in advanced]
    together = spread[-1] - spread[0] == len(spread) - 1
    front = [axis for axis in range(x.ndim) if axis not in axes and together and axis < axes[0]]
    rest = [axis for axis in range(x.ndim) if axis not in axes and axis not in front]
    arranged = permute_dims(x, [*front, *axes, *rest])
    return take(arranged, *(index for _, index in advanced), axis=len(front))
