"""Kernels whose points are cut into chunks, because parts of reductions over the points are among their results.

A layer norm's gradients are made row by row, and the sums of their columns over all rows. Each chunk of rows has a row
of parts, in memory; what a row adds to them is added while the row is hot::

    for c in a worker's part of the chunks:
        p[c, :] = 0
        for i in points of chunk c:
            ...
            for j: p[c, j] = p[c, j] + g[i, j] * x[i, j]

The chunks are the graph's (:mod:`graphc.passes.split_long`), so no bit depends on how many workers share them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from graphc.codegen.cpu import operators
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.loops import collapse
from graphc.codegen.cpu.writer import Known
from graphc.ir.symbolic import Axis, product
from graphc.schedule.kernel import ReduceChunks


@contextmanager
def shared_out(context: Context) -> Iterator[list[Axis]]:
    """The loops over a worker's part of the chunks and over their points; yields the loops' axes, collapsed."""
    kernel, writer, expressions = context.kernel, context.writer, context.expressions
    stages = [stage for stage in kernel.stages if isinstance(stage, ReduceChunks)]
    memory = {stage: context.pointer(stage.result) for stage in stages}
    parts = {stage: writer.name("p") for stage in stages}
    for stage in stages:
        context.place_parts(stage.result, parts[stage], stage.axes)
    axes, renamed = collapse(kernel.axes, context.accesses(kernel.stages))
    expressions.renamed.update(renamed)
    total = expressions.named(product(axis.extent for axis in axes)).text
    context.loops.part_of(kernel.chunks, 1)
    chunk, begin, end = writer.name("c"), writer.name("b"), writer.name("e")
    with writer.block(f"for {chunk} in range(first, last):") as level:
        writer.line(f"{begin} = divide_index({total}*{chunk}, {kernel.chunks})")
        writer.line(f"{end} = divide_index({total}*({chunk} + 1), {kernel.chunks})")
        for stage in stages:
            size = expressions.named(product(axis.extent for axis in stage.axes)).text
            writer.line(f"{parts[stage]} = offset({memory[stage]}, {chunk}*{size})")
            place = writer.name("j")
            with writer.block(f"for {place} in range({size}):", independent=True):
                start = operators.identity(stage.combine, stage.result.dtype)
                writer.line(f"store({parts[stage]}, {place}, {start})")
        with ExitStack() as stack:
            point = Known(writer.name("i"), level + 1)
            stack.enter_context(writer.block(f"for {point.text} in range({begin}, {end}):"))
            stack.enter_context(expressions.bound(context.loops.split(point, axes)))
            yield axes


def combined(context: Context, stage: ReduceChunks) -> Known:
    """What a part becomes with one more point: a value yet to be stored."""
    value = context.expressions.scalar(stage.value).text
    result = stage.result
    place = context.expressions.size(context.flat(result, context.index_of(stage))).text
    name = context.writer.name("v")
    held = f"load({context.pointer(result)}, {place})"
    value = operators.cast(value, stage.value.dtype, result.dtype)
    context.writer.line(f"{name} = {operators.combine(stage.combine, held, value, result.dtype)}")
    return Known(name, context.writer.level)
