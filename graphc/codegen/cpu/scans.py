"""Running sums and their like: in order along one axis, the other axes side by side.

Along the contiguous axis there is one running value, a register. Along another one there are as many as the
contiguous axis is long, in scratch, and the inner loop updates all of them::

    for r in scanned:
        for j in columns:                  contiguous, vector code
            a[j] = a[j] + x[r, j]
            y[r, j] = a[j]
"""

from __future__ import annotations

from graphc.codegen.cpu import formulas, operators
from graphc.codegen.cpu.context import Context
from graphc.codegen.cpu.writer import Known
from graphc.schedule.kernel import Scan


def write_scan(context: Context, stage: Scan) -> None:
    """Print a scan at one point of the shared axes: along ``scanned`` for each point of the other own axes."""
    context.writer.nodes = stage.nodes
    context.writer.comment(formulas.stage_formula(context, stage))
    others = [axis for axis in stage.axes if axis != stage.scanned]
    if stage.axes[-1] == stage.scanned:
        with context.loops.over(others):
            _write_register_scan(context, stage)
    else:
        with context.loops.over(others[:-1]):
            _write_row_scan(context, stage)


def _combined(context: Context, stage: Scan, held: str) -> str:
    """What is held, combined with the stage's value at the present point."""
    value = context.expressions.scalar(stage.value).text
    dtype = stage.result.dtype
    return operators.combine(stage.combine, held, operators.cast(value, stage.value.dtype, dtype), dtype)


def _write_register_scan(context: Context, stage: Scan) -> None:
    writer = context.writer
    total = writer.name("a")
    writer.line(f"{total} = {operators.identity(stage.combine, stage.result.dtype)}")
    with context.loops.over([stage.scanned]):
        writer.line(f"{total} = {_combined(context, stage, total)}")
        context.store(stage.result, context.index_of(stage), Known(total, writer.level))


def _write_row_scan(context: Context, stage: Scan) -> None:
    writer, dtype, row = context.writer, stage.result.dtype, stage.axes[-1]
    load, store = ("load_bool", "store_bool") if dtype.kind == "b" else ("load", "store")
    totals = context.scratch(row.extent, dtype.name, dtype.itemsize, "a")
    with context.loops.over([row], independent=True):
        column = context.expressions.variable(row)
        writer.line(f"{store}({totals}, {column}, {operators.identity(stage.combine, dtype)})")
    with context.loops.over([stage.scanned, row], independent=True):
        column = context.expressions.variable(row)
        total = writer.let(_combined(context, stage, f"{load}({totals}, {column})"), writer.level)
        writer.line(f"{store}({totals}, {column}, {total.text})")
        context.store(stage.result, context.index_of(stage), total)
