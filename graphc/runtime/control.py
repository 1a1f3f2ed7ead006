"""What scan, cond and while_loop become in the call table.

A choice is two runs of entries and a jump over the one that is not taken::

    jump if zero condition -> false
    ... true body ...
    jump -> end
    false: ... false body ...
    jump -> end
    end:

The bodies' outputs lie where the results of the node do. The last jump goes nowhere but ends the region of kernels that
run side by side: what follows may start only when the body has ended.

A loop has carries, each in two buffers that alternate, or in the rows of its history; slices and stacked outputs move
from row to row (see ``table.py``)::

    copy the initial carries
    loop: count, patches
        ... condition ...                a while_loop's
        jump if zero flag -> out
        ... body ...
    end loop
    out: copy the final carries

Where the run decides on the number of iterations, cells that move with the loop tell where the carries lie in the end.
A history that is filled from its last row down begins at a row that is not known before; a loop without a body, left
in its first iteration, finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphc.ir.node import Tensor
from graphc.ir.record import record
from graphc.ir.symbolic import evaluate
from graphc.runtime.table import (
    Cell,
    EndLoop,
    Entry,
    FillZero,
    Jump,
    JumpIfZero,
    Label,
    Loop,
    Operand,
    Patch,
)
from graphc.schedule.fuse import ControlStep
from graphc.schedule.loops import Carry, is_loop, layout_of

if TYPE_CHECKING:
    from graphc.runtime.executable import Binder

ENDLESS = (1 << 63) - 1
"""Iterations of a loop without a bound."""


@record
class Moving:
    """Where a tensor of a loop's body lies: another place in each iteration."""

    patches: list[Patch]
    base: Callable[[int], Cell]
    stride: int
    parity: bool
    reverse: bool
    offset: int = 0


def control_entries(binder: Binder, step: ControlStep) -> list[Entry]:
    """The entries of a control step; kernels before and after it are apart from those in it."""
    entries = _LoopBinder(binder, step).entries() if is_loop(step.node) else _choice(binder, step)
    binder.traffic.clear()
    return entries


def _choice(binder: Binder, step: ControlStep) -> list[Entry]:
    condition, *captures = step.node.inputs
    no, end = binder.label("false"), binder.label("end")
    true_body, false_body = step.bodies
    for body in step.bodies:
        for formal, outer in zip(body.graph.inputs, captures, strict=True):
            _alias(binder, formal, outer)
        for inner, outer in zip(body.graph.outputs, step.stored, strict=True):
            _alias(binder, inner, outer)
    entries: list[Entry] = [JumpIfZero(binder.cell(condition), no)]
    for body, mark in ((true_body, Label(no)), (false_body, Label(end))):
        binder.traffic.clear()
        entries += [*binder.entries(body.steps, committing=False), Jump(end), mark]
    return entries


def _alias(binder: Binder, inner: Tensor, outer: Tensor) -> None:
    """A tensor of a body that lies where an outer tensor lies."""
    if outer in binder.moving:
        binder.moving[inner] = binder.moving[outer]
    elif outer in binder.feed_cells:
        binder.feed_cells[inner] = binder.feed_cells[outer]
    elif outer in binder.fixed:
        binder.fixed[inner] = binder.fixed[outer]
    else:
        binder.fixed[inner] = binder.arena.address + binder.memory.offsets[outer]


class _LoopBinder:
    """Builds the entries of one loop.

    ``before`` and ``after`` it are copies of carries; ``patches`` say what moves in it.
    """

    def __init__(self, binder: Binder, step: ControlStep):
        self.binder, self.step, self.layout = binder, step, layout_of(step.node)
        self.stored = set(step.stored)  # tensors are compared by identity in a set, by building graph in a tuple
        self.patches: list[Patch] = []
        self.before: list[Entry] = []
        self.after: list[Entry] = []

    def entries(self) -> list[Entry]:
        """Copies of the initial carries, the loop, copies of the final carries."""
        binder, layout = self.binder, self.layout
        count = self._count()
        for carry in layout.carries:
            self._carry(carry, count)
        for formal, outer in layout.slices:
            self._move(formal, outer, self._bytes(formal), reverse=layout.reverse)
        for inner, outer in layout.stacked:
            if outer in self.stored:
                self._move(inner, outer, self._bytes(inner), reverse=layout.reverse)
                if layout.count is not None:  # rows of iterations that are not done
                    self.before.append(FillZero(binder.cell(outer), self._bytes(outer)))
        for formal, outer in layout.captures:
            _alias(binder, formal, outer)
        iteration, position = binder.take(1), binder.take(1)
        binder.fixed[layout.index] = int(binder.words[position:].ctypes.data)
        self.patches.append(Patch(Cell(binder.words, position), 0, 1, reverse=layout.reverse))
        for formal, parameter in layout.aliases:
            _alias(binder, formal, parameter)
        if layout.trips is not None and layout.trips in self.stored:
            done = self._literal(int(binder.words[iteration:].ctypes.data))
            self.after.append(binder.copy(self.step.node, binder.cell(layout.trips), done, 8))
        body = self._body()
        return [*self.before, Loop(count, self.patches, Cell(binder.words, iteration)), *body, *self.after]

    def _count(self) -> Operand:
        """How often to go round: a number, or the cell that will hold it."""
        layout, binder = self.layout, self.binder
        if layout.count is None:
            return ENDLESS if layout.length is None else evaluate(layout.length, binder.sizes)
        word = binder.take(1)
        here = self._literal(int(binder.words[word:].ctypes.data))
        self.before.append(binder.copy(self.step.node, here, binder.cell(layout.count), 8))
        return Cell(binder.words, word)

    def _body(self) -> list[Entry]:
        """What is done again and again, and the loop's end."""
        binder, flag = self.binder, self.layout.flag
        entries: list[Entry] = []
        out = binder.label("out")
        for body in self.step.bodies:
            binder.traffic.clear()
            entries += binder.entries(body.steps, committing=False)
            if body.name == "condition" and flag is not None:
                entries.append(JumpIfZero(binder.cell(flag), out))
        return [*entries, EndLoop(), Label(out)]

    def _carry(self, carry: Carry, count: Operand) -> None:
        """Where a carry lies before and after each iteration, where it starts and where it ends."""
        binder, layout = self.binder, self.layout
        size, length, backward = self._bytes(carry.before), layout.length, layout.reverse
        row = count if isinstance(count, int) else 0
        history: Tensor | None = None
        if carry.history is not None and carry.history in self.stored:
            # the history's rows are the carry; one row more holds the last
            assert length is not None
            binder.histories.add(carry.history)
            self._move(carry.before, carry.history, size, reverse=backward)
            self._move(carry.after, carry.history, size, -size if backward else size, backward)
            if backward and not layout.is_static:
                start = self._first_row(carry.history, size, count)
            else:
                start = binder.cell(carry.history, (row - 1) * size if backward else 0)
            history, stop = carry.history, -size if backward else row * size
        else:
            step = binder.memory.capacity[carry.before] // 2
            home = binder.arena.address + binder.memory.offsets[carry.before]
            self._alternate(carry.before, home, step)
            self._alternate(carry.after, home + step, -step)
            start, stop = self._literal(home), home + (row % 2) * step
        self.before.append(binder.copy(self.step.node, start, binder.cell(carry.initial), size))
        if carry.final in self.stored:
            last = self._last(carry, history, stop)
            self.after.append(binder.copy(self.step.node, binder.cell(carry.final), last, size))

    def _last(self, carry: Carry, history: Tensor | None, place: int) -> Cell:
        """A cell with the address of the final carry: in a history or at an address, or, where only the run knows
        the number of iterations, where one more iteration would find it."""
        if not self.layout.is_static:
            return self.binder.cell(carry.before)
        return self._literal(place) if history is None else self.binder.cell(history, place)

    def _first_row(self, history: Tensor, size: int, count: Operand) -> Cell:
        """A cell with the address of the row that a loop in reverse visits first."""
        word, out = self.binder.take(1), self.binder.label("found")
        cell = Cell(self.binder.words, word)
        patch = Patch(cell, self.binder.cell(history), size, reverse=True)
        self.before += [Loop(count, [patch]), Jump(out), EndLoop(), Label(out)]
        return cell

    def _bytes(self, tensor: Tensor) -> int:
        return evaluate(tensor.type.bytes, self.binder.sizes)

    def _literal(self, address: int) -> Cell:
        word = self.binder.take(1)
        self.binder.words[word] = address
        return Cell(self.binder.words, word)

    def _move(self, inner: Tensor, outer: Tensor, stride: int, offset: int = 0, reverse: bool = False) -> None:
        """A tensor of the body goes from row to row of an outer one."""
        self.binder.moving[inner] = Moving(
            self.patches, lambda extra: self.binder.cell(outer, extra), stride, False, reverse, offset
        )

    def _alternate(self, inner: Tensor, address: int, stride: int) -> None:
        """A tensor of the body goes to and fro between two addresses."""
        self.binder.moving[inner] = Moving(
            self.patches, lambda extra: self._literal(address + extra), stride, True, False
        )
