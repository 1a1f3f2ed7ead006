"""Arithmetic: sums and products, division, rounding, sign, and the larger or smaller of two.

Integers keep their dtype and wrap around as in NumPy; integer division by zero gives 0. Bools are refused: NumPy's
``True + True == True`` surprises more than an error does. ``divide`` is true division and makes integers float32.

Rounding ops are constant between their steps; their derivative is 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import FLOATS, INTEGERS, TensorType, is_integer
from graphc.ops.base import Elementwise, as_tensor
from graphc.ops.logic import equal, greater, less, require_numbers, where
from graphc.ops.samples import integers, normal, positive, spread

NUMBERS = (*INTEGERS, *FLOATS)
Cotangents = tuple[Tensor | None, ...]


class Arithmetic(Elementwise):
    """Two operands, numbers of one dtype."""

    arguments: ClassVar[tuple[str, ...]] = ("x", "y")
    dtypes: ClassVar[tuple[str, ...]] = NUMBERS
    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(2, 3), normal(2, 3, seed=1)),
        Sample(normal(4, 1), normal(3)),
        Sample(integers(2, 5), integers(2, 5, seed=1), differentiable=False),
    )

    def infer(self, *inputs: Tensor, **attributes: Any) -> TensorType:
        require_numbers(self.name, inputs[0])
        return super().infer(*inputs, **attributes)


@op
class add(Arithmetic):
    """``x + y``."""

    reference = np.add
    expression = "x + y"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return cotangents[0], cotangents[0]


@op
class subtract(Arithmetic):
    """``x - y``."""

    reference = np.subtract
    expression = "x - y"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return cotangents[0], negative(cotangents[0])


@op
class multiply(Arithmetic):
    """``x * y``."""

    reference = np.multiply
    expression = "x * y"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        return multiply(g, y), multiply(g, x)


@op
class divide(Arithmetic):
    """``x / y``, true division; two integers give float32. Division by zero gives infinity or NaN."""

    minimum = "float"
    dtypes = FLOATS
    reference = np.divide
    expression = "x / y"
    samples = (
        Sample(normal(2, 3), -positive(2, 3)),
        Sample(normal(3), positive(4, 1)),
        Sample(np.array([1.0, -1.0, 0.0, np.inf]), np.array([0.0, 0.0, 0.0, np.inf]), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        y, (g,) = node.inputs[1], cotangents
        dx = divide(g, y)
        return dx, negative(multiply(dx, node.result))


@op
class floor_divide(Arithmetic):
    """``x // y``, rounded towards minus infinity; for integers 0 where ``y`` is 0."""

    reference = np.floor_divide
    expression = "x // y"
    samples = (
        Sample(normal(2, 3) * 4, spread(2, 3)),
        Sample(integers(4, 5), integers(4, 5, seed=1), differentiable=False),
        Sample(integers(2, 3), integers(3, low=0, high=2), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return None, None


@op
class remainder(Arithmetic):
    """``x % y``, with the sign of ``y``; for integers 0 where ``y`` is 0."""

    reference = np.remainder
    expression = "x % y"
    samples = floor_divide.samples

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        (x, y), (g,) = node.inputs, cotangents
        return g, negative(multiply(g, floor_divide(x, y)))


@op
class negative(Arithmetic):
    """``-x``; unsigned integers wrap around."""

    arguments = ("x",)
    reference = np.negative
    expression = "-x"
    samples = (Sample(normal(2, 3)), Sample(integers(4), differentiable=False))

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (negative(cotangents[0]),)


def _to_the_chosen(node: Node, g: Tensor, first: Tensor) -> Cotangents:
    """The cotangent for the operand that was chosen (``first`` says whether the first was), half for each at a tie."""
    x, y = node.inputs
    tie, half = equal(x, y), multiply(g, 0.5)
    return where(tie, half, where(first, g, 0)), where(tie, half, where(first, 0, g))


@op
class maximum(Arithmetic):
    """The larger of two; NaN if either is NaN. At a tie the derivative is shared, half for each operand."""

    reference = np.maximum
    expression = "maximum(x, y)"
    samples = (
        Sample(spread(2, 3), spread(2, 3, seed=1) + 0.03),
        Sample(spread(3), spread(4, 1) + 0.04),
        Sample(np.array([1.0, np.nan, 2.0, np.inf]), np.array([1.0, 0.0, np.nan, -np.inf]), differentiable=False),
    )

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return _to_the_chosen(node, cotangents[0], greater(*node.inputs))


@op
class minimum(Arithmetic):
    """The smaller of two; NaN if either is NaN. At a tie the derivative is shared, half for each operand."""

    reference = np.minimum
    expression = "minimum(x, y)"
    samples = maximum.samples

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return _to_the_chosen(node, cotangents[0], less(*node.inputs))


class Unary(Arithmetic):
    """One operand, a number of any dtype."""

    arguments = ("x",)
    samples: ClassVar[Sequence[Sample]] = (
        Sample(spread(2, 3)),
        Sample(integers(3, 4), differentiable=False),
        Sample(np.array([0.0, -0.0, np.nan, np.inf, -np.inf]), differentiable=False),
    )


@op
class abs_(Unary):
    """``|x|``; the derivative is 0 at 0. The lowest value of a signed integer stays as it is, as in NumPy."""

    reference = np.abs
    expression = "abs(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], sign(node.inputs[0])),)


@op
class sign(Unary):
    """-1, 0 or 1; NaN of NaN. Its derivative is 0."""

    reference = np.sign
    expression = "sign(x)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (None,)


@op
class square(Unary):
    """``x * x``."""

    reference = np.square
    expression = "x * x"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (multiply(cotangents[0], multiply(node.inputs[0], 2)),)


@op
class relu(Unary):
    """``max(x, 0)``; NaN of NaN. The derivative is 1 where ``x > 0``, else 0.

    It is taken from the result, so that the argument need not be kept: ``relu(x) > 0`` where ``x > 0``.
    """

    reference = staticmethod(lambda x: np.maximum(x, 0))
    expression = "maximum(x, 0)"

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (where(greater(node.result, 0), cotangents[0], 0),)


class Rounding(Unary):
    """To a whole number of the same dtype; integers are returned as they are. The derivative is 0."""

    dtypes = FLOATS
    samples: ClassVar[Sequence[Sample]] = (
        Sample(spread(2, 3) * 4),
        Sample(np.array([0.5, 1.5, -0.5, -2.5, np.nan, np.inf]), differentiable=False),
    )

    def __call__(self, *inputs: Any) -> Tensor:
        if len(inputs) != 1:
            return super().__call__(*inputs)  # which refuses them
        x = as_tensor(inputs[0])
        return x if is_integer(x.dtype) else super().__call__(x)

    def vjp(self, node: Node, *cotangents: Tensor) -> Cotangents:
        return (None,)


@op
class floor(Rounding):
    """The greatest whole number not above ``x``."""

    reference = np.floor
    expression = "floor(x)"


@op
class ceil(Rounding):
    """The least whole number not below ``x``."""

    reference = np.ceil
    expression = "ceil(x)"


@op
class round_(Rounding):
    """The nearest whole number, halves to the even one."""

    reference = np.rint
    expression = "rint(x)"


@op
class trunc(Rounding):
    """``x`` without its fraction."""

    reference = np.trunc
    expression = "trunc(x)"
