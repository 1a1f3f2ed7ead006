"""Wrong calls, made from right ones by spoiling one argument, and what comes of each."""

from __future__ import annotations

import ast
import functools
import inspect
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

import graphc
from graphc import eager, linalg, nn, random
from graphc.errors import GraphcError

DTYPES = ("float32", "float64", "int64", "uint8", "uint64", "bool")


class Thing:
    """An object that is nothing at all."""

    def __repr__(self) -> str:
        return "Thing()"


def _placeholder(dtype: str) -> Callable[..., graphc.Tensor]:
    return lambda *shape: graphc.placeholder("x", shape, dtype)


SCOPE: dict[str, Any] = {
    "graphc": graphc, "np": np, "linalg": linalg, "random": random, "nn": nn, "eager": eager, "Thing": Thing,
    "inf": float("inf"), "nan": float("nan"),
    **{dtype: _placeholder(dtype) for dtype in DTYPES if dtype != "bool"},
    "int32": _placeholder("int32"), "boolean": _placeholder("bool"),
    "computed": lambda *shape: eager.zeros(shape),
    "weights": lambda *shape: graphc.variable(np.zeros(shape, np.float32)),
    "W": graphc.variable(np.zeros(2, np.float32), name="W"),
}  # fmt: skip
"""The names that calls are made of."""

OPERANDS = ("None", "'text'", "[[1], [1, 2]]")
"""What is no array."""

JUNK = ("Thing()", "1j", "{1: 2}", "np.array(['a'])", "[float32(2)]", "-10**30", "[[]]", "()", "np.zeros(3, 'M8[s]')")
"""More that is none: refused, in whatever words."""

AXES = ("7", "-7", "1.5", "True", "'x'", "(0, 0)", "(0, 7)", "float32()", "None", "{0}")
FLAGS = ("'no'", "2", "None", "float32()")
VALUES = ("None", "True", "1.5", "-1", "10**30", "nan", "'text'", "(1, 'x')", "float32(2)")
TYPES = ("'complex64'", "'nonsense'", "3", "float32(2)")
SHAPES = ("-1", "1.5", "'not a name'", "(2, -3)", "(2, None)", "(2, 1.5)", "Thing()", "float32(2)", "(10**30,)")

BY_PARAMETER = {
    **dict.fromkeys(("axis", "axis1", "axis2", "first", "second", "source", "destination"), AXES),
    **dict.fromkeys(("dtype",), TYPES),
    **dict.fromkeys(("shape",), SHAPES),
    **dict.fromkeys(("device",), ("'cpu'",)),
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What comes of a call.

    Attributes
    ----------
    kind : str
        The error's class; empty if there is none.
    text : str
        Its message and hint without the user's line; or what the call returns.
    in_name : bool
        Whether the function itself raised it, and not one that it called back.
    """

    kind: str
    text: str

    in_name: bool = True

    @property
    def defect(self) -> bool:
        """Whether the error is none of graphc's."""
        return self.kind.startswith("!")


def outcome(code: str) -> Outcome:
    """Evaluate a call."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            result = eval(compile(code, "<call>", "eval"), dict(SCOPE))
        except GraphcError as error:
            hint = f"\nhint: {error.hint}" if error.hint else ""
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<call>"]
            return Outcome(type(error).__name__, error.message + hint, len(frames) == 1)
        except Exception as error:
            mark = "" if _is_the_callers(error) else "!"
            return Outcome(mark + type(error).__name__, str(error), "()" in str(error) and "<lambda>" not in str(error))
    return Outcome("", _shown(result))


def _is_the_callers(error: Exception) -> bool:
    """Whether an error was raised by the call itself, as Python does for a missing argument, or by a function in it."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename == "<call>"


def _shown(result: Any) -> str:
    if isinstance(result, graphc.Tensor):
        return str(result.type)
    if isinstance(result, (tuple, list)):
        return f"({', '.join(map(_shown, result))})"
    return type(result).__name__


@functools.lru_cache
def spoilt(call: str, function: Callable[..., Any]) -> tuple[str, ...]:
    """Calls like a right one, but for one argument or the number of them."""
    return tuple(other for other in dict.fromkeys(_spoilt(call, function)) if other != call)


def _spoilt(call: str, function: Callable[..., Any]) -> Iterator[str]:
    tree = ast.parse(call, mode="eval").body
    assert isinstance(tree, ast.Call)
    inner = tree.func if isinstance(tree.func, ast.Call) else tree
    yield from _with_others(tree, inner, list(inspect.signature(function).parameters.values()))
    if inner is not tree:
        forward = [p for p in inspect.signature(function.forward).parameters.values() if p.name != "self"]
        yield from _with_others(tree, tree, forward)


def _with_others(tree: ast.Call, part: ast.Call, parameters: list[inspect.Parameter]) -> Iterator[str]:
    named = {p.name: p for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD}
    order = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for place, argument in enumerate(list(part.args)):
        name = order[place].name if place < len(order) else parameters[-1].name if parameters else ""
        named.pop(name, None)
        for other in _others(name, argument, None):
            part.args[place] = ast.parse(other, mode="eval").body
            yield ast.unparse(tree)
        part.args[place] = argument
    for keyword in part.keywords:
        parameter = named.pop(str(keyword.arg), None)
        given = keyword.value
        for other in _others(str(keyword.arg), given, parameter):
            keyword.value = ast.parse(other, mode="eval").body
            yield ast.unparse(tree)
        keyword.value = given
    for name, parameter in named.items():
        if parameter.default is parameter.empty or name.startswith("_"):
            continue
        part.keywords.append(ast.keyword(name, ast.Constant(None)))
        for other in _others(name, None, parameter):
            part.keywords[-1].value = ast.parse(other, mode="eval").body
            yield ast.unparse(tree)
        part.keywords.pop()
    if part.args:
        part.args.append(ast.parse("float32(2)", mode="eval").body)
        yield ast.unparse(tree)
        part.args.pop()
        last = part.args.pop()
        yield ast.unparse(tree)
        part.args.append(last)


def _others(name: str, argument: ast.expr | None, parameter: inspect.Parameter | None) -> Iterator[str]:
    default = parameter.default if parameter is not None else inspect.Parameter.empty
    source = ast.unparse(argument) if argument is not None else ""
    dtype, bracket, sizes = source.partition("(")
    if bracket and (dtype in DTYPES or dtype in ("boolean", "weights")):
        yield from OPERANDS
        yield from (f"{'boolean' if other == 'bool' else other}({sizes}" for other in DTYPES if other != dtype)
        for shape in ("7", "7, 5") if dtype == "weights" else ("", "7", "7, 5", "'n', 'm'", "0, 0", "2, 3, 4, 5"):
            yield f"{dtype}({shape})"
        yield f"computed({sizes}"
        return
    chosen = BY_PARAMETER.get(name) or (FLAGS if isinstance(default, bool) else VALUES)
    for other in chosen:
        if other != repr(default) and other != source:
            yield other


def junk_calls(call: str, generator: Random, number: int) -> Iterator[str]:
    """Calls like a right one with one or more arguments replaced by anything at all."""
    everything = [*OPERANDS, *JUNK, *AXES, *FLAGS, *VALUES, *TYPES, *SHAPES]
    everything += ["0", "-0.0", "inf", "2**63", "'n'", "b'x'", "[None]", "[[True, 2.5]]", "range(3)", "slice(1, None)"]
    everything += ["...", "float32('n', 'n')", "boolean()", "np.int8(1)", "np.float64(0.5)", "lambda *x: x"]
    for _ in range(number):
        tree = ast.parse(call, mode="eval").body
        parts = [part for part in (tree, getattr(tree, "func", None)) if isinstance(part, ast.Call)]
        places = [(part.args, k) for part in parts for k in range(len(part.args))]
        keywords = [(keyword, None) for part in parts for keyword in part.keywords]
        count = min(generator.choice((1, 1, 2)), len(places + keywords))
        for holder, place in generator.sample([*places, *keywords], count):
            other = ast.parse(generator.choice(everything), mode="eval").body
            if isinstance(holder, ast.keyword):
                holder.value = other
            else:
                holder[place] = other
        yield ast.unparse(tree)
