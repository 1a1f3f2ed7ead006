"""How functions of kernels are called: as C's are, with arguments in order and the result returned.

Numba's own convention returns a status, writes the result through a pointer, and has each caller look at the status and
hand an exception on.  Kernels raise none, so all of that would be made, printed and parsed only to be removed by LLVM.
Where Numba's lowering reports an exception nevertheless, the code calls a function that does not exist:
:func:`graphc.codegen.cpu.object_code.compile_source` refuses the kernel for it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import callconv, cgutils, types

RAISE = "graphc_kernel_can_raise"
"""The function that does not exist."""


class PlainConvention(callconv.BaseCallConv):
    """C's calling convention, in the terms of Numba's lowering."""

    def _make_call_helper(self, builder: Any) -> None:
        """None: it would keep what exceptions say."""

    def get_function_type(self, restype: Any, argtypes: Any) -> ir.FunctionType:
        """The LLVM type of a function of some types."""
        result = ir.VoidType() if restype == types.none else self.context.get_return_type(restype)
        return ir.FunctionType(result, list(self._get_arg_packer(argtypes).argument_types))

    def decorate_function(self, fn: Any, args: Any, fe_argtypes: Any, noalias: bool = False) -> None:
        """Name a function's arguments."""
        self._get_arg_packer(fe_argtypes).assign_names(fn.args, args)

    def get_arguments(self, func: Any) -> Any:
        """The arguments of an LLVM function: all are the kernel's."""
        return func.args

    def return_value(self, builder: Any, retval: Any) -> None:
        """Return from the function that is built."""
        if isinstance(builder.function.function_type.return_type, ir.VoidType):
            builder.ret_void()
        else:
            builder.ret(retval)

    def _return_errcode_raw(self, builder: Any, *exception: Any, **more: Any) -> None:
        """Say that the function that is built can raise."""
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, RAISE), [])
        builder.unreachable()

    return_user_exc = return_dynamic_user_exc = set_static_user_exc = _return_errcode_raw

    def call(self, builder: Any, descriptor: Any, values: Any) -> Any:
        """Call a function that Numba's lowering has made or will make; its result."""
        callee = self.context.declare_function(builder.module, descriptor)
        given = self._get_arg_packer(descriptor.argtypes).as_arguments(builder, values)
        result = builder.call(callee, given)
        if descriptor.restype == types.none:
            return self.context.get_dummy_value()
        return self.context.get_returned_value(builder, descriptor.restype, result)
