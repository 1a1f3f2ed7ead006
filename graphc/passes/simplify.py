"""Simplification: the rules of :mod:`graphc.passes.rules`, applied bottom-up until none fires.

Tensors that derivatives are taken by are pinned first (see :class:`graphc.ops.gradient.pin`), so that the pass may
run before differentiation as well as after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from graphc.ir.graph import Graph, holds, rewrite
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Source
from graphc.ops.gradient import pin, sources_of_derivative
from graphc.passes.rules import RULES, Rule
from graphc.passes.sweep import remake_with_bodies, sweep


def simplify(graph: Graph) -> Graph:
    """Apply all rules, in bodies too.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    Graph
        Computes the same; the same object if no rule fires.

    Raises
    ------
    GraphError
        If a rule changes a type, or rules undo each other.
    """
    return sweep(pin_derivatives(graph), _first_replacement)


def _first_replacement(node: Node) -> Sequence[Tensor] | None:
    for rule in _rules_of(node.op.name):
        made = rule.function(node)
        if made is not None:
            return (made,) if isinstance(made, Tensor) else made
    return None


@cache
def _rules_of(op: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if not rule.ops or op in rule.ops)


def pin_derivatives(graph: Graph) -> Graph:
    """Give every computed tensor that a derivative is taken by an identity of its own, in bodies too.

    So do constants, which would be folded with all that is made of them.
    """
    if not holds(graph, lambda node: node.op.derivative):
        return graph
    sources = {x for node in graph.nodes for x in sources_of_derivative(node)}
    free = {x for x in sources if isinstance(x.node.op, Source) and not x.node.op.fixed}
    targets = {x for x in sources - free if x.node.op is not pin}

    def pinned(node: Node, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        made = remake_with_bodies(node, inputs, pin_derivatives)
        return [pin(new) if old in targets else new for old, new in zip(node.results, made, strict=True)]

    return rewrite(graph, pinned)
