"""Replaces :class:`~graphc.ir.op.Decomposed` ops by what they are made of, in bodies too.

Runs after differentiation: until then a ``custom_call`` has to stay whole, because its derivative is the user's.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Decomposed
from graphc.passes.sweep import sweep


def decompose(graph: Graph) -> Graph:
    """Rewrite all decomposed ops.

    Parameters
    ----------
    graph : Graph
        Differentiated.

    Returns
    -------
    Graph
        The same object if it holds no such op.
    """
    return sweep(graph, _parts, lambda node: isinstance(node.op, Decomposed))


def _parts(node: Node) -> Sequence[Tensor] | None:
    return node.op.decompose(node) if isinstance(node.op, Decomposed) else None
