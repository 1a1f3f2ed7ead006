"""What a program's memory is made of, and what the backward pass keeps alive.

A tensor is **kept for the backward pass** if the forward part makes it (see :mod:`graphc.passes.parts`), it lies in
memory, and a kernel other than its own reads it for the sake of a derivative. The reason is found in that kernel's
stage: the nodes that take the tensor as an input, and from those of the forward part, which the stage only computes
again, on to the first that differentiation made. Such a node says what it is the gradient of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import cached_property

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Contraction, Effect
from graphc.ir.printer import format_bytes
from graphc.ir.record import record
from graphc.ir.symbolic import evaluate
from graphc.passes.parts import is_derived
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.memory import Block, MemoryPlan, block_bytes
from graphc.schedule.schedule import Schedule

MOST_SHOWN = 24
"""Lines on kept tensors in the text of a report; the rest is summed up."""

MOST_REASONS = 2
"""Reasons that the text gives for each."""


@record
class Kept:
    """A forward tensor that lies in memory until the backward pass has read it.

    Attributes
    ----------
    tensor : Tensor
    bytes : int
        Of its block: rounded up to whole cache lines.
    made, read : int
        The step that makes it, and the last one that reads it for a derivative.
    reasons : tuple of str
        Why, such as ``"gradient of tanh reads its result (train.py:12)"``.
    """

    tensor: Tensor
    bytes: int
    made: int
    read: int
    reasons: tuple[str, ...]


@record
class MemoryReport:
    """What the memory of a program is made of; ``str`` of it is a table. All figures are bytes.

    Attributes
    ----------
    plan : MemoryPlan
        Where each buffer lies in the arena.
    schedule : Schedule
        Whose plan it is.
    sizes : mapping of str to int
        Values of the named dims that it serves.
    feed_copies : int
        Copies of what was fed in another dtype or layout than declared, or as lists.
    """

    plan: MemoryPlan
    schedule: Schedule
    sizes: Mapping[str, int] = field(default_factory=dict)
    feed_copies: int = 0

    def __repr__(self) -> str:
        return f"<MemoryReport: an arena of {self.peak:,} bytes>"

    @property
    def peak(self) -> int:
        """The arena: all temporaries, gradients, outputs before they are copied out, and scratch."""
        return self.plan.peak

    @property
    def lower_bound(self) -> int:
        """The largest sum of bytes alive at one step, scratch and gradients counted; no plan of this order needs
        less."""
        return self.plan.lower_bound

    @property
    def blocks(self) -> list[Block]:
        """The plan's buffers."""
        return self.plan.blocks

    @property
    def scratch(self) -> int:
        """The part of the arena that kernels use as scratch, at most, for all workers; that of loops not counted."""
        return max((block.bytes for block in self.plan.blocks if block.kernel is not None), default=0)

    @cached_property
    def outputs(self) -> int:
        """Arrays that the caller gets at each run."""
        found = [tensor for tensor in self.schedule.graph.outputs if not isinstance(tensor.node.op, Effect)]
        return sum(evaluate(tensor.type.bytes, self.sizes) for tensor in found)

    @cached_property
    def constants(self) -> int:
        """Arrays that are part of the program."""
        return sum(node["value"].nbytes for node in _leaves(self.schedule.graph) if node.op.name == "constant")

    @cached_property
    def variables(self) -> int:
        """Trainable variables that the program uses."""
        return self._variables(trainable=True)

    @cached_property
    def state(self) -> int:
        """Variables that are not trained: an optimizer's state, running statistics."""
        return self._variables(trainable=False)

    def _variables(self, trainable: bool) -> int:
        return sum(
            evaluate(node.result.type.bytes, {})
            for node in _leaves(self.schedule.graph)
            if node.op.name == "variable" and node["trainable"] is trainable
        )

    @property
    def step_bytes(self) -> int:
        """All that a step needs beyond feeds, constants and variables: arena, copies of feeds, outputs."""
        return self.peak + self.feed_copies + self.outputs

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """What is kept for the backward pass, and why; the largest first."""
        return kept_for_backward(self.schedule, self.sizes)

    @property
    def kept_bytes(self) -> int:
        """Sum over :attr:`kept`."""
        return sum(kept.bytes for kept in self.kept)

    def __str__(self) -> str:
        return "\n".join(_table(self))


def kept_for_backward(schedule: Schedule, sizes: Mapping[str, int]) -> tuple[Kept, ...]:
    """The tensors that live on from the forward to the backward pass.

    Parameters
    ----------
    schedule : Schedule
    sizes : mapping of str to int
        Values of the named dims.

    Returns
    -------
    tuple of Kept
        The largest first, then in order of execution.
    """
    makers = {tensor: place for place, step in enumerate(schedule.steps) for tensor in step.stored}
    reasons: dict[Tensor, dict[str, None]] = {}
    last: dict[Tensor, int] = {}
    for place, step in enumerate(schedule.steps):
        for tensor, nodes in _readings(step):
            if tensor in makers and not is_derived(tensor.node) and not isinstance(tensor.node.op, Effect):
                found = [_reason(tensor, node) for node in _derivatives(tensor, nodes)]
                if found:
                    reasons.setdefault(tensor, {}).update(dict.fromkeys(found))
                    last[tensor] = place
    kept = [
        Kept(tensor, block_bytes(evaluate(tensor.type.bytes, sizes)), makers[tensor], last[tensor], tuple(found))
        for tensor, found in reasons.items()
    ]
    return tuple(sorted(kept, key=lambda entry: (-entry.bytes, entry.made)))


def _readings(step: Step) -> Iterator[tuple[Tensor, tuple[Node, ...]]]:
    """What a step reads from memory, with the nodes of the stage that reads it."""
    if isinstance(step, ControlStep):
        for tensor in step.inputs:
            yield tensor, (step.node,)
        return
    own = set(step.made)
    for tensor, loads in step.loads.items():
        if tensor not in own:
            for place in dict.fromkeys(place for place, _ in loads):
                yield tensor, step.stages[place].nodes


def _derivatives(tensor: Tensor, nodes: Iterable[Node]) -> list[Node]:
    """The first nodes that differentiation made, on the ways from a tensor through a stage's nodes."""
    users: dict[Tensor, list[Node]] = {}
    for node in nodes:
        for source in dict.fromkeys(node.inputs):
            users.setdefault(source, []).append(node)
    found: dict[Node, None] = {}
    seen = {tensor}
    stack = [tensor]
    while stack:
        for node in users.get(stack.pop(), ()):
            if is_derived(node):
                found[node] = None
            else:
                stack += [result for result in node.results if result not in seen]
                seen.update(node.results)
    return list(found)


def _reason(tensor: Tensor, node: Node) -> str:
    """Why a node of the backward pass reads a forward tensor."""
    origin = next((origin for origin in node.origins if origin.derived), node.origin)  # others' may come first
    made = tensor.node
    op = origin.derived.removeprefix("gradient of ")
    here = (origin.filename, origin.line) in {(other.filename, other.line) for other in made.origins}
    if here and made.op.name == op and not isinstance(made.op, Contraction):
        what = "its result"
    else:
        what = "it" if here else "its input"
    place = f" ({os.path.basename(origin.filename)}:{origin.line})" if origin.filename else ""
    return f"{origin.derived} reads {what}{place}"


def _leaves(graph: Graph) -> Iterable[Node]:
    """Constants and variables, those of loops' bodies included, each once."""
    return dict.fromkeys(node for node in graph.all_nodes() if not node.inputs)


def _table(report: MemoryReport) -> Iterator[str]:
    named = ", ".join(f"{name} = {size}" for name, size in report.sizes.items())
    yield "memory of a step" + (f" for {named}" if named else "")
    ratio = report.peak / report.lower_bound if report.lower_bound else 1.0
    rows = [
        ("arena", report.peak, f"{ratio:.3f} times the lower bound, {report.lower_bound:,}"),
        ("  of it scratch", report.scratch, "at most, of one kernel"),
        ("copies of feeds", report.feed_copies, ""),
        ("outputs", report.outputs, "copies that the caller owns"),
        ("together", report.step_bytes, format_bytes(report.step_bytes)),
        ("constants", report.constants, ""),
        ("variables", report.variables, ""),
        ("other state", report.state, "an optimizer's, running statistics"),
    ]
    for name, count, remark in rows:
        yield f"  {name:<17s} {count:>16,}  {remark}".rstrip()
    kept = report.kept
    if not kept:
        yield "nothing is kept for a backward pass"
        return
    several = len(kept) > 1
    total = f"tensor{'s' * several} of {report.kept_bytes:,} bytes{' together' * several}"
    yield f"kept for the backward pass: {len(kept)} {total}"
    alike: dict[tuple[str, tuple[str, ...]], list[int]] = {}  # layers that a loop or a function made
    for entry in kept:
        alike.setdefault((entry.tensor.described, entry.reasons), []).append(entry.bytes)
    ranked = sorted(alike.items(), key=lambda item: -sum(item[1]))
    for (described, reasons), counts in ranked[:MOST_SHOWN]:
        yield f"  {sum(counts):>16,}  {f'{len(counts)} times ' if len(counts) > 1 else ''}{described}"
        for reason in reasons[:MOST_REASONS]:
            yield f"  {'':>16s}    {reason}"
        if len(reasons) > MOST_REASONS:
            yield f"  {'':>16s}    and {len(reasons) - MOST_REASONS} more"
    rest = [count for _, counts in ranked[MOST_SHOWN:] for count in counts]
    if rest:
        yield f"  {sum(rest):>16,}  {len(rest)} more"
