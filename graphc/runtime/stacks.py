"""Stacks: what compiled kernels need of one, and what the thread at hand has.

Kernels keep small arrays on the stack of whoever runs them, contractions copies of operands that are to stay in L2: a
megabyte. A thread whose stack is too small for that would end the process, so a step asks first.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from graphc.errors import SessionError

RESERVE = 192 * 1024
"""Bytes for all but the arrays: the interpreter's frames below a step, the walk, functions that kernels call."""

OWN_BYTES = 4 << 20
"""The stack of workers' own threads: twice what a kernel's arrays and a contraction's take at most."""

_UNIT = 1 << 20  # sizes that are proposed are multiples of it

_ARRAY = re.compile(r"\bstack_(\w+)\((\d+)\)")
_ATTRIBUTES_BYTES = 128  # pthread_attr_t has 56 to 64


def bytes_of(text: str) -> int:
    """What the arrays of a source take.

    Examples
    --------
    >>> bytes_of("a, b = stack_float64(2), stack_bool(3)")
    19
    """
    return sum(int(n) * np.dtype(kind).itemsize for kind, n in _ARRAY.findall(text))


class _Thread(threading.local):
    """What is known of the thread at hand; made once a thread."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        libc.pthread_self.restype = ctypes.c_void_p
        attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
        lowest, size = ctypes.c_void_p(), ctypes.c_size_t()
        if libc.pthread_getattr_np(ctypes.c_void_p(libc.pthread_self()), attributes):
            raise SessionError("the system does not tell how large this thread's stack is")
        libc.pthread_attr_getstack(attributes, ctypes.byref(lowest), ctypes.byref(size))
        libc.pthread_attr_destroy(attributes)
        self.stack = size.value


_thread = _Thread()


def require(nbytes: int) -> None:
    """Check that the thread at hand has a stack of so many bytes.

    Raises
    ------
    SessionError
        If it is smaller.
    """
    if _thread.stack < nbytes:
        enough = -(-nbytes // _UNIT) * _UNIT
        main = threading.current_thread() is threading.main_thread()
        raise SessionError(
            f"this thread's stack has {_thread.stack:,} bytes, and kernels of this program need {nbytes:,}",
            hint=f"raise the limit before the process is started: ulimit -s {enough // 1024}"
            if main
            else f"call threading.stack_size({enough}) before the thread is started",
        )


_changing = threading.RLock()  # of the process's setting: two sessions may start their workers at once
# a fork waits for the thread that changes it: in the child the lock would never open, nor the setting be put back
os.register_at_fork(before=_changing.acquire, after_in_parent=_changing.release, after_in_child=_changing.release)


@contextmanager
def own_threads() -> Iterator[None]:
    """Threads that are started inside have a stack of :data:`OWN_BYTES`, whatever the process gives others."""
    with _changing:
        others = threading.stack_size(OWN_BYTES)
        try:
            yield
        finally:
            threading.stack_size(others)
