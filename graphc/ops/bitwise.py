"""Integers bit by bit: and, or, exclusive or, inversion, shifts.

Integers keep their dtype, promoted as in arithmetic; bools are logic (``logical_and`` and its relatives); floats have
no bits to speak of and are refused. The count of a shift may be any value when the program runs, and the result is then
NumPy's, the value shifted that many times by one: beyond the width, or for a negative count, nothing is left of it
but, to the right, copies of its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from graphc.errors import DTypeError, GraphError
from graphc.ir.node import Tensor
from graphc.ir.op import Sample, op
from graphc.ir.types import INTEGERS, is_integer
from graphc.ops.base import Elementwise, as_array, as_tensor, common_dtype
from graphc.ops.logic import logical_and, logical_not, logical_or, logical_xor
from graphc.ops.samples import integers, normal

Array = np.ndarray[Any, Any]


class Bitwise(Elementwise):
    """Operands are integers of one dtype.

    Attributes
    ----------
    of_bools : Op
        What the op means on bools; None if they are refused.
    """

    arguments: ClassVar[tuple[str, ...]] = ("x", "y")
    dtypes = INTEGERS
    differentiable = False
    of_bools: ClassVar[Any] = None
    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(3, 4) * 50, normal(3, 4, seed=1) * 50, differentiable=False),  # cast to every integer dtype
        Sample(integers(2, 5), integers(5, seed=1), differentiable=False),
    )

    def __call__(self, *inputs: Any) -> Tensor:
        if len(inputs) == len(self.arguments):
            dtype = common_dtype(self.name, inputs)
            if dtype.kind == "b" and self.of_bools is not None:
                return self.of_bools(*inputs)
            if not is_integer(dtype):
                logic = self.of_bools is not None
                raise DTypeError(
                    f"{self.name}: expected {'integers or bools' if logic else 'integers'}, "
                    f"got {' and '.join(str(as_tensor(value).type) for value in inputs)}",
                    operands=[value for value in inputs if isinstance(value, Tensor)],
                    hint="compare first: (x > 0) & (y > 0)" if logic else "cast to an integer dtype",
                )
        return super().__call__(*inputs)


@op
class bitwise_and(Bitwise):
    """Bits that both operands have; of bools, whether both hold."""

    of_bools = logical_and
    reference = np.bitwise_and
    expression = "bitwise_and(x, y)"


@op
class bitwise_or(Bitwise):
    """Bits that either operand has; of bools, whether either holds."""

    of_bools = logical_or
    reference = np.bitwise_or
    expression = "bitwise_or(x, y)"


@op
class bitwise_xor(Bitwise):
    """Bits that exactly one operand has; of bools, whether exactly one holds."""

    of_bools = logical_xor
    reference = np.bitwise_xor
    expression = "bitwise_xor(x, y)"


@op
class bitwise_invert(Bitwise):
    """Every bit the other way; of bools, whether the operand does not hold."""

    arguments = ("x",)
    of_bools = logical_not
    reference = np.invert
    expression = "bitwise_invert(x)"
    samples = (Sample(normal(3, 4) * 50, differentiable=False),)


class Shift(Bitwise):
    """``x`` shifted by ``y`` bits, both of one integer dtype."""

    samples: ClassVar[Sequence[Sample]] = (
        Sample(normal(3, 4) * 50, np.abs(normal(3, 4, seed=1)) * 3, differentiable=False),
        Sample(integers(2, 5), integers(5, low=-2, high=70, seed=1), differentiable=False),
    )

    def __call__(self, *inputs: Any) -> Tensor:
        """The shifted values.

        Raises
        ------
        DTypeError
            If an operand is no integer.
        GraphError
            If a count that is known now is negative, or not below the number of bits.
        """
        if len(inputs) == 2:
            x, count = inputs
            known = _value_known(count)
            if known is not None and known.dtype.kind in "iu" and known.size:
                strong = [v for v in inputs if not isinstance(v, int)]
                dtype = common_dtype(self.name, strong or inputs)
                bits = 8 * dtype.itemsize
                wrong = known[(known < 0) | (known >= bits)]
                if is_integer(dtype) and wrong.size:
                    raise GraphError(
                        f"{self.name}: expected counts from 0 to {bits - 1} for {dtype.name}, got {int(wrong.flat[0])}",
                        operands=[x] if isinstance(x, Tensor) else [],
                    )
        return super().__call__(*inputs)


def _value_known(value: Any) -> Array | None:
    """The value of an operand that is no node, or a constant of the program; eager tensors are data."""
    if not isinstance(value, Tensor):
        return as_array(value)
    source = value.node.inputs[0].node if value.node.op.name == "broadcast_to" else value.node
    return source["value"] if source.op.name == "constant" and not source.evaluated else None


@op
class bitwise_left_shift(Shift):
    """``x * 2**y``, bits beyond the width lost; 0 where the count is negative or not below the number of bits."""

    reference = np.left_shift
    expression = "left_shift(x, y)"


@op
class bitwise_right_shift(Shift):
    """``floor(x / 2**y)``; for counts that are negative or not below the number of bits 0, or -1 of negative ``x``."""

    reference = np.right_shift
    expression = "right_shift(x, y)"
