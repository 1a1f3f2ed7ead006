"""Graphs as text: one line a node, results numbered in order, bodies indented.

::

    %0: float32[batch, 784] = placeholder(name='x')
    %3: float32[batch, 10] = contract(%0, %1, spec='mk,kn->mn')     # train.py:12: logits = x @ w
    return %3
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.symbolic import Size

if TYPE_CHECKING:
    from graphc.ir.graph import Graph


def format_attribute(value: Any) -> str:
    """An attribute as dumps show it; arrays are cut to their type and a few values."""
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return repr(value.item())
        head = ", ".join(repr(entry.item()) for entry in value.ravel()[:3])
        return f"{value.dtype.name}{list(value.shape)}<{head}{', ...' if value.size > 3 else ''}>"
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, tuple):
        return f"({', '.join(map(format_attribute, value))}{',' if len(value) == 1 else ''})"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    return repr(value)


def format_bytes(count: Size) -> str:
    """A number of bytes for people, ``12.5 MiB``; an expression where it depends on named dims."""
    if not isinstance(count, int):
        return f"{count} B"
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}"


def format_graph(graph: Graph, indent: str = "", origins: bool = True) -> str:
    """The text of a graph; parts of a node's line that come from the user are quoted by ``repr``."""
    names: dict[Tensor, str] = {}
    lines = []
    for tensor in graph.inputs:
        names[tensor] = f"%{len(names)}"
        made = "input" if tensor.node.inputs else _call(tensor.node, names)  # of what, is no part of this graph
        lines.append(f"{indent}{names[tensor]}: {tensor.type} = {made}")
    for node in graph.nodes:
        if all(tensor in names for tensor in node.results):
            continue
        for tensor in node.results:
            names[tensor] = f"%{len(names)}"
        left = ", ".join(f"{names[tensor]}: {tensor.type}" for tensor in node.results)
        line = f"{indent}{left} = {_call(node, names)}"
        if origins and str(node.origin):
            line = f"{line:<100s}  # {node.origin}"
        lines.append(line)
        for name in node.op.body_attributes:
            lines.append(f"{indent}  {name}:")
            lines.append(format_graph(node.attributes[name], indent + "    ", origins))
    lines.append(f"{indent}return {', '.join(names[tensor] for tensor in graph.outputs)}")
    return "\n".join(lines)


def _call(node: Node, names: dict[Tensor, str]) -> str:
    parts = [names[tensor] for tensor in node.inputs]
    parts += [
        f"{name}={format_attribute(value)}"
        for name, value in node.attributes.items()
        if name not in node.op.body_attributes and not name.startswith("_")
    ]
    return f"{node.op.name}({', '.join(parts)})"
