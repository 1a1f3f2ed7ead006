"""Indexed accumulation: contributions combined where an index says, in their order, for any number of workers.

Two workers must not write one element, and the order of contributions must not depend on them. So every worker goes
through all contributions and takes those that fall into its own part of the result. Where an axis of the result is an
axis of the contributions as well (the features of an embedding), workers split that axis, and nobody looks at what
belongs to others; else they split the first axis and skip what falls outside of their part.
"""

from __future__ import annotations

from contextlib import ExitStack

from graphc.codegen.cpu import formulas, operators
from graphc.codegen.cpu.context import LINE_BYTES, Context
from graphc.codegen.cpu.writer import Known
from graphc.ir.scalar import Literal
from graphc.ir.symbolic import Axis, Size, product
from graphc.schedule.kernel import Accumulate


def write_accumulation(context: Context) -> None:
    """Print a kernel that is one accumulation."""
    (stage,) = context.kernel.stages
    assert isinstance(stage, Accumulate)
    writer = context.writer
    writer.nodes = stage.nodes
    if not stage.axes:
        context.loops.only_worker_0()
        _write_start(context, stage, None)
        _write_contributions(context, stage, None, None)
        return
    place = stage.split
    axis = stage.axes[place]
    _write_part(context, stage, place)
    _write_start(context, stage, axis)
    source = stage.plain_axis(place)
    _write_contributions(context, stage, source, None if source else stage.destination[place])


def _write_part(context: Context, stage: Accumulate, place: int) -> None:
    """Set ``first`` and ``last``: this worker's part of the split axis.

    A worker without a part goes on: the indices are checked even if there is nowhere to add.
    """
    extent = context.expressions.named(stage.axes[place].extent).text
    row = product(axis.extent for axis in stage.axes[place + 1 :]) * stage.result.dtype.itemsize
    unit = max(1, LINE_BYTES // row) if isinstance(row, int) and row > 0 else 1
    context.writer.line(f"first = share({extent}, {unit}, worker, workers)")
    context.writer.line(f"last = share({extent}, {unit}, worker + 1, workers)")


def _write_start(context: Context, stage: Accumulate, split: Axis | None) -> None:
    """Set this worker's part of the result to what it is before any contribution."""
    zero = isinstance(stage.start, Literal) and stage.start.value == 0
    context.writer.comment("zeros" if zero else f"start: {formulas.formula(context, stage.start)}")
    with ExitStack() as stack:
        for axis in stage.axes:
            _loop(context, stack, axis, axis == split, "j", independent=axis is stage.axes[-1])
        context.store(stage.result, context.index_of(stage), context.expressions.scalar(stage.start))


def _loop(context: Context, stack: ExitStack, axis: Axis, split: bool, prefix: str, independent: bool) -> None:
    """Open a loop over an axis, or over this worker's part of it."""
    if not split:
        stack.enter_context(context.loops.over([axis], prefix, independent))
        return
    variable = context.writer.name(prefix)
    level = stack.enter_context(context.writer.block(f"for {variable} in range(first, last):", independent))
    stack.enter_context(context.expressions.bound({axis: Known(variable, level)}))


def _write_contributions(context: Context, stage: Accumulate, source: Axis | None, owned: Size | None) -> None:
    """Combine contributions in order: those in this worker's part of axis ``source``, or with place ``owned`` in it."""
    writer, expressions, dtype = context.writer, context.expressions, stage.result.dtype
    writer.comment(formulas.stage_formula(context, stage))
    plain = [stage.plain_axis(place) for place in range(len(stage.axes))]
    with ExitStack() as stack:
        for axis in stage.contributions:
            apart = axis is stage.contributions[-1] and any(axis is found for found in plain)
            _loop(context, stack, axis, axis is source, "r", independent=apart)
        place = expressions.size(context.flat(stage.result, stage.destination))
        if owned is not None:
            row = expressions.named(owned, "p").text
            stack.enter_context(writer.block(f"if (first <= {row}) & ({row} < last):"))
        elif not isinstance(stage.result.type.size, int) or stage.result.type.size == 0:
            size = expressions.named(stage.result.type.size).text
            stack.enter_context(writer.block(f"if {size} > 0:"))
        value = operators.cast(expressions.scalar(stage.value).text, stage.value.dtype, dtype)
        called = ("load_bool", "store_bool") if dtype.kind == "b" else ("load", "store")
        pointer = context.pointer(stage.result)
        if stage.combine != "set":
            value = operators.combine(stage.combine, f"{called[0]}({pointer}, {place.text})", value, dtype)
        writer.line(f"{called[1]}({pointer}, {place.text}, {value})")
