"""The way into a step: a built-in function that is called with the fed arrays, made from compiled code.

A call through ctypes costs the better part of a microsecond before anything happens, and NumPy takes as long to tell
one array's address; a small program's step takes no longer than that itself. So the compiled ``gate.py`` is given to
the interpreter as what it is, a C function that takes objects: CPython's own ``PyCFunction_NewEx`` makes a built-in of
its address. Bound to each is the plan of one table: what its feeds must look like, and where their addresses go.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphc.codegen.cpu import jit
from graphc.errors import GraphcError
from graphc.ir.record import record
from graphc.runtime import layout as at
from graphc.runtime.memory import aligned_words
from graphc.runtime.table import Cell, Table, Words

HEAD_BYTES = object.__basicsize__
"""What a Python object begins with; its last word is the address of its type."""

_METH_FASTCALL = 0x80

Enter = Callable[..., int]
"""Called with one array a feed: ``layout.MISFIT`` if they do not fit the plan, or how the walk ended."""


@record
class Feed:
    """What one fed array must be, and who wants its address.

    Attributes
    ----------
    dtype : numpy.dtype
        This very object, as NumPy's arrays of its own dtypes have it.
    shape : tuple of int
    cells : sequence of (Cell, int)
        Words of the table that receive the array's address plus some bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    cells: Sequence[tuple[Cell, int]]


class _MethodDef(ctypes.Structure):
    """``PyMethodDef`` of Python's stable C interface."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class _Interpreter(NamedTuple):
    """The built-in's definition, which outlives all functions made of it, and addresses of C functions."""

    definition: _MethodDef
    make: Callable[..., Enter]
    release: int
    acquire: int
    make_int: int


@cache
def gate() -> jit.Wanted:
    """The function of ``gate.py``, to be prepared together with kernels."""
    folder = Path(__file__).parent
    relied_on = hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("layout.py", "walker.py")))
    text = f"{(folder / 'gate.py').read_text()}\n# relies on: {relied_on.hexdigest()}\nHEAD = {HEAD_BYTES}\n"
    return jit.Wanted(text, "enter", "int64(int64, int64, int64)")


_definitions: list[_MethodDef] = []
"""Kept for good, for built-ins point to them: several threads that start at once make one each, of which a cache keeps
one."""


@cache
def _interpreter() -> _Interpreter:
    """Load the compiled gate."""
    _check_fields()
    (address,) = jit.load([gate().source], symbol=gate().symbol, signature=gate().signature)
    api = ctypes.pythonapi
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
        ("PyCFunction_NewEx", api)
    )
    functions = (api.PyEval_SaveThread, api.PyEval_RestoreThread, api.PyLong_FromLong)
    release, acquire, make_int = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions)
    definition = _MethodDef(b"enter", address, _METH_FASTCALL, None)
    _definitions.append(definition)
    return _Interpreter(definition, make, release, acquire, make_int)


def _check_fields() -> None:
    """An array's fields lie where ``layout.py`` says."""
    probe = np.zeros((2, 3), np.float32)
    words = (ctypes.c_int64 * (at.ARRAY_FLAGS + 1)).from_address(id(probe) + HEAD_BYTES)
    kind = ctypes.c_int64.from_address(id(probe) + HEAD_BYTES - at.WORD).value
    sizes = (ctypes.c_int64 * 2).from_address(words[at.ARRAY_SIZES])
    found = (kind, words[at.ARRAY_DATA], words[at.ARRAY_RANK] & 0xFFFF_FFFF, words[at.ARRAY_DTYPE], *sizes)
    plain = words[at.ARRAY_FLAGS] & at.PLAIN == at.PLAIN
    if found != (id(np.ndarray), probe.ctypes.data, 2, id(np.dtype(np.float32)), 2, 3) or not plain:
        raise GraphcError(
            f"the arrays of NumPy {np.__version__} are not laid out as its C interface has it",
            hint="graphc needs CPython and an official build of NumPy",
        )


def make_entry(table: Table, feeds: Sequence[Feed], crew: Words, walk: int) -> Enter:
    """The function that starts a step of a table.

    Parameters
    ----------
    table : Table
    feeds : sequence of Feed
        One an argument.
    crew : ndarray of int64, shape (2,)
        Address of the workers' shared block and their number; read at each step.
    walk : int
        Address of the compiled ``walk``.

    Returns
    -------
    callable
        A built-in function, which keeps what it reads alive.
    """
    interpreter = _interpreter()
    cells = aligned_words(2 * sum(len(feed.cells) for feed in feeds))
    shapes = aligned_words(sum(len(feed.shape) for feed in feeds))
    plan = aligned_words(at.GATE_FEEDS + len(feeds) * at.FEED_WORDS).view(_Plan)
    plan.kept = (table, crew, cells, shapes, [feed.dtype for feed in feeds], [feed.cells for feed in feeds])
    plan[at.GATE_COUNT], plan[at.GATE_RUN] = len(feeds), table.address
    plan[at.GATE_CREW], plan[at.GATE_WALK] = crew.ctypes.data, walk
    plan[at.GATE_RELEASE], plan[at.GATE_ACQUIRE] = interpreter.release, interpreter.acquire
    plan[at.GATE_MAKE_INT] = interpreter.make_int
    cell_at = shape_at = 0
    for feed, words in zip(feeds, plan[at.GATE_FEEDS :].reshape(-1, at.FEED_WORDS), strict=True):
        words[at.FEED_TYPE], words[at.FEED_DTYPE] = id(np.ndarray), id(feed.dtype)
        words[at.FEED_RANK] = len(feed.shape)
        words[at.FEED_SIZES] = shapes.ctypes.data + shape_at * at.WORD
        words[at.FEED_CELLS], words[at.FEED_CELL_COUNT] = cells.ctypes.data + cell_at * at.WORD, len(feed.cells)
        shapes[shape_at : shape_at + len(feed.shape)] = feed.shape
        shape_at += len(feed.shape)
        for cell, offset in feed.cells:
            cells[cell_at : cell_at + 2] = cell.address, offset
            cell_at += 2
    return interpreter.make(ctypes.addressof(interpreter.definition), plan, None)


class _Plan(np.ndarray[Any, np.dtype[np.int64]]):
    """Words with what they point into."""

    kept: tuple[Any, ...] = ()
