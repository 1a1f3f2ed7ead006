"""Memory: aligned arenas, slots that never move, and the question whether a request can be met at all.

An **arena** is one block of bytes that a memory plan cuts into buffers by offset.  **Slots** are the long-lived
counterpart: variables and optimiser state live in named slots of chunks, one set of chunks a dtype.  A chunk is
allocated once and never moves, so the address of a slot can be written into call tables; slots asked for together
lie in one chunk, large ones spaced so that a loop over several at once has each in another bank of the memory.

Linux promises memory that it does not have and kills the process that touches it.  So a request is compared first
with what is left, on the machine and in each control group that the process is in, and refused with an error that
names the bytes.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from graphc.errors import GraphcError, OutOfMemoryError
from graphc.ir.op import Effect
from graphc.ir.printer import format_bytes
from graphc.ir.symbolic import evaluate
from graphc.schedule.footprint import MemoryReport

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector register."""

CHUNK_BYTES = 1 << 20
"""The least size of a chunk of slots, bytes."""

LARGE_SLOT = 1 << 20
"""Bytes of a slot from which on it is kept apart from the next."""

SPACING = 389 * ALIGNMENT
"""Bytes left free behind a large slot, 24 KiB and five lines.

An update goes over slots of one size side by side. At distances of a power of two it was measured at a third of the
rate; presumably such bytes lie in different rows of one bank of the memory, which has one row open at a time. 4, 8 or
16 KiB more than a power of two can be as bad. The lines keep the slots' elements out of the same sets of the caches.
"""


def round_up(nbytes: int) -> int:
    """The least multiple of :data:`ALIGNMENT` that holds `nbytes`."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _slot_bytes(nbytes: int) -> int:
    """What a slot takes of its chunk."""
    return round_up(nbytes) + (SPACING if nbytes >= LARGE_SLOT else 0)


def _read_int(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _field(path: Path, name: str, unit: int) -> int | None:
    """The number after `name` in a file of the kernel, times `unit`."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words = line.split()
        if words and words[0] == name:
            return int(words[1]) * unit
    return None


def _group_room(group: Path) -> int | None:
    """Bytes that one control group may still take, droppable file pages included; None without a limit."""
    limit, used = _read_int(group / "memory.max"), _read_int(group / "memory.current")
    if limit is None or used is None:
        return None
    return max(0, limit - used + (_field(group / "memory.stat", "inactive_file", 1) or 0))


def _address_space(root: Path) -> int | None:
    """Bytes of address space that the process may still take; None without a limit."""
    try:
        lines = (root / "proc/self/limits").read_text().splitlines()
    except OSError:
        return None
    soft = next((line.split()[3] for line in lines if line.startswith("Max address space")), "")
    used = _field(root / "proc/self/status", "VmSize:", 1024)
    return max(0, int(soft) - used) if soft.isdigit() and used is not None else None


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still get without being killed for it.

    The least of the machine's ``MemAvailable``, the room in the process's control group (version 2) and each group
    above it, and what is left of the address space that the process may have (``ulimit -v``).

    Parameters
    ----------
    root : Path
        Folder that holds ``proc`` and ``sys``.

    Returns
    -------
    int or None
        None when the system tells nothing.
    """
    rooms = [_field(root / "proc/meminfo", "MemAvailable:", 1024), _address_space(root)]
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    inside = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    group = top / inside
    rooms.extend(_group_room(folder) for folder in (group, *group.parents) if folder.is_relative_to(top))
    known = [room for room in rooms if room is not None]
    return min(known) if known else None


def _readable(nbytes: int) -> str:
    return f"{nbytes:,} bytes ({format_bytes(nbytes)})"


def require(
    nbytes: int,
    purpose: str,
    *,
    remark: str = "",
    origin: object = None,
    hint: str = "use a smaller batch, or smaller layers",
) -> None:
    """Refuse a request that cannot be met.

    Parameters
    ----------
    nbytes : int
        Bytes asked for.
    purpose : str
        What they are for; the error begins with it.
    remark : str
        What else to say of them.
    origin : object
        The user's line that is to blame most.
    hint : str
        What to try.

    Raises
    ------
    OutOfMemoryError
        If `nbytes` are more than are available.
    """
    if nbytes < CHUNK_BYTES:  # smaller ones are not worth asking the system about
        return
    room = available_bytes()
    if room is not None and nbytes > room:
        message = f"{purpose} needs {_readable(nbytes)}, but only {_readable(room)} are available"
        raise OutOfMemoryError(f"{message}; {remark}" if remark else message, origin=origin, hint=hint)


def require_step(report: MemoryReport) -> None:
    """Refuse a step that memory does not suffice for, before any of it is taken.

    Raises
    ------
    OutOfMemoryError
        Names the bytes, the largest tensor among them, and the line that declared it.
    """
    outputs = [tensor for tensor in report.schedule.graph.outputs if not isinstance(tensor.node.op, Effect)]
    sizes = {tensor: evaluate(tensor.type.bytes, report.sizes) for tensor in outputs} | report.plan.capacity
    if not sizes:
        return
    largest = max(sizes, key=lambda tensor: sizes[tensor])
    named = ", ".join(f"{name} = {size}" for name, size in report.sizes.items())
    require(
        report.step_bytes,
        "a step of this program" + (f" for {named}" if named else ""),
        remark=f"{report.peak:,} for the arena, {report.outputs:,} for copies of outputs; the largest tensor is "
        f"{largest.node.attributes.get('name') or largest.node.op.name}: {largest.type}, {_readable(sizes[largest])}",
        origin=largest.node.origin,
    )


def aligned_bytes(nbytes: int, purpose: str = "a buffer") -> NDArray[np.uint8]:
    """Zeroed bytes that start at a multiple of :data:`ALIGNMENT`.

    Parameters
    ----------
    nbytes : int
        How many; 0 is allowed and still has an address.
    purpose : str
        What they are for, for the error message.

    Returns
    -------
    ndarray of uint8, shape (nbytes,)
        A view that keeps its memory alive.

    Raises
    ------
    OutOfMemoryError
        If the memory cannot be had.
    """
    require(nbytes, purpose)
    try:
        raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
    except (MemoryError, ValueError) as error:
        raise OutOfMemoryError(f"{purpose} needs {_readable(nbytes)}, which the system refuses") from error
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip:][:nbytes]  # two slices: NumPy moves the address of an empty one back to the start


def aligned_words(count: int) -> NDArray[np.int64]:
    """Zeroed 64-bit words that start at a multiple of :data:`ALIGNMENT`."""
    return aligned_bytes(8 * count, "a table").view(np.int64)


class Blank:
    """Zeros that take no memory: pages that nobody can write to.

    Kernels find tensors without elements in the middle. They read elements of such a tensor, and drop them: what an
    index out of range stands for, or the row before the first, where a position in a larger tensor was clamped to an
    axis that has none. An empty array may lie where the process's memory ends.

    Parameters
    ----------
    reach : int
        Bytes to either side of the middle that may be read.

    Attributes
    ----------
    reach : int
    address, size : int
        Of the pages, and their bytes.
    middle : int
        The address from which tensors are read.

    Raises
    ------
    OutOfMemoryError
        If the address space has no room for it.
    """

    def __init__(self, reach: int):
        self.reach = reach
        try:
            self._pages = mmap.mmap(-1, 2 * reach, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
        except (OSError, OverflowError, ValueError):
            raise OutOfMemoryError(
                f"a tensor without elements spans {_readable(reach)}, and the address space has no room for it"
            ) from None
        self._array = np.frombuffer(self._pages, np.uint8)
        self.address, self.size = self._array.ctypes.data, 2 * reach
        self.middle = self.address + round_up(reach)


class Arena:
    """One aligned block of bytes that a memory plan cuts into buffers.

    Parameters
    ----------
    nbytes : int
        Its size.

    Raises
    ------
    OutOfMemoryError
        If the memory cannot be had.
    """

    def __init__(self, nbytes: int):
        self.bytes = aligned_bytes(nbytes, "the arena of this program")
        self.address: int = self.bytes.ctypes.data

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.bytes.size

    def view(self, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        """The array that lies `offset` bytes into the arena.

        Raises
        ------
        GraphcError
            If it does not lie within the arena.
        """
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if offset < 0 or offset + nbytes > self.nbytes:
            raise GraphcError(f"arena: bytes {offset} to {offset + nbytes} of {self.nbytes} asked for")
        return self.bytes[offset : offset + nbytes].view(dtype).reshape(shape)


class Slot(NamedTuple):
    """A named array that never moves.

    Attributes
    ----------
    name : str
        Its name, unique in its set.
    array : ndarray
        The values, C-contiguous and 64-byte aligned.
    chunk : int
        Number of the chunk it lies in, among those of its dtype.
    offset : int
        Bytes from the start of the chunk.
    """

    name: str
    array: NDArray
    chunk: int
    offset: int

    @property
    def address(self) -> int:
        """Address of the first element."""
        return self.array.ctypes.data


class _Chunks:
    """The chunks of one dtype; the last is filled from its front."""

    def __init__(self) -> None:
        self.blocks: list[NDArray[np.uint8]] = []
        self.used = 0

    def reserve(self, nbytes: int) -> tuple[int, int]:
        """Chunk and offset of `nbytes` in one piece."""
        if not self.blocks or self.used + nbytes > self.blocks[-1].size:
            self.blocks.append(aligned_bytes(max(nbytes, CHUNK_BYTES), "variables"))
            self.used = 0
        offset, self.used = self.used, self.used + nbytes
        return len(self.blocks) - 1, offset


class Slots(Mapping[str, Slot]):
    """Named slots in chunks that never move, one set of chunks a dtype."""

    def __init__(self) -> None:
        self._chunks: dict[np.dtype, _Chunks] = {}
        self._slots: dict[str, Slot] = {}

    def __getitem__(self, name: str) -> Slot:
        return self._slots[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._slots)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes of all chunks, used or not."""
        return sum(block.size for chunks in self._chunks.values() for block in chunks.blocks)

    def add(self, requests: Iterable[tuple[str, tuple[int, ...], DTypeLike]]) -> list[Slot]:
        """Make zeroed slots; those of one dtype lie in one chunk, in the order asked for.

        Parameters
        ----------
        requests : iterable of (name, shape, dtype)
            What to make.

        Returns
        -------
        list of Slot
            One a request, in order.

        Raises
        ------
        GraphcError
            If a name is taken, or the memory cannot be had; no slot has been made then.
        """
        wanted = [(name, tuple(shape), np.dtype(dtype)) for name, shape, dtype in requests]
        taken = set(self._slots)
        for name, _, _ in wanted:
            if name in taken:
                raise GraphcError(f"a slot named {name!r} exists already")
            taken.add(name)
        sizes = [math.prod(shape) * dtype.itemsize for _, shape, dtype in wanted]
        totals: dict[np.dtype, int] = {}
        for (_, _, dtype), nbytes in zip(wanted, sizes, strict=True):
            totals[dtype] = totals.get(dtype, 0) + _slot_bytes(nbytes)
        places = {dtype: self._chunks.setdefault(dtype, _Chunks()).reserve(total) for dtype, total in totals.items()}
        made = []
        for (name, shape, dtype), nbytes in zip(wanted, sizes, strict=True):
            chunk, offset = places[dtype]
            places[dtype] = chunk, offset + _slot_bytes(nbytes)
            block = self._chunks[dtype].blocks[chunk]
            made.append(Slot(name, block[offset : offset + nbytes].view(dtype).reshape(shape), chunk, offset))
        self._slots.update((slot.name, slot) for slot in made)
        return made

    def forget(self, names: Iterable[str]) -> None:
        """Make names free again; their bytes stay taken."""
        for name in names:
            del self._slots[name]
