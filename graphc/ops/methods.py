"""Operators and methods of tensors, and NumPy's protocols: ``x + 1``, ``x.sum(axis=0)``, ``np.tanh(x)``, ``np.sum(x)``.

The class :class:`graphc.ir.node.Tensor` knows no op. This module gives it NumPy's face once all ops are registered;
importing :mod:`graphc.ops` does that. Everything here only looks up a public function and calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.ir.node import Tensor
from graphc.ir.symbolic import Dim, Size
from graphc.ops.base import as_tensor, require
from graphc.ops.subscript import getitem

OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul",
}  # fmt: skip
COMPARISONS = {
    "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
}  # fmt: skip
LOGICAL = {"and": "logical_and", "or": "logical_or", "xor": "logical_xor"}

FORWARDED = (
    "sum", "mean", "max", "min", "prod", "argmax", "argmin", "any", "all", "var", "std", "squeeze", "clip", "take",
    "round",
)  # fmt: skip
"""Methods that are the function of the same name with the tensor as its first argument."""

UFUNC_NAMES = {
    "absolute": "abs", "rint": "round", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh",
}  # fmt: skip
"""NumPy's names of ufuncs where they differ from graphc's."""

BITWISE = {
    "bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_xor": "logical_xor", "invert": "logical_not",
}  # fmt: skip
"""Ufuncs that on bools are what ``& | ^ ~`` mean."""

NUMPY_FUNCTIONS = {
    name: name for name in (
        "all", "any", "argmax", "argmin", "broadcast_to", "clip", "einsum", "expand_dims", "flip", "max", "mean", "min",
        "moveaxis", "ones_like", "prod", "reshape", "round", "squeeze", "stack", "std", "sum", "swapaxes", "tensordot",
        "var", "where", "zeros_like",
    )
} | {"concatenate": "concat", "transpose": "permute_dims"}  # fmt: skip
"""NumPy's functions that are graphc's on tensors; not those of one name but other defaults, such as ``take``."""


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


def _logical(name: str, swapped: bool) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        if not _is_operand(other):
            return NotImplemented
        operands = [as_tensor(other), self] if swapped else [self, as_tensor(other)]
        return _on_bools(name, operands)

    return operator


def _on_bools(name: str, operands: list[Tensor]) -> Any:
    for tensor in operands:
        require(
            tensor.dtype.kind == "b", DTypeError, f"{name.removeprefix('logical_')}: expected bools, got {tensor.type}",
            tensor, hint="compare first: (x > 0) & (y > 0)",
        )  # fmt: skip
    return _function(name)(*operands)


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
    """Number of elements: an integer, or an expression of named dims."""
    return self.type.size


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's ufuncs on tensors build graph."""
    if method != "__call__":
        raise GraphError(
            f"np.{ufunc.__name__}.{method} of a tensor is not supported",
            operands=(self,),
            hint="use graphc's own function",
        )
    if options:
        raise GraphError(f"np.{ufunc.__name__} of a tensor takes no {', '.join(sorted(options))}=", operands=(self,))
    if ufunc.__name__ in BITWISE:
        return _on_bools(BITWISE[ufunc.__name__], [as_tensor(value) for value in inputs])
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
    if name not in NUMPY_FUNCTIONS:
        raise GraphError(f"np.{name} has no counterpart in graphc", operands=(self,))
    return _function(NUMPY_FUNCTIONS[name])(*arguments, **options)


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
        "__invert__": lambda self: _on_bools("logical_not", [self]),
        "__getitem__": getitem,
        "__array_ufunc__": _array_ufunc,
        "__array_function__": _array_function,
        "__array_namespace__": _array_namespace,
        "__eq__": _equality("equal", False),
        "__ne__": _equality("not_equal", True),
        "reshape": _reshape, "transpose": _transpose, "astype": _astype, "flatten": _flatten, "dot": _dot,
        "T": property(_transpose), "mT": property(_matrix_transpose), "size": property(_size),
    }  # fmt: skip
    for short, name in COMPARISONS.items():
        members.setdefault(f"__{short}__", _binary(name, swapped=False))
    for table, make in ((OPERATORS, _binary), (LOGICAL, _logical)):
        for short, name in table.items():
            members[f"__{short}__"] = make(name, swapped=False)
            members[f"__r{short}__"] = make(name, swapped=True)
    members.update({name: _forwarded(name) for name in FORWARDED})
    for name, member in members.items():
        setattr(Tensor, name, member)
