"""Compile helpers: processes that compile kernels beside the one that needs them.

Numba's front end is Python and holds the interpreter's lock, LLVM's is behind a lock of its own, so only processes
compile side by side.  They run ``helper.py`` as programs of their own rather than ``multiprocessing``, which
would run the user's script again where that has no main guard.

All work comes from one queue.  The process that needs the kernels takes from it, and so does a thread for each helper,
which writes a request to its helper and reads the object code from it; nothing passes through files.  A helper that
starts late simply takes less, and one that starts before the kernels are printed begins with what is known by then.
If one dies, its request goes back to the queue, so the kernels come to be in any case, and the user is told once.  A
helper ends when its input does: with the work, or with the process that started it.

``T`` seconds of work on ``1 + h`` processes take ``(T + h * s) / (1 + h)``, where ``s`` is what a helper takes to
start; there are as many helpers as each still saves :data:`WORTHWHILE_SECONDS`, one for each free processor at most.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from graphc import config
from graphc.codegen.cpu import helper
from graphc.errors import GraphcWarning
from graphc.ir.origin import stack_level

if TYPE_CHECKING:  # imported where helpers are started: a warm start needs neither
    import subprocess

START_SECONDS = 0.25
"""Until a helper's first kernel: starting Python, importing Numba and the code generator."""

WORTHWHILE_SECONDS = 0.1
"""A helper has to save as much, for it takes processor time from others."""

LONG_SECONDS = 3.0
"""From here on a progress bar shows how far compiling is."""

_SECONDS_A_KERNEL, _SECONDS_A_CHARACTER = 0.012, 1.65e-5  # fits kernels of 300 to 4,000 characters to a fifth


class Request(NamedTuple):
    """A function to compile: the arguments of :func:`graphc.codegen.cpu.object_code.compile_source`."""

    source: str
    filename: str
    function: str
    signature: str
    export: str


def seconds_for(sources: Iterable[str]) -> float:
    """About how long one process compiles some sources."""
    return sum(_SECONDS_A_KERNEL + len(source) * _SECONDS_A_CHARACTER for source in sources)


def count_for(seconds: float) -> int:
    """How many helpers are worth starting for so much work."""
    count, most = 0, min(config.current().helpers, config.available_processors() - 1)
    while count < most and (seconds - START_SECONDS) / ((count + 1) * (count + 2)) >= WORTHWHILE_SECONDS:
        count += 1
    return count


class _Progress:
    """A bar on the terminal where compiling takes long; nothing elsewhere."""

    def __init__(self, total: int, seconds: float):
        self._bar: Any = None
        if seconds >= LONG_SECONDS and sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc="compiling kernels", leave=False)

    def __enter__(self) -> _Progress:
        return self

    def show(self, done: int) -> None:
        """Move the bar to a number of kernels."""
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()


class Helpers:
    """Some helpers, and the requests that they and the caller work on.

    Requests may come before the caller has time for them: while it is still making the others, helpers start and
    begin with the *early* ones.  The caller begins with the others, so that functions of one module, which share what
    they call, are compiled by one process.

    Parameters
    ----------
    early : iterable of Request
        Long ones first.

    Attributes
    ----------
    done : dict of str to bytes
        Object code that the helpers made, by the request's export.
    failure : str or None
        What became of a helper that ended before its time.
    """

    def __init__(self, early: Iterable[Request] = ()):
        self.done: dict[str, bytes] = {}
        self.failure: str | None = None
        self._early, self._later = deque(early), deque[Request]()
        self._known = {request.export for request in self._early}
        self._more = threading.Condition()  # also guards both queues
        self._complete = False  # no more requests will come
        self._ending = False
        self._threads: dict[subprocess.Popen[bytes], threading.Thread] = {}
        self._ready: set[subprocess.Popen[bytes]] = set()
        self._stopped: set[subprocess.Popen[bytes]] = set()

    def start(self) -> None:
        """Have as many helpers as the requests are worth."""
        seconds = seconds_for(request.source for request in (*self._early, *self._later))
        while len(self._threads) < count_for(seconds) and self.failure is None:
            try:
                process = _start()
            except OSError as error:
                self.failure = f"does not start: {error}"
                return
            thread = threading.Thread(target=self._serve, args=(process,), name="graphc-helper", daemon=True)
            self._threads[process] = thread
            thread.start()

    def complete(self, requests: Iterable[Request]) -> int:
        """Add the last requests, long ones first; of those that are known already there is no second.

        Returns
        -------
        int
            How many there are in all.
        """
        with self._more:
            new = {request.export: request for request in requests if request.export not in self._known}
            self._known.update(new)
            self._later.extend(new.values())
            self._complete = True
            self._more.notify_all()
        return len(self._known)

    def take(self) -> Request | None:
        """A request for the caller to carry out; None where nothing is left."""
        with self._more:
            queue = self._later or self._early
            return queue.popleft() if queue else None

    def _take_for_helper(self) -> Request | None:
        """A request for a helper; waits until there is one, or until none will come."""
        with self._more:
            while not (self._early or self._later or self._complete or self._ending):
                self._more.wait()
            queue = self._early or self._later
            return queue.popleft() if queue and not self._ending else None

    def finish(self) -> None:
        """Wait for what the helpers are at; there may then be requests left of those that died.

        A helper that is still starting is not waited for, nor is any until its process is gone: see :meth:`close`.
        """
        self._end()
        for process, thread in self._threads.items():
            if process not in self._ready:
                self._stop(process)
            thread.join()

    def close(self) -> None:
        """End all helpers, whatever they are at."""
        self._end()
        for process, thread in self._threads.items():
            self._stop(process)
            thread.join()
            with suppress(OSError), process:  # closes its pipes and waits until it is gone
                pass

    def _end(self) -> None:
        with self._more:
            self._ending = True
            self._more.notify_all()

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:  # not one that has died by itself
            self._stopped.add(process)
            process.kill()

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """What a helper's thread does: feed it."""
        import json

        request: Request | None = None
        assert process.stdin is not None and process.stdout is not None
        try:
            while (line := process.stdout.readline()) != helper.READY:  # what a site's own start-up prints
                if not line:
                    raise EOFError
            self._ready.add(process)
            while (request := self._take_for_helper()) is not None:
                process.stdin.write(json.dumps(request._asdict()).encode() + b"\n")
                process.stdin.flush()
                size = int(process.stdout.readline())
                code = process.stdout.read(size) if size >= 0 else b""
                if len(code) < size:
                    raise EOFError
                if size < 0:  # it does not compile: the caller will find out, and say why
                    break
                self.done[request.export] = code
        except (OSError, ValueError, EOFError):
            if process not in self._stopped:
                with suppress(OSError):
                    process.stdin.close()  # one that still lives, though it answers nonsense, ends with its input
                status = process.wait()
                how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
                self.failure = how
        if request is not None:
            with self._more:
                self._later.append(request)


def _start() -> subprocess.Popen[bytes]:
    """A new helper, which sees the modules that this process sees."""
    import subprocess

    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, helper.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
    )


def compile_all(
    requests: Iterable[Request], compile_one: Callable[[Request], bytes], helpers: Helpers | None = None
) -> dict[str, bytes]:
    """Object code of all requests, by export; made here by `compile_one`, and by helpers where that is faster.

    Parameters
    ----------
    requests : iterable of Request
        Long ones first, lest one is left alone at the end.
    compile_one : callable
        Makes the object code of one.
    helpers : Helpers, optional
        Those that have begun with some of them; the caller closes them, and may use the code before.

    Raises
    ------
    CompileError
        If a source does not compile.
    """
    if helpers is None:
        with closing(Helpers()) as helpers:
            return compile_all(requests, compile_one, helpers)
    requests = list(requests)
    made: dict[str, bytes] = {}
    total = helpers.complete(requests)
    helpers.start()
    with _Progress(total, seconds_for(request.source for request in requests)) as progress:
        for last_round in (False, True):
            while (request := helpers.take()) is not None:
                made[request.export] = compile_one(request)
                progress.show(len(made) + len(helpers.done))
            if not last_round:
                helpers.finish()
    if helpers.failure is not None:
        warnings.warn(
            f"a compile helper {helpers.failure}; this process compiled the remaining kernels itself",
            GraphcWarning,
            stacklevel=stack_level(),
        )
    return made | helpers.done
