"""Lines of a kernel under construction: open loops, and what is known inside each.

A :class:`Writer` builds nested loops from the outside in.  Every value is written as one line, in the *outermost*
open loop in which everything that it is made of is known: its **level**.  Loop-invariant code thus ends up outside
of loops by construction, and because a line's text consists of names only, two values with the same text are the
same value and are written once (value numbering).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from graphc.ir.node import Node

INDENT = "    "


class Known(NamedTuple):
    """A value of the kernel being written.

    Attributes
    ----------
    text : str
        A name or another expression that may be repeated at no cost.
    level : int
        Number of loops around the place from which on it is known; 0 is the kernel's body.
    """

    text: str
    level: int


class Line(NamedTuple):
    """A line of text and the graph nodes it was written for."""

    text: str
    nodes: tuple[Node, ...]


class _Scope:
    """An open loop: its lines so far, and what was learned inside and is forgotten at its end."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.learned: list[Hashable] = []


class Writer:
    """Builds the body of a kernel.

    Parameters
    ----------
    tag : str
        Part of all names, to keep those of two writers apart.

    Attributes
    ----------
    nodes : tuple of Node
        The graph nodes that lines written from now on are for.
    """

    def __init__(self, tag: str = "") -> None:
        self._tag = tag
        self.nodes: tuple[Node, ...] = ()
        self._scopes = [_Scope()]
        self._known: dict[Hashable, Known] = {}
        self._counts: dict[str, int] = {}

    @property
    def level(self) -> int:
        """Number of open loops."""
        return len(self._scopes) - 1

    def name(self, prefix: str) -> str:
        """A new name: the prefix and a number."""
        count = self._counts.get(prefix, 0)
        self._counts[prefix] = count + 1
        return f"{prefix}{self._tag}{count}"

    def line(self, text: str, level: int | None = None) -> None:
        """Write a line at the end of an open loop, by default the innermost."""
        self._scopes[self.level if level is None else level].lines.append(Line(text, self.nodes))

    def comment(self, text: str) -> None:
        """Write a comment."""
        self.line(f"# {text}")

    def let(self, text: str, level: int, prefix: str = "v") -> Known:
        """The name of an expression's value; written as a line where it is first needed.

        Parameters
        ----------
        text : str
            An expression without effects, of values known at ``level``.
        level : int
            Where the line goes.
        prefix : str
            Of the name.
        """
        known = self._known.get(text)
        if known is None:
            known = Known(self.name(prefix), level)
            self.line(f"{known.text} = {text}", level)
            self.learn(text, known)
        return known

    def learn(self, key: Hashable, known: Known) -> None:
        """Remember a value under a key until the loop at its level ends."""
        self._known[key] = known
        self._scopes[known.level].learned.append(key)

    def recall(self, key: Hashable) -> Known | None:
        """What was learned under a key in a loop that is still open."""
        return self._known.get(key)

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Take keys as never learned."""
        for key in keys:
            self._known.pop(key, None)

    @contextmanager
    def block(self, header: str, independent: bool = False) -> Iterator[int]:
        """Open a loop (or another block) around the lines written inside; yields its level.

        ``independent`` promises that the iterations of a loop without loops inside touch different elements of
        memory; see :mod:`graphc.codegen.cpu.independence`.
        """
        self._scopes.append(_Scope())
        try:
            yield self.level
        finally:
            scope = self._scopes.pop()
            self.forget(scope.learned)
        self.line(header)
        body = scope.lines or [Line("pass", self.nodes)]
        self._scopes[-1].lines += [Line(INDENT + text, nodes) for text, nodes in body]
        if independent:
            self.line("independent()")

    def lines(self) -> list[Line]:
        """All lines, once every loop is closed."""
        (body,) = self._scopes
        return body.lines
