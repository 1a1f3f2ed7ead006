"""What kernels do with positions: divide them, share them out, check the ones that are data.

Positions and sizes are never negative, which spares them the sign corrections of Python's ``//`` and ``%``: the
unsigned instructions here are half as long.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from graphc.codegen.cpu.integers import lesser
from graphc.codegen.cpu.intrinsics import INT64, expose
from graphc.codegen.cpu.scalar import Scalar, convert, select
from graphc.codegen.source import INDEX_OUT_OF_RANGE


def _quotient(a: Scalar, b: Scalar) -> Scalar:
    """``a // b`` for a >= 0 and b > 0."""
    return convert(convert(a, "uint64").quotient(convert(b, "uint64")), "int64")


def _rest(a: Scalar, b: Scalar) -> Scalar:
    """``a % b`` for a >= 0 and b > 0."""
    return convert(convert(a, "uint64").rest(convert(b, "uint64")), "int64")


def _share(total: Scalar, unit: Scalar, worker: Scalar, workers: Scalar) -> Scalar:
    """Where the part of ``worker`` begins if ``total`` items are shared out in whole units, as evenly as can be.

    The part ends where that of ``worker + 1`` begins.
    """
    units = _quotient(total + unit - 1, unit)
    return lesser(_quotient(units * worker, workers) * unit, total)


divide_index = expose(_quotient, "divide_index", arguments=("int64",) * 2)
rest_index = expose(_rest, "rest_index", arguments=("int64",) * 2)
share = expose(_share, "share", arguments=("int64",) * 4)


@intrinsic
def checked_index(context: Any, status: Any, kernel: Any, index: Any, extent: Any) -> Any:
    """An index counted from the front; one out of range is reported in the status block and becomes 0.

    ``-extent <= index < extent`` is in range. The report is as that of ``intrinsics.fail``: whoever turns the
    first word from 0 owns the block.
    """
    return _checked(from_end=True)


@intrinsic
def checked_position(context: Any, status: Any, kernel: Any, index: Any, extent: Any) -> Any:
    """As :func:`checked_index`, where ``0 <= index < extent`` is in range."""
    return _checked(from_end=False)


def _checked(from_end: bool) -> Any:
    """Type and instructions of a check."""

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block, number, *rest = values
        given, size = (Scalar(builder, value, "int64") for value in rest)
        place = select(given < 0, given + size, given) if from_end else given
        wrong = (place < 0) | (place >= size)
        with builder.if_then(wrong.value, likely=False):
            code = ir.Constant(INT64, INDEX_OUT_OF_RANGE)
            exchanged = builder.cmpxchg(block, ir.Constant(INT64, 0), code, "seq_cst", "seq_cst")
            with builder.if_then(builder.extract_value(exchanged, 1)):
                for word, value in enumerate((number, size.value, given.value), start=1):
                    builder.store(value, builder.gep(block, [ir.Constant(INT64, word)]))
        return select(wrong, 0, place).value

    return types.int64(types.CPointer(types.int64), types.int64, types.int64, types.int64), lower
