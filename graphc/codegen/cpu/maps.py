"""Kernels of maps alone: chains of elementwise ops, views, gathers, an optimizer's update.

All stages share one loop body; what one makes and another reads is a register. The axes are collapsed as far as
every access allows, and the innermost of those that remain becomes the vector loop::

    for i in rows:                   the points of all other axes
        for j in range(extent):
            v = ...

Workers share out whole rows, or single elements where rows are long, in units that fill cache lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from graphc.codegen.cpu import formulas
from graphc.codegen.cpu.context import Context, fixed
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.writer import Known
from graphc.ir.symbolic import product
from graphc.schedule.kernel import Map, Stage

LINE_ELEMENTS = 64
"""Elements that fill whole cache lines for every dtype: workers' parts begin at multiples of it."""

LONG_ROW = 4096
"""From this extent on rows are cut between workers."""


def write_maps(context: Context) -> None:
    """Print a kernel of maps without axes of their own."""
    writer, expressions, loops = context.writer, context.expressions, context.loops
    stages = context.kernel.stages
    axes, renamed = collapse(context.kernel.axes, context.accesses(stages))
    expressions.renamed.update(renamed)
    if len(axes) < 2:
        with loops.shared_out(axes, LINE_ELEMENTS):
            write_body(context, stages)
        return
    *outer, inner = axes
    if isinstance(inner.extent, int) and inner.extent < LONG_ROW:
        with loops.shared_out(outer, LINE_ELEMENTS // gcd(LINE_ELEMENTS, inner.extent)), loops.over([inner]):
            write_body(context, stages)
        return
    row_length = expressions.named(inner.extent).text
    loops.part_of(product(axis.extent for axis in axes), LINE_ELEMENTS)
    row, column = writer.name("i"), writer.name("j")
    rows = f"range(divide_index(first, {row_length}), divide_index(last + {row_length} - 1, {row_length}))"
    with writer.block(f"for {row} in {rows}:") as level, expressions.bound(loops.split(Known(row, level), outer)):
        start = f"maximum_int(first - {row}*{row_length}, 0)"
        stop = f"minimum_int(last - {row}*{row_length}, {row_length})"
        header = f"for {column} in range({start}, {stop}):"
        with writer.block(header) as inside, expressions.bound({inner: Known(column, inside)}):
            write_body(context, stages)


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
        if context.is_stored(tensor):
            context.writer.nodes = stage.nodes
            context.store(tensor, context.index_of(stage), value)
