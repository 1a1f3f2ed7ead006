"""Which public function the user's line called, so that errors name it.

``mean`` is made of a sum and a division. Who calls it with an axis that does not exist called ``mean``, and is told
``mean: axis 5 is out of range for rank 2``, though it is ``sum`` that found it out. The function is looked for in the
frames between the error and the user's line, so a call that succeeds pays nothing for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import Any

from graphc import errors
from graphc.ir.origin import is_ours

_functions: dict[CodeType, str] = {}
"""Public functions by their code; the ``__call__`` that several ops share has no name of its own, "" stands there."""

_ops: dict[Callable[..., Any], str] = {}
"""Ops that are public."""

_parts: set[CodeType] = set()
"""Methods of objects that a message names by their class, such as layers."""

_heads: set[str] = set()
"""Names that messages begin with."""


def know(functions: Mapping[str, Callable[..., Any]], heads: Iterable[str] = ()) -> None:
    """Have errors name these functions.

    Parameters
    ----------
    functions : mapping of str to callable
        By their public names: functions, or ops.
    heads : iterable of str
        More names that messages begin with, those of what public functions are made of.
    """
    _heads.update(functions, heads)
    for name, function in functions.items():
        code = getattr(function, "__code__", None)
        if code is not None:
            _functions.setdefault(code, name)
            continue
        _ops.setdefault(function, name)
        for base in type(function).__mro__:
            code = getattr(vars(base).get("__call__"), "__code__", None)
            if code is not None:
                _functions.setdefault(code, "")


def know_objects(call: Callable[..., Any]) -> None:
    """Have errors name the class of an object that this method belongs to; of such within such, the innermost."""
    _parts.add(call.__code__)


def called() -> str:
    """The public function that the user's line called, or the class of the object; "" if it called none."""
    frame: FrameType | None = sys._getframe(1)
    found = ""
    while frame is not None and is_ours(frame.f_code.co_filename):
        name = _functions.get(frame.f_code)
        if name == "":
            name = _ops.get(frame.f_locals["self"])
        if frame.f_code in _parts:
            return type(frame.f_locals["self"]).__name__
        found = name or found
        frame = frame.f_back
    return found


def in_terms_of_the_call(message: str) -> str:
    """A message that names the public function that was called where it named a part of it, or nothing."""
    function = called()
    if not function or message.startswith((f"{function}: ", f"{function} ")):
        return message
    head, colon, rest = message.partition(": ")
    return f"{function}: {rest if colon and head in _heads else message}"


errors.name_with(in_terms_of_the_call)
