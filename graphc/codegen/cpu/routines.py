"""Row routines: kernels that hand each row to a library function."""

from __future__ import annotations

from graphc.codegen.cpu import formulas
from graphc.codegen.cpu.context import Context
from graphc.errors import CompileError
from graphc.ir.symbolic import Size, of_atom
from graphc.schedule.kernel import Routine


def write_routine(context: Context) -> None:
    """Print a kernel that is one routine: the rows are shared out, one call a row.

    Raises
    ------
    CompileError
        If there is no such routine.
    """
    (stage,) = context.kernel.stages
    assert isinstance(stage, Routine)
    if stage.routine != "sort":
        raise CompileError(f"expected the routine 'sort', got {stage.routine!r}")
    expressions, writer = context.expressions, context.writer
    values, order = stage.results
    row = stage.axes[-1]
    spare = context.scratch(row.extent, "int64", 8)
    writer.nodes = stage.nodes
    with context.loops.shared_out((*context.kernel.axes, *stage.axes[:-1]), 1):
        writer.comment(formulas.stage_formula(context, stage))
        first: list[Size] = [of_atom(axis) for axis in (*context.kernel.axes, *stage.axes[:-1])]
        place = expressions.size(context.flat(values, [*first, 0])).text
        rows = [f"offset({context.pointer(tensor)}, {place})" for tensor in (stage.source, values, order)]
        extent = expressions.named(row.extent).text
        descending = bool(stage.attributes.get("descending"))
        writer.line(f"sort_row({', '.join(rows)}, {spare}, {extent}, {descending})")
