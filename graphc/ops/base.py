"""What ops share: turning arguments into tensors, promotion, broadcasting, and the elementwise base class.

Promotion (``promote``): Python scalars are *weak*, they take the other operand's dtype as far as its kind allows;
an integer tensor with a float tensor takes the float's dtype (NumPy would widen to float64); everything else is
NumPy's ``result_type``. Broadcasting is made explicit by ``broadcast_to`` nodes, so that derivatives and kernels
only ever see equal shapes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from graphc.errors import DTypeError, GraphcError, GraphError, OutOfMemoryError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.node import given as given
from graphc.ir.op import REGISTRY, Map, Read
from graphc.ir.printer import format_bytes
from graphc.ir.scalar import Scalar, from_text
from graphc.ir.symbolic import Dim, Size
from graphc.ir.types import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    NAMES,
    TensorType,
    as_dtype,
    broadcast_shapes,
    format_shape,
    is_float,
    is_number,
    is_whole,
)

WEAK = (bool, int, float)

AN_ARRAY = "expected a tensor, an array or numbers"

LARGEST_SHARED = 1 << 31
"""Python integers up to this are looked up, as floats are, rather than converted anew at every use."""


def as_tensor(value: Any, dtype: Any = None) -> Tensor:
    """A tensor for a tensor, NumPy array, Python number, or nested list of these.

    Parameters
    ----------
    value : Tensor, array_like
        Lists of floats become float32, lists of ints int64; NumPy arrays keep their dtype.
    dtype : dtype, optional
        Cast to it.

    Raises
    ------
    DTypeError
        If the dtype is none of graphc's, or the value no array at all.
    """
    if isinstance(value, Tensor):
        return value if dtype is None or value.dtype == as_dtype(dtype) else REGISTRY["cast"](value, dtype)
    if (type(value) is float and value == value) or (type(value) is int and abs(value) <= LARGEST_SHARED):
        return REGISTRY["constant"].make(value=_number(repr(value), None if dtype is None else as_dtype(dtype)))
    if isinstance(value, Dim):
        raise GraphError(f"the size {value} is no tensor", hint="use graphc.size_of(tensor, axis)")
    if type(value) is int and dtype is not None and is_float(as_dtype(dtype)):
        with contextlib.suppress(OverflowError):
            value = float(value)
    array = as_array(value)
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)):
        dtype = {"f": DEFAULT_FLOAT, "i": DEFAULT_INT, "b": np.dtype("bool")}.get(array.dtype.kind)
    if dtype is None:
        dtype = as_dtype(array.dtype)
    return REGISTRY["constant"].shared(array, dtype)


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of numbers or bools.

    Raises
    ------
    GraphError
        For nested lists of unequal lengths, and lists that hold tensors.
    DTypeError
        For anything else that is no array of numbers.
    """
    if isinstance(value, (list, tuple)) and any(isinstance(entry, Tensor) for entry in value):
        raise GraphError(f"{AN_ARRAY}, got a list that holds tensors", hint="use graphc.stack(list)")
    try:
        array = np.asarray(value)
    except ValueError:
        raise GraphError(f"{AN_ARRAY}, got nested lists of unequal lengths") from None
    if type(value) is int and array.dtype.kind == "O":
        raise DTypeError(f"expected a number that an integer dtype holds, got {given(value)}")
    if array.dtype.kind not in "biuf":
        kind = type(value).__name__
        own = isinstance(value, (np.ndarray, np.generic, list, tuple)) and array.dtype.kind != "O"
        raise DTypeError(f"{AN_ARRAY}, got {kind}" + (f" of dtype {array.dtype}" if own else ""))
    return array


@lru_cache(maxsize=256)
def _number(text: str, dtype: np.dtype[Any] | None) -> np.ndarray[Any, Any]:
    """A Python number as an array that nobody can write.

    A formula such as Adam's is declared for every variable with the same few numbers, so these are shared. They are
    known by their text, which tells -0.0 from 0.0 and 1 from 1.0, but not one NaN from another: NaNs do not come here.
    """
    value = int(text) if text.lstrip("-").isdigit() else float(text)
    with np.errstate(all="ignore"):
        default = DEFAULT_INT if isinstance(value, int) else DEFAULT_FLOAT
        return own_copy(np.asarray(value), default if dtype is None else dtype, "constant")


def own_copy(array: np.ndarray[Any, Any], dtype: np.dtype[Any], label: str) -> np.ndarray[Any, Any]:
    """A contiguous copy that nobody can write.

    Raises
    ------
    OutOfMemoryError
        If there is no memory for it; names the bytes.
    """
    try:
        copy = np.array(array, dtype=dtype, order="C")
    except MemoryError:
        nbytes = array.size * dtype.itemsize
        raise OutOfMemoryError(
            f"{label}: a copy of {dtype.name}{format_shape(array.shape)} needs {nbytes:,} bytes "
            f"({format_bytes(nbytes)}), which the system refuses",
            hint="declare a scalar and broadcast it: graphc.broadcast_to, or full, or an initializer",
        ) from None
    copy.setflags(write=False)
    return copy


def common_dtype(name: str, values: Sequence[Any]) -> np.dtype[Any]:
    """The dtype that operands share after promotion; Python numbers among them are weak.

    Raises
    ------
    DTypeError
        If there is no common dtype (uint64 with a signed integer).
    """
    strong = [v.dtype if isinstance(v, (Tensor, np.ndarray, np.generic)) else None for v in values]
    known = [as_dtype(d) for d in strong if d is not None]
    weak = [v for v, d in zip(values, strong, strict=True) if d is None]
    if any(not isinstance(v, WEAK) for v in weak):
        known += [as_tensor(v).dtype for v in weak if not isinstance(v, WEAK)]
        weak = [v for v in weak if isinstance(v, WEAK)]
    floats = {d for d in known if is_float(d)}
    if floats:
        return np.result_type(*floats) if len(floats) > 1 else floats.pop()
    if any(type(v) is float for v in weak) or (not known and not weak):
        return DEFAULT_FLOAT
    integers = [d for d in known if d.kind in "iu"]
    if integers:
        found = np.result_type(*integers)
        if found.kind == "f":
            shown = " and ".join(d.name for d in integers)
            raise DTypeError(f"{name}: no integer dtype holds both {shown}", hint="cast one operand")
        for v in weak:
            if type(v) is int and not np.iinfo(found).min <= v <= np.iinfo(found).max:
                raise DTypeError(f"{name}: the number {v} does not fit the operand's dtype {found.name}")
        return found
    if any(type(v) is int for v in weak):
        return DEFAULT_INT
    return np.dtype("bool")


def promote(name: str, values: Sequence[Any], minimum: str = "") -> list[Tensor]:
    """Tensors of one common dtype; with ``minimum="float"`` integers and bools become float32."""
    dtype = common_dtype(name, values)
    if minimum == "float" and not is_float(dtype):
        dtype = DEFAULT_FLOAT
    if minimum == "int" and dtype.kind == "b":
        dtype = DEFAULT_INT
    return [as_tensor(value, dtype) for value in values]


def broadcast(name: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one common shape, made so by ``broadcast_to`` where they are not.

    Raises
    ------
    ShapeError
        If the shapes do not fit; names the op and the shapes.
    """
    try:
        shape = broadcast_shapes(*(tensor.shape for tensor in tensors))
    except ShapeError as error:
        raise ShapeError(f"{name}: {error.said}", operands=tensors) from None
    return [t if t.shape == shape else REGISTRY["broadcast_to"].make(t, shape=shape) for t in tensors]


def require(condition: bool, kind: type[GraphcError], message: str, *tensors: Tensor, hint: str | None = None) -> None:
    """Raise ``kind(message)`` about these operands unless ``condition`` holds."""
    if not condition:
        raise kind(message, operands=tensors, hint=hint)


def require_float(name: str, *tensors: Tensor) -> None:
    """Raise a DTypeError unless all tensors are floating point."""
    for tensor in tensors:
        require(is_float(tensor.dtype), DTypeError, f"{name}: expected float32 or float64, got {tensor.type}", tensor)


class Elementwise(Map):
    """An op whose result at an index depends on its inputs at the same index only.

    Subclasses give ``reference`` (a NumPy function of arrays) and ``expression`` (one element, in the language of
    :mod:`graphc.ir.scalar`, over the names in ``arguments``).

    Attributes
    ----------
    arguments : tuple of str
        Names of the inputs; ``("x",)`` unless said otherwise.
    result : str
        ``"same"`` as the operands' common dtype, or ``"bool"``.
    minimum : str
        ``"float"`` turns integer operands into float32 first, ``"int"`` bools into int64.
    """

    arguments: ClassVar[tuple[str, ...]] = ("x",)
    expression: ClassVar[str] = ""
    reference: ClassVar[Callable[..., Any]]
    result: ClassVar[str] = "same"
    minimum: ClassVar[str] = ""

    def __call__(self, *inputs: Any) -> Tensor:
        if len(inputs) != len(self.arguments):
            raise GraphError(f"{self.name}: expected {len(self.arguments)} operands, got {len(inputs)}")
        if self._fit(inputs):
            return self.make(*inputs)
        return self.make(*broadcast(self.name, promote(self.name, inputs, self.minimum)))

    def _fit(self, inputs: Sequence[Any]) -> bool:
        """Whether operands are tensors of one type already, which neither promotion nor broadcasting would change."""
        first = inputs[0]
        if not isinstance(first, Tensor):
            return False
        kind = first.type
        if self.minimum and kind.dtype.kind != "f":
            return False
        return all(isinstance(tensor, Tensor) and tensor.type == kind for tensor in inputs[1:])

    def infer(self, *inputs: Any, **attributes: Any) -> TensorType:
        first = inputs[0]
        for tensor in inputs[1:]:
            if tensor.type != first.type:
                raise ShapeError(f"{self.name}: expected operands of one type, got {first.type} and {tensor.type}")
        if NAMES[first.dtype] not in self.dtypes:
            raise DTypeError(
                f"{self.name}: expected one of {', '.join(self.dtypes)}, got {first.type}", operands=(first,)
            )
        return TensorType(first.shape, np.dtype("bool")) if self.result == "bool" else first.type

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with np.errstate(all="ignore"):
            return np.asarray(type(self).reference(*inputs)).astype(node.result.dtype, copy=False)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        operands = {name: read(place, index) for place, name in enumerate(self.arguments)}
        return from_text(self.expression, operands, node.result.dtype)


def shown(tensor: Tensor) -> str:
    """A tensor's shape for a message."""
    return format_shape(tensor.shape)


def is_zero(tensor: Tensor) -> bool:
    """Whether a tensor is zeros by its form: a constant 0, broadcast or not, such as the cotangent of a result that
    nobody uses."""
    node = tensor.node
    while node.op.name == "broadcast_to":
        node = node.inputs[0].node
    return node.op.name == "constant" and node["value"].size == 1 and not node["value"].any()


def as_integer(value: Any, what: str) -> int:
    """A Python or NumPy integer, bools excluded, as an int.

    Raises
    ------
    GraphError
        If it is none.
    """
    if not is_whole(value):
        raise GraphError(f"{what}: expected an integer, got {given(value)}")
    return int(value)


def require_bool(name: str, what: str, value: Any) -> bool:
    """True or False, Python's or NumPy's, or a GraphError: any other object counts as true where nobody asks."""
    if not isinstance(value, (bool, np.bool_)):
        raise GraphError(f"{name}: expected a bool as {what}, got {given(value)}")
    return bool(value)


def require_number(name: str, what: str, value: Any) -> float:
    """A number as Python's float, since NumPy's float64 is not weak and would widen float32; or a GraphError."""
    if is_number(value):
        with contextlib.suppress(OverflowError):
            return float(value)
    raise GraphError(f"{name}: expected a number as {what}, got {given(value)}")


def require_no_device(name: str, device: Any) -> None:
    """Refuse a device: functions that create arrays take one in the array API standard, but a graph is nowhere yet."""
    if device is not None:
        raise GraphError(
            f"{name}: expected no device, got {device!r}", hint="the session that runs a graph has a device"
        )
