"""Comparisons, logic, choice, and change of dtype.

None of these has a derivative but two: :class:`where` sends the cotangent to the operand that was chosen and an exact 0
to the other, so that a NaN in a branch not taken stays there; :class:`cast` between floats casts the cotangent back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import DTypeError, ShapeError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Read, Sample, op
from graphc.ir.scalar import Apply, Scalar
from graphc.ir.symbolic import Size
from graphc.ir.types import DTYPES, FLOATS, TensorType, as_dtype, is_float
from graphc.ops.base import Elementwise, as_tensor, broadcast, promote
from graphc.ops.samples import booleans, integers, normal

Array = np.ndarray[Any, Any]


class Comparison(Elementwise):
    """Two operands of one dtype, a bool for each pair. A comparison with NaN is false, except ``not_equal``."""

    arguments = ("x", "y")
    result = "bool"
    dtypes = DTYPES
    differentiable = False
    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(2, 3), normal(2, 3, seed=1), differentiable=False),
        Sample(integers(4, 3, high=0), integers(3, high=0), differentiable=False),
        Sample(np.array([0.0, np.nan, np.inf, 1.0]), np.array([-0.0, np.nan, np.inf, 2.0]), differentiable=False),
    )


@op
class equal(Comparison):
    """``x == y``."""

    reference = np.equal
    expression = "x == y"


@op
class not_equal(Comparison):
    """``x != y``."""

    reference = np.not_equal
    expression = "x != y"


@op
class less(Comparison):
    """``x < y``."""

    reference = np.less
    expression = "x < y"


@op
class less_equal(Comparison):
    """``x <= y``."""

    reference = np.less_equal
    expression = "x <= y"


@op
class greater(Comparison):
    """``x > y``."""

    reference = np.greater
    expression = "x > y"


@op
class greater_equal(Comparison):
    """``x >= y``."""

    reference = np.greater_equal
    expression = "x >= y"


class Logical(Elementwise):
    """Operands of other dtypes than bool count as true where they are not 0 (NaN is true)."""

    arguments: ClassVar[tuple[str, ...]] = ("x", "y")
    result = "bool"
    dtypes = ("bool",)
    differentiable = False
    samples: ClassVar[Sequence[Sample]] = (
        Sample(booleans(3, 4), booleans(3, 4, seed=1), differentiable=False),
        Sample(booleans(2, 3, seed=2), booleans(3, seed=3), differentiable=False),
    )

    def __call__(self, *inputs: Any) -> Tensor:
        return super().__call__(*(as_tensor(value, "bool") for value in inputs))


@op
class logical_and(Logical):
    """Whether both operands hold."""

    reference = np.logical_and
    expression = "logical_and(x, y)"


@op
class logical_or(Logical):
    """Whether either operand holds."""

    reference = np.logical_or
    expression = "logical_or(x, y)"


@op
class logical_xor(Logical):
    """Whether exactly one operand holds."""

    reference = np.logical_xor
    expression = "logical_xor(x, y)"


@op
class logical_not(Logical):
    """Whether the operand does not hold."""

    arguments = ("x",)
    reference = np.logical_not
    expression = "logical_not(x)"
    samples = (Sample(booleans(3, 4), differentiable=False),)


@op
class isnan(Elementwise):
    """Whether an element is not a number; false for all integers."""

    result = "bool"
    minimum = "float"
    dtypes = FLOATS
    differentiable = False
    reference = np.isnan
    expression = "isnan(x)"
    samples = (Sample(np.array([[0.0, np.nan, np.inf], [-1.0, -np.nan, -np.inf]]), differentiable=False),)


@op
class where(Elementwise):
    """Elements of ``x`` where a condition holds, else of ``y``.

    Parameters
    ----------
    condition : Tensor or array_like
        Other dtypes than bool count as true where they are not 0.
    x, y : Tensor, array_like or number
        Promoted to one dtype; all three broadcast together.

    Returns
    -------
    Tensor

    Notes
    -----
    The operand not chosen gets an exact zero as its derivative, whatever its value. What *it* was computed from can
    still turn that zero into NaN if a local derivative there is infinite (``0 * inf``): ``where(x > 0, sqrt(x), 0)``
    at 0. Make the inner operand safe too: ``where(x > 0, sqrt(where(x > 0, x, 1)), 0)``.
    """

    arguments = ("condition", "x", "y")
    dtypes = DTYPES
    reference = np.where
    expression = "where(condition, x, y)"
    samples = (
        Sample(booleans(2, 3), normal(2, 3), normal(2, 3, seed=1)),
        Sample(booleans(4, 1), normal(3), normal(4, 3)),
        Sample(booleans(3), np.array([1.0, np.nan, 2.0]), np.array([np.nan, 3.0, np.inf]), differentiable=False),
    )

    def __call__(self, condition: Any, x: Any, y: Any) -> Tensor:
        return self.make(*broadcast("where", [as_tensor(condition, "bool"), *promote("where", [x, y])]))

    def infer(self, *inputs: Tensor, **attributes: Any) -> TensorType:
        condition, x, y = inputs
        if condition.dtype.kind != "b" or x.type != y.type or condition.shape != x.shape:
            raise ShapeError(
                f"where: expected a bool and two operands of one type, got {condition.type}, {x.type} and {y.type}"
            )
        return x.type

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        condition, (g,) = node.inputs[0], cotangents
        return None, where(condition, g, 0), where(condition, 0, g)


@op
class cast(Elementwise):
    """Elements converted to another dtype.

    Parameters
    ----------
    x : Tensor or array_like
    dtype : dtype

    Returns
    -------
    Tensor
        ``x`` itself if it has that dtype.

    Notes
    -----
    Floats to integers are cut towards zero; to bool, whatever differs from 0 is true, NaN included. Integers keep their
    low bits. Of NaN and floats that the integer dtype cannot hold, int32 and int64 make the lowest value, as NumPy does
    on x86-64; the narrower dtypes the low bits of what int32 makes, uint32 those of int64, and uint64 makes 2**63, or
    wraps negative numbers. (What NumPy makes of these depends on how many there are.)
    """

    dtypes = DTYPES
    samples = (
        Sample(normal(2, 3), dtype="float32", differentiable=False),
        Sample(normal(2, 3), dtype="float64"),
        Sample(normal(3, 4) * 5, dtype="int32", differentiable=False),
        Sample(integers(3, 4), dtype="float64", differentiable=False),
        Sample(integers(5, low=0, high=3), dtype="bool", differentiable=False),
        Sample(booleans(2, 3), dtype="float32", differentiable=False),
        Sample(integers(6, low=-1000, high=1000), dtype="uint8", differentiable=False),
    )

    def __call__(self, x: Any, dtype: Any) -> Tensor:
        x, dtype = as_tensor(x), as_dtype(dtype)
        return x if x.dtype == dtype else self.make(x, dtype=dtype)

    def infer(self, *inputs: Tensor, dtype: Any) -> TensorType:
        return TensorType(inputs[0].shape, dtype)

    def compute(self, node: Node, *inputs: Array) -> Array:
        (x,), dtype = inputs, node["dtype"]
        with np.errstate(all="ignore"):
            return _cut(x, dtype) if is_float(x.dtype) and dtype.kind in "iu" else x.astype(dtype)

    def scalar(self, node: Node, index: Sequence[Size], read: Read) -> Scalar:
        return Apply("cast", (read(0, index),), node["dtype"])

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        (x,), (g,) = node.inputs, cotangents
        return (cast(g, x.dtype) if is_float(x.dtype) and is_float(node["dtype"]) else None,)


def _cut(x: Array, dtype: np.dtype[Any]) -> Array:
    """Floats as integers: what fits is cut towards zero, what does not goes the same way however many there are."""
    if dtype.itemsize < 4:
        return x.astype(np.int32).astype(dtype)
    if dtype != np.uint64:
        return x.astype(np.int32 if dtype == np.int32 else np.int64).astype(dtype)
    upper = (x >= 2.0**63) & (x < 2.0**64)
    whole = np.where(upper, x - 2.0**63, x).astype(np.int64).astype(dtype)
    return np.where(upper, whole ^ np.uint64(1 << 63), whole)


def require_numbers(name: str, x: Tensor) -> None:
    """Raise a DTypeError for bools, with a hint; arithmetic is defined for numbers."""
    if x.dtype.kind == "b":
        raise DTypeError(
            f"{name}: expected numbers, got {x.type}",
            operands=(x,),
            hint="cast it to a number, or use logical_and, logical_or, where",
        )
