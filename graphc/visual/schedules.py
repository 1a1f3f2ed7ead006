"""Pictures of schedules: a box for each kernel with its formulas, an arrow for each tensor that goes through memory."""

from __future__ import annotations

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.printer import format_bytes
from graphc.schedule.fuse import ControlStep
from graphc.schedule.loops import is_loop
from graphc.schedule.report import format_kernel, tensor_names
from graphc.schedule.schedule import Schedule
from graphc.visual.dot import Dot
from graphc.visual.labels import kind_of
from graphc.visual.render import Drawing
from graphc.visual.theme import FONT, Theme, theme_of

MOST_STEPS = 200
WIDEST_LINE = 110
MOST_LINES = 24

MONOSPACE = "DejaVu Sans Mono,Menlo,Consolas,monospace"


def draw_schedule(
    schedule: Schedule, *, theme: str | Theme = "light", title: str = "", limit: int = MOST_STEPS
) -> Drawing:
    """Draw a schedule: kernels in order, with what each computes, and the tensors that pass between them.

    Parameters
    ----------
    schedule : Schedule
    theme : str or Theme
    title : str
    limit : int
        Most kernels, loops and choices to draw.

    Raises
    ------
    GraphcError
        If there are more.
    """
    if len(schedule.steps) > limit:
        raise GraphcError(
            f"draw_schedule: the schedule has {len(schedule.steps)} steps, a readable picture at most {limit}",
            hint="raise limit=, or print the schedule",
        )
    style, names = theme_of(theme), tensor_names(schedule.graph)
    canvas = Dot(
        {
            "rankdir": "TB",
            "bgcolor": style.background,
            "fontname": FONT,
            "fontcolor": style.text,
            "labelloc": "t",
            "tooltip": " ",
        },
        {"fontname": FONT, "fontsize": "11", "fontcolor": style.text, "margin": "0.12,0.08"},
        {"fontname": FONT, "fontsize": "9", "fontcolor": style.quiet, "color": style.line, "arrowsize": "0.7"},
    )
    if title:
        canvas.title(title)
    makers: dict[Tensor, str] = {}
    box = {**style.node("map"), "fontname": MONOSPACE, "fontsize": "10", "color": style.kernel, "penwidth": "1.5"}
    number = 0
    for place, step in enumerate(schedule.steps):
        name = f"step{place}"
        if isinstance(step, ControlStep):
            kind = "loop" if is_loop(step.node) else "choice"
            lines: tuple[str, ...] = (f"{kind} {step.node.op.name}",)
            for part in step.bodies:
                count = sum(1 for _ in Schedule(part.graph, part.steps, frozenset()).kernels())
                kernels = f"kernels {number} to {number + count - 1}" if count else "no kernels"
                lines = (*lines, f"{part.name.replace('_', ' ')}: {kernels}")
                number += count
        else:
            head, *body = format_kernel(step, names, schedule)
            lines = (f"kernel {number}: {head}", *(" ".join(line.split("  ")).strip() for line in body))
            number += 1
        if len(lines) > MOST_LINES:
            lines = (*lines[: MOST_LINES - 1], f"... {len(lines) - MOST_LINES + 1} more lines")
        nodes = (step.node,) if isinstance(step, ControlStep) else step.nodes
        origins = "; ".join(dict.fromkeys(str(node.origin) for node in nodes if str(node.origin)))
        canvas.text_node(name, tuple(lines), box, origins or lines[0], WIDEST_LINE)
        for tensor in step.inputs:
            source = makers.get(tensor) or _leaf(canvas, tensor, names, style, makers)
            label = (names.get(tensor, tensor.name), format_bytes(tensor.type.bytes))
            canvas.edge(source, name, label, {}, f"{tensor.name}: {tensor.type}")
        makers.update(dict.fromkeys(step.stored, name))
    _results(canvas, schedule, names, style, makers)
    return Drawing(canvas.text())


def _leaf(canvas: Dot, tensor: Tensor, names: dict[Tensor, str], style: Theme, makers: dict[Tensor, str]) -> str:
    name = makers[tensor] = f"leaf{len(makers)}"
    lines = (names.get(tensor, tensor.name), str(tensor.type))
    canvas.node(name, lines, style.node(kind_of(tensor.node)), str(tensor.node.origin))
    return name


def _results(
    canvas: Dot, schedule: Schedule, names: dict[Tensor, str], style: Theme, makers: dict[Tensor, str]
) -> None:
    """Outputs, and the variables that are written."""
    for place, tensor in enumerate(schedule.graph.outputs):
        name = f"output{place}"
        if isinstance(tensor.node.op, Effect):
            variable = tensor.node.inputs[0]
            how = "in place" if tensor in schedule.in_place else "copied at the end"
            lines = (f"new {names.get(variable, variable.name)}", format_bytes(variable.type.bytes), how)
            canvas.node(name, lines, style.node("assign"), str(tensor.type))
        else:
            canvas.node(name, (names.get(tensor, tensor.name),), style.node("output"), str(tensor.type))
        if tensor in makers:
            canvas.edge(makers[tensor], name, (format_bytes(tensor.type.bytes),), {})
