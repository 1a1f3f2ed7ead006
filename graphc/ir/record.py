"""Classes of plain data, told apart by identity, that nobody changes: see :func:`record`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
def record(cls: Class) -> Class:
    """A dataclass whose objects are equal to themselves alone and do not change once made.

    Type checkers see to the latter. ``dataclass(frozen=True)`` would have Python do that as well, for twice the time
    that it takes to make an object and, with a ``__repr__`` of its own, to make the class: graphc has dozens, and a
    program that starts waits for them all.
    """
    if "__repr__" not in cls.__dict__:
        cls.__repr__ = _shown  # type: ignore[assignment]
    dataclass(eq=False, repr=False)(cls)
    return cls


def _shown(self: Any) -> str:
    values = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
    return f"{type(self).__qualname__}({values})"
