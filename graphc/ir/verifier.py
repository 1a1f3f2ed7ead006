"""Checks that a graph is well formed; run after each pass in tests, and anywhere with ``GRAPHC_VERIFY=1``.

1. Producers come before consumers, and results know their node and place.
2. Every node's types are what its op infers from its inputs.
3. A body is closed (its leaves are its own inputs or pure sources) and writes no variable.
4. No variable is assigned twice.
5. Ops that a stage has removed (such as ``gradient`` after differentiation) are gone, from bodies too.
"""

from __future__ import annotations

from collections.abc import Collection

from graphc.errors import GraphcError, GraphError
from graphc.ir.graph import Graph
from graphc.ir.node import Node
from graphc.ir.op import REGISTRY, Effect, Source
from graphc.ir.printer import format_graph


def verify(graph: Graph, stage: str, absent: Collection[str] = ()) -> None:
    """Raise if the graph breaks a rule of this module.

    Parameters
    ----------
    graph : Graph
    stage : str
        The pass that made it, named in the message.
    absent : collection of str
        Names of ops that must no longer occur.

    Raises
    ------
    GraphError
        Naming the stage, the node, its neighbourhood and the user's line.
    """
    _verify(graph, stage, absent, body=False)


def _verify(graph: Graph, stage: str, absent: Collection[str], body: bool) -> None:
    seen: set[object] = set(graph.inputs)
    written: dict[object, Node] = {}
    for node in graph.nodes:
        problem = _problem(node, graph, seen, absent, body)
        if isinstance(node.op, Effect):
            variable = node.inputs[0]
            if variable in written:
                problem = f"variable {variable.name!r} is assigned twice in one step"
            written[variable] = node
        if problem:
            _fail(node, stage, problem)
        seen.update(node.results)
        for inner in node.bodies:
            _verify(inner, stage, absent, body=True)


def _problem(node: Node, graph: Graph, seen: set[object], absent: Collection[str], body: bool) -> str:
    if REGISTRY.get(node.op.name) is not node.op:
        return f"the op {node.op.name!r} is not the registered one"
    if node.op.name in absent:
        return f"op {node.op.name!r} must be gone by now"
    if any(tensor not in seen for tensor in node.inputs):
        return "an input is used before it is made"
    if any(tensor.node is not node or tensor.place != place for place, tensor in enumerate(node.results)):
        return "a result does not belong to the node"
    if body and isinstance(node.op, Effect):
        return "a body writes a variable"
    if isinstance(node.op, Source) and node.op.name == "parameter" and not set(node.results) <= set(graph.inputs):
        return "a body's parameter is used outside that body"
    free = isinstance(node.op, Source) and node.op.name != "constant"
    if body and free and not set(node.results) <= set(graph.inputs):
        return f"a body uses {node.results[0].name!r} without taking it as an input"
    try:
        types = node.op.infer_types(node.inputs, node.attributes)
    except GraphcError as error:
        return f"its inputs do not fit: {error.message}"
    if types != tuple(tensor.type for tensor in node.results):
        return f"its types are {[str(t.type) for t in node.results]}, its op infers {[str(t) for t in types]}"
    return ""


def _fail(node: Node, stage: str, problem: str) -> None:
    inputs = ", ".join(f"{tensor.name}: {tensor.type}" for tensor in node.inputs)
    made = Graph((), tuple(dict.fromkeys(node.inputs)))
    text = format_graph(made, "  ") if len(node.inputs) < 4 else f"  inputs {inputs}"
    raise GraphError(f"after {stage}: node {node!r}({inputs}): {problem}\n{text}", origin=node.origin)
