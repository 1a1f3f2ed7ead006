"""How far two arrays are apart, and how far they may be.

Arithmetic that IEEE 754 defines bit by bit (sums, products, quotients, roots of single elements, comparisons, choices,
moves) must agree exactly, the sign of zero included. Functions of the math library may differ by a few units in the
last place. Results that combine many elements depend on the order of combination; they are measured against the
*magnitude* of what is combined: the same op applied to absolute values.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import (
    AxisScan,
    Contraction,
    Control,
    Decomposed,
    IndexedAccumulation,
    Map,
    MatrixRoutine,
    Reduction,
    load_scalar,
)
from graphc.ir.scalar import Apply, Scalar
from graphc.ir.symbolic import Axis, of_atom
from graphc.ir.types import format_shape

Array = NDArray[Any]

ROUNDED = frozenset({
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "erf", "erfc", "exp",
    "exp2", "expm1", "fma", "hypot", "lgamma", "log", "log10", "log1p", "log2", "power", "rsqrt", "sigmoid", "sin",
    "sinh", "tan", "tanh",
})  # fmt: skip
"""Scalar functions whose results may differ from NumPy's in the last places."""

UNITS = 16
"""Units in the last place that rounded results may differ by."""

UNORDERED_ZEROS = frozenset({"minimum", "maximum"})
"""Scalar functions that may return either of +0 and -0 when they are given both."""


class CheckFailed(GraphcError):
    """A compiled result that is not what it must be."""


def scalar_functions(node: Node) -> set[str]:
    """Names of the scalar functions that one element of a map node's result is made of."""
    index = [of_atom(Axis(size)) for size in node.result.shape]
    found: set[str] = set()
    waiting: list[Scalar] = [load_scalar(node)(index)]
    while waiting:
        scalar = waiting.pop()
        if isinstance(scalar, Apply):
            found.add(scalar.function)
            waiting += scalar.arguments
    return found


def is_exact(outputs: tuple[Tensor, ...]) -> bool:
    """Whether every op of a graph is one that must agree bit by bit with NumPy."""
    return all(is_exact_node(node) for node in Graph((), outputs).nodes)


def is_exact_node(node: Node, rounded: Set[str] = ROUNDED) -> bool:
    """Whether a node's result has one right value: no combination of elements, no function among ``rounded``."""
    if all(tensor.dtype.kind != "f" for tensor in node.results):
        return True
    if isinstance(node.op, Map):
        return not scalar_functions(node) & rounded
    if isinstance(node.op, (Reduction, IndexedAccumulation)):
        return node.op.combine in ("maximum", "minimum", "argmax", "argmin", "set")
    return not isinstance(node.op, (AxisScan, Contraction, Control, Decomposed, MatrixRoutine))


def keeps_zero_signs(outputs: tuple[Tensor, ...]) -> bool:
    """Whether the sign of a zero result is defined for every op of a graph."""
    for node in Graph((), outputs).nodes:
        if node.results[0].dtype.kind == "f":
            if isinstance(node.op, (Reduction, IndexedAccumulation)) and node.op.combine != "set":
                return False
            if isinstance(node.op, Map) and scalar_functions(node) & UNORDERED_ZEROS:
                return False
    return True


def same_bits(left: Array, right: Array) -> bool:
    """Whether two arrays have one dtype, one shape and the same bytes; any NaN equals any other."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool(np.array_equal(left, right))
    return bool(np.array_equal(left, right, equal_nan=True) and np.all(signs(left) == signs(right)))


def signs(array: Array) -> Array:
    """The sign bits of an array, those of NaN cleared."""
    return np.signbit(array) & ~np.isnan(array)


def difference(
    what: str,
    actual: Array,
    expected: Array,
    *,
    exact: bool = False,
    zero_signs: bool = False,
    magnitude: Array | None = None,
    epsilon: float | None = None,
    units: float = UNITS,
) -> float:
    """The largest relative difference of two arrays.

    Parameters
    ----------
    what : str
        Opens the message.
    actual, expected : ndarray
        Of one dtype and shape, or the check fails.
    exact : bool
        Demand equal values; with ``zero_signs`` equal signs of zeros too.
    magnitude : ndarray, optional
        What the difference is relative to where it is larger than the expected value.
    epsilon : float, optional
        A unit in the last place of 1; that of the dtype if not given.
    units : float
        How many of them are allowed.

    Raises
    ------
    CheckFailed
        Naming the element and showing both values.
    """
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        wanted, got = (f"{array.dtype}{format_shape(array.shape)}" for array in (expected, actual))
        raise CheckFailed(f"{what}: expected {wanted}, got {got}")
    if actual.dtype.kind != "f":
        _demand(what, actual == expected, actual, expected)
        return 0.0
    limits = np.finfo(actual.dtype)
    with np.errstate(all="ignore"):
        equal = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
        if exact:
            _demand(what, equal & (signs(actual) == signs(expected)) if zero_signs else equal, actual, expected)
            return 0.0
        scale = np.abs(expected).astype(np.float64)
        if magnitude is not None:
            scale = np.fmax(scale, np.where(np.isfinite(magnitude), np.abs(magnitude), 0))
        relative = np.abs(actual.astype(np.float64) - expected) / np.maximum(scale, float(limits.tiny))
    errors = np.where(equal, 0.0, relative)
    allowed = units * (float(limits.eps) if epsilon is None else epsilon)
    _demand(what, errors <= allowed, actual, expected)
    return float(errors.max(initial=0.0))


def _demand(what: str, holds: Array, actual: Array, expected: Array) -> None:
    """Fail with the first element at which ``holds`` does not."""
    if np.all(holds):
        return
    place = tuple(int(k) for k in np.argwhere(~np.asarray(holds))[0])
    count = int(np.size(holds) - np.count_nonzero(holds))
    raise CheckFailed(
        f"{what}: at {place} of {format_shape(actual.shape)} expected {expected[place]!r}, got {actual[place]!r}"
        + (f" ({count} elements differ)" if count > 1 else "")
    )
