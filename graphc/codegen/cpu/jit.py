"""Kernel sources -> addresses of machine code: this process's table, then the disk, then the compiler.

Every kernel takes the same last step, whether it was compiled a moment or a month ago: its object code
goes through one LLVM loader.  So a cold and a warm start run the same machine code, and a warm start
imports no Numba: reading and linking an object takes well under a millisecond.

Loaded code stays until the process ends; its address is valid in every thread and, after a fork, in the
child.
"""

from __future__ import annotations

import itertools
import linecache
import logging  # noqa: F401  (its hook for forks must be there before ours, below)
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal, NamedTuple

import llvmlite.binding as llvm

from graphc import config
from graphc.codegen.cpu import cache, machine
from graphc.codegen.cpu.helpers import Helpers, Request, compile_all
from graphc.errors import CompileError
from graphc.passes.collector import collector_paused

Kind = Literal["memory", "disk", "compiled"]

NUMBA_SERIES = "0.68"
"""The Numba whose inner parts :mod:`graphc.codegen.cpu.frontend` knows; ``pyproject.toml`` asks for the same."""

KERNEL_SIGNATURE = "void(CPointer(int64), CPointer(int64), int64, int64)"


class KernelEvent(NamedTuple):
    """How one kernel came to be ready.

    Attributes
    ----------
    kind : {"memory", "disk", "compiled"}
        Found in this process, loaded from the cache, or compiled now.
    key : str
        The key of its object code, 64 hexadecimal digits.
    seconds : float
        What that took.
    """

    kind: Kind
    key: str
    seconds: float


class _Loader:
    """Links object files into this process and keeps them alive."""

    def __init__(self) -> None:
        machine.host()  # initialises LLVM's native target
        self._engine = llvm.create_lljit_compiler(machine.target_machine(), use_jit_link=True)
        self._kept: list[Any] = []
        self._numbers = itertools.count()

    def addresses(self, codes: Sequence[tuple[str, bytes]]) -> list[int]:
        """Load objects as one library, which takes half as long as one for each; return their functions' addresses.

        Parameters
        ----------
        codes : sequence of (str, bytes)
            The symbol of each function, and the object that defines it.
        """
        builder = llvm.JITLibraryBuilder().add_current_process()
        for symbol, code in codes:
            builder.add_object_img(code).export_symbol(symbol)
        library = builder.link(self._engine, f"kernels{next(self._numbers)}")
        self._kept.append(library)
        return [int(library[symbol]) for symbol, _ in codes]


_lock = threading.RLock()
# a fork waits for the kernel that another thread is compiling: its locks, LLVM's among them, would never open in the
# child; what was registered last comes first, so it waits before logging's hook takes a lock that importing Numba needs
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_addresses: dict[str, int] = {}
_loader: _Loader | None = None
_begun: Helpers | None = None
"""Helpers that have begun with a part of what this process will need; guarded by the lock."""


class Wanted(NamedTuple):
    """A compiled function that a program needs.

    Attributes
    ----------
    source : str
        A Python module that defines it, in the subset that Numba compiles.
    symbol : str
        Its name there.
    signature : str
        Its C signature, in Numba's notation.
    """

    source: str
    symbol: str = "kernel"
    signature: str = KERNEL_SIGNATURE


def load(
    sources: Sequence[str],
    *,
    symbol: str = "kernel",
    signature: str = KERNEL_SIGNATURE,
    on_event: Callable[[KernelEvent], None] | None = None,
) -> list[int]:
    """Make kernels ready to be called.

    Parameters
    ----------
    sources : sequence of str
        Python modules, each defining a function `symbol` in the subset that Numba compiles.
    symbol : str, default "kernel"
        The name of the function in each source.
    signature : str, default the kernel ABI
        The C signature, in Numba's notation.
    on_event : callable, optional
        Receives a :class:`KernelEvent` for each source, in order.

    Returns
    -------
    list of int
        The addresses of the compiled functions, in the order of `sources`. Equal sources share one.

    Raises
    ------
    CompileError
        If a source does not compile, can raise, or needs more than the C library.
    """
    prepare([Wanted(source, symbol, signature) for source in sources], on_event)
    return [_addresses[cache.key_of(source, f"{symbol} {signature}")] for source in sources]


def prepare(wanted: Sequence[Wanted], on_event: Callable[[KernelEvent], None] | None = None) -> None:
    """Make functions ready for :func:`load`, all at once: several processes may share the work.

    Parameters
    ----------
    wanted : sequence of Wanted
    on_event : callable, optional
        Receives a :class:`KernelEvent` for each, in order; the time of compiling is shared among the compiled, that of
        loading among the loaded.

    Raises
    ------
    CompileError
        As :func:`load`.
    """
    keys = [_key(one) for one in wanted]
    with _lock:
        kinds, missing = _look_up(wanted)
        if missing:
            start = time.perf_counter()
            _compile(missing)
            each = (time.perf_counter() - start) / len(missing)
            kinds.update((key, ("compiled", each)) for key in missing)
    if on_event is not None:
        for key in keys:
            kind, seconds = kinds.pop(key, ("memory", 0.0))
            on_event(KernelEvent(kind, key, seconds))


@contextmanager
def begun(wanted: Sequence[Wanted], wait: bool = True) -> Iterator[None]:
    """Have helpers begin with functions, unless they are there, before :func:`prepare` is called inside with more.

    A program's kernels are known only when it has been through all passes; a helper has started by then, and has
    compiled what every program needs.  Inside of another of the same thread there is nothing to do.

    Parameters
    ----------
    wanted : sequence of Wanted
    wait : bool, default True
        False where the caller has locks that other threads may want while they compile: nothing is begun then.
    """
    global _begun
    if not _lock.acquire(blocking=wait):
        yield
        return
    try:  # locked throughout: a child of a fork would keep a helper's pipe open
        missing = _look_up(wanted)[1] if _begun is None else {}
        if not missing:
            yield
            return
        helpers = _begun = Helpers(_requests(missing).values())
        try:
            helpers.start()
            yield
        finally:
            _begun = None
            helpers.close()
    finally:
        _lock.release()


def _key(one: Wanted) -> str:
    return cache.key_of(one.source, f"{one.symbol} {one.signature}")


def _look_up(wanted: Sequence[Wanted]) -> tuple[dict[str, tuple[Kind, float]], dict[str, Wanted]]:
    """Bring here what is on disk; by key, how that went, and what has to be compiled."""
    found: dict[str, tuple[str, bytes]] = {}
    missing: dict[str, Wanted] = {}
    start = time.perf_counter()
    for one in wanted:
        key = _key(one)
        if key not in _addresses and key not in found and key not in missing:
            entry = cache.load(key, one.source)
            if entry is None:
                missing[key] = one
            else:
                found[key] = entry
    _link(found)
    each = (time.perf_counter() - start) / max(len(found), 1)
    return dict.fromkeys(found, ("disk", each)), missing


def _link(codes: Mapping[str, tuple[str, bytes]]) -> None:
    """Bring object code into this process: by key, a symbol and the object that defines it."""
    global _loader
    if not codes:
        return
    if _loader is None:
        _loader = _Loader()
    try:
        _addresses.update(zip(codes, _loader.addresses(list(codes.values())), strict=True))
    except RuntimeError as error:
        raise CompileError(f"the object code of kernels does not load: {error}") from error


def _requests(missing: dict[str, Wanted]) -> dict[str, Request]:
    """What to ask the compiler for; what is not a kernel comes first, for it is long, then long kernels."""
    version = config.version_of("numba")
    if not version.startswith(f"{NUMBA_SERIES}."):
        raise CompileError(
            f"kernels are compiled by parts of Numba {NUMBA_SERIES}, which differ in other versions; found {version}",
            hint=f'run: pip install "numba=={NUMBA_SERIES}.*"',
        )
    requests = {}
    for key, one in sorted(missing.items(), key=lambda item: _priority(item[1])):
        filename = cache.keep_source(one.source) or f"<{cache.source_name(one.source)}>"
        # tracebacks find the text even where there is no file
        linecache.cache[filename] = (len(one.source), None, one.source.splitlines(keepends=True), filename)
        requests[key] = Request(one.source, filename, one.symbol, one.signature, export=f"graphc_{key[:40]}")
    return requests


def _priority(one: Wanted) -> tuple[bool, int]:
    return one.signature == KERNEL_SIGNATURE, -len(one.source)


def _compile(missing: dict[str, Wanted]) -> None:
    """Compile what is neither here nor on disk, keep it there and bring it here."""
    global _begun
    requests = _requests(missing)
    helpers, _begun = _begun or Helpers(), None
    with closing(helpers):  # their processes end while the code is stored and linked
        codes = compile_all(requests.values(), _compile_here, helpers)
        for key, request in requests.items():
            cache.store(key, request.source, request.export, codes[request.export])
        _link({key: (request.export, codes[request.export]) for key, request in requests.items()})


def _compile_here(request: Request) -> bytes:
    with collector_paused():
        from graphc.codegen.cpu import object_code  # imports Numba: only where there is something to compile

    return object_code.compile_source(**request._asdict())
