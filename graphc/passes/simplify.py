"""Simplification: the rules of :mod:`graphc.passes.rules`, applied bottom-up until none fires.

Tensors that derivatives are taken by are pinned first (:mod:`graphc.passes.pins`), so that the pass may run before
differentiation as well as after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.passes.pins import pin_derivatives
from graphc.passes.rules import RULES, Rule
from graphc.passes.sweep import sweep


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
