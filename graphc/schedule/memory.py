"""The memory plan: where each temporary lies in one arena.

Every stored tensor lives from the step that makes it to the last that reads it. Two lives that do not overlap may
share bytes. The plan is the better of two classic ones:

* *largest first, best fit*: tensors by falling size, each in the tightest gap between those already placed whose
  lives overlap its own (quadratic, so for up to some thousand tensors);
* *first come*: along the order of steps with a free list, best fit.

Before that, results that may overwrite a dying input take its place. The planned peak is compared with the lower
bound: the largest sum of bytes that live at one step. Sizes are those of a given set of named dims; a plan serves
every run whose tensors fit the places they were given.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.symbolic import evaluate, names_of, product
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Kernel
from graphc.schedule.loops import is_loop, layout_of
from graphc.schedule.order import overwrites

if TYPE_CHECKING:
    from graphc.schedule.schedule import Schedule

ALIGNMENT = 64
"""Bytes: no two tensors share a cache line."""

MOST_FOR_BEST_FIT = 2000
"""Above this many tensors the quadratic plan is not tried."""

MOST_INPUTS_IN_PLACE = 64
"""Kernels that read more tensors than this are not searched for one to overwrite."""


@dataclass(eq=False)
class Block:
    """Bytes with a life: needed from step ``first`` to step ``last``, both included.

    A block holds tensors that take the same bytes one after the other, or a kernel's scratch, or all that the bodies
    of a control step need (``body``, planned by themselves, at offsets relative to the block). The tensors begin
    ``lead`` bytes into it: a backward loop's history keeps the final carry before its first row.
    """

    bytes: int
    first: int
    last: int
    tensors: list[Tensor] = field(default_factory=list)
    lead: int = 0
    kernel: Kernel | None = None
    body: MemoryPlan | None = None
    offset: int = 0


@dataclass(eq=False)
class MemoryPlan:
    """Offsets in an arena for one set of named dims.

    Attributes
    ----------
    offsets : dict of Tensor to int
        Bytes from the arena's start, for every stored temporary (those of loops' bodies included); a body's carry
        parameter stands for its two alternating buffers.
    capacity : dict of Tensor to int
        Bytes reserved for each, from its offset on.
    lead : dict of Tensor to int
        Bytes reserved in front of each, where some are (see :class:`Block`).
    scratch : dict of Kernel to (int, int)
        Offset and bytes of the scratch of all workers, for kernels that have some.
    peak, lower_bound : int
        Bytes of the arena; largest sum of bytes alive at one step.
    blocks : list of Block
        For reports and pictures.
    """

    offsets: dict[Tensor, int] = field(default_factory=dict)
    capacity: dict[Tensor, int] = field(default_factory=dict)
    lead: dict[Tensor, int] = field(default_factory=dict)
    scratch: dict[Kernel, tuple[int, int]] = field(default_factory=dict)
    peak: int = 0
    lower_bound: int = 0
    blocks: list[Block] = field(default_factory=list)

    def serves(self, other: MemoryPlan) -> bool:
        """Whether whatever fits another plan of the same schedule fits this one, too."""
        return (
            all(size <= self.capacity.get(tensor, -1) for tensor, size in other.capacity.items())
            and all(size <= self.lead.get(tensor, -1) for tensor, size in other.lead.items())
            and all(size <= self.scratch.get(kernel, (0, -1))[1] for kernel, (_, size) in other.scratch.items())
        )


def block_bytes(count: int) -> int:
    """Bytes rounded up to the alignment; at least one unit, so that no two tensors share an address."""
    return max(ALIGNMENT, -(-count // ALIGNMENT) * ALIGNMENT)


def plan(
    schedule: Schedule, sizes: Mapping[str, int], scratch: Mapping[Kernel, int], workers: int, reuse: bool = True
) -> MemoryPlan:
    """Plan one arena for a schedule.

    Parameters
    ----------
    schedule : Schedule
    sizes : mapping of str to int
        Values of the named dims.
    scratch : mapping of Kernel to int
        Bytes of scratch that one worker needs.
    workers : int
    reuse : bool
        False gives every tensor bytes of its own and overwrites nothing (for debugging).

    Returns
    -------
    MemoryPlan
    """
    return _Planner(sizes, scratch, workers, reuse).plan(schedule.steps, schedule.kept, schedule.in_place)


def dims_of(graph: Graph) -> list[str]:
    """The named dims of a graph's tensors, those of bodies included, sorted."""
    shapes = {tensor.type.shape for node in graph.all_nodes() for tensor in node.results}  # far fewer than tensors
    return sorted({name for shape in shapes for size in shape for name in names_of(size)})


def live_bytes(schedule: Schedule, sizes: Mapping[str, int]) -> tuple[int, int]:
    """What the order alone decides, scratch not counted.

    Returns
    -------
    peak : int
        The largest sum of bytes alive at one step.
    area : int
        The sum over all steps of the bytes alive, which is small where values are read soon after they are made.
    """
    planner = _Planner(sizes, {}, 1, True)
    blocks = planner.blocks(schedule.steps, schedule.kept, schedule.in_place)
    return _lower_bound(blocks), sum(block.bytes * (block.last - block.first + 1) for block in blocks)


def _extra_row(tensor: Tensor, step: Step, sizes: Mapping[str, int]) -> int:
    """Bytes of the row that a loop's history takes more, for the carry after the last iteration; else 0."""
    if not isinstance(step, ControlStep) or not is_loop(step.node):
        return 0
    if not any(carry.history is tensor for carry in layout_of(step.node).carries):
        return 0
    return evaluate(product(tensor.shape[1:]) * tensor.dtype.itemsize, sizes)


class _Planner:
    """Plans steps and, inside out, the bodies of their loops and choices, for one set of named dims.

    Parameters are those of :func:`plan`.
    """

    def __init__(self, sizes: Mapping[str, int], scratch: Mapping[Kernel, int], workers: int, reuse: bool):
        self.sizes, self.scratch, self.workers, self.reuse = sizes, scratch, workers, reuse

    def plan(self, steps: Sequence[Step], kept: Collection[Tensor], elsewhere: Collection[Tensor]) -> MemoryPlan:
        """A plan for some steps; ``kept`` is needed after the last of them, ``elsewhere`` lies in other memory."""
        blocks = self.blocks(steps, kept, elsewhere)
        return self._settle(blocks)

    def _settle(self, blocks: list[Block]) -> MemoryPlan:
        """The plan that gives each block an offset, and what lies in it the offset of its place there."""
        result = MemoryPlan(blocks=blocks, lower_bound=_lower_bound(blocks))
        for block, offset in zip(blocks, _offsets(blocks, self.reuse), strict=True):
            block.offset = offset
            result.peak = max(result.peak, offset + block.bytes)
            for tensor in block.tensors:
                result.offsets[tensor], result.capacity[tensor] = offset + block.lead, block.bytes - block.lead
                if block.lead:
                    result.lead[tensor] = block.lead
            if block.kernel is not None:
                result.scratch[block.kernel] = offset, block.bytes
            if block.body is not None:
                for tensor, place in block.body.offsets.items():
                    result.offsets[tensor] = offset + place
                    result.capacity[tensor] = block.body.capacity[tensor]
                result.lead.update(block.body.lead)
                for kernel, (place, size) in block.body.scratch.items():
                    result.scratch[kernel] = offset + place, size
        return result

    def blocks(self, steps: Sequence[Step], kept: Collection[Tensor], elsewhere: Collection[Tensor]) -> list[Block]:
        """Blocks in order of first use."""
        last = {tensor: place for place, step in enumerate(steps) for tensor in step.inputs}
        blocks: list[Block] = []
        home: dict[Tensor, Block] = {}
        for place, step in enumerate(steps):
            if isinstance(step, ControlStep):
                body = self._loop(step) if is_loop(step.node) else self._choice(step)
                if body.peak:
                    blocks.append(Block(body.peak, place, place, body=body))
            elif step in self.scratch:
                blocks.append(Block(block_bytes(self.scratch[step]) * self.workers, place, place, kernel=step))
            for tensor in step.stored:
                if tensor in elsewhere:
                    continue
                until = len(steps) if tensor in kept else last.get(tensor, place)
                extra = _extra_row(tensor, step, self.sizes)
                size = block_bytes(evaluate(tensor.type.bytes, self.sizes) + extra)
                block = self._dying(step, tensor, home, place)
                if block is None or block.bytes != size:
                    lead = extra if isinstance(step, ControlStep) and extra and layout_of(step.node).reverse else 0
                    block = Block(size, place, until, lead=lead)
                    blocks.append(block)
                block.tensors.append(tensor)
                block.last = until
                home[tensor] = block
        return blocks

    def _dying(self, step: Step, result: Tensor, home: Mapping[Tensor, Block], place: int) -> Block | None:
        """A block that nobody needs after this step and that its result may overwrite."""
        if isinstance(step, ControlStep) or not self.reuse or len(step.inputs) > MOST_INPUTS_IN_PLACE:
            return None
        for tensor in step.inputs:
            block = home.get(tensor)
            if block is None or block.last != place or block.tensors[-1] is not tensor:
                continue
            if tensor.type == result.type and overwrites(step, result, tensor):
                return block
        return None

    def _loop(self, loop: ControlStep) -> MemoryPlan:
        """The plan of a loop's bodies, with two alternating buffers for each carry; the body's outputs lie in these or
        in the loop's results, and what the condition says is needed until the iteration's end."""
        layout = layout_of(loop.node)
        outputs = {tensor for body in loop.bodies for tensor in body.graph.outputs if tensor is not layout.flag}
        kept = set() if layout.flag is None else {layout.flag}
        blocks = self.blocks(loop.steps, kept, outputs)
        for carry in layout.carries:
            size = 2 * block_bytes(evaluate(carry.before.type.bytes, self.sizes))
            blocks.append(Block(size, 0, len(loop.steps), [carry.before]))
        return self._settle(blocks)

    def _choice(self, choice: ControlStep) -> MemoryPlan:
        """The plans of the bodies of a choice in one: only one of them runs, so they share their bytes. Their outputs
        lie in the step's results."""
        found = MemoryPlan()
        for body in choice.bodies:
            part = self.plan(body.steps, (), set(body.graph.outputs))
            found.offsets |= part.offsets
            found.capacity |= part.capacity
            found.lead |= part.lead
            found.scratch |= part.scratch
            found.peak = max(found.peak, part.peak)
            found.lower_bound = max(found.lower_bound, part.lower_bound)
            found.blocks += part.blocks
        return found


def _offsets(blocks: list[Block], reuse: bool) -> list[int]:
    """An offset for every block."""
    if not reuse:
        return _apart(blocks)
    first = _first_come(blocks)
    if len(blocks) > MOST_FOR_BEST_FIT or _peak(blocks, first) == _lower_bound(blocks):
        return first
    return min(first, _largest_first(blocks), key=lambda offsets: _peak(blocks, offsets))


def _peak(blocks: list[Block], offsets: list[int]) -> int:
    """Bytes of an arena that holds every block at its offset."""
    return max((offset + block.bytes for offset, block in zip(offsets, blocks, strict=True)), default=0)


def _apart(blocks: list[Block]) -> list[int]:
    """One behind the other, so that no two ever share bytes."""
    offsets, total = [], 0
    for block in blocks:
        offsets.append(total)
        total += block.bytes
    return offsets


def _largest_first(blocks: list[Block]) -> list[int]:
    """By falling size, each into the tightest gap between the blocks already placed that live when it does.

    The large ones are the hardest to place; those that come later fit into the gaps that they leave.
    """
    offsets = [0] * len(blocks)
    placed: list[tuple[int, int, int]] = []  # offset, end, block; sorted
    for k in sorted(range(len(blocks)), key=lambda k: (-blocks[k].bytes, blocks[k].first)):
        block = blocks[k]
        best, waste, reach = -1, -1, 0
        for offset, end, other in placed:
            if blocks[other].first > block.last or blocks[other].last < block.first:
                continue
            gap = offset - reach
            if gap >= block.bytes and (best < 0 or gap < waste):
                best, waste = reach, gap
            reach = max(reach, end)
        offsets[k] = reach if best < 0 else best
        bisect.insort(placed, (offsets[k], offsets[k] + block.bytes, k))
    return offsets


def _first_come(blocks: list[Block]) -> list[int]:
    """Along the steps, from a list of gaps sorted by offset; gaps that touch are joined."""
    dying: dict[int, list[int]] = {}
    for k, block in enumerate(blocks):
        dying.setdefault(block.last, []).append(k)
    offsets = [0] * len(blocks)
    gaps: list[tuple[int, int]] = []
    end, freed = 0, -1
    for k in sorted(range(len(blocks)), key=lambda k: blocks[k].first):
        block = blocks[k]
        while freed < block.first - 1:
            freed += 1
            for gone in dying.get(freed, ()):
                _release(gaps, offsets[gone], blocks[gone].bytes)
        fitting = [(size, offset, place) for place, (offset, size) in enumerate(gaps) if size >= block.bytes]
        if fitting:
            size, offsets[k], place = min(fitting)
            rest = (offsets[k] + block.bytes, size - block.bytes)
            gaps[place : place + 1] = [rest] if rest[1] else []
        elif gaps and sum(gaps[-1]) == end:
            offsets[k] = gaps.pop()[0]
            end = offsets[k] + block.bytes
        else:
            offsets[k], end = end, end + block.bytes
    return offsets


def _release(gaps: list[tuple[int, int]], offset: int, size: int) -> None:
    """Give bytes back to the sorted list of gaps, as one gap with the neighbours that they touch."""
    place = bisect.bisect_left(gaps, (offset, 0))
    if place < len(gaps) and offset + size == gaps[place][0]:
        size += gaps.pop(place)[1]
    if place and sum(gaps[place - 1]) == offset:
        place -= 1
        offset, size = gaps[place][0], gaps.pop(place)[1] + size
    gaps.insert(place, (offset, size))


def _lower_bound(blocks: list[Block]) -> int:
    """The largest sum of bytes alive at one step, which no plan can do without."""
    change: dict[int, int] = {}
    for block in blocks:
        change[block.first] = change.get(block.first, 0) + block.bytes
        change[block.last + 1] = change.get(block.last + 1, 0) - block.bytes
    alive = most = 0
    for step in sorted(change):
        alive += change[step]
        most = max(most, alive)
    return most
