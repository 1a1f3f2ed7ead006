"""What the Python array API standard has beside functions of tensors: constants, dtypes, questions about them.

:data:`NAMES` are attributes of the namespace that are no functions of tensors; the functions that are, are aliases of
others (``pow``) or forms of them (``astype``, ``asarray``). docs/array_api.md, made by docs/make_array_api.py, lists
what of the standard there is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.ir.node import Tensor
from graphc.ir.types import DEFAULT_FLOAT, DEFAULT_INT, DTYPES, Shape, as_dtype, as_shape, is_float, is_integer
from graphc.ir.types import broadcast_shapes as broadcast_two_or_more
from graphc.ops.base import as_tensor, common_dtype, require, require_no_device
from graphc.ops.logic import cast, require_numbers
from graphc.ops.sources import constant

__all__ = ["asarray", "astype", "positive"]

API_VERSION = "2024.12"

KINDS = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric")
"""Names of kinds of dtypes."""


def asarray(obj: Any, dtype: Any = None, device: None = None, copy: bool | None = None) -> Tensor:
    """A tensor: a :func:`graphc.constant` of an array, a number or nested lists of numbers; a tensor itself.

    Parameters
    ----------
    obj : Tensor or array_like
        Lists of floats become float32, lists of ints int64; NumPy arrays keep their dtype.
    dtype : dtype, optional
        Cast to it.
    device : None
        There for the standard's sake; see :func:`graphc.full`.
    copy : bool, optional
        A constant is always a copy, a tensor never needs one. False is refused for what is no tensor.

    Returns
    -------
    Tensor
    """
    require_no_device("asarray", device)
    if copy is False and not isinstance(obj, Tensor):
        raise GraphError(f"asarray: expected copy to be None or True for {type(obj).__name__}: a constant is a copy")
    return as_tensor(obj, dtype) if isinstance(obj, Tensor) else constant(obj, dtype)


def astype(x: Any, dtype: Any, copy: bool = True, device: None = None) -> Tensor:
    """:func:`graphc.cast` under the standard's name; tensors never change, so ``copy`` makes no difference."""
    require_no_device("astype", device)
    return cast(x, dtype)


def positive(x: Any) -> Tensor:
    """``x`` itself; bools are refused, as in all arithmetic."""
    x = as_tensor(x)
    require_numbers("positive", x)
    return x


def _dtype_of(value: Any) -> np.dtype[Any]:
    return value.dtype if isinstance(value, Tensor) else as_dtype(value)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that operands share after promotion.

    Parameters
    ----------
    *arrays_and_dtypes : Tensor, array, number or dtype
        Python numbers take the dtype of the others as far as their kind allows; integers with floats become the float.

    Raises
    ------
    DTypeError
        If there is none, as for uint64 with a signed integer.
    """
    require(bool(arrays_and_dtypes), GraphError, "result_type: expected at least one operand, got none")
    operands = (Tensor, np.ndarray, np.generic, bool, int, float)
    return common_dtype(
        "result_type", [v if isinstance(v, operands) else np.empty(0, as_dtype(v)) for v in arrays_and_dtypes]
    )


def can_cast(from_: Any, to: Any) -> bool:
    """Whether a dtype, or that of a tensor, promotes to another: their common dtype is the latter."""
    try:
        return result_type(_dtype_of(from_), as_dtype(to)) == as_dtype(to)
    except DTypeError:
        as_dtype(to), _dtype_of(from_)  # what is no dtype at all is an error
        return False


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is another one, of a kind such as ``"integral"``, or any of several of these.

    Raises
    ------
    DTypeError
        If the first is no dtype, or a kind is neither dtype nor one of :data:`KINDS`.
    """
    found = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, entry) for entry in kind)
    if kind in KINDS:
        return bool(np.isdtype(found, kind))
    if isinstance(kind, str) and kind not in DTYPES:
        raise DTypeError(f"isdtype: expected a dtype or one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    return found == as_dtype(kind)


def finfo(type: Any) -> np.finfo[Any]:
    """Limits of a float dtype, or that of a tensor: ``bits``, ``eps``, ``max``, ``min``, ``smallest_normal``."""
    dtype = _dtype_of(type)
    if not is_float(dtype):
        raise DTypeError(f"finfo: expected float32 or float64, got {dtype}")
    return np.finfo(dtype)


def iinfo(type: Any) -> np.iinfo[Any]:
    """Limits of an integer dtype, or that of a tensor: ``bits``, ``max``, ``min``."""
    dtype = _dtype_of(type)
    if not is_integer(dtype):
        raise DTypeError(f"iinfo: expected an integer dtype, got {dtype}")
    return np.iinfo(dtype)


def broadcast_shapes(*shapes: Any) -> Shape:
    """The common shape of several; named dims are allowed.

    Raises
    ------
    ShapeError
        If they do not fit.
    """
    return broadcast_two_or_more(*(as_shape(shape, "broadcast_shapes") for shape in shapes))


class NamespaceInfo:
    """What this namespace can do, as ``__array_namespace_info__`` of the standard asks."""

    def capabilities(self) -> dict[str, Any]:
        """Shapes are known before values, so no shape depends on data."""
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": None}

    def default_device(self) -> None:
        """None: a graph is on no device, the session that runs it is."""

    def devices(self) -> list[None]:
        """None alone."""
        return [None]

    def default_dtypes(self, *, device: None = None) -> dict[str, np.dtype[Any]]:
        """What Python numbers become."""
        require_no_device("default_dtypes", device)
        return {"real floating": DEFAULT_FLOAT, "integral": DEFAULT_INT, "indexing": DEFAULT_INT}

    def dtypes(self, *, device: None = None, kind: Any = None) -> dict[str, np.dtype[Any]]:
        """All dtypes, or those of a kind, by name."""
        require_no_device("dtypes", device)
        return {name: as_dtype(name) for name in DTYPES if kind is None or isdtype(name, kind)}


NAMES: dict[str, Any] = {
    **{name: as_dtype(name) for name in DTYPES},
    "e": math.e, "pi": math.pi, "inf": math.inf, "nan": math.nan, "newaxis": None,
    "broadcast_shapes": broadcast_shapes, "can_cast": can_cast, "finfo": finfo, "iinfo": iinfo, "isdtype": isdtype,
    "result_type": result_type,
}  # fmt: skip
"""Attributes of the namespace that build no graph."""
