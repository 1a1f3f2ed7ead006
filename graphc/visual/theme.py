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
        "placeholder": {"shape": "polygon", "sides": "4", "skew": "0.15", "margin": "0,0"},
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
        "scope": {"shape": "folder", "penwidth": "1.5", "margin": "0.16,0.1"},
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
        "scope": "several nodes, folded",
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
    value, local, adjoint : str
        Text on edges: forward values, local derivatives, derivatives of the result.
    series : tuple of str
        Fills of things that only need to differ from their neighbours.
    """

    background: str
    text: str
    quiet: str
    line: str
    saved: str
    kernel: str
    value: str
    local: str
    adjoint: str
    series: tuple[str, ...]
    fills: dict[str, str] = field(default_factory=dict)
    strokes: dict[str, str] = field(default_factory=dict)
    parts: dict[str, tuple[str, str]] = field(default_factory=dict)

    def node(self, kind: str) -> Attributes:
        """Attributes of a node of a kind."""
        colors = {"fillcolor": self.fills[kind], "color": self.strokes.get(kind, self.line)}
        return {"style": "filled", **SHAPES[kind], **colors}

    @property
    def passages(self) -> dict[str, Attributes]:
        """Attributes of edges by how a value gets from one op to another, where kernels are drawn."""
        return {
            "memory": {"color": self.kernel, "penwidth": "2"},
            "registers": {"color": self.line, "penwidth": "0.8"},
            "recomputed": {"color": self.quiet, "style": "dashed"},
        }


LIGHT = Theme(
    background="white",
    text="#1a1a1a",
    quiet="#4d4d4d",
    line="#404040",
    saved="#0072b2",
    kernel="#d55e00",
    value="#005a8f",
    local="#4a4a4a",
    adjoint="#b04a00",
    series=("#9bd3f2", "#f7cf85", "#8fd4bc", "#f0b895", "#e3bcd3", "#f5ee9e", "#9cc4e0", "#cfd3d8"),
    fills={
        "placeholder": "#cfe8f7", "variable": "#fbdca6", "constant": "#eeeeee", "map": "#ffffff", "view": "#fdfdfd",
        "reduction": "#d8efe4", "contraction": "#a9dcc8", "other": "#e8e8f8", "random": "#f5f0c8",
        "gradient": "#f3d6e6", "path_sum": "#f7e463", "assign": "#f5b53d", "output": "#dfe7ff", "saved": "#fcfcfe",
        "scope": "#eef3e2",
    },
    strokes={
        "placeholder": "#0072b2", "variable": "#b36b00", "assign": "#b36b00", "view": "#8c8c8c",
        "saved": "#0072b2", "scope": "#4d6b1f",
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
    value="#7cc7f2",
    local="#c0c4cc",
    adjoint="#f5a25d",
    series=("#1f5f86", "#7a5300", "#0f5e47", "#7d3d10", "#6e4059", "#666014", "#174a6e", "#4a4e57"),
    fills={
        "placeholder": "#1d4a66", "variable": "#6b4708", "constant": "#3a3d44", "map": "#2a2d34", "view": "#1f2127",
        "reduction": "#1f4d3f", "contraction": "#0f6b50", "other": "#3a3a5c", "random": "#57521c",
        "gradient": "#5c2a47", "path_sum": "#7d7010", "assign": "#8f5b00", "output": "#2c3c70", "saved": "#1e2026",
        "scope": "#33402a",
    },
    strokes={
        "placeholder": "#56b4e9", "variable": "#e69f00", "assign": "#e69f00", "view": "#7a7f8a",
        "saved": "#56b4e9", "scope": "#a5c46f",
    },
    parts={
        "forward": ("#191f27", "#56b4e9"), "backward": ("#231a21", "#cc79a7"), "update": ("#231e15", "#e69f00"),
        "body": ("#22242a", "#8a8f9a"),
    },
)  # fmt: skip

PRINT = Theme(
    background="white",
    text="black",
    quiet="#333333",
    line="#222222",
    saved="#555555",
    kernel="#000000",
    value="#000000",
    local="#444444",
    adjoint="#222222",
    series=("#ffffff", "#d0d0d0", "#ececec", "#b8b8b8"),
    fills={
        "placeholder": "#f0f0f0", "variable": "#d8d8d8", "constant": "#f8f8f8", "map": "#ffffff", "view": "#ffffff",
        "reduction": "#e8e8e8", "contraction": "#cccccc", "other": "#f4f4f4", "random": "#fafafa",
        "gradient": "#e0e0e0", "path_sum": "#bdbdbd", "assign": "#b8b8b8", "output": "#ffffff", "saved": "#ffffff",
        "scope": "#ececec",
    },
    parts={
        "forward": ("#fcfcfc", "#444444"), "backward": ("#f3f3f3", "#222222"), "update": ("#fcfcfc", "#444444"),
        "body": ("#f8f8f8", "#666666"),
    },
)  # fmt: skip

THEMES = {"light": LIGHT, "dark": DARK, "print": PRINT, "auto": LIGHT}
"""``"auto"`` is light, and an SVG picture of it turns dark where the reader prefers that: :func:`adaptive`."""


def theme_of(theme: str | Theme) -> Theme:
    """The theme of a name.

    Raises
    ------
    GraphcError
        If there is none of that name.
    """
    if isinstance(theme, Theme):
        return theme
    if not isinstance(theme, str) or theme not in THEMES:
        raise GraphcError(f"draw: expected a theme among {', '.join(THEMES)}, got {theme!r}")
    return THEMES[theme]


def adaptive(svg: str) -> str:
    """An SVG picture in light colours that is dark where the reader's system is: a rule for each colour."""
    pairs = sorted(counterparts().items())
    rules = [f'[{where}="{light}"]{{{where}:{dark}}}' for (where, light), dark in pairs if light != dark]
    rules.append(f"text:not([fill]){{fill:{DARK.text}}}")
    style = f"<style>@media (prefers-color-scheme: dark) {{{''.join(rules)}}}</style>"
    begin = svg.index("<svg")
    end = svg.index(">", begin) + 1
    return f"{svg[:end]}\n{style}{svg[end:]}"


def counterparts() -> dict[tuple[str, str], str]:
    """For each use of a light colour, ``fill`` or ``stroke``, the dark one."""
    found: dict[tuple[str, str], str] = {}
    for name in ("background", "text", "quiet", "line", "saved", "kernel", "value", "local", "adjoint"):
        for where in ("fill", "stroke"):
            found.setdefault((where, getattr(LIGHT, name)), getattr(DARK, name))
    for kind, fill in LIGHT.fills.items():
        found["fill", fill] = DARK.fills[kind]
        found.setdefault(("stroke", LIGHT.strokes.get(kind, LIGHT.line)), DARK.strokes.get(kind, DARK.line))
    found.update({("fill", light): dark for light, dark in zip(LIGHT.series, DARK.series, strict=True)})
    for part, (fill, border) in LIGHT.parts.items():
        found["fill", fill] = DARK.parts[part][0]
        found.setdefault(("stroke", border), DARK.parts[part][1])
        found.setdefault(("fill", border), DARK.parts[part][1])
    return found
