"""How a kernel calls the compiled transposition of a block (:func:`graphc.codegen.cpu.contraction.source`).

Which blocks, and of what, :mod:`graphc.codegen.cpu.turns` decides. That module is imported wherever kernels are
printed, this one needs Numba: two files.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from graphc.codegen.cpu.intrinsics import intrinsic


@intrinsic
def turn(context: Any, address: Any, source: Any, step: Any, to: Any, width: Any, rows: Any, columns: Any) -> Any:
    """Call the function at `address`: ``to[k*width + i] = source[i*step + k]`` for i < columns, k < rows.

    Elements are moved as floats of their size, whatever they are; their bits stay.
    """
    given = (address, source, step, to, width, rows, columns)
    signature = types.void(*(t if isinstance(t, types.CPointer) else types.int64 for t in given))

    def lower(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        kinds = [context.get_value_type(t) for t in signature.args[1:]]
        function = builder.inttoptr(values[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
        builder.call(function, values[1:])
        return context.get_dummy_value()

    return signature, lower
