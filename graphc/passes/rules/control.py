"""Choices that are known, and what bodies take in for nothing."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.graph import Graph, inline
from graphc.ir.node import Node, Tensor, make_node
from graphc.ops.conditional import cond
from graphc.ops.control import scan
from graphc.ops.elementwise import exp, multiply
from graphc.ops.views import broadcast_to
from graphc.passes.rules.registry import Example, rule, sample, scalar_value


def _known_choice() -> Example:
    return Example(cond(True, lambda x: exp(x), lambda x: x * 2, sample()), {"exp": 1})


@rule("cond", example=_known_choice)
def take_the_known_branch(node: Node) -> Sequence[Tensor] | None:
    """cond(True, f, g) -> f()"""
    value = scalar_value(node.inputs[0])
    if value is None:
        return None
    return inline(node["true_body" if value else "false_body"], node.inputs[1:])


def _repeated_capture() -> Example:
    twos = broadcast_to(2.0, (2, 3))
    return Example(cond(sample("c", (), "bool"), multiply, lambda x, _: x, sample(), twos), {"cond": 1})


@rule("cond", "scan_loop", "while_loop", example=_repeated_capture)
def narrow_captures(node: Node) -> Sequence[Tensor] | None:
    """Drop captures that no body reads, and move numbers, repeated or not, into the bodies."""
    places = node.op.captures(node)
    read = {tensor for body in node.bodies for inner in body.nodes for tensor in inner.inputs}
    read.update(tensor for body in node.bodies for tensor in body.outputs)
    dropped, moved = [], []
    for place in places:
        formals = {body.inputs[node.op.formal(place)] for body in node.bodies}
        if read.isdisjoint(formals):
            dropped.append(place)
        elif _is_number(node.inputs[place]):
            moved.append(place)
    if not dropped and not moved:
        return None
    gone = {*dropped, *moved}
    bodies = {
        name: _without(body, {node.op.formal(place): node.inputs[place] if place in moved else None for place in gone})
        for name, body in zip(node.op.body_attributes, node.bodies, strict=True)
    }
    inputs = tuple(tensor for place, tensor in enumerate(node.inputs) if place not in gone)
    return make_node(node.op, inputs, {**node.attributes, **bodies}).results


def _unread_slices() -> Example:
    last, _ = scan(lambda c, x: (exp(c), None), sample(), sample("xs", (4,)))
    return Example(last, {"scan_loop": 1})


@rule("scan_loop", example=_unread_slices)
def drop_unread_slices(node: Node) -> Sequence[Tensor] | None:
    """What a loop takes slices of and does not look at, such as histories of carries that a derivative does without."""
    first, stop = node["carries"], node["carries"] + node["xs"]
    body = node["body"]
    read = {*body.outputs, *(tensor for inner in body.nodes for tensor in inner.inputs)}
    unread = {place for place in range(first, stop) if body.inputs[place + 1] not in read}
    if not unread:
        return None
    inputs = tuple(tensor for place, tensor in enumerate(node.inputs) if place not in unread)
    changes = {"body": _without(body, {place + 1: None for place in unread}), "xs": node["xs"] - len(unread)}
    return make_node(node.op, inputs, {**node.attributes, **changes}).results


def _is_number(tensor: Tensor) -> bool:
    """Whether a tensor is a constant of one element, or a broadcast of one."""
    while tensor.node.op.name == "broadcast_to":
        tensor = tensor.node.inputs[0]
    return tensor.node.op.name == "constant" and tensor.node["value"].size == 1


def _without(body: Graph, gone: dict[int, Tensor | None]) -> Graph:
    """A body without some of its inputs; what stands for those that it reads."""
    arguments = []
    for place, tensor in enumerate(body.inputs):
        stand_in = gone.get(place)
        arguments.append(tensor if stand_in is None else stand_in)
    kept = tuple(tensor for place, tensor in enumerate(body.inputs) if place not in gone)
    return Graph(kept, inline(body, arguments), body.info)
