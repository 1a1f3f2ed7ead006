"""Replaces :class:`~graphc.ir.op.Decomposed` ops by what they are made of, in bodies too.

Runs after differentiation: until then a ``custom_call`` has to stay whole, because its derivative is the user's.
"""

from __future__ import annotations

from graphc.ir.graph import Graph
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
    return sweep(graph, lambda node: node.op.decompose(node) if isinstance(node.op, Decomposed) else None)
