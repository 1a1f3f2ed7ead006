"""The order of a step's kernels, and which variables are written in place.

Three things must hold besides the data flow:

* a kernel that can fail comes before the first that writes a variable, so that a failed step changes nothing;
* a variable is overwritten only after everyone has read its old value;
* whatever can't be ordered so (an update that something which can fail depends on) writes its new value beside
  the variable, and it is copied over at the end.

The first two are *soft* edges of a topological sort that prefers the given order; where they would make a cycle
they are dropped for the step concerned, and the third rule applies to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect
from graphc.ir.scalar import Load
from graphc.ir.symbolic import of_atom
from graphc.schedule.fuse import Loop, Step
from graphc.schedule.kernel import Kernel, Routine, walk


def updates_of(step: Step) -> tuple[Node, ...]:
    """Assign nodes whose values a step makes."""
    if isinstance(step, Loop):
        return ()
    return tuple(tensor.node for tensor in step.stored if isinstance(tensor.node.op, Effect))


def order(steps: Sequence[Step]) -> list[Step]:
    """The steps in an order that respects data flow and, where possible, the soft rules of this module."""
    maker = {tensor: place for place, step in enumerate(steps) for tensor in step.stored}
    readers: dict[Tensor, list[int]] = {}
    for place, step in enumerate(steps):
        for tensor in step.inputs:
            readers.setdefault(tensor, []).append(place)
    failing = [place for place, step in enumerate(steps) if step.can_fail]

    hard: list[set[int]] = [{maker[t] for t in step.inputs if t in maker} - {k} for k, step in enumerate(steps)]
    soft: list[set[int]] = [set() for _ in steps]
    for place, step in enumerate(steps):
        updates = updates_of(step)
        for node in updates:
            soft[place].update(readers.get(node.inputs[0], ()))
        if updates:
            soft[place].update(failing)
        soft[place] -= {place} | hard[place]
    return [steps[place] for place in _sort(hard, soft)]


def _sort(hard: list[set[int]], soft: list[set[int]]) -> list[int]:
    """Topological order that takes the lowest ready step; drops the soft edges of one step where none is ready."""
    waiting = [len(hard[k]) + len(soft[k]) for k in range(len(hard))]
    hard_waiting = [len(edges) for edges in hard]
    followers: list[list[tuple[int, bool]]] = [[] for _ in hard]
    for kind, edges in ((True, hard), (False, soft)):
        for place, sources in enumerate(edges):
            for source in sources:
                followers[source].append((place, kind))
    ready = [place for place, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    blocked = [place for place, count in enumerate(hard_waiting) if count == 0 and waiting[place]]
    heapq.heapify(blocked)
    done: set[int] = set()
    result: list[int] = []
    while len(result) < len(hard):
        place = heapq.heappop(ready) if ready else heapq.heappop(blocked)
        if place in done:
            continue
        done.add(place)
        result.append(place)
        for follower, is_hard in followers[place]:
            waiting[follower] -= 1
            hard_waiting[follower] -= is_hard
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
            elif hard_waiting[follower] == 0:
                heapq.heappush(blocked, follower)
    return result


def in_place_updates(steps: Sequence[Step]) -> frozenset[Tensor]:
    """Results of assigns that may be written straight into their variables.

    In the given order no later step reads the variable or can fail, and within its own kernel each element of the
    variable is read only for the same element's new value, no later than it is written.
    """
    last_reader: dict[Tensor, int] = {}
    last_failure = -1
    for place, step in enumerate(steps):
        for tensor in step.inputs:
            last_reader[tensor] = place
        if step.can_fail:
            last_failure = place
    found = set()
    for place, step in enumerate(steps):
        for node in updates_of(step):
            assert isinstance(step, Kernel)
            variable = node.inputs[0]
            free = last_reader.get(variable, -1) <= place and last_failure < place
            if free and overwrites(step, node.result, variable):
                found.add(node.result)
    return frozenset(found)


def overwrites(kernel: Kernel, result: Tensor, source: Tensor) -> bool:
    """Whether a kernel may write ``result`` over ``source``: every element is read, for the last time, by the very
    iteration that writes it."""
    writing = next(k for k, stage in enumerate(kernel.stages) if any(made is result for made in stage.results))
    stage = kernel.stages[writing]
    if isinstance(stage, Routine):  # reads its whole row again and again
        return False
    own = tuple(of_atom(axis) for axis in kernel.axes + stage.axes)
    for place, other in enumerate(kernel.stages):
        for part in walk(*other.scalars()):
            if not isinstance(part, Load) or part.tensor is not source:
                continue
            if place > writing or part.index != own or other.loop_axes() != stage.axes:
                return False
    return result.type == source.type
