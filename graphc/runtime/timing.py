"""Times of a step's parts: a call table with stamps of the clock between its entries.

A stamp is a kernel like any other (``stamp`` in ``probes.py``): it reads the clock and adds to a record.  A timed table
is the same table with stamps around every kernel and every copy, walked by the same compiled walk, so that loops,
jumps, failures and the commit are what they always are, and a table without stamps pays nothing::

    stamp begin            worker 0, after all that came before has ended
      stamp begin          each worker, where the kernel is shared
      kernel
      stamp end            each worker
    stamp end              worker 0, after all have ended

The outer interval is the kernel's time, with waking and gathering the workers if it is shared; the inner ones say how
long each worker was busy.  Since a stamp waits for all workers, a timed kernel runs beside no other; in a step that is
not timed, neighbours that do not depend on each other may. Before the first kernel all workers meet once, so that
workers which sleep do not count as a part of it: between the steps of a training loop they stay awake, but making a
profile of a step takes longer than they wait.

The two stamps of an interval take some time between themselves; it is measured once (:func:`stamp_ns`, the least of
many), and subtracted from each interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from graphc.codegen.cpu import jit
from graphc.ir.record import record
from graphc.runtime import layout as at
from graphc.runtime.memory import aligned_words
from graphc.runtime.table import Call, Copy, EndLoop, Entry, Loop, Table, Words
from graphc.runtime.workers import Workers

MOST_EVENTS = 65_536
"""Intervals that are logged one by one; totals count all."""

MOST_OF_A_WORKER = 8_192
"""Intervals of each worker that are logged; there may be many workers."""

_OWN_LOG_WORDS = at.LOG_EVENTS + MOST_OF_A_WORKER * at.EVENT_WORDS
_ROUNDS = 1_000
_FOREVER = 1 << 62


@cache
def probe(name: str) -> int:
    """Address of a kernel of ``probes.py``."""
    folder = Path(__file__).parent
    layout = hashlib.sha256((folder / "layout.py").read_bytes()).hexdigest()
    text = f"{(folder / 'probes.py').read_text()}\n# layout: {layout}\n"
    return jit.load([text], symbol=name)[0]


@record
class Interval:
    """What one entry of a table took in one step.

    Attributes
    ----------
    entry : Entry
    what : object
        What the entry does, as it was given to :class:`Timer`.
    calls : int
        How often it ran: more or less than once in loops.
    ns : int
        Nanoseconds of all calls together, less those of the stamps.
    worker_ns : tuple of int
        Nanoseconds that each worker was busy; one number if the entry is not shared.
    """

    entry: Entry
    what: Any
    calls: int
    ns: int
    worker_ns: tuple[int, ...]


@record
class Event:
    """One call: which entry, by its place among the intervals, and when it began and ended (monotonic, ns).

    ``worker`` is None where all workers that took part are meant: from the first's begin to the last's end.
    """

    number: int
    begin: int
    end: int
    worker: int | None = None


class Timer:
    """Puts stamps into a table and reads what they wrote.

    Parameters
    ----------
    entries : sequence of Entry
        A step's.
    purposes : mapping of Entry to object
        What each call and each copy does; entries that are not in it are not timed.
    workers : int

    Attributes
    ----------
    entries : tuple of Entry
        The same with stamps, for a :class:`~graphc.runtime.table.Table`.
    """

    def __init__(self, entries: Sequence[Entry], purposes: Mapping[Entry, Any], workers: int):
        self._lines = 1 + workers
        self._timed = [entry for entry in entries if entry in purposes]
        self._purposes = purposes
        self._records = aligned_words((len(self._timed) + 1) * self._lines * at.RECORD_WORDS)  # the last: the meeting
        self._log = aligned_words(at.LOG_EVENTS + MOST_EVENTS * at.EVENT_WORDS)
        self._log[at.LOG_CAPACITY] = MOST_EVENTS
        self._own_logs = aligned_words(workers * _OWN_LOG_WORDS).reshape(workers, _OWN_LOG_WORDS)
        self._own_logs[:, at.LOG_CAPACITY] = MOST_OF_A_WORKER
        self.entries = tuple(self._with_stamps(entries))
        self.clear()

    def clear(self) -> None:
        """Forget what was measured."""
        rows = self._records.reshape(-1, at.RECORD_WORDS)
        rows[:] = 0
        rows[:, at.RECORD_LEAST] = _FOREVER
        self._log[at.LOG_USED] = 0
        self._own_logs[:, at.LOG_USED] = 0

    def _with_stamps(self, entries: Sequence[Entry]) -> list[Entry]:
        numbers = {entry: number for number, entry in enumerate(self._timed)}
        shared = any(isinstance(entry, Call) and entry.everyone for entry in entries)
        made: list[Entry] = [self._stamp(len(self._timed), ends=False, by_worker=True)] if shared else []
        for entry in entries:
            number = numbers.get(entry)
            if number is None:
                made.append(entry)
                continue
            inner: list[Entry] = [entry]
            if isinstance(entry, Call) and entry.everyone:
                call = Call(entry.kernel, entry.buffers, entry.dims, everyone=True, barrier=False)
                inner = [self._stamp(number, ends=False, by_worker=True), call]
                inner.append(self._stamp(number, ends=True, by_worker=True))
            made += [self._stamp(number, ends=False), *inner, self._stamp(number, ends=True)]
        return made

    def _stamp(self, number: int, ends: bool, by_worker: bool = False) -> Call:
        """A stamp.  Those of each worker make one region with their kernel: only the first waits for the others."""
        record = self._records[number * self._lines * at.RECORD_WORDS :]
        buffers = words_of(record.ctypes.data, (self._own_logs if by_worker else self._log).ctypes.data)
        # STAMP_ENDS, STAMP_BY_WORKER, STAMP_NUMBER, STAMP_LOG_WORDS
        dims = words_of(ends, by_worker, number, _OWN_LOG_WORDS)
        return Call(probe("stamp"), buffers, dims, everyone=by_worker, barrier=not (by_worker and ends))

    def intervals(self) -> list[Interval]:
        """What was measured since :meth:`clear`, an interval an entry, in the table's order."""
        found = []
        lines = self._records.reshape(-1, self._lines, at.RECORD_WORDS)
        for entry, words in zip(self._timed, lines[: len(self._timed)], strict=True):
            calls = int(words[0, at.RECORD_COUNT])
            shared = isinstance(entry, Call) and entry.everyone
            own = calls * stamp_ns()
            ns = max(0, int(words[0, at.RECORD_TOTAL]) - own * (2 if shared else 1))
            each = tuple(max(0, int(line[at.RECORD_TOTAL]) - own) for line in words[1:]) if shared else (ns,)
            found.append(Interval(entry, self._purposes[entry], calls, ns, each))
        return found

    def events(self) -> list[Event]:
        """The calls one by one, in order; the first :data:`MOST_EVENTS` of a long step."""
        return _events(self._log)

    def worker_events(self) -> list[Event]:
        """What each worker did, by its begin; calls that are not shared are the first worker's."""
        shared = {number for number, entry in enumerate(self._timed) if isinstance(entry, Call) and entry.everyone}
        alone = [replace(event, worker=0) for event in self.events() if event.number not in shared]
        own = [replace(event, worker=worker) for worker, log in enumerate(self._own_logs) for event in _events(log)]
        return sorted([*alone, *own], key=lambda event: (event.begin, event.worker))

    def least(self) -> list[int]:
        """Shortest call of each entry, nanoseconds, stamps included."""
        lines = self._records.reshape(-1, self._lines, at.RECORD_WORDS)
        return [int(record[0, at.RECORD_LEAST]) for record in lines[: len(self._timed)]]


def _events(log: Words) -> list[Event]:
    used = int(log[at.LOG_USED]) * at.EVENT_WORDS
    rows = log[at.LOG_EVENTS :][:used].reshape(-1, at.EVENT_WORDS)
    return [Event(*map(int, row)) for row in rows]


@cache
def stamp_ns() -> int:
    """Nanoseconds between the two clock readings of an interval that holds nothing; the least of many."""
    nothing = Copy(0, 0, 0)
    timer = Timer([nothing], {nothing: None}, 1)
    begin, _, end = timer.entries
    with Workers(1) as alone:
        alone.run(Table([Loop(_ROUNDS), begin, end, EndLoop()]))
    return timer.least()[0]


def words_of(*values: int) -> Words:
    """Aligned words that hold some numbers."""
    words = aligned_words(len(values))
    words[:] = values
    return words
