"""``x.at[key].set(values)``: a tensor with some of its elements changed, the key as in ``x[key]``.

Slices and integers select a region. The values are padded to the shape of ``x``, and each element chooses between old
and new by its position: a map, which fuses like any other.

With index tensors it is a scatter. Which elements ``x[key]`` selects is asked of indexing itself: of a tensor that
holds at each place its own number, ``numbers[key]`` are the numbers of the places to update, in the shape of the
values. Only the axes from the first to the last one that the key narrows need numbers; others are moved as a whole.
"""

from __future__ import annotations

from typing import Any

from graphc.ir.node import Tensor
from graphc.ir.symbolic import Size, product
from graphc.ops.base import as_tensor
from graphc.ops.elementwise import add, logical_and, logical_or, maximum, minimum, where
from graphc.ops.scatter import Scatter, fitted, scatter_add, scatter_max, scatter_min, scatter_set
from graphc.ops.shaping import ones
from graphc.ops.sizes import iota
from graphc.ops.subscript import FULL, Selection, expanded, getitem
from graphc.ops.views import pad, reshape

MERGES: dict[str, Any] = {"set": lambda old, new: new, "add": add, "max": maximum, "min": minimum}
OF_BOOLS = MERGES | {"max": logical_or, "min": logical_and}
SCATTERS: dict[str, Any] = {"set": scatter_set, "add": scatter_add, "max": scatter_max, "min": scatter_min}


class At:
    """``x.at``: index it with what ``x`` may be indexed with, then say what to do with the elements.

    Examples
    --------
    >>> x.at[0].set(1.0)
    >>> x.at[:, indices].add(values)
    """

    def __init__(self, x: Tensor):
        self._x = x

    def __getitem__(self, key: Any) -> Selected:
        return Selected(self._x, key)


class Selected:
    """``x.at[key]``: each method returns ``x`` with the elements of ``x[key]`` changed.

    The values broadcast to the shape of ``x[key]`` and are cast to the dtype of ``x``. Where the key names an element
    several times, ``set`` keeps the last value, and the others combine all of them. A key that ``x[key]`` refuses
    is refused here, too, with the same error.
    """

    def __init__(self, x: Tensor, key: Any):
        self._x, self._entries = x, expanded(x, key)

    def set(self, values: Any) -> Tensor:
        """The values in the place of the elements."""
        return self._updated("set", values)

    def add(self, values: Any) -> Tensor:
        """The values added to the elements."""
        return self._updated("add", values)

    def max(self, values: Any) -> Tensor:
        """The larger of element and value; NaN if either is NaN."""
        return self._updated("max", values)

    def min(self, values: Any) -> Tensor:
        """The smaller of element and value; NaN if either is NaN."""
        return self._updated("min", values)

    def _updated(self, name: str, values: Any) -> Tensor:
        x, found = self._x, Selection(self._x, self._entries)
        values = as_tensor(values, x.dtype)
        if found.advanced:
            return self._scattered(name, values, found)
        values = reshape(fitted(f"x.at[...].{name}", values, tuple(found.kept), "values"), tuple(found.sizes))
        spread = pad.place(values, x.shape, found.starts, found.steps)
        changed = (OF_BOOLS if x.dtype.kind == "b" else MERGES)[name](x, spread)
        inside = pad.place(ones(values.shape, "bool"), x.shape, found.starts, found.steps)
        return changed if spread is values else where(inside, changed, x)

    def _scattered(self, name: str, values: Tensor, found: Selection) -> Tensor:
        """The update where index tensors are among the key."""
        x, entries = self._x, self._entries
        narrow = [place for place, entry in enumerate(entries) if entry != FULL]
        together = found.spread[-1] - found.spread[0] == len(found.spread) - 1
        first = narrow[0] if together else 0  # else the index tensors' axes come first of all
        behind = len(entries) - 1 - narrow[-1]
        middle = x.shape[first : x.ndim - behind]
        before, after = x.shape[:first], x.shape[x.ndim - behind :]
        count: Size = product(middle)
        numbers = reshape(iota((count,)), middle)
        places = getitem(numbers, tuple(entries[first : len(entries) - behind]))
        values = fitted(f"x.at[...].{name}", values, (*before, *places.shape, *after), "values")
        scatter: Scatter = SCATTERS[name]
        return reshape(scatter(reshape(x, (*before, count, *after)), places, values, axis=first), x.shape)
