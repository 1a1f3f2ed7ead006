"""The schedule: a graph's kernels in order, and what the memory plan and the runtime must know of them."""

from __future__ import annotations

from collections.abc import Iterator

from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.record import record
from graphc.ir.symbolic import NOMINAL_SIZE
from graphc.schedule.fuse import ControlStep, Step, fuse
from graphc.schedule.kernel import Kernel
from graphc.schedule.memory import dims_of, live_bytes
from graphc.schedule.order import in_place_updates, orders


@record
class Schedule:
    """A graph, ready for code generation.

    Attributes
    ----------
    graph : Graph
    steps : tuple of Kernel or ControlStep
        In order of execution.
    in_place : frozenset of Tensor
        Results of assigns that are written straight into their variables; those of all other assigns are copied
        there at the end.
    """

    graph: Graph
    steps: tuple[Step, ...]
    in_place: frozenset[Tensor]

    @property
    def kept(self) -> frozenset[Tensor]:
        """Temporaries that are needed after the last step: outputs, and updates to be copied."""
        return frozenset(
            tensor for tensor in self.graph.outputs if not isinstance(tensor.node.op, Effect)
        ) | frozenset(node.result for node in self.graph.effects if node.result not in self.in_place)

    def kernels(self) -> Iterator[Kernel]:
        """All kernels, those of loops' bodies included."""
        stack: list[Step] = list(reversed(self.steps))
        while stack:
            step = stack.pop()
            if isinstance(step, ControlStep):
                stack += reversed(step.steps)
            else:
                yield step

    def __str__(self) -> str:
        from graphc.schedule.report import format_schedule

        return format_schedule(self)


def schedule(graph: Graph, in_place: bool = True) -> Schedule:
    """Fuse a graph into kernels and order them.

    Of the orders that :func:`graphc.schedule.order.orders` offers, the one with the lowest peak of live bytes is
    taken; among equals the one that keeps the fewest bytes waiting for their readers, since these are then still in
    a cache; then the first.

    Parameters
    ----------
    graph : Graph
        Simplified and decomposed; its outputs are no sources.
    in_place : bool
        False writes every update beside its variable (for debugging).
    """
    sizes = dict.fromkeys(dims_of(graph), NOMINAL_SIZE)
    found = [
        Schedule(graph, tuple(steps), in_place_updates(steps) if in_place else frozenset())
        for steps in orders(fuse(graph), sizes)
    ]
    return found[0] if len(found) == 1 else min(found, key=lambda candidate: live_bytes(candidate, sizes))
