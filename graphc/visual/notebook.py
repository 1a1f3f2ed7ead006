"""What notebooks show: tensors, graphs and programs as their graphs, profiles as timelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.profile.report import Profile
from graphc.program import Program
from graphc.visual.graphs import draw, draw_graph
from graphc.visual.timeline import draw_timeline


def _shown_by(function: Callable[[Any], Any]) -> Callable[[Any], str | None]:
    """A ``_repr_svg_``."""

    def svg(thing: Any) -> str | None:
        try:
            return str(function(thing).svg())
        except GraphcError:  # no renderer, or nothing to draw: the notebook then shows the repr
            return None

    return svg


def install() -> None:
    """Give tensors, graphs, programs and profiles ``_repr_svg_``."""
    for kind, function in ((Tensor, draw), (Program, draw), (Graph, draw_graph), (Profile, draw_timeline)):
        setattr(kind, "_repr_svg_", _shown_by(function))  # noqa: B010 - no class declares it
