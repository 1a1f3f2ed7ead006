"""The walk that passes are made of: replace nodes, and what replaces them, until nothing is left to replace.

Nodes are visited producers first, each once. A node is remade on its inputs' final forms, its bodies swept, and
shown to ``replace``; what that returns is swept in the same way before anything that reads it. ``replace`` looks at
a node and at what it is made of, never at its consumers, so when a node's turn is over nothing that happens later can
give it another: one sweep reaches the fixpoint, in linear time. Recursion goes only as deep as replacements replace
one another, not as deep as the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_

from graphc.errors import GraphError
from graphc.ir.graph import Graph, holds, remake, topological
from graphc.ir.node import Node, Tensor, make_node, remade
from graphc.ir.origin import NOWHERE, derived_from

Replace = Callable[[Node], "Sequence[Tensor] | None"]

MOST_REPLACEMENTS = 64
"""How often one replacement may lead to the next; more means that they undo each other."""


def sweep(graph: Graph, replace: Replace, applies: Callable[[Node], bool] | None = None) -> Graph:
    """Rebuild a graph and the bodies in it.

    Parameters
    ----------
    graph : Graph
    replace : callable
        From a node, whose inputs are final, to the tensors that stand for its results, or None to keep it. What it
        makes carries the node's origin.
    applies : callable, optional
        Whether ``replace`` may replace a node. A graph without such nodes is not walked any further, so a pass that
        has nothing to do costs next to nothing.

    Returns
    -------
    Graph
        With the same inputs; the same object if nothing was replaced.

    Raises
    ------
    GraphError
        If a replacement has another type, or replacements do not end.
    """
    if applies is not None and not holds(graph, applies):
        return graph
    with derived_from(NOWHERE) as current:
        swept = _Sweep(replace, current)
        swept.visit(graph.nodes, ())
    outputs = tuple([swept.final[tensor] for tensor in graph.outputs])
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return Graph(graph.inputs, outputs, graph.info)


class _Sweep:
    """``final`` maps every tensor seen to its final form, and final forms to themselves.

    ``current`` says what new nodes are made for; it moves with the walk, which costs less than to enter and leave it.
    """

    def __init__(self, replace: Replace, current: derived_from):
        self.replace, self.current = replace, current
        self.final: dict[Tensor, Tensor] = {}

    def is_known(self, node: Node) -> bool:
        return node.results[0] in self.final

    def final_forms(self, tensors: Sequence[Tensor], trail: tuple[str, ...]) -> tuple[Tensor, ...]:
        """Sweep what the tensors depend on; ``trail`` names the ops replaced on the way here."""
        final = self.final
        if not all(tensor in final for tensor in tensors):
            self.visit(topological(tensors, stop=self.is_known), trail)
        return tuple([final[tensor] for tensor in tensors])

    def visit(self, nodes: Iterable[Node], trail: tuple[str, ...]) -> None:
        """Find the final forms of nodes, producers first."""
        final, current = self.final, self.current
        for node in nodes:
            results = node.results
            if results[0] in final:
                continue
            current.origin = node.origin
            inputs = [final[tensor] for tensor in node.inputs]
            if node.op.body_attributes:
                results = remake_with_bodies(node, tuple(inputs), lambda body: sweep(body, self.replace))
            elif not all(map(is_, inputs, node.inputs)):
                results = remade(node, tuple(inputs))
            if results is not node.results and results[0] in final:
                results = tuple([final[tensor] for tensor in results])
            else:
                results = self.replaced(results, trail)
            for old, new in zip(node.results, results, strict=True):
                final[old] = final[new] = new

    def replaced(self, results: tuple[Tensor, ...], trail: tuple[str, ...]) -> tuple[Tensor, ...]:
        """What finally stands for a node's results."""
        node = results[0].node
        self.current.origin = node.origin
        made = self.replace(node)
        if made is None:
            return results
        if [tensor.type for tensor in made] != [tensor.type for tensor in results]:
            types, expected = [str(tensor.type) for tensor in made], [str(tensor.type) for tensor in results]
            raise GraphError(
                f"{node.op.name}: expected a replacement of types {expected}, got {types}", origin=node.origin
            )
        if len(trail) == MOST_REPLACEMENTS:
            raise GraphError(f"replacements of {', '.join(dict.fromkeys(trail))} do not end", origin=node.origin)
        return self.final_forms(made, (*trail, node.op.name))


def remake_with_bodies(
    node: Node, inputs: tuple[Tensor, ...], transform: Callable[[Graph], Graph]
) -> tuple[Tensor, ...]:
    """The results of the same op on other inputs, its bodies transformed; the node itself if nothing changes."""
    if not node.op.body_attributes:
        return remake(node, inputs)
    bodies = {name: node[name] for name in node.op.body_attributes}
    changed = {name: new for name, old in bodies.items() if (new := transform(old)) is not old}
    if not changed:
        return remake(node, inputs)
    with derived_from(node.origin):
        return make_node(node.op, inputs, {**node.attributes, **changed}).results
