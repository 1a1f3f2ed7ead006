"""Constant folding, one node for equal numbers, and computing before repeating.

A node whose inputs are all constants is computed here and now, by its NumPy meaning. A constant that is one number
repeated stays a ``broadcast_to`` of that number: it costs nothing in a kernel, and the other rules recognise it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.errors import GraphcError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Control, Decomposed
from graphc.ir.symbolic import Dim
from graphc.ops.base import Elementwise
from graphc.ops.elementwise import exp, maximum, multiply
from graphc.ops.sources import constant
from graphc.ops.views import broadcast_to
from graphc.passes.rules.registry import Example, constant_value, has_constant_value, rule, sample

LARGEST_FOLDED = 1 << 16
"""Bytes of an input or result beyond which a node is left to the kernels, which need not keep it in a cache entry."""


def _map_of_repeated() -> Example:
    return Example(exp(broadcast_to(sample(shape=()), (4, 5))), {"exp": 1, "broadcast_to": 1})


@rule(example=_map_of_repeated)
def map_before_repeating(node: Node) -> Tensor | None:
    """f(broadcast(x)) -> broadcast(f(x)): each different element is computed once."""
    if not isinstance(node.op, Elementwise) or any(tensor.node.op is not broadcast_to for tensor in node.inputs):
        return None
    inner = [tensor.node.inputs[0] for tensor in node.inputs]
    if any(tensor.shape != inner[0].shape for tensor in inner):
        return None
    return broadcast_to(node.op.make(*inner, **node.attributes), node.result.shape)


def _map_of_constant() -> Example:
    return Example(multiply(sample(), exp(constant(np.arange(3, dtype="float32")))), {"multiply": 1, "broadcast_to": 1})


@rule(example=_map_of_constant)
def fold_constants(node: Node) -> tuple[Tensor, ...] | None:
    """Compute a node whose inputs are constants."""
    if not node.op.pure or not node.inputs or node.op is broadcast_to or isinstance(node.op, Control | Decomposed):
        return None
    if not all(map(has_constant_value, node.inputs)) or _names_a_dim(tuple(node.attributes.values())):
        return None
    values: list[Any] = [constant_value(tensor) for tensor in node.inputs]
    sizes = [tensor.type.bytes for tensor in (*node.inputs, *node.results)]
    if not all(isinstance(size, int) and size <= LARGEST_FOLDED for size in sizes):
        return None
    try:
        made = node.op.compute(node, *values)
    except GraphcError:
        return None  # it fails in every run; let the run say so
    results = made if isinstance(made, tuple) else (made,)
    return tuple(constant.shared(value, tensor.dtype) for value, tensor in zip(results, node.results, strict=True))


def _names_a_dim(attribute: Any) -> bool:
    """Whether an attribute holds a size that is known only when the program runs, as the number of segments may be."""
    return any(map(_names_a_dim, attribute)) if isinstance(attribute, tuple) else isinstance(attribute, Dim)


def _two_equal_numbers() -> Example:
    x, left, right = sample(), constant(2.0), constant(2.0)
    return Example(multiply(maximum(x, left), maximum(x, right)), {"maximum": 1, "broadcast_to": 1, "square": 1})


@rule("constant", example=_two_equal_numbers)
def share_numbers(node: Node) -> Tensor | None:
    """Equal numbers that were declared apart become one node, and what is made of them merges."""
    if node["value"].size != 1:
        return None
    shared: Tensor = constant.make(value=node["value"])
    return None if shared.node is node else shared
