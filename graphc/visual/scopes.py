"""Which nodes of a graph are drawn as one box.

A node belongs to the scopes that were open where it was declared (:class:`graphc.name_scope`; layers and losses open
their own); a derivative to those of the node it is the derivative of. A *group* is what one box stands for: the nodes
of one part (forward, backward, update) and one folded scope. Graphs that are too large for a readable picture are
folded by themselves, by the finest of these ways that fits; those that could still be drawn open, by the first only:

1. scopes to a depth, the deepest that fits; first without, then with those that do not reach that deep;
2. the outermost scopes, and all nodes outside them of one line of the user's;
3. scopes that differ in numbers only together, ``block_0`` to ``block_47`` as ``block_#``, then lines as well;
4. all nodes of one line; of one op.

Where kernels are drawn, one box a kernel comes first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import Source
from graphc.ir.origin import Scope

Names = tuple[str, ...]

Fold = bool | int | str | Sequence[str] | None
"""What ``draw`` takes as ``fold=``."""

MOST_NAMED = 6
"""Scopes that an error message names."""


@dataclass(frozen=True)
class Group:
    """What a box stands for.

    Attributes
    ----------
    part : str
        Forward, backward or update.
    key : tuple
        What its nodes have in common.
    title : str
    scope : tuple of str
        The scopes around the box.
    folded : bool
        Whether it is one scope of the user's.
    """

    part: str
    key: tuple[object, ...]
    title: str
    scope: Names = ()
    folded: bool = False


class Scopes:
    """The scopes of a graph's nodes, with names that tell them apart.

    Attributes
    ----------
    of : dict of Node to tuple of str
        From the outermost in; the second of two scopes that happen to have one name is called ``name#1``, as its
        variables are in a session.
    raw : dict of tuple of str to str
        The names without these numbers, joined by ``/``: what the paths of variables begin with.
    """

    def __init__(self, nodes: Sequence[Node]):
        self.of: dict[Node, Names] = {}
        self.raw: dict[Names, str] = {(): ""}
        known: dict[Scope, Names] = {(): ()}
        taken: Counter[tuple[Names, str]] = Counter()
        for node in sorted(nodes, key=lambda node: (_is_derived(node), node.serial)):
            scope = node.origin.scope
            for depth in range(1, len(scope) + 1):
                if scope[:depth] not in known:
                    around, name = known[scope[: depth - 1]], scope[depth - 1][0]
                    count = taken[around, name]
                    taken[around, name] += 1
                    shown = (*around, f"{name}#{count}" if count else name)
                    known[scope[:depth]] = shown
                    self.raw[shown] = "/".join(piece for piece, _ in scope[:depth])
            self.of[node] = known[scope]

    @property
    def depth(self) -> int:
        """How deep scopes nest."""
        return max(map(len, self.of.values()), default=0)

    def chosen(self, fold: Fold) -> Mapping[Node, Names] | None:
        """The scope that each node disappears in, for nodes that do; None where the drawing chooses by itself.

        Raises
        ------
        GraphcError
            If ``fold`` is none of what :func:`graphc.draw` takes, or names a scope that is not there.
        """
        if fold is None:
            return None
        if fold is False:
            return {}
        if isinstance(fold, int):
            if fold < 1:
                raise GraphcError(f"draw: expected fold= as a depth of at least 1, got {fold}")
            return self.at_depth(int(fold))
        names = [fold] if isinstance(fold, str) else list(fold) if isinstance(fold, (list, tuple, set)) else None
        if names is None or not all(isinstance(name, str) for name in names):
            raise GraphcError(f"draw: expected fold= as True, a depth, or names of scopes, got {fold!r}")
        return self._named(names)

    def at_depth(self, depth: int, ends: bool = False) -> dict[Node, Names]:
        """Scopes nested to ``depth`` are folded; those around them stay open.

        With ``ends``, scopes further out in which there are no others are folded, too.
        """
        around = {scope[:-1] for scope in self.raw}
        return {
            node: scope[:depth]
            for node, scope in self.of.items()
            if len(scope) >= depth or (ends and scope and scope not in around)
        }

    def _named(self, names: Sequence[str]) -> dict[Node, Names]:
        import difflib  # only for what an error says

        known = {"/".join(shown): shown for shown in self.raw if shown}
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                some = ", ".join(list(known)[:MOST_NAMED]) + (", ..." if len(known) > MOST_NAMED else "")
                hint = f"did you mean {near[0]!r}?" if near else None
                raise GraphcError(
                    f"draw: there is no scope {name!r} to fold; the graph has {some or 'no scopes'}", hint=hint
                )
        wanted = sorted((known[name] for name in names), key=len)
        return {
            node: next(scope for scope in wanted if own[: len(scope)] == scope)
            for node, own in self.of.items()
            if any(own[: len(scope)] == scope for scope in wanted)
        }


def _is_derived(node: Node) -> bool:
    return bool(node.origin.derived)


def groups_of(
    parts: Mapping[Node, str], folded: Mapping[Node, Names], *, patterns: bool = False
) -> dict[Node, Group]:
    """The group of every node that disappears in a scope; scopes may be taken together by the pattern of their names.

    Parameters
    ----------
    parts : mapping of Node to str
    folded : mapping of Node to tuple of str
        From :meth:`Scopes.chosen` or :meth:`Scopes.at_depth`.
    patterns : bool
    """
    found = {}
    for node, scope in folded.items():
        key = tuple(re.sub(r"\d+", "#", name) for name in scope) if patterns else scope
        found[node] = Group(parts[node], ("scope", *key), key[-1], scope[:-1], folded=True)
    return found


def ways_to_fold(
    graph: Graph, scopes: Scopes, parts: Mapping[Node, str], kernels: Mapping[Node, int], lines: bool = True
) -> Iterator[tuple[str, dict[Node, Group]]]:
    """Foldings of a whole graph, finer ones first, each with words that say what it does.

    Parameters
    ----------
    graph : Graph
    scopes : Scopes
    parts : mapping of Node to str
    kernels : mapping of Node to int
        Those that are boxes.
    lines : bool
        Whether to go on with lines, patterns of names and ops where scopes to a depth do not suffice.
    """
    if kernels:
        yield "a box for each kernel", _by_kernel(parts, kernels)
    for depth in range(scopes.depth, 0, -1):
        yield f"scopes folded at depth {depth}", groups_of(parts, scopes.at_depth(depth))
        if depth > 1:
            ending = scopes.at_depth(depth, ends=True)
            yield f"scopes folded at depth {depth}, or where they end", groups_of(parts, ending)
    if not lines:
        return
    outermost = scopes.at_depth(1)
    others = [node for node in graph.nodes if node not in outermost]
    inner = [node for node in others if not isinstance(node.op, Source)]
    if len({node.origin.place for node in others}) > 1:
        words = "a box for each scope, and for each line outside them" if outermost else "a box for each line of yours"
        yield words, groups_of(parts, outermost) | _by_line(parts, inner)
    if outermost:
        alike = groups_of(parts, outermost, patterns=True)
        yield "scopes of like names together", alike
        yield "scopes of like names, and nodes of one line, together", alike | _by_line(parts, others)
    yield "a box for each line of yours, inputs included", _by_line(parts, graph.nodes)
    yield "a box for each op", {
        node: Group(part, ("op", node.op.name), node.op.name) for node, part in parts.items()
    }


def _by_line(parts: Mapping[Node, str], nodes: Sequence[Node]) -> dict[Node, Group]:
    places = {node: node.origin.place for node in nodes}
    return {node: Group(parts[node], ("line", place), str(place) or "no line") for node, place in places.items()}


def _by_kernel(parts: Mapping[Node, str], kernels: Mapping[Node, int]) -> dict[Node, Group]:
    first: dict[int, str] = {}
    for node, number in kernels.items():
        first.setdefault(number, parts.get(node, ""))
    return {
        node: Group(first[number], ("kernel", number), f"kernel {number}")
        for node, number in kernels.items()
        if node in parts
    }
