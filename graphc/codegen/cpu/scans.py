"""Running sums and their like: in order along one axis, the other axes in parallel."""

from __future__ import annotations

from graphc.codegen.cpu import formulas, operators
from graphc.codegen.cpu.context import Context
from graphc.schedule.kernel import Scan


def write_scan(context: Context, stage: Scan) -> None:
    """Print a scan at one point of the shared axes: along ``scanned`` for each point of the other own axes."""
    writer, expressions = context.writer, context.expressions
    writer.nodes = stage.nodes
    writer.comment(formulas.stage_formula(context, stage))
    others = [axis for axis in stage.axes if axis != stage.scanned]
    dtype = stage.result.dtype
    with context.loops.over(others):
        total = writer.name("a")
        writer.line(f"{total} = {operators.identity(stage.combine, dtype)}")
        with context.loops.over([stage.scanned]):
            value = expressions.scalar(stage.value)
            text = operators.cast(value.text, stage.value.dtype, dtype)
            writer.line(f"{total} = {operators.combine(stage.combine, total, text, dtype)}")
            known = value._replace(text=total, level=writer.level)
            context.store(stage.result, context.index_of(stage), known)
