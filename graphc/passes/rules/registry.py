"""What a simplification rule is, and the list of all rules.

A rule looks at one node, whose inputs are in their simplest form already, and returns tensors that may stand for
its results, or None. It must keep values, shapes, dtypes, and where NaN and infinities occur (``x * 0`` is not 0
where ``x`` is infinite), and the sign of zeros (``-0.0 + 0.0`` is ``0.0``). Where it replaces a formula by a more
accurate one (``log(1 + x)`` by ``log1p(x)``), results may differ by the rounding that it removes.

Each rule carries an example, which is a test: after simplification, exactly the stated ops are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ops.sources import placeholder

Replacement = Tensor | Sequence[Tensor] | None


class Example(NamedTuple):
    """A graph on which a rule fires.

    Attributes
    ----------
    output : Tensor
        Made of placeholders and constants.
    left : mapping of str to int
        The ops that simplification leaves, without leaves of the graph, and how many there are of each.
    """

    output: Tensor
    left: Mapping[str, int]


class Rule(NamedTuple):
    """One simplification.

    Attributes
    ----------
    name : str
        What it does, such as ``drop_multiply_by_one``.
    ops : tuple of str
        Names of the ops at whose nodes it is tried; empty for all ops.
    function : callable
        From a node to what replaces its results, or None.
    example : callable
        Makes the :class:`Example`.
    """

    name: str
    ops: tuple[str, ...]
    function: Callable[[Node], Replacement]
    example: Callable[[], Example]

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


RULES: list[Rule] = []
"""All rules, in the order in which they are tried at a node."""


def rule(
    *ops: str, example: Callable[[], Example]
) -> Callable[[Callable[[Node], Replacement]], Callable[[Node], Replacement]]:
    """Add a function to the rules; without names of ops it is tried at every node."""

    def register(function: Callable[[Node], Replacement]) -> Callable[[Node], Replacement]:
        RULES.append(Rule(function.__name__, ops, function, example))
        return function

    return register


def sample(name: str = "x", shape: Sequence[int | str] = (2, 3), dtype: str = "float32") -> Tensor:
    """A placeholder for examples."""
    return placeholder(name, shape, dtype)


def constant_value(tensor: Tensor) -> np.ndarray | None:
    """The value of a constant, or of a broadcast of one to a static shape (a view: nothing is copied); else None."""
    if tensor.node.op.name == "constant":
        return tensor.node["value"]
    if tensor.node.op.name == "broadcast_to" and all(isinstance(size, int) for size in tensor.shape):
        inner = constant_value(tensor.node.inputs[0])
        return None if inner is None else np.broadcast_to(inner, tensor.shape)  # type: ignore[arg-type]
    return None


def has_constant_value(tensor: Tensor) -> bool:
    """Whether :func:`constant_value` gives one, without making it."""
    while tensor.node.op.name == "broadcast_to" and all(isinstance(size, int) for size in tensor.shape):
        tensor = tensor.node.inputs[0]
    return tensor.node.op.name == "constant"


def scalar_value(tensor: Tensor) -> np.generic | None:
    """The number that fills a tensor, if it is a constant of one element or a broadcast of one; else None."""
    while tensor.node.op.name in ("broadcast_to", "reshape"):
        tensor = tensor.node.inputs[0]
    if tensor.node.op.name == "constant" and tensor.node["value"].size == 1:
        return tensor.node["value"].reshape(())[()]
    return None


def is_filled_with(tensor: Tensor, number: float) -> bool:
    """Whether all elements are ``number``, the sign of a zero included."""
    value = scalar_value(tensor)
    return value is not None and bool(value == number) and bool(np.signbit(value) == np.signbit(np.float64(number)))


def made_by(tensor: Tensor, *ops: str) -> Node | None:
    """The node that makes a tensor if its op is one of these."""
    return tensor.node if tensor.node.op.name in ops else None
