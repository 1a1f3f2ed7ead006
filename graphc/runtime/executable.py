"""A program made ready to run: kernels' addresses, buffers, and the call table.

:class:`Executable` joins a :class:`~graphc.codegen.emit.Source` with the variables of a session and its workers.
For each set of values of the named dims it *binds*: the table's words (addresses of buffers, sizes, how many
workers share a kernel, where a barrier is needed) are filled once and kept for the next step of the same sizes. The
memory plan is shared by all sizes that fit into it; a larger one is made, with headroom, when a size outgrows it.
Kernels are compiled, or loaded, once, when the executable is made; binding compiles nothing.

A step then is: enter the table with the fed arrays (``entry.py``), which walks it, and copy the outputs out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.codegen.cpu import contraction, jit, library
from graphc.codegen.emit import Source
from graphc.codegen.source import KernelId, LibraryFunction, MicroKernel, Scratch, Status
from graphc.errors import GraphcError
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Effect
from graphc.ir.symbolic import Size, evaluate, names_of
from graphc.passes.collector import collector_paused
from graphc.runtime import stacks
from graphc.runtime.control import Moving, control_entries
from graphc.runtime.entry import Enter, Feed, gate
from graphc.runtime.failures import failure
from graphc.runtime.layout import FINISHED, MISFIT
from graphc.runtime.memory import ALIGNMENT, Arena, Blank, aligned_words, require_step
from graphc.runtime.table import Call, Cell, Commit, Copy, Entry, Patch, Table
from graphc.runtime.timing import Timer
from graphc.runtime.workers import Workers, walker
from graphc.schedule.footprint import MemoryReport
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Kernel
from graphc.schedule.memory import MemoryPlan, plan
from graphc.schedule.order import updates_of

PARALLEL_WORK = 32_768
"""Kernels of less work than this (in additions) are not worth sharing out: a few microseconds alone."""

HEADROOM = 1.25
"""A plan that has been outgrown is replaced by one for sizes larger by this factor."""

MOST_ROOM = 4
"""The new plan also serves all sizes of the old one, unless it then takes this many times the bytes."""

MOST_BOUND = 8
"""Sizes whose tables are kept."""

_Bytes = tuple[object, int, int]
"""A space (the arena, or a tensor that lies elsewhere), and the first and last byte in it."""

OnEvent = Callable[[jit.KernelEvent], None]


def common() -> list[jit.Wanted]:
    """The compiled functions that every program needs."""
    return [*walker().values(), gate()]


@dataclass(eq=False)
class Bound:
    """A table for one set of sizes.

    Attributes
    ----------
    table : Table
    enter : callable
        Starts a step of it.
    sizes : mapping of str to int
    outputs : list of (int, ndarray)
        Place among the program's outputs, and where the step leaves its value.
    nothing : list of None
        One a program's output: what a step returns before values are put in, for updates have none.
    arena : Arena
    blanks : list of Blank
        Kept alive with the table that holds their addresses.
    purposes : mapping of Entry to (Kernel or Node)
        What the table's calls and copies are for.
    timer : Timer or None
        Reads the stamps, if the table has some.
    """

    table: Table
    enter: Enter
    sizes: Mapping[str, int]
    outputs: list[tuple[int, NDArray[np.generic]]]
    nothing: list[NDArray[np.generic] | None]
    arena: Arena
    blanks: list[Blank]
    purposes: Mapping[Entry, Kernel | Node]
    timer: Timer | None = None


class Executable:
    """Compiled kernels with the memory they work on.

    Parameters
    ----------
    source : Source
    feeds : sequence of Tensor
        Placeholders, in the order of :meth:`run`'s arrays.
    variables : mapping of Tensor to ndarray
        Where the session keeps each variable that the program uses; arrays that never move.
    random_state : ndarray of uint64, shape (2,)
        Seed and count of training steps; the count grows with each committed step.
    workers : Workers
    reuse : bool
        False runs with no reuse of memory and nothing in place (for debugging).
    on_event : callable, optional
        Told of every kernel that is compiled or loaded.
    """

    def __init__(
        self,
        source: Source,
        feeds: Sequence[Tensor],
        variables: Mapping[Tensor, NDArray[np.generic]],
        random_state: NDArray[np.uint64],
        workers: Workers,
        reuse: bool = True,
        on_event: OnEvent | None = None,
    ):
        self.source, self.schedule = source, source.schedule
        self.feeds = tuple(feeds)
        self.workers, self.reuse = workers, reuse
        self.kernels = tuple(source.kernels)
        self._numbers = {kernel: number for number, kernel in enumerate(self.kernels)}
        self._counter = Cell(random_state.view(np.int64), 1)
        self._fixed: dict[Tensor, NDArray[np.generic]] = dict(variables)
        self._add_leaves(random_state)
        self._stack_bytes = 0  # what compiled kernels need of the stack of the thread that runs them
        self._addresses, self._functions = self._load(on_event)
        self._bound: dict[tuple[int, ...], Bound] = {}
        self._timed: tuple[tuple[int, ...], Bound] | None = None
        self.timing_ns = 0  # what laying out the timed table took in the last timed run
        self._latest: Bound | None = None
        self._names = sorted({name for tensor in self.feeds for size in tensor.shape for name in names_of(size)})
        self._plan: MemoryPlan | None = None
        self._room: Mapping[str, int] = {}
        self._arena = Arena(0)

    def _add_leaves(self, random_state: NDArray[np.uint64]) -> None:
        """Fix where constants and the random state are read, in bodies too."""
        for node in self.schedule.graph.all_nodes():
            if node.op.name == "constant":
                self._fixed[node.result] = np.ascontiguousarray(node["value"])
            elif node.op.name == "random_state":
                self._fixed[node.result] = random_state

    def _load(self, on_event: OnEvent | None) -> tuple[dict[str, int], dict[MicroKernel | LibraryFunction, int]]:
        """Addresses of the kernels, by text, and of the functions that they call."""
        texts = self.source.texts
        arguments = dict.fromkeys(a for kernel in self.source.kernels.values() for a in kernel.arguments)
        micros = [argument for argument in arguments if isinstance(argument, MicroKernel)]
        wanted = [contraction.wanted(micro.name) for micro in micros]
        kernels = [*map(jit.Wanted, texts), *wanted]
        self._stack_bytes = stacks.RESERVE + self._bytes_of_arrays(dict(zip(micros, wanted, strict=True)))
        events: list[jit.KernelEvent] = []
        jit.prepare([*kernels, *common()], events.append)
        if on_event is not None:
            for event in events[: len(kernels)]:
                on_event(event)
        addresses = dict(zip(texts, jit.load(texts), strict=True))
        functions: dict[MicroKernel | LibraryFunction, int] = {m: contraction.address(m.name) for m in micros}
        functions |= {each: library.address(each.name) for each in arguments if isinstance(each, LibraryFunction)}
        return addresses, functions

    def _bytes_of_arrays(self, functions: Mapping[MicroKernel, jit.Wanted]) -> int:
        """What arrays take of the stack, in the kernel that has most with those of a function that it calls."""
        of_texts = {text: stacks.bytes_of(text) for text in self.source.texts}
        of_functions = {micro: stacks.bytes_of(function.source) for micro, function in functions.items()}
        most = 0
        for kernel in self.source.kernels.values():
            called = [of_functions[a] for a in kernel.arguments if isinstance(a, MicroKernel)]
            most = max(most, of_texts[kernel.text] + max(called, default=0))
        return most

    def run(
        self, arrays: Sequence[NDArray[np.generic]], sizes: Mapping[str, int], timed: bool = False
    ) -> list[NDArray[np.generic] | None]:
        """One step.

        Parameters
        ----------
        arrays : sequence of ndarray
            A C-contiguous array a feed, of its dtype and shape.
        sizes : mapping of str to int
            Values of the named dims.
        timed : bool
            Walk a table with stamps; :attr:`timer` then tells what its entries took.

        Returns
        -------
        list of ndarray or None
            A new array an output; None for updates.

        Raises
        ------
        ExecutionError
            If a kernel failed; every variable is as it was.
        SessionError
            If the stack of the thread at hand is too small for the kernels.
        """
        key = tuple(sizes[name] for name in self._names)
        bound = self._bound.get(key) if not timed else self._with_timer(key, sizes)
        if bound is None:
            bound = self._bind(sizes)
            if len(self._bound) >= MOST_BOUND:
                del self._bound[next(iter(self._bound))]
            self._bound[key] = bound
        if not timed:
            self._latest = bound
        outputs = self._step(bound, arrays)
        if outputs is None:
            raise GraphcError(f"the fed arrays do not fit the table that was bound for them: {sizes}")
        return outputs

    def run_again(self, arrays: Sequence[Any]) -> list[NDArray[np.generic] | None] | None:
        """One step like the one before, if that is what these feeds ask for.

        Parameters
        ----------
        arrays : sequence
            Whatever is fed, unchecked.

        Returns
        -------
        list of ndarray or None, or None
            As :meth:`run`; None, with nothing done, if an array is not one that kernels can read where it is, of the
            shape of the step before.
        """
        return None if self._latest is None else self._step(self._latest, arrays)

    def _step(self, bound: Bound, arrays: Sequence[Any]) -> list[NDArray[np.generic] | None] | None:
        """One walk of a table; None, with nothing done, if the arrays do not fit it."""
        stacks.require(self._stack_bytes)
        said = self.workers.step(bound.table, bound.enter, arrays)
        if said == FINISHED:
            outputs = bound.nothing.copy()
            for place, view in bound.outputs:
                outputs[place] = view.copy()
            return outputs
        if said == MISFIT:
            return None
        code, number, *words = (int(word) for word in bound.table.status)
        raise failure(code, self.kernels[number], bound.sizes, *words)

    @property
    def memory(self) -> MemoryPlan | None:
        """The plan in force; None before the first run."""
        return self._plan

    @property
    def room(self) -> Mapping[str, int]:
        """Values of the named dims that the plan in force was made for."""
        return self._room

    @property
    def timer(self) -> Timer:
        """Of the last timed run.

        Raises
        ------
        GraphcError
            If there was none since memory was last laid out anew.
        """
        if self._timed is None or self._timed[1].timer is None:
            raise GraphcError("no step of this program has been timed")
        return self._timed[1].timer

    @property
    def timed_sizes(self) -> dict[str, int]:
        """Values of the named dims in the last timed run."""
        return {} if self._timed is None else dict(zip(self._names, self._timed[0], strict=True))

    def _with_timer(self, key: tuple[int, ...], sizes: Mapping[str, int]) -> Bound:
        """The table with stamps for some sizes, cleared; kept until other sizes are timed."""
        start = time.perf_counter_ns()
        if self._timed is None or self._timed[0] != key:
            self._timed = (key, self._bind(sizes, timed=True))
        self.timer.clear()
        self.timing_ns = time.perf_counter_ns() - start
        return self._timed[1]

    def _bind(self, sizes: Mapping[str, int], timed: bool = False) -> Bound:
        with collector_paused():
            exact = self._make_plan(sizes)
            if self._plan is None or not self._plan.serves(exact):
                self._replan(exact, sizes)
            assert self._plan is not None
            return Binder(self, self._plan, self._arena, sizes).bind(timed)

    def _replan(self, exact: MemoryPlan, sizes: Mapping[str, int]) -> None:
        """Get another arena, with headroom if that can be had; the first is exact."""
        rooms: list[Mapping[str, int]] = []
        if self._plan is not None:
            wider = {name: int(size * HEADROOM) for name, size in sizes.items()}
            rooms = [{n: wider[n] if size > self._room[n] else self._room[n] for n, size in sizes.items()}, wider]
        # what is at stake is forgotten first: an error or interrupt from here on leaves no plan without its arena
        self._bound.clear()
        self._timed = None
        self._latest = None
        self._plan, self._arena = None, Arena(0)
        for room in rooms:
            candidate = self._make_plan(room)
            if not candidate.serves(exact) or candidate.peak > MOST_ROOM * exact.peak:
                continue  # a tensor shrinks as a dim grows, or dims that are never large together would be planned so
            try:
                arena = Arena(candidate.peak)
            except GraphcError:  # less room may do
                continue
            self._plan, self._arena, self._room = candidate, arena, room
            return
        require_step(MemoryReport(exact, self.schedule, sizes))
        arena = Arena(exact.peak)
        self._plan, self._arena, self._room = exact, arena, sizes

    def scratch_bytes(self, sizes: Mapping[str, int]) -> dict[Kernel, int]:
        """Bytes of scratch a worker needs, for the kernels that need some."""
        return {
            kernel: evaluate(argument.bytes, sizes)
            for kernel, source in self.source.kernels.items()
            for argument in source.arguments
            if isinstance(argument, Scratch)
        }

    def _make_plan(self, sizes: Mapping[str, int]) -> MemoryPlan:
        return plan(self.schedule, sizes, self.scratch_bytes(sizes), self.workers.count, self.reuse)


@dataclass(eq=False)
class _Traffic:
    """What has been read and written since the last barrier: (space, first byte, last byte) each."""

    reads: list[_Bytes] = field(default_factory=list)
    writes: list[_Bytes] = field(default_factory=list)
    shared: bool = False

    def clear(self) -> None:
        self.reads.clear()
        self.writes.clear()
        self.shared = False


class Binder:
    """Fills a table for one set of sizes; what loops and choices become is in ``control.py``.

    Attributes
    ----------
    words : ndarray of int64
        Addresses and sizes: all cells of the table.
    moving : dict of Tensor to Moving
        Tensors of loops' bodies that lie in another place in each iteration.
    fixed : dict of Tensor to int
        Addresses of tensors that lie outside the arena, or in the place of another tensor.
    histories : set of Tensor
        Those of loops' carries: each has a row more than its type says, so none is empty.
    """

    def __init__(self, executable: Executable, memory: MemoryPlan, arena: Arena, sizes: Mapping[str, int]):
        self.executable, self.memory, self.arena, self.sizes = executable, memory, arena, sizes
        self.schedule = executable.schedule
        self.status = aligned_words(4)
        self.words = aligned_words(self._count_words(self.schedule.steps))  # a bound; _take checks it
        self.used = 0
        self.feed_cells: dict[Tensor, list[tuple[int, int]]] = {tensor: [] for tensor in executable.feeds}
        self.moving: dict[Tensor, Moving] = {}
        self.fixed: dict[Tensor, int] = {t: array.ctypes.data for t, array in executable._fixed.items()}
        self.histories: set[Tensor] = set()
        self.blanks: list[Blank] = []
        self._empty: dict[Size, bool] = {}
        self.traffic = _Traffic()
        self.purposes: dict[Entry, Kernel | Node] = {}  # what calls and copies are for
        self._labels = 0
        for node in self.schedule.graph.effects:
            if node.result in self.schedule.in_place:
                self.fixed[node.result] = self.fixed[node.inputs[0]]

    def bind(self, timed: bool = False) -> Bound:
        """The table: entries of all steps, the commit, copies of what could not be written in place; and the way in."""
        entries = self.entries(self.schedule.steps, committing=True)
        late = [node for node in self.schedule.graph.effects if node.result not in self.schedule.in_place]
        if self.schedule.graph.effects and not any(isinstance(entry, Commit) for entry in entries):
            entries.append(Commit())
        for node in late:
            to, source = self.cell(node.inputs[0]), self.cell(node.result)
            entries.append(self.copy(node, to, source, evaluate(node.result.type.bytes, self.sizes)))
        timer = Timer(entries, self.purposes, self.executable.workers.count) if timed else None
        walked = entries if timer is None else timer.entries
        table = Table(walked, counter=self.executable._counter, status=self.status)
        feeds = [
            Feed(
                tensor.dtype,
                tuple(evaluate(size, self.sizes) for size in tensor.shape),
                [(Cell(self.words, word), offset) for word, offset in self.feed_cells[tensor]],
            )
            for tensor in self.executable.feeds
        ]
        enter = self.executable.workers.entry(table, feeds)
        places = enumerate(self.schedule.graph.outputs)
        outputs = [(place, self._view(tensor)) for place, tensor in places if not isinstance(tensor.node.op, Effect)]
        nothing: list[NDArray[np.generic] | None] = [None] * len(self.schedule.graph.outputs)
        return Bound(table, enter, self.sizes, outputs, nothing, self.arena, self.blanks, self.purposes, timer)

    def copy(self, node: Node, to: Cell, source: Cell, nbytes: int) -> Copy:
        """A copy that belongs to a node: an assign, or a scan."""
        entry = Copy(to, source, nbytes)
        self.purposes[entry] = node
        return entry

    def _count_words(self, steps: Sequence[Step], depth: int = 0) -> int:
        """Words that buffers and sizes take; in loops, a cell that moves takes one more for its base, a loop out."""
        total = 2 * len(self.schedule.graph.effects)
        for step in steps:
            if isinstance(step, ControlStep):
                ends = len(step.node.inputs) + len(step.node.results)
                total += (4 * ends + 8) * (depth + 2) + self._count_words(step.steps, depth + 1)
            else:
                source = self.executable.source.kernels[step]
                total += len(source.arguments) * (depth + 1) + max(1, len(source.sizes))
        return total

    def _view(self, tensor: Tensor) -> NDArray[np.generic]:
        shape = tuple(evaluate(size, self.sizes) for size in tensor.shape)
        return self.arena.view(self.memory.offsets[tensor], shape, tensor.dtype)

    def take(self, count: int) -> int:
        """The first of some new words."""
        first, self.used = self.used, self.used + count
        if self.used > self.words.size:
            raise GraphcError(f"the table of this program needs more than the {self.words.size} words counted for it")
        return first

    def label(self, name: str) -> str:
        """A name for a place to jump to that no other place has."""
        self._labels += 1
        return f"{name} {self._labels}"

    def cell(self, tensor: Tensor, offset: int = 0) -> Cell:
        """A new word that holds the tensor's address plus some bytes."""
        word = self.take(1)
        self.fill(word, tensor, offset)
        return Cell(self.words, word)

    def fill(self, word: int, tensor: Tensor, offset: int = 0) -> None:
        """Make a word hold the tensor's address plus some bytes, now, at each run, or at each iteration."""
        moving = self.moving.get(tensor)
        if moving is not None:
            base = moving.base(moving.offset + offset)
            cell = Cell(self.words, word)
            moving.patches.append(Patch(cell, base, moving.stride, parity=moving.parity, reverse=moving.reverse))
        elif tensor in self.feed_cells:
            self.feed_cells[tensor].append((word, offset))
        elif tensor in self.fixed:
            self.words[word] = self.fixed[tensor] + offset
        else:
            self.words[word] = self.arena.address + self.memory.offsets[tensor] + offset

    def _is_empty(self, tensor: Tensor) -> bool:
        size = tensor.type.size
        if size not in self._empty:  # tensors have few sizes
            self._empty[size] = evaluate(size, self.sizes) == 0
        return self._empty[size] and tensor not in self.histories

    def _blank(self, tensor: Tensor) -> Blank:
        """What is read for a tensor without elements: its positions are off by at most one along each axis."""
        shape = [max(evaluate(size, self.sizes), 1) for size in tensor.shape]
        reach = tensor.dtype.itemsize * math.prod(shape) * (len(shape) + 1) + ALIGNMENT
        if not self.blanks or self.blanks[-1].reach < reach:
            self.blanks.append(Blank(reach))
        return self.blanks[-1]

    def entries(self, steps: Sequence[Step], committing: bool) -> list[Entry]:
        """The entries of some steps, and the commit before the first that writes a variable."""
        entries: list[Entry] = []
        committed = False
        for step in steps:
            if committing and not committed and any(n.result in self.schedule.in_place for n in updates_of(step)):
                committed = True
                entries.append(Commit())
            if isinstance(step, ControlStep):
                entries += control_entries(self, step)
            else:
                entries.append(self._call(step))
        return entries

    def _call(self, kernel: Kernel) -> Call:
        source = self.executable.source.kernels[kernel]
        first = self.take(len(source.arguments))
        for word, argument in enumerate(source.arguments, first):
            if isinstance(argument, Tensor) and self._is_empty(argument):
                self.words[word] = self._blank(argument).middle
            elif isinstance(argument, Tensor):
                self.fill(word, argument)
            elif isinstance(argument, Status):
                self.words[word] = self.status.ctypes.data
            elif isinstance(argument, Scratch):
                self.words[word] = self.arena.address + self.memory.scratch[kernel][0]
            else:
                self.words[word] = self.executable._functions[argument]
        dims = self.take(max(1, len(source.sizes)))
        for word, size in enumerate(source.sizes, dims):
            number = self.executable._numbers[kernel]
            self.words[word] = number if isinstance(size, KernelId) else evaluate(size, self.sizes)
        everyone = evaluate(kernel.work, self.sizes) >= PARALLEL_WORK and self.executable.workers.count > 1
        entry = Call(
            self.executable._addresses[source.text],
            self.words[first : first + len(source.arguments)],
            self.words[dims : dims + max(1, len(source.sizes))],
            everyone=everyone,
            barrier=self._needs_barrier(kernel, everyone),
        )
        self.purposes[entry] = kernel
        return entry

    def _place(self, tensor: Tensor) -> _Bytes:
        """Bytes that a tensor takes, for finding out who waits for whom."""
        if isinstance(tensor.node.op, Effect) and tensor in self.schedule.in_place:
            return (tensor.node.inputs[0], 0, 0)
        if tensor in self.moving or tensor in self.fixed or tensor in self.feed_cells:
            return (tensor, 0, 0)
        offset = self.memory.offsets[tensor]
        return ("arena", offset, offset + max(1, self.memory.capacity[tensor]) - 1)

    def _needs_barrier(self, kernel: Kernel, everyone: bool) -> bool:
        """Whether the kernel touches what was touched since the last barrier, by another worker maybe."""
        reads = [self._place(tensor) for tensor in kernel.inputs]
        writes = [self._place(tensor) for tensor in kernel.stored]
        if kernel in self.memory.scratch:
            offset, size = self.memory.scratch[kernel]
            writes.append(("arena", offset, offset + size - 1))
        traffic = self.traffic
        clash = _overlap(reads, traffic.writes) or _overlap(writes, traffic.writes) or _overlap(writes, traffic.reads)
        barrier = clash and (traffic.shared or everyone)
        if barrier:
            traffic.clear()
        traffic.reads += reads
        traffic.writes += writes
        traffic.shared |= everyone
        return barrier


def _overlap(left: Sequence[_Bytes], right: Sequence[_Bytes]) -> bool:
    """Whether two sets of byte ranges meet."""
    return any(a[0] is b[0] and a[1] <= b[2] and b[1] <= a[2] for a in left for b in right)
