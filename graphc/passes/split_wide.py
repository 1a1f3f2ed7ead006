"""Cuts nodes with many inputs into nests of nodes with few, so that no kernel reads more than a handful of tensors.

A tensor that ten thousand others are computed from has a derivative that is a sum of ten thousand contributions, and
a list of a thousand tensors stacks to a concatenation of a thousand. As one expression each of them would be one
enormous kernel. ``path_sum`` is cut from the left, ``sum(sum(sum(a, b, c), d, e), f, g)``, which adds in the same
order and so gives the same bits; ``concat`` is cut into neighbours, level by level.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ops.gradient import path_sum
from graphc.ops.joining import concat
from graphc.passes.sweep import sweep

MOST_INPUTS = 16


def split_wide(graph: Graph) -> Graph:
    """Cut all path sums and concatenations of more than :data:`MOST_INPUTS` inputs, in bodies too."""
    return sweep(graph, _split, lambda node: len(node.inputs) > MOST_INPUTS)


def _split(node: Node) -> Sequence[Tensor] | None:
    if len(node.inputs) <= MOST_INPUTS:
        return None
    if node.op is path_sum:
        return (_left_to_right(node),)
    if node.op is concat:
        return (_levels(node),)
    return None


def _left_to_right(node: Node) -> Tensor:
    """Sums of sums, the running one always first."""
    paths = node["paths"]
    total = path_sum.make(*node.inputs[:MOST_INPUTS], paths=paths[:MOST_INPUTS])
    for first in range(MOST_INPUTS, len(node.inputs), MOST_INPUTS - 1):
        last = first + MOST_INPUTS - 1
        total = path_sum.make(total, *node.inputs[first:last], paths=("sum so far", *paths[first:last]))
    return total


def _levels(node: Node) -> Tensor:
    """Neighbours joined, then the joined ones, until one is left."""
    parts = list(node.inputs)
    while len(parts) > 1:
        groups = [parts[first : first + MOST_INPUTS] for first in range(0, len(parts), MOST_INPUTS)]
        parts = [group[0] if len(group) == 1 else concat.make(*group, axis=node["axis"]) for group in groups]
    return parts[0]
