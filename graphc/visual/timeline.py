"""Pictures of profiles: what each worker did when, one row a worker, one rectangle a call of a kernel.

White between the rectangles is waiting: for other workers, for a barrier, for the timer of the next kernel.
"""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcError
from graphc.profile.report import KernelProfile, Profile
from graphc.visual.svg import SvgDrawing, fitted, line, page, rect, text, ticks
from graphc.visual.theme import Theme, theme_of

MOST_CALLS, MOST_LISTED = 4000, 24
"""Calls that are drawn, and kernels that are listed below."""

WIDTH, LEFT, TOP, ROW, RIGHT = 880, 96, 64, 42, 24
LISTED = 20
"""Height of a row of the list."""

MOST_LETTERS = 92
"""Of a kernel's name in the list."""


def draw_timeline(profile: Profile, *, theme: str | Theme = "light") -> SvgDrawing:
    """Draw the timeline of a profiled step.

    Parameters
    ----------
    profile : Profile
        Of ``session.run(..., profile=True)``.
    theme : str or Theme

    Returns
    -------
    SvgDrawing
        A row for each worker. Kernels carry their numbers, and are listed below by their time, with their ops.

    Raises
    ------
    GraphcError
        If it is no profile of a step, or one without calls.
    """
    if not isinstance(profile, Profile):
        raise GraphcError(f"draw_timeline: expected a profile of session.run(..., profile=True), got {profile!r}")
    events = profile.worker_events[:MOST_CALLS]
    if not events:
        raise GraphcError("draw_timeline: the profile holds no calls: the step ran no kernel")
    style = theme_of(theme)
    begin = min(event.begin for event in events)
    length = max(1, max(event.end for event in events) - begin)
    across = WIDTH / length
    colors = _colors(profile, style)
    floor = TOP + ROW * profile.workers
    parts = [text(LEFT, 28, _title(profile, len(events)), style.text, 16)]
    for worker in range(profile.workers):
        middle = TOP + (worker + 0.5) * ROW
        parts.append(text(LEFT - 10, middle + 4, f"worker {worker}", style.text, 12, "end"))
        parts.append(line(LEFT, TOP + (worker + 1) * ROW, LEFT + WIDTH, TOP + (worker + 1) * ROW, style.quiet, 0.6))
    for event in events:
        kernel = profile.kernels[event.number]
        x, width = LEFT + (event.begin - begin) * across, max(0.4, (event.end - event.begin) * across)
        y = TOP + (event.worker or 0) * ROW + 5
        took = (event.end - event.begin) / 1e3
        tip = "\n".join([f"{_number(kernel)} {kernel.name}: {took:.1f} us on worker {event.worker}", *kernel.lines])
        parts.append(rect(x, y, width, ROW - 10, colors[event.number], style.line, tip))
        shown = (f"{_number(kernel)} {kernel.name}", _number(kernel))
        parts.append(fitted(x + width / 2, y + ROW / 2 - 1, width, shown, style.text, 11))
    for tick in ticks(length / 1e3, 10):
        x = LEFT + tick * 1e3 * across
        parts.append(line(x, floor, x, floor + 5, style.line, 1))
        parts.append(text(x, floor + 19, f"{tick:g}", style.quiet, 11, "middle"))
    parts.append(text(LEFT + WIDTH / 2, floor + 38, "microseconds", style.quiet, 12, "middle"))
    listed = _list(profile, colors, floor + 62, style)
    height = floor + 62 + LISTED * (len(listed) // 2) + 8
    shown_parts = [part for part in (*parts, *listed) if part]
    return page(shown_parts, LEFT + WIDTH + RIGHT, height, style, adapts=theme == "auto")


def _title(profile: Profile, shown: int) -> str:
    workers = f"{profile.workers} worker{'s' * (profile.workers != 1)}"
    cut = f"; the first {shown:,} calls" if shown < len(profile.worker_events) else ""
    return f"timeline of a step: {profile.kernels_us:.0f} us in kernels, {workers}{cut}"


def _number(kernel: KernelProfile) -> str:
    return "copy" if kernel.number is None else str(kernel.number)


def _colors(profile: Profile, style: Theme) -> list[str]:
    """A colour for each entry: neighbours differ, and their numbers tell them apart where colours can't."""
    return [style.series[place % len(style.series)] for place in range(len(profile.kernels))]


def _list(profile: Profile, colors: list[str], top: float, style: Theme) -> list[Any]:
    """The kernels by time: a box of their colour, and their number, time and ops; two parts a row."""
    ranked = sorted(range(len(profile.kernels)), key=lambda place: -profile.kernels[place].time_us)
    parts = []
    for row, place in enumerate(ranked[:MOST_LISTED]):
        kernel, y = profile.kernels[place], top + row * LISTED
        share = kernel.time_us / profile.kernels_us if profile.kernels_us else 0.0
        words = f"{_number(kernel)}: {kernel.time_us:.1f} us ({share:.0%})  {kernel.name}"
        words = words if len(words) <= MOST_LETTERS else words[: MOST_LETTERS - 1] + "…"
        parts.append(rect(LEFT, y, 16, 12, colors[place], style.line))
        parts.append(text(LEFT + 24, y + 10, words, style.text, 12))
    rest = ranked[MOST_LISTED:]
    if rest:
        spent = sum(profile.kernels[place].time_us for place in rest)
        y = top + MOST_LISTED * LISTED
        parts += [text(LEFT + 24, y + 10, f"{spent:.1f} us in {len(rest)} more", style.quiet, 12), ""]
    return parts
