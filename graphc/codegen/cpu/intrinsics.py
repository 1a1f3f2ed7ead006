"""What the Python source of a kernel may call: memory, machine arithmetic, the status block, random bits.

Every name here is a Numba intrinsic: a function of typed values that becomes a few LLVM instructions
in place, with no call and no Python object. Kernels are written in these rather than in arrays and
``math`` because that is what LLVM can turn into vector code:

- loads and stores go through raw pointers (indexing an array adds a wraparound test for negative indices);
- integers keep their width (Numba widens ``int32 + int32`` to int64, as Python would);
- nothing is a library call and nothing branches.

Arguments of one call must have one dtype, and nothing is converted silently; ``as_<dtype>`` casts.
Offsets and lengths are int64, in elements.

===================  =======================================================================
pointers             ``pointer_<dtype>(buffers, k)``, ``offset``, ``address``, ``stack_<dtype>(n)``
memory               ``load``, ``store``, ``load_bool``, ``store_bool``, ``prefetch``,
                     ``stream``, ``stream_lines``, ``drain``
floats               ``fma minimum maximum rint floor ceil trunc sqrt fabs copysign``
bits and choice      ``select``, ``bits``, ``from_bits``, ``signbit``
casts                ``as_float32`` ... ``as_uint64``, ``as_bool``
integers             ``add_int sub_int mul_int neg_int abs_int sign_int minimum_int maximum_int``
                     ``floordiv_int remainder_int fmod_int power_int``
                     ``and_int or_int xor_int invert_int left_shift_int right_shift_int``
between workers      ``compare_and_swap``, ``fail``
random bits          ``philox``
===================  =======================================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, errors, types

from graphc.codegen.cpu import integers, scalar
from graphc.codegen.cpu.machine import host
from graphc.codegen.cpu.philox import philox as philox_formula
from graphc.codegen.cpu.scalar import KINDS, Scalar

intrinsic: Any = extending.intrinsic  # its annotation gives the signature of the typing, not that of calls in kernels

INT64 = ir.IntType(64)
STACK_ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register
LINE_BYTES = 64
"""Bytes of a cache line."""

NUMBA_TYPES: dict[str, Any] = {name: getattr(types, name) for name in KINDS if name != "bool"}
NUMBA_TYPES["bool"] = types.boolean
STORED_TYPES = {**NUMBA_TYPES, "bool": types.uint8}  # bool buffers hold one byte an element


def kind_of(numba_type: Any) -> str:
    """The dtype name of a Numba scalar type.

    Raises
    ------
    numba.core.errors.TypingError
        If graphc has no such dtype.
    """
    name = str(types.unliteral(numba_type))
    if name not in KINDS:
        raise errors.TypingError(f"expected a scalar of one of {', '.join(KINDS)}, got {numba_type}")
    return name


def expose(
    formula: Callable[..., Scalar],
    name: str,
    *,
    arguments: tuple[str, ...] | None = None,
    families: str = "fiub",
    uniform: bool = True,
    result: Callable[..., str] = lambda *kinds: kinds[0],
) -> Any:
    """Make a formula over Scalars callable from Numba code.

    Parameters
    ----------
    formula : callable
        A function of Scalars; it is run once at each place of use and emits its instructions there.
    name : str
        Name in error messages and dumps.
    arguments : tuple of str, optional
        The exact dtypes it takes; integers are converted to them. None accepts any that pass the next two.
    families : str
        Which of ``f``, ``i``, ``u``, ``b`` the arguments may be.
    uniform : bool
        All arguments must have one dtype.
    result : callable
        Dtype of the result from those of the arguments.

    Returns
    -------
    numba intrinsic
    """

    def typing(context: Any, *given: Any) -> Any:
        kinds = tuple(kind_of(t) for t in given)
        _check_kinds(name, kinds, arguments, families, uniform)
        wanted = arguments or kinds
        output = result(*wanted)

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            traced = [Scalar(builder, v, k) for v, k in zip(values, kinds, strict=True)]
            outcome = formula(*(scalar.convert(x, k) for x, k in zip(traced, wanted, strict=True)))
            if outcome.kind != output:
                raise errors.LoweringError(f"{name}: declared {output}, emitted {outcome.kind}")
            return outcome.value

        return NUMBA_TYPES[output](*(NUMBA_TYPES[k] for k in kinds)), lower

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = formula.__doc__
    # Numba binds a call's arguments by name, so the typing function shows those of the formula.
    names = ["context", *inspect.signature(formula).parameters]
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    typing.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return intrinsic(typing)


def _check_kinds(
    name: str, kinds: tuple[str, ...], arguments: tuple[str, ...] | None, families: str, uniform: bool
) -> None:
    """Raise a TypingError where the dtypes of a call are none that :func:`expose` was told to accept."""
    if arguments is not None:
        pairs = zip(kinds, arguments, strict=False)
        suits = all(k == a or {KINDS[k].family, KINDS[a].family} <= {"i", "u"} for k, a in pairs)
        if len(kinds) != len(arguments) or not suits:
            raise errors.TypingError(f"{name} expects ({', '.join(arguments)}), got ({', '.join(kinds)})")
    elif any(KINDS[k].family not in families for k in kinds) or (uniform and len(set(kinds)) > 1):
        raise errors.TypingError(f"{name}: unsuitable or mixed dtypes ({', '.join(kinds)})")


def _same_width(family: str) -> Callable[..., str]:
    return lambda kind: f"{family}{KINDS[kind].bits}"


# --- floats, bits, choice -------------------------------------------------------------------------

fma = expose(scalar.fma, "fma", families="f")
minimum = expose(scalar.minimum, "minimum", families="f")
maximum = expose(scalar.maximum, "maximum", families="f")
rint = expose(scalar.rint, "rint", families="f")
floor = expose(scalar.floor, "floor", families="f")
ceil = expose(scalar.ceil, "ceil", families="f")
trunc = expose(scalar.trunc, "trunc", families="f")
sqrt = expose(scalar.sqrt, "sqrt", families="f")
fabs = expose(scalar.fabs, "fabs", families="f")
copysign = expose(scalar.copysign, "copysign", families="f")
bits = expose(scalar.bits, "bits", families="f", result=_same_width("int"))
signbit = expose(lambda x: scalar.bits(x) < 0, "signbit", families="f", result=lambda _: "bool")
from_bits = expose(scalar.from_bits, "from_bits", families="iu", result=_same_width("float"))


def _select(condition: Scalar, a: Scalar, b: Scalar) -> Scalar:
    return scalar.select(integers.cast(condition, "bool"), a, b)


def _select_result(condition: str, a: str, b: str) -> str:
    if a != b:
        raise errors.TypingError(f"select expects two values of one dtype, got {a} and {b}")
    return a


select = expose(_select, "select", uniform=False, result=_select_result)

# --- integers -------------------------------------------------------------------------------------

add_int = expose(integers.add, "add_int", families="iu")
sub_int = expose(integers.subtract, "sub_int", families="iu")
mul_int = expose(integers.multiply, "mul_int", families="iu")
neg_int = expose(integers.negative, "neg_int", families="iu")
abs_int = expose(integers.absolute, "abs_int", families="iu")
sign_int = expose(integers.sign, "sign_int", families="iu")
minimum_int = expose(integers.lesser, "minimum_int", families="iu")
maximum_int = expose(integers.greater, "maximum_int", families="iu")
floordiv_int = expose(integers.floor_divide, "floordiv_int", families="iu")
remainder_int = expose(integers.remainder, "remainder_int", families="iu")
fmod_int = expose(integers.fmod, "fmod_int", families="iu")
power_int = expose(integers.power, "power_int", families="iu")
and_int = expose(integers.bitwise_and, "and_int", families="iu")
or_int = expose(integers.bitwise_or, "or_int", families="iu")
xor_int = expose(integers.bitwise_xor, "xor_int", families="iu")
invert_int = expose(integers.bitwise_invert, "invert_int", families="iu")
left_shift_int = expose(integers.left_shift, "left_shift_int", families="iu")
right_shift_int = expose(integers.right_shift, "right_shift_int", families="iu")

# --- casts ----------------------------------------------------------------------------------------


def _cast_to(kind: str) -> Any:
    return expose(lambda x: integers.cast(x, kind), f"as_{kind}", result=lambda _: kind)


as_bool, as_float32, as_float64 = _cast_to("bool"), _cast_to("float32"), _cast_to("float64")
as_int8, as_int16, as_int32, as_int64 = (_cast_to(f"int{n}") for n in (8, 16, 32, 64))
as_uint8, as_uint16, as_uint32, as_uint64 = (_cast_to(f"uint{n}") for n in (8, 16, 32, 64))

# --- random bits ----------------------------------------------------------------------------------

philox = expose(philox_formula, "philox", arguments=("uint64",) * 4, result=lambda *_: "uint32")

# --- pointers and memory --------------------------------------------------------------------------


def _pointee(pointer: Any) -> str:
    """Dtype that a pointer points to."""
    if not isinstance(pointer, types.CPointer):
        raise errors.TypingError(f"expected a pointer, got {pointer}")
    return kind_of(pointer.dtype)


def _index(builder: Any, value: Any, numba_type: Any) -> Any:
    """An int64 from an index of any integer type.

    The increments of Numba's loops may wrap as far as LLVM knows; no ``inbounds`` is promised here either, since
    an address may be formed before the test that guards it.
    """
    kind = kind_of(numba_type)
    if KINDS[kind].family not in "iu":
        raise errors.TypingError(f"expected an integer index, got {kind}")
    return scalar.convert(Scalar(builder, value, kind), "int64").value


def _pointer(kind: str) -> Any:
    """``pointer_<kind>(buffers, k)``: the address stored in ``buffers[k]`` as a pointer to elements."""

    def typing(context: Any, buffers: Any, k: Any) -> Any:
        if _pointee(buffers) != "int64":
            raise errors.TypingError(f"pointer_{kind} expects a table of int64 addresses, got {buffers}")

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            place = builder.gep(values[0], [_index(builder, values[1], signature.args[1])])
            return builder.inttoptr(builder.load(place), context.get_value_type(signature.return_type))

        return types.CPointer(STORED_TYPES[kind])(buffers, types.unliteral(k)), lower

    typing.__name__ = typing.__qualname__ = f"pointer_{kind}"
    return intrinsic(typing)


pointer_bool, pointer_float32, pointer_float64 = _pointer("bool"), _pointer("float32"), _pointer("float64")
pointer_int8, pointer_int16, pointer_int32, pointer_int64 = (_pointer(f"int{n}") for n in (8, 16, 32, 64))
pointer_uint8, pointer_uint16, pointer_uint32, pointer_uint64 = (_pointer(f"uint{n}") for n in (8, 16, 32, 64))


def _stack(kind: str) -> Any:
    """``stack_<kind>(n)``: n (a literal) uninitialised elements on the stack, there until the kernel returns."""

    def typing(context: Any, length: Any) -> Any:
        if not isinstance(length, types.IntegerLiteral) or length.literal_value < 1:
            raise errors.TypingError(f"stack_{kind} expects a literal length of at least 1, got {length}")

        def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            element = context.get_data_type(STORED_TYPES[kind])
            with builder.goto_entry_block():  # once a call, even where the place of use is in a loop
                block = builder.alloca(ir.ArrayType(element, length.literal_value))
                block.align = STACK_ALIGNMENT
            return builder.bitcast(block, element.as_pointer())

        return types.CPointer(STORED_TYPES[kind])(length), lower

    typing.__name__ = typing.__qualname__ = f"stack_{kind}"
    return intrinsic(prefer_literal=True)(typing)


stack_bool, stack_float32, stack_float64 = _stack("bool"), _stack("float32"), _stack("float64")
stack_int8, stack_int16, stack_int32, stack_int64 = (_stack(f"int{n}") for n in (8, 16, 32, 64))
stack_uint8, stack_uint16, stack_uint32, stack_uint64 = (_stack(f"uint{n}") for n in (8, 16, 32, 64))


@intrinsic
def offset(context: Any, pointer: Any, i: Any) -> Any:
    """The pointer ``i`` elements on."""
    _pointee(pointer)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [_index(builder, values[1], signature.args[1])])

    return pointer(pointer, types.unliteral(i)), lower


@intrinsic
def address(context: Any, pointer: Any) -> Any:
    """The address a pointer holds, as int64."""
    _pointee(pointer)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(values[0], INT64)

    return types.int64(pointer), lower


def _read(builder: Any, pointer: Any, index: Any) -> Any:
    """Load an element, with the promise that it is not in a constant table of :func:`scalar.lookup`."""
    value = builder.load(builder.gep(pointer, [index]))
    value.set_metadata("noalias", scalar.table_scope(builder.module))
    return value


def _write(builder: Any, value: Any, pointer: Any, index: Any) -> None:
    """Store an element, with the same promise."""
    builder.store(value, builder.gep(pointer, [index])).set_metadata("noalias", scalar.table_scope(builder.module))


@intrinsic
def load(context: Any, pointer: Any, i: Any) -> Any:
    """Element ``i``, counted from the pointer; negative counts go back, nothing wraps."""
    _pointee(pointer)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _read(builder, values[0], _index(builder, values[1], signature.args[1]))

    return pointer.dtype(pointer, types.unliteral(i)), lower


@intrinsic
def store(context: Any, pointer: Any, i: Any, value: Any) -> Any:
    """Write element ``i``; the value must have the pointer's dtype."""
    if _pointee(pointer) != kind_of(value):
        raise errors.TypingError(f"store: a {value} into {pointer}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _write(builder, values[2], values[0], _index(builder, values[1], signature.args[1]))
        return context.get_dummy_value()

    return types.void(pointer, types.unliteral(i), types.unliteral(value)), lower


@intrinsic
def load_bool(context: Any, pointer: Any, i: Any) -> Any:
    """Element ``i`` of a bool buffer: whether its byte differs from 0."""
    if _pointee(pointer) != "uint8":
        raise errors.TypingError(f"load_bool expects a bool pointer, got {pointer}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte = _read(builder, values[0], _index(builder, values[1], signature.args[1]))
        return Scalar(builder, byte, "uint8").differs(0).value

    return types.boolean(pointer, types.unliteral(i)), lower


@intrinsic
def store_bool(context: Any, pointer: Any, i: Any, value: Any) -> Any:
    """Write a bool as the byte 0 or 1."""
    if _pointee(pointer) != "uint8" or kind_of(value) != "bool":
        raise errors.TypingError(f"store_bool expects a bool pointer and a bool, got {pointer} and {value}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        byte = scalar.convert(Scalar(builder, values[2], "bool"), "uint8").value
        _write(builder, byte, values[0], _index(builder, values[1], signature.args[1]))
        return context.get_dummy_value()

    return types.void(pointer, types.unliteral(i), types.boolean), lower


@intrinsic
def prefetch(context: Any, pointer: Any, i: Any) -> Any:
    """Ask for the cache line of element ``i``, which need not exist, in the core's own cache: a hint that cannot fault.

    Not in the first one, which is small, and has half as many lines under way as a stream from memory needs.
    """
    _pointee(pointer)

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bytes_pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [bytes_pointer, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.gep(values[0], [_index(builder, values[1], signature.args[1])])
        to_read, second, data = word(0), word(2), word(1)
        builder.call(function, [builder.bitcast(place, bytes_pointer), to_read, second, data])
        return context.get_dummy_value()

    return types.void(pointer, types.unliteral(i)), lower


def _copy_past(builder: Any, source: Any, target: Any, kind: str) -> None:
    """Copy a cache line past the caches; the target is the start of one."""
    size = KINDS[kind].bits // 8
    vector = ir.VectorType(source.type.pointee, LINE_BYTES // size).as_pointer()
    value = builder.load(builder.bitcast(source, vector), align=size)
    stored = builder.store(value, builder.bitcast(target, vector), align=LINE_BYTES)
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))


@intrinsic
def stream(context: Any, pointer: Any, i: Any, source: Any, count: Any) -> Any:
    """Copy ``count`` elements to element ``i`` and on, whole cache lines past the caches.

    Such a store does not first read the line that it replaces. It is seen by others only after :func:`drain`.
    """
    kind = _pointee(pointer)
    if kind != _pointee(source):
        raise errors.TypingError(f"stream: from {source} to {pointer}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        size = KINDS[kind].bits // 8
        in_line, zero = INT64(LINE_BYTES // size), INT64(0)
        target, first, read, length = values
        target = builder.gep(target, [_index(builder, first, signature.args[1])])
        length = _index(builder, length, signature.args[3])

        def copy(start: Any, stop: Any, lines: bool) -> None:
            with cgutils.for_range_slice(builder, start, stop, in_line if lines else INT64(1)) as (place, _):
                read_from, write_to = (builder.gep(each, [place]) for each in (read, target))
                if lines:
                    _copy_past(builder, read_from, write_to, kind)
                else:
                    builder.store(builder.load(read_from, align=size), write_to, align=size)

        past = builder.and_(builder.neg(builder.ptrtoint(target, INT64)), INT64(LINE_BYTES - 1))
        head = builder.udiv(past, INT64(size))
        head = builder.select(builder.icmp_signed("<", head, length), head, length)
        whole = builder.mul(builder.udiv(builder.sub(length, head), in_line), in_line)
        copy(zero, head, lines=False)
        copy(head, builder.add(head, whole), lines=True)
        copy(builder.add(head, whole), length, lines=False)
        return context.get_dummy_value()

    return types.void(pointer, types.unliteral(i), source, types.unliteral(count)), lower


@intrinsic(prefer_literal=True)
def stream_lines(context: Any, pointer: Any, i: Any, source: Any, count: Any) -> Any:
    """:func:`stream` for a literal number of elements that are whole cache lines, from the start of a line on.

    The other one calls ``memcpy`` for parts of lines, and for that possibility all that vector registers hold is saved.
    """
    kind, elements = _pointee(pointer), getattr(count, "literal_value", 0)
    in_line = LINE_BYTES * 8 // KINDS[kind].bits
    if kind != _pointee(source) or elements < 1 or elements % in_line:
        raise errors.TypingError(f"stream_lines: {count} elements from {source} to {pointer}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, first, read, _ = values
        target = builder.gep(target, [_index(builder, first, signature.args[1])])
        for place in range(0, elements, in_line):
            read_from, write_to = (builder.gep(each, [INT64(place)]) for each in (read, target))
            _copy_past(builder, read_from, write_to, kind)
        return context.get_dummy_value()

    return types.void(pointer, types.unliteral(i), source, count), lower


@intrinsic
def drain(context: Any) -> Any:
    """Order all that :func:`stream` has stored before whatever is stored from here on.

    Elsewhere than on x86 such stores are ordered as all others, by the barrier at a kernel's end.
    """

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if host().triple.startswith("x86_64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse.sfence"), [])
        return context.get_dummy_value()

    return types.void(), lower


# --- between workers ------------------------------------------------------------------------------


def _exchange(builder: Any, place: Any, expected: Any, value: Any) -> Any:
    """The pair (old word, success) of a compare-and-swap that orders all memory around it."""
    return builder.cmpxchg(place, expected, value, "seq_cst", "seq_cst")


@intrinsic
def compare_and_swap(context: Any, pointer: Any, i: Any, expected: Any, value: Any) -> Any:
    """Write ``value`` to int64 word ``i`` if it holds ``expected``, atomically; return what it held."""
    if _pointee(pointer) != "int64":
        raise errors.TypingError(f"compare_and_swap expects an int64 pointer, got {pointer}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place, *words = values
        index, old, new = (_index(builder, v, t) for v, t in zip(words, signature.args[1:], strict=True))
        return builder.extract_value(_exchange(builder, builder.gep(place, [index]), old, new), 0)

    return types.int64(pointer, *(types.unliteral(t) for t in (i, expected, value))), lower


@intrinsic
def fail(context: Any, status: Any, code: Any, kernel: Any, index: Any, value: Any) -> Any:
    """Report a failure in the status block unless one is there already.

    ``status`` is int64[4] = (code, kernel, index, value), all 0 while nothing failed; ``code`` is not 0. The worker
    that turns word 0 from 0 to its code owns the block and fills the rest, so the four words belong together
    once the workers have met at the barrier that ends the kernel.
    """
    if _pointee(status) != "int64":
        raise errors.TypingError(f"fail expects the int64 status block, got {status}")

    def lower(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block, *words = values
        code, *rest = (_index(builder, v, t) for v, t in zip(words, signature.args[1:], strict=True))
        exchanged = _exchange(builder, block, ir.Constant(INT64, 0), code)
        with builder.if_then(builder.extract_value(exchanged, 1), likely=False):
            for place, word in enumerate(rest, start=1):
                builder.store(word, builder.gep(block, [ir.Constant(INT64, place)]))
        return context.get_dummy_value()

    return types.void(status, *(types.unliteral(t) for t in (code, kernel, index, value))), lower
