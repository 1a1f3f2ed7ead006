"""Numbers on the edges of a picture, as textbooks draw backpropagation.

For a small feed every edge shows the value that flows forward along it, the local derivative of the op at its end, and
the derivative of the result that flows back along it: what the edge contributes by the chain rule. Where a value is
used several times, its node shows the sum of these contributions (the multi-path chain rule).

The numbers are those of the NumPy reference interpreter; nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect, Map, View
from graphc.ir.types import is_float
from graphc.ops.derivatives import full
from graphc.ops.gradient import path_sum
from graphc.passes.differentiate import contributions_of, paths_between
from graphc.session import Session

Array = NDArray[Any]
Use = tuple[Node, int]
"""A node, and which of its inputs."""

MOST_SHOWN, MOST_ROWS = 4, 3
"""Elements of a row, and rows, that are written out; of longer ones the first two and the last."""

MOST_TERMS = 4
"""Contributions that a sum over paths writes out."""


@dataclass(frozen=True)
class Values:
    """The numbers of a picture.

    Attributes
    ----------
    forward : dict of Tensor to ndarray
    local : dict of (Node, int) to ndarray
        Derivative of an elementwise op's result by that input.
    backward : dict of (Node, int) to ndarray
        What the use contributes to the derivative by the tensor that the edge starts from.
    total : dict of Tensor to ndarray
        Derivatives of the result.
    """

    forward: dict[Tensor, Array]
    local: dict[Use, Array] = field(default_factory=dict)
    backward: dict[Use, Array] = field(default_factory=dict)
    total: dict[Tensor, Array] = field(default_factory=dict)

@dataclass(frozen=True)
class _Symbols:
    """The same as tensors."""

    local: dict[Use, Tensor]
    backward: dict[Use, Tensor]
    total: dict[Tensor, Tensor]


def values_of(
    graph: Graph, feeds: Mapping[Tensor, Any], by: Sequence[Tensor], hidden: Collection[Node], session: Session | None
) -> Values:
    """The numbers of a graph.

    Parameters
    ----------
    graph : Graph
        If derivatives are wanted, one without ``gradient`` nodes whose only output is a float scalar.
    feeds : mapping of Tensor to array_like
        Values of placeholders; of variables, where they are not to be those of the session.
    by : sequence of Tensor
        What the output is differentiated by; empty for forward values alone.
    hidden : collection of Node
        Broadcasts that are not drawn: edges start before them.
    session : Session, optional
        Whose variables are read; by default they have their initial values.

    Raises
    ------
    GraphcError
        If a key is no placeholder or variable of the graph, or a value does not fit.
    """
    leaves = {node.result: node.op.name for node in graph.nodes if node.op.name in ("placeholder", "variable")}
    if not isinstance(feeds, Mapping):
        raise GraphcError(f"draw: expected values= as a mapping from tensors to arrays, got {type(feeds).__name__}")
    for tensor in feeds:
        if not isinstance(tensor, Tensor) or tensor not in leaves:
            what = repr(tensor.name if isinstance(tensor, Tensor) else tensor)
            known = ", ".join(leaf.label for leaf in leaves) or "none"
            raise GraphcError(
                f"draw: expected values= of placeholders and variables of the graph ({known}), got one of {what}"
            )
    symbols = _symbols(graph, by, hidden) if by else _Symbols({}, {}, {})
    made = [node for node in graph.nodes if not isinstance(node.op, Effect) and node.op.name != "random_state"]
    tensors = [tensor for node in made for tensor in node.results]
    asked = [*tensors, *symbols.local.values(), *symbols.backward.values(), *symbols.total.values()]
    with Session(threads=1, backend="reference") as own:
        for tensor, kind in leaves.items():
            if kind == "variable" and tensor in feeds:
                own.set(tensor, feeds[tensor])
            elif kind == "variable" and session is not None:
                own.set(tensor, session.get(tensor))
        fed = {tensor: value for tensor, value in feeds.items() if leaves[tensor] == "placeholder"}
        found = iter(own.run(asked, fed))
    forward = {tensor: next(found) for tensor in tensors}
    local = {use: next(found) for use in symbols.local}
    backward = {use: next(found) for use in symbols.backward}
    return Values(forward, local, backward, {tensor: next(found) for tensor in symbols.total})


def _symbols(graph: Graph, by: Sequence[Tensor], hidden: Collection[Node]) -> _Symbols:
    """The backward walk of :func:`graphc.passes.differentiate.backward`, every step of which is kept."""
    (y,) = graph.outputs
    marked, active = paths_between(y, by)
    uses: dict[Tensor, list[Tensor]] = {y: [full(1.0, y.type)]}
    found = _Symbols({}, {}, {})

    def total(tensor: Tensor) -> Tensor | None:
        paths = uses.get(tensor)
        if paths is not None and tensor not in found.total:
            names = tuple(map(str, range(len(paths))))
            found.total[tensor] = paths[0] if len(paths) == 1 else path_sum(*paths, paths=names)
        return found.total.get(tensor)

    for node in reversed(marked):
        cotangents = [total(tensor) for tensor in node.results]
        if all(cotangent is None for cotangent in cotangents):
            continue
        for place, contribution in contributions_of(node, cotangents):
            if node.inputs[place] in active:
                uses.setdefault(node.inputs[place], []).append(contribution)
                found.backward[node, place] = _before(node.inputs[place], contribution, hidden)
        if isinstance(node.op, Map) and not isinstance(node.op, View) and is_float(node.result.dtype):
            ones = contributions_of(node, [full(1.0, node.result.type)])
            found.local.update({(node, place): slope for place, slope in ones if node.inputs[place] in active})
    for tensor in by:
        total(tensor)
    return found


def _before(tensor: Tensor, contribution: Tensor, hidden: Collection[Node]) -> Tensor:
    """A contribution as it arrives at the tensor that stands before broadcasts that are not drawn."""
    while tensor.node in hidden and tensor.node.inputs:
        ((_, contribution),) = contributions_of(tensor.node, [contribution])
        tensor = tensor.node.inputs[0]
    return contribution


def number(value: Any) -> str:
    """A number with four digits."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    text = f"{float(value):.4g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def array_text(array: Array) -> list[str]:
    """An array in a few short lines: one a row, cut where it is long."""
    if array.ndim == 0:
        return [number(array[()])]
    if array.size == 0:
        return [f"empty {array.shape}"]
    rows = array.reshape(-1, array.shape[-1])
    shown = [_row(row) for row in rows] if len(rows) <= MOST_ROWS else [_row(rows[0]), "⋮", _row(rows[-1])]
    shown[0] = "[" * (array.ndim - 1) + shown[0]
    shown[-1] += "]" * (array.ndim - 1)
    return shown


def _row(row: Array) -> str:
    entries = [number(value) for value in (row if len(row) <= MOST_SHOWN else (row[0], row[1], row[-1]))]
    if len(row) > MOST_SHOWN:
        entries.insert(2, "…")
    return f"[{', '.join(entries)}]"


def sum_text(terms: Sequence[Array], total: Array) -> list[str]:
    """A sum over paths: ``1 + 2 = 3`` for scalars, the count and the sum for arrays."""
    if all(term.ndim == 0 for term in terms) and len(terms) <= MOST_TERMS:
        texts = [number(term[()]) for term in terms]
        texts = [texts[0], *(f"({text})" if text.startswith("−") else text for text in texts[1:])]
        return [f"{' + '.join(texts)} = {number(total[()])}"]
    first, *rest = array_text(total)
    return [f"sum of {len(terms)} paths", f"= {first}", *rest]
