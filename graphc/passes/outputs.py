"""Give every output memory of its own, and every loop a body of its own.

Outputs of a program or body are written by kernels. An output that is a leaf (a variable fetched by the very step
that updates it, a carry that a body hands on unchanged), or that a body gives twice or takes from an inner loop, is no
kernel's result; a ``copy`` node makes it one.

Two loops may hold the same body (a loop and its repetition in a backward pass), and nodes that depend on constants only
are the same inside and outside. From here on a tensor stands for a place in memory, so each loop gets nodes of its own.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.ir.graph import Graph, rewrite
from graphc.ir.node import Node, Tensor, make_node
from graphc.ir.op import Control, Effect, Source
from graphc.ops.sources import copy


def materialize_outputs(graph: Graph) -> Graph:
    """Put ``copy`` nodes where outputs are leaves, and where those of a body repeat; bodies included, each made new."""

    def with_bodies(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The node with copies in its bodies, and in those that these hold."""
        if not node.op.body_attributes:
            return None
        bodies = {
            name: _separate(_copied(rewrite(node[name], with_bodies), repeats=False))
            for name in node.op.body_attributes
        }
        return make_node(node.op, inputs, {**node.attributes, **bodies}).results

    if any(node.op.body_attributes for node in graph.nodes):
        graph = rewrite(graph, with_bodies)
    return _copied(graph, repeats=True)


def _separate(body: Graph) -> Graph:
    """The same body of new nodes that are merged with nothing; constants, which are read only, stay."""
    new: dict[Tensor, Tensor] = {}
    formals = dict.fromkeys(tensor.node for tensor in body.inputs)
    for node in formals | dict.fromkeys(body.nodes):
        made = node
        if not isinstance(node.op, Source) or node in formals:
            inputs, types = tuple(new[t] for t in node.inputs), tuple(t.type for t in node.results)
            made = Node(node.op, inputs, node.attributes, types)
            made.origins = node.origins
        new.update(zip(node.results, made.results, strict=True))
    return Graph(tuple(new[t] for t in body.inputs), tuple(new[t] for t in body.outputs), body.info)


def _copied(graph: Graph, repeats: bool) -> Graph:
    """Copies of outputs that are leaves, and of repeated ones unless ``repeats`` allows them."""
    seen: set[Tensor] = set()
    outputs = []
    for tensor in graph.outputs:
        op = tensor.node.op
        in_body = not repeats and (tensor in seen or isinstance(op, (Control, Effect)))
        outputs.append(copy(tensor) if isinstance(op, Source) or in_body else tensor)
        seen.add(tensor)
    if all(new is old for new, old in zip(outputs, graph.outputs, strict=True)):
        return graph
    return replace(graph, outputs=tuple(outputs))
