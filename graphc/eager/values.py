"""Into values: of arrays, of graph tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.eager.tape import current, leaf
from graphc.eager.tensor import EagerTensor
from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ir.types import as_dtype
from graphc.ops.base import as_tensor, own_copy


def value(tensor: Tensor) -> EagerTensor:
    """A tensor with its values.

    Raises
    ------
    GraphError
        If it is none, or has none: it depends on a placeholder, or stands in a body that is being traced.
    """
    if not isinstance(tensor, Tensor):
        raise GraphError(f"expected a tensor, got {tensor!r}")
    entered = current().enter(tensor)
    if entered is None:
        raise GraphError(f"{tensor.label} stands in the body of a loop and has no value", operands=(tensor,))
    return entered


def asarray(obj: Any, dtype: Any = None, *, copy: bool | None = None) -> EagerTensor:
    """A tensor with a value.

    Parameters
    ----------
    obj : array_like or Tensor
        Lists of floats become float32, lists of ints int64; arrays keep their dtype. A variable is read, random numbers
        are drawn, an eager tensor is itself.
    dtype : dtype, optional
        Cast to it; the cast of a tensor can be differentiated.
    copy : bool, optional
        Arrays are copied in any case, because a tensor never changes: False is refused for them.

    Returns
    -------
    EagerTensor

    Raises
    ------
    GraphError
        If a tensor depends on a placeholder.
    DTypeError
        If graphc has no such dtype.
    """
    if isinstance(obj, Tensor):
        return value(as_tensor(obj, dtype))
    if copy is False:
        raise GraphError("asarray: copy=False, but an array may change and a tensor may not", hint="leave copy= out")
    if isinstance(obj, np.ndarray) and obj.dtype.kind in "biuf":
        return leaf(own_copy(obj, as_dtype(obj.dtype if dtype is None else dtype), "asarray"))
    return leaf(value(as_tensor(_nested(obj), dtype)).value)  # not the constant itself: equal ones are one tensor


def _nested(obj: Any) -> Any:
    """Nested lists with the values of the tensors in them."""
    if isinstance(obj, (list, tuple)):
        return [_nested(entry) for entry in obj]
    return value(obj).value if isinstance(obj, Tensor) else obj
