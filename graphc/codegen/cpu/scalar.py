"""Symbolic scalars: formulas written as plain Python, emitted as LLVM instructions.

A formula of the math library is an ordinary Python function of :class:`Scalar` arguments::

    def sigmoid(x):
        t = exp(-fabs(x))
        return select(x >= 0.0, 1.0, t) / (t + 1.0)

Calling it once, while Numba lowers a kernel, *traces* it: every operator appends one LLVM
instruction to the kernel, and the result is straight-line code. Three things follow.

- There is nothing to type or to inline, so a formula costs a kernel fractions of a millisecond
  before LLVM starts; the same text compiled as a Numba function costs tens of milliseconds a
  process and again some in each kernel that links it.
- Straight-line code without calls is what LLVM's loop vectoriser wants. A formula cannot branch on
  a Scalar (its truth value is an error), so both sides are computed and :func:`select` picks one.
- No fast-math flag is ever set and a fused multiply-add exists only where :func:`fma` is written,
  so vector lanes and the scalar remainder of a loop give the same bits.

A formula touches nothing but this module, so another target needs another Scalar and no other formula.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from graphc.errors import CompileError


@dataclass(frozen=True)
class Kind:
    """A machine dtype: its NumPy name, its class (``f``, ``i``, ``u`` or ``b``), width and LLVM type."""

    name: str
    family: str
    bits: int
    llvm: ir.Type

    @property
    def is_float(self) -> bool:
        return self.family == "f"

    @property
    def lowest(self) -> int:
        """Least value of an integer kind."""
        return -(1 << (self.bits - 1)) if self.family == "i" else 0


KINDS: dict[str, Kind] = {
    "bool": Kind("bool", "b", 1, ir.IntType(1)),
    "float32": Kind("float32", "f", 32, ir.FloatType()),
    "float64": Kind("float64", "f", 64, ir.DoubleType()),
    **{f"{sign}int{bits}": Kind(f"{sign}int{bits}", sign or "i", bits, ir.IntType(bits))
       for sign in ("", "u") for bits in (8, 16, 32, 64)},
}  # fmt: skip


class Scalar:
    """One value of the code being emitted.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where instructions go.
    value : llvmlite.ir.Value
        The LLVM value.
    kind : str
        Its dtype, a key of ``KINDS``. Signed and unsigned integers of a width share an LLVM type and differ
        here.

    Notes
    -----
    Operators need equal kinds; a Python number takes the kind of the other operand. Integer
    arithmetic wraps around.
    """

    __slots__ = ("builder", "kind", "value")

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, kind: str):
        self.builder, self.value, self.kind = builder, value, kind

    def __bool__(self) -> bool:
        raise CompileError("a formula branched on a value that exists only at run time", hint="use select(c, a, b)")

    def like(self, number: float) -> Scalar:
        """A constant of this scalar's kind."""
        return constant(self.builder, number, self.kind)

    def _operand(self, other: Any) -> Scalar:
        if not isinstance(other, Scalar):
            return self.like(other)
        if other.kind != self.kind:
            raise CompileError(f"a formula mixed {self.kind} and {other.kind}", hint="cast one of them")
        return other

    def _emit(self, names: dict[str, str], other: Any) -> Scalar:
        instruction = names.get(KINDS[self.kind].family)
        if instruction is None:
            raise CompileError(f"a formula used an operator that {self.kind} does not have")
        value = getattr(self.builder, instruction)(self.value, self._operand(other).value)
        return Scalar(self.builder, value, self.kind)

    def _compare(self, operator: str, other: Any) -> Scalar:
        family, right = KINDS[self.kind].family, self._operand(other).value
        if family == "f":  # a NaN is unequal to everything, and nothing else is true of it
            compare = self.builder.fcmp_unordered if operator == "!=" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if family == "i" else self.builder.icmp_unsigned
        return Scalar(self.builder, compare(operator, self.value, right), "bool")

    def __add__(self, other: Any) -> Scalar:
        return self._emit({"f": "fadd", "i": "add", "u": "add"}, other)

    def __sub__(self, other: Any) -> Scalar:
        return self._emit({"f": "fsub", "i": "sub", "u": "sub"}, other)

    def __mul__(self, other: Any) -> Scalar:
        return self._emit({"f": "fmul", "i": "mul", "u": "mul"}, other)

    def __truediv__(self, other: Any) -> Scalar:
        return self._emit({"f": "fdiv"}, other)

    def __rtruediv__(self, other: float) -> Scalar:
        return self.like(other) / self

    def __rsub__(self, other: float) -> Scalar:
        return self.like(other) - self

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Scalar:
        if KINDS[self.kind].is_float:
            return Scalar(self.builder, self.builder.fneg(self.value), self.kind)
        return self.like(0) - self

    def __and__(self, other: Any) -> Scalar:
        return self._emit({"i": "and_", "u": "and_", "b": "and_"}, other)

    def __or__(self, other: Any) -> Scalar:
        return self._emit({"i": "or_", "u": "or_", "b": "or_"}, other)

    def __xor__(self, other: Any) -> Scalar:
        return self._emit({"i": "xor", "u": "xor", "b": "xor"}, other)

    def __invert__(self) -> Scalar:
        return self ^ (1 if self.kind == "bool" else -1)

    def __lshift__(self, count: Any) -> Scalar:
        return self._emit({"i": "shl", "u": "shl"}, count)

    def __rshift__(self, count: Any) -> Scalar:
        """Shift right: copies of the sign come in for a signed kind, zeros for an unsigned one."""
        return self._emit({"i": "ashr", "u": "lshr"}, count)

    def __lt__(self, other: Any) -> Scalar:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Scalar:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Scalar:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Scalar:
        return self._compare(">=", other)

    def equals(self, other: Any) -> Scalar:
        """``==`` (a method, so that Scalars stay hashable by identity)."""
        return self._compare("==", other)

    def differs(self, other: Any) -> Scalar:
        """``!=``; true of a NaN and anything."""
        return self._compare("!=", other)

    def quotient(self, other: Any) -> Scalar:
        """Integer division towards zero; the divisor must be neither 0 nor -1 under the lowest value."""
        return self._emit({"i": "sdiv", "u": "udiv"}, other)

    def rest(self, other: Any) -> Scalar:
        """Remainder of :meth:`quotient`, with the same conditions."""
        return self._emit({"i": "srem", "u": "urem"}, other)


def constant(builder: ir.IRBuilder, number: float, kind: str) -> Scalar:
    """A constant; a float32 one is rounded to nearest, an integer one taken modulo its width."""
    target = KINDS[kind]
    if target.family == "f":
        number = struct.unpack("f", struct.pack("f", number))[0] if target.bits == 32 else float(number)
    else:
        number = int(number) & ((1 << target.bits) - 1)
    return Scalar(builder, ir.Constant(target.llvm, number), kind)


def _intrinsic(name: str, first: Scalar, *others: Scalar | float) -> Scalar:
    """Call ``llvm.<name>.<width>``, all of whose arguments and result have one float kind."""
    kind, builder = KINDS[first.kind], first.builder
    if not kind.is_float:
        raise CompileError(f"{name} expects float32 or float64, got {first.kind}")
    arguments = [first.value] + [first._operand(other).value for other in others]
    full = f"llvm.{name}.f{kind.bits}"
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind.llvm, [kind.llvm] * len(arguments)), full)
    return Scalar(builder, builder.call(function, arguments), first.kind)


def fma(a: Scalar, b: Scalar | float, c: Scalar | float) -> Scalar:
    """``a * b + c`` rounded once."""
    return _intrinsic("fma", a, b, c)


def ldexp(x: Scalar, n: Scalar) -> Scalar:
    """``x * 2**n`` rounded once, n an int32; a call of the C library where the machine has no instruction for it."""
    kind, builder = KINDS[x.kind], x.builder
    name = f"llvm.ldexp.f{kind.bits}.i32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind.llvm, [kind.llvm, ir.IntType(32)]), name)
    return Scalar(builder, builder.call(function, [x.value, n.value]), x.kind)


def rint(x: Scalar) -> Scalar:
    """Nearest whole number, halves to even."""
    return _intrinsic("rint", x)


def floor(x: Scalar) -> Scalar:
    """Greatest whole number not above x."""
    return _intrinsic("floor", x)


def ceil(x: Scalar) -> Scalar:
    """Least whole number not below x."""
    return _intrinsic("ceil", x)


def trunc(x: Scalar) -> Scalar:
    """x without its fraction."""
    return _intrinsic("trunc", x)


def sqrt(x: Scalar) -> Scalar:
    """Square root, correctly rounded; NaN below zero."""
    return _intrinsic("sqrt", x)


def fabs(x: Scalar) -> Scalar:
    """x without its sign bit."""
    return _intrinsic("fabs", x)


def copysign(x: Scalar, sign: Scalar | float) -> Scalar:
    """x with the sign bit of ``sign``."""
    return _intrinsic("copysign", x, sign)


def minimum(a: Scalar, b: Scalar | float) -> Scalar:
    """The lesser; NaN if either is (``llvm.minnum`` would drop it), and -0 is below 0."""
    return _intrinsic("minimum", a, b)


def maximum(a: Scalar, b: Scalar | float) -> Scalar:
    """The greater; NaN if either is, and 0 is above -0."""
    return _intrinsic("maximum", a, b)


def select(condition: Scalar, a: Scalar | float, b: Scalar | float) -> Scalar:
    """``a`` where the condition holds, else ``b``; both have been computed."""
    if not isinstance(a, Scalar):
        if not isinstance(b, Scalar):
            raise CompileError("select needs a scalar on at least one side", hint="make one with like()")
        a = b.like(a)
    b = a._operand(b)
    return Scalar(condition.builder, condition.builder.select(condition.value, a.value, b.value), a.kind)


def bits(x: Scalar) -> Scalar:
    """The bit pattern of a float as the signed integer of its width."""
    kind = f"int{KINDS[x.kind].bits}"
    return Scalar(x.builder, x.builder.bitcast(x.value, KINDS[kind].llvm), kind)


def from_bits(x: Scalar) -> Scalar:
    """The float whose bit pattern is the 32- or 64-bit integer x."""
    kind = f"float{KINDS[x.kind].bits}"
    return Scalar(x.builder, x.builder.bitcast(x.value, KINDS[kind].llvm), kind)


def convert(x: Scalar, kind: str) -> Scalar:
    """Convert between kinds in one instruction.

    Integers are cut or extended, integers and wide floats round to nearest. A float must lie within the
    integer kind it goes to: what LLVM yields otherwise is poison (see ``integers.cast`` for the guarded form).
    """
    source, target, b = KINDS[x.kind], KINDS[kind], x.builder
    if source == target:
        return x
    if source.is_float and target.is_float:
        make = b.fptrunc if target.bits < source.bits else b.fpext
    elif source.is_float:
        make = b.fptosi if target.family == "i" else b.fptoui
    elif target.is_float:
        make = b.sitofp if source.family == "i" else b.uitofp
    elif target.bits < source.bits:
        make = b.trunc
    elif target.bits > source.bits:
        make = b.sext if source.family == "i" else b.zext
    else:
        return Scalar(b, x.value, kind)
    return Scalar(b, make(x.value, target.llvm), kind)


def lookup(table: Sequence[float], index: Scalar, kind: str) -> Scalar:
    """``table[index]`` from constant memory; the index must be in range. Becomes a gather in vector code."""
    b, element = index.builder, KINDS[kind].llvm
    digest = hashlib.sha256(struct.pack(f"{len(table)}d", *table)).hexdigest()[:16]
    name = f"graphc.table.{kind}.{digest}"
    variable = b.module.globals.get(name)
    if variable is None:
        data = ir.Constant(ir.ArrayType(element, len(table)), list(table))
        variable = ir.GlobalVariable(b.module, data.type, name)
        variable.global_constant, variable.linkage, variable.initializer = True, "internal", data
    place = b.gep(variable, [ir.Constant(ir.IntType(64), 0), convert(index, "int64").value], inbounds=True)
    entry = b.load(place)
    entry.set_metadata("alias.scope", table_scope(b.module))
    return Scalar(b, entry, kind)


def table_scope(module: ir.Module) -> Any:
    """The alias scope of constant tables: loads from them are in it, and every other access of a kernel says it is not.

    Without that promise the loop vectoriser fears that a store may change a table and, not knowing which
    entries a loop reads, gives up. (Loads must say so too: one that might touch both a table and what is
    stored to would tie the two together.)
    """
    domain = module.add_metadata(["graphc"])
    return module.add_metadata([module.add_metadata(["graphc.tables", domain])])


def polynomial(x: Scalar, coefficients: Sequence[float]) -> Scalar:
    """``sum(c[i] * x**i)`` by Horner's rule with fused multiply-adds."""
    total = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = fma(total, x, c)
    return total
