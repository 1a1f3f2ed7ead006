"""Memory in which every byte knows what it holds and who touched it.

A :class:`Storage` is a stretch of real memory: a program's arena, a variable, a fed array, an array on the stack. It
keeps three words for each byte:

*holder*
    The number of what was written there last: each tensor has one, and so has each worker's scratch. Who reads a byte
    names what he expects to find. So one comparison finds what was never written, what lies where a result has
    overwritten its input too early, and what the memory plan has given to somebody else meanwhile.
*writer*, *reader*
    Which worker has written or read it since the last barrier. A byte that one has written is nobody else's until the
    next, and one that several have read nobody's to write.

A :class:`Buffer` is what one worker may touch of a storage as one argument of a kernel, a :class:`Pointer` a place in
it, perhaps outside: kernels may form any address, but not use it. An access is known by its first byte, for elements of
one tensor never overlap in part; a write marks all.
"""

from __future__ import annotations

import ctypes
import linecache
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError

Array = NDArray[Any]

UNWRITTEN, ANYTHING = 0, -1
"""Holders: nobody has written; what was there before, which may be read as anything (variables, fed arrays)."""

SEVERAL = -1
"""More than one worker."""

TEXT = "<graphc "
"""What the names of the files of texts begin with."""


class MemoryFault(GraphcError):
    """An access that a kernel must not make; says which, to what, and on which line of which text."""


def fault(problem: str) -> MemoryFault:
    """An error that names the lines of the texts that are being run, the innermost first."""
    lines, frame = [problem], sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(TEXT):
            text = linecache.getline(code.co_filename, frame.f_lineno).strip()
            lines.append(f"  {code.co_filename.strip('<>')}, line {frame.f_lineno}: {text}")
        frame = frame.f_back  # type: ignore[assignment]
    return MemoryFault("\n".join(lines))


class Storage:
    """A stretch of memory.

    Parameters
    ----------
    address, size : int
        Where it begins, and its bytes.
    keep : object
        What owns it.
    holder : int
        What it holds.
    """

    def __init__(self, address: int, size: int, keep: object, holder: int = UNWRITTEN):
        self.address, self.size, self._keep = address, size, keep
        self.holder = np.full(size, holder, np.int32)
        self.writer, self.reader = np.zeros(size, np.int8), np.zeros(size, np.int8)
        # single bytes are read from these faster than from arrays
        self.holders, self.writers, self.readers = self.holder.data, self.writer.data, self.reader.data
        self._elements: dict[str, Array] = {}

    @classmethod
    def of(cls, array: Array, holder: int = ANYTHING) -> Storage:
        """The memory of a contiguous array."""
        return cls(array.ctypes.data, array.nbytes, array, holder)

    def elements(self, dtype: str) -> Array:
        """The memory as elements of a dtype."""
        if dtype not in self._elements:
            size = np.dtype(dtype).itemsize
            block = (ctypes.c_char * (self.size // size * size)).from_address(self.address)
            self._elements[dtype] = np.frombuffer(memoryview(block), dtype)
        return self._elements[dtype]

    def has(self, address: int, size: int) -> bool:
        """Whether some bytes lie in it."""
        return self.address <= address and address + size <= self.address + self.size

    def pass_barrier(self) -> None:
        """Forget who touched what."""
        self.writer.fill(0)
        self.reader.fill(0)


def stack(name: str, dtype: str, count: int) -> Pointer:
    """A pointer to new elements that nobody has written."""
    array = np.zeros(count, dtype)
    return Buffer(name, Storage.of(array, UNWRITTEN), 0, array.nbytes, holder=1).pointer(dtype)


class Buffer:
    """What a worker may touch of a storage.

    Attributes
    ----------
    name : str
    storage : Storage
    start, stop : int
        The first byte that belongs to it, and the first behind it that does not.
    holder : int
        What its bytes are to hold.
    worker : int
        From 1.
    writable : bool
    origin : int
        The byte at which its pointers begin.
    in_parts : bool
        Whether every offset from its beginning begins a part of its own, which ends where the next one begins: a
        worker's scratch, of which a kernel first says where each array begins, in order.
    """

    def __init__(
        self,
        name: str,
        storage: Storage,
        start: int,
        stop: int,
        *,
        holder: int,
        worker: int = 1,
        writable: bool = True,
        origin: int | None = None,
        in_parts: bool = False,
    ):
        self.name, self.storage, self.start, self.stop = name, storage, start, stop
        self.holder, self.worker, self.writable = holder, worker, writable
        self.origin = start if origin is None else origin
        self.in_parts, self._part = in_parts, self

    def pointer(self, dtype: str) -> Pointer:
        """A pointer to its beginning."""
        return Pointer(self, dtype, self.origin)

    def part(self, byte: int) -> Buffer:
        """The part that begins at a byte; the one before ends there."""
        if not self._part.start <= byte <= self.stop:
            raise fault(f"{self.name} of {self.stop - self.start} bytes: a part begins at byte {byte - self.start}")
        if self._part is not self:
            self._part.stop = byte
        name = f"{self.name} from byte {byte - self.start}"
        self._part = Buffer(name, self.storage, byte, self.stop, holder=self.holder, worker=self.worker)
        return self._part

    def read(self, byte: int, size: int) -> None:
        """Check that an element may be read, and note that it is.

        Raises
        ------
        MemoryFault
        """
        storage = self.storage
        if byte < self.start or byte + size > self.stop:
            raise self._outside("read", byte, size)
        held = storage.holders[byte]
        if held not in (self.holder, ANYTHING):
            raise self._not_held(byte, held)
        writer, reader = storage.writers[byte], storage.readers[byte]
        if writer and writer != self.worker:
            raise self._race("reads", byte, f"worker {writer - 1} has written")
        if reader != self.worker:
            storage.readers[byte] = SEVERAL if reader else self.worker

    def write(self, byte: int, size: int) -> None:
        """Check that an element may be written, and note that it is.

        Raises
        ------
        MemoryFault
        """
        storage = self.storage
        if byte < self.start or byte + size > self.stop:
            raise self._outside("written", byte, size)
        if not self.writable:
            raise fault(f"{self.name} is an input, and is written")
        writer, reader = storage.writers[byte], storage.readers[byte]
        if writer and writer != self.worker:
            raise self._race("writes", byte, f"worker {writer - 1} has written")
        if reader and reader != self.worker:
            raise self._race("writes", byte, "another worker has read")
        end = byte + size
        storage.holder[byte:end], storage.writer[byte:end] = self.holder, self.worker

    def read_all(self, firsts: Array, size: int) -> None:
        """:meth:`read` of many elements by their first bytes."""
        storage = self.storage
        self.check_range("read", firsts, size)
        held, writers = storage.holder[firsts], storage.writer[firsts]
        for wrong in firsts[(held != self.holder) & (held != ANYTHING)][:1]:
            raise self._not_held(wrong, storage.holders[wrong])
        for wrong in firsts[(writers != 0) & (writers != self.worker)][:1]:
            raise self._race("reads", wrong, f"worker {storage.writers[wrong] - 1} has written")
        readers = storage.reader[firsts]
        storage.reader[firsts] = np.where((readers == 0) | (readers == self.worker), self.worker, SEVERAL)

    def write_all(self, firsts: Array, size: int) -> None:
        """:meth:`write` of many elements by their first bytes."""
        storage = self.storage
        self.check_range("written", firsts, size)
        if firsts.size and not self.writable:
            raise fault(f"{self.name} is an input, and is written")
        writers, readers = storage.writer[firsts], storage.reader[firsts]
        for wrong in firsts[(writers != 0) & (writers != self.worker)][:1]:
            raise self._race("writes", wrong, f"worker {storage.writers[wrong] - 1} has written")
        for wrong in firsts[(readers != 0) & (readers != self.worker)][:1]:
            raise self._race("writes", wrong, "another worker has read")
        every = (firsts[:, None] + np.arange(size)).ravel()
        storage.holder[every], storage.writer[every] = self.holder, self.worker

    def check_range(self, how: str, firsts: Array, size: int) -> None:
        """Check that elements lie in the buffer."""
        for wrong in firsts[(firsts < self.start) | (firsts + size > self.stop)][:1]:
            raise self._outside(how, wrong, size)

    def _outside(self, how: str, byte: int, size: int) -> MemoryFault:
        return fault(
            f"{self.name} has {self.stop - self.start} bytes, and {size} are {how} from byte {byte - self.start} on"
        )

    def _not_held(self, byte: int, held: int) -> MemoryFault:
        what = "which nobody has written" if held == UNWRITTEN else f"where {held} lies, not {self.holder}"
        return fault(f"{self.name}: byte {byte - self.start} is read, {what}")

    def _race(self, how: str, byte: int, other: str) -> MemoryFault:
        place = byte - self.start
        return fault(f"{self.name}: worker {self.worker - 1} {how} byte {place}, which {other} since the last barrier")


class Pointer:
    """A place in a buffer.

    Attributes
    ----------
    buffer : Buffer
    dtype : str
    size : int
        Bytes of an element.
    place : int
        In elements from the storage's beginning.
    items : ndarray
        The storage's elements.
    """

    __slots__ = ("buffer", "dtype", "items", "place", "size")

    def __init__(self, buffer: Buffer, dtype: str, byte: int):
        self.buffer, self.dtype = buffer, dtype
        self.items = buffer.storage.elements(dtype)
        self.size = self.items.itemsize
        if byte % self.size:
            raise fault(f"{buffer.name}: elements of {dtype} at byte {byte - buffer.start}")
        self.place = byte // self.size

    def moved(self, count: int) -> Pointer:
        """So many elements on."""
        buffer, byte = self.buffer, (self.place + int(count)) * self.size
        return Pointer(buffer.part(byte) if buffer.in_parts else buffer, self.dtype, byte)

    @property
    def address(self) -> int:
        """Where it points to in memory."""
        return self.buffer.storage.address + self.place * self.size

    def firsts(self, places: Array) -> Array:
        """First bytes of elements, whose places count from the pointer."""
        return np.asarray((self.place + places) * self.size).ravel()

    def read(self, places: Array) -> Array:
        """Elements, whose places count from the pointer."""
        self.buffer.read_all(self.firsts(places), self.size)
        return self.items[self.place + places]

    def reach(self, places: Array) -> None:
        """Check that elements are there, whatever they hold."""
        self.buffer.check_range("read", self.firsts(places), self.size)

    def write(self, places: Array, values: Array) -> None:
        """Set elements, whose places count from the pointer."""
        self.buffer.write_all(self.firsts(places), self.size)
        self.items[self.place + places] = values
