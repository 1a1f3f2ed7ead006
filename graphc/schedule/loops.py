"""How the inputs, results and bodies of a loop or a choice correspond, for the memory plan and the call table."""

from __future__ import annotations

from collections.abc import Collection

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.record import record
from graphc.ir.symbolic import Size


@record
class Carry:
    """A value that each iteration replaces.

    Attributes
    ----------
    initial : Tensor
        Outside: its first value.
    before, after : Tensor
        In the body: the parameter that holds it, and the output that replaces it.
    final, history : Tensor
        Outside: its last value; its values before each iteration, by position (None where a loop has no bound).
    """

    initial: Tensor
    before: Tensor
    after: Tensor
    final: Tensor
    history: Tensor | None


@record
class Layout:
    """The parts of a scan or while_loop.

    Attributes
    ----------
    length : int, Dim or None
        Number of iterations; where the run decides, the largest there can be, None if there is no bound.
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
    count : Tensor or None
        Outside: the number of iterations, where the run decides.
    flag : Tensor or None
        The condition's output: whether to do another iteration.
    trips : Tensor or None
        Outside: the result that is the number of iterations done.
    aliases : tuple of (Tensor, Tensor)
        Parameters of the condition, and those of the body that they are.
    """

    length: Size | None
    reverse: bool
    index: Tensor
    carries: tuple[Carry, ...]
    slices: tuple[tuple[Tensor, Tensor], ...]
    captures: tuple[tuple[Tensor, Tensor], ...]
    stacked: tuple[tuple[Tensor, Tensor], ...]
    count: Tensor | None = None
    flag: Tensor | None = None
    trips: Tensor | None = None
    aliases: tuple[tuple[Tensor, Tensor], ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether the number of iterations is known before the step begins."""
        return self.count is None and self.flag is None


def layout_of(node: Node) -> Layout:
    """The parts of a ``scan_loop`` or ``while_loop`` node (see their modules for the parts' order)."""
    return _while_layout(node) if "condition" in node.attributes else _scan_layout(node)


def _scan_layout(node: Node) -> Layout:
    body, carries, xs = node["body"], node["carries"], node["xs"]
    index, *formals = body.inputs
    stop = carries + xs
    inputs, count = (node.inputs[:-1], node.inputs[-1]) if node["counted"] else (node.inputs, None)
    histories = len(node.results) - carries
    return Layout(
        length=node["length"],
        reverse=node["reverse"],
        index=index,
        carries=tuple(map(Carry, inputs[:carries], formals, body.outputs, node.results, node.results[histories:])),
        slices=tuple(zip(formals[carries:stop], inputs[carries:stop], strict=True)),
        captures=tuple(zip(formals[stop:], inputs[stop:], strict=True)),
        stacked=tuple(zip(body.outputs[carries:], node.results[carries:histories], strict=True)),
        count=count,
    )


def _while_layout(node: Node) -> Layout:
    condition, body, carries = node["condition"], node["body"], node["carries"]
    index, *formals = body.inputs
    histories = node.results[carries + 1 :] or (None,) * carries
    return Layout(
        length=node["limit"],
        reverse=False,
        index=index,
        carries=tuple(map(Carry, node.inputs[:carries], formals, body.outputs, node.results, histories)),
        slices=(),
        captures=tuple(zip(formals[carries:], node.inputs[carries:], strict=True)),
        stacked=(),
        flag=condition.outputs[0],
        trips=node.results[carries],
        aliases=tuple(zip(condition.inputs, body.inputs, strict=True)),
    )


def is_loop(node: Node) -> bool:
    """Whether a control node repeats its body; the others choose between theirs."""
    return "body" in node.attributes


def needed_bodies(node: Node, stored: Collection[Tensor]) -> dict[str, Graph]:
    """A control node's bodies by name, less the outputs of which no result is stored."""
    bodies = dict(zip(node.op.body_attributes, node.bodies, strict=True))
    if not is_loop(node):
        kept = [place for place, tensor in enumerate(node.results) if tensor in stored]
        return {name: Graph(body.inputs, tuple(body.outputs[place] for place in kept)) for name, body in bodies.items()}
    layout = layout_of(node)
    needed = [carry.after for carry in layout.carries]
    needed += [inner for inner, outer in layout.stacked if outer in stored]
    return {**bodies, "body": Graph(node["body"].inputs, tuple(needed))}
