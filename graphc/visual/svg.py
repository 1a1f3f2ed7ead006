"""SVG written from the start, for pictures that are no graphs: rectangles, lines, text.

Text goes through :func:`clean`, so that no name can add markup; everything else is numbers and colours of a theme.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from graphc.errors import GraphcError
from graphc.visual.dot import printable
from graphc.visual.theme import FONT, Theme, adaptive

LETTER = 0.6
"""Width of a letter, about, as a part of its size."""


class SvgDrawing:
    """A picture as SVG."""

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
            raise GraphcError(f"save: this picture is made as SVG: expected a file ending in .svg, got {str(path)!r}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._svg, encoding="utf-8")
        except OSError as error:
            raise GraphcError(f"save: {str(path)!r} can't be written: {error.strerror or error}") from None
        return path

    def _repr_svg_(self) -> str:
        return self._svg

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: save it, or show it in a notebook>"


def page(parts: Iterable[str], width: float, height: float, style: Theme, *, adapts: bool = False) -> SvgDrawing:
    """A picture of some parts on the theme's background."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}">'
    )
    ground = f'<rect width="{width:g}" height="{height:g}" fill="{style.background}"/>'
    svg = "\n".join([head, ground, *parts, "</svg>", ""])
    return SvgDrawing(adaptive(svg) if adapts else svg)


def clean(text: str) -> str:
    """Text without markup and control characters; newlines stay, for tooltips."""
    return "\n".join(html.escape(printable(line)) for line in text.split("\n"))


def rect(x: float, y: float, width: float, height: float, fill: str, stroke: str, tip: str = "") -> str:
    """A rectangle with a tooltip."""
    title = f"<title>{clean(tip)}</title>" if tip else ""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="0.8">{title}</rect>'
    )


def text(x: float, y: float, words: str, color: str, size: float, anchor: str = "start", bold: bool = False) -> str:
    """A line of text from (``start``), around (``middle``) or up to (``end``) a point."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-family="{FONT}" font-size="{size:g}" fill="{color}" '
        f'text-anchor="{anchor}"{weight}>{clean(words)}</text>'
    )


def fitted(x: float, y: float, width: float, choices: Iterable[str], color: str, size: float) -> str:
    """The first of some texts that fits a width, around a point; nothing if none does."""
    for words in choices:
        if len(words) * size * LETTER < width:
            return text(x, y, words, color, size, "middle")
    return ""


def line(x: float, y: float, to_x: float, to_y: float, color: str, width: float, dashes: str = "") -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x:.2f}" y1="{y:.2f}" x2="{to_x:.2f}" y2="{to_y:.2f}" stroke="{color}" '
        f'stroke-width="{width:g}"{dashed}/>'
    )


def ticks(largest: float, most: int) -> list[float]:
    """Round numbers from 0 to ``largest``, at most that many: steps of 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return [0.0]
    step = 10.0**-9
    while True:
        for factor in (1, 2, 5):
            if largest / (step * factor) < most:
                count = int(largest / (step * factor) + 1e-9)
                return [step * factor * place for place in range(count + 1)]
        step *= 10
