"""Tensors that have values: one result each of a node that was computed when it was made.

An :class:`EagerNode` is a node like any other, of the same ops, so that every walk over graphs serves: the nodes behind
a tensor *are* its tape. Two things differ. It holds its results' values; and it does not hold its results themselves,
only weak references to them, so that there is no cycle: a tape is freed, arrays and all, as soon as the last tensor
that was computed from it goes, without waiting for Python's garbage collector.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphError, ShapeError
from graphc.ir import node as graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Op
from graphc.ir.origin import here
from graphc.ir.types import TensorType, format_shape
from graphc.ops.subscript import getitem

if TYPE_CHECKING:
    from types import ModuleType

Array = NDArray[Any]


class EagerNode(Node):
    """A node whose results have values. It is never interned.

    Attributes
    ----------
    types : tuple of TensorType
    values : tuple of ndarray
        One a result, which nobody can write.
    """

    evaluated: ClassVar[bool] = True

    __slots__ = ("_living", "types", "values")

    def __init__(
        self, op: Op, inputs: tuple[Tensor, ...], attributes: Mapping[str, Any], types: tuple[TensorType, ...]
    ):
        self.op, self.inputs, self.attributes, self.types = op, inputs, attributes, types
        self.key = None
        self.origins = (here(),)
        self.serial = next(graph.serials)
        self.values: tuple[Array, ...] = ()
        self._living: list[weakref.ref[EagerTensor] | None] = [None] * len(types)

    @property
    def results(self) -> tuple[EagerTensor, ...]:  # type: ignore[override]
        """The tensors that others know; where nobody holds one any more, a new one."""
        return tuple([self._result(place) for place in range(len(self.types))])

    @property
    def result(self) -> EagerTensor:
        if len(self.types) != 1:
            raise ValueError(f"{self.op.name} has {len(self.types)} results")
        return self._result(0)

    def _result(self, place: int) -> EagerTensor:
        reference = self._living[place]
        tensor = None if reference is None else reference()
        if tensor is None:
            tensor = EagerTensor(self, place, self.types[place])
            self._living[place] = weakref.ref(tensor)
        return tensor


class ValuedTensor(Tensor):
    """A tensor that NumPy and Python's conversions can read. What is computed of it is computed at once."""

    __slots__ = ()

    @property
    def value(self) -> Array:
        """The values, as an array that nobody can write."""
        raise NotImplementedError(f"{type(self).__name__}.value")

    def numpy(self) -> Array:
        """The values, as an array that the caller owns."""
        return np.array(self.value)

    def item(self) -> Any:
        """The only element as a Python number."""
        return self._only("item()").item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.value.tolist()

    def _only(self, what: str) -> Array:
        if self.value.size != 1:
            raise GraphError(f"{what}: expected a tensor of one element, got {self.type}", operands=(self,))
        return self.value.reshape(())

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.value, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self._only("truth value"))

    def __float__(self) -> float:
        return float(self._only("float()"))

    def __int__(self) -> int:
        return int(self._only("int()"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.shape:
            raise GraphError(f"index: expected an integer scalar, got {self.type}", operands=(self,))
        return int(self.value)

    def __len__(self) -> int:
        return len(self._along("len()"))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self._along("iteration"))))

    def _along(self, what: str) -> Array:
        if not self.shape:
            raise GraphError(f"{what}: expected a tensor with axes, got {self.type}", operands=(self,))
        return self.value

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else str(self)

    def __repr__(self) -> str:
        shown = np.array2string(self.value, separator=", ", prefix="tensor(", threshold=200)
        return f"tensor({shown}, {self.dtype})"

    _repr_svg_: Any = None  # a notebook shows the values; graphc.draw(tensor) the tape

    def __getitem__(self, key: Any) -> Tensor:
        """As of any tensor; masks too, whose true places are known here."""
        entries = [_mask(entry) for entry in (key if isinstance(key, tuple) else (key,))]
        if not any(isinstance(entry, Mask) for entry in entries):
            return getitem(self, key)
        parts = [_without_mask(self, entries, place) for place in range(len(entries))]
        return getitem(self, tuple(index for part in parts for index in part))

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """The namespace of the Python array API standard: :mod:`graphc.eager`."""
        from graphc import eager

        return eager


class EagerTensor(ValuedTensor):
    """A result of an :class:`EagerNode`."""

    __slots__ = ()
    node: EagerNode

    @property
    def value(self) -> Array:
        return self.node.values[self.place]

    def __copy__(self) -> EagerTensor:
        return self  # it never changes

    def __deepcopy__(self, memo: Any) -> EagerTensor:
        return self

    def __reduce__(self) -> Any:
        """Its values travel, its tape does not."""
        from graphc.eager.values import asarray

        return asarray, (self.value,)


class Mask(np.ndarray[Any, Any]):
    """A bool array with axes in a key."""


def _mask(entry: Any) -> Any:
    """An entry of a key, as a :class:`Mask` if it is one."""
    if isinstance(entry, ValuedTensor) and entry.dtype.kind == "b":
        entry = entry.value
    if isinstance(entry, list) and entry and all(isinstance(flag, (bool, np.bool_)) for flag in entry):
        entry = np.array(entry)
    is_mask = isinstance(entry, np.ndarray) and entry.dtype.kind == "b" and entry.ndim
    return entry.view(Mask) if is_mask else entry


def _without_mask(x: Tensor, entries: list[Any], place: int) -> list[Any]:
    """An entry of a key; for a mask the indices where it is true, one array an axis."""
    mask = entries[place]
    if not isinstance(mask, Mask):
        return [mask]
    before = entries[:place]
    if any(entry is ... for entry in before):
        start = x.ndim - sum(map(_extent, entries[place:]))
    else:
        start = sum(map(_extent, before))
    covered = x.shape[max(0, start) : start + mask.ndim]
    if covered != mask.shape:
        raise ShapeError(
            f"x[...]: a mask of shape {format_shape(mask.shape)} on axes of sizes {format_shape(covered)} of "
            f"{format_shape(x.shape)}",
            operands=(x,),
        )
    return [np.asarray(index) for index in np.nonzero(mask)]


def _extent(entry: Any) -> int:
    """How many axes an entry of a key takes up."""
    return entry.ndim if isinstance(entry, Mask) else int(entry is not None and entry is not ...)
