"""Pictures of memory plans: one rectangle for each buffer, from the step that first needs it to the last (across),
and from its first byte to its last (upwards). Two rectangles never overlap; the plan is good when little is white.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.printer import format_bytes
from graphc.passes.parts import is_derived
from graphc.schedule.footprint import MemoryReport
from graphc.schedule.memory import Block, MemoryPlan
from graphc.schedule.report import tensor_names
from graphc.schedule.schedule import Schedule
from graphc.visual.svg import SvgDrawing, fitted, line, page, rect, text
from graphc.visual.theme import Theme, theme_of

MOST_BLOCKS = 5000

WIDTH, HEIGHT = 860, 420
LEFT, TOP, RIGHT, BOTTOM = 96, 88, 128, 50

KINDS = {
    "contraction": "forward values",
    "gradient": "gradients",
    "variable": "scratch of one kernel",
    "other": "memory of a loop",
}
"""What the colours mean: kinds of node of the theme, and words."""


def draw_memory(
    plan: MemoryPlan | MemoryReport, schedule: Schedule | None = None, *, theme: str | Theme = "light"
) -> SvgDrawing:
    """Draw a memory plan: buffers over the steps of a program.

    Parameters
    ----------
    plan : MemoryPlan or MemoryReport
        Such as ``program.memory``.
    schedule : Schedule, optional
        The plan's; its tensors are then called as in the schedule's text. A report knows its own.
    theme : str or Theme

    Returns
    -------
    SvgDrawing
        With ``svg()`` and ``save("...svg")``. The heavy line is the planned peak, the dashed one the lower bound.

    Raises
    ------
    GraphcError
        If it is no plan, or one of more than 5,000 buffers.
    """
    if isinstance(plan, MemoryReport):
        schedule, plan = plan.schedule, plan.plan
    if not isinstance(plan, MemoryPlan):
        raise GraphcError(
            f"draw_memory: expected a memory plan or report, got {plan!r}",
            hint="program.memory is one once the program has run",
        )
    if len(plan.blocks) > MOST_BLOCKS:
        raise GraphcError(f"draw_memory: the plan has {len(plan.blocks)} buffers; pictures show at most {MOST_BLOCKS}")
    style = theme_of(theme)
    names = tensor_names(schedule.graph) if schedule is not None else {}
    steps = max((block.last for block in plan.blocks), default=0) + 1
    across, upwards = WIDTH / steps, HEIGHT / max(plan.peak, plan.lower_bound, 1)
    floor = TOP + HEIGHT
    parts = [line(LEFT, floor, LEFT + WIDTH, floor, style.line, 1), line(LEFT, TOP, LEFT, floor, style.line, 1)]
    for block in plan.blocks:
        parts += _block(block, names, across, upwards, style)
    for step in range(0, steps, max(1, -(-steps // 20))):
        parts.append(text(LEFT + (step + 0.5) * across, floor + 18, str(step), style.quiet, 11, "middle"))
    parts.append(text(LEFT + WIDTH / 2, floor + 38, "step of the program: kernels in order", style.quiet, 12, "middle"))
    for quarter in range(5):
        height = floor - quarter * HEIGHT / 4
        parts.append(line(LEFT - 4, height, LEFT, height, style.line, 1))
        count = round(quarter * HEIGHT / 4 / upwards)
        parts.append(text(LEFT - 8, height + 4, format_bytes(count), style.quiet, 11, "end"))
    parts += _bounds(plan, floor, upwards, style) + _head(plan, style)
    return page(parts, LEFT + WIDTH + RIGHT, floor + BOTTOM, style, adapts=theme == "auto")


def _head(plan: MemoryPlan, style: Theme) -> list[str]:
    """The title, and below it what the colours mean."""
    peak, bound = format_bytes(plan.peak), format_bytes(plan.lower_bound)
    parts = [text(LEFT, 28, f"memory over time: peak {peak}, lower bound {bound}", style.text, 16)]
    there = [kind for kind in KINDS if any(_kind(block) == kind for block in plan.blocks)]
    x = float(LEFT)
    for kind in there:
        parts.append(rect(x, 46, 16, 12, style.fills[kind], style.line))
        parts.append(text(x + 22, 56, KINDS[kind], style.text, 12))
        x += 50 + 7 * len(KINDS[kind])
    return parts


def _bounds(plan: MemoryPlan, floor: float, upwards: float, style: Theme) -> list[str]:
    """The lines of the peak and the lower bound, with their words at the right, one below the other."""
    peak, bound = floor - plan.peak * upwards, floor - plan.lower_bound * upwards
    right = LEFT + WIDTH
    return [
        line(LEFT, peak, right, peak, style.kernel, 2.5),
        line(LEFT, bound, right, bound, style.saved, 2, "7 5"),
        text(right + 8, peak + 1, "peak", style.kernel, 12, bold=True),
        text(right + 8, max(bound, peak + 14) + 3, "lower bound", style.saved, 12),
    ]


def block_name(block: Block, names: Mapping[Tensor, str]) -> str:
    """What a buffer holds: tensors one after the other, a kernel's scratch, or the memory of a loop or choice."""
    if block.body is not None:
        return "memory of a loop or choice"
    if block.kernel is not None:
        return "scratch"
    return ", then ".join(names.get(tensor, tensor.name) for tensor in block.tensors)


def _kind(block: Block) -> str:
    if block.body is not None:
        return "other"
    if block.kernel is not None:
        return "variable"
    return "gradient" if block.tensors and is_derived(block.tensors[0].node) else "contraction"


def _block(block: Block, names: Mapping[Tensor, str], across: float, upwards: float, style: Theme) -> list[str]:
    name = block_name(block, names)
    x, width = LEFT + block.first * across, (block.last - block.first + 1) * across
    height = block.bytes * upwards
    y = TOP + HEIGHT - block.offset * upwards - height
    held = [f"{tensor.node.op.name}: {tensor.type}, from {tensor.node.origin}" for tensor in block.tensors]
    size = format_bytes(block.bytes)
    tip = [f"{name}: {size} at {block.offset}, steps {block.first} to {block.last}", *held]
    parts = [rect(x, y, width, height, style.fills[_kind(block)], style.line, "\n".join(tip))]
    if height >= 12:
        full = ", then ".join(f"{names.get(tensor, '')} {tensor.node.op.name}".strip() for tensor in block.tensors)
        choices = [f"{full or name} ({size})", f"{name} ({size})", name]
        parts.append(fitted(x + width / 2, y + height / 2 + 4, width, choices, style.text, 11))
    return [part for part in parts if part]
