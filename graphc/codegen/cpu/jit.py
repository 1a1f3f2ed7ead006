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
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import llvmlite.binding as llvm

from graphc.codegen.cpu import cache, machine
from graphc.errors import CompileError

KERNEL_SIGNATURE = "void(CPointer(int64), CPointer(int64), int64, int64)"


@dataclass(frozen=True)
class KernelEvent:
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

    kind: Literal["memory", "disk", "compiled"]
    key: str
    seconds: float


class _Loader:
    """Links object files into this process and keeps them alive."""

    def __init__(self) -> None:
        machine.host()  # initialises LLVM's native target
        self._engine = llvm.create_lljit_compiler(machine.target_machine(), use_jit_link=True)
        self._kept: list[Any] = []
        self._numbers = itertools.count()

    def address(self, symbol: str, code: bytes) -> int:
        """Load an object as a library of its own; return the address of its function `symbol`."""
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process().export_symbol(symbol)
        library = builder.link(self._engine, f"kernel{next(self._numbers)}")
        self._kept.append(library)
        return int(library[symbol])


_lock = threading.RLock()
# a fork waits for the kernel that another thread is compiling: its locks, LLVM's among them, would never open in the
# child
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_addresses: dict[str, int] = {}
_loader: _Loader | None = None


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
    addresses = []
    for source in sources:
        start = time.perf_counter()
        key = cache.key_of(source, f"{symbol} {signature}")
        address, kind = _ready(key, source, symbol, signature)
        addresses.append(address)
        if on_event is not None:
            on_event(KernelEvent(kind, key, time.perf_counter() - start))
    return addresses


def _ready(key: str, source: str, symbol: str, signature: str) -> tuple[int, Literal["memory", "disk", "compiled"]]:
    """The address of one kernel and where it came from."""
    global _loader
    address = _addresses.get(key)
    if address is not None:
        return address, "memory"
    with _lock:
        if key in _addresses:  # another thread was faster
            return _addresses[key], "memory"
        if _loader is None:
            _loader = _Loader()
        kind: Literal["disk", "compiled"] = "disk"
        entry = cache.load(key, source)
        if entry is None:
            kind = "compiled"
            entry = _compile(key, source, symbol, signature)
            cache.store(key, source, *entry)
        try:
            _addresses[key] = _loader.address(*entry)
        except RuntimeError as error:
            raise CompileError(f"{cache.source_name(source)}: the object code does not load: {error}") from error
        return _addresses[key], kind


def _compile(key: str, source: str, symbol: str, signature: str) -> tuple[str, bytes]:
    """Compile one kernel; return its exported symbol and its object code."""
    from graphc.codegen.cpu import object_code  # imports Numba: only where there is something to compile

    filename = cache.keep_source(source) or f"<{cache.source_name(source)}>"
    # tracebacks find the text even where there is no file
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    export = f"graphc_{key[:40]}"
    code = object_code.compile_source(source, filename, function=symbol, signature=signature, export=export)
    return export, code
