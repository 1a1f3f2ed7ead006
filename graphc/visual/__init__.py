"""Pictures: graphs, schedules, memory plans, timelines; and the dump of every stage of a compilation.

:func:`draw` shows a graph, its gradient and its update. :mod:`graphc.visual.render` turns the DOT text of a picture
into SVG, PNG or PDF; no Graphviz needs to be installed beside the ``pygraphviz`` wheel. The modules here are loaded
when something is drawn, not when graphc is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphc.visual.notebook import install

if TYPE_CHECKING:
    from graphc.visual.dump import Dump, install_from_config
    from graphc.visual.graphs import draw, draw_graph
    from graphc.visual.memory import draw_memory
    from graphc.visual.render import Drawing
    from graphc.visual.schedules import draw_schedule
    from graphc.visual.timeline import draw_timeline

__all__ = [
    "Drawing", "Dump", "draw", "draw_graph", "draw_memory", "draw_schedule", "draw_timeline", "install",
    "install_from_config",
]  # fmt: skip

_MODULES = {
    "Drawing": "render", "Dump": "dump", "draw": "graphs", "draw_graph": "graphs", "draw_memory": "memory",
    "draw_schedule": "schedules", "draw_timeline": "timeline", "install_from_config": "dump",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return list(__all__)
