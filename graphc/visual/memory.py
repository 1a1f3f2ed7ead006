"""Pictures of memory plans: one rectangle for each buffer, from the step that first needs it to the last (across),
and from its first byte to its last (upwards). Two rectangles never overlap; the plan is good when little is white.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.printer import format_bytes
from graphc.schedule.footprint import MemoryReport
from graphc.schedule.memory import Block, MemoryPlan
from graphc.schedule.report import tensor_names
from graphc.schedule.schedule import Schedule
from graphc.visual.dot import printable
from graphc.visual.theme import FONT, Theme, theme_of

MOST_BLOCKS = 5000

WIDTH, HEIGHT = 860, 420
LEFT, TOP, BOTTOM = 90, 56, 46
LETTER = 6.2
"""Pixels that a letter of a label takes, about."""


class SvgDrawing:
    """A picture written as SVG from the start."""

    def __init__(self, svg: str):
        self._svg = svg

    def svg(self) -> str:
        """The picture as SVG text."""
        return self._svg

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file that ends in ``.svg``.

        Raises
        ------
        GraphcError
            If it has another ending, or can't be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise GraphcError(f"save: memory plans are drawn as SVG: expected a file ending in .svg, got {str(path)!r}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._svg, encoding="utf-8")
        except OSError as error:
            raise GraphcError(f"save: {str(path)!r} can't be written: {error.strerror or error}") from None
        return path

    def _repr_svg_(self) -> str:
        return self._svg


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
        If the plan has more than 5,000 buffers.
    """
    if isinstance(plan, MemoryReport):
        schedule, plan = plan.schedule, plan.plan
    if len(plan.blocks) > MOST_BLOCKS:
        raise GraphcError(f"draw_memory: the plan has {len(plan.blocks)} buffers; pictures show at most {MOST_BLOCKS}")
    style = theme_of(theme)
    names = tensor_names(schedule.graph) if schedule is not None else {}
    steps = max((block.last for block in plan.blocks), default=0) + 1
    across, upwards = WIDTH / steps, HEIGHT / max(plan.peak, plan.lower_bound, 1)
    floor = TOP + HEIGHT
    parts = [_line(LEFT, floor, LEFT + WIDTH, floor, style.line, 1), _line(LEFT, TOP, LEFT, floor, style.line, 1)]
    for block in plan.blocks:
        parts.append(_block(block, block_name(block, names), across, upwards, style))
    for step in range(0, steps, max(1, steps // 20)):
        parts.append(_text(LEFT + (step + 0.5) * across, floor + 16, str(step), style.quiet, 10, "middle"))
    parts.append(_text(LEFT + WIDTH / 2, floor + 34, "step", style.quiet, 11, "middle"))
    peak, bound = floor - plan.peak * upwards, floor - plan.lower_bound * upwards
    parts.append(_line(LEFT, peak, LEFT + WIDTH, peak, style.kernel, 2))
    parts.append(_line(LEFT, bound, LEFT + WIDTH, bound, style.saved, 1.5, "6 4"))
    title = (
        f"memory plan: peak {format_bytes(plan.peak)} (heavy line), "
        f"lower bound {format_bytes(plan.lower_bound)} (dashed)"
    )
    parts.append(_text(LEFT, 28, title, style.text, 14))
    for label, height, color in ((format_bytes(plan.peak), peak, style.kernel), ("0 B", floor, style.quiet)):
        parts.append(_text(LEFT - 8, height + 4, label, color, 10, "end"))
    width, height = LEFT + WIDTH + 24, floor + BOTTOM
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    page = f'<rect width="{width}" height="{height}" fill="{style.background}"/>'
    return SvgDrawing("\n".join([head, page, *parts, "</svg>", ""]))


def block_name(block: Block, names: Mapping[Tensor, str]) -> str:
    """What a buffer holds: tensors one after the other, a kernel's scratch, or the memory of a loop or choice."""
    if block.body is not None:
        return "memory of a loop or choice"
    if block.kernel is not None:
        return "scratch"
    return ", then ".join(names.get(tensor, tensor.name) for tensor in block.tensors)


def _block(block: Block, name: str, across: float, upwards: float, style: Theme) -> str:
    x, width = LEFT + block.first * across, (block.last - block.first + 1) * across
    height = block.bytes * upwards
    y = TOP + HEIGHT - block.offset * upwards - height
    kind = "other" if block.body is not None else "view" if block.kernel is not None else "contraction"
    tip = f"{name}: {format_bytes(block.bytes)} at {block.offset}, steps {block.first} to {block.last}"
    rectangle = (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{style.fills[kind]}" '
        f'stroke="{style.line}" stroke-width="0.8"><title>{_clean(tip)}</title></rect>'
    )
    label = ""
    for text in (f"{name} ({format_bytes(block.bytes)})", name):
        if height >= 11 and len(text) * LETTER < width:
            label = _text(x + width / 2, y + height / 2 + 3.5, text, style.text, 10, "middle")
            break
    return rectangle + label


def _clean(text: str) -> str:
    return html.escape(printable(text))


def _text(x: float, y: float, text: str, color: str, size: int, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-family="{FONT}" font-size="{size}" fill="{color}" '
        f'text-anchor="{anchor}">{_clean(text)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float, color: str, width: float, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x}" y1="{y:.2f}" x2="{to_x}" y2="{to_y:.2f}" stroke="{color}" stroke-width="{width}"{dashed}/>'
