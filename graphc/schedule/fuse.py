"""Fusion: roots become stages, stages gather in kernels.

Roots are visited in topological order, and kernels are kept in a list that is always a valid order of execution:

1. Let ``h`` be the latest kernel that makes something the root reads. The root may join any kernel from ``h`` on
   without making a cycle, since everything it needs is made there or earlier; nothing needs it yet.
2. It joins ``h`` if it can share leading axes with it: some ``p`` such that the first ``p`` sizes agree and every
   element it reads of what that kernel makes lies *at the same point* of the first ``p`` axes (the read's index
   begins with just these loop variables). The kernel's shared axes shrink to ``p``.
3. Otherwise it may join the latest kernel from ``h`` on that runs over the same domain (a sibling: the updates of
   an optimizer's state, say), if that is small enough for what will follow the root there. A long reduction joins
   one that reads what it reads, but not others: these would wait for it, and what they read leave the caches.
4. Otherwise it starts a kernel.

A reduction of chunks of rows joins a kernel that makes or reads those rows, whose points are settled from then on.

A contraction cuts its result into blocks that fit a cache, and what follows runs on a block, so it normally starts a
kernel; it joins the one that makes its operand only if it is one of many small products, one at each shared point, as
attention's are. Sorts and indexed accumulations are kernels by themselves. A value that
:mod:`graphc.schedule.recompute` computes again waits for the tensor beside which it is needed, as if it read it.

Scalars that depend on sources alone (a learning rate, one over the batch size) gather in a *prelude*, the first
kernel of all, so that they never keep a root from joining the kernel it would otherwise belong to.

Shrinking costs parallelism, so it is refused where too few points would be left. Since all stages take their loop
variables from one pool (:mod:`graphc.schedule.stages`), "at the same point" is equality of expressions, and stages
never need renaming when axes stop being shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import AxisScan, ChunkedReduction, Contraction, Control, Effect, IndexedAccumulation, Map, RowRoutine
from graphc.ir.record import record
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, atoms_of, nominal, product
from graphc.schedule import kernel as form
from graphc.schedule.kernel import Kernel, Stage
from graphc.schedule.loops import needed_bodies
from graphc.schedule.lower import Lowering
from graphc.schedule.stages import Pool, build_stage

PRELUDE = 0
"""Place of the kernel for scalars that depend on sources alone."""

FEWEST_POINTS = 16
"""Shared axes may not shrink below this many points, unless the kernel is small."""

SMALL_WORK = 4096
"""Kernels of less work than this may lose all their parallelism to fusion."""

MOST_READ_LATE = 1 << 15
"""Elements that a reduction may read (with every named dim 64) and yet wait for one that reads others: no more than a
core's own cache keeps until then."""

MOST_NODES = 100
"""Graph nodes a kernel may hold; compile time grows with statements."""

MOST_SIBLINGS = 50
"""Nodes a kernel may hold when a root joins that reads nothing of it: room is left for what will read that root, so
that an optimizer's update is not cut in two."""

WIDEST_ROW = 1024
"""Elements of a result at one point of the shared axes, where other stages follow a contraction: rows fit scratch."""

LARGEST_TILE = 3 << 13
"""Elements of a result at one point of the shared axes, where contractions follow each other on tiles in scratch."""


@dataclass
class Group:
    """A kernel that is still growing.

    Attributes
    ----------
    extents : tuple of Size
        Of the shared axes; they get fewer.
    stages : list of (Stage, tuple of Axis)
        Each with all axes of its shape, shared ones first.
    made : dict of Tensor to Stage
    size : int
        Graph nodes.
    work : Size
        Estimated scalar operations, in additions.
    closed : bool
        Nothing joins it.
    batched : bool
        Has a second contraction: it is one of many small kernels, each on a tile.
    """

    extents: tuple[Size, ...]
    stages: list[tuple[Stage, tuple[Axis, ...]]] = field(default_factory=list)
    made: dict[Tensor, Stage] = field(default_factory=dict)
    size: int = 0
    work: Size = 0
    closed: bool = False
    batched: bool = False

    @property
    def has_contraction(self) -> bool:
        """Whether a stage is a contraction."""
        return any(isinstance(stage, form.Contract) for stage, _ in self.stages)

    @property
    def is_chunked(self) -> bool:
        """Whether a stage reduces chunks of the points, so that these are settled."""
        return any(isinstance(stage, form.ReduceChunks) for stage, _ in self.stages)


@record
class Body:
    """The steps of a body.

    Attributes
    ----------
    name : str
        The attribute that holds it.
    graph : Graph
        It, less the outputs that nobody reads.
    steps : tuple of Kernel or ControlStep
        In order.
    """

    name: str
    graph: Graph
    steps: tuple[Kernel | ControlStep, ...]


@record
class ControlStep:
    """A scan, cond or while_loop: bodies that run repeatedly, or one of which runs.

    Attributes
    ----------
    node : Node
        The control node; its inputs and results lie in memory.
    bodies : tuple of Body
    stored : tuple of Tensor
        The node's results that somebody reads; the others are not kept.
    """

    node: Node
    bodies: tuple[Body, ...]
    stored: tuple[Tensor, ...]

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Tensors of the outer graph that the bodies read."""
        return tuple(dict.fromkeys(self.node.inputs))

    @property
    def steps(self) -> tuple[Kernel | ControlStep, ...]:
        """Those of all bodies, one body after the other."""
        return tuple(step for body in self.bodies for step in body.steps)

    @property
    def can_fail(self) -> bool:
        """Whether a step of a body can fail."""
        return any(step.can_fail for step in self.steps)


Step = Kernel | ControlStep


def fuse(graph: Graph) -> list[Step]:
    """Kernels, loops and choices that compute a graph's outputs, in a valid order."""
    return _Fuser(graph).run()


class _Fuser:
    """The list of kernels and what is known of it: the algorithm above.

    Attributes
    ----------
    groups : list of Group or ControlStep
        In a valid order; new ones come at the end.
    home : dict of Tensor to int
        The place of the group that makes a tensor.
    domains : dict of tuple of Size to int
        The place of the last group that runs over just these axes.
    readers : dict of Tensor to int
        The place of the last group that reads a tensor.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.lowering = Lowering(graph)
        self.outputs = set(graph.outputs)
        self.pool = Pool()
        self.groups: list[Group | ControlStep] = [Group(())]  # the prelude
        self.home: dict[Tensor, int] = {}
        self.domains: dict[tuple[Size, ...], int] = {}
        self.readers: dict[Tensor, int] = {}

    def run(self) -> list[Step]:
        # loop variables of results come before all others, so that equal layers order theirs alike (codegen.structure)
        for node in self.graph.nodes:
            self.pool.axes(node.results[0].shape)
        for node in self.graph.nodes:
            if isinstance(node.op, Control):
                self._place_control(node)
            elif any(tensor in self.lowering.roots for tensor in node.results):
                self._place(node)
        readers = self._readers()
        steps: list[Step] = []
        for place, group in enumerate(self.groups):
            if isinstance(group, ControlStep):
                steps.append(group)
            elif (kernel := self._finish(group, readers, place)).stages:
                steps.append(kernel)
        return steps

    def _place_control(self, node: Node) -> None:
        for tensor in node.results:
            self.home[tensor] = len(self.groups)
        stored = tuple(t for t in node.results if t in self.outputs or self.lowering.consumers[t])
        needed = needed_bodies(node, set(stored))  # what nobody reads is not computed
        bodies = tuple(Body(name, graph, tuple(fuse(graph))) for name, graph in needed.items())
        self.groups.append(ControlStep(node, bodies, stored))

    def _place(self, node: Node) -> None:
        shape = node.results[0].shape
        if isinstance(node.op, ChunkedReduction):
            shape = node.inputs[0].shape
        alone = build_stage(self.lowering, node, self.pool)
        latest = self._latest(alone)
        for candidate in self._candidates(node, shape, latest, alone):
            group = self.groups[candidate]
            assert isinstance(group, Group)
            stage = alone
            if not self.lowering.repeatable.isdisjoint(group.made):
                stage = build_stage(self.lowering, node, self.pool, group.made)
                if self._latest(stage) > candidate:  # loaded instead of computed, a tensor needs its index as well
                    continue
            shared = self._shared(group, stage, shape)
            if shared is not None:
                group.extents = group.extents[:shared]
                self._add(candidate, stage, shape)
                return
        group = Group(shape)
        if isinstance(node.op, (IndexedAccumulation, RowRoutine)):
            group.closed = True
            group.extents = shape[: len(shape) - node.op.core] if isinstance(node.op, RowRoutine) else ()
        elif isinstance(node.op, AxisScan):
            group.extents = shape[: node["axis"]]
        elif isinstance(node.op, ChunkedReduction):
            group.extents = shape[: len(node["axes"])]
        self.groups.append(group)
        self._add(len(self.groups) - 1, alone, shape)

    def _latest(self, stage: Stage) -> int:
        """The last group that a stage has to wait for; -1 for none."""
        awaited = [load.tensor for load in stage.loads]
        awaited += [part.inputs[place] for part in stage.nodes for place in part.op.awaited]
        return max((self.home.get(tensor, -1) for tensor in awaited), default=-1)

    def _candidates(self, node: Node, shape: tuple[Size, ...], latest: int, stage: Stage) -> list[int]:
        """The groups that a stage may join, the preferred one first: the last it waits for, then a sibling."""
        if isinstance(node.op, (IndexedAccumulation, RowRoutine)):
            return []
        if isinstance(node.op, Contraction):
            place = self._maker_of_operand(node)
            return [place] if place == latest else []
        if latest <= PRELUDE and shape == () and isinstance(node.op, Map):
            return [PRELUDE]
        found = [latest] if latest > PRELUDE else []
        sibling: int | None
        if isinstance(stage, form.ReduceChunks):  # beside whatever else goes over the rows that it reads
            sibling = max((self.readers.get(load.tensor, -1) for load in stage.loads), default=-1)
        else:
            sibling = self.domains.get(shape)
        if sibling is not None and sibling > latest and not self._would_wait(sibling, stage):
            found.append(sibling)
        return [place for place in found if isinstance(group := self.groups[place], Group) and not group.closed]

    def _would_wait(self, place: int, stage: Stage) -> bool:
        """Whether a group reads much for reductions, all of it something else than a long reduction reads."""
        group = self.groups[place]
        if not isinstance(group, Group) or not isinstance(stage, form.Reduce) or not _is_long(stage):
            return False
        long = [other for other, _ in group.stages if isinstance(other, form.Reduce) and _is_long(other)]
        read = {load.tensor for other in long for load in other.loads}
        return bool(long) and read.isdisjoint(load.tensor for load in stage.loads)

    def _maker_of_operand(self, node: Node) -> int | None:
        """The group that makes an operand of a contraction."""
        places = [self.home[tensor] for tensor in node.inputs if tensor in self.home]
        group = self.groups[max(places)] if places else None
        return max(places) if isinstance(group, Group) and not group.closed else None

    def _add(self, place: int, stage: Stage, shape: tuple[Size, ...]) -> None:
        group = self.groups[place]
        assert isinstance(group, Group)
        axes = self.pool.axes(shape)
        group.stages.append((stage, axes))
        group.work = group.work + _work(stage, axes)
        group.size += len(stage.nodes)
        group.batched |= isinstance(stage, form.Contract) and len(group.stages) > 1
        for tensor in stage.results:
            group.made[tensor] = stage
            self.home[tensor] = place
        self.readers.update(dict.fromkeys((load.tensor for load in stage.loads), place))
        if isinstance(stage, form.ReduceChunks):
            return
        if not group.closed and len(group.extents) == len(stage.results[0].shape):
            self.domains[stage.results[0].shape] = place

    def _shared(self, group: Group, stage: Stage, shape: tuple[Size, ...]) -> int | None:
        """How many leading axes the group and a new stage can share; None if they should stay apart."""
        related = any(load.tensor in group.made for load in stage.loads) or isinstance(stage, form.ReduceChunks)
        if group.size + len(stage.nodes) > (MOST_NODES if related else MOST_SIBLINGS):
            return None
        shared, most = 0, min(len(group.extents), len(shape))
        if isinstance(stage, form.ReduceChunks):
            most = min(most, len(shape) + 1 - stage.result.ndim)
        while shared < most and group.extents[shared] == shape[shared]:
            shared += 1
        if isinstance(stage, form.Scan):
            shared = min(shared, stage.axes.index(stage.scanned))
        here = self.pool.index(shape)
        for load in stage.loads:
            if load.tensor in group.made:
                aligned = 0
                while aligned < shared and load.index[aligned] == here[aligned]:
                    aligned += 1
                shared = aligned
        if group.is_chunked or isinstance(stage, form.ReduceChunks):
            return shared if self._keeps_chunks(group, stage, shape, shared) else None
        return shared if self._worth(group, stage, shape, shared) else None

    def _keeps_chunks(self, group: Group, stage: Stage, shape: tuple[Size, ...], shared: int) -> bool:
        """Whether all points of a group can be cut into chunks, with a stage in it that may ask for that."""
        if group.has_contraction or isinstance(stage, form.Contract):
            return False
        if isinstance(stage, form.ReduceChunks) and shared < len(shape) + 1 - stage.result.ndim:
            return False
        if any(isinstance(group.made.get(load.tensor), form.ReduceChunks) for load in stage.loads):
            return False  # a part is whole when all rows of its chunk are through
        if group.is_chunked and shared < len(group.extents):
            return False
        return self._worth(group, stage, shape, shared)

    def _worth(self, group: Group, stage: Stage, shape: tuple[Size, ...], shared: int) -> bool:
        """Whether enough is left to share among workers, and fits scratch, with only so many shared axes."""
        if shared == len(group.extents) == len(shape):
            return True  # the same domain, nothing lost
        small = _small(group, stage)
        points = product(group.extents[:shared])
        if isinstance(points, int) and points < FEWEST_POINTS and not small:
            return False
        if shared == 0 and not small:
            return False
        if isinstance(stage, form.Contract):
            return _is_batched(stage, self.pool.axes(shape[:shared])) and self._fits(group, shape, shared, LARGEST_TILE)
        if group.has_contraction:
            limit = LARGEST_TILE if group.batched else WIDEST_ROW
            return shared >= 1 and self._fits(group, shape, shared, limit)
        return True

    def _fits(self, group: Group, shape: tuple[Size, ...], shared: int, limit: int) -> bool:
        """Whether what each result has at one point of the shared axes is of static size, up to a limit."""
        sizes = [product(each[shared:]) for each in (shape, *(stage.results[0].shape for stage, _ in group.stages))]
        return all(isinstance(size, int) and size <= limit for size in sizes)

    def _readers(self) -> dict[Tensor, set[int]]:
        """For every tensor the steps that read it."""
        found: dict[Tensor, set[int]] = {}
        for place, group in enumerate(self.groups):
            if isinstance(group, ControlStep):
                for tensor in group.inputs:
                    found.setdefault(tensor, set()).add(place)
            else:
                for stage, _ in group.stages:
                    for load in stage.loads:
                        found.setdefault(load.tensor, set()).add(place)
        return found

    def _finish(self, group: Group, readers: dict[Tensor, set[int]], place: int) -> Kernel:
        """The kernel: stages that somebody reads, less their shared axes; what other steps read is stored."""
        shared = len(group.extents)
        needed = {
            tensor
            for stage, _ in group.stages
            for tensor in stage.results
            if tensor in self.outputs or isinstance(tensor.node.op, Effect) or readers.get(tensor, set()) - {place}
        }
        read = set(needed)
        stages: list[Stage] = []
        for stage, axes in reversed(group.stages):
            if read.isdisjoint(stage.results):
                continue  # an empty tensor, say, that a concatenation does not read
            stages.insert(0, replace(stage, axes=axes[shared:]))
            read.update(load.tensor for load in stage.loads)
        stored = tuple(
            tensor
            for stage in stages
            for tensor in stage.results
            if tensor in needed or isinstance(stage, (form.Accumulate, form.Routine))
        )
        return Kernel(self.pool.axes(group.extents), tuple(stages), stored)


def _small(group: Group, stage: Stage) -> bool:
    if not isinstance(group.work, int):
        return False
    total = group.work + _work(stage, ())
    return isinstance(total, int) and total <= SMALL_WORK


def _is_long(stage: form.Reduce) -> bool:
    """Whether a reduction reads so much that it should not wait."""
    return nominal(product(axis.extent for axis in (*stage.axes, *stage.reduced))) >= MOST_READ_LATE


def _work(stage: Stage, axes: tuple[Axis, ...]) -> Size:
    loops = axes or tuple(dict.fromkeys(stage.axes + stage.loop_axes()))
    extra = stage.reduced if isinstance(stage, (form.Reduce, form.Contract)) else ()
    return product(axis.extent for axis in (*loops, *extra)) * form.cost(*stage.scalars())


def _is_batched(stage: form.Contract, shared: Sequence[Axis]) -> bool:
    """Whether a contraction is one of many small ones: both its operands move with a shared axis.

    A contraction that all points share one operand of needs its own cut into blocks to be fast.
    """
    return any(all(uses(load, axis) for load in (stage.left, stage.right)) for axis in shared)


def uses(load: Load, axis: Axis) -> bool:
    """Whether a load's place moves with an axis."""
    return any(axis in atoms_of(size) for size in load.index if not isinstance(size, int))
