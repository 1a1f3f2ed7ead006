"""The order of a step's kernels, and which variables are written in place.

Three things must hold besides the data flow:

* a kernel that can fail comes before the first that writes a variable, so that a failed step changes nothing (a loop
  comes before it, too: a step can be interrupted until it writes);
* a variable is overwritten only after everyone has read its old value;
* whatever can't be ordered so (an update that a loop or something which can fail depends on) writes its new value
  beside the variable, and it is copied over at the end.

The first two are *soft* edges of a topological sort that prefers the given order; where they would make a cycle
they are dropped for the step concerned, and the third rule applies to it.

Within these rules several orders are offered (:func:`orders`), all made by the same topological sort with another
choice among the steps that are ready; whoever plans memory takes the one whose live bytes have the lowest peak.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect
from graphc.ir.record import record
from graphc.ir.scalar import Apply, Load, Position, Scalar
from graphc.ir.symbolic import Axis, Size, evaluate, of_atom
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Accumulate, Kernel, Routine, Stage, operands_of, walk

MOST_REORDERED = 20_000
"""Above this many steps only the given order is tried."""


def updates_of(step: Step) -> tuple[Node, ...]:
    """Assign nodes whose values a step makes."""
    if isinstance(step, ControlStep):
        return ()
    return tuple(tensor.node for tensor in step.stored if isinstance(tensor.node.op, Effect))


def orders(steps: Sequence[Step], sizes: Mapping[str, int]) -> Iterator[list[Step]]:
    """Orders that respect data flow and, where possible, the soft rules of this module.

    Parameters
    ----------
    steps : sequence of Kernel or ControlStep
        In a valid order.
    sizes : mapping of str to int
        Values of the named dims, to tell large tensors from small ones.

    Yields
    ------
    list of Kernel or ControlStep
        As given; with whatever frees memory as early as possible; depth first.
    """
    hard, soft = _edges(steps)
    yield [steps[place] for place in _sort(hard, soft, _Ranking())]
    if len(steps) <= MOST_REORDERED:
        yield [steps[place] for place in _sort(hard, soft, _FreeingFirst(steps, sizes))]
        yield [steps[place] for place in _sort(hard, soft, _DepthFirst(hard))]


def _edges(steps: Sequence[Step]) -> tuple[list[set[int]], list[set[int]]]:
    """For each step those that must come before it, by data flow and by the soft rules."""
    maker = {tensor: place for place, step in enumerate(steps) for tensor in step.stored}
    readers: dict[Tensor, list[int]] = {}
    for place, step in enumerate(steps):
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(place)
    before_writing = _before_writing(steps)

    hard: list[set[int]] = [{maker[t] for t in step.inputs if t in maker} - {k} for k, step in enumerate(steps)]
    soft: list[set[int]] = [set() for _ in steps]
    for place, step in enumerate(steps):
        updates = updates_of(step)
        for node in updates:
            soft[place].update(readers.get(node.inputs[0], ()))
        if updates:
            soft[place].update(before_writing)
        soft[place] -= {place} | hard[place]
    return hard, soft


def _before_writing(steps: Sequence[Step]) -> set[int]:
    """Places of the steps that should come before the first that writes a variable: they may fail, or run for long."""
    return failing(steps) | {place for place, step in enumerate(steps) if isinstance(step, ControlStep)}


class _Ranking:
    """Which of the ready steps comes next: the one of the least key; here the first given."""

    def key(self, place: int) -> tuple[int, int]:
        return 0, place

    def take(self, place: int) -> Iterable[int]:
        """Note that a step comes next; the steps whose keys fall by that."""
        return ()


class _FreeingFirst(_Ranking):
    """The step that frees the most bytes net of what it stores, if one does; else the first given.

    A step frees what it alone has still to read. So a weight's gradient, with the update that consumes it, comes as
    soon as it can, and the forward activation that it reads is gone before the backward pass goes on; and steps that
    free nothing stay beside their producers, as fusion placed them.
    """

    def __init__(self, steps: Sequence[Step], sizes: Mapping[str, int]):
        self.inputs = [step.inputs for step in steps]
        made = {
            tensor: max(0, evaluate(tensor.type.bytes, sizes))  # some dims may be too small at these sizes
            for step in steps
            for tensor in step.stored
            if not isinstance(tensor.node.op, Effect)
        }
        self.readers: dict[Tensor, set[int]] = {}
        for place, inputs in enumerate(self.inputs):
            for tensor in inputs:
                if tensor in made:
                    self.readers.setdefault(tensor, set()).add(place)
        self.net = [-sum(made.get(tensor, 0) for tensor in step.stored) for step in steps]
        self.bytes = made
        for tensor, places in self.readers.items():
            if len(places) == 1:
                self.net[next(iter(places))] += made[tensor]

    def key(self, place: int) -> tuple[int, int]:
        return min(0, -self.net[place]), place

    def take(self, place: int) -> Iterable[int]:
        for tensor in self.inputs[place]:
            places = self.readers.get(tensor)
            if places is None:
                continue
            places.discard(place)
            if len(places) == 1:
                (last,) = places
                self.net[last] += self.bytes[tensor]
                yield last


class _DepthFirst(_Ranking):
    """Everything that one result needs before anything that only others need; results of the shortest paths first,
    and of what a step needs the longest path first."""

    def __init__(self, hard: list[set[int]]):
        depth: list[int] = []
        for sources in hard:  # the given order is valid, so sources come first
            depth.append(1 + max((depth[source] for source in sources), default=0))
        needed = {source for sources in hard for source in sources}
        ends = sorted(
            (place for place in range(len(hard)) if place not in needed), key=lambda place: (-depth[place], -place)
        )
        self.rank: dict[int, int] = {}
        stack = [(place, False) for place in ends]
        while stack:
            place, ready = stack.pop()
            if place in self.rank:
                continue
            if ready:
                self.rank[place] = len(self.rank)
                continue
            stack.append((place, True))
            missing = [source for source in hard[place] if source not in self.rank]
            stack += [(source, False) for source in sorted(missing, key=lambda source: (depth[source], -source))]

    def key(self, place: int) -> tuple[int, int]:
        return 0, self.rank[place]


def _sort(hard: list[set[int]], soft: list[set[int]], ranking: _Ranking) -> list[int]:
    """Topological order that takes the ready step of the least key; drops the soft edges of one step where none is
    ready."""
    waiting = [len(hard[k]) + len(soft[k]) for k in range(len(hard))]
    hard_waiting = [len(edges) for edges in hard]
    followers: list[list[tuple[int, bool]]] = [[] for _ in hard]
    for kind, edges in ((True, hard), (False, soft)):
        for place, sources in enumerate(edges):
            for source in sources:
                followers[source].append((place, kind))
    ready = [(ranking.key(place), place) for place, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    blocked = [place for place, count in enumerate(hard_waiting) if count == 0 and waiting[place]]
    heapq.heapify(blocked)
    done: set[int] = set()
    result: list[int] = []
    while len(result) < len(hard):
        place = heapq.heappop(ready)[1] if ready else heapq.heappop(blocked)
        if place in done:
            continue
        done.add(place)
        result.append(place)
        for other in ranking.take(place):
            if waiting[other] == 0:
                heapq.heappush(ready, (ranking.key(other), other))
        for follower, is_hard in followers[place]:
            waiting[follower] -= 1
            hard_waiting[follower] -= is_hard
            if waiting[follower] == 0:
                heapq.heappush(ready, (ranking.key(follower), follower))
            elif hard_waiting[follower] == 0:
                heapq.heappush(blocked, follower)
    return result


def failing(steps: Sequence[Step]) -> set[int]:
    """Places of the steps that can fail.

    A kernel that only checks elements which another kernel checks, too, together with all others of their tensor,
    fails only if that one does. (The gradient of an embedding repeats the checks of its indices: without this, all
    updates would wait for it.)
    """
    found = {place for place, step in enumerate(steps) if step.can_fail}
    checks: dict[int, list[_Check]] = {}
    for place in sorted(found):
        step = steps[place]
        made = _checks(step) if isinstance(step, Kernel) else None
        if made is not None:
            checks[place] = made
    whole: dict[tuple[Any, ...], int] = {}
    for place, made in checks.items():
        for check in made:
            if check.complete:
                whole.setdefault(check.what, place)
    for place, made in checks.items():
        if all(whole.get(check.what, place) != place for check in made):
            found.remove(place)
    return found


@record
class _Check:
    """Elements of an integer tensor are compared with an extent; ``complete``: all of them, whatever the data."""

    tensor: Tensor
    extent: Size
    static: tuple[Any, ...]
    complete: bool

    @property
    def what(self) -> tuple[Any, ...]:
        """Which elements would fail."""
        return self.tensor, self.extent, self.static


def _checks(kernel: Kernel) -> list[_Check] | None:
    """The checks that a kernel makes; None if one is of an index that is computed, or of a matrix."""
    found = []
    for stage in kernel.stages:
        if isinstance(stage, Routine) and stage.checked:
            return None
        always = {id(part) for part in _unconditional(stage)}
        for part in walk(*stage.scalars()):
            if not isinstance(part, Apply) or part.function != "checked_index":
                continue
            index, extent = part.arguments
            while isinstance(index, Apply) and index.function in ("cast", "minimum"):  # of its dtype to int64
                index = index.arguments[0]
            if not isinstance(index, Load) or not isinstance(extent, Position):
                return None
            complete = id(part) in always and _covers(index, kernel.axes + stage.loop_axes())
            found.append(_Check(index.tensor, extent.size, part.static, complete))
    return found


def _unconditional(stage: Stage) -> Iterator[Scalar]:
    """The parts of a stage's expressions that are evaluated at every point of its axes.

    Where workers skip contributions to others' parts of a result, these are only the places of contributions.
    """
    stack = list(stage.scalars())
    if isinstance(stage, Accumulate):
        stack = [Position(size) for size in stage.destination]
        stack += [] if stage.skips else [stage.value]
    while stack:
        part = stack.pop()
        yield part
        stack += part.arguments[:1] if isinstance(part, Apply) and part.function == "where" else operands_of(part)


def _covers(load: Load, axes: Sequence[Axis]) -> bool:
    """Whether loops over the axes read every element of the tensor, and are never empty but where it is."""
    own: dict[Size, Axis] = {of_atom(axis): axis for axis in axes}
    if len(set(load.index)) != len(load.index) or any(part not in own for part in load.index):
        return False
    if any(own[part].extent != size for part, size in zip(load.index, load.tensor.shape, strict=True)):
        return False
    others = [axis.extent for part, axis in own.items() if part not in load.index]
    return all(isinstance(extent, int) and extent > 0 for extent in others)


def in_place_updates(steps: Sequence[Step]) -> frozenset[Tensor]:
    """Results of assigns that may be written straight into their variables.

    In the given order no later step reads the variable, can fail or may have to be interrupted, and within its own
    kernel each element of the variable is read only for the same element's new value, no later than it is written.
    """
    last_reader: dict[Tensor, int] = {}
    last_stop = max(_before_writing(steps), default=-1)
    for place, step in enumerate(steps):
        for tensor in step.inputs:
            last_reader[tensor] = place
    found = set()
    for place, step in enumerate(steps):
        for node in updates_of(step):
            assert isinstance(step, Kernel)
            variable = node.inputs[0]
            free = last_reader.get(variable, -1) <= place and last_stop < place
            if free and overwrites(step, node.result, variable):
                found.add(node.result)
    return frozenset(found)


def overwrites(kernel: Kernel, result: Tensor, source: Tensor) -> bool:
    """Whether a kernel may write ``result`` over ``source``: every element is read, for the last time, by the very
    iteration that writes it."""
    writing = kernel.makers[result]
    stage = kernel.stages[writing]
    if isinstance(stage, Routine):  # reads its whole row again and again
        return False
    own = tuple([of_atom(axis) for axis in kernel.axes + stage.axes])
    for place, load in kernel.loads.get(source, ()):
        if place > writing or load.index != own or kernel.stages[place].loop_axes() != stage.axes:
            return False
    return result.type == source.type
