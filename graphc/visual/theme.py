"""How things look: one style for each kind of node, told apart by shape *and* colour.

Colours are tints of Okabe and Ito's palette, which stays distinct under the common colour blindnesses; in grey print
the shapes and borders still tell the kinds apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from graphc.errors import GraphcError

Attributes = dict[str, str]

FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"

SHAPES: MappingProxyType[str, Attributes] = MappingProxyType(
    {
        "placeholder": {"shape": "polygon", "sides": "4", "skew": "0.22", "margin": "0.02,0.02"},
        "variable": {"shape": "cylinder", "margin": "0.14,0.06"},
        "constant": {"shape": "note"},
        "map": {"shape": "box", "style": "filled,rounded"},
        "view": {
            "shape": "box",
            "style": "filled,rounded,dotted",
            "fontsize": "10",
            "margin": "0.06,0.02",
            "height": "0.25",
        },
        "reduction": {"shape": "invtrapezium", "margin": "0.0,0.04"},
        "contraction": {"shape": "box", "penwidth": "2"},
        "other": {"shape": "box", "peripheries": "2"},
        "random": {"shape": "octagon", "margin": "0.02,0.02"},
        "gradient": {"shape": "diamond", "margin": "0.0,0.0"},
        "path_sum": {"shape": "circle", "penwidth": "2", "margin": "0.01,0.01"},
        "assign": {"shape": "cylinder", "penwidth": "2.5", "margin": "0.14,0.06"},
        "output": {"shape": "oval", "style": "filled,bold", "margin": "0.06,0.02"},
        "saved": {"shape": "box", "style": "filled,dashed,rounded"},
    }
)
"""Attributes of Graphviz for each kind of node, colours aside."""

MEANINGS = MappingProxyType(
    {
        "placeholder": "placeholder, input",
        "variable": "variable",
        "constant": "constant",
        "map": "op on elements",
        "view": "view",
        "reduction": "reduction",
        "contraction": "contraction",
        "other": "other op",
        "random": "random numbers",
        "gradient": "gradient",
        "path_sum": "Σ paths",
        "assign": "update of a variable",
        "output": "result",
        "saved": "from another part",
    }
)
"""What the legend says of each kind."""


@dataclass(frozen=True)
class Theme:
    """Colours of a drawing.

    Attributes
    ----------
    background, text, quiet, line : str
        Of the page, of labels, of edge labels and small print, of edges.
    fills : mapping of str to str
        Fill colour for each kind of node in :data:`SHAPES`.
    strokes : mapping of str to str
        Border colour for the kinds whose border is not ``line``.
    parts : mapping of str to (str, str)
        Fill and border of the boxes around forward, backward and update.
    saved : str
        Dashed edges: forward values that the backward or update part reads.
    kernel : str
        Borders of the boxes around fused kernels.
    """

    background: str
    text: str
    quiet: str
    line: str
    saved: str
    kernel: str
    fills: dict[str, str] = field(default_factory=dict)
    strokes: dict[str, str] = field(default_factory=dict)
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def node(self, kind: str) -> Attributes:
        """Attributes of a node of a kind."""
        colors = {"fillcolor": self.fills[kind], "color": self.strokes.get(kind, self.line)}
        return {"style": "filled", **SHAPES[kind], **colors}


LIGHT = Theme(
    background="white",
    text="#1a1a1a",
    quiet="#4d4d4d",
    line="#404040",
    saved="#0072b2",
    kernel="#d55e00",
    fills={
        "placeholder": "#cfe8f7", "variable": "#fbdca6", "constant": "#eeeeee", "map": "#ffffff", "view": "#ffffff",
        "reduction": "#d8efe4", "contraction": "#a9dcc8", "other": "#e8e8f8", "random": "#f5f0c8",
        "gradient": "#f3d6e6", "path_sum": "#f7e463", "assign": "#f5b53d", "output": "#dfe7ff", "saved": "#ffffff",
    },
    strokes={
        "placeholder": "#0072b2", "variable": "#b36b00", "assign": "#b36b00", "view": "#8c8c8c",
        "saved": "#0072b2",
    },
    parts={
        "forward": ("#f6fafd", "#0072b2"), "backward": ("#fdf6fa", "#b8578f"), "update": ("#fffaf0", "#b36b00"),
        "body": ("#f7f7f7", "#666666"),
    },
)  # fmt: skip

DARK = Theme(
    background="#16181d",
    text="#f0f0f0",
    quiet="#b9bec8",
    line="#c4c8d0",
    saved="#56b4e9",
    kernel="#f0883e",
    fills={
        "placeholder": "#1d4a66", "variable": "#6b4708", "constant": "#3a3d44", "map": "#2a2d34", "view": "#1f2127",
        "reduction": "#1f4d3f", "contraction": "#0f6b50", "other": "#3a3a5c", "random": "#57521c",
        "gradient": "#5c2a47", "path_sum": "#7d7010", "assign": "#8f5b00", "output": "#2c3c70", "saved": "#1f2127",
    },
    strokes={
        "placeholder": "#56b4e9", "variable": "#e69f00", "assign": "#e69f00", "view": "#7a7f8a",
        "saved": "#56b4e9",
    },
    parts={
        "forward": ("#191f27", "#56b4e9"), "backward": ("#231a21", "#cc79a7"), "update": ("#231e15", "#e69f00"),
        "body": ("#22242a", "#8a8f9a"),
    },
)  # fmt: skip

THEMES = {"light": LIGHT, "dark": DARK}


def theme_of(theme: str | Theme) -> Theme:
    """The theme of a name.

    Raises
    ------
    GraphcError
        If there is none of that name.
    """
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise GraphcError(f"draw: expected a theme among {', '.join(THEMES)}, got {theme!r}")
    return THEMES[theme]
