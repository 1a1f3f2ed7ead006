"""The call table: a step as one array of words that compiled code walks.

A program's step is a list of entries: kernel calls, and control entries for scan, cond and while.  :class:`Table`
turns that list into fixed-size entries of 64-bit words (``layout.py``), with labels replaced by positions, once;
from then on a step costs no Python.

**Cells.**  Kernels find their buffers through a table of addresses.  A word of such a table is a *cell*, and whoever
writes another address into it moves the buffer under the kernel.  That is all a loop does: before each iteration its
:class:`Patch` es write ``base + offset * stride`` into cells, and the kernels of the body know nothing of loops.  The
base is itself read from a cell when the loop is entered, so loops nest: an outer loop moves the cell that holds the
base of an inner one.  When a loop ends (or runs zero times) its cells hold what one more iteration would have found,
which for a carry in two buffers that alternate is the final value.

Wherever an entry takes an *operand*, a :class:`Cell` means the number in that cell at run time, and an ``int`` means
itself.  Sizes that depend on named dims are cells, therefore, and nothing is rewritten when a batch size changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.record import record
from graphc.runtime import layout as at
from graphc.runtime.memory import aligned_words

Words: TypeAlias = NDArray[np.int64]


@record
class Cell:
    """One word of an int64 array, known by its address; keeps the array alive.

    Attributes
    ----------
    array : ndarray of int64
        One axis, contiguous.
    index : int
        Which word.

    Raises
    ------
    GraphcError
        If the array is of another kind or has no such word.
    """

    array: Words
    index: int = 0

    def __post_init__(self) -> None:
        _check_words(self.array, "a cell")
        if not 0 <= self.index < self.array.size:
            raise GraphcError(f"a cell: word {self.index} of an array of {self.array.size}")

    @property
    def address(self) -> int:
        """Address of the word."""
        return self.array.ctypes.data + self.index * at.WORD

    @property
    def value(self) -> int:
        """What it holds now."""
        return int(self.array[self.index])


Operand: TypeAlias = Cell | int


@record
class Call:
    """Run a kernel.

    Attributes
    ----------
    kernel : int
        Address of ``void kernel(int64* buffers, int64* dims, int64 worker, int64 workers)``.
    buffers, dims : ndarray of int64
        Addresses of the kernel's buffers and its run-time sizes; read at each run, so both may be rewritten between.
    everyone : bool
        All workers take a share; otherwise worker 0 runs it alone.
    barrier : bool
        All that was called before must have ended.  Without it the kernel may run beside its predecessors.
    """

    kernel: int
    buffers: Words
    dims: Words
    everyone: bool = True
    barrier: bool = True


@record
class Patch:
    """What one loop does to one cell: ``cell = base + offset * stride`` before each iteration.

    Attributes
    ----------
    cell : Cell
        The word that moves.
    base : Cell or int
        Read once, when the loop is entered.
    stride : Cell or int
        Bytes, where the cell holds an address.
    parity : bool
        The offset alternates between 0 and 1 (two buffers that swap roles) instead of counting up.
    reverse : bool
        Iterations are counted from the last down to 0.
    """

    cell: Cell
    base: Operand
    stride: Operand
    parity: bool = False
    reverse: bool = False


@record
class Loop:
    """Run the entries up to the matching :class:`EndLoop` `count` times.

    Attributes
    ----------
    count : Cell or int
        How often; 0 or less skips the body.
    patches : sequence of Patch
        Cells that move.
    iteration : Cell or None
        Receives the number of the iteration, from 0; `count` in the end.
    """

    count: Operand
    patches: Sequence[Patch] = ()
    iteration: Cell | None = None


@record
class EndLoop:
    """The end of the innermost open loop's body."""


@record
class Label:
    """A place to jump to; takes no entry."""

    name: str


@record
class Jump:
    """Go on at a label."""

    label: str


@record
class JumpIfZero:
    """Go on at a label if a flag is zero.

    Attributes
    ----------
    flag : Cell or int
        The flag's address.
    label : str
        Where to go.
    nbytes : int
        Size of the flag: 1 (a bool) or 8 (an int64).
    """

    flag: Operand
    label: str
    nbytes: int = 1


@record
class Copy:
    """Copy `nbytes` bytes from address `source` to address `to`; the ranges may overlap."""

    to: Operand
    source: Operand
    nbytes: Operand


@record
class FillZero:
    """Set `nbytes` bytes at address `to` to zero."""

    to: Operand
    nbytes: Operand


@record
class Commit:
    """From here on variables are written: nothing fails any more, and the step runs to its end."""


Entry: TypeAlias = Call | Loop | EndLoop | Label | Jump | JumpIfZero | Copy | FillZero | Commit


class Table:
    """A step in the form that workers walk.

    Parameters
    ----------
    entries : sequence of Entry
        What to do, in order.
    counter : Cell, optional
        Increased by 1 by each step that passes its :class:`Commit` (in the same compiled call that writes the
        variables, so that no interrupt comes between).
    status : ndarray of int64, shape (4,), optional
        The status block that the kernels of this table know; default: one of its own.

    Attributes
    ----------
    entries : tuple of Entry
    counter : Cell or None
    flow : Flow
        Where its labels and its loops' ends are.
    status : ndarray of int64, shape (4,)
        Failure code (0: fine), kernel, index, value; cleared when a step starts.
    parallel : bool
        Some entry wants all workers.

    Raises
    ------
    GraphcError
        If loops do not match, a label is unknown or doubled, a jump enters a loop or crosses the commit, or an array
        is not of 64-bit words.
    """

    def __init__(self, entries: Sequence[Entry], *, counter: Cell | None = None, status: Words | None = None):
        self.status = aligned_words(at.STATUS_WORDS) if status is None else status
        _check_words(self.status, "the status block", at.STATUS_WORDS)
        self.entries, self.counter = tuple(entries), counter  # whatever the words below point into
        self.flow = Flow(entries)
        self._cells = aligned_words(_most_literals(entries))
        self._cells_used = 0
        self._patches: list[Words] = []
        self.parallel = any(isinstance(entry, Call) and entry.everyone for entry in entries)
        real = [entry for entry in entries if not isinstance(entry, Label)]
        self._words = aligned_words((len(real) + 1) * at.ENTRY_WORDS)
        rows = self._words.reshape(-1, at.ENTRY_WORDS)
        for position, entry in enumerate(real):
            words = self._encode(position, entry)
            rows[position, : len(words)] = words
        rows[-1, at.OPCODE] = at.END
        self._run = aligned_words(at.RUN_WORDS)
        self._run[at.RUN_ENTRIES] = self._words.ctypes.data
        self._run[at.RUN_STATUS] = self.status.ctypes.data
        self._run[at.RUN_COUNTER] = counter.address if counter is not None else 0
        self.address: int = self._run.ctypes.data

    def __len__(self) -> int:
        """Entries, the closing one included."""
        return self._words.size // at.ENTRY_WORDS

    def rewind(self) -> None:
        """Make the next walk start at the first entry, with a clear status block."""
        self._run[at.RUN_POSITION] = self._run[at.RUN_COMMITTED] = 0
        self.status[:] = 0

    @property
    def committed(self) -> bool:
        """Whether the last step passed its commit: its variables are written."""
        return bool(self._run[at.RUN_COMMITTED])

    def _operand(self, operand: Operand) -> int:
        """Address of the cell that holds an operand; a literal gets a cell of its own."""
        if isinstance(operand, Cell):
            return operand.address
        self._cells[self._cells_used] = operand
        self._cells_used += 1
        return Cell(self._cells, self._cells_used - 1).address

    def _encode(self, position: int, entry: Entry) -> tuple[int, ...]:
        """The words of one entry."""
        match entry:
            case Call(kernel, buffers, dims, everyone, barrier):
                _check_words(buffers, "buffers of a call")
                _check_words(dims, "dims of a call")
                return at.CALL, kernel, buffers.ctypes.data, dims.ctypes.data, int(everyone), int(barrier)
            case Loop():
                return self._encode_loop(position, entry)
            case EndLoop():
                return at.END_LOOP, self.flow.opening[position]
            case Jump(label):
                return at.JUMP, self.flow.labels[label]
            case JumpIfZero(flag, label, nbytes):
                if nbytes not in (1, 8):
                    raise GraphcError(f"a flag has 1 or 8 bytes, not {nbytes}")
                return at.JUMP_IF_ZERO, self.flow.labels[label], self._operand(flag), nbytes
            case Copy(to, source, nbytes):
                return at.COPY, self._operand(to), self._operand(source), self._operand(nbytes)
            case FillZero(to, nbytes):
                words = [0] * (at.SIZE + 1)
                words[at.OPCODE], words[at.TO], words[at.SIZE] = at.FILL_ZERO, self._operand(to), self._operand(nbytes)
                return tuple(words)
            case Commit():
                return (at.COMMIT,)
        raise GraphcError(f"a call table has no entry of kind {type(entry).__name__}")

    def _encode_loop(self, position: int, loop: Loop) -> tuple[int, ...]:
        patches = aligned_words(max(1, len(loop.patches)) * at.PATCH_WORDS)
        for row, patch in zip(patches.reshape(-1, at.PATCH_WORDS), loop.patches, strict=False):
            row[at.PATCH_CELL] = patch.cell.address
            row[at.PATCH_BASE] = self._operand(patch.base)
            row[at.PATCH_STRIDE] = self._operand(patch.stride)
            row[at.PATCH_FORM] = (at.PARITY if patch.parity else 0) | (at.REVERSE if patch.reverse else 0)
        self._patches.append(patches)
        iteration = self._operand(0) if loop.iteration is None else loop.iteration.address
        leave = self.flow.closing[position] + 1
        return at.LOOP, self._operand(loop.count), iteration, patches.ctypes.data, len(loop.patches), leave


def _check_words(array: Words, purpose: str, least: int = 0) -> None:
    if array.dtype != np.int64 or array.ndim != 1 or not array.flags.c_contiguous or array.size < least:
        raise GraphcError(f"{purpose}: expected contiguous int64 words, got {array.dtype} of shape {array.shape}")


def _most_literals(entries: Sequence[Entry]) -> int:
    """No fewer cells than the literals of these entries need."""
    return sum(3 + 2 * len(entry.patches) if isinstance(entry, Loop) else 3 for entry in entries)


class Flow:
    """Positions of labels and of matching loop ends, checked.

    Attributes
    ----------
    labels : dict of str to int
        Position of the entry after each label.
    opening, closing : dict of int to int
        Position of the matching loop entry, by position.
    """

    def __init__(self, entries: Sequence[Entry]):
        self.labels: dict[str, int] = {}
        self.opening: dict[int, int] = {}
        self.closing: dict[int, int] = {}
        open_loops: list[int] = []
        jumps: list[tuple[str, tuple[int, ...], bool]] = []
        places: dict[str, tuple[tuple[int, ...], bool]] = {}  # where each label is: the loops around it, committed?
        position, committed = 0, False
        for entry in entries:
            match entry:
                case Label(name):
                    if name in places:
                        raise GraphcError(f"a call table has two labels {name!r}")
                    self.labels[name], places[name] = position, (tuple(open_loops), committed)
                    continue
                case Loop():
                    open_loops.append(position)
                case EndLoop():
                    if not open_loops:
                        raise GraphcError("a call table ends a loop that it has not begun")
                    self.opening[position] = open_loops.pop()
                    self.closing[self.opening[position]] = position
                case Jump(label=label) | JumpIfZero(label=label):
                    jumps.append((label, tuple(open_loops), committed))
                case Commit():
                    if committed or open_loops:
                        raise GraphcError("a call table commits once, outside loops")
                    committed = True
            position += 1
        if open_loops:
            raise GraphcError("a call table begins a loop that it does not end")
        for label, around, committed in jumps:
            self._check_jump(label, around, committed, places)

    @staticmethod
    def _check_jump(
        label: str, around: tuple[int, ...], committed: bool, places: dict[str, tuple[tuple[int, ...], bool]]
    ) -> None:
        if label not in places:
            raise GraphcError(f"a call table jumps to an unknown label {label!r}")
        loops, after = places[label]
        if loops != around[: len(loops)]:
            raise GraphcError(f"a jump to {label!r} enters a loop")
        if after != committed:
            raise GraphcError(f"a jump to {label!r} crosses the commit")
