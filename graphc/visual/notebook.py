"""What notebooks show: tensors, graphs and programs as their graphs, profiles as timelines."""

from __future__ import annotations

from typing import Any

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.profile import draw_with
from graphc.program import Program


def _svg(thing: Any) -> str | None:
    from graphc.profile.report import Profile
    from graphc.visual.graphs import draw, draw_graph
    from graphc.visual.timeline import draw_timeline

    kinds: dict[type, Any] = {Graph: draw_graph, Profile: draw_timeline}
    try:
        return str(kinds.get(type(thing), draw)(thing).svg())
    except GraphcError:  # no renderer, or nothing to draw: the notebook then shows the repr
        return None


def install() -> None:
    """Give tensors, graphs, programs and profiles ``_repr_svg_``."""
    for kind in (Tensor, Graph, Program):
        setattr(kind, "_repr_svg_", _svg)  # noqa: B010 - no class declares it
    draw_with(_svg)
