"""Where a node comes from: the user's file and line, and what the compiler derived it for."""

from __future__ import annotations

import linecache
import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

from graphc import errors

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in the user's program.

    Attributes
    ----------
    filename : str
        File of the user's line; empty if none is known.
    line : int
        Line number, from 1.
    derived : str
        Empty for nodes that the user declared; else what the compiler made the node for, such as
        ``"gradient of tanh"``.
    """

    filename: str
    line: int
    derived: str = ""

    @property
    def text(self) -> str:
        """The user's source line, stripped; empty if it can't be read."""
        return linecache.getline(self.filename, self.line).strip()

    def __str__(self) -> str:
        if not self.filename:
            return self.derived
        place = f"{os.path.basename(self.filename)}:{self.line}"
        text = self.text
        place = f"{place}: {text}" if text else place
        return f"{place} ({self.derived})" if self.derived else place


NOWHERE = Origin("", 0)

_override: ContextVar[Origin | None] = ContextVar("graphc_origin", default=None)


@cache  # of one entry a file; asked for every node and every frame below the user's
def _is_ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE)


def here() -> Origin:
    """The innermost line outside this package, or what :func:`derived_from` has set."""
    override = _override.get()
    if override is not None:
        return override
    frame = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return NOWHERE
    return Origin(frame.f_code.co_filename, frame.f_lineno)


errors.locate_with(here)


def stack_level() -> int:
    """``stacklevel`` for ``warnings.warn`` in the caller, such that the warning names the user's line."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    return level


class derived_from:  # not a generator: passes enter it for every node
    """Nodes made inside carry ``origin``'s line, and ``what`` they were derived for."""

    __slots__ = ("_origin", "_token")

    def __init__(self, origin: Origin, what: str = ""):
        self._origin = Origin(origin.filename, origin.line, what) if what else origin

    def __enter__(self) -> derived_from:
        self._token = _override.set(self._origin)
        return self

    def move(self, origin: Origin) -> None:
        """Nodes made from now on carry another origin."""
        _override.set(origin)

    def __exit__(self, *exception: object) -> None:
        _override.reset(self._token)
