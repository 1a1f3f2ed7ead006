"""Kernels whose points are cut into chunks, because parts of reductions over the points are among their results.

A layer norm's gradients are made row by row, and the sums of their columns over all rows. Each chunk of rows has a row
of parts, in memory; what a row adds to them is added while the row is hot::

    for c in a worker's part of the chunks:
        p[c, :] = 0, q = 0
        for s in blocks of the points of chunk c:
            for i in points of block s:
                ...
                for j: q[j] = q[j] + g[i, j] * x[i, j]
            p[c, :] = p[c, :] + q, q = 0

The parts are float64, but a row of float32 adds to float32 ones, which take in few values before they are added to the
others: half the bytes to read and write with every row, and no conversions. The chunks are
the graph's (:mod:`graphc.passes.split_long`), so no bit depends on how many workers share them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from graphc.codegen.cpu import operators
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.writer import Known
from graphc.ir.symbolic import Axis, product
from graphc.schedule.kernel import ReduceChunks

BLOCK_POINTS = 64
"""Points whose rows are added up in float32: fewer than from which on any float32 sum is kept in float64."""

FLOAT32 = np.dtype("float32")


def _held(stage: ReduceChunks) -> np.dtype[Any]:
    """The dtype in which the rows of a block are added up."""
    return FLOAT32 if stage.axes and stage.value.dtype == FLOAT32 else stage.result.dtype


@contextmanager
def shared_out(context: Context) -> Iterator[list[Axis]]:
    """The loops over a worker's part of the chunks and over their points; yields the loops' axes, collapsed."""
    kernel, writer, expressions = context.kernel, context.writer, context.expressions
    stages = [stage for stage in kernel.stages if isinstance(stage, ReduceChunks)]
    memory = {stage: context.pointer(stage.result) for stage in stages}
    parts = {stage: writer.name("p") for stage in stages}
    sizes = {stage: product(axis.extent for axis in stage.axes) for stage in stages}
    sums = dict(parts)
    for stage in stages:
        if _held(stage) != stage.result.dtype:
            sums[stage] = context.scratch(sizes[stage], _held(stage).name, _held(stage).itemsize, "q")
        context.place_parts(stage.result, sums[stage], stage.axes)
    axes, renamed = collapse(kernel.axes, context.accesses(kernel.stages))
    expressions.renamed.update(renamed)
    total = expressions.named(product(axis.extent for axis in axes)).text
    context.loops.part_of(kernel.chunks, 1)
    chunk, begin, end = writer.name("c"), writer.name("b"), writer.name("e")
    with writer.block(f"for {chunk} in range(first, last):"), ExitStack() as stack:
        writer.line(f"{begin} = divide_index({total}*{chunk}, {kernel.chunks})")
        writer.line(f"{end} = divide_index({total}*({chunk} + 1), {kernel.chunks})")
        for stage in stages:
            size = expressions.named(sizes[stage]).text
            writer.line(f"{parts[stage]} = offset({memory[stage]}, {chunk}*{size})")
            with _elements(context, size) as place:
                for pointer, dtype in {parts[stage]: stage.result.dtype, sums[stage]: _held(stage)}.items():
                    writer.line(f"store({pointer}, {place}, {operators.identity(stage.combine, dtype)})")
        if sums != parts:
            start = writer.name("s")
            stack.enter_context(writer.block(f"for {start} in range({begin}, {end}, {BLOCK_POINTS}):"))
            begin, end = start, writer.let(f"minimum_int({end}, {start} + {BLOCK_POINTS})", writer.level, "e").text
        with ExitStack() as points:
            point = Known(writer.name("i"), writer.level + 1)
            points.enter_context(writer.block(f"for {point.text} in range({begin}, {end}):"))
            points.enter_context(expressions.bound(context.loops.split(point, axes)))
            yield axes
        for stage in stages:
            if sums[stage] != parts[stage]:
                _add_block(context, stage, parts[stage], sums[stage])


@contextmanager
def _elements(context: Context, size: str) -> Iterator[str]:
    """A loop over a row of parts; yields its variable."""
    place = context.writer.name("j")
    with context.writer.block(f"for {place} in range({size}):", independent=True):
        yield place


def _add_block(context: Context, stage: ReduceChunks, part: str, held: str) -> None:
    """Add to a chunk's parts what a block of its points has come to, and begin the next one."""
    writer, dtype = context.writer, stage.result.dtype
    with _elements(context, context.expressions.named(product(axis.extent for axis in stage.axes)).text) as place:
        value = operators.cast(f"load({held}, {place})", _held(stage), dtype)
        whole = writer.name("v")
        writer.line(f"{whole} = {operators.combine(stage.combine, f'load({part}, {place})', value, dtype)}")
        writer.line(f"store({part}, {place}, {whole})")
        writer.line(f"store({held}, {place}, {operators.identity(stage.combine, _held(stage))})")


def combined(context: Context, stage: ReduceChunks) -> Known:
    """What a part becomes with one more point: a value yet to be stored."""
    value = context.expressions.scalar(stage.value).text
    result = stage.result
    place = context.expressions.size(context.flat(result, context.index_of(stage))).text
    name = context.writer.name("v")
    held = f"load({context.pointer(result)}, {place})"
    value = operators.cast(value, stage.value.dtype, _held(stage))
    context.writer.line(f"{name} = {operators.combine(stage.combine, held, value, _held(stage))}")
    return Known(name, context.writer.level)
