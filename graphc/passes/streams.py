"""Number the random streams of a program.

A random node's words depend on its *stream*, its place among the random nodes of its program. The first pass gives
every ``random_bits`` node the next number, in topological order and in the order of bodies within it, which are
fixed by the graph alone: the same program draws the same numbers in every process. It runs before differentiation,
because a backward pass may hold copies of a random node (a loop's body is recomputed there), which must draw what
the original drew.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from graphc.ir.graph import Graph, holds, rewrite
from graphc.ir.node import Node, Tensor, make_node
from graphc.ops.randomness import random_bits


def number_streams(graph: Graph, numbers: Iterator[int] | None = None) -> Graph:
    """Give every ``random_bits`` node without a stream the next number, in bodies too.

    Parameters
    ----------
    graph : Graph
        As declared, before differentiation.
    numbers : iterator of int, optional
        From 0 if not given.

    Returns
    -------
    Graph
    """
    if not holds(graph, lambda node: node.op is random_bits):
        return graph
    numbers = count() if numbers is None else numbers
    bodies: dict[Graph, Graph] = {}

    def numbered(inner: Graph) -> Graph:
        return rewrite(inner, rule)

    def rule(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The node with a number of its own, or with numbered bodies; a body that several nodes hold stays one."""
        changes: dict[str, Any] = {}
        if node.op is random_bits and node["stream"] is None:
            changes["stream"] = next(numbers)
        for name in node.op.body_attributes:
            body = node[name]
            if body not in bodies:
                bodies[body] = numbered(body)
            if bodies[body] is not body:
                changes[name] = bodies[body]
        return make_node(node.op, inputs, {**node.attributes, **changes}).results if changes else None

    return numbered(graph)
