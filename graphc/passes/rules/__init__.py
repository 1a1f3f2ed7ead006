"""The rules of simplification, by theme. :data:`RULES` lists them in the order in which they are tried."""

from graphc.passes.rules import folding, algebra, stable, logic, control, casts, movement, contraction  # noqa: F401, I001 (order of trial)
from graphc.passes.rules.registry import RULES, Example, Rule, rule

__all__ = ["RULES", "Example", "Rule", "rule"]
