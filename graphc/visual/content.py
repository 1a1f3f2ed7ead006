"""What a picture of a graph shows: which nodes, in which groups, with what going in and out of these.

A picture shows some of the parts of a graph (forward, backward, update). What it doesn't draw as nodes is
:func:`graphc.visual.labels.folded_nodes`; an edge for such a tensor starts behind it. Scopes may be folded to groups
(:mod:`graphc.visual.scopes`). How all this is drawn, :mod:`graphc.visual.picture` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Source
from graphc.passes.parts import FORWARD, parts_of
from graphc.visual.labels import folded_nodes
from graphc.visual.scopes import Fold, Group, Scopes, groups_of, ways_to_fold
from graphc.visual.values import Use

Drawn = Node | Group
"""What one node of the picture stands for."""

MOST_OPEN, MOST_FOLDED = 100, 60
"""Pictures of more nodes fold by themselves where there are scopes, to this many: a node takes some 70 pixels of
height, so that 100 are a few screens; boxes with counts take more room than ops."""


class Content:
    """What is drawn of a graph.

    Parameters
    ----------
    graph : Graph
    show : tuple of str
        The parts to draw.
    boxed : mapping of Node to int
        Numbers of the kernels that are boxes.

    Attributes
    ----------
    parts : dict of Node to str
    scopes : Scopes
    folded : set of Node
        Nodes of which nothing is drawn.
    nodes : list of Node
        All others of the parts that are shown.
    groups : dict of Node to Group
        Those of the nodes that a folded scope stands for.
    with_bodies : bool
        Whether bodies are drawn.
    note : str
        What to say about a picture that was folded unasked.
    """

    def __init__(self, graph: Graph, show: tuple[str, ...], boxed: Mapping[Node, int]):
        self.graph, self.show, self.boxed = graph, show, boxed
        self.parts = parts_of(graph)
        self.scopes = Scopes(graph.nodes)
        self.folded = folded_nodes(graph)
        self.nodes = [node for node in graph.nodes if self.parts[node] in show and node not in self.folded]
        self.groups: dict[Node, Group] = {}
        self.with_bodies = True
        self.note = ""

    @property
    def size(self) -> int:
        """Number of nodes drawn, those of bodies included."""
        drawn = {self.drawn(node) for node in self.nodes}
        waiting = [body for node in drawn if isinstance(node, Node) and self.with_bodies for body in node.bodies]
        total = len(drawn)
        while waiting:
            body = waiting.pop()
            total += len(body.nodes)
            waiting += [inner for node in body.nodes for inner in node.bodies]
        return total

    def fold(self, fold: Fold, limit: int, most_open: int = MOST_OPEN) -> None:
        """Fold scopes: those asked for or, if ``fold`` is None, as many as make the picture readable.

        A picture of more nodes than ``most_open`` is folded by scopes, if that brings it to :data:`MOST_FOLDED`; one
        of more than ``limit`` has to be folded, in some way.

        Raises
        ------
        GraphcError
            If there is no such scope, or what is asked for leaves more nodes than the limit.
        """
        chosen = self.scopes.chosen(fold)
        if chosen is not None:
            self._group(groups_of(self.parts, chosen))
        size = self.size
        if size <= (limit if chosen is not None else min(limit, most_open)):
            return
        if chosen is None:
            if self._folded_to(min(limit, MOST_FOLDED), size, lines=size > limit):
                return
            if size <= limit:
                self.with_bodies = True
                self._group({})
                return
            if self._folded_to(limit, size, lines=True):
                return
        less = "" if fold is None else "leave out fold=, or fold more; "
        raise GraphcError(
            f"draw: {self.size:,} nodes are left to draw, more than the {limit} that make a readable picture",
            hint=f"{less}draw a part (show='forward'), or raise limit=",
        )

    def _folded_to(self, most: int, size: int, lines: bool) -> bool:
        """Whether a way to fold brings the picture to some number of nodes; the first that does is used."""
        self.with_bodies = False
        self._group({})
        ways = [("bodies left out", self.groups)] if self.size < size else []
        for words, groups in (*ways, *ways_to_fold(self.graph, self.scopes, self.parts, self.boxed, lines)):
            self._group(groups)
            if self.size <= most:
                self.note = f"{size:,} nodes, drawn as {self.size}: {words}"
                return True
        return False

    def _group(self, groups: dict[Node, Group]) -> None:
        """Use a folding; of what is no scope of the user's, a group of one node is that node."""
        counts: dict[Group, int] = {}
        for node in self.nodes:
            if node in groups:
                counts[groups[node]] = counts.get(groups[node], 0) + 1
        self.groups = {node: group for node, group in groups.items() if group.folded or counts.get(group, 0) > 1}

    def drawn(self, node: Node) -> Drawn:
        """What stands for a node."""
        return self.groups.get(node, node)

    def source(self, tensor: Tensor) -> Tensor:
        """Where an edge for a tensor starts: behind the broadcasts that are not drawn."""
        while tensor.node in self.folded and tensor.node.inputs:
            tensor = tensor.node.inputs[0]
        return tensor

    @cached_property
    def terms(self) -> dict[Tensor, list[Use]]:
        """For each tensor the edges that start from it."""
        found: dict[Tensor, list[Use]] = {}
        for node in self.nodes:
            for place, tensor in enumerate(node.inputs):
                found.setdefault(self.source(tensor), []).append((node, place))
        return found

    @cached_property
    def typed(self) -> set[Tensor]:
        """Forward tensors whose types stand on other edges, or in their nodes."""
        forward = [node for node in self.nodes if self.parts[node] == FORWARD and node not in self.groups]
        leaves = [node.results[0] for node in forward if isinstance(node.op, Source)]
        read = [self.source(tensor) for node in forward for tensor in node.inputs]
        return {*leaves, *(tensor for tensor in read if tensor.node not in self.groups)}

    @cached_property
    def traffic(self) -> dict[Group, tuple[list[Node], dict[Tensor, None], dict[Tensor, None]]]:
        """For each folded scope its nodes, what they read of others, and what others read of them."""
        found: dict[Group, tuple[list[Node], dict[Tensor, None], dict[Tensor, None]]] = {}
        for node in self.nodes:
            if node in self.groups:
                found.setdefault(self.groups[node], ([], {}, {}))[0].append(node)
        for reader in self.graph.nodes:
            to = self.groups.get(reader)
            for tensor in map(self.source, reader.inputs if reader not in self.folded else ()):
                of = self.groups.get(tensor.node)
                if of is not to and of != to and tensor.node not in self.folded:
                    if to in found:
                        found[to][1][tensor] = None
                    if of in found:
                        found[of][2][tensor] = None
        for tensor in map(self.source, self.graph.outputs):
            if self.groups.get(tensor.node) in found and not isinstance(tensor.node.op, Effect):
                found[self.groups[tensor.node]][2][tensor] = None
        return found
