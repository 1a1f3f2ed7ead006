"""Operators and methods of tensors, and NumPy's protocols: ``x + 1``, ``x.sum(axis=0)``, ``np.tanh(x)``, ``np.sum(x)``.

The class :class:`graphc.ir.node.Tensor` knows no op. This module gives it NumPy's face once all ops are registered;
importing :mod:`graphc.ops` does that. Everything here only looks up a public function and calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from graphc.errors import GraphError, names_of_others
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size
from graphc.ops.base import require
from graphc.ops.protocols import TRANSLATED, call_as_numpy, refuse_options, ufunc_method
from graphc.ops.subscript import getitem
from graphc.ops.updates import At

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "bitwise_left_shift", "rshift": "bitwise_right_shift",
}  # fmt: skip
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
FORWARDED = (
    "sum", "mean", "max", "min", "prod", "argmax", "argmin", "any", "all", "var", "std", "squeeze", "clip", "take",
    "round", "repeat", "diagonal", "trace", "argsort",
)  # fmt: skip
"""Methods that are the function of the same name with the tensor as its first argument."""

UFUNC_NAMES = {
    "absolute": "abs", "rint": "round", "invert": "bitwise_invert", "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
    "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2",
    "arctanh": "atanh",
}  # fmt: skip
"""NumPy's names of ufuncs where they differ from graphc's."""

NUMPY_FUNCTIONS = {
    name: name for name in (
        "all", "any", "argmax", "argmin", "argsort", "argwhere", "astype", "bincount", "broadcast_arrays",
        "broadcast_to", "clip", "count_nonzero", "cumulative_prod", "cumulative_sum", "diag", "diagonal", "diff",
        "empty_like", "expand_dims", "flatnonzero", "flip", "full_like", "histogram", "kron", "linspace",
        "matrix_transpose", "max", "mean", "median", "meshgrid", "min", "moveaxis", "nonzero", "ones_like", "prod",
        "quantile", "repeat", "reshape", "roll", "round", "searchsorted", "sort", "squeeze", "stack", "sum",
        "swapaxes", "take_along_axis", "tensordot", "tile", "trace", "tril", "triu", "unique", "unstack", "where",
        "zeros_like",
    )
} | {
    "concatenate": "concat", "transpose": "permute_dims", "linalg.matmul": "matmul", "linalg.tensordot": "tensordot",
    "linalg.matrix_transpose": "matrix_transpose", "linalg.vecdot": "vecdot", "linalg.vector_norm": "vector_norm",
    "linalg.matrix_norm": "matrix_norm",
}  # fmt: skip
"""NumPy's functions that are graphc's on tensors; not those of one name but other defaults, such as ``take``.

Those whose arguments differ stand in :mod:`graphc.ops.numpy_forms`.
"""


def _function(name: str) -> Callable[..., Any]:
    from graphc import ops  # this module is imported by the package while that is still being filled

    return ops.FUNCTIONS[name]


def _is_operand(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray, np.generic, bool, int, float, list, tuple, Dim))


def _binary(name: str, swapped: bool) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        if not _is_operand(other):
            return NotImplemented
        return _function(name)(other, self) if swapped else _function(name)(self, other)

    return operator


def _equality(name: str, otherwise: bool) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        if other is None:
            return otherwise
        return _function(name)(self, other) if _is_operand(other) else NotImplemented

    return operator


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: Tensor, *arguments: Any, **options: Any) -> Any:
        return _function(name)(self, *arguments, **options)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``graphc.{name}(self, ...)``."
    return method


def _reshape(self: Tensor, *shape: Any) -> Tensor:
    """``graphc.reshape``; the sizes may also be given one by one."""
    return _function("reshape")(self, shape[0] if len(shape) == 1 else shape)


def _transpose(self: Tensor, *axes: Any) -> Tensor:
    """``graphc.permute_dims``; all axes reversed if none are named."""
    if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], (tuple, list))):
        (axes,) = axes
    return _function("permute_dims")(self, axes or None)


def _matrix_transpose(self: Tensor) -> Tensor:
    """The last two axes swapped."""
    require(self.ndim >= 2, GraphError, f"mT: expected rank 2 or more, got {self.type}", self)
    return _function("permute_dims")(self, (*range(self.ndim - 2), self.ndim - 1, self.ndim - 2))


def _astype(self: Tensor, dtype: Any) -> Tensor:
    """The values cast to a dtype."""
    return _function("cast")(self, dtype)


def _flatten(self: Tensor) -> Tensor:
    """The elements as one axis, in row-major order."""
    return _function("reshape")(self, (-1,))


def _dot(self: Tensor, other: Any) -> Tensor:
    """Matrix product."""
    return _function("matmul")(self, other)


def _size(self: Tensor) -> Size:
    """Number of elements, an integer or an expression of named dims."""
    return self.type.size


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's ufuncs on tensors build graph."""
    if method != "__call__":
        return ufunc_method(self, ufunc, method, inputs, options)
    refuse_options(f"np.{ufunc.__name__}", options, self)
    from graphc import ops

    function = ops.FUNCTIONS.get(UFUNC_NAMES.get(ufunc.__name__, ufunc.__name__))
    if function is None:
        raise GraphError(f"np.{ufunc.__name__} has no counterpart in graphc", operands=(self,))
    return function(*inputs)


def _array_function(self: Tensor, function: Callable[..., Any], types: Any, arguments: Any, options: Any) -> Any:
    """NumPy's other functions on tensors build graph, or are refused: NumPy would look for values."""
    name = function.__name__
    if name in ("shape", "ndim", "size") and len(arguments) == 1 and not options:
        return getattr(arguments[0], name)
    from graphc.ops.numpy_forms import FORMS

    return call_as_numpy(self, function, NUMPY_FUNCTIONS, TRANSLATED | FORMS, arguments, options)


def _array_namespace(self: Tensor, *, api_version: str | None = None) -> ModuleType:
    """The namespace of the Python array API standard: :mod:`graphc.ops`."""
    from graphc import ops

    return ops


def install() -> None:
    """Give :class:`Tensor` its operators and methods."""
    members: dict[str, Any] = {
        "__neg__": lambda self: _function("negative")(self),
        "__pos__": lambda self: self,
        "__abs__": lambda self: _function("abs")(self),
        "__invert__": lambda self: _function("bitwise_invert")(self),
        "__getitem__": getitem,
        "__getattr__": names_of_others("tensor"),
        "__array_ufunc__": _array_ufunc,
        "__array_function__": _array_function,
        "__array_namespace__": _array_namespace,
        "__eq__": _equality("equal", False),
        "__ne__": _equality("not_equal", True),
        "reshape": _reshape, "transpose": _transpose, "astype": _astype, "flatten": _flatten, "dot": _dot,
        "T": property(_transpose), "mT": property(_matrix_transpose), "size": property(_size),
        "at": property(At),
    }  # fmt: skip
    for short, name in COMPARISONS.items():
        members.setdefault(f"__{short}__", _binary(name, swapped=False))
    for short, name in OPERATORS.items():
        members[f"__{short}__"] = _binary(name, swapped=False)
        members[f"__r{short}__"] = _binary(name, swapped=True)
    members.update({name: _forwarded(name) for name in FORWARDED})
    for name, member in members.items():
        setattr(Tensor, name, member)
