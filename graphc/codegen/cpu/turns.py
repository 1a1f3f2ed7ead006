"""Blocked transposition: maps that read an operand across its memory.

Where the innermost loop takes large steps through an operand and another loop would go element by element, each
element comes from a cache line of its own. A row is long enough for the lines to be gone before the next row wants
them; at steps of 4 KiB all of them even compete for the same few places of the first cache. So both loops are cut into
blocks, the operand's part of a block is *turned* (transposed), in registers, into scratch that stays in the first
cache, and the maps read it there element by element::

    for p in a worker's part of the blocks:
        turn(x at the block, step of x, t, ...)                    t[i, j] = x[j, i], both from the block's start
        for i in rows of the block:
            for j in columns of the block:
                y[i, j] = ... t[i, j] ...

What is loaded from memory is what the maps load, no more, and what is computed of it is the same. Turning is compiled
once, as contractions are, and called by address: inlined it would double what such a kernel takes to compile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.variants import TURN
from graphc.codegen.cpu.writer import Known
from graphc.ir.node import Tensor
from graphc.ir.scalar import Load
from graphc.ir.symbolic import Axis, Size, Value, atoms_of, coefficient, floordiv, of_atom, product
from graphc.schedule.kernel import Stage, walk

SQUARE = 8
"""Elements; a block in scratch is whole squares of them."""

LINE = 16
"""Elements: where a static extent is cut, it is at multiples of it, which are whole cache lines."""

MOST_COLUMNS, MOST_ROWS, LEAST_ROWS = 64, 128, 16
"""Elements of a block."""

BLOCK_BYTES = 16 * 1024
"""Bytes of all turned blocks together: half of a first cache, the rest of which is for what else the maps touch."""

SHORTEST_STEP = 4
"""Elements; smaller steps are vector code that loads whole lines and picks out of them (measured: twice as fast)."""

LEAST_EXTENT = 3
"""Elements along rows and columns; a pixel's colours are worth turning."""

FEWEST = 4096
"""Elements of a result of static size; the operands of smaller ones stay in the first cache however they are read."""

TURNERS = {4: f"float32{TURN}", 8: f"float64{TURN}"}
"""The function that turns elements of so many bytes, which it moves as floats, whatever they are."""


class _Turned(NamedTuple):
    """A part of an operand to be turned: the place of the elements that are read, and their step along the columns."""

    tensor: Tensor
    place: Size
    step: Size


@dataclass(frozen=True)
class Turns:
    """How a kernel of maps is cut into blocks: the axes of their rows and columns, and what is turned."""

    rows: Axis
    columns: Axis
    turned: tuple[_Turned, ...]


def turns_of(context: Context, stages: Sequence[Stage], axes: Sequence[Axis]) -> Turns | None:
    """The blocks for some maps over collapsed axes; None if no operand is read across, or it is too small to matter."""
    *outer, columns = axes
    total = product(axis.extent for axis in axes)
    if _shorter(columns, LEAST_EXTENT) or (isinstance(total, int) and total < FEWEST):
        return None
    found: dict[Axis, dict[_Turned, None]] = {axis: {} for axis in outer if not _shorter(axis, LEAST_EXTENT)}
    for load in (part for part in walk(*(scalar for s in stages for scalar in s.scalars())) if isinstance(part, Load)):
        if context.made_here(load.tensor) or load.dtype.itemsize not in TURNERS:
            continue
        place = context.flat(load.tensor, load.index)
        step = coefficient(place, columns)
        if step is None or (isinstance(step, int) and abs(step) < SHORTEST_STEP) or _is_data(place):
            continue
        for rows in found:
            if coefficient(place, rows) == 1:
                found[rows][_Turned(load.tensor, place, step)] = None
    rows = max(found, key=lambda axis: len(found[axis]), default=columns)
    return Turns(rows, columns, tuple(found[rows])) if found.get(rows) else None


def _shorter(axis: Axis, extent: int) -> bool:
    return isinstance(axis.extent, int) and axis.extent < extent


def _is_data(place: Size) -> bool:
    """Whether a place depends on values, such as the indices of a gather."""
    return not isinstance(place, int) and any(isinstance(atom, Value) for atom in atoms_of(place))


@contextmanager
def in_blocks(context: Context, axes: Sequence[Axis], turns: Turns) -> Iterator[None]:
    """The loops over a worker's part of the blocks and over their elements; what is turned is read from scratch."""
    writer, expressions = context.writer, context.expressions
    item_bytes = sum(each.tensor.dtype.itemsize for each in turns.turned)
    width = _side(turns.columns.extent, MOST_COLUMNS)
    fitting = BLOCK_BYTES // (width * item_bytes) // LINE * LINE
    height = _side(turns.rows.extent, min(MOST_ROWS, max(LEAST_ROWS, fitting)))
    sides = {turns.rows: height, turns.columns: width}
    blocks = {axis: Axis(floordiv(axis.extent + side - 1, side)) for axis, side in sides.items()}
    copies = {
        each: context.scratch(height * width, each.tensor.dtype.name, each.tensor.dtype.itemsize)
        for each in turns.turned
    }
    loops = [blocks.get(axis, axis) for axis in axes]
    with context.loops.shared_out([axis for axis in loops if axis.extent != 1], 1), ExitStack() as stack:
        starts = {axis: _start(context, block, sides[axis]) for axis, block in blocks.items()}
        counts = {axis: _count(context, axis, starts[axis], side) for axis, side in sides.items()}
        with expressions.bound(starts):
            for each, copy in copies.items():
                first, step = expressions.named(each.place, "o").text, expressions.named(each.step).text
                turner = context.micro_kernel(TURNERS[each.tensor.dtype.itemsize], "turn")
                part = f"{turner}, offset({context.pointer(each.tensor)}, {first}), {step}, {copy}, {width}"
                writer.line(f"turn({part}, {counts[turns.rows]}, {counts[turns.columns]})")
        row = stack.enter_context(_over(context, turns.rows, starts, counts, independent=False))
        before = writer.let(f"{width}*{row.text}", row.level, "o").text
        column = stack.enter_context(_over(context, turns.columns, starts, counts, independent=True))
        for each, copy in copies.items():
            context.copied[each.tensor, each.place] = copy, Known(f"{before} + {column.text}", column.level)
        yield


def _side(extent: Size, most: int) -> int:
    """The side of a block along an axis: whole squares, of as few blocks as can be, about equal ones."""
    if not isinstance(extent, int):
        return most
    count = -(-extent // most)
    unit = SQUARE if count == 1 else LINE
    return -(-extent // (count * unit)) * unit


def _start(context: Context, block: Axis, side: int) -> Known:
    """Where a block starts."""
    if block.extent == 1:
        return Known("0", 0)
    number = context.expressions.size(of_atom(block))
    return context.writer.let(f"{side}*{number.text}", number.level, "o")


def _count(context: Context, axis: Axis, start: Known, side: int) -> str:
    """Elements of a block along an axis."""
    if isinstance(axis.extent, int) and (start.text == "0" or axis.extent % side == 0):
        return str(min(axis.extent, side))
    return context.writer.let(
        f"minimum_int({context.expressions.named(axis.extent).text} - {start.text}, {side})", start.level, "c"
    ).text


@contextmanager
def _over(
    context: Context, axis: Axis, starts: Mapping[Axis, Known], counts: Mapping[Axis, str], independent: bool
) -> Iterator[Known]:
    """The loop over a block along an axis; yields the variable that counts from the block's start."""
    writer, start = context.writer, starts[axis].text
    lane = writer.name("l")
    with writer.block(f"for {lane} in range({counts[axis]}):", independent) as level:
        place = known = Known(lane, level)
        if start != "0":
            place = writer.let(f"{start} + {lane}", level, "j" if independent else "i")
        with context.expressions.bound({axis: place}):
            yield known
