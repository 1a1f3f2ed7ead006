"""Kernels of maps alone: chains of elementwise ops, views, gathers, an optimizer's update.

All stages share one loop body; what one makes and another reads is a register. The axes are collapsed as far as
every access allows, and the innermost of those that remain becomes the vector loop::

    for i in rows:                   the points of all other axes
        for j in range(extent):
            v = ...

Where the position decides what is computed, the inner loop becomes several (:mod:`graphc.codegen.cpu.index_sets`).

Workers share out whole rows, or single elements where rows are long, in units that fill cache lines.

Where something is read across its memory, a whole row would touch a new cache line for each element, and the next row
would find none of them left. A transposed operand is turned block by block (:mod:`graphc.codegen.cpu.turns`). For what
no other loop reads element by element either, rows are cut into blocks of columns, and the blocks are the outermost
loop: a line that one row brings in serves the next ones (measured: four times as fast).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import gcd

from graphc.codegen.cpu import formulas, index_sets
from graphc.codegen.cpu.context import Context, fixed
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.turns import in_blocks, turns_of
from graphc.codegen.cpu.writer import Known
from graphc.ir.symbolic import Axis, coefficient, product
from graphc.schedule.kernel import Map, Stage

LINE_ELEMENTS = 64
"""Elements that fill whole cache lines for every dtype: workers' parts begin at multiples of it."""

LONG_ROW = 4096
"""From this extent on rows are cut between workers."""

BLOCK_COLUMNS = 32
"""Columns of a block where something is read across its memory: two cache lines of float32 results."""

LARGE_STEP = 16
"""Elements; of two that lie so far apart, no cache line holds both (but for the smallest dtypes)."""


def write_maps(context: Context) -> None:
    """Print a kernel of maps without axes of their own."""
    writer, expressions, loops = context.writer, context.expressions, context.loops
    stages = context.kernel.stages
    axes, renamed = collapse(context.kernel.axes, context.accesses(stages))
    expressions.renamed.update(renamed)
    if not axes:
        with loops.shared_out(axes, LINE_ELEMENTS):
            write_body(context, stages)
        return
    turns = turns_of(context, stages, axes)
    if turns is not None:
        with in_blocks(context, axes, turns):
            write_body(context, stages)
        return
    *outer, inner = axes
    if not outer:
        loops.part_of(inner.extent, LINE_ELEMENTS)
        _write_elements(context, stages, inner, "i", ("first", "last"))
        return
    if _reads_across(context, stages, inner):
        _write_blocks(context, outer, inner)
        return
    if isinstance(inner.extent, int) and inner.extent < LONG_ROW:
        rows_of_lines = LINE_ELEMENTS // gcd(LINE_ELEMENTS, inner.extent)
        pieces = index_sets.split(expressions, stages, inner)
        positions = [bounds[0] for piece in pieces if (bounds := piece.static_bounds) and bounds[1] - bounds[0] == 1]
        if len(positions) == len(pieces):  # no inner loop is left, so the outer one is vector code
            with loops.shared_out(outer, rows_of_lines, independent=True):
                for piece, position in zip(pieces, positions, strict=True):
                    with expressions.bound({inner: Known(str(position), 0)}):
                        write_body(context, piece.stages)
            return
        with loops.shared_out(outer, rows_of_lines):
            _write_elements(context, stages, inner)
        return
    row_length = expressions.named(inner.extent).text
    loops.part_of(product(axis.extent for axis in axes), LINE_ELEMENTS)
    row = writer.name("i")
    rows = f"range(divide_index(first, {row_length}), divide_index(last + {row_length} - 1, {row_length}))"
    with writer.block(f"for {row} in {rows}:") as level, expressions.bound(loops.split(Known(row, level), outer)):
        start = f"maximum_int(first - {row}*{row_length}, 0)"
        stop = f"minimum_int(last - {row}*{row_length}, {row_length})"
        _write_elements(context, stages, inner, part=(start, stop))


def _write_elements(
    context: Context, stages: Sequence[Stage], axis: Axis, prefix: str = "j", part: tuple[str, str] | None = None
) -> None:
    """The innermost loop, over an axis or part of it: one, or several where positions decide what is computed."""
    pieces = index_sets.split(context.expressions, stages, axis)
    if len(pieces) > 1 and part is not None:
        first, last = (context.writer.let(text, context.writer.level, "e").text for text in part)
        part = (first, last)
    for piece in pieces:
        with piece.loop(context.loops, prefix, part):
            write_body(context, piece.stages)


def _reads_across(context: Context, stages: Sequence[Stage], axis: Axis) -> bool:
    """Whether an access takes large steps along an axis that is longer than a block."""
    if isinstance(axis.extent, int) and axis.extent <= BLOCK_COLUMNS:
        return False
    steps = [coefficient(size, axis) for size in context.accesses(stages)]
    return any(step is not None and not (isinstance(step, int) and abs(step) < LARGE_STEP) for step in steps)


def _write_blocks(context: Context, outer: Sequence[Axis], inner: Axis) -> None:
    """Print the loops with blocks of columns outermost; workers share out the rows."""
    writer, expressions, loops = context.writer, context.expressions, context.loops
    loops.part_of(product(axis.extent for axis in outer), 1)
    start, row, lane, column = (writer.name(prefix) for prefix in "oilj")
    length = expressions.named(inner.extent).text
    with writer.block(f"for {start} in range(0, {length}, {BLOCK_COLUMNS}):") as level:
        count = str(BLOCK_COLUMNS)
        if not isinstance(inner.extent, int) or inner.extent % BLOCK_COLUMNS:
            count = writer.let(f"minimum_int({length} - {start}, {BLOCK_COLUMNS})", level, "c").text
        header = f"for {row} in range(first, last):"
        with ExitStack() as stack:
            level = stack.enter_context(writer.block(header))
            stack.enter_context(expressions.bound(loops.split(Known(row, level), outer)))
            level = stack.enter_context(writer.block(f"for {lane} in range({count}):", independent=True))
            writer.line(f"{column} = {start} + {lane}")
            stack.enter_context(expressions.bound({inner: Known(column, level)}))
            write_body(context, context.kernel.stages)


def write_body(context: Context, stages: Sequence[Stage]) -> None:
    """One element of each stage. Stores come last: a buffer that is written in place has been read by then."""
    values: list[tuple[Stage, Known]] = []
    for stage in stages:
        assert isinstance(stage, Map)
        context.writer.nodes = stage.nodes
        context.writer.comment(formulas.stage_formula(context, stage))
        value = context.expressions.scalar(stage.value)
        context.registers[stage.result] = fixed(value)
        values.append((stage, value))
    for stage, value in values:
        (tensor,) = stage.results
        if context.is_kept(tensor):
            context.writer.nodes = stage.nodes
            context.store(tensor, context.index_of(stage), value)
