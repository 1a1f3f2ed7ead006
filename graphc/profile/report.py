"""Profiles: for each kernel of a step its time, bytes, operations, share of the limit, and the user's lines.

The *limit* of a kernel is the time below which this machine cannot do its work (the roofline model): the larger of its
operations at the peak rate of multiply-adds and its bytes at the streaming rate, both as measured by
:mod:`graphc.profile.limits` for as many workers as the kernel had, and counted by :mod:`graphc.profile.costs`. Its
share of the limit is that time over the time it took.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import View
from graphc.ir.symbolic import evaluate
from graphc.ir.types import is_whole
from graphc.profile import picture
from graphc.profile.costs import Cost, cost_of, stage_cost
from graphc.profile.limits import Limits, limits
from graphc.profile.table import format_profile
from graphc.runtime.executable import Executable
from graphc.runtime.table import Call, Copy
from graphc.runtime.timing import Event, Interval, Timer, stamp_ns
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Kernel
from graphc.schedule.report import format_kernel, tensor_names, user_lines
from graphc.schedule.schedule import Schedule


@dataclass(frozen=True)
class KernelProfile:
    """What one kernel, or one copy, did in a step; sums over all its calls where it stands in a loop.

    Attributes
    ----------
    number : int or None
        Its number in the schedule's text and in dumps; None for a copy.
    name : str
        The ops it computes.
    formulas : tuple of str
        What it computes, as in the schedule's text.
    stored : tuple of str
        Types of what it stores, with the sizes of the run: ``float32[64, 256]``.
    lines : tuple of str
        The user's lines that it comes from, the first few.
    line_shares : dict of str to float
        Every such line's part of the time; the stages share by their operations, the lines of a stage evenly.
    calls : int
    workers : int
        1, or all of the session's if it is shared.
    time_us : float
        Microseconds of all calls, from the first worker's start to the last one's end.
    busy_us : tuple of float
        Microseconds that each worker spent in the kernel.
    operations, read_bytes, written_bytes : int
        What it must do at least; see :mod:`graphc.profile.costs`.
    arithmetic_us, memory_us : float
        Microseconds that the operations and the bytes take at the machine's limits.
    """

    number: int | None
    name: str
    formulas: tuple[str, ...]
    stored: tuple[str, ...]
    lines: tuple[str, ...]
    line_shares: dict[str, float]
    calls: int
    workers: int
    time_us: float
    busy_us: tuple[float, ...]
    operations: int
    read_bytes: int
    written_bytes: int
    arithmetic_us: float
    memory_us: float

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes

    @property
    def limit_us(self) -> float:
        """Microseconds that the machine needs at least."""
        return max(self.arithmetic_us, self.memory_us)

    @property
    def bound(self) -> str:
        """Which limit is the nearer: ``"arithmetic"`` or ``"memory"``."""
        return "arithmetic" if self.arithmetic_us > self.memory_us else "memory"

    @property
    def share_of_limit(self) -> float:
        """The least time over the time taken; 0 for what is too short to be timed."""
        return self.limit_us / self.time_us if self.time_us else 0.0

    @property
    def balance(self) -> float:
        """What part of the time its workers were busy, all together; the rest is waking and waiting."""
        return sum(self.busy_us) / (self.workers * self.time_us) if self.time_us else 1.0

    def to_json(self) -> dict[str, Any]:
        """Its fields, and what follows from them, in types that JSON knows."""
        derived = ("bytes", "limit_us", "bound", "share_of_limit", "balance")
        return asdict(self) | {name: getattr(self, name) for name in derived}


@dataclass(frozen=True, repr=False)
class Profile:
    """Where the time of a step went; made by ``session.run(..., profile=True)``. Print it for a table.

    Attributes
    ----------
    kernels : tuple of KernelProfile
        In order of execution, copies of variables and of loops' carries among them.
    step_us : float
        Microseconds of the whole call: feeds, kernels, control, outputs; not of laying out the timed table before.
    steps : int
        1; or of how many profiles this one is the median.
    sizes : dict of str to int
        Values of the named dims.
    workers : int
        Workers of the session.
    timer_ns : int
        What the clock itself takes in an interval; it is subtracted from all times.
    limits : tuple of Limits
        What the machine can do with one worker, and with all.
    events : tuple of Event
        The calls one by one; of very long steps the first.
    worker_events : tuple of Event
        What each worker did, call by call; of very long steps the first.
    schedule : Schedule or None
        What ran.
    """

    kernels: tuple[KernelProfile, ...]
    step_us: float
    steps: int
    sizes: dict[str, int]
    workers: int
    timer_ns: int
    limits: tuple[Limits, ...]
    events: tuple[Event, ...] = ()
    worker_events: tuple[Event, ...] = ()
    schedule: Schedule | None = None

    def _repr_svg_(self) -> str | None:
        return picture(self)

    @property
    def kernels_us(self) -> float:
        """Microseconds of all kernels and copies."""
        return sum(kernel.time_us for kernel in self.kernels)

    @property
    def limit_us(self) -> float:
        """Microseconds that the machine needs at least for all kernels, one after another."""
        return sum(kernel.limit_us for kernel in self.kernels)

    @property
    def operations(self) -> int:
        """Operations of the step."""
        return sum(kernel.operations for kernel in self.kernels)

    @property
    def bytes(self) -> int:
        """Bytes that all kernels read and write."""
        return sum(kernel.bytes for kernel in self.kernels)

    def by_line(self) -> dict[str, float]:
        """Microseconds by the user's line, the most first; ``""`` for kernels that come from none."""
        found: dict[str, float] = {}
        for kernel in self.kernels:
            for line, share in (kernel.line_shares or {"": 1.0}).items():
                found[line] = found.get(line, 0.0) + share * kernel.time_us
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def table(self, most: int | None = None) -> str:
        """The profile as text: kernels by time, the slowest first, then the user's lines.

        Parameters
        ----------
        most : int, optional
            Kernels and lines to show; all if not given.

        Raises
        ------
        GraphcError
            If that is no whole number of at least 0.
        """
        if most is not None and (not is_whole(most) or most < 0):
            raise GraphcError(f"profile: expected a whole number of kernels to show, got {most!r}")
        return format_profile(self, None if most is None else int(most))

    def __str__(self) -> str:
        return self.table()

    @property
    def counted(self) -> str:
        """How many entries there are, in words."""
        count = len(self.kernels)
        return "1 kernel or copy" if count == 1 else f"{count} kernels and copies"

    def __repr__(self) -> str:
        return f"<Profile: {self.counted}, {self.kernels_us:.1f} of {self.step_us:.1f} us>"

    def to_json(self) -> dict[str, Any]:
        """Everything but the events, in types that JSON knows."""
        return {
            "step_us": self.step_us,
            "kernels_us": self.kernels_us,
            "limit_us": self.limit_us,
            "steps": self.steps,
            "sizes": self.sizes,
            "workers": self.workers,
            "timer_ns": self.timer_ns,
            "limits": [asdict(known) for known in self.limits],
            "kernels": [kernel.to_json() for kernel in self.kernels],
            "by_line": self.by_line(),
        }

    def _traced(self, event: Event) -> dict[str, Any]:
        """An event as traces hold it: thread 0 shows calls as a whole, the threads from 1 what each worker did."""
        kernel = self.kernels[event.number]
        return {
            "name": kernel.name,
            "ph": "X",
            "ts": (event.begin - self.events[0].begin) / 1e3,
            "dur": (event.end - event.begin) / 1e3,
            "pid": 0,
            "tid": 0 if event.worker is None else 1 + event.worker,
            "args": {"lines": kernel.lines, "stored": kernel.stored},
        }

    def save(self, path: str | Path) -> Path:
        """Write a trace for Perfetto or ``chrome://tracing``, with :meth:`to_json` in its ``otherData``.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        GraphcError
            If it can't be written.
        """
        trace = [self._traced(event) for event in (*self.events, *self.worker_events)]
        path = Path(path)
        try:
            path.write_text(json.dumps({"traceEvents": trace, "otherData": self.to_json()}), encoding="utf-8")
        except OSError as error:
            raise GraphcError(f"profile: {str(path)!r} can't be written: {error.strerror or error}") from error
        return path


def median(profiles: Sequence[Profile]) -> Profile:
    """One profile of several steps: each time is the median over the steps; the events are the last step's.

    Parameters
    ----------
    profiles : sequence of Profile
        Of the same program at the same sizes.

    Raises
    ------
    GraphcError
        If there are none, one is no profile, or they are of different programs or sizes.
    """
    from statistics import median as middle  # loads much that no import of graphc should wait for

    if not isinstance(profiles, Sequence) or not all(isinstance(profile, Profile) for profile in profiles):
        raise GraphcError(f"profile: expected a list of profiles to take the median of, got {profiles!r}")
    if not profiles:
        raise GraphcError("profile: expected at least one profile to take the median of, got none")
    last = profiles[-1]
    # not by operations: how often a loop goes round may depend on what is fed
    work = [[(k.number, k.name, k.formulas, k.stored, k.workers) for k in profile.kernels] for profile in profiles]
    if any(other != work[-1] for other in work) or any(profile.sizes != last.sizes for profile in profiles):
        raise GraphcError("profile: expected profiles of one program at the same sizes, got different ones")
    kernels = []
    for same in zip(*(profile.kernels for profile in profiles), strict=True):
        busy = tuple(middle(times) for times in zip(*(kernel.busy_us for kernel in same), strict=True))
        kernels.append(replace(same[-1], time_us=middle(kernel.time_us for kernel in same), busy_us=busy))
    step_us = middle(profile.step_us for profile in profiles)
    return replace(last, kernels=tuple(kernels), step_us=step_us, steps=sum(profile.steps for profile in profiles))


def profile_of(executable: Executable, step_ns: int) -> Profile:
    """The profile of the last timed step.

    Parameters
    ----------
    executable : Executable
        Whose last run was timed; no other may be under way.
    step_ns : int
        What the whole step took.
    """
    workers, timer = executable.workers, executable.timer
    known = {count: limits(workers, count) for count in (1, workers.count)}
    intervals = timer.intervals()
    if timer not in _descriptions:
        describe = _Describer(executable, known)
        _descriptions[timer] = tuple(describe(interval) for interval in intervals)
    described = zip(_descriptions[timer], intervals, strict=True)
    return Profile(
        kernels=tuple(_measured(one_call, interval) for one_call, interval in described),
        step_us=step_ns / 1e3,
        steps=1,
        sizes=executable.timed_sizes,
        workers=workers.count,
        timer_ns=stamp_ns(),
        limits=tuple(known.values()),
        events=tuple(timer.events()),
        worker_events=tuple(timer.worker_events()),
        schedule=executable.schedule,
    )


_descriptions: weakref.WeakKeyDictionary[Timer, tuple[KernelProfile, ...]] = weakref.WeakKeyDictionary()
"""What the entries of a timed table do in one call, without times: the same for all its steps, and slow to make."""


def _measured(one_call: KernelProfile, interval: Interval) -> KernelProfile:
    """The record of a kernel's calls in one step."""
    calls = interval.calls
    return replace(
        one_call,
        calls=calls,
        time_us=interval.ns / 1e3,
        busy_us=tuple(ns / 1e3 for ns in interval.worker_ns),
        operations=calls * one_call.operations,
        read_bytes=calls * one_call.read_bytes,
        written_bytes=calls * one_call.written_bytes,
        arithmetic_us=calls * one_call.arithmetic_us,
        memory_us=calls * one_call.memory_us,
    )


class _Describer:
    """Makes the records of one call each, in which times are 0."""

    def __init__(self, executable: Executable, known: dict[int, Limits]):
        self.executable, self.sizes, self.known = executable, executable.timed_sizes, known
        self.numbers = {kernel: number for number, kernel in enumerate(executable.kernels)}
        self.names = _names(executable.schedule.graph, executable.schedule.steps)

    def __call__(self, interval: Interval) -> KernelProfile:
        """The record of one kernel or copy."""
        entry, what = interval.entry, interval.what
        if isinstance(entry, Copy):
            cost, words = self._copy_cost(entry), self._copy_words(what)
        else:
            cost, words = cost_of(what, self.sizes), self._kernel_words(what)
        workers = self.executable.workers.count if isinstance(entry, Call) and entry.everyone else 1
        return KernelProfile(
            **words,
            calls=1,
            workers=workers,
            time_us=0.0,
            busy_us=(),
            operations=cost.operations,
            read_bytes=cost.read_bytes,
            written_bytes=cost.written_bytes,
            arithmetic_us=self.known[workers].arithmetic_s(cost) * 1e6,
            memory_us=self.known[workers].memory_s(cost.bytes) * 1e6,
        )

    def _kernel_words(self, kernel: Kernel) -> dict[str, Any]:
        return {
            "number": self.numbers[kernel],
            "name": _name(kernel),
            "formulas": tuple(format_kernel(kernel, self.names, self.executable.schedule)),
            "stored": tuple(self._type(tensor) for tensor in kernel.stored),
            "lines": tuple(user_lines(node.origin for node in kernel.nodes)),
            "line_shares": self._line_shares(kernel),
        }

    def _copy_words(self, node: Node) -> dict[str, Any]:
        lines = tuple(user_lines([node.origin]))
        stored = tuple(self._type(tensor) for tensor in node.results[:1] if node.op.name == "assign")
        return {
            "number": None,
            "name": f"copy ({node.op.name})",
            "formulas": (),
            "stored": stored,
            "lines": lines,
            "line_shares": dict.fromkeys([str(node.origin.place)] if lines else [], 1.0),
        }

    @staticmethod
    def _copy_cost(entry: Copy) -> Cost:
        nbytes = entry.nbytes if isinstance(entry.nbytes, int) else entry.nbytes.value
        return Cost(read_bytes=nbytes, written_bytes=nbytes)

    def _type(self, tensor: Tensor) -> str:
        return f"{tensor.dtype.name}[{', '.join(str(evaluate(size, self.sizes)) for size in tensor.shape)}]"

    def _line_shares(self, kernel: Kernel) -> dict[str, float]:
        weights: dict[str, float] = {}
        for stage in kernel.stages:
            lines = {str(n.origin.place) for n in stage.nodes if n.origin.filename}
            weight = max(1, stage_cost(kernel, stage, self.sizes).operations)
            for line in sorted(lines):
                weights[line] = weights.get(line, 0.0) + weight / len(lines)
        total = sum(weights.values())
        return {line: weight / total for line, weight in weights.items()}


def _name(kernel: Kernel) -> str:
    """Names of the ops, those that only say where elements lie left out where there are others."""
    computing = [node for node in kernel.nodes if not isinstance(node.op, View)]
    return " ".join(dict.fromkeys(node.op.name for node in computing or kernel.nodes))


def _names(graph: Graph, steps: Sequence[Step]) -> dict[Tensor, str]:
    """Names of all tensors, those of loops' bodies as in the schedule's text."""
    found = tensor_names(graph)
    for step in steps:
        for body in step.bodies if isinstance(step, ControlStep) else ():
            found |= {tensor: f"{body.name}.{name}" for tensor, name in _names(body.graph, body.steps).items()}
    return found
