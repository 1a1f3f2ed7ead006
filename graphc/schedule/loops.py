"""How a scan's inputs, results and body correspond, for the memory plan and the call table."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.node import Node, Tensor
from graphc.ir.symbolic import Size


@dataclass(frozen=True, eq=False)
class Carry:
    """A value that each iteration replaces.

    Attributes
    ----------
    initial : Tensor
        Outside: its first value.
    before, after : Tensor
        In the body: the parameter that holds it, and the output that replaces it.
    final, history : Tensor
        Outside: its last value; its values before each iteration, by position.
    """

    initial: Tensor
    before: Tensor
    after: Tensor
    final: Tensor
    history: Tensor


@dataclass(frozen=True, eq=False)
class Layout:
    """The parts of a scan.

    Attributes
    ----------
    length : int or Dim
        Number of iterations.
    reverse : bool
        Whether slices are taken and stacked from the last to the first.
    index : Tensor
        The body's parameter that holds the position, int64.
    carries : tuple of Carry
    slices : tuple of (Tensor, Tensor)
        The body's parameter, and the outer tensor whose slice along axis 0 it is.
    captures : tuple of (Tensor, Tensor)
        The body's parameter, and the outer tensor that it is.
    stacked : tuple of (Tensor, Tensor)
        The body's output, and the result whose slice along axis 0 it makes.
    """

    length: Size
    reverse: bool
    index: Tensor
    carries: tuple[Carry, ...]
    slices: tuple[tuple[Tensor, Tensor], ...]
    captures: tuple[tuple[Tensor, Tensor], ...]
    stacked: tuple[tuple[Tensor, Tensor], ...]


def layout_of(node: Node) -> Layout:
    """The parts of a ``scan_loop`` node (see :mod:`graphc.ops.control` for their order)."""
    body, carries, xs = node["body"], node["carries"], node["xs"]
    index, *formals = body.inputs
    stop = carries + xs
    histories = len(node.results) - carries
    return Layout(
        length=node["length"],
        reverse=node["reverse"],
        index=index,
        carries=tuple(
            map(Carry, node.inputs[:carries], formals, body.outputs, node.results, node.results[histories:])
        ),
        slices=tuple(zip(formals[carries:stop], node.inputs[carries:stop], strict=True)),
        captures=tuple(zip(formals[stop:], node.inputs[stop:], strict=True)),
        stacked=tuple(zip(body.outputs[carries:], node.results[carries:histories], strict=True)),
    )
