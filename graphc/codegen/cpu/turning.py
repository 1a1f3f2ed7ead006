"""Turning blocks of an operand that is read across its memory, as functions that kernels call.

``turn_<n>_bytes(source, step, to, width, rows, columns)``, for elements of ``n`` bytes::

    to[k*width + i] = source[i*step + k]        i < columns, k < rows

Whole squares are written: ``width`` is a multiple of :data:`SQUARE`, and ``to`` has room for as many rows. Elements are
moved as floats of their size, whatever they are; their bits stay.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import errors, types

from graphc.codegen.cpu.frontend import procedure
from graphc.codegen.cpu.intrinsics import intrinsic, offset
from graphc.codegen.cpu.panels import transposer

SQUARE = 8
"""The sides of squares divide it."""

_FLOATS = {32: types.float32, 64: types.float64}
_SIDE_4, _SIDE_8 = 8, 4  # elements in 32 bytes
_square_4 = transposer("float32", lanes=_SIDE_4)
_square_8 = transposer("float64", lanes=_SIDE_8)


@intrinsic
def as_floats(context: Any, pointer: Any) -> Any:
    """A pointer to numbers of 4 or 8 bytes as one to floats of that size."""
    bits = getattr(getattr(pointer, "dtype", None), "bitwidth", 0)
    if bits not in _FLOATS:
        raise errors.TypingError(f"as_floats expects a pointer to numbers of 4 or 8 bytes, got {pointer}")
    result = types.CPointer(_FLOATS[bits])

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(result))

    return result(pointer), lower


@procedure
def turn_4_bytes(source: Any, step: int, to: Any, width: int, rows: int, columns: int) -> None:
    """Turn a block of elements of 4 bytes."""
    here, there = as_floats(source), as_floats(to)
    for i in range(0, columns, _SIDE_4):
        for k in range(0, rows, _SIDE_4):
            _square_4(offset(here, i * step + k), step, offset(there, k * width + i), width, columns - i, rows - k)


@procedure
def turn_8_bytes(source: Any, step: int, to: Any, width: int, rows: int, columns: int) -> None:
    """Turn a block of elements of 8 bytes."""
    here, there = as_floats(source), as_floats(to)
    for i in range(0, columns, _SIDE_8):
        for k in range(0, rows, _SIDE_8):
            _square_8(offset(here, i * step + k), step, offset(there, k * width + i), width, columns - i, rows - k)
