"""What derivatives are taken by is pinned: it gets an identity of its own.

In ``gradient(y, seed, x)``, x is *this* tensor and nothing that equals it. But tensors become equal on the way: a rule
simplifies x to something that y also uses elsewhere, or an inner derivative and an outer one both turn out to be zeros,
which are one node. So the pass puts ``pin(x)`` in the place of every such x, in the derivative and in all that is made
of x; ``pin`` computes nothing, and is dropped when the last derivative has been expanded.

Placeholders, variables and parameters are themselves alone and need none.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.graph import Graph, holds, rewrite
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Source
from graphc.ops.gradient import pin, sources_of_derivative
from graphc.passes.sweep import remake_with_bodies


def pin_derivatives(graph: Graph) -> Graph:
    """Pin what derivatives are taken by, in bodies too.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The same object if there is nothing to pin.
    """
    if not holds(graph, lambda node: node.op.derivative):
        return graph
    sources = {x for node in graph.nodes for x in sources_of_derivative(node)}
    free = {x for x in sources if isinstance(x.node.op, Source) and not x.node.op.fixed}
    targets = {x for x in sources - free if x.node.op is not pin}
    if not targets and not any(node.op.body_attributes for node in graph.nodes):
        return graph

    def pinned(node: Node, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        made = remake_with_bodies(node, inputs, pin_derivatives)
        return [pin(new) if old in targets else new for old, new in zip(node.results, made, strict=True)]

    return rewrite(graph, pinned)
