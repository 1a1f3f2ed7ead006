"""Kernel source -> LLVM IR: Numba's front end, with what kernels have no use for left out.

Numba's compiler for general Python runs some twenty passes over a function and knows the types of arrays, strings,
lists and NumPy's functions.  A kernel holds loops over integers, scalar arithmetic and calls of intrinsics, whose
types are written out, so four steps are enough::

    function -> bytecode -> Numba IR -> a type for every variable -> LLVM IR

The steps are Numba's own.  They run for a *target* of graphc's, whose two registries (how calls are typed, how they
are lowered) hold Python's operators, ``range``, number types, tuples and intrinsics.  What is left out: closures,
inlining, array rewrites, static single assignment (LLVM makes that form itself), reference counting, and the runtime
that goes with it.

A :func:`procedure` is a function that kernels call.  It is compiled for the types of each call and linked into the
kernel's object; LLVM decides whether to inline it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit
from numba.core import (
    bytecode,
    codegen,
    compiler,
    cpu,
    descriptors,
    dispatcher,
    errors,
    funcdesc,
    interpreter,
    lowering,
    sigutils,
    typeinfer,
    types,
    typing,
)
from numba.core import ir as numba_ir
from numba.core.callconv import create_error_model
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_override, target_registry
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

from graphc.codegen.cpu import ranges
from graphc.codegen.cpu.convention import PlainConvention

_TARGET = "graphc"


class Lowered(NamedTuple):
    """A function in LLVM IR, not yet optimised.

    Attributes
    ----------
    library : Library
        Its module, and the libraries of the procedures it calls.
    descriptor : numba FunctionDescriptor
        Its name in the module, and its types.
    """

    library: Library
    descriptor: Any


class Library(codegen.CodeLibrary):
    """A code library that only gathers what Numba's lowering produces, as text: a procedure's is needed repeatedly."""

    def __init__(self, owner: Any, name: str):
        super().__init__(owner, name)
        self._texts: list[str] = []
        self._linked: dict[Library, None] = {}

    def texts(self) -> Iterator[str]:
        """The modules of this library and of those that it needs, each once."""
        found: dict[Library, None] = {}
        pending = [self]
        while pending:
            library = pending.pop()
            if library not in found:
                found[library] = None
                pending += library._linked
        for library in found:
            yield from library._texts

    def add_ir_module(self, ir_module: ir.Module) -> None:
        self._texts.append(str(ir_module))

    def add_linking_library(self, library: Any) -> None:
        self._linked[library] = None

    def finalize(self) -> None:
        self._finalized = True

    def get_function(self, name: str) -> Any:
        raise KeyError(name)  # functions are looked up when the modules are linked

    def get_llvm_str(self) -> str:
        return "\n".join(self._texts)

    def get_asm_str(self) -> str:
        return ""


# --- graphc's target ----------------------------------------------------------------------------------------------


class _Target(CPU):
    """What Numba knows the target as."""


class _Interpreter(interpreter.Interpreter):
    """Bytecode -> Numba IR."""

    def post_process(self, peepholes: Any, func_ir: Any) -> Any:
        """The IR as it is: kernels have no ``try``, ``with``, displays or starred arguments to put together again."""
        return func_ir


class _Typing(typing.Context):
    """How calls are typed: what is built in, and intrinsics.

    What a function returns for some types of arguments is found out once: kernels call a few functions again and
    again, and finding out means trying each of an operator's signatures.
    """

    def __init__(self) -> None:
        super().__init__()
        self._resolved: dict[tuple[Any, tuple[Any, ...]], Any] = {}

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature that a call takes; None or a typing error where none fits."""
        if kws:
            return super().resolve_function_type(func, args, kws)
        key = func, tuple(args)
        signature = self._resolved.get(key)
        if signature is None:
            signature = super().resolve_function_type(func, args, kws)
            if signature is not None:
                self._resolved[key] = signature
        return signature

    def resolve_value_type(self, val: Any) -> Any:
        """The type of a global.

        What is registered is looked up first. Numba does so last, after all that a value might be: for ``range`` that
        includes its typed containers, and importing these takes longer than compiling a kernel.
        """
        registered = None if isinstance(val, types.Type) or not callable(val) else self._lookup_global(val)
        return super().resolve_value_type(val) if registered is None else registered

    def load_additional_registries(self) -> None:
        """None: NumPy's functions, ``math``, lists and dicts are not for kernels."""


class _Lowering(cpu.CPUContext):
    """How calls are lowered: what is built in, and intrinsics.

    What lowers a call, and how large a type is, is found out once.
    """

    def init(self) -> None:
        super().init()
        self._implementations: dict[tuple[Any, Any], Any] = {}
        self._sizes: dict[Any, int] = {}

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """What lowers a call of a function with a signature."""
        key = fn, sig
        found = self._implementations.get(key)
        if found is None:
            own = ranges.implementation(fn.get_impl_key(sig) if isinstance(fn, types.Callable) else fn, sig)
            if own is not None:

                def found(builder: Any, values: Any, loc: Any = None) -> Any:
                    return own(self, builder, sig, values)

            else:
                found = super().get_function(fn, sig, _firstcall)
            self._implementations[key] = found
        return found

    def pair_first(self, builder: Any, val: Any, ty: Any) -> Any:
        """What iterating gives: the value."""
        return ranges.part(builder, val, 0)

    def pair_second(self, builder: Any, val: Any, ty: Any) -> Any:
        """What iterating gives: whether there is a value."""
        return ranges.part(builder, val, 1)

    def get_abi_sizeof(self, ty: Any) -> int:
        """Bytes that a value of an LLVM type takes."""
        if ty not in self._sizes:
            self._sizes[ty] = super().get_abi_sizeof(ty)
        return self._sizes[ty]

    @property
    def call_conv(self) -> Any:
        """How functions are called."""
        return PlainConvention(self)

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, iterators, numbers, rangeobj, tupleobj  # noqa: F401  (they register)

    def post_lowering(self, mod: Any, library: Any) -> None:
        """Nothing: a kernel has no objects to count references of, so Numba's runtime is not linked."""


class _Constraints(typeinfer.ConstraintNetwork):
    """What the statements of a function say of types."""

    def propagate(self, typeinfer: Any) -> list[Any]:
        """Follow each once; the errors, which may go away as more becomes known.

        Numba collects warnings meanwhile, a constraint at a time; of what kernels do it warns of nothing.
        """
        failures = []
        for constraint in self.constraints:
            try:
                constraint(typeinfer)
            except errors.TypingError as error:
                located = errors.TypingError(str(error), loc=constraint.loc, highlighting=False)
                located.__cause__ = error
                failures.append(located)
        return failures


class _Inference(typeinfer.TypeInferer):
    """Numba IR -> a type for every variable."""

    def __init__(self, context: Any, code: Any):
        super().__init__(context, code, warnings=None)
        self.constraints = _Constraints()

    def get_state_token(self) -> list[Any]:
        """What is known; equal if nothing has been learned."""
        return [variable.type for variable in self.typevars.values()]


class _Lower(lowering.Lower):
    """Numba IR -> LLVM IR."""

    def _find_singly_assigned_variable(self) -> None:
        """Variables that are assigned once, and used after that in the same block alone, need no place in memory.

        Numba would gather what each block uses and defines, by lists of each statement's variables.
        """
        assigned: dict[str, int] = {}
        others: set[str] = set()
        for offset, block in self.func_ir.blocks.items():
            for statement in block.body:
                assigns = isinstance(statement, numba_ir.Assign)
                others.update(name for name in _used(statement, assigns) if assigned.get(name) != offset)
                if assigns:
                    name = statement.target.name
                    if name in assigned:
                        others.add(name)
                    assigned[name] = offset
        self._singly_assigned_vars = assigned.keys() - others
        self._blk_local_varmap: dict[str, Any] = {}

    def lower_block(self, block: Any) -> None:
        """The statements of a block; an error says in which it is. Numba would prepare for that at each."""
        self.pre_block(block)
        statement: Any = None
        try:
            for statement in block.body:
                self.loc = statement.loc
                self.lower_inst(statement)
        except Exception:
            words: dict[str, Any] = {"it": statement, "loc": statement.loc}
            words["errcls_"] = partial(errors.LoweringError, loc=statement.loc)
            with errors.new_error_context('lowering "{it}" at {loc}', **words):  # type: ignore[attr-defined]
                raise
        self.post_block(block)

    def lower_inst(self, inst: Any) -> None:
        """A statement. Numba would print each for its log and note its line for a debugger."""
        if isinstance(inst, numba_ir.Assign):
            name = inst.target.name
            self.storevar(self.lower_assign(self.typeof(name), inst), name)
        else:
            super().lower_inst(inst)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Assign to a variable. Numba would first load what it held, to count one reference less."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def lower_call(self, resty: Any, expr: Any) -> Any:
        """A call of a function. Numba would print it, its function and its signature for its log."""
        signature, function = self.fndesc.calltypes[expr], self.typeof(expr.func.name)
        if type(function) not in (types.Function, types.NumberClass) or signature.recvr:
            return super().lower_call(resty, expr)
        values = self.fold_call_args(function, signature, expr.args, expr.vararg, expr.kws)
        result = self.context.get_function(function, signature)(self.builder, values, self.loc)
        if result is None:  # as of what is called for its effect
            result = self.context.get_dummy_value()
        return self.context.cast(self.builder, result, signature.return_type, resty)

    def lower_binop(self, resty: Any, expr: Any, op: Any) -> Any:
        """An operator of two values.

        Numba would first look for an implementation that takes a constant for what it is. Among those of numbers only
        ``**`` has one, and kernels have words of their own for powers.
        """
        signature = self.fndesc.calltypes[expr]
        operands = [
            self.context.cast(self.builder, self.loadvar(variable.name), self.typeof(variable.name), kind)
            for variable, kind in zip((expr.lhs, expr.rhs), signature.args, strict=True)
        ]
        function = self.context.typing_context.resolve_value_type(op)
        if expr.op == "inplace_binop":  # typed as ``+=``, lowered as ``+``, which nobody may have asked for these types
            self.context.typing_context.resolve_function_type(function, signature.args, {})
        result = self.context.get_function(function, signature)(self.builder, operands)
        return self.context.cast(self.builder, result, signature.return_type, resty)


def _used(statement: Any, assigns: bool) -> list[str]:
    """Names of the variables that a statement reads; of other statements than assignments, all."""
    value = statement.value if assigns else statement
    if isinstance(value, numba_ir.Var):
        return [value.name]
    return [variable.name for variable in value.list_vars()] if isinstance(value, numba_ir.Inst) else []


class _Descriptor(descriptors.TargetDescriptor):
    """The target's two contexts, made when it is first used."""

    options = cpu.CPUTargetOptions

    def __init__(self) -> None:
        super().__init__(_TARGET)
        self._typing = _Typing()
        self._lowering = _Lowering(self._typing, _TARGET)

    @property
    def typing_context(self) -> Any:
        return self._typing

    @property
    def target_context(self) -> Any:
        return self._lowering


target_registry[_TARGET] = _Target
with target_override(_TARGET):  # contexts take what is registered for the target in force
    _descriptor = _Descriptor()
    dispatcher_registry[_Target] = type("Dispatcher", (dispatcher.Dispatcher,), {"targetdescr": _descriptor})
    jit_registry[_Target] = njit
    _descriptor.target_context.refresh()

# division by zero gives infinity instead of raising
_context = _descriptor.target_context.subtarget(error_model=create_error_model("numpy", _descriptor.target_context))
_flags: Any = compiler.Flags()
_flags.error_model = "numpy"


# --- the steps ----------------------------------------------------------------------------------------------------


def lower(function: Callable[..., Any], signature: str) -> Lowered:
    """LLVM IR of a kernel.

    Parameters
    ----------
    function : callable
        In the subset of Python that kernels use.
    signature : str
        Its types, in Numba's notation.

    Raises
    ------
    numba.core.errors.NumbaError
        If it leaves the subset, or its types do not fit.
    """
    arguments, result = sigutils.normalize_signature(signature)
    with target_override(_TARGET), ConfigStack().enter(_flags.copy()):
        _descriptor.typing_context.refresh()  # intrinsics that were declared since
        return _lower(function, arguments, result)


def _lower(function: Callable[..., Any], arguments: tuple[Any, ...], result: Any) -> Lowered:
    identity = bytecode.FunctionIdentity.from_function(function)
    code = _Interpreter(identity).interpret(bytecode.ByteCode(identity))
    typemap, return_type, calltypes = _infer(code, arguments, result)
    library = Library(_context.codegen(), function.__name__)
    descriptor = funcdesc.PythonFunctionDescriptor.from_specialized_function(
        code,
        typemap,
        return_type,
        calltypes,
        _context.mangler,
        inline=False,
        noalias=False,
        abi_tags=(),
    )
    with _context.push_code_library(library):
        _Lower(_context, library, descriptor, code, metadata={}).lower()
    return Lowered(library, descriptor)


def _infer(code: Any, arguments: tuple[Any, ...], result: Any) -> tuple[Any, Any, Any]:
    """Types of the variables, of the result, and signatures of the calls, of a function in Numba IR.

    The type of the `result` follows from the code where it is None.
    """
    if len(arguments) != code.arg_count:
        raise TypeError(f"expected types of {code.arg_count} arguments, got {len(arguments)}")
    context = _descriptor.typing_context
    inference = _Inference(context, code)
    with context.callstack.register(_context.target, inference, code.func_id, arguments):
        for index, (name, kind) in enumerate(zip(code.arg_names, arguments, strict=True)):
            inference.seed_argument(name, index, kind)
        if result is not None:
            inference.seed_return(result)
        inference.build_constraint()
        inference.propagate()
        found: tuple[Any, Any, Any] = inference.unify()
        return found


# --- procedures ---------------------------------------------------------------------------------------------------


def procedure(function: Callable[..., Any]) -> Any:
    """Make a function of the kernels' subset callable from kernels; it is linked into their objects.

    Types of the result and of everything inside follow from those of the arguments.
    """
    made: dict[tuple[Any, ...], Lowered] = {}

    def typing_of(context: Any, *given: Any) -> Any:
        """What Numba asks of an intrinsic: its signature for arguments of these types, and how a call is emitted.

        The function is lowered once for each combination of types; literals count as their types.
        """
        arguments = tuple(types.unliteral(kind) for kind in given)
        if arguments not in made:
            made[arguments] = _lower(function, arguments, None)
        lowered = made[arguments]

        def call(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            context.active_code_library.add_linking_library(lowered.library)
            return context.call_conv.call(builder, lowered.descriptor, values)

        return lowered.descriptor.restype(*arguments), call

    typing_of.__name__ = typing_of.__qualname__ = function.__name__
    typing_of.__doc__ = function.__doc__
    names = ["context", *inspect.signature(function).parameters]  # Numba binds arguments by name
    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    typing_of.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    declare: Any = intrinsic
    return declare(typing_of)
