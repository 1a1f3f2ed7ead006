"""Which part of a training graph a node belongs to: forward, backward or update.

* **backward**: made by differentiation (``origin.derived`` says ``gradient of ...``) and by nothing else;
* **forward**: needed by the backward part or by an output that is no update;
* **update**: what is left, needed by assigns only: the optimizer's arithmetic and state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.ir.graph import Graph, topological
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect

FORWARD, BACKWARD, UPDATE = "forward", "backward", "update"
PARTS = (FORWARD, BACKWARD, UPDATE)


def is_derived(node: Node) -> bool:
    """Whether every reason for a node to exist is a derivative."""
    return node.op.derivative or all(origin.derived.startswith("gradient of") for origin in node.origins)


def parts_of(graph: Graph) -> dict[Node, str]:
    """The part of every node of a graph."""
    derived = {node for node in graph.nodes if is_derived(node) and not isinstance(node.op, Effect)}
    results = [tensor for tensor in graph.outputs if not isinstance(tensor.node.op, Effect)]
    roots = [*results, *(tensor for node in graph.nodes if node in derived for tensor in node.inputs)]
    needed = set(topological(roots))
    return {node: BACKWARD if node in derived else FORWARD if node in needed else UPDATE for node in graph.nodes}


def differentiated(outputs: Sequence[Tensor]) -> list[Tensor]:
    """What the derivatives among some tensors' ancestors are derivatives of, in order, without repetition."""
    found = [node.inputs[0] for node in topological(outputs) if node.op.derivative]
    return list(dict.fromkeys(found))


def trainable(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The variables that tensors depend on and that an optimizer would update."""
    return [node.result for node in topological(tensors) if node.op.name == "variable" and node.attributes["trainable"]]
