"""Workers: the caller and threads of the session's own, walking call tables together.

:class:`Workers` owns ``count - 1`` daemon threads.  Each enters the compiled ``follow`` of ``walker.py`` through
ctypes, which releases the interpreter's lock, and stays there until told to stop: it waits for regions by spinning,
then yielding, then sleeping on a POSIX semaphore, all in compiled code.  A follower therefore never needs the
interpreter, and neither a busy Python thread nor the end of the process can hold it up or be held up by it.

A step is a handful of Python lines, :meth:`Workers.run`.  The walk comes back about every 100 ms until it commits;
between two calls the interpreter serves signals, and whatever a handler raises (Ctrl-C) leaves the step undone.
After the commit the walk comes back only when the step is done, so there is no moment at which an interrupt could
leave half a step behind.

The threads start with the first step that wants them.  A forked child has only the thread that forked; there the
workers forget the lost ones and start new ones when needed.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphc import config
from graphc.codegen.cpu import jit
from graphc.errors import SessionError
from graphc.runtime import layout as at
from graphc.runtime import stacks
from graphc.runtime.entry import Enter, Feed, make_entry
from graphc.runtime.memory import aligned_words
from graphc.runtime.table import Table, Words

SPIN_NS = 20_000
"""How long a waiting worker spins before it yields, when there is a processor for each."""

PATIENCE_NS = 400_000
"""How long an idle worker waits in all before it sleeps."""


class Outcome(NamedTuple):
    """How a step ended.

    Attributes
    ----------
    failure : tuple of (int, int, int, int) or None
        Failure code, kernel, index, value of the first failure; None when all went well.
    committed : bool
        Whether variables were written.
    """

    failure: tuple[int, int, int, int] | None
    committed: bool


_DONE, _DONE_WITHOUT_WRITING = Outcome(None, True), Outcome(None, False)


class _Walker(NamedTuple):
    """The C functions of ``walker.py``."""

    walk: Callable[[int, int, int], int]
    walk_address: int
    follow: Callable[[int, int, int], int]
    dismiss: Callable[[int, int], int]


_FUNCTIONS = {"walk": 3, "follow": 3, "dismiss": 2}
"""The functions of ``walker.py``, and how many int64 each takes; each returns one."""


@cache
def walker() -> dict[str, jit.Wanted]:
    """The functions of ``walker.py``, to be prepared together with kernels."""
    folder = Path(__file__).parent
    layout = hashlib.sha256((folder / "layout.py").read_bytes()).hexdigest()
    text = f"{(folder / 'walker.py').read_text()}\n# layout: {layout}\n"
    return {name: jit.Wanted(text, name, f"int64({', '.join(['int64'] * n)})") for name, n in _FUNCTIONS.items()}


@cache
def _walker() -> _Walker:
    """The compiled walker, from the cache of object code."""
    jit.prepare(list(walker().values()))

    def address(name: str) -> int:
        one = walker()[name]
        return jit.load([one.source], symbol=one.symbol, signature=one.signature)[0]

    def function(name: str) -> Callable[..., int]:
        return ctypes.CFUNCTYPE(*[ctypes.c_int64] * (1 + _FUNCTIONS[name]))(address(name))

    return _Walker(function("walk"), address("walk"), function("follow"), function("dismiss"))


def _serve(follow: Callable[[int, int, int], int], block: Words, worker: int, count: int) -> None:
    """What a follower's thread does.  Its arguments keep the block alive for as long as it can look at it."""
    follow(block.ctypes.data, worker, count)


class _Crew:
    """The followers of one set of workers, and the block of words that they share with worker 0."""

    def __init__(self, count: int):
        self.count = count
        self.block: Words = aligned_words(at.SHARED_WORKERS + (count - 1) * at.FOLLOWER_WORDS)
        self.address: int = self.block.ctypes.data
        self.block[at.SHARED_SPIN] = SPIN_NS if config.available_processors() >= count else 0
        self.block[at.SHARED_PATIENCE] = PATIENCE_NS
        self.threads: list[threading.Thread] = []
        libc = ctypes.CDLL(None)
        for worker in range(1, count):
            semaphore = at.SHARED_WORKERS + (worker - 1) * at.FOLLOWER_WORDS + at.FOLLOWER_SEMAPHORE
            libc.sem_init(ctypes.c_void_p(self.address + semaphore * at.WORD), 0, 0)
        try:
            for worker in range(1, count):
                arguments = (_walker().follow, self.block, worker, count)
                thread = threading.Thread(target=_serve, args=arguments, name=f"graphc-{worker}", daemon=True)
                with stacks.own_threads():
                    thread.start()
                self.threads.append(thread)
        except BaseException as error:  # an interrupt, too, must leave no thread behind
            self.dismiss()
            if isinstance(error, RuntimeError):
                raise SessionError(
                    f"{count} workers were asked for, but the system refuses a thread: {error}"
                ) from error
            raise

    def dismiss(self) -> None:
        """Tell the followers to return; no step may be under way."""
        _walker().dismiss(self.address, self.count)

    def join(self) -> None:
        """Wait until the followers have returned."""
        for thread in self.threads:
            thread.join()


class Workers:
    """The workers of a session: its caller and ``count - 1`` threads.

    Steps from several threads wait for each other.  Two sets of workers share nothing and run side by side.

    Parameters
    ----------
    count : int
        How many, the caller included; at least 1.

    Raises
    ------
    SessionError
        If `count` is less than 1.
    """

    def __init__(self, count: int):
        if count < 1:
            raise SessionError(f"workers: expected at least 1, got {count}")
        self.count = count
        self._closed = False
        self._crew: _Crew | None = None
        self._lock = threading.RLock()  # re-entrant only to recognise a step or a close from a signal handler
        self._running = False
        self._alone: Words = np.array([0, 1])
        self._everyone: Words = np.array([0, 1])  # the crew's address and number, once there is a crew
        _alive.add(self)

    def entry(self, table: Table, feeds: Sequence[Feed]) -> Enter:
        """A function that starts a step of a table with fed arrays, for :meth:`step`."""
        return make_entry(table, feeds, self._crew_of(table), _walker().walk_address)

    def _crew_of(self, table: Table) -> Words:
        return self._everyone if table.parallel else self._alone

    def _walk(self, table: Table, rewind: bool = False) -> int:
        if rewind:
            table.rewind()
        shared, workers = self._crew_of(table)
        said = _walker().walk(table.address, int(shared), int(workers))
        return at.FAILED if said == at.FINISHED and table.status[0] else said

    def run(self, table: Table) -> Outcome:
        """Walk a table from its first entry to its end, or to the first failure before its commit.

        Parameters
        ----------
        table : Table
            What to run; by one set of workers at a time.

        Returns
        -------
        Outcome
            Whether a kernel failed, and whether variables were written.

        Raises
        ------
        SessionError, BaseException
            As :meth:`step`.
        """
        self.step(table, lambda: self._walk(table, rewind=True), ())
        if not table.status[0]:
            return _DONE if table.committed else _DONE_WITHOUT_WRITING
        code, kernel, index, value = (int(word) for word in table.status)
        return Outcome((code, kernel, index, value), table.committed)

    def step(self, table: Table, enter: Enter, arrays: Sequence[NDArray[Any]]) -> int:
        """Walk a table from its first entry to its end, or to the first failure before its commit.

        Parameters
        ----------
        table : Table
            What to run; by one set of workers at a time.
        enter : callable
            The table's :meth:`entry`.
        arrays : sequence of ndarray
            What is fed.

        Returns
        -------
        int
            ``FINISHED``, ``FAILED`` (the table's status says how) or ``MISFIT`` (nothing was done), of ``layout.py``.

        Raises
        ------
        SessionError
            If the workers are closed, before or meanwhile, or a step is started from within a step.
        BaseException
            Whatever a signal handler raises, KeyboardInterrupt above all.  Then either nothing was written, or the
            step is wholly done: ``table.committed`` and the table's counter tell.
        """
        with self._lock:
            if self._running:
                raise SessionError("a step was started from within a step of the same session (a signal handler?)")
            self._check_open("before this step")
            crew = self._gather() if table.parallel and self.count > 1 else None
            try:
                self._running = True
                said = enter(*arrays)
                while said == at.PAUSED:
                    self._check_open("during a step, which has written nothing")
                    if crew is not self._crew and crew is not None:
                        raise SessionError("the process was forked during a step; the child cannot go on with it")
                    said = self._walk(table)
            finally:
                self._running = False
                if self._closed:
                    self._dismiss()
            return said

    def close(self) -> None:
        """End the threads.  A step under way in another thread is left at its next pause, unless it has committed."""
        self._closed = True
        with self._lock:
            if not self._running:  # from a signal handler within a step, the step's end does the rest
                self._dismiss()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        crew = getattr(self, "_crew", None)
        if crew is not None:  # no join: the collector may run anywhere, even where a thread's end would wait for us
            crew.dismiss()

    def _gather(self) -> _Crew:
        if self._crew is None:
            self._crew = _Crew(self.count)
            self._everyone[:] = self._crew.address, self.count
        return self._crew

    def _dismiss(self) -> None:
        self._everyone[:] = 0, 1
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.dismiss()
            crew.join()

    def _check_open(self, when: str) -> None:
        if self._closed:
            raise SessionError(f"the session was closed {when}")

    def _forget(self) -> None:
        """In a forked child: the threads are gone, and whoever held the lock with them."""
        self._crew = None
        self._everyone[:] = 0, 1
        self._lock = threading.RLock()
        self._running = False


_alive: weakref.WeakSet[Workers] = weakref.WeakSet()


def _close_all() -> None:
    """At exit: no follower may be inside compiled code when that is unloaded."""
    for workers in list(_alive):
        workers.close()


def _forget_all() -> None:
    for workers in list(_alive):
        workers._forget()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forget_all)
