"""Where a node comes from: the user's file and line, the named scopes around it, and what it was derived for.

Origins say nothing about what a node computes: they take part in no comparison of nodes, no program and no cache key.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from graphc import errors

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

Scope = tuple[tuple[str, int], ...]
"""Named scopes from the outermost in. The number tells apart scopes that happen to have one name, such as those of two
layers that nobody named; it is 0 for the user's own names, which mean one scope however often they are opened."""


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
    scope : Scope
        The named scopes that were open, :class:`name_scope`; derived nodes have those of what they derive from.
    function : str
        The public function that the line called, for nodes that may fail when a program runs.
    """

    filename: str
    line: int
    derived: str = ""
    scope: Scope = ()
    function: str = field(default="", compare=False)

    @property
    def place(self) -> Origin:
        """The user's line alone."""
        return Origin(self.filename, self.line)

    def within(self, scope: Scope) -> Origin:
        """The same in the scopes that are open here and there."""
        shared = 0
        for own, other in zip(self.scope, scope, strict=False):
            if own != other:
                break
            shared += 1
        if shared == len(self.scope):
            return self
        return Origin(self.filename, self.line, self.derived, self.scope[:shared], self.function)

    def derived_as(self, what: str) -> Origin:
        """The same for a node that the compiler makes for a reason."""
        return Origin(self.filename, self.line, what, self.scope, self.function)

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

_override: ContextVar[derived_from | None] = ContextVar("graphc_origin", default=None)
_scope: ContextVar[Scope] = ContextVar("graphc_scope", default=())


@cache  # of one entry a file; asked for every node and every frame below the user's
def is_ours(filename: str) -> bool:
    """Whether a file belongs to this package."""
    return filename.startswith(_PACKAGE)


def here() -> Origin:
    """The innermost line outside this package, or what :func:`derived_from` has set."""
    override = _override.get()
    if override is not None:
        return override.origin
    frame = sys._getframe(1)
    while frame is not None and is_ours(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return NOWHERE
    return _line(frame.f_code.co_filename, frame.f_lineno, _scope.get())


@lru_cache(maxsize=4096)  # a layer's lines make many nodes, and equal origins that are one object compare faster
def _line(filename: str, line: int, scope: Scope) -> Origin:
    return Origin(filename, line, "", scope)


errors.locate_with(here)


def stack_level() -> int:
    """``stacklevel`` for ``warnings.warn`` in the caller, such that the warning names the user's line."""
    frame, level = sys._getframe(1), 1
    passed_over = (_PACKAGE, contextlib.__file__)  # what enters this package's context managers is between its frames
    while frame.f_back is not None and frame.f_code.co_filename.startswith(passed_over):
        frame, level = frame.f_back, level + 1
    return level


class derived_from:  # not a generator: passes enter it for every node
    """Nodes made inside carry ``origin``'s line, and ``what`` they were derived for.

    Attributes
    ----------
    origin : Origin
        Of the nodes made from now on. A walk over many nodes sets it anew at each.
    """

    __slots__ = ("_token", "origin")

    def __init__(self, origin: Origin, what: str = ""):
        self.origin = origin.derived_as(what) if what else origin

    def __enter__(self) -> derived_from:
        self._token = _override.set(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _override.reset(self._token)


class name_scope:  # not a generator, so that one object can be entered again, also within itself
    """Nodes made inside belong to a scope of that name: drawings show it as a box, and can fold it.

    ::

        with graphc.name_scope("encoder"):
            h = graphc.tanh(x @ w)

    Scopes nest, and ``"encoder/block1"`` opens two at once. Opening a name again adds to the same scope. Names of
    variables, programs and results do not depend on scopes. Layers open scopes by themselves, named by their paths,
    and losses by their names.

    Parameters
    ----------
    name : str
        Names of one or more scopes, separated by ``/``; none of them empty.

    Raises
    ------
    GraphError
        If it is no such string.
    """

    __slots__ = ("_opened", "_tokens")

    def __init__(self, name: str):
        pieces = name.split("/") if isinstance(name, str) else []
        if not pieces or not all(piece.strip() for piece in pieces):
            raise errors.GraphError(
                f"name_scope: expected a name such as 'encoder' or 'encoder/block1', got {name!r}",
                hint="each part of the name needs at least one character" if isinstance(name, str) else None,
            )
        self._opened: Scope = tuple((piece, 0) for piece in pieces)
        self._tokens: list[Any] = []

    @classmethod
    def of_layer(cls, path: str, number: int) -> name_scope:
        """The scope of a layer by its path, which may begin with the path of the layer that it is called in.

        Parameters
        ----------
        path : str
        number : int
            Tells layers of the same path apart; 0 if the path is the user's.
        """
        made = cls.__new__(cls)
        pieces = [piece for piece in path.split("/") if piece]
        around = [name for name, _ in _scope.get()]
        known = max((k for k in range(len(pieces) + 1) if around[len(around) - k :] == pieces[:k]), default=0)
        made._opened = tuple((piece, 0) for piece in pieces[known:-1])
        if known < len(pieces):
            made._opened += ((pieces[-1], number),)
        made._tokens = []
        return made

    def __enter__(self) -> name_scope:
        self._tokens.append(_scope.set((*_scope.get(), *self._opened)))
        return self

    def __exit__(self, *exception: object) -> None:
        _scope.reset(self._tokens.pop())
