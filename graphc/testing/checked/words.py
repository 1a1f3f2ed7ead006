"""What the words of a kernel's text mean in plain Python: memory that is checked, and NumPy's arithmetic.

:data:`WORDS` has a function for each name that a text imports. Values are NumPy scalars, positions Python's integers;
floats use Python's operators, which NumPy gives their own width. Functions of the math library are the references of
the ops they belong to, so results agree with the reference interpreter, not with compiled kernels bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.codegen.cpu import operators
from graphc.codegen.source import INDEX_OUT_OF_RANGE
from graphc.ir.op import REGISTRY
from graphc.ir.philox import philox_reference
from graphc.ir.types import DTYPES
from graphc.testing.checked.memory import Pointer, fault, stack

Word = Callable[..., Any]

LINE_BYTES = 64
WORDS: dict[str, Any] = {}
"""By name."""


def word(function: Word) -> Word:
    """Make a function the meaning of the word of its name."""
    WORDS[function.__name__] = function
    return function


def kind_of(value: Any) -> np.dtype[Any]:
    """The dtype of a value; of Python's own, that of positions, floats and truth."""
    if isinstance(value, np.generic):
        return value.dtype
    return np.dtype({bool: "bool", int: "int64", float: "float64"}[type(value)])


# --- pointers and memory ------------------------------------------------------------------------------------------


def _pointer(dtype: str) -> Word:
    stored = "uint8" if dtype == "bool" else dtype
    return lambda buffers, k: buffers[k] if callable(buffers[k]) else buffers[k].pointer(stored)


def _stack(dtype: str) -> Word:
    stored = "uint8" if dtype == "bool" else dtype
    return lambda count: stack(f"a stack array of {count} {dtype}", stored, count)


@word
def offset(pointer: Pointer, i: int) -> Pointer:
    """The pointer ``i`` elements on."""
    return pointer.moved(i)


@word
def address(pointer: Any) -> Any:
    """The address of memory; a function that is called by address stands for its own."""
    return pointer.address if isinstance(pointer, Pointer) else pointer


@word
def load(pointer: Pointer, i: int) -> Any:
    """Element ``i``."""
    place = pointer.place + int(i)
    pointer.buffer.read(place * pointer.size, pointer.size)
    return pointer.items[place]


@word
def store(pointer: Pointer, i: int, value: Any) -> None:
    """Write element ``i``."""
    kind = kind_of(value)
    if kind.name != pointer.dtype:
        raise fault(f"{pointer.buffer.name}: a {kind.name} is stored as {pointer.dtype}")
    place = pointer.place + int(i)
    pointer.buffer.write(place * pointer.size, pointer.size)
    pointer.items[place] = value


@word
def load_bool(pointer: Pointer, i: int) -> bool:
    """Whether byte ``i`` differs from 0."""
    return bool(load(pointer, i))


@word
def store_bool(pointer: Pointer, i: int, value: Any) -> None:
    """Write a bool as the byte 0 or 1."""
    store(pointer, i, np.uint8(bool(value)))


@word
def stream(pointer: Pointer, i: int, source: Pointer, count: int) -> None:
    """Copy elements."""
    places = np.arange(count)
    pointer.moved(i).write(places, source.read(places))


@word
def stream_lines(pointer: Pointer, i: int, source: Pointer, count: int) -> None:
    """Copy elements that are whole cache lines."""
    target = pointer.moved(i)
    if target.address % LINE_BYTES or count * pointer.size % LINE_BYTES:
        raise fault(f"{pointer.buffer.name}: {count} elements from address {target.address} on are no whole lines")
    stream(pointer, i, source, count)


def _nothing(*arguments: Any) -> None:
    """A hint to the compiler or the processor."""


WORDS |= {f"pointer_{dtype}": _pointer(dtype) for dtype in DTYPES}
WORDS |= {f"stack_{dtype}": _stack(dtype) for dtype in DTYPES}
WORDS |= dict.fromkeys(("prefetch", "drain", "independent", "rolled"), _nothing)


# --- the status block -----------------------------------------------------------------------------------------------


@word
def fail(status: Pointer, code: int, kernel: int, index: int, value: int) -> None:
    """Report a failure unless there is one; the words of a block belong to whoever comes first."""
    if status.items[status.place] == 0:
        status.items[status.place : status.place + 4] = code, kernel, index, value


@word
def compare_and_swap(pointer: Pointer, i: int, expected: int, value: int) -> Any:
    """Write a word if it holds ``expected``; what it held."""
    held = pointer.items[pointer.place + i]
    if held == expected:
        pointer.items[pointer.place + i] = value
    return held


@word
def checked_index(status: Pointer, kernel: int, index: int, extent: int) -> int:
    """An index counted from the front; 0, and a report, for one that is out of range."""
    return checked_position(status, kernel, index, extent, index + extent if index < 0 else index)


@word
def checked_position(status: Pointer, kernel: int, index: int, extent: int, place: int | None = None) -> int:
    """A position; 0, and a report, for one that is out of range."""
    place = int(index if place is None else place)
    if 0 <= place < extent:
        return place
    fail(status, INDEX_OUT_OF_RANGE, kernel, extent, index)
    return 0


# --- positions --------------------------------------------------------------------------------------------------------


@word
def divide_index(a: int, b: int) -> int:
    """``a // b``, of which the instruction asks a >= 0 and b > 0."""
    if a < 0 or b <= 0:
        raise fault(f"a position is divided: {a} by {b}")
    return int(a) // int(b)


@word
def rest_index(a: int, b: int) -> int:
    """``a % b`` with the same conditions."""
    return int(a) - divide_index(a, b) * int(b)


@word
def share(total: int, unit: int, worker: int, workers: int) -> int:
    """Where a worker's part begins."""
    units = divide_index(total + unit - 1, unit)
    return min(divide_index(units * worker, workers) * unit, int(total))


# --- arithmetic -------------------------------------------------------------------------------------------------------


@word
def select(condition: Any, a: Any, b: Any) -> Any:
    """One of two values."""
    return a if condition else b


@word
def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in a wider dtype, which for float32 is exact but for one rounding more."""
    kind = kind_of(a)
    wide = np.float64 if kind == np.float32 else np.longdouble
    return kind.type(wide(a) * wide(b) + wide(c))


@word
def bits(x: Any) -> Any:
    """The bit pattern of a float."""
    kind = kind_of(x)
    return kind.type(x).view(f"int{8 * kind.itemsize}")


@word
def from_bits(x: Any) -> Any:
    """The float of a bit pattern."""
    kind = kind_of(x)
    return kind.type(x).view(f"float{8 * kind.itemsize}")


@word
def power_int(a: Any, b: Any) -> Any:
    """Modulo the width; of a negative exponent the true value cut towards zero."""
    kind, base, exponent = kind_of(a), int(a), int(b)
    if exponent < 0:
        return kind.type(base if abs(base) == 1 and exponent % 2 else abs(base) == 1)
    return _wrapped(pow(base, exponent, 1 << 8 * kind.itemsize), kind)


@word
def left_shift_int(a: Any, count: Any) -> Any:
    """0 for a count that is negative or not below the width."""
    kind = kind_of(a)
    return _wrapped(int(a) << int(count), kind) if 0 <= count < 8 * kind.itemsize else kind.type(0)


@word
def right_shift_int(a: Any, count: Any) -> Any:
    """All sign for such a count."""
    kind = kind_of(a)
    return kind.type(int(a) >> (int(count) if 0 <= count < 8 * kind.itemsize else 64))


@word
def philox(seed: Any, stream: Any, step: Any, index: Any) -> Any:
    """A random word."""
    return philox_reference(int(seed), int(stream), int(step), int(index))[()]


def _wrapped(value: int, kind: np.dtype[Any]) -> Any:
    """An integer modulo the width of a dtype."""
    low = value & ((1 << 8 * kind.itemsize) - 1)
    return np.frombuffer(low.to_bytes(kind.itemsize, "little"), kind)[0]


def cast(value: Any, kind: np.dtype[Any]) -> Any:
    """Cast between any two dtypes, as :func:`graphc.codegen.cpu.integers.cast` says."""
    source = kind_of(value)
    if kind.kind == "b":
        return value != 0
    if kind.kind == "f" or source.kind != "f":
        return kind.type(value) if kind.kind == "f" else _wrapped(int(value), kind)
    if kind.name == "uint64" and 2.0**63 <= value < 2.0**64:
        return kind.type(int(value))
    bits = 32 if kind.itemsize < 4 or kind.name == "int32" else 64
    limit = 2.0 ** (bits - 1)
    return _wrapped(int(value) if -limit <= value < limit else -int(limit), kind)


def _cast_to(dtype: str) -> Word:
    kind = np.dtype(dtype)
    return lambda value: cast(value, kind)


def _same(function: Word) -> Word:
    """A function of values of one dtype, whose result has it, too."""

    def of_values(*values: Any) -> Any:
        kind = kind_of(values[0])
        return np.asarray(function(*(np.asarray(value, kind) for value in values))).astype(kind)[()]

    return of_values


def _reference(name: str) -> Word:
    op: Any = REGISTRY[name]
    function: Word = op.reference
    return function


def _extreme(name: str) -> Word:
    """The lesser or greater of two integers; positions stay Python's."""
    choose: Word = min if name == "minimum" else max
    typed = _same(_reference(name))
    return lambda a, b: choose(a, b) if type(a) is type(b) is int else typed(a, b)


WORDS |= {f"as_{dtype}": _cast_to(dtype) for dtype in DTYPES}
WORDS |= {dtype: np.dtype(dtype).type for dtype in DTYPES if dtype != "bool"}
_OWN = {"fma": fma, "rint": _same(np.rint), "signbit": lambda x: bool(np.signbit(x))}
for _name, _called in operators._FLOAT_INTRINSICS.items():
    WORDS.setdefault(_called, _OWN.get(_name) or _same(_reference(_name)))
for _name, _called in operators._INT_INTRINSICS.items():
    if _called not in WORDS:
        WORDS[_called] = _extreme(_name) if _name in ("minimum", "maximum") else _same(_reference(_name))
WORDS["signbit"] = _OWN["signbit"]
for _name in operators.MATHLIB:
    WORDS |= {f"{_name}_{dtype}": _same(_reference(_name)) for dtype in ("float32", "float64")}


# --- lanes ------------------------------------------------------------------------------------------------------------


@word
def fill(pointer: Pointer, lanes: int, value: Any) -> None:
    """Set elements to one value."""
    pointer.write(np.arange(lanes), value)


@word
def lost_by_sum(a: Any, b: Any) -> Any:
    """What the rounding of ``a + b`` lost."""
    total = a + b
    part = total - a
    return (a - (total - part)) + (b - part)


@word
def settle(total: Any, lost: Any) -> Any:
    """A sum with what its roundings lost."""
    return total + lost if math.isfinite(total) else total


def _fold(combine: Word) -> Word:
    """All lanes combined, neighbours at half the distance first."""

    def fold(pointer: Pointer, lanes: int) -> Any:
        values = pointer.read(np.arange(lanes))
        while values.size > 1:
            values = combine(*np.split(values, 2))
        return values[0]

    return fold


WORDS |= {
    "fold_add": _fold(np.add), "fold_multiply": _fold(np.multiply),
    "fold_maximum": _fold(np.maximum), "fold_minimum": _fold(np.minimum),
}  # fmt: skip
