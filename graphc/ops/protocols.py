"""NumPy's protocols: what ``np.add.reduce(x, axis=1)`` and ``np.take(x, places)`` are on tensors.

NumPy hands its functions over with the arguments as they were written for it. Three things are done to them here: they
are matched with *NumPy's* signature, so that the third argument of ``np.sum`` is the dtype that it is there; arguments
that say nothing, such as ``out=None``, are dropped; and what is left goes to graphc's function by name, or is refused
by name. Functions whose defaults differ from graphc's have a form of their own in :data:`TRANSLATED`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from graphc.errors import GraphError
from graphc.ir.node import Tensor
from graphc.ops.base import as_tensor

REDUCTIONS = {
    "add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any",
}  # fmt: skip
"""Ufuncs whose ``reduce`` is a function of graphc's."""

ACCUMULATIONS = {
    "add": "cumulative_sum", "multiply": "cumulative_prod", "maximum": "cumulative_max", "minimum": "cumulative_min",
}  # fmt: skip
"""Ufuncs whose ``accumulate`` is a function of graphc's, where there is one of that name."""

RENAMED = {
    "ddof": "correction", "a_min": "min", "a_max": "max", "constant_values": "value", "minlength": "length",
}  # fmt: skip
"""NumPy's names of arguments where they differ from graphc's."""

HINTS = {
    "out": "tensors never change: use the result",
    "where": "graphc.where(condition, new, old) chooses by element",
    "dtype": "cast the operands, or the result, with astype",
    "initial": "combine it with the result",
}


def _function(name: str) -> Callable[..., Any]:
    from graphc import ops  # which imports this module

    return ops.FUNCTIONS[name]


def _known(name: str | None) -> str | None:
    from graphc import ops

    return name if name in ops.FUNCTIONS else None


def refuse_options(what: str, options: Mapping[str, Any], x: Tensor) -> None:
    """A GraphError for the first of some options that NumPy takes and graphc does not."""
    for option in sorted(options):
        raise GraphError(f"{what} of a tensor takes no {option}=", operands=(x,), hint=HINTS.get(option))


def ufunc_method(x: Tensor, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """``np.add.reduce(x)``, ``np.add.accumulate(x)``, ``np.add.outer(x, y)``.

    Raises
    ------
    GraphError
        For methods and options that have no counterpart.
    """
    what = f"np.{ufunc.__name__}.{method}"
    name = {"reduce": REDUCTIONS, "accumulate": ACCUMULATIONS}.get(method, {}).get(ufunc.__name__)
    neutral = {"out": (None, (None,)), "dtype": (None,), "keepdims": (False,), "where": (True,), "initial": (None,)}
    given = {key: entry for key, entry in options.items() if not any(entry is v for v in neutral.get(key, ()))}
    if method == "outer" and len(inputs) == 2:
        refuse_options(what, given, x)
        left, right = map(as_tensor, inputs)
        return ufunc(_function("reshape")(left, (*left.shape, *(1 for _ in right.shape))), right)
    if _known(name) is None:
        hint = "use graphc's own function" if method in ("reduce", "accumulate") else None
        raise GraphError(f"{what} of a tensor has no counterpart in graphc", operands=(x,), hint=hint)
    axis = given.pop("axis", 0)
    taken = _parameters(_function(str(name)))
    refuse_options(what, {key: entry for key, entry in given.items() if key not in taken}, x)
    return _function(str(name))(inputs[0], axis=axis, **given)


def call_as_numpy(
    x: Tensor,
    function: Callable[..., Any],
    names: Mapping[str, str],
    forms: Mapping[str, Callable[..., Any]],
    arguments: Any,
    options: Any,
) -> Any:
    """What one of NumPy's functions is on tensors.

    Parameters
    ----------
    x : Tensor
        One of the arguments, for messages.
    function : callable
        NumPy's.
    names : mapping of str to str
        NumPy's names to graphc's, for functions whose defaults agree.
    forms : mapping of str to callable
        NumPy's names to functions that take NumPy's arguments, such as :data:`TRANSLATED`.
    arguments, options : tuple, dict

    Raises
    ------
    GraphError
        If there is no counterpart, or it does not take an argument that was given.
    """
    name = _name(function)
    what = f"np.{name}"
    given = _bound(function, what, arguments, options)
    if name in forms:
        target, mapping = forms[name], {}
    elif (known := _known(names.get(name))) is not None:
        target, mapping = _function(known), RENAMED
    else:
        raise GraphError(
            f"{what} has no counterpart in graphc", operands=(x,), hint="graphc.ops lists the functions there are"
        )
    if given is None:
        return target(*arguments, **options)
    operands, extra = given
    extra = {mapping.get(key, key): entry for key, entry in extra.items()}
    taken = _parameters(target)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        refuse_options(what, {key: entry for key, entry in extra.items() if key not in taken}, x)
    return target(*operands, **extra)


def _name(function: Callable[..., Any]) -> str:
    """``sum`` for ``np.sum``, ``linalg.trace`` for ``np.linalg.trace``."""
    return f"{function.__module__}.{function.__name__}".removeprefix("numpy.")


def _parameters(target: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Of a function, or of the call of an op."""
    called: Any = target if inspect.isfunction(target) else type(target).__call__
    return inspect.signature(called).parameters


def _bound(
    function: Callable[..., Any], what: str, arguments: Any, options: Any
) -> tuple[list[Any], dict[str, Any]] | None:
    """Operands in their order, and what else was given that says something; None if the signature is not known."""
    signature = _signature(function)
    if signature is None:
        return None
    try:
        bound = signature.bind(*arguments, **options)
    except TypeError as error:
        raise GraphError(f"{what}: {error}") from None
    operands: list[Any] = []
    extra: dict[str, Any] = {}
    for key, value in bound.arguments.items():
        parameter = signature.parameters[key]
        if parameter.kind is parameter.VAR_POSITIONAL:
            operands += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            extra.update(value)
        elif parameter.default is parameter.empty or parameter.kind is parameter.POSITIONAL_ONLY:
            operands.append(value)
        elif not _same(value, parameter.default):
            extra[key] = value
    return operands, extra


@lru_cache(maxsize=256)
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # written in C, without a signature
        return None


def _same(value: Any, default: Any) -> bool:
    """Whether an argument is what NumPy would have taken without it."""
    if value is default:
        return True
    return type(value) is type(default) and isinstance(value, (bool, int, float, str)) and value == default


# Functions whose defaults differ, with NumPy's signatures


def _along(x: Any, axis: int | None) -> tuple[Tensor, int]:
    """An operand and an axis; all its elements as one axis if there is none, as NumPy has it."""
    x = as_tensor(x)
    return (_function("reshape")(x, (-1,)), 0) if axis is None else (x, axis)


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    x, axis = _along(a, axis)
    return _function("take")(x, indices, axis=axis)


def _take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    x, axis = _along(arr, axis)
    return _function("take_along_axis")(x, indices, axis=axis)


def _cumsum(a: Any, axis: int | None = None, dtype: Any = None) -> Any:
    x, axis = _along(a, axis)
    return _function("cumulative_sum")(x, axis=axis, dtype=dtype)


def _sort(a: Any, axis: int | None = -1) -> Any:
    x, axis = _along(a, axis)
    return _function("sort")(x, axis=axis)


def _argsort(a: Any, axis: int | None = -1) -> Any:
    x, axis = _along(a, axis)
    return _function("argsort")(x, axis=axis)


def _dot(a: Any, b: Any) -> Any:
    """Matrices and vectors; a scalar times anything; the last axis of a with the last but one of b."""
    left, right = as_tensor(a), as_tensor(b)
    if not left.ndim or not right.ndim:
        return _function("multiply")(left, right)
    if left.ndim <= 2 and right.ndim <= 2:
        return _function("matmul")(left, right)
    return _function("tensordot")(left, right, ([left.ndim - 1], [max(0, right.ndim - 2)]))


def _inner(a: Any, b: Any) -> Any:
    left, right = as_tensor(a), as_tensor(b)
    if not left.ndim or not right.ndim:
        return _function("multiply")(left, right)
    return _function("tensordot")(left, right, ([left.ndim - 1], [right.ndim - 1]))


def _vdot(a: Any, b: Any) -> Any:
    return _function("matmul")(_along(a, None)[0], _along(b, None)[0])


def _outer(a: Any, b: Any) -> Any:
    return _function("outer")(_along(a, None)[0], _along(b, None)[0])


def _split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    return _function("split")(ary, indices_or_sections, axis)


def _extreme(name: str) -> Callable[..., Any]:
    def extreme(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return _function(name)(a, axis, keepdims)

    return extreme


def _astype(x: Any, dtype: Any) -> Any:
    return _function("cast")(x, dtype)


TRANSLATED: dict[str, Callable[..., Any]] = {
    "amax": _extreme("max"), "amin": _extreme("min"), "argsort": _argsort, "astype": _astype,
    "cumsum": _cumsum, "dot": _dot, "inner": _inner, "outer": _outer, "sort": _sort,
    "split": _split, "take": _take, "take_along_axis": _take_along_axis, "vdot": _vdot,
}  # fmt: skip
