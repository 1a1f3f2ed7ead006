"""Removes from bodies what is computed for nobody.

A node without readers is no part of a graph. A loop or choice with several results may have readers for some of them
only, and what its bodies compute for the others is waste: a counter's history, the cotangent of a carry that the loss
does not depend on. A result is *live* if it is read; within a body an output is live if a result that it makes is, and
**a carry is live if its final value or history is, or if a live output or the condition depends on it**, to be found by
repetition, since carries depend on each other through the iterations. Inputs of the node whose parameters are not live
are dropped too.

Graphs are walked from their outputs back, bodies by the same walk, so that what a dropped input was made for is not
live either.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from graphc.ir.graph import Graph, rewrite, topological
from graphc.ir.node import Node, Tensor, make_node
from graphc.ir.op import Control


def drop_dead_carries(graph: Graph) -> Graph:
    """Drop results that nobody reads from loops and choices, and inputs that their bodies then do not need.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        The same object if it holds no such node.
    """
    if not any(isinstance(node.op, Control) for node in graph.nodes):
        return graph
    live = _live(graph.outputs)

    def rule(node: Node, inputs: tuple[Tensor, ...]) -> Sequence[Tensor] | None:
        if not isinstance(node.op, Control) or live.isdisjoint(node.results):
            return None
        return _narrowed(node, inputs, _parts(node, live))

    return rewrite(graph, rule)


def _live(outputs: Sequence[Tensor]) -> set[Tensor]:
    """What some outputs depend on, they themselves included, through live parts of bodies only."""
    live = set(outputs)
    for node in reversed(topological(outputs)):
        if not live.isdisjoint(node.results):
            needed = _chosen(node, node.inputs, _parts(node, live)) if isinstance(node.op, Control) else node.inputs
            live.update(needed)
    return live


class _Parts(NamedTuple):
    """Places that are live, counted from 0 in each group of a node's inputs and results.

    Attributes
    ----------
    carries, xs, captures : list of int
    ys : list of int
        Outputs of the bodies behind the carries; all outputs of a choice.
    """

    carries: list[int]
    xs: list[int]
    captures: list[int]
    ys: list[int]


def _groups(node: Node) -> tuple[int, int, range]:
    """How many carries and xs a control node has, and the places of its captures."""
    return node.attributes.get("carries", 0), node.attributes.get("xs", 0), node.op.captures(node)


def _parts(node: Node, live: Collection[Tensor]) -> _Parts:
    """The live parts of a node of which some results are live."""
    count, xs, captures = _groups(node)
    histories = node.results[len(node.results) - count :] if _keeps_histories(node) else ()
    carries = {k for k in range(count) if node.results[k] in live or (histories and histories[k] in live)}
    ys = [k for k in range(len(node.bodies[-1].outputs) - count) if node.results[count + k] in live]
    while True:
        wanted = [tensor for body in node.bodies for tensor in _outputs(node, body, sorted(carries), ys)]
        formals = _live(wanted)
        read = [_formals(node, place) for place in range(captures.stop)]
        used = [any(tensor in formals for tensor in tensors) for tensors in read]
        more = carries | {k for k in range(count) if used[k]}
        if more == carries:
            break
        carries = more
    return _Parts(
        sorted(carries),
        [k for k in range(xs) if used[count + k]],
        [place - captures.start for place in captures if used[place]],
        ys,
    )


def _keeps_histories(node: Node) -> bool:
    """Whether the last results are histories of the carries."""
    return node.attributes.get("carries", 0) > 0 and node.attributes.get("limit", 0) is not None


def _formals(node: Node, place: int) -> list[Tensor]:
    """The parameters of the bodies for an input; none for a condition."""
    formal = node.op.formal(place)
    return [body.inputs[formal] for body in node.bodies] if formal >= 0 else []


def _outputs(node: Node, body: Graph, carries: Sequence[int], ys: Sequence[int]) -> tuple[Tensor, ...]:
    """The live outputs of a body; those of a loop's condition are always."""
    if "condition" in node.attributes and body is node["condition"]:
        return body.outputs
    count = node.attributes.get("carries", 0)
    return (*(body.outputs[k] for k in carries), *(body.outputs[count + k] for k in ys))


def _chosen(node: Node, inputs: Sequence[Tensor], parts: _Parts) -> tuple[Tensor, ...]:
    """The live ones of a node's inputs; what is neither carry, slice nor capture always is."""
    count, _, captures = _groups(node)
    first = captures.start if "carries" not in node.attributes else 0  # the condition of a choice
    return (
        *inputs[:first],
        *(inputs[k] for k in parts.carries),
        *(inputs[count + k] for k in parts.xs),
        *(inputs[captures.start + k] for k in parts.captures),
        *inputs[captures.stop :],
    )


def _narrowed(node: Node, inputs: Sequence[Tensor], parts: _Parts) -> tuple[Tensor, ...]:
    """What stands for a node's results: those of one with live parts only, and, for dead ones, they themselves."""
    count, _, captures = _groups(node)
    places = [*parts.carries, *(count + k for k in parts.xs), *(captures.start + k for k in parts.captures)]
    formals = [node.op.formal(place) for place in places]
    bodies = {}
    for name, body in zip(node.op.body_attributes, node.bodies, strict=True):
        kept = (
            *body.inputs[: max(0, node.op.formal(0))],
            *(body.inputs[formal] for formal in formals),
        )  # position first
        bodies[name] = drop_dead_carries(Graph(kept, _outputs(node, body, parts.carries, parts.ys), body.info))
    counts = {"carries": len(parts.carries), "xs": len(parts.xs)}
    changes = {name: number for name, number in counts.items() if name in node.attributes}
    made = make_node(node.op, _chosen(node, inputs, parts), {**node.attributes, **bodies, **changes}).results
    results = list(node.results)
    live = [*parts.carries, *(count + k for k in parts.ys)]
    if "condition" in node.attributes:
        live.append(count)
    if _keeps_histories(node):
        live += [len(node.results) - count + k for k in parts.carries]
    for place, tensor in zip(live, made, strict=True):
        results[place] = tensor
    return tuple(results)
