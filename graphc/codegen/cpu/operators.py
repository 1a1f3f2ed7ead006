"""The scalar vocabulary in the words of a kernel's text: which operator or intrinsic each function becomes.

One function of :data:`graphc.ir.scalar.FUNCTIONS` on one dtype is one Python expression over names. Floats use
Python's operators; integers use intrinsics, because Python's would widen them to int64; bools, logic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import CompileError
from graphc.ir.types import NAMES

DType = np.dtype[Any]

_INFIX = {
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
}  # fmt: skip
_LOGIC = {"logical_and": "&", "logical_or": "|", "logical_xor": "^"}
_FLOAT_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_FLOAT_INTRINSICS = {
    "minimum": "minimum", "maximum": "maximum", "floor": "floor", "ceil": "ceil", "rint": "rint", "trunc": "trunc",
    "sqrt": "sqrt", "abs": "fabs", "fma": "fma", "floor_divide": "floor_divide_float", "remainder": "remainder_float",
    "fmod": "fmod_float", "copysign": "copysign", "signbit": "signbit",
}  # fmt: skip
MATHLIB = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "digamma", "erf", "erfc",
    "exp", "exp2", "expm1", "hypot", "lgamma", "log", "log10", "log1p", "log2", "nextafter", "power", "rsqrt",
    "sigmoid", "sign", "sin", "sinh", "tan", "tanh",
)  # fmt: skip
"""Functions that are called ``{name}_{dtype}`` and live in :mod:`graphc.codegen.cpu.mathlib`."""

_INT_INTRINSICS = {
    "add": "add_int", "subtract": "sub_int", "multiply": "mul_int", "negative": "neg_int", "abs": "abs_int",
    "sign": "sign_int", "minimum": "minimum_int", "maximum": "maximum_int", "floor_divide": "floordiv_int",
    "remainder": "remainder_int", "fmod": "fmod_int", "power": "power_int", "bitwise_and": "and_int",
    "bitwise_or": "or_int", "bitwise_xor": "xor_int", "bitwise_invert": "invert_int", "left_shift": "left_shift_int",
    "right_shift": "right_shift_int",
}  # fmt: skip
_BOOL_INFIX = {"add": "|", "maximum": "|", "multiply": "&", "minimum": "&"}


def literal(value: Any, dtype: DType) -> str:
    """A constant of a dtype."""
    if dtype.kind == "b":
        return "True" if value else "False"
    if dtype.kind in "iu":
        return f"{NAMES[dtype]}({int(value)})"
    number = float(value)
    if math.isnan(number):
        return f"{NAMES[dtype]}(nan)"
    if math.isinf(number):
        return f"{NAMES[dtype]}({'-' if number < 0 else ''}inf)"
    short = str(value)  # the shortest digits that give back this value in its own dtype
    exact = dtype.type(float(short)) == value and math.copysign(1.0, float(short)) == math.copysign(1.0, number)
    return f"{NAMES[dtype]}({short if exact else repr(number)})"


def cast(text: str, source: DType, target: DType) -> str:
    """A value converted to another dtype; integers wrap, floats to integers as ``integers.cast`` says."""
    return text if source == target else f"as_{NAMES[target]}({text})"


def function(name: str, texts: Sequence[str], dtypes: Sequence[DType], dtype: DType) -> str:
    """The expression of a function of :data:`graphc.ir.scalar.FUNCTIONS`.

    Parameters
    ----------
    name : str
        Any but ``checked_index`` and ``random_bits``, which need more than their arguments.
    texts, dtypes : sequence
        The arguments' names and dtypes.
    dtype : numpy.dtype
        Of the result.

    Raises
    ------
    CompileError
        If the function has no meaning for the dtype.
    """
    first = dtypes[0]
    if name == "cast":
        return cast(texts[0], first, dtype)
    if name == "where":
        return f"select({cast(texts[0], first, np.dtype(bool))}, {texts[1]}, {texts[2]})"
    if name in _INFIX:
        return f"{texts[0]} {_INFIX[name]} {texts[1]}"
    if name in _LOGIC:
        left, right = (cast(text, kind, np.dtype(bool)) for text, kind in zip(texts, dtypes, strict=True))
        return f"{left} {_LOGIC[name]} {right}"
    if name == "logical_not":
        return f"{cast(texts[0], first, np.dtype(bool))} ^ True"
    if name == "isnan":
        return f"{texts[0]} != {texts[0]}" if first.kind == "f" else "False"
    by_kind = {"f": _float_function, "i": _int_function, "u": _int_function, "b": _bool_function}
    text = by_kind[first.kind](name, texts, first)
    if text is None:
        raise CompileError(f"scalar function {name} has no meaning for dtype {first.name}")
    return text


def _float_function(name: str, texts: Sequence[str], dtype: DType) -> str | None:
    if name in _FLOAT_INFIX:
        return f" {_FLOAT_INFIX[name]} ".join(texts)
    if name == "negative":
        return f"-{texts[0]}"
    if name in MATHLIB:
        return f"{name}_{NAMES[dtype]}({', '.join(texts)})"
    called = _FLOAT_INTRINSICS.get(name)
    return f"{called}({', '.join(texts)})" if called else None


def _int_function(name: str, texts: Sequence[str], dtype: DType) -> str | None:
    if name in ("floor", "ceil", "rint", "trunc"):  # a whole number is its own
        return texts[0]
    if name == "fma":
        return f"add_int(mul_int({texts[0]}, {texts[1]}), {texts[2]})"
    called = _INT_INTRINSICS.get(name)
    return f"{called}({', '.join(texts)})" if called else None


def _bool_function(name: str, texts: Sequence[str], dtype: DType) -> str | None:
    if name in ("floor", "ceil", "rint", "trunc", "abs", "sign"):
        return texts[0]
    return f" {_BOOL_INFIX[name]} ".join(texts) if name in _BOOL_INFIX else None


def combine(name: str, left: str, right: str, dtype: DType) -> str:
    """``left`` and ``right`` combined by add, multiply, maximum or minimum."""
    return function(name, (left, right), (dtype, dtype), dtype)


def identity(name: str, dtype: DType) -> str:
    """What combining starts from: combined with any value, it gives that value."""
    if name in ("add", "multiply"):
        return literal(dtype.type(name == "multiply"), dtype)
    lowest = name in ("maximum", "argmax")
    if dtype.kind == "b":
        return literal(not lowest, dtype)
    if dtype.kind == "f":
        return literal(dtype.type(-math.inf if lowest else math.inf), dtype)
    limits = np.iinfo(dtype)
    return literal(limits.min if lowest else limits.max, dtype)
